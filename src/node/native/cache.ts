/**
 * Compiled kernels on disk, by what they were compiled from: the user's cache folder, or a folder of this process alone where that cannot be written. It may be deleted at any
 * time; a file is written under a temporary name and renamed, so that whatever has its name is whole.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileFailure } from "../../formats/files.ts";
import { boundFolder, touch } from "../bounded-folder.ts";
import { whenLeaving } from "../leaving.ts";
import { cacheFolder } from "../program-cache.ts";
import { type Compiler, compileFile } from "./compiler.ts";

/** Bytes that the folder holds; beyond, what was used longest ago goes. */
const MOST = 256 * 2 ** 20;
/** Files that were used in the last minutes stay: another process may be about to load them. */
const YOUNG = 10 * 60_000;

export class Cache {
  private constructor(
    readonly folder: string,
    /** Why the user's folder is not taken, in words. */
    readonly instead: string | undefined,
  ) {}

  /** Takes the user's folder, or where it cannot be written a temporary one that goes with this process. */
  static open(wanted: string | undefined = cacheFolder()): Cache {
    if (wanted === undefined) return Cache.temporary("`PEFTC_CACHE` is off: kernels are compiled for this run alone");
    const folder = path.join(wanted, "native");
    const probe = path.join(folder, `.${process.pid}.probe`);
    try {
      fs.mkdirSync(folder, { recursive: true });
      fs.writeFileSync(probe, "");
      fs.unlinkSync(probe);
      return new Cache(folder, undefined);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === undefined) throw error;
      return Cache.temporary(`\`${folder}\` cannot be written (${code}): kernels are compiled for this run alone`);
    }
  }
  private static temporary(instead: string): Cache {
    const folder = fs.mkdtempSync(path.join(tmpdir(), "peftc-native-"));
    whenLeaving(() => fs.rmSync(folder, { recursive: true, force: true }));
    return new Cache(folder, instead);
  }

  private place(compiler: Compiler, text: string): string {
    const hash = createHash("sha256").update(compiler.identity).update("\0").update(text).digest("hex");
    return path.join(this.folder, `${hash.slice(0, 40)}.so`);
  }
  /** Whether a text is compiled already. */
  has(compiler: Compiler, text: string): boolean {
    return fs.existsSync(this.place(compiler, text));
  }

  /** The library of a text: as it lies there, or compiled now. Throws `NoDevice` where the compiler fails. */
  async library(compiler: Compiler, text: string): Promise<string> {
    const place = this.place(compiler, text);
    try {
      touch(place);
      return place;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
        // it may be another user's: it can be loaded all the same
        if (fs.existsSync(place)) return place;
      }
    }
    const draft = path.join(this.folder, `.${process.pid}.${path.basename(place, ".so")}`);
    try {
      fs.writeFileSync(`${draft}.c`, text);
      await compileFile(compiler, `${draft}.c`, `${draft}.so`);
      fs.renameSync(`${draft}.so`, place);
    } catch (error) {
      const { code, syscall, message } = error as NodeJS.ErrnoException;
      if (code === undefined || syscall === undefined) throw error;
      throw fileFailure(this.folder, code, message);
    } finally {
      fs.rmSync(`${draft}.c`, { force: true });
      fs.rmSync(`${draft}.so`, { force: true });
    }
    return place;
  }

  /** Removes what was used longest ago until the rest is within bounds. */
  trim(most = MOST, young = YOUNG): void {
    boundFolder(this.folder, { most, young, ours: () => true, draft: (name) => name.startsWith(".") });
  }
}
