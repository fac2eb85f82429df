/** Other programs, run to their end. */
import { spawn } from "node:child_process";

interface Ended {
  readonly out: string;
  readonly err: string;
  /** `null`: a signal ended it. */
  readonly status: number | null;
}

/** What a program printed; `undefined`: there is no such program. It is given no input. */
export function outputOf(command: string, args: readonly string[]): Promise<Ended | undefined> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    let [out, err] = ["", ""];
    child.stdout.on("data", (data: Buffer) => {
      out += data.toString();
    });
    child.stderr.on("data", (data: Buffer) => {
      err += data.toString();
    });
    child.on("error", () => resolve(undefined));
    child.on("close", (status) => resolve({ out, err, status }));
  });
}
