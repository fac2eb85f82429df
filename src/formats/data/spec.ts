/** How a program describes a table, and what makers of tables are given to make it with. */

import type { TableSpec } from "../../ground/table.ts";
import { InputError } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import { labelIds, readConfig } from "../config.ts";
import { describe, type Files, joinPath } from "../files.ts";
import type { TextTokenizer } from "../tokenizer/tokenizer.ts";
import type { Raster } from "./image/resample.ts";
import type { Numbering } from "./labels.ts";
import type { Row } from "./records.ts";
import type { Packing, Source } from "./source.ts";
import { splitAt, type Table } from "./table.ts";

export interface TableContext {
  readonly files: Files;
  /** Folder of the stage's tokenizer, a model's: its configuration names classes. */
  readonly tokenizer: string | undefined;
  /** Whether the model writes its answers apart from what it reads: targets then are texts of their own. */
  readonly separate?: boolean;
  /** Tokens a row has at most; a text is cut into rows of so many. */
  readonly sequence: number | undefined;
  /** Leave targets and answers out: rows are prompts. */
  readonly promptsOnly?: boolean | undefined;
  /** Opens a tokenizer's folder; one that remembers spares reading it for every table. */
  readonly loadTokenizer?: (folder: string) => TextTokenizer | undefined;
  /** Reads a picture from a file's bytes; it throws where they are none. */
  readonly decodeImage?: ((bytes: Uint8Array) => Raster) | undefined;
  /** Rows of files that can only be read asynchronously, by path: see `loadRows`. */
  readonly loaded?: ReadonlyMap<string, readonly Row[]>;
  /** What functions of the library's user gave for the rows of `scored` tables, by the JSON of their calls. */
  readonly scores?: ReadonlyMap<string, readonly number[]>;
  /** Numbers of classes that neither the model's configuration nor the program names. */
  readonly book?: Numbering["book"];
}

/** The context within makers: tables are made of tables. */
export interface Kitchen extends TableContext {
  table(spec: TableSpec): Table | undefined;
  /** Rows of text of a table that is made of such. P0703: it is none. */
  source(spec: TableSpec): Source | undefined;
  /** P0703: there is none. `name`: what asks, for messages. */
  words(name: string): TextTokenizer;
}

/**
 * How one kind of table is made: `source` gives rows of text, which are encoded like those of any other; `table` gives rows of numbers. `undefined`: it has no such part (`held`
 * without a `split`).
 */
export interface Maker {
  source?(spec: TableSpec, kitchen: Kitchen): Source | undefined;
  table?(spec: TableSpec, kitchen: Kitchen): Table | undefined;
  /** Names of the classes in its labels, where it has no rows of text. */
  classes?(spec: TableSpec, context: TableContext): { names: string[]; file: string } | undefined;
}

export const given = (value: unknown): boolean => value !== undefined && value !== null;

/** P0703 for an argument or option of the wrong kind. */
export function wrong(spec: TableSpec, what: string, value: unknown, wanted: string): InputError {
  return new InputError("P0703", `${what} of ${spec.make} is ${describe(value)} where ${wanted} is wanted`);
}

export function isSpec(value: unknown): value is TableSpec {
  return typeof value === "object" && value !== null && "make" in value && "args" in value;
}

export function pathOf(spec: TableSpec): string {
  const [path] = spec.args;
  if (typeof path !== "string") throw new InputError("P0703", `\`${spec.make}\` takes the path of a file, this is ${describe(path)}`);
  return path;
}

/** The table that is argument `i`; it is asked for its held-out part where the outer one is. */
export function innerSpec(spec: TableSpec, i = 0): TableSpec {
  const inner = spec.args[i];
  if (!isSpec(inner)) throw wrong(spec, `argument ${i + 1}`, inner, "a table");
  return spec.part === "held" ? { ...inner, part: "held" } : inner;
}

/** The tables of a list that is argument `i`. */
export function innerSpecs(spec: TableSpec, i = 0): TableSpec[] {
  const list = spec.args[i];
  if (!Array.isArray(list) || list.length === 0 || !list.every(isSpec)) throw wrong(spec, `argument ${i + 1}`, list, "a list of tables");
  return list.map((inner: TableSpec) => (spec.part === "held" ? { ...inner, part: "held" } : inner));
}

export function stringOption(spec: TableSpec, name: string): string | undefined {
  const value = own(spec.options, name);
  if (!given(value)) return undefined;
  if (typeof value === "string") return value;
  throw wrong(spec, `\`${name}\``, value, "a string");
}

export function boolOption(spec: TableSpec, name: string): boolean {
  const value = own(spec.options, name);
  if (!given(value)) return false;
  if (typeof value === "boolean") return value;
  throw wrong(spec, `\`${name}\``, value, "true or false");
}

/** Who numbers the classes of a table: `folder` is its model's. P0703: `classes` that are no names, or one twice. */
export function numberingOf(
  spec: Pick<TableSpec, "make" | "options">,
  { files, book }: TableContext,
  folder: string | undefined,
): Numbering {
  const { classes, words } = spec.options;
  const known = folder === undefined ? undefined : labelIds(readConfig(files, folder) ?? {}, joinPath(folder, "config.json"));
  if (!given(classes)) return { known, book, ...(given(words) && { words: words as readonly (readonly string[])[] }) };
  if (!Array.isArray(classes) || !classes.every((name) => typeof name === "string") || new Set(classes).size < classes.length)
    throw new InputError("P0703", `\`classes\` of ${spec.make} is ${JSON.stringify(classes)} where a list of names, each once, is wanted`);
  return { known, book, given: classes };
}

/** How several documents go into a row. P0703: in no way there is. */
export function packingOf(spec: TableSpec): Packing | undefined {
  const how = stringOption(spec, "packed");
  if (how === undefined || how === "documents" || how === "stream") return how;
  throw wrong(spec, "`packed`", how, '"documents" or "stream"');
}

/** Share of the rows that is trained on; `undefined`: all. */
function splitOf(spec: TableSpec): number | undefined {
  const { split } = spec.options;
  if (!given(split)) return undefined;
  if (typeof split === "number" && split > 0 && split < 1) return split;
  throw new InputError("P0703", `\`split\` of ${spec.make} is ${describe(split)} where a share between 0 and 1 is wanted`);
}

/** The part of `rows` that is asked for. */
export function partOf(spec: TableSpec, rows: number): readonly [start: number, end: number] | undefined {
  const split = splitOf(spec);
  if (split === undefined) return spec.part === "held" ? undefined : [0, rows];
  const at = splitAt(rows, split);
  return spec.part === "held" ? [at, rows] : [0, at];
}
