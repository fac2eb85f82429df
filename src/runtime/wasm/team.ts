/** Worker threads that run steps together: see `worker.ts` for how they share them. */
import { DeviceLost } from "../errors.ts";
import type { StartThread, Thread } from "../threads.ts";
import { Control, type WorkerMessage, type WorkerStart, type WorkerStep } from "./worker.ts";

/** Spins before the caller lets others run while a late worker leaves. */
const SPINS = 4000;

/** Where the ranges of the workers begin, one after the other. `alone`: one worker does it all. */
export const rangesOf = (units: number, alone: boolean, workers: number): number[] =>
  Array.from({ length: workers + 1 }, (_, w) => (alone ? (w === 0 ? 0 : units) : Math.floor((units * w) / workers)));

/** How often in the time of patience it is looked whether anything happens. */
const CHECKS = 20;
/** Why threads of a page do not start. */
const STARTS = ["a page's Content-Security-Policy must allow `worker-src blob:`", "or give fewer workers; `workers: 1` needs no thread"];

interface TeamOptions extends Omit<WorkerStart, "control" | "counters" | "index" | "scratch" | "times"> {
  /** Steps are timed. */
  readonly timed?: boolean;
  readonly startThread: StartThread;
  /** Milliseconds in which all start, and in which any does something while they run. */
  readonly patience: number;
  /** The scratch of a worker. */
  readonly scratchOf: (index: number) => number;
}

export class Team {
  readonly ready: Promise<void>;
  private readonly control = new Int32Array(new SharedArrayBuffer(4 * Control.words));
  private readonly counters: Int32Array;
  private readonly threads: readonly Thread[];
  private running: { resolve: () => void; reject: (e: Error) => void } | undefined;
  private broken: Error | undefined;
  private watching: ReturnType<typeof setInterval> | undefined;
  private readonly fresh = new Map<string, Int32Array>();
  private readonly words: Int32Array;
  /** Of the last run: see `WorkerStart`. */
  readonly times: Float64Array | undefined;

  constructor(private readonly options: TeamOptions) {
    const { startThread, scratchOf, patience, timed, ...start } = options;
    const { workers, entries } = start;
    this.words = new Int32Array(start.memory.buffer);
    const most = Math.max(1, ...entries.map((steps) => steps.length));
    this.counters = new Int32Array(new SharedArrayBuffer(4 * most * (workers + 1)));
    if (timed) this.times = new Float64Array(new SharedArrayBuffer(16 * most * workers));
    const times = this.times && { times: this.times };
    this.threads = this.started(workers, startThread);
    this.ready = new Promise((resolve, reject) => {
      let waiting = this.threads.length;
      if (this.broken) return void reject(this.broken);
      const late = setTimeout(
        () => this.fail(new DeviceLost(`${waiting} of ${workers} worker threads did not start within ${patience / 1000} s`, STARTS)),
        patience,
      );
      this.running = { resolve, reject };
      this.threads.forEach((t, index) => {
        t.hold(true);
        t.listen(
          (m) => {
            const message = m as WorkerMessage;
            if (message.kind === "failed") this.fail(new DeviceLost(`a worker thread failed: ${message.message}`));
            else if (message.kind === "done") this.finish();
            else if (--waiting === 0) {
              clearTimeout(late);
              this.finish();
            }
          },
          (e) => {
            clearTimeout(late);
            this.fail(
              waiting > 0
                ? new DeviceLost(`a worker thread did not start${e.message ? `: ${e.message}` : ""}`, STARTS)
                : new DeviceLost(`a worker thread failed${e.message ? `: ${e.message}` : ""}`),
            );
          },
        );
        t.send({
          ...start,
          ...times,
          control: this.control,
          counters: this.counters,
          index,
          scratch: scratchOf(index),
        } satisfies WorkerStart);
      });
    });
  }

  async run(entry: number, from: number, to: number): Promise<void> {
    if (this.broken) throw this.broken;
    const c = this.control;
    // one that is late leaves as soon as it sees that its run is over
    for (let spins = 0; Atomics.load(c, Control.active) > 0; spins++)
      if (spins > SPINS) await new Promise((resolve) => setTimeout(resolve, 0));
    this.times?.fill(0);
    return new Promise((resolve, reject) => {
      this.running = { resolve, reject };
      this.watch();
      for (const t of this.threads) t.hold(true);
      this.counters.set(this.countersFor(entry, from, to));
      Atomics.store(c, Control.entry, entry);
      Atomics.store(c, Control.from, from);
      Atomics.store(c, Control.to, to);
      Atomics.store(c, Control.open, Atomics.load(c, Control.run) + 1);
      Atomics.add(c, Control.run, 1);
      Atomics.notify(c, Control.run);
      Atomics.add(c, Control.progress, 1);
      Atomics.notify(c, Control.progress);
    });
  }

  /** The threads; what cannot be started at all is told by `ready`. */
  private started(workers: number, start: StartThread): Thread[] {
    try {
      return Array.from({ length: workers }, start);
    } catch (e) {
      this.broken = new DeviceLost(`a worker thread did not start: ${String(e)}`, STARTS);
      return [];
    }
  }

  /** Ends a run in which nothing happens: a thread that the engine took away says nothing. */
  private watch(): void {
    clearInterval(this.watching);
    let seen = "";
    let still = 0;
    const tick = Math.max(1, this.options.patience / CHECKS);
    this.watching = setInterval(() => {
      const now = this.counters.join();
      still = now === seen ? still + 1 : 0;
      seen = now;
      if (still >= CHECKS)
        this.fail(
          new DeviceLost(`no worker thread did anything for ${this.options.patience / 1000} s`, [
            "the engine may have ended one, for want of memory",
          ]),
        );
    }, tick);
    // a process need not stay for it
    (this.watching as { unref?: () => void }).unref?.();
  }

  /** Where every range begins, and nothing done. */
  private countersFor(entry: number, from: number, to: number): Int32Array {
    const { workers, entries } = this.options;
    const others = entries[entry].slice(from, to).map(([, , , , other]) => other && this.words[other[2] / 4] !== 0);
    const key = `${entry} ${from} ${to} ${others.some((o) => o) ? others.map((o) => (o ? 1 : 0)).join("") : ""}`;
    let out = this.fresh.get(key);
    if (!out) {
      const of = ([, , , starts, other]: WorkerStep, i: number) => [...(other && others[i] ? other[3] : starts).slice(0, workers), 0];
      out = Int32Array.from(entries[entry].slice(from, to).flatMap(of));
      this.fresh.set(key, out);
    }
    return out;
  }

  private wake(): void {
    for (const word of [Control.run, Control.progress]) Atomics.notify(this.control, word);
  }
  private finish(): void {
    clearInterval(this.watching);
    for (const t of this.threads) t.hold(false);
    this.running?.resolve();
    this.running = undefined;
  }
  private fail(e: Error): void {
    this.broken ??= e;
    clearInterval(this.watching);
    Atomics.store(this.control, Control.stop, 1);
    this.wake();
    for (const t of this.threads) t.hold(false);
    this.running?.reject(this.broken);
    this.running = undefined;
  }
  async close(): Promise<void> {
    clearInterval(this.watching);
    Atomics.store(this.control, Control.stop, 1);
    this.wake();
    await Promise.all(this.threads.map((t) => t.end()));
    this.running?.reject(new DeviceLost("the session was closed during a run"));
    this.running = undefined;
  }
}
