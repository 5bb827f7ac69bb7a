// Makes MicroPython count the bytecodes that it executes, exactly: rewrites its WebAssembly module.
//
// MicroPython's interpreter is one function, mp_execute_bytecode(code_state, ...). It runs once for
// each call of a Python function and each resumption of a generator, and reads every opcode at one
// place: the br_table with by far the most targets. The inserted code is
//
//     at its start:            context = code_state->fun_bc->context   (py/bc.h, py/objfun.h)
//                              counts = context is not in `uncounted` ? 1 : 0
//                              calls += counts
//     before the br_table:     bytecodes += counts
//
// All code of one module has the same context. `uncounted` is the address of a list of contexts,
// which ends with 0: the modules that no board executes. The rewritten module exports all three; the counters have 32 bits
// and wrap.

const SECTION = { imports: 2, globals: 6, exports: 7, code: 10 };
const ADDED = ["bytecodes", "calls", "uncounted"];
const I32 = 0x7f, MUTABLE = 1, EXPORTED_GLOBAL = 3, NO_RESULT = 0x40, ALIGNED = 2;
const FEWEST_TARGETS = 64; // of the interpreter's br_table: it has 90, any other at most 40
const PARAMETERS = 2; // of mp_execute_bytecode
const FUN_BC = 0; // in mp_code_state_t
export const CONTEXT = 4; // in mp_obj_fun_bc_t

const OP = {
  block: 0x02, loop: 0x03, if: 0x04, end: 0x0b, br: 0x0c, brIf: 0x0d, brTable: 0x0e,
  get: 0x20, set: 0x21, tee: 0x22, getGlobal: 0x23, setGlobal: 0x24,
  load: 0x28, const: 0x41, constF32: 0x43, constF64: 0x44, eq: 0x46, add: 0x6a, prefixed: 0xfc,
};

export function countBytecodes(binary) {
  const wasm = new Reader(new Uint8Array(binary));
  wasm.at = 8; // behind the magic number and the version
  const parts = [wasm.since(0)];
  let first; // the index of the first added global
  while (!wasm.ended) {
    const start = wasm.at;
    const id = wasm.byte();
    const size = wasm.number();
    const body = new Reader(wasm.take(size));
    if (id === SECTION.globals) {
      first = body.number();
      const global = [I32, MUTABLE, OP.const, 0, OP.end];
      parts.push(section(id, first + ADDED.length, body.rest(), ADDED.flatMap(() => global)));
    } else if (id === SECTION.exports) {
      const count = body.number() + ADDED.length;
      parts.push(section(id, count, body.rest(), ADDED.flatMap((name, i) =>
        [name.length, ...Buffer.from(name), EXPORTED_GLOBAL, ...number(first + i)])));
    } else if (id === SECTION.code) {
      const count = body.number();
      parts.push(section(id, count, ...functionsOf(body, count, first)));
    } else {
      parts.push(wasm.since(start));
    }
  }
  return Buffer.concat(parts);
}

// All functions, the interpreter with its counters.
function functionsOf(code, count, firstGlobal) {
  const functions = [];
  let found = 0;
  for (let i = 0; i < count; i++) {
    const start = code.at;
    const body = new Reader(code.take(code.number()));
    const places = findDispatch(body);
    if (places === null) {
      functions.push(code.since(start));
    } else {
      found++;
      const counting = withCounters(body.bytes, places, firstGlobal);
      functions.push(number(counting.length), counting);
    }
  }
  if (found !== 1) throw new Error(`${found} functions of MicroPython look like its interpreter`);
  return functions;
}

// If this function is the interpreter: where its instructions begin, where its br_table is, and the
// number of its locals. Otherwise null.
function findDispatch(body) {
  let locals = PARAMETERS;
  for (let groups = body.number(); groups > 0; groups--) {
    locals += body.number();
    body.byte(); // their type
  }
  const places = { begin: body.at, dispatch: null, locals };
  const loops = []; // for each open block: whether it is a loop
  while (!body.ended) {
    const at = body.at;
    const opcode = body.byte();
    if (opcode === OP.block || opcode === OP.loop || opcode === OP.if) loops.push(opcode === OP.loop);
    else if (opcode === OP.end) loops.pop();
    if (skipOperands(opcode, body) < FEWEST_TARGETS) continue;
    if (places.dispatch !== null || !loops.includes(true)) {
      throw new Error("MicroPython's interpreter does not read opcodes at one place, in a loop");
    }
    places.dispatch = at;
  }
  return places.dispatch === null ? null : places;
}

