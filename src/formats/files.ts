/**
 * Files as this room sees them: the few calls that a file system, an in-memory map or an origin-private file system can all give. Synchronous,
 * because a compiler asks for headers while it elaborates. Paths use `/`.
 */
import type { Code } from "../ground/codes.ts";
import type { Json, JsonRecord } from "../ground/json.ts";
import { InputError } from "../ir/errors.ts";
import { parseJson } from "./json.ts";
import { Numeral } from "./numeral.ts";

export type { Json, JsonRecord } from "../ground/json.ts";

export interface FileStat {
  /** `other`: a pipe, a device, a socket: nothing that could be read to its end. */
  readonly kind: "file" | "folder" | "other";
  /** Bytes; 0 for all but a file. */
  readonly size: number;
  /** When it was last changed, in milliseconds; absent where nobody keeps that. */
  readonly changed?: number;
}

/** A file being written beside its final place. Nothing is seen under the final name before `commit`. */
export interface Draft {
  write(bytes: Uint8Array): void;
  /** Makes the bytes durable and gives the file its name, over what was there. */
  commit(): void;
  /** Leaves no trace. Safe after a failed `write` or `commit`. */
  abandon(): void;
}

/** Implementations throw `InputError` (P0680 to P0684) for what the machine refuses: see `fileFailure`. */
export interface Files {
  /** `undefined`: there is nothing of that name. */
  stat(path: string): FileStat | undefined;
  /** A name for a file that all paths to it share, links followed; the path itself where there is none. */
  identity?(path: string): string;
  /** Names in a folder, sorted by code unit, without `.` and `..`. */
  list(folder: string): string[];
  /** Exactly `length` bytes from `offset` on, as a copy the caller owns; any length and offset, past 2 GiB too. */
  read(path: string, offset: number, length: number): Uint8Array;
  /** Fills `into`, which may lie in shared memory, with the bytes from `offset` on; several may be under way. */
  readInto(path: string, offset: number, into: Uint8Array): Promise<void>;
  /** Starts a file; folders above it are made. */
  draft(path: string): Draft;
  /** Adds to the end of a file in one call, making it if need be. */
  append(path: string, bytes: Uint8Array): void;
  /** Takes away a file, or a folder with all it holds; nothing happens where there is nothing. */
  remove(path: string): void;
  /** Gives a file or a folder another name in one step and durably, so that a folder appears whole or not at all. Nothing may be at `to`. */
  rename(from: string, to: string): void;
}

const REASONS: Readonly<Record<string, readonly [code: Code, text: string, note: string]>> = {
  ENOENT: ["P0680", "does not exist", "paths that are read are relative to the .peft file"],
  ENOTDIR: ["P0680", "does not exist: something above it is a file", "check the path"],
  EACCES: ["P0681", "may not be opened: no permission", "change its permissions, or choose another path"],
  EPERM: ["P0681", "may not be changed: no permission", "change its permissions, or choose another path"],
  EROFS: ["P0681", "lies on a read-only file system", "choose another path"],
  ENOSPC: ["P0682", "cannot be written: the disk is full", "nothing was left half-written; free some space, or save elsewhere"],
  EDQUOT: ["P0682", "cannot be written: the disk quota is used up", "nothing was left half-written; free some space, or save elsewhere"],
  EFBIG: ["P0682", "cannot be written: larger than the file system allows", "save to another file system, or in shards"],
  ELOOP: ["P0680", "is a link that leads back to itself", "check the path"],
  ENAMETOOLONG: ["P0684", "is too long a name for the file system", "choose a shorter one"],
  EIO: [
    "P0684",
    "could not be read or written: the disk reports an error",
    "look at the disk before going on; nothing was left half-written",
  ],
  EPIPE: ["P0688", "is no ordinary file", "a pipe or a device cannot be read as a file: store it as one first"],
  EINVAL: ["P0684", "is no name that the file system takes", "names have no null characters in them"],
  EISDIR: ["P0683", "is a folder where a file is wanted", "name the file inside it"],
};

/** What a machine's refusal (`ENOENT`, `ENOSPC`, ...) means to a person. */
export function fileFailure(path: string, errno: string | undefined, detail: string): InputError {
  const reason = errno === undefined ? undefined : REASONS[errno];
  if (reason === undefined) return new InputError("P0684", `\`${path}\` could not be read or written: ${detail}`);
  return new InputError(reason[0], `\`${path}\` ${reason[1]}`, [reason[2]]);
}

export function joinPath(folder: string, name: string): string {
  if (folder === "" || folder === "." || name.startsWith("/")) return name;
  return folder.endsWith("/") ? folder + name : `${folder}/${name}`;
}

