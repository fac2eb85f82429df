/** Tensors of a case's files. */
import type { Files } from "../../../src/formats/files.ts";
import { openSafetensors } from "../../../src/formats/safetensors/read.ts";

export interface Vector {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}
export type Vectors = ReadonlyMap<string, Vector>;

export function readVectors(files: Files, path: string): Vectors {
  const store = openSafetensors(files, path);
  return new Map([...store.tensors.values()].map(({ name, shape }) => [name, { shape, data: store.read(name) }]));
}

/** Those whose key begins with `prefix`, without it. */
export function below(vectors: Vectors, prefix: string): Map<string, Vector> {
  return new Map([...vectors].filter(([key]) => key.startsWith(prefix)).map(([key, v]) => [key.slice(prefix.length), v]));
}

export function same(a: Vector, b: Vector): boolean {
  return a.shape.join() === b.shape.join() && Array.prototype.every.call(a.data, (x: number, i: number) => x === b.data[i]);
}

/** `files` to read, with other contents in some places: what `over` has. Writing goes to `over`. */
export function overlaid(files: Files, over: Files): Files {
  const at = (path: string): Files => (over.stat(path)?.kind === "file" ? over : files);
  return {
    stat: (path) => at(path).stat(path),
    list: (folder) => files.list(folder),
    read: (path, offset, length) => at(path).read(path, offset, length),
    readInto: (path, offset, into) => at(path).readInto(path, offset, into),
    draft: (path) => over.draft(path),
    append: (path, bytes) => over.append(path, bytes),
    remove: (path) => over.remove(path),
    rename: (from, to) => over.rename(from, to),
  };
}
