/**
 * The code of a worker thread, as plain JavaScript text: it runs from a string in Node's worker threads and from a Blob in a page, so it may use
 * nothing but `receive` (calls back with each message), `send`, and the platform's `Atomics` and `WebAssembly`.
 *
 * All workers run the same steps, each its share of a step's units, and meet after each step. Words of the control array: see `Control`.
 */

/** Words of the control array. */
export const Control = {
  /** Counts runs: a change wakes the workers. */
  run: 0,
  /** Which entry, and which of its steps: from, to (end exclusive). */
  entry: 1,
  from: 2,
  to: 3,
  /** Workers that have arrived at the barrier, and how many barriers there have been. */
  arrived: 4,
  barrier: 5,
  /** Workers that have finished the run. */
  finished: 6,
  /** Not 0: a worker has failed, or the session closes; nobody waits for anybody any more. */
  stop: 7,
  words: 8,
} as const;

/** What a worker is sent first. */
export interface WorkerStart {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly control: Int32Array;
  readonly index: number;
  readonly workers: number;
  /** This worker's scratch. */
  readonly scratch: number;
  readonly entries: readonly (readonly WorkerStep[])[];
}
/** Function name, units, addresses of the operands. */
export type WorkerStep = readonly [string, number, readonly number[]];

/** What a worker sends: it is ready, a run is done (sent by the last to finish), or it failed. */
export type WorkerMessage = { readonly kind: "ready" } | { readonly kind: "done" } | { readonly kind: "failed"; readonly message: string };

/** Turns before a waiting worker sleeps: some tens of microseconds. */
const SPIN = 4000;

export const workerSource = `
"use strict";
(function (receive, send) {
  receive(async function (start) {
    const { memory, control, index, workers, scratch } = start;
    const instance = await WebAssembly.instantiate(start.module, { env: { memory } });
    const entries = start.entries.map((steps) => steps.map(([name, units, operands]) => ({
      run: instance.exports[name],
      from: Math.floor((units * index) / workers),
      to: Math.floor((units * (index + 1)) / workers),
      operands,
    })));
    const changed = (word, seen) => {
      for (let i = 0; i < ${SPIN}; i++) if (Atomics.load(control, word) !== seen) return;
      while (Atomics.load(control, word) === seen && Atomics.load(control, ${Control.stop}) === 0) Atomics.wait(control, word, seen, 1000);
    };
    const meet = () => {
      const seen = Atomics.load(control, ${Control.barrier});
      if (Atomics.add(control, ${Control.arrived}, 1) === workers - 1) {
        Atomics.store(control, ${Control.arrived}, 0);
        Atomics.add(control, ${Control.barrier}, 1);
        Atomics.notify(control, ${Control.barrier});
      } else changed(${Control.barrier}, seen);
    };
    let seen = 0;
    send({ kind: "ready" });
    for (;;) {
      changed(${Control.run}, seen);
      if (Atomics.load(control, ${Control.stop}) !== 0) return;
      seen = Atomics.load(control, ${Control.run});
      const steps = entries[Atomics.load(control, ${Control.entry})];
      const end = Atomics.load(control, ${Control.to});
      try {
        for (let i = Atomics.load(control, ${Control.from}); i < end; i++) {
          const step = steps[i];
          if (step.from < step.to) step.run(step.from, step.to, scratch, ...step.operands);
          meet();
          if (Atomics.load(control, ${Control.stop}) !== 0) return;
        }
      } catch (e) {
        Atomics.store(control, ${Control.stop}, 1);
        Atomics.notify(control, ${Control.barrier});
        send({ kind: "failed", message: String(e) });
        return;
      }
      if (Atomics.add(control, ${Control.finished}, 1) === workers - 1) send({ kind: "done" });
    }
  });
})`;
