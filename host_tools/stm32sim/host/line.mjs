// The thread of runtime.mjs that reads the line: what the terminal sends; see protocol.py.
//
// It reads while MicroPython runs, and calls functions in the main thread through Node's inspector,
// which works even in a loop without calls: `interrupt` after a Ctrl-C, until that has had its effect,
// and `sendSoon` if output waits.

import fs from "node:fs";
import inspector from "node:inspector";
import { workerData } from "node:worker_threads";

const { file, shared, port } = workerData;
const ARRIVED = 0, UNSENT = 1; // see runtime.mjs
const AGAIN_MS = 10;
const SEND_MS = 20;
const CTRL_C = 3;

const main = new inspector.Session();
main.connectToMainThread();

function interrupt() {
  main.post("Runtime.evaluate", { expression: "interrupt()", silent: true }, (error, answer) => {
    if (answer?.result.value !== false) setTimeout(interrupt, AGAIN_MS);
  });
}

setInterval(() => {
  if (Atomics.load(shared, UNSENT)) main.post("Runtime.evaluate", { expression: "sendSoon()" });
}, SEND_MS);

function post(message) {
  port.postMessage(message);
  Atomics.add(shared, ARRIVED, 1);
  Atomics.notify(shared, ARRIVED);
}

let buffered = Buffer.alloc(0);
fs.createReadStream(null, { fd: file })
  .on("data", (chunk) => {
    buffered = Buffer.concat([buffered, chunk]);
    let size;
    while (buffered.length >= 4 && buffered.length >= (size = 4 + buffered.readUInt32LE(0))) {
      const body = buffered.subarray(5, size);
      const isInput = buffered[4] === "d".charCodeAt(0);
      buffered = buffered.subarray(size);
      post(isInput ? body : null);
      if (isInput && body.includes(CTRL_C)) interrupt();
    }
  })
  // The parent has ended. The main thread may be in a loop that nothing else ends.
  .on("close", () => process.kill(process.pid, "SIGKILL"));
