// Runs MicroPython's WebAssembly port as the MCU of a simulated board: real interpreter, real REPL.
//
// Everything else is in the parent process, reached over stdin and stdout: see protocol.py. The
// program is synchronous: while MicroPython runs, each call blocks here until the parent answers.
//
// usage: node runtime.mjs '{"modules": FOLDER, "shims": FOLDER, "heapsize": BYTES, "platform": NAME,
//   "raw": WHETHER_AT_THE_RAW_PROMPT}'
//
// One process is one interpreter: it ends with a soft reset, and the parent starts the next.

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const options = JSON.parse(process.argv[2]);
const PACKAGE = "@micropython/micropython-webassembly-pyscript/micropython.mjs";
const { loadMicroPython } = await import(pathToFileURL(path.join(options.modules, PACKAGE)));

const CTRL_A = 1, CTRL_B = 2, CTRL_C = 3, CTRL_D = 4, CTRL_E = 5;
const LF = 10, CR = 13;
const FORCED_EXIT = 0x100; // pyexec.h: the code ended in SystemExit, or Ctrl-D at a prompt
const RAW_PROMPT = "raw REPL; CTRL-B to exit\r\n>";
const RAW_PASTE_WINDOW = 2048; // a board has 128; mpremote asks, and waits once for each window
const letter = (text) => text.charCodeAt(0);

let mp; // the interpreter

// ---- Frames to and from the parent -------------------------------------------------------------

let sending = Buffer.allocUnsafe(1 << 16);
let sendingSize = 0;
let received = Buffer.allocUnsafe(1 << 16);

function reserve(size) {
  if (sendingSize + size > sending.length) {
    const larger = Buffer.allocUnsafe(2 * (sendingSize + size));
    sending.copy(larger, 0, 0, sendingSize);
    sending = larger;
  }
  const at = sendingSize;
  sendingSize += size;
  return at;
}

function beginFrame(kind) {
  const start = reserve(5);
  sending[start + 4] = letter(kind);
  return start;
}

function endFrame(start) {
  sending.writeUInt32LE(sendingSize - start - 4, start);
}

function send() {
  let at = 0;
  try {
    while (at < sendingSize) at += fs.writeSync(1, sending, at, sendingSize - at);
  } catch (error) {
    if (error.code === "EPIPE") process.exit(0); // the parent is gone
    throw error;
  }
  sendingSize = 0;
}

// Sends what is waiting and returns the answer: its letter and its body. Takes note of a Ctrl-C.
function ask() {
  send();
  let have = 0;
  let need = 4;
  while (have < need) {
    const got = fs.readSync(0, received, have, received.length - have);
    if (got === 0) process.exit(0);
    have += got;
    if (need === 4 && have >= 4) {
      need = 4 + received.readUInt32LE(0);
      if (need > received.length) {
        const larger = Buffer.allocUnsafe(need);
        received.copy(larger, 0, 0, have);
        received = larger;
      }
    }
  }
  if (received[5] & 1 && mp._module._mp_hal_get_interrupt_char() === CTRL_C) {
    mp._module._mp_sched_keyboard_interrupt();
    endFrame(beginFrame("x"));
  }
  return { kind: received[4], body: received.subarray(6, need) };
}

// ---- Output ------------------------------------------------------------------------------------

const output = Buffer.allocUnsafe(4096);
let outputSize = 0;
let lastFlush = 0;
let lastChar = 0;
let recent = ""; // the end of what was put out, to see which prompt it was
let swallow = 0; // how many characters to hide

function putByte(char) {
  if (outputSize === output.length) flushOutput();
  output[outputSize++] = char;
}

// A board's terminal gets CR LF for each LF that is printed. The REPL sends both itself.
function putChar(char) {
  char &= 0xff;
  recent = (recent + String.fromCharCode(char)).slice(-RAW_PROMPT.length);
  if (swallow > 0) {
    swallow--;
    return;
  }
  if (char === LF && lastChar !== CR) putByte(CR);
  putByte(char);
  lastChar = char;
  if (char === LF && performance.now() - lastFlush > 20) {
    flushOutput();
    send();
  }
}

