/** Rows of files, as records: JSON Lines and CSV. Each row knows its line, for messages. */
import { CsvError, parse } from "csv-parse/browser/esm/sync";
import { InputError } from "../../ir/errors.ts";
import { describe, type Files, isRecord, type Json, readText } from "../files.ts";
import { jsonFault } from "../json.ts";
import { parseExact } from "../numeral.ts";

export interface Row {
  readonly line: number;
  readonly values: Readonly<Record<string, Json>>;
}

/** A row's fields without what every object has: a column may be called `constructor`, and one that is not there is not there. */
const bare = (values: Readonly<Record<string, Json>>): Readonly<Record<string, Json>> => Object.assign(Object.create(null), values);

/** One object a line, or one list of objects; blank lines are passed over. P0701: no JSON, or no object. */
export function readJsonLines(files: Files, path: string): Row[] {
  const text = readText(files, path);
  if (/^\s*\[/.test(text)) return readList(text, path);
  const rows: Row[] = [];
  text.split(/\r?\n/).forEach((line, i) => {
    if (line.trim() !== "") rows.push({ line: i + 1, values: parseLine(line, path, i + 1) });
  });
  return rows;
}

function parseLine(text: string, path: string, line: number): Readonly<Record<string, Json>> {
  let value: Json;
  try {
    value = parseExact(text);
  } catch (error) {
    const fault = jsonFault(text);
    const what = fault === undefined ? String(error) : `column ${fault.column}: ${fault.what}`;
    throw new InputError("P0701", `\`${path}\`, line ${line} is not JSON: ${what}`, [
      ...(line === 1 && /^\s*\{\s*$/.test(text) ? [OBJECTS] : []),
      ...nanNote(text),
    ]);
  }
  if (isRecord(value)) return bare(value);
  throw new InputError("P0701", `\`${path}\`, line ${line} is ${describe(value)} where a JSON object is wanted`);
}
/** Python's JSON has numbers that JSON has not. */
const nanNote = (text: string): string[] =>
  /[:[,]\s*-?(NaN|Infinity)\b/.test(text)
    ? ['Python writes NaN for a value that is missing: `table.to_json(path, orient="records", lines=True)` of pandas writes null']
    : [];
const OBJECTS = "one object a line is wanted, or one list of objects";

/** Rows of a list have the lines on which their objects begin. */
function readList(text: string, path: string): Row[] {
  let list: Json;
  try {
    list = parseExact(text);
  } catch (error) {
    const fault = jsonFault(text);
    throw new InputError(
      "P0701",
      `\`${path}\`, ${fault === undefined ? String(error) : `line ${fault.line} is not JSON: column ${fault.column}: ${fault.what}`}`,
      [OBJECTS, ...nanNote(text)],
    );
  }
  const starts = startsOf(text);
  return (list as readonly Json[]).map((value, i) => {
    if (!isRecord(value))
      throw new InputError("P0701", `\`${path}\`, line ${starts[i]} is ${describe(value)} where a JSON object is wanted`, [OBJECTS]);
    return { line: starts[i], values: bare(value) };
  });
}

/** The line on which each item of a sound list begins. */
function startsOf(text: string): number[] {
  const starts: number[] = [];
  let line = 1;
  let depth = 0;
  let wanted = false;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{},\n]|[^\s[\]{},"]+/g)) {
    if (token === "\n") line++;
    else {
      if (wanted && token !== "]") starts.push(line);
      wanted = false;
      if (token === "[" || token === "{") depth++;
      if (token === "]" || token === "}") depth--;
      wanted = depth === 1 && (token === "," || (token === "[" && starts.length === 0));
    }
  }
  return starts;
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
      // pandas writes its index into a column without a name in front
      header = record.map((name, i) => (i === 0 && name.trim() === "" && record.length > 1 ? "Unnamed: 0" : name.trim()));
      const twice = header.find((name, i) => header.indexOf(name) !== i);
      if (twice !== undefined) throw new InputError("P0702", `\`${path}\` has two columns named ${JSON.stringify(twice)}`);
      if (header.includes("")) throw new InputError("P0702", `\`${path}\`, line 1: column ${header.indexOf("") + 1} has no name`);
    } else rows.push({ line: info.lines, values: bare(Object.fromEntries(header.map((name, i) => [name, record[i]]))) });
  }
  return rows;
}
