/**
 * The code of a worker thread, as plain JavaScript text: it runs from a string in Node's worker threads and from a Blob in a page, so it may use
 * nothing but `receive` (calls back with each message), `send`, and the platform's `Atomics`, `WebAssembly` and `performance`; for native kernels also Node's
 * `require`.
 *
 * All workers walk the same steps. The units of a step are cut into a range a worker; each takes half of what is left of its own, again and again, and
 * then half of what is left of another's. A step is over when all its units are done, whoever did them: a worker that has no processor holds up
 * nobody, unless it is in the middle of units. A step of little work is taken whole by whoever comes first. What a unit computes does not depend on
 * who computes it.
 *
 * A worker takes part in a run by raising `active` and seeing the run still open; it does not while it sleeps. Counters are set for the next run when
 * nobody takes part.
 */

/** Words of the control array. */
export const Control = {
  /** Counts runs: a change wakes the workers. */
  run: 0,
  /** Which entry, and which of its steps: from, to (end exclusive). */
  entry: 1,
  from: 2,
  to: 3,
  /** The run whose steps may be worked on; 0 where none is. */
  open: 4,
  /** Workers that take part. */
  active: 5,
  /** Workers that sleep until a step is over, and what they sleep on. */
  sleepers: 6,
  progress: 7,
  /** Not 0: a worker has failed, or the session closes; nobody waits for anybody any more. */
  stop: 8,
  words: 9,
} as const;

/** Libraries of native kernels, which a worker loads by itself. */
export interface NativeCode {
  /** Where the module `koffi` is. */
  readonly koffi: string;
  readonly libraries: readonly string[];
  /** The function by which a library's kernels are called: (memory, operands' addresses, kernel, from, to, scratch). */
  readonly call: string;
  /** By kernel: its library, and its number in it. */
  readonly kernels: Readonly<Record<string, readonly [library: number, kernel: number]>>;
}

/** What a worker is sent first. */
export interface WorkerStart {
  readonly code: WebAssembly.Module | NativeCode;
  readonly memory: WebAssembly.Memory;
  readonly control: Int32Array;
  /** For each step of the run: the next unit of each worker's range, then the units that are done. */
  readonly counters: Int32Array;
  readonly index: number;
  readonly workers: number;
  /** This worker's scratch. */
  readonly scratch: number;
  readonly entries: readonly (readonly WorkerStep[])[];
  /** Only where somebody wants to know: for each step of the run and each worker, when it began with its first unit and ended its last, in milliseconds of the clock. */
  readonly times?: Float64Array;
}
/**
 * Function name, units, addresses of the operands, and where each worker's range begins (the next one's beginning is its end; one more for the last). All
 * units in the first range: whoever comes first does them all. `other`: another function for the same operands, with units and ranges of its own,
 * which runs instead while the word at the address `flag` is not 0; it changes between runs only.
 */
export type WorkerStep = readonly [
  name: string,
  units: number,
  operands: readonly number[],
  starts: readonly number[],
  other?: readonly [name: string, units: number, flag: number, starts: readonly number[]],
];

/** What a worker sends: it is ready, a run is done (sent by the one that did the last unit), or it failed. */
export type WorkerMessage = { readonly kind: "ready" } | { readonly kind: "done" } | { readonly kind: "failed"; readonly message: string };

/** Spins before a waiting worker sleeps: some tens of microseconds. */
const SPIN = 4000;

