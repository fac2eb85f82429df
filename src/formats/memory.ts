/** Files in memory, for a page and for tests. */
import { type Draft, type FileStat, type Files, fileFailure } from "./files.ts";

/** `content`: path to bytes or text; changed in place, so that what was written can be read from it. Folders are what paths imply. */
export class MemoryFiles implements Files {
  readonly content: Map<string, Uint8Array>;

  constructor(content: Iterable<readonly [string, Uint8Array | string]> = []) {
    this.content = new Map();
    for (const [path, data] of content) this.content.set(path, typeof data === "string" ? new TextEncoder().encode(data) : data);
  }

  stat(path: string): FileStat | undefined {
    const bytes = this.content.get(path);
    if (bytes !== undefined) return { kind: "file", size: bytes.length };
    const inside = folderPrefix(path);
    for (const name of this.content.keys()) if (name.startsWith(inside)) return { kind: "folder", size: 0 };
    return undefined;
  }

  list(folder: string): string[] {
    const inside = folderPrefix(folder);
    const names = new Set<string>();
    for (const path of this.content.keys()) if (path.startsWith(inside)) names.add(path.slice(inside.length).split("/")[0]);
    if (names.size === 0) throw fileFailure(folder, "ENOENT", "");
    return [...names].sort();
  }

  read(path: string, offset: number, length: number): Uint8Array {
    const bytes = this.content.get(path);
    if (bytes === undefined) throw fileFailure(path, this.stat(path) === undefined ? "ENOENT" : "EISDIR", "");
    if (offset + length > bytes.length) throw fileFailure(path, undefined, `it ends at byte ${bytes.length}, before ${offset + length}`);
    return bytes.slice(offset, offset + length);
  }

  async readInto(path: string, offset: number, into: Uint8Array): Promise<void> {
    into.set(this.read(path, offset, into.length));
  }

  draft(path: string): Draft {
    const pieces: Uint8Array[] = [];
    return {
      write: (bytes) => void pieces.push(bytes.slice()),
      commit: () => void this.content.set(path, join(pieces)),
      abandon: () => void pieces.splice(0),
    };
  }

  append(path: string, bytes: Uint8Array): void {
    this.content.set(path, join([this.content.get(path) ?? new Uint8Array(), bytes]));
  }

  remove(path: string): void {
    const inside = folderPrefix(path);
    for (const name of [...this.content.keys()]) if (name === path || name.startsWith(inside)) this.content.delete(name);
  }

  rename(from: string, to: string): void {
    if (this.stat(from) === undefined) throw fileFailure(from, "ENOENT", "");
    for (const [name, bytes] of [...this.content]) {
      if (name !== from && !name.startsWith(folderPrefix(from))) continue;
      this.content.delete(name);
      this.content.set(to + name.slice(from.length), bytes);
    }
  }
}

function folderPrefix(path: string): string {
  return path === "" || path === "." ? "" : path.endsWith("/") ? path : `${path}/`;
}

function join(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
