/** Rows of Parquet files. The reader is asynchronous, so they are loaded before tables are made of them. */

import type { TableSpec } from "../../ground/table.ts";
import { InputError } from "../../ir/errors.ts";
import { type Files, fileFailure, type Json, pythonFloat } from "../files.ts";
import { Numeral } from "../numeral.ts";
import type { Row } from "./records.ts";
import { isSpec } from "./spec.ts";

/** Bytes at the end that usually hold the whole description of a file. */
const FOOTER = 1 << 19;

/** P0717: no Parquet file, or one that is damaged; P0680, P0683: no file. */
export async function readParquet(files: Files, path: string): Promise<Row[]> {
  const stat = files.stat(path);
  if (stat === undefined) throw fileFailure(path, "ENOENT", "");
  if (stat.kind === "folder") throw fileFailure(path, "EISDIR", "");
  const slice = (start: number, end: number = stat.size): ArrayBuffer => {
    const bytes = files.read(path, start, Math.max(0, Math.min(end, stat.size) - start));
    return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
  };
  // loaded where there is such a file
  const [{ parquetMetadata, parquetReadObjects, parquetSchema }, { compressors }] = await Promise.all([
    import("hyparquet"),
    import("hyparquet-compressors"),
  ]);
  try {
    const footer = slice(Math.max(0, stat.size - FOOTER));
    const length = footer.byteLength >= 8 ? new DataView(footer).getUint32(footer.byteLength - 8, true) : 0;
    const metadata = parquetMetadata(length + 8 > footer.byteLength ? slice(Math.max(0, stat.size - length - 8)) : footer);
    const rows = await parquetReadObjects({ file: { byteLength: stat.size, slice }, metadata, compressors });
    const schema = parquetSchema(metadata);
    return rows.map((row, i) => ({ line: i + 1, values: jsonOf(row, schema) as Row["values"] }));
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError("P0717", `\`${path}\` is not a sound Parquet file: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** A column, or a group of them. */
interface Column {
  readonly element: { readonly name: string; readonly type?: string };
  readonly children: readonly Column[];
}

/**
 * Values as JSON has them: numbers spelt as Python spells those of their column (`40.0`, whole numbers beyond 2^53), days and times as text, bytes as numbers.
 * `column`: where the value is of; what only groups values of a list or a map is passed by.
 */
function jsonOf(value: unknown, column: Column | undefined): Json {
  if (value === undefined || value === null) return null;
  if (typeof value === "bigint")
    return Number.isSafeInteger(Number(value)) ? Number(value) : (new Numeral(String(value)) as unknown as Json);
  if (typeof value === "number") {
    if (!/^(FLOAT|DOUBLE)$/.test(leafOf(column)?.element.type ?? "") || !Number.isFinite(value)) return value;
    const spelt = pythonFloat(value);
    return spelt === String(value) ? value : (new Numeral(spelt) as unknown as Json);
  }
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return Array.from(value as unknown as ArrayLike<number | bigint>, Number);
  if (Array.isArray(value)) return value.map((item) => jsonOf(item, insideOf(column)));
  if (typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, jsonOf(part, memberOf(column, name))]));
  return value as Json;
}

/** The one column below groups of one. */
const leafOf = (column: Column | undefined): Column | undefined =>
  column?.children.length === 1 ? leafOf(column.children[0]) : column?.children.length === 0 ? column : undefined;
/** What the items of a list are of: a list is a group of a repeated group, or the repeated column itself. */
const insideOf = (column: Column | undefined): Column | undefined =>
  column?.children.length === 1 && column.children[0].children.length === 1
    ? column.children[0].children[0]
    : (column?.children[0] ?? column);
/** A field's column, below groups of one where it does not stand at once. */
function memberOf(column: Column | undefined, name: string): Column | undefined {
  const own = column?.children.find(({ element }) => element.name === name);
  return own ?? (column?.children.length === 1 ? memberOf(column.children[0], name) : undefined);
}

/** Reads what a table needs and only an asynchronous reader can give, in tables of tables too, into `loaded`. */
export async function loadRows(spec: TableSpec, files: Files, loaded: Map<string, readonly Row[]>): Promise<void> {
  const visit = async (value: unknown): Promise<void> => {
    if (Array.isArray(value)) for (const item of value) await visit(item);
    else if (isSpec(value)) await loadRows(value, files, loaded);
    else if (typeof value === "string" && (spec.make === "parquet" || value.endsWith(".parquet")) && !loaded.has(value))
      loaded.set(value, await readParquet(files, value));
  };
  await visit(spec.args);
}