export const workerSource = `
"use strict";
(function (receive, send) {
  receive(async function (start) {
    const { memory, control, counters, index, workers, scratch, times } = start;
    const now = () => performance.timeOrigin + performance.now();
    const native = (code) => {
      const koffi = require(code.koffi);
      const calls = code.libraries.map((path) => koffi.load(path).func("void " + code.call + "(void *, void *, uint32_t, int32_t, int32_t, uint32_t)"));
      const bytes = new Uint8Array(memory.buffer);
      return (name, operands) => {
        const [library, kernel] = code.kernels[name];
        const [call, at] = [calls[library], Uint32Array.from(operands)];
        return { run: (from, to, scratch) => call(bytes, at, kernel, from, to, scratch), operands: [] };
      };
    };
    const module = async (code) => {
      const { exports } = await WebAssembly.instantiate(code, { env: { memory } });
      return (name, operands) => ({ run: exports[name], operands });
    };
    const functions = await (start.code.koffi === undefined ? module(start.code) : native(start.code));
    const step = (name, units, operands, starts) => ({
      ...functions(name, operands),
      units,
      starts,
      alone: workers > 1 && starts[1] === units,
    });
    const words = new Int32Array(memory.buffer);
    const entries = start.entries.map((steps) => steps.map(([name, units, operands, starts, other]) => ({
      ...step(name, units, operands, starts),
      other: other && { ...step(other[0], other[1], operands, other[3]), flag: other[2] / 4 },
    })));
    const stopped = () => Atomics.load(control, ${Control.stop}) !== 0;
    // true: this worker did the step's last unit
    const work = (step, at) => {
      for (let w = 0; w < workers; ) {
        const range = (index + w) % workers;
        const next = Atomics.load(counters, at + range);
        const left = step.starts[range + 1] - next;
        if (left <= 0) {
          w++;
          continue;
        }
        const take = step.alone ? left : (left + 1) >> 1;
        if (Atomics.compareExchange(counters, at + range, next, next + take) !== next) continue;
        const begun = times && now();
        step.run(next, next + take, scratch, ...step.operands);
        if (times) {
          const t = 2 * ((at / (workers + 1)) * workers + index);
          if (times[t] === 0) times[t] = begun;
          times[t + 1] = now();
        }
        if (Atomics.add(counters, at + workers, take) + take === step.units) return true;
      }
      return false;
    };
    const walk = (run) => {
      const steps = entries[Atomics.load(control, ${Control.entry})].map((s) => (s.other && words[s.other.flag] !== 0 ? s.other : s));
      const from = Atomics.load(control, ${Control.from});
      const to = Atomics.load(control, ${Control.to});
      const place = (i) => (i - from) * (workers + 1);
      const over = (i) => Atomics.load(counters, place(i) + workers) === steps[i].units;
      for (let i = from; i < to; i++) {
        if (work(steps[i], place(i))) {
          if (i === to - 1) return true;
          // nobody is woken for a step that one worker does
          if (!steps[i + 1].alone && Atomics.load(control, ${Control.sleepers}) > 0) {
            Atomics.add(control, ${Control.progress}, 1);
            Atomics.notify(control, ${Control.progress});
          }
          continue;
        }
        let spins = 0;
        while (spins < ${SPIN} && !over(i)) spins++;
        if (spins === ${SPIN}) {
          while (i + 1 < to && steps[i + 1].alone) i++;
          Atomics.add(control, ${Control.sleepers}, 1);
          Atomics.sub(control, ${Control.active}, 1);
          for (;;) {
            const seen = Atomics.load(control, ${Control.progress});
            if (Atomics.load(control, ${Control.open}) !== run || over(i) || stopped()) break;
            Atomics.wait(control, ${Control.progress}, seen, 1000);
          }
          Atomics.add(control, ${Control.active}, 1);
          Atomics.sub(control, ${Control.sleepers}, 1);
          if (Atomics.load(control, ${Control.open}) !== run) return false;
        }
        if (stopped()) return false;
      }
      return false;
    };
    let seen = 0;
    send({ kind: "ready" });
    for (;;) {
      for (let i = 0; i < ${SPIN} && Atomics.load(control, ${Control.run}) === seen; i++);
      while (Atomics.load(control, ${Control.run}) === seen && !stopped()) Atomics.wait(control, ${Control.run}, seen, 1000);
      if (stopped()) return;
      seen = Atomics.load(control, ${Control.run});
      Atomics.add(control, ${Control.active}, 1);
      let last = false;
      try {
        last = Atomics.load(control, ${Control.open}) === seen && walk(seen);
      } catch (e) {
        Atomics.store(control, ${Control.stop}, 1);
        send({ kind: "failed", message: String(e) });
        return;
      }
      if (last) Atomics.store(control, ${Control.open}, 0);
      Atomics.sub(control, ${Control.active}, 1);
      if (last) send({ kind: "done" });
    }
  });
})`;
