// Runs MicroPython's WebAssembly port as the MCU of a simulated board: real interpreter, real REPL.
//
// Everything else is in the parent process, over stdin and stdout: see protocol.py. The
// program is synchronous: while MicroPython runs, each call blocks here until the parent answers.
// Only input from the terminal arrives another way, through a separate thread: see line.mjs.
//
// usage: node runtime.mjs '{"modules": FOLDER, "shims": FOLDER, "heapsize": BYTES,
//   "platform": NAME, "line": FILE_DESCRIPTOR, "raw": WHETHER_AT_THE_RAW_PROMPT}'
//
// One process is one interpreter: it ends with a soft reset, and the parent starts the next.

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";
import { CONTEXT, countBytecodes } from "./count_bytecodes.mjs";

const options = JSON.parse(process.argv[2]);
const PACKAGE = "@micropython/micropython-webassembly-pyscript/micropython.mjs";
const { loadMicroPython } = await import(pathToFileURL(path.join(options.modules, PACKAGE)));

const CTRL_A = 1, CTRL_B = 2, CTRL_C = 3, CTRL_D = 4, CTRL_E = 5;
const LF = 10, CR = 13;
const FORCED_EXIT = 0x100; // pyexec.h: the code ended with SystemExit, or Ctrl-D at a prompt
const RAW_PROMPT = "raw REPL; CTRL-B to exit\r\n>";
const RAW_PASTE_WINDOW = 2048; // a board has 128; mpremote asks, and waits once for each window
const letter = (text) => text.charCodeAt(0);

let mp; // the interpreter

// ---- This file and MicroPython -----------------------------------------------------------------
//
// line.mjs calls functions here between any two instructions. They may change state only while
// MicroPython itself runs, and not while it is in a function of this file.

let inMicroPython = false;

function calling(micropython, ...args) {
  inMicroPython = true;
  const result = micropython(...args);
  inMicroPython = false;
  return result;
}

// A function for MicroPython to call.
function called(ours) {
  return (...args) => {
    const before = inMicroPython;
    inMicroPython = false;
    try {
      return ours(...args);
    } finally {
      inMicroPython = before;
    }
  };
}

// ---- Inside MicroPython --------------------------------------------------------------------------

let inside; // what its WebAssembly module exports, the counters of bytecodes too

const instantiate = WebAssembly.instantiate;
WebAssembly.instantiate = async (binary, imports) => {
  const instantiated = await instantiate(countBytecodes(binary), imports);
  inside = instantiated.instance.exports;
  return instantiated;
};

// Copies words into memory that MicroPython never frees, and returns the address.
function keep(content) {
  const address = mp._module._malloc(4 * content.length);
  new Uint32Array(inside.memory.buffer).set(content, address / 4);
  return address;
}

// From now on the code of some modules is not counted: those in which these functions are defined.
// An id() is an address.
function doNotCount(...functions) {
  const memory = new Uint32Array(inside.memory.buffer);
  const contexts = new Set(functions.map((id) => memory[(id + CONTEXT) / 4]));
  inside.uncounted.value = keep([...contexts, 0]);
}

// Makes modules the built-in ones of their names, which `import` uses after it has found no file:
// replaces MicroPython's table of extensible modules (mp_builtin_extensible_module_map, py/objmodule.c).
// `name` and `module` are the ids of an entry by which the table is found; `entries` are the new ones.
function setBuiltins(name, module, ...entries) {
  const memory = new Uint32Array(inside.memory.buffer);
  const found = [];
  for (let at = 0; at < memory.length; at++) {
    // mp_map_t: 7 is "keys are qstrs, is fixed, is ordered" and the size, the size, the address
    const size = memory[at + 1], table = memory[at + 2] / 4;
    if (size === 0 || size > 200 || memory[at] !== (size << 3 | 7)) continue;
    for (let entry = table; entry < table + 2 * size; entry += 2) {
      if (memory[entry] === name && memory[entry + 1] === module) found.push(at);
    }
  }
  if (found.length !== 1) throw new Error("MicroPython's table of built-in modules is not found");
  const map = found[0];
  const old = memory.subarray(memory[map + 2] / 4, memory[map + 2] / 4 + 2 * memory[map + 1]);
  const table = new Map();
  for (let i = 0; i < old.length; i += 2) table.set(old[i], old[i + 1]);
  for (let i = 0; i < entries.length; i += 2) table.set(entries[i], entries[i + 1]);
  const address = keep([...table].flat());
  memory.set([table.size << 3 | 7, table.size, address], map);
}

