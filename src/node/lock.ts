/**
 * A run's folder belongs to one process at a time: a file in it says to which. It is made in one step that fails where it is there already, which
 * network file systems keep too. One left by a process of this machine that is gone is taken over; one of another machine cannot be judged from here.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { InputError } from "../ir/errors.ts";
import { whenLeaving } from "./leaving.ts";

const LOCK = ".peftc-lock";

interface Owner {
  readonly pid: number;
  readonly host: string;
}

/** Takes the folder, and gives what lets it go. P0829: somebody has it. */
export function claim(folder: string): () => void {
  const file = path.join(folder, LOCK);
  const own: Owner = { pid: process.pid, host: os.hostname() };
  fs.mkdirSync(folder, { recursive: true });
  for (let tries = 0; ; tries++) {
    try {
      fs.writeFileSync(file, JSON.stringify(own), { flag: "wx" });
      const release = () => {
        fs.rmSync(file, { force: true });
        // a run that never began leaves nothing behind
        if (fs.existsSync(folder) && fs.readdirSync(folder).length === 0) fs.rmdirSync(folder);
      };
      const stay = whenLeaving(release);
      return () => {
        stay();
        release();
      };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const other = read(file);
    if (other !== undefined && (other.host !== own.host || isAlive(other.pid)))
      throw new InputError("P0829", `\`${folder}\` is another run's: process ${other.pid} on ${other.host} is at work there`, [
        "wait for it, or choose another folder with --output",
        `if that run is gone, remove \`${file}\``,
      ]);
    if (tries > 3) throw new InputError("P0829", `\`${file}\` cannot be taken over`, ["remove it, if no run is at work there"]);
    fs.rmSync(file, { force: true });
  }
}

/** `undefined`: nothing that a run writes; what is cut off was left by one that was killed. */
function read(file: string): Owner | undefined {
  try {
    const { pid, host } = JSON.parse(fs.readFileSync(file, "utf8")) as Partial<Owner>;
    return Number.isSafeInteger(pid) && typeof host === "string" ? { pid: pid!, host } : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a process of this machine is there. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // no right to signal it: it is there
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
