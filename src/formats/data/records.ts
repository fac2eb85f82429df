/** Rows of files, as records: JSON Lines and CSV. Each row knows its line, for messages. */
import { CsvError, parse } from "csv-parse/browser/esm/sync";
import { InputError } from "../../ir/errors.ts";
import { describe, type Files, isRecord, type Json, readText } from "../files.ts";
import { jsonFault } from "../json.ts";

export interface Row {
  readonly line: number;
  readonly values: Readonly<Record<string, Json>>;
}

/** One object a line; blank lines are passed over. P0701: no JSON, or no object. */
export function readJsonLines(files: Files, path: string): Row[] {
  const rows: Row[] = [];
  readText(files, path)
    .split(/\r?\n/)
    .forEach((text, i) => {
      if (text.trim() !== "") rows.push({ line: i + 1, values: parseLine(text, path, i + 1) });
    });
  return rows;
}

function parseLine(text: string, path: string, line: number): Readonly<Record<string, Json>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const fault = jsonFault(text);
    const what = fault === undefined ? String(error) : `column ${fault.column}: ${fault.what}`;
    const whole = line === 1 && text.trimStart().startsWith("[");
    throw new InputError(
      "P0701",
      `\`${path}\`, line ${line} is not JSON: ${what}`,
      whole ? ["one object a line is wanted, not one list"] : [],
    );
  }
  if (isRecord(value)) return value;
  throw new InputError("P0701", `\`${path}\`, line ${line} is ${describe(value)} where a JSON object is wanted`);
}

/** The first line names the columns. P0702: lines of other lengths, open quotes, no or equal names. */
export function readCsv(files: Files, path: string): Row[] {
  const text = readText(files, path);
  let header: string[] = [];
  let parsed: { record: string[]; info: { lines: number } }[];
  try {
    parsed = parse(text, { bom: true, skip_empty_lines: true, info: true, delimiter: path.endsWith(".tsv") ? "\t" : "," }) as never;
  } catch (error) {
    if (error instanceof CsvError) throw new InputError("P0702", `\`${path}\` is not sound CSV: ${error.message}`);
    throw error;
  }
  const rows: Row[] = [];
  for (const { record, info } of parsed) {
    if (header.length === 0) {
      header = record.map((name) => name.trim());
      const twice = header.find((name, i) => header.indexOf(name) !== i);
      if (twice !== undefined) throw new InputError("P0702", `\`${path}\` has two columns named ${JSON.stringify(twice)}`);
      if (header.includes("")) throw new InputError("P0702", `\`${path}\`, line 1: column ${header.indexOf("") + 1} has no name`);
    } else rows.push({ line: info.lines, values: Object.fromEntries(header.map((name, i) => [name, record[i]])) });
  }
  return rows;
}