const counted = { bytecodes: 0, calls: 0 };

// How many bytecodes or calls were counted since this was asked last.
function newly(what) {
  const before = counted[what];
  counted[what] = inside[what].value;
  return (counted[what] - before) >>> 0;
}

const shared = new Int32Array(new SharedArrayBuffer(8));
const ARRIVED = 0; // how many messages line.mjs has posted
const UNSENT = 1; // whether something must be sent soon

// ---- Frames to and from the parent -------------------------------------------------------------

let sending = Buffer.allocUnsafe(1 << 16);
let sendingSize = 0;
let received = Buffer.allocUnsafe(1 << 16);

function reserve(size) {
  Atomics.store(shared, UNSENT, 1);
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
    if (error.code === "EPIPE") process.exit(0); // the parent has ended
    throw error;
  }
  sendingSize = 0;
  Atomics.store(shared, UNSENT, outputSize > 0 ? 1 : 0);
}

globalThis.sendSoon = () => {
  if (!inMicroPython) return;
  flushOutput();
  send();
};

// Sends waiting output and returns the answer: its letter and its body.
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
  const sent = received.readUIntLE(5, 6); // of 8 bytes
  while (arrivedBytes() < sent) Atomics.wait(shared, ARRIVED, drained);
  takeCtrlC();
  return { kind: received[4], body: received.subarray(13, need) };
}

// ---- Output ------------------------------------------------------------------------------------

const output = Buffer.allocUnsafe(4096);
let outputSize = 0;
let lastChar = 0;
let recent = ""; // the end of the output, to recognise the prompt
let swallow = 0; // how many characters to hide

function putByte(char) {
  if (outputSize === output.length) {
    flushOutput();
    takeCtrlC();
  }
  if (outputSize === 0) Atomics.store(shared, UNSENT, 1);
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
  if (sendingSize > 1 << 15) send();
}

// ---- Input -------------------------------------------------------------------------------------
//
// line.mjs posts the input. After a Ctrl-C it also calls `interrupt` here, like the interrupt handler
// of a UART.

let posted; // the port of the messages
let drained = 0; // how many messages were read
let input = Buffer.alloc(0);
let inputAt = 0;
let consumed = 0; // how many bytes were read or dropped
let ctrlCWaits = false; // whether a Ctrl-C is in `input`
let interrupts = 0; // how many KeyboardInterrupts there were
let interruptsSeen = 0; // ... when code last waited for input
let hungUp = false; // whether the client has disconnected since the last prompt

function openLine() {
  const { port1, port2 } = new MessageChannel();
  posted = port1;
  new Worker(new URL("line.mjs", import.meta.url), {
    workerData: { file: options.line, shared, port: port2 },
    transferList: [port2],
    stdout: true, // otherwise Node opens our stdout, and writeSync fails instead of waiting
    stderr: true,
  });
}

function drain() {
  if (Atomics.load(shared, ARRIVED) === drained) return;
  let message;
  while ((message = receiveMessageOnPort(posted)) !== undefined) {
    drained++;
    if (message.message === null) {
      hungUp = true;
    } else {
      input = Buffer.concat([input.subarray(inputAt), message.message]);
      inputAt = 0;
    }
  }
  ctrlCWaits = input.includes(CTRL_C, inputAt);
}

function arrivedBytes() {
  drain();
  return consumed + input.length - inputAt;
}

function take(count) {
  inputAt += count;
  consumed += count;
  if (ctrlCWaits) ctrlCWaits = input.includes(CTRL_C, inputAt);
}

const ctrlCInterrupts = () => mp._module._mp_hal_get_interrupt_char() === CTRL_C;

function raiseKeyboardInterrupt() {
  interrupts++;
  mp._module._mp_sched_keyboard_interrupt();
}

// While code runs, a Ctrl-C is not input, unless the code has disabled it (kbd_intr). It ends the
// code, and input before it is discarded, as on rp2.
function takeCtrlC() {
  drain();
  if (!ctrlCWaits || !ctrlCInterrupts()) return;
  take(input.lastIndexOf(CTRL_C) + 1 - inputAt);
  raiseKeyboardInterrupt();
}

// Returns whether there is a Ctrl-C that cannot end anything yet.
globalThis.interrupt = () => {
  if (inMicroPython) takeCtrlC();
  return !inMicroPython || ctrlCWaits;
};

