import { printable } from "../ir/printable.ts";
import { Signals } from "./signals.ts";

/** What the command line touches of the outside, handed in so that tests run it in their own process. */
export interface Io {
  /** Standard output: results, and events under `--json`. */
  out(text: string): void;
  /** Standard output for what a model wrote: as it is, but for a terminal. */
  asIs?(text: string): void;
  /** Standard error: progress, notes, problems. */
  err(text: string): void;
  /** Whether standard error is a terminal that can redraw a line. */
  readonly terminal: boolean;
  readonly color: boolean;
  readonly columns: number;
  readonly cwd: string;
  /** Calls `stop` when the user asks to stop (once; a second time ends the process). Gives a function that undoes it. */
  onInterrupt(stop: () => void): () => void;
  /** From now on signals are heard while the event loop turns. */
  listen?(): void;
  /** Runs work in one piece, with nothing to save: signals end the process. */
  plainly?<T>(work: () => Promise<T>): Promise<T>;
  /** Seconds on a monotonic clock. */
  now(): number;
}

export function processIo(): Io {
  const signals = new Signals();
  return {
    out: (text) => void process.stdout.write(text),
    asIs: (text) => void process.stdout.write(process.stdout.isTTY ? printable(text, "\n\t") : text),
    err: (text) => void process.stderr.write(text),
    terminal: process.stderr.isTTY === true,
    color: process.stderr.isTTY === true && process.env.NO_COLOR === undefined,
    columns: process.stderr.columns ?? 80,
    cwd: process.cwd(),
    onInterrupt: (stop) => signals.saving(stop),
    listen: () => signals.listen(),
    plainly: (work) => signals.plainly(work),
    now: () => performance.now() / 1000,
  };
}
