/** Worker threads of Node, and what its engine needs to be told. */

import { availableParallelism } from "node:os";
import { setFlagsFromString } from "node:v8";
import { Worker } from "node:worker_threads";
import { DeviceLost } from "../runtime/errors.ts";
import type { StartThread } from "../runtime/threads.ts";
import { workerSource } from "../runtime/wasm/worker.ts";
import { hasRelaxed } from "../runtime/wasm.ts";

export const startThread: StartThread = () => {
  const code = `const { parentPort } = require("node:worker_threads");
${workerSource}((f) => parentPort.on("message", (m) => f(m).catch((x) => parentPort.postMessage({ kind: "failed", message: String(x) }))), (m) => parentPort.postMessage(m));`;
  // it computes in memory that is there already, and needs next to none of its own
  const worker = new Worker(code, { eval: true, resourceLimits: { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 64 } });
  worker.unref();
  let ended = false;
  return {
    send: (message) => worker.postMessage(message),
    listen(message, failed) {
      worker.on("message", message);
      worker.on("error", failed);
      worker.on("exit", (status) => {
        if (!ended) failed(new DeviceLost(`a worker thread ended with status ${status}`));
      });
    },
    hold: (alive) => (alive ? worker.ref() : worker.unref()),
    async end() {
      ended = true;
      await worker.terminate();
    },
  };
};

/** Most threads that help: beyond, waiting for each other costs more than it brings. */
export const WORKERS = 16;

/** How many threads the machine runs at once. */
export const parallelism = (): number => availableParallelism();

/** Turns on relaxed SIMD where the engine has it behind a flag (Node 20). */
export function enableRelaxed(): void {
  if (!hasRelaxed()) setFlagsFromString("--experimental-wasm-relaxed-simd");
}

/** What the engine is told for modules that are compiled at once and well, and what it does otherwise. */
const OPTIMISE = ["--no-liftoff", "--no-wasm-lazy-compilation"];
const USUAL = ["--liftoff", "--wasm-lazy-compilation"];
let compiling = 0;

/**
 * Has a module compiled by the optimising compiler at once, all functions on all cores, while weights are loaded. Otherwise the first step would run on
 * what the baseline compiler makes, several times slower. What is compiled before and after is not: a tool that runs once would wait for it, and the compiler's memory
 * would stand beside the run's.
 */
export async function compileOptimised(module: BufferSource): Promise<WebAssembly.Module> {
  compiling++;
  for (const flag of OPTIMISE) setFlagsFromString(flag);
  try {
    return await WebAssembly.compile(module);
  } finally {
    if (--compiling === 0) for (const flag of USUAL) setFlagsFromString(flag);
  }
}

/** Bytes of JavaScript's heap below which it is not worth the time to look for what can go. */
const LARGE = 48 * 2 ** 20;
/** Programs that take less come and go: collecting for each would take longer than they do. */
const SMALL = 16 * 2 ** 20;

/**
 * Gives back what JavaScript no longer needs before a program of so many bytes is opened: what was compiled from would otherwise lie there beside the weights for as long as a run takes. An engine
 * without an inspector keeps it until it collects by itself.
 */
export async function collect(program: number): Promise<void> {
  if (program < SMALL) return;
  if (process.memoryUsage().heapTotal + process.memoryUsage().external < LARGE || !process.features.inspector) return;
  const { Session } = await import("node:inspector");
  const session = new Session();
  session.connect();
  try {
    await new Promise<void>((resolve, reject) => {
      session.post("HeapProfiler.collectGarbage", (error) => (error ? reject(error) : resolve()));
    });
  } finally {
    session.disconnect();
  }
}
