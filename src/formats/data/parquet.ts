/** Rows of Parquet files. The reader is asynchronous, so they are loaded before tables are made of them. */

import type { FileMetaData, PageHeader } from "hyparquet";
import type { TableSpec } from "../../ground/table.ts";
import { InputError, Malformed } from "../../ir/errors.ts";
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
  const [{ parquetMetadata, parquetReadObjects, parquetSchema }, { parquetHeader }, { compressors }] = await Promise.all([
    import("hyparquet"),
    import("hyparquet/src/column.js"),
    import("hyparquet-compressors"),
  ]);
  try {
    const footer = slice(Math.max(0, stat.size - FOOTER));
    const length = footer.byteLength >= 8 ? new DataView(footer).getUint32(footer.byteLength - 8, true) : 0;
    const metadata = parquetMetadata(length + 8 > footer.byteLength ? slice(Math.max(0, stat.size - length - 8)) : footer);
    checkPages(metadata, slice, parquetHeader);
    const rows = await parquetReadObjects({ file: { byteLength: stat.size, slice }, metadata, compressors, utf8: false });
    const schema = parquetSchema(metadata);
    return rows.map((row, i) => ({ line: i + 1, values: jsonOf(row, schema) as Row["values"] }));
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError("P0717", `\`${path}\` is not a sound Parquet file: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Values that a file's columns may have together, those inside lists counted one by one: what is read of it lies in memory. */
const MOST_VALUES = 2 ** 28;

/**
 * Throws unless each column's pages lie one behind the other and hold as many values as the file says, which the library takes on trust: a page of no size, or of one below zero,
 * would be read for ever.
 */
function checkPages(
  { row_groups: groups }: FileMetaData,
  slice: (start: number, end: number) => ArrayBuffer,
  parquetHeader: (reader: { view: DataView; offset: number }) => PageHeader,
): void {
  let all = 0;
  for (const { columns } of groups)
    for (const { meta_data: column } of columns) {
      if (column === undefined) throw new Malformed("a column is described in another file");
      const name = column.path_in_schema.join(".");
      const start = Number(column.dictionary_page_offset || column.data_page_offset);
      const wanted = Number(column.num_values);
      all += wanted;
      if (!(wanted >= 0 && all <= MOST_VALUES)) throw new Malformed(`the column ${name} says that it has ${wanted} values`);
      const reader = { view: new DataView(slice(start, start + Number(column.total_compressed_size))), offset: 0 };
      let seen = 0;
      while (reader.offset < reader.view.byteLength - 1 && seen < wanted) {
        const page = parquetHeader(reader);
        const size = page.compressed_page_size;
        if (!(size >= 0 && reader.offset + size <= reader.view.byteLength))
          throw new Malformed(`a page of the column ${name} has ${size} bytes`);
        if (!(page.uncompressed_page_size >= 0 && page.uncompressed_page_size <= 2 ** 31 - 1))
          throw new Malformed(`a page of the column ${name} has ${page.uncompressed_page_size} bytes`);
        reader.offset += size;
        const inside = page.data_page_header?.num_values ?? page.data_page_header_v2?.num_values ?? 0;
        const words = page.dictionary_page_header?.num_values ?? 0;
        if (!(inside >= 0 && words >= 0 && words <= page.uncompressed_page_size))
          throw new Malformed(`a page of the column ${name} has ${inside} values`);
        seen += inside;
      }
      if (seen !== wanted) throw new Malformed(`the column ${name} has ${seen} values where it says ${wanted}`);
    }
}

/** A column, or a group of them. */
interface Column {
  readonly element: { readonly name: string; readonly type?: string };
  readonly children: readonly Column[];
}

/**
 * Values as JSON has them: numbers spelt as Python spells those of their column (`40.0`, whole numbers beyond 2^53), days and times as text, bytes that are no UTF-8 as numbers.
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
  if (value instanceof Uint8Array) return textOf(value) ?? Array.from(value);
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return Array.from(value as unknown as ArrayLike<number | bigint>, Number);
  if (Array.isArray(value)) return value.map((item) => jsonOf(item, insideOf(column)));
  if (typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, jsonOf(part, memberOf(column, name))]));
  return value as Json;
}

/** Bytes that no writer called text are text where they are UTF-8: older writers mark none. */
function textOf(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
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
