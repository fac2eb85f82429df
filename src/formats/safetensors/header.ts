/**
 * The header of a safetensors file: 8 bytes of length (little-endian), that many bytes of JSON (spaces may follow it), then the tensors'
 * bytes, back to back without holes. The rules are those of the reference reader (safetensors 0.8); each broken one is its own error.
 */
import type { Code } from "../../ground/codes.ts";
import { InputError } from "../../ir/errors.ts";
import { describe, type Files, fileFailure, isRecord, type Json, type JsonRecord } from "../files.ts";
import { NotStrict, parseJson, requireStrict } from "../json.ts";
import { bitsOf, KNOWN_DTYPES } from "./dtype.ts";

export interface TensorInfo {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly file: string;
  /** Of its bytes in the file. */
  readonly offset: number;
  readonly bytes: number;
}

interface Header {
  /** In the order of the header. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
}

const MOST_AXES = 64;
/** The reference reader's bound on a header. */
const MAX_HEADER = 100_000_000;

function refuse(code: Code, file: string, what: string, ...notes: string[]): InputError {
  return new InputError(code, `\`${file}\` is not a sound safetensors file: ${what}`, notes);
}

/**
 * Reads the header alone. Errors: P0680 no file · P0610 too short or no length · P0611 length out of bounds · P0612 not JSON · P0613 an entry
 * or the metadata is malformed · P0614 unknown type · P0615 size is not shape times type · P0616 bytes overlap or leave a hole · P0617 bytes
 * missing at the end or left over.
 */
export function readHeader(files: Files, file: string): Header {
  const stat = files.stat(file);
  if (stat === undefined) throw fileFailure(file, "ENOENT", "");
  if (stat.kind === "folder") throw fileFailure(file, "EISDIR", "");
  if (stat.size < 8)
    throw refuse("P0610", file, `it has ${stat.size} bytes, fewer than the 8 of the header's length`, "was the download cut off?");
  const start = files.read(file, 0, 8);
  const length = Number(new DataView(start.buffer, start.byteOffset, 8).getBigUint64(0, true));
  if (length > MAX_HEADER || length < 2 || 8 + length > stat.size) {
    const pointer = new TextDecoder().decode(start).startsWith("version ");
    throw refuse(
      "P0611",
      file,
      `its first 8 bytes give a header of ${length} bytes, in a file of ${stat.size}`,
      pointer
        ? "this is a Git LFS pointer: fetch the file itself (`git lfs pull`)"
        : "was the download cut off, or is it another kind of file?",
    );
  }
  const json = parseHeader(file, files.read(file, 8, length));
  const metadata = readMetadata(file, json.__metadata__);
  const data = 8 + length;
  const tensors = new Map<string, TensorInfo>();
  for (const [name, entry] of Object.entries(json)) {
    if (name !== "__metadata__") tensors.set(name, readEntry(file, name, entry, data));
  }
  checkLayout(file, [...tensors.values()], data, stat.size);
  return { tensors, metadata };
}

function parseHeader(file: string, bytes: Uint8Array): JsonRecord {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw refuse("P0612", file, "its header is not UTF-8");
  }
  if (!text.startsWith("{")) throw refuse("P0612", file, `its header starts with ${JSON.stringify(text.slice(0, 1))}, not with {`);
  const parsed = parseJson(text);
  if ("fault" in parsed) throw refuse("P0612", file, `its header is not JSON: ${parsed.fault}`);
  try {
    // name, entry, list: nothing in a header lies deeper
    requireStrict(text, 3);
  } catch (error) {
    if (!(error instanceof NotStrict)) throw error;
    throw refuse("P0613", file, `in its header ${error.message}`);
  }
  return parsed.value as JsonRecord;
}

function readMetadata(file: string, value: Json | undefined): Record<string, string> {
  if (value === undefined || value === null) return {};
  if (!isRecord(value)) throw refuse("P0613", file, `__metadata__ is ${describe(value)} where an object is wanted`);
  for (const [key, item] of Object.entries(value)) {
    if (typeof item !== "string") throw refuse("P0613", file, `__metadata__.${key} is ${describe(item)} where a string is wanted`);
  }
  return { ...value } as Record<string, string>;
}

const cut = (value: Json | undefined): string => {
  const text = JSON.stringify(value ?? null);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
};

function isSizes(value: Json | undefined): value is readonly number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && (size as number) >= 0);
}

function readEntry(file: string, name: string, entry: Json, data: number): TensorInfo {
  const bad = (what: string) => refuse("P0613", file, `tensor \`${name}\`: ${what}`);
  if (!isRecord(entry)) throw bad(`its entry is ${describe(entry)} where an object is wanted`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string") throw bad(`dtype is ${describe(dtype)} where a string is wanted`);
  if (!isSizes(shape)) throw bad(`shape is ${cut(shape)} where a list of sizes is wanted`);
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[1] < offsets[0]) {
    throw bad(`data_offsets is ${cut(offsets)} where [start, end] is wanted`);
  }
  const bits = bitsOf(dtype);
  if (bits === undefined)
    throw refuse("P0614", file, `tensor \`${name}\` has the unknown type ${dtype}`, `known are ${KNOWN_DTYPES.join(", ")}`);
  // a product past 2^53 is not exact, and a zero behind it would hide that
  if (shape.reduce((product, size) => (size === 0 ? product : product * size), 1) > Number.MAX_SAFE_INTEGER)
    throw bad(`shape [${shape.join(", ")}] has more elements than can be counted`);
  if (shape.length > MOST_AXES) throw bad(`it has ${shape.length} axes, more than ${MOST_AXES}`);
  if (name.includes("\0")) throw bad("its name has a null character in it");
  const wanted = (shape.reduce((product, size) => product * size, 1) * bits) / 8;
  const bytes = offsets[1] - offsets[0];
  if (bytes !== wanted) {
    throw refuse("P0615", file, `tensor \`${name}\` has ${bytes} bytes, but ${dtype}[${shape.join(", ")}] takes ${wanted}`);
  }
  return { name, dtype, shape, file, offset: data + offsets[0], bytes };
}

function checkLayout(file: string, tensors: readonly TensorInfo[], data: number, size: number): void {
  const order = [...tensors].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  let end = data;
  let before = "the header";
  for (const tensor of order) {
    if (tensor.offset < end) throw refuse("P0616", file, `tensor \`${tensor.name}\` overlaps ${before} by ${end - tensor.offset} bytes`);
    if (tensor.offset > end)
      throw refuse("P0616", file, `there is a hole of ${tensor.offset - end} bytes between ${before} and tensor \`${tensor.name}\``);
    end = tensor.offset + tensor.bytes;
    before = `tensor \`${tensor.name}\``;
  }
  if (end > size) throw refuse("P0617", file, `${before} ends at byte ${end}, but the file has ${size}`, "was the download cut off?");
  if (end < size) throw refuse("P0617", file, `${size - end} bytes follow ${before}, which should be last`);
}
