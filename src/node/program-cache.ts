/**
 * Compiled programs in the user's cache folder, so that a run that is started again does not compile again. It can be deleted at any time. A file says the
 * checksum of what follows, and one that is not whole counts as none: so does a folder that cannot be written, since nothing depends on it.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { deserialize, serialize } from "node:v8";
import type { Built } from "../train/engine/engine.ts";
import type { BuildStore } from "../train/engine/remember.ts";
import { boundFolder, touch } from "./bounded-folder.ts";

declare const PEFTC_CODE: string | undefined;

/** Of the sources that this command line was made of; `undefined`: it runs from the sources themselves, which change. */
export const compilerCode = (): string | undefined => (typeof PEFTC_CODE === "undefined" ? undefined : PEFTC_CODE);

/** Bytes of all programs that stay. */
const MOST = 256 * 2 ** 20;
const DIGEST = 32;
const ENDING = ".program";

/** `PEFTC_CACHE` names a folder, or is `off`: then `undefined`. Else `peftc` where the user's programs keep what they can make again. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string | undefined {
  if (env.PEFTC_CACHE === "off") return undefined;
  return path.resolve(env.PEFTC_CACHE || path.join(env.XDG_CACHE_HOME || path.join(homedir(), ".cache"), "peftc"));
}

export function programCache(folder: string, most = MOST): BuildStore {
  return {
    read(key) {
      const file = path.join(folder, key + ENDING);
      try {
        const bytes = fs.readFileSync(file);
        const body = bytes.subarray(DIGEST);
        if (bytes.length < DIGEST || !sum(body).equals(bytes.subarray(0, DIGEST))) return undefined;
        touch(file);
        return deserialize(body) as Built;
      } catch (error) {
        if (isOfFiles(error)) return undefined;
        throw error;
      }
    },
    write(key, built) {
      const body = serialize(built);
      if (body.length > most / 4) return;
      const file = path.join(folder, key + ENDING);
      const part = `${file}.${process.pid}.part`;
      try {
        fs.mkdirSync(folder, { recursive: true });
        fs.writeFileSync(part, sum(body));
        fs.appendFileSync(part, body);
        fs.renameSync(part, file);
        const draft = (name: string) => name.endsWith(".part");
        boundFolder(folder, { most, ours: (name) => name.endsWith(ENDING) || draft(name), draft });
      } catch (error) {
        if (!isOfFiles(error)) throw error;
      }
    },
  };
}

const sum = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();
const isOfFiles = (error: unknown): boolean => typeof (error as NodeJS.ErrnoException | null)?.code === "string";
