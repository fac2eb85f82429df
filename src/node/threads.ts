/** Worker threads of Node, and what its engine needs to be told. */
import { availableParallelism } from "node:os";
import { setFlagsFromString } from "node:v8";
import { Worker } from "node:worker_threads";
import type { StartThread } from "../runtime/threads.ts";
import { workerSource } from "../runtime/wasm/worker.ts";
import { hasRelaxed } from "../runtime/wasm.ts";

export const startThread: StartThread = () => {
  const code = `const { parentPort } = require("node:worker_threads");
${workerSource}((f) => parentPort.on("message", (m) => f(m).catch((x) => parentPort.postMessage({ kind: "failed", message: String(x) }))), (m) => parentPort.postMessage(m));`;
  const worker = new Worker(code, { eval: true });
  worker.unref();
  let ended = false;
  return {
    send: (message) => worker.postMessage(message),
    listen(message, failed) {
      worker.on("message", message);
      worker.on("error", failed);
      worker.on("exit", (status) => {
        if (!ended) failed(new Error(`a worker thread ended with status ${status}`));
      });
    },
    hold: (alive) => (alive ? worker.ref() : worker.unref()),
    async end() {
      ended = true;
      await worker.terminate();
    },
  };
};

/** How many threads the machine runs at once. */
export const parallelism = (): number => availableParallelism();

/** Turns on relaxed SIMD where the engine has it behind a flag (Node 20). */
export function enableRelaxed(): void {
  if (!hasRelaxed()) setFlagsFromString("--experimental-wasm-relaxed-simd");
}

/**
 * Has modules compiled by the optimising compiler at once, all functions on all cores, while weights are loaded. Otherwise the first step would run on
 * what the baseline compiler makes, several times slower.
 */
export function optimiseAtOnce(): void {
  setFlagsFromString("--no-liftoff");
  setFlagsFromString("--no-wasm-lazy-compilation");
}
