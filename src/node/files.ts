/** The file system of Node behind the `Files` interface. */
import fs from "node:fs";
import path from "node:path";
import { type Draft, type FileStat, type Files, fileFailure } from "../formats/files.ts";
import { printable } from "../ir/printable.ts";
import { cachedPath } from "./hub.ts";
import { isHub } from "./hub-names.ts";
import { whenLeaving } from "./leaving.ts";

/** The largest single read: `fs.readSync` takes lengths below 2 GiB only. */
const PIECE = 1 << 30;

function isSystemError(error: unknown): error is { code: string; message: string } {
  return typeof error === "object" && error !== null && "code" in error && "syscall" in error;
}

/** Runs one file operation; what the system refuses becomes an `InputError` about `file`. */
function attempt<T>(file: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (isSystemError(error)) throw fileFailure(file, error.code, error.message);
    throw error;
  }
}

/** `fs.promises` would make an object for each file; this reads on the same threads. */
function readSome(handle: number, into: Uint8Array, at: number, length: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.read(handle, into, at, length, position, (error, read) => (error ? reject(error) : resolve(read)));
  });
}

export class NodeFiles implements Files {
  /** `root`: what relative paths are relative to. */
  constructor(private readonly root: string = process.cwd()) {}

  private at(file: string): string {
    // the system's calls take no such name, and say so in words of their own
    if (file.includes("\0")) throw fileFailure(printable(file), "EINVAL", "");
    return isHub(file) ? cachedPath(file) : path.resolve(this.root, file);
  }

  stat(file: string): FileStat | undefined {
    return attempt(file, () => {
      const stat = statOf(this.at(file));
      if (stat === undefined) return undefined;
      if (stat.isFile()) return { kind: "file", size: stat.size, changed: stat.mtimeMs };
      return { kind: stat.isDirectory() ? "folder" : "other", size: 0 };
    });
  }

  identity(file: string): string {
    try {
      return fs.realpathSync(this.at(file));
    } catch {
      return file;
    }
  }

  list(folder: string): string[] {
    return attempt(folder, () => fs.readdirSync(this.at(folder)).sort());
  }

  read(file: string, offset: number, length: number): Uint8Array {
    return attempt(file, () => {
      const handle = fs.openSync(this.at(file), "r");
      try {
        const bytes = new Uint8Array(length);
        for (let done = 0; done < length; ) {
          const read = fs.readSync(handle, bytes, done, Math.min(PIECE, length - done), offset + done);
          if (read === 0) throw fileFailure(file, undefined, `it ends at byte ${offset + done}, before ${offset + length}`);
          done += read;
        }
        return bytes;
      } finally {
        fs.closeSync(handle);
      }
    });
  }

  async readInto(file: string, offset: number, into: Uint8Array): Promise<void> {
    const handle = attempt(file, () => fs.openSync(this.at(file), "r"));
    try {
      for (let done = 0; done < into.length; ) {
        const read = await readSome(handle, into, done, Math.min(PIECE, into.length - done), offset + done);
        if (read === 0) throw fileFailure(file, undefined, `it ends at byte ${offset + done}, before ${offset + into.length}`);
        done += read;
      }
    } catch (error) {
      throw isSystemError(error) ? fileFailure(file, error.code, error.message) : error;
    } finally {
      fs.closeSync(handle);
    }
  }

  draft(file: string): Draft {
    const target = this.at(file);
    const beside = path.join(path.dirname(target), `.${path.basename(target)}.${process.pid}.part`);
    const handle = attempt(file, () => {
      fs.mkdirSync(path.dirname(target), { recursive: true });
      if (statOf(target)?.isDirectory()) throw fileFailure(file, "EISDIR", "");
      return fs.openSync(beside, "w");
    });
    const stay = whenLeaving(() => fs.rmSync(beside, { force: true }));
    let open = true;
    const close = () => {
      if (open) {
        open = false;
        fs.closeSync(handle);
      }
    };
    return {
      write: (bytes) =>
        attempt(file, () => {
          for (let done = 0; done < bytes.length; ) done += fs.writeSync(handle, bytes, done, Math.min(PIECE, bytes.length - done));
        }),
      commit: () =>
        attempt(file, () => {
          fs.fsyncSync(handle);
          close();
          fs.renameSync(beside, target);
          stay();
          syncFolder(path.dirname(target));
        }),
      abandon: () => {
        close();
        stay();
        fs.rmSync(beside, { force: true });
      },
    };
  }

  append(file: string, bytes: Uint8Array): void {
    attempt(file, () => {
      fs.mkdirSync(path.dirname(this.at(file)), { recursive: true });
      fs.appendFileSync(this.at(file), bytes);
    });
  }

  remove(file: string): void {
    attempt(file, () => fs.rmSync(this.at(file), { recursive: true, force: true }));
  }

  rename(from: string, to: string): void {
    attempt(to, () => {
      fs.mkdirSync(path.dirname(this.at(to)), { recursive: true });
      fs.renameSync(this.at(from), this.at(to));
      syncFolder(path.dirname(this.at(to)));
    });
  }
}

function statOf(file: string): fs.Stats | undefined {
  try {
    return fs.statSync(file, { throwIfNoEntry: false });
  } catch (error) {
    if (isSystemError(error) && error.code === "ENOTDIR") return undefined;
    throw error;
  }
}

/** Makes a rename durable. Windows opens no folders and needs none of this. */
function syncFolder(folder: string): void {
  if (process.platform === "win32") return;
  const handle = fs.openSync(folder, "r");
  try {
    fs.fsyncSync(handle);
  } finally {
    fs.closeSync(handle);
  }
}
