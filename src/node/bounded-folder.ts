/** Folders of files that can be made again: what was used longest ago goes, so that the rest fits. */
import fs from "node:fs";
import path from "node:path";

interface Bounds {
  /** Bytes that stay. */
  readonly most: number;
  /** Milliseconds: files that were used since stay, whatever there is. */
  readonly young?: number;
  /** Files that count; the others are not touched. */
  readonly ours: (name: string) => boolean;
  /** Those that are being written: one that was not written to for an hour is of a process that ended. */
  readonly draft: (name: string) => boolean;
}

const OLD = 3_600_000;

/** Says that a file was used. Throws where it is not there, or is another user's. */
export function touch(file: string): void {
  const now = new Date();
  fs.utimesSync(file, now, now);
}

export function boundFolder(folder: string, { most, young = 0, ours, draft }: Bounds): void {
  const now = Date.now();
  const files = fs
    .readdirSync(folder)
    .filter(ours)
    .flatMap((name) => {
      const stat = fs.statSync(path.join(folder, name), { throwIfNoEntry: false });
      return stat?.isFile() ? [{ name, size: stat.size, age: now - stat.mtimeMs }] : [];
    })
    .sort((a, b) => a.age - b.age);
  let bytes = 0;
  for (const { name, size, age } of files) {
    bytes += size;
    if ((bytes > most && age >= young) || (draft(name) && age > OLD)) fs.rmSync(path.join(folder, name), { force: true });
  }
}
