/**
 * Ctrl-C, a request to end, a terminal that was closed. While something runs that can be stopped between two of its parts, they ask it to; where nothing has to be
 * saved they end the process with exit code 130. During work in one piece (compiling, making tables) nobody could hear them: there the system ends the process.
 */
import { EXIT } from "./exit.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export class Signals {
  private stop: (() => void) | undefined;
  private asked = false;
  private deaf = 0;
  private on = false;
  private readonly answer = () => {
    if (this.stop !== undefined && !this.asked) {
      this.asked = true;
      this.stop();
      return;
    }
    // locks and half-written files go with it: see `whenLeaving`
    process.stderr.write("interrupted: nothing that was there is lost\n");
    process.exit(EXIT.interrupted);
  };

  /** From now on signals are answered here. */
  listen(): void {
    if (this.on || this.deaf > 0) return;
    this.on = true;
    for (const name of SIGNALS) process.on(name, this.answer);
  }

  /** The first signal calls `stop`, the second ends the process. Gives what takes that back. */
  saving(stop: () => void): () => void {
    this.listen();
    this.stop = stop;
    this.asked = false;
    return () => {
      this.stop = undefined;
    };
  }

  /** Work that does not let the event loop turn, with nothing to save: the system's own answer, the end at once, is let through. */
  async plainly<T>(work: () => Promise<T>): Promise<T> {
    // what came until now is answered first
    await new Promise((resolve) => setImmediate(resolve));
    this.deaf++;
    if (this.on) for (const name of SIGNALS) process.off(name, this.answer);
    this.on = false;
    try {
      return await work();
    } finally {
      this.deaf--;
      this.listen();
    }
  }
}
