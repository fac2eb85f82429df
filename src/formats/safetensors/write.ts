/** Writes safetensors files: the same tensors always give the same bytes, those of the reference writer. */
import { Bug } from "../../ir/errors.ts";
import { type Files, joinPath, writeDraft, writeJson } from "../files.ts";
import { bitsOf, narrow, type StoredDType } from "./dtype.ts";

interface Described {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: StoredDType;
}
export interface OutTensor extends Described {
  /** Row-major; asked for once, when its turn to be written comes. */
  readonly values: () => ArrayLike<number>;
}
interface LentTensor extends Described {
  readonly values: () => Promise<ArrayLike<number>>;
}

const META: Readonly<Record<string, string>> = { format: "pt" };

/** Types by alignment, the widest first, then by name: as the reference writer orders them, so that every tensor is aligned. */
const RANK: readonly StoredDType[] = ["I64", "F32", "I32", "BF16", "F16", "I16", "U8", "BOOL"];

function ordered<T extends Described>(tensors: readonly T[]): T[] {
  return [...tensors].sort((a, b) => RANK.indexOf(a.dtype) - RANK.indexOf(b.dtype) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

function bytesOf(tensor: Described): number {
  return (tensor.shape.reduce((product, size) => product * size, 1) * bitsOf(tensor.dtype)!) / 8;
}

/** The length and the JSON, padded with spaces so that data starts at a multiple of 8. */
function header(tensors: readonly Described[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const entries: string[] = [];
  if (Object.keys(metadata).length > 0) {
    const sorted = Object.fromEntries(Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1)));
    entries.push(`"__metadata__":${JSON.stringify(sorted)}`);
  }
  let at = 0;
  for (const tensor of tensors) {
    const end = at + bytesOf(tensor);
    entries.push(
      `${JSON.stringify(tensor.name)}:{"dtype":"${tensor.dtype}","shape":[${tensor.shape.join(",")}],"data_offsets":[${at},${end}]}`,
    );
    at = end;
  }
  const json = new TextEncoder().encode(`{${entries.join(",")}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(8 + padded).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(json, 8);
  return bytes;
}

/**
 * Writes one file beside its place and renames it there. P0681, P0682 as the machine refuses (the old file stays, nothing half-written is left), P0622 for
 * values that a type cannot hold. Two tensors of one name are a `Bug`, as are values that do not fill their shape.
 */
export function writeSafetensors(
  files: Files,
  path: string,
  tensors: readonly OutTensor[],
  metadata: Readonly<Record<string, string>> = META,
): void {
  const order = distinct(path, tensors);
  writeDraft(files, path, (draft) => {
    draft.write(header(order, metadata));
    for (const tensor of order) draft.write(stored(path, tensor, tensor.values()));
  });
}

/** The same for values that must be waited for, one tensor at a time. */
export async function writeSafetensorsOf(files: Files, path: string, tensors: readonly LentTensor[]): Promise<void> {
  const order = distinct(path, tensors);
  const draft = files.draft(path);
  try {
    draft.write(header(order, META));
    for (const tensor of order) draft.write(stored(path, tensor, await tensor.values()));
    draft.commit();
  } catch (error) {
    draft.abandon();
    throw error;
  }
}

/** In the order of the file. */
function distinct<T extends Described>(path: string, tensors: readonly T[]): T[] {
  const order = ordered(tensors);
  const names = new Set<string>();
  for (const { name } of order) {
    if (names.has(name) || name === "__metadata__") throw new Bug(`tensor \`${name}\` would be written twice to \`${path}\``);
    names.add(name);
  }
  return order;
}

function stored(path: string, tensor: Described, values: ArrayLike<number>): Uint8Array {
  const bytes = narrow(tensor.dtype, values, `tensor \`${tensor.name}\` of \`${path}\``);
  if (bytes.length !== bytesOf(tensor)) {
    throw new Bug(`tensor \`${tensor.name}\` of shape [${tensor.shape.join(", ")}] would be written with ${bytes.length} bytes`);
  }
  return bytes;
}

/** transformers' own bound on a shard. */
export const SHARD_BYTES = 5_000_000_000;

/**
 * `model.safetensors`, or shards with an index where it would be larger than `most` bytes (a tensor larger than that gets a shard of its own); weight files
 * of an earlier save are removed at the end. Gives the names written.
 */
export function writeWeights(files: Files, folder: string, tensors: readonly OutTensor[], most: number = SHARD_BYTES): string[] {
  const shards: OutTensor[][] = [[]];
  let filled = 0;
  for (const tensor of [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const bytes = bytesOf(tensor);
    if (filled > 0 && filled + bytes > most) {
      shards.push([]);
      filled = 0;
    }
    shards.at(-1)!.push(tensor);
    filled += bytes;
  }
  const written = new Set<string>();
  const map: Record<string, string> = {};
  shards.forEach((shard, i) => {
    const name = shards.length === 1 ? "model.safetensors" : `model-${five(i + 1)}-of-${five(shards.length)}.safetensors`;
    writeSafetensors(files, joinPath(folder, name), shard);
    written.add(name);
    for (const tensor of shard) map[tensor.name] = name;
  });
  if (shards.length > 1) {
    const total = tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
    writeJson(files, joinPath(folder, "model.safetensors.index.json"), { metadata: { total_size: total }, weight_map: map }, true);
    written.add("model.safetensors.index.json");
  }
  for (const name of files.list(folder)) {
    if (!written.has(name) && /^model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?$/.test(name)) files.remove(joinPath(folder, name));
  }
  return [...written];
}

function five(number: number): string {
  return String(number).padStart(5, "0");
}