// Returns the number of targets of a br_table; 0 for any other instruction.
function skipOperands(opcode, body) {
  let targets = 0;
  if (opcode === OP.brTable) {
    targets = body.number();
    body.skipNumbers(targets + 1);
  } else if (opcode === OP.constF32) {
    body.take(4);
  } else if (opcode === OP.constF64) {
    body.take(8);
  } else if (opcode === OP.prefixed) {
    const operands = [0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 1, 2, 1, 2, 1, 1, 1][body.number()];
    body.skipNumbers(operands ?? unknown(opcode));
  } else {
    body.skipNumbers(operandsOf(opcode));
  }
  return targets;
}

function operandsOf(opcode) {
  if (opcode >= 0x45 && opcode <= 0xc4) return 0; // arithmetic
  if (opcode >= 0x28 && opcode <= 0x3e) return 2; // load, store: alignment, offset
  if (opcode >= 0x20 && opcode <= 0x26) return 1; // local, global, table
  if (opcode >= 0x3f && opcode <= 0x42) return 1; // memory.size, memory.grow, integer constants
  if ([0x02, 0x03, 0x04, 0x0c, 0x0d, 0x10].includes(opcode)) return 1; // blocks, br, br_if, call
  if (opcode === 0x11) return 2; // call_indirect
  if ([0x00, 0x01, 0x05, 0x0b, 0x0f, 0x1a, 0x1b].includes(opcode)) return 0; // else, end, drop, ...
  return unknown(opcode);
}

function unknown(opcode) {
  throw new Error(`MicroPython has a WebAssembly instruction 0x${opcode.toString(16)}`);
}

function withCounters(body, { begin, dispatch, locals }, firstGlobal) {
  const [bytecodes, calls, uncounted] = ADDED.map((name, i) => number(firstGlobal + i));
  const [context, at, counts] = [0, 1, 2].map((i) => number(locals + i));
  const groups = new Reader(body.subarray(0, begin));
  const declared = [...number(groups.number() + 1), ...groups.rest(), 3, I32];
  const atStart = [
    OP.get, 0, OP.load, ALIGNED, FUN_BC, OP.load, ALIGNED, CONTEXT, OP.set, ...context,
    OP.getGlobal, ...uncounted, OP.set, ...at,
    OP.block, NO_RESULT,
    /**/ OP.loop, NO_RESULT,
    /**/ /**/ OP.get, ...at, OP.load, ALIGNED, 0, OP.tee, ...counts, OP.get, ...context, OP.eq,
    /**/ /**/ OP.if, NO_RESULT,
    /**/ /**/ /**/ OP.const, 0, OP.set, ...counts, OP.br, 2,
    /**/ /**/ OP.end,
    /**/ /**/ OP.get, ...at, OP.const, 4, OP.add, OP.set, ...at,
    /**/ /**/ OP.get, ...counts, OP.brIf, 0, // until the end of the list
    /**/ OP.end,
    /**/ OP.const, 1, OP.set, ...counts,
    OP.end,
    OP.getGlobal, ...calls, OP.get, ...counts, OP.add, OP.setGlobal, ...calls,
  ];
  const atDispatch = [
    OP.getGlobal, ...bytecodes, OP.get, ...counts, OP.add, OP.setGlobal, ...bytecodes,
  ];
  return Buffer.concat([
    Buffer.from([...declared, ...atStart]),
    body.subarray(begin, dispatch),
    Buffer.from(atDispatch),
    body.subarray(dispatch),
  ]);
}

function section(id, count, ...contents) {
  const body = Buffer.concat([number(count), ...contents].map((part) => Buffer.from(part)));
  return Buffer.concat([Buffer.from([id, ...number(body.length)]), body]);
}

// An unsigned number in LEB128.
function number(value) {
  const bytes = [];
  for (; value > 0x7f; value >>>= 7) bytes.push((value & 0x7f) | 0x80);
  return [...bytes, value];
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  get ended() {
    return this.at >= this.bytes.length;
  }

  byte() {
    return this.bytes[this.at++];
  }

  number() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.bytes[this.at++];
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  }

  skipNumbers(count) {
    for (; count > 0; count--) while (this.bytes[this.at++] >= 0x80);
  }

  take(size) {
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  rest() {
    return this.bytes.subarray(this.at);
  }

  since(start) {
    return this.bytes.subarray(start, this.at);
  }
}
