/** What the command line touches of the outside, handed in so that tests run it in their own process. */
export interface Io {
  /** Standard output: results, and events under `--json`. */
  out(text: string): void;
  /** Standard error: progress, notes, problems. */
  err(text: string): void;
  /** Whether standard error is a terminal that can redraw a line. */
  readonly terminal: boolean;
  readonly color: boolean;
  readonly columns: number;
  readonly cwd: string;
  /** Calls `stop` when the user asks to stop (once; a second time ends the process). Gives a function that undoes it. */
  onInterrupt(stop: () => void): () => void;
  /** Seconds on a monotonic clock. */
  now(): number;
}

export function processIo(): Io {
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    terminal: process.stderr.isTTY === true,
    color: process.stderr.isTTY === true && process.env.NO_COLOR === undefined,
    columns: process.stderr.columns ?? 80,
    cwd: process.cwd(),
    onInterrupt(stop) {
      let asked = false;
      const handler = () => {
        if (asked) process.exit(EXIT.interrupted);
        asked = true;
        stop();
      };
      process.on("SIGINT", handler);
      process.on("SIGTERM", handler);
      // the terminal is closed: what was learnt is kept all the same
      process.on("SIGHUP", handler);
      return () => {
        process.off("SIGINT", handler);
        process.off("SIGTERM", handler);
        process.off("SIGHUP", handler);
      };
    },
    now: () => performance.now() / 1000,
  };
}

/** Exit codes, as in the language's "What bad input gets". */
export const EXIT = { ok: 0, mistake: 1, usage: 2, device: 3, bug: 70, interrupted: 130 } as const;