function putText(text) {
  for (const char of Buffer.from(text, "latin1")) putByte(char);
}

function flushOutput() {
  if (outputSize === 0) return;
  const start = beginFrame("o");
  const at = reserve(outputSize);
  output.copy(sending, at, 0, outputSize);
  endFrame(start);
  outputSize = 0;
  lastFlush = performance.now();
  if (sendingSize > 1 << 15) send();
}

// ---- Input -------------------------------------------------------------------------------------

let input = Buffer.alloc(0);
let inputAt = 0;

// The next character of the terminal; null if device code that waits for it gets interrupted.
function getChar() {
  while (inputAt === input.length) {
    flushOutput();
    endFrame(beginFrame("i"));
    const { body } = ask();
    if (body.length === 0) return null;
    input = Buffer.from(body);
    inputAt = 0;
  }
  const char = input[inputAt++];
  // While code runs, a Ctrl-C is no input, unless the code has switched that off (kbd_intr).
  if (char !== CTRL_C || mp._module._mp_hal_get_interrupt_char() !== CTRL_C) return char;
  mp._module._mp_sched_keyboard_interrupt();
  return null;
}

// ---- Calls of device code ----------------------------------------------------------------------

function putString(text) {
  const size = Buffer.byteLength(text);
  const at = reserve(5 + size);
  sending[at] = letter("s");
  sending.writeUInt32LE(size, at + 1);
  sending.write(text, at + 5);
}

function putInt(value) {
  const at = reserve(9);
  sending[at] = letter("i");
  sending.writeBigInt64LE(BigInt(value), at + 1);
}

function putBytes(address, size) {
  const at = reserve(5 + size);
  sending[at] = letter("b");
  sending.writeUInt32LE(size, at + 1);
  sending.set(mp._module.HEAPU8.subarray(address, address + size), at + 5);
}

let taken = null; // the bytes of the last answer, until MicroPython has made room for them

function value(body, at) {
  switch (String.fromCharCode(body[at])) {
    case "n":
      return [null, at + 1];
    case "i":
      return [body.readBigInt64LE(at + 1), at + 9];
    case "l": {
      const items = [];
      let next = at + 5;
      for (let left = body.readUInt32LE(at + 1); left > 0; left--) {
        const [item, after] = value(body, next);
        items.push(typeof item === "bigint" ? Number(item) : item);
        next = after;
      }
      return [items, next];
    }
    default: {
      const end = at + 5 + body.readUInt32LE(at + 1);
      const data = body.subarray(at + 5, end);
      return [body[at] === letter("s") ? data.toString() : Buffer.from(data), end];
    }
  }
}

// How a result crosses to MicroPython: see shims/micropython/_host.py.
function result(answer) {
  const [found] = value(answer.body, 0);
  if (answer.kind === letter("e")) return "e" + found;
  if (found === null) return null;
  if (typeof found === "bigint") {
    return found >= -0x40000000n && found < 0x40000000n ? Number(found) : "I" + found;
  }
  if (typeof found === "string") return "s" + found;
  if (Array.isArray(found)) return "j" + JSON.stringify(found);
  taken = found;
  return "b" + found.length;
}

const bridge = {
  platform: options.platform,
  call(name, shape, ...args) {
    flushOutput();
    const start = beginFrame("c");
    putString(name);
    let at = 0;
    for (const kind of shape) {
      if (kind === "i" || kind === "I") putInt(args[at++]);
      else if (kind === "s") putString(args[at++]);
      else if (kind === "n") sending[reserve(1)] = letter("n");
      else putBytes(args[at++], args[at++]);
    }
    endFrame(start);
    return result(ask());
  },
  take(address) {
    mp._module.HEAPU8.set(taken, address);
    taken = null;
  },
  output(address, size) {
    for (const char of mp._module.HEAPU8.slice(address, address + size)) putByte(char);
    lastChar = 0;
  },
};