// Waits until there is input. False if there is none in this time and, if device code waits, also if
// there may be a KeyboardInterrupt. If Ctrl-C is disabled, a client that disconnects causes one:
// nothing else could end the wait, because a simulated board has no reset button.
function waitInput(isPrompt, milliseconds = Infinity) {
  const end = performance.now() + milliseconds;
  for (;;) {
    takeCtrlC();
    if (isPrompt) hungUp = false;
    if (hungUp && !ctrlCInterrupts()) {
      hungUp = false;
      raiseKeyboardInterrupt();
    }
    if (interrupts !== interruptsSeen) {
      interruptsSeen = interrupts;
      if (!isPrompt) return false;
    }
    if (inputAt < input.length) return true;
    const left = end - performance.now();
    if (left <= 0) return false;
    flushOutput();
    if (milliseconds === Infinity) {
      const start = beginFrame("i");
      putCount(consumed);
      endFrame(start);
    }
    send();
    Atomics.wait(shared, ARRIVED, drained, left);
  }
}

function putCount(count) {
  sending.writeBigUInt64LE(BigInt(count), reserve(8));
}

// The next character typed at the prompt.
function getChar() {
  while (!waitInput(true));
  const char = input[inputAt];
  take(1);
  return char;
}

// The available bytes for device code, at most `size`; 0: see waitInput.
function readInput(address, size) {
  if (!waitInput(false)) return 0;
  const part = input.subarray(inputAt, inputAt + size);
  mp._module.HEAPU8.set(part, address);
  take(part.length);
  return part.length;
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

let taken = null; // the bytes of the last answer, until MicroPython has allocated memory for them

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

// How a result is passed to MicroPython: see shims/micropython/_host.py.
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
  heapsize: options.heapsize,
  platform: options.platform,
  call: called((name, shape, ...args) => {
    flushOutput();
    const start = beginFrame("c");
    const executed = reserve(8);
    sending.writeUInt32LE(newly("bytecodes"), executed);
    sending.writeUInt32LE(newly("calls"), executed + 4);
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
  }),
  doNotCount,
  setBuiltins,
  interruptAgain: () => mp._module._mp_sched_keyboard_interrupt(),
  take: called((address) => {
    mp._module.HEAPU8.set(taken, address);
    taken = null;
  }),
  read: called(readInput),
  wait: called((milliseconds) => waitInput(false, milliseconds < 0 ? Infinity : milliseconds)),
  output: called((address, size) => {
    for (const char of mp._module.HEAPU8.slice(address, address + size)) putByte(char);
    lastChar = 0;
  }),
};

// ---- The REPL ----------------------------------------------------------------------------------

let raw = options.raw; // whether the raw prompt is shown
let line = []; // the text typed at the raw prompt

// Pass one character to MicroPython's own REPL. Returns whether a soft reset follows.
function type(char) {
  const exit = calling(mp.replProcessChar, char);
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

// Raw paste (docs/reference/repl.rst, "Raw-paste mode"): the REPL reads the code with its own
// flow control, for which the WebAssembly port cannot block. So this code reads it, then types it.
function rawPaste() {
  const code = [];
  let window = RAW_PASTE_WINDOW;
  type(CTRL_C); // discard the Ctrl-E A
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
  // A soft reset at the raw prompt returns to it. A board keeps the mode; a new instance cannot.
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
    const pasted = raw && char === CTRL_A && line.length === 2 && line[0] === CTRL_E;
    if (pasted && line[1] === letter("A") ? rawPaste() : type(char)) return;
  }
}

// ---- One interpreter, from a reset to the next ---------------------------------------------------

async function loadInterpreter() {
  mp = await loadMicroPython({
    heapsize: options.heapsize,
    linebuffer: false,
    stdin: () => null, // device code reads through _bridge.read
    stdout: called(([char]) => putChar(char)),
    stderr: called(([char]) => putChar(char)),
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
  openLine();
  const run = await loadInterpreter();
  endFrame(beginFrame("h"));
  // Code that ends with SystemExit (machine.soft_reset) causes a soft reset anywhere.
  if (!calling(run, "boot.py") && (raw || !calling(run, "main.py"))) repl();
  putText("MPY: soft reboot\r\n");
  flushOutput();
  const start = beginFrame("s");
  putCount(consumed);
  sending[reserve(1)] = raw ? 1 : 0;
  endFrame(start);
  send();
  process.exit(0);
} catch (error) {
  console.error(error.stack ?? error); // Node itself would also print the minified line
  process.exit(1);
}