export function baseName(path: string): string {
  return path.replace(/\/+$/, "").split("/").at(-1) ?? path;
}

/** Bytes of a whole file. P0680 where there is none, P0683 where it is a folder. */
export function readBytes(files: Files, path: string): Uint8Array {
  const stat = files.stat(path);
  if (stat === undefined) throw fileFailure(path, "ENOENT", "");
  if (stat.kind === "folder") throw fileFailure(path, "EISDIR", "");
  if (stat.kind === "other") throw fileFailure(path, "EPIPE", "");
  return files.read(path, 0, stat.size);
}

/** Text of a whole file, which must be UTF-8 (P0685); a byte order mark is dropped. */
export function readText(files: Files, path: string): string {
  const bytes = readBytes(files, path);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new InputError("P0685", `\`${path}\` is not UTF-8 text: ${badByte(bytes)}`, ["save it as UTF-8"]);
  }
}

/** Where the first byte is that UTF-8 does not allow. */
function badByte(bytes: Uint8Array): string {
  let low = 0;
  let high = bytes.length;
  // the longest prefix that decodes; `stream` lets an unfinished last character pass
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, middle), { stream: true });
      low = middle;
    } catch {
      high = middle - 1;
    }
  }
  const at = Math.min(low, bytes.length - 1);
  return bytes.length === 0 ? "it is empty" : `byte 0x${bytes[at].toString(16).padStart(2, "0")} at offset ${at}`;
}

/** JSON of a file; P0686 names the line where it breaks. */
export function readJson(files: Files, path: string): Json {
  const parsed = parseJson(readText(files, path));
  if ("fault" in parsed) throw new InputError("P0686", `\`${path}\` is not JSON: ${parsed.fault}`);
  return parsed.value as Json;
}

/** JSON of a file that must be an object (P0687). */
export function readRecord(files: Files, path: string): JsonRecord {
  const value = readJson(files, path);
  if (isRecord(value)) return value;
  throw new InputError("P0687", `\`${path}\` holds ${describe(value)} where a JSON object is wanted`);
}

export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Numeral);
}

/** `a list`, `the number 3`, ...: what was seen, for messages. */
export function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (value instanceof Numeral) return `the number ${value.text}`;
  if (typeof value === "object") return "an object";
  if (typeof value === "string") return `the string ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)}`;
  return `the ${typeof value} ${String(value)}`;
}

/** Writes a file at once and durably, or not at all. */
export function writeFile(files: Files, path: string, bytes: Uint8Array): void {
  writeDraft(files, path, (draft) => draft.write(bytes));
}

export function writeDraft(files: Files, path: string, fill: (draft: Draft) => void): void {
  const draft = files.draft(path);
  try {
    fill(draft);
    draft.commit();
  } catch (error) {
    draft.abandon();
    throw error;
  }
}

/** JSON as Python's `json.dump(indent=2, sort_keys=True)` lays it out, with a line end if asked. */
export function writeJson(files: Files, path: string, value: Json, lineEnd = false): void {
  writeFile(files, path, new TextEncoder().encode(pythonJson(value) + (lineEnd ? "\n" : "")));
}

/**
 * Numbers that a file wrote as floats (`0.0`, `1e-05`) and that JavaScript would write as integers: kept by wrapping where a float is meant.
 */
export class Float {
  constructor(readonly value: number) {}
}

export function pythonJson(value: Json | Float, indent = ""): string {
  if (value instanceof Float) return pythonFloat(value.value);
  if (typeof value === "string") return pythonString(value);
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : pythonFloat(value);
  if (value === null || typeof value === "boolean") return String(value);
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    return `[\n${value.map((item) => inner + pythonJson(item as Json, inner)).join(",\n")}\n${indent}]`;
  }
  const record = value as JsonRecord;
  const keys = Object.keys(record).sort();
  if (keys.length === 0) return "{}";
  return `{\n${keys.map((key) => `${inner}${pythonString(key)}: ${pythonJson(record[key], inner)}`).join(",\n")}\n${indent}}`;
}

/** `repr` of a float: exponents of two digits at least, `.0` behind whole numbers. */
export function pythonFloat(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "Infinity" : "-Infinity";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) {
    const [digits, exponent] = value.toExponential().split("e");
    const number = Number(exponent);
    return `${digits}e${number < 0 ? "-" : "+"}${String(Math.abs(number)).padStart(2, "0")}`;
  }
  const text = String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

function pythonString(text: string): string {
  return JSON.stringify(text).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