// ---- The REPL ----------------------------------------------------------------------------------

let raw = options.raw; // which of the two prompts is shown
let line = []; // what has been typed at the raw one

// One character for MicroPython's own REPL. Returns whether a soft reset follows.
function type(char) {
  const exit = mp.replProcessChar(char);
  if (raw) {
    if (char === CTRL_B) raw = false;
    if (char <= CTRL_D) line = [];
    else line.push(char);
  } else if (char === CTRL_A && recent.endsWith(RAW_PROMPT)) {
    raw = true;
    line = [];
  }
  return (exit & FORCED_EXIT) !== 0;
}

// Raw paste (docs/reference/repl.rst, "Raw-paste mode"): the REPL reads the code with a flow control
// of its own, for which the WebAssembly port cannot block. So this reads it, and types it after that.
function rawPaste() {
  const code = [];
  let window = RAW_PASTE_WINDOW;
  type(CTRL_C); // forget the Ctrl-E A
  putText("R\x01");
  putText(String.fromCharCode(window & 0xff, window >> 8, 1));
  for (;;) {
    const char = getChar();
    if (char === CTRL_C) {
      putText("\x04\x04\r\nKeyboardInterrupt: \r\n\x04>");
      return false;
    }
    if (char === CTRL_D) break;
    code.push(char);
    if (--window === 0) {
      putText("\x01");
      window = RAW_PASTE_WINDOW;
    }
  }
  putText("\x04");
  if (code.length === 0) {
    putText("\x04\x04>"); // an empty line and Ctrl-D would be a soft reset
    return false;
  }
  for (const char of code) type(char);
  swallow = "OK".length;
  return type(CTRL_D);
}

function repl() {
  // A soft reset at the raw prompt leads back to it. A board keeps the mode, a new instance cannot.
  const wasRaw = raw;
  raw = false;
  swallow = wasRaw ? Infinity : 0;
  mp.replInit();
  swallow = 0;
  if (wasRaw) {
    swallow = "\r\n".length;
    type(CTRL_A);
  }
  for (;;) {
    const char = getChar();
    if (char === null) continue;
    const pasted = raw && char === CTRL_A && line.length === 2 && line[0] === CTRL_E;
    if (pasted && line[1] === letter("A") ? rawPaste() : type(char)) return;
  }
}

// ---- The life of an interpreter, from a reset to the next ----------------------------------------

async function loadInterpreter() {
  mp = await loadMicroPython({
    heapsize: options.heapsize,
    linebuffer: false,
    stdin: getChar,
    stdout: ([char]) => putChar(char),
    stderr: ([char]) => putChar(char),
  });
  mp.registerJsModule("_bridge", bridge);
  mp.FS.mkdir("/shims");
  for (const folder of [options.shims, path.join(options.shims, "micropython")]) {
    for (const entry of fs.readdirSync(folder)) {
      if (!entry.endsWith(".py")) continue;
      mp.FS.writeFile(`/shims/${entry}`, fs.readFileSync(path.join(folder, entry)));
    }
  }
  mp.runPython("import sys; sys.path[:] = ['/shims']; import _boot; del sys");
  const run = mp.globals.get("_boot").run;
  mp.runPython("del _boot");
  return run;
}

try {
  const run = await loadInterpreter();
  endFrame(beginFrame("h"));
  // Code that ends in SystemExit (machine.soft_reset) makes a soft reset wherever it is.
  if (!run("boot.py") && (raw || !run("main.py"))) repl();
  putText("MPY: soft reboot\r\n");
  flushOutput();
  const start = beginFrame("s");
  sending[reserve(1)] = raw ? 1 : 0;
  endFrame(start);
  send();
} catch (error) {
  console.error(error.stack ?? error); // Node itself would print the minified line as well
  process.exit(1);
}
