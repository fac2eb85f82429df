/** Makes the table that a dataset of a program describes. */
import { InputError, Limit } from "../../ir/errors.ts";
import { labelIds, type ModelConfig, readConfig } from "../config.ts";
import { baseName, describe, type Files, joinPath, readText } from "../files.ts";
import { loadTokenizer, type TextTokenizer } from "../tokenizer/tokenizer.ts";
import { Chat, chatTemplate } from "./chat.ts";
import { encodeRows, type RowPlan } from "./encode.ts";
import { readArray } from "./labels.ts";
import { type Row, readCsv, readJsonLines } from "./records.ts";
import { arrayColumn, type Column, joinTables, listColumn, pickRows, splitAt, type Table } from "./table.ts";
import { parseTemplate, type Template } from "./template.ts";

/** A call of a host function, as the compiler describes it; paths are resolved. */
export interface TableSpec {
  readonly make: string;
  readonly args: readonly unknown[];
  readonly options: Readonly<Record<string, unknown>>;
  readonly part: "main" | "held";
}

export interface TableContext {
  readonly files: Files;
  /** Folder of the stage's tokenizer, a model's: its configuration names classes, and says whether it is an encoder–decoder. */
  readonly tokenizer: string | undefined;
  /** Tokens a row has at most; a text is cut into rows of so many. */
  readonly sequence: number | undefined;
  /** Leave targets and answers out: rows are prompts. */
  readonly promptsOnly?: boolean;
  /** Opens a tokenizer's folder; one that remembers spares reading it for every table. */
  readonly loadTokenizer?: (folder: string) => TextTokenizer | undefined;
}

type Maker = (spec: TableSpec, context: TableContext) => Table | undefined;

const MAKERS: Readonly<Record<string, Maker>> = {
  text: (spec, context) => textTable(spec, context),
  jsonl: (spec, context) => recordTable(spec, context, readJsonLines),
  csv: (spec, context) => recordTable(spec, context, readCsv),
  chat: chatTable,
  mix: mixTable,
  predicted: predictedTable,
};

/**
 * The table; `undefined`: it has no such part (`held` without a `split`). Errors: P0680 to P0685 of reading the file · P0700: no rows · P0701, P0702: malformed JSON Lines, CSV ·
 * P0703: what a table needs is not given · P0704: a template · P0705: a column is missing · P0706 to P0708: labels · P0709: a column of the wrong kind · P0710 to P0713:
 * templates and lengths · P0714 to P0716: conversations. A kind of table that is not built is a `Limit`.
 */
export function makeTable(spec: TableSpec, context: TableContext): Table | undefined {
  const make = MAKERS[spec.make];
  if (make === undefined) throw new Limit(`tables made by \`${spec.make}\` are not built`);
  const table = make(spec, context);
  if (table !== undefined && table.rows === 0)
    throw new InputError("P0700", `${table.name} has no rows`, ["the file is empty, or the split or the sequence leaves nothing"]);
  return table;
}

function pathOf(spec: TableSpec): string {
  const [path] = spec.args;
  if (typeof path !== "string") throw new InputError("P0703", `\`${spec.make}\` takes the path of a file, this is ${describe(path)}`);
  return path;
}

/** Share of the rows that is trained on; `undefined`: all. */
function splitOf(spec: TableSpec): number | undefined {
  const { split } = spec.options;
  if (split === undefined || split === null) return undefined;
  if (typeof split === "number" && split > 0 && split < 1) return split;
  throw new InputError("P0703", `\`split\` of ${spec.make} is ${describe(split)} where a share between 0 and 1 is wanted`);
}

function tokenizerOf(context: TableContext, name: string): TextTokenizer {
  const load = context.loadTokenizer ?? ((folder: string) => loadTokenizer(context.files, folder));
  const tokenizer = context.tokenizer === undefined ? undefined : load(context.tokenizer);
  if (tokenizer !== undefined) return tokenizer;
  const where = context.tokenizer === undefined ? "the stage's model comes from no folder" : `\`${context.tokenizer}\` has none`;
  throw new InputError("P0703", `${name} is text, and there is no tokenizer for it: ${where}`, [
    "tokenizer.json, vocab.json with merges.txt, or vocab.txt beside the model",
  ]);
}

/** The part of `rows` that is asked for. */
function partOf(spec: TableSpec, rows: number): readonly [start: number, end: number] | undefined {
  const split = splitOf(spec);
  if (split === undefined) return spec.part === "held" ? undefined : [0, rows];
  const at = splitAt(rows, split);
  return spec.part === "held" ? [at, rows] : [0, at];
}

/** The last long text of each tokenizer: its parts are asked for one after the other. */
const lastStreams = new WeakMap<TextTokenizer, { readonly text: string; readonly ids: readonly number[] }>();

function streamOf(tokenizer: TextTokenizer, text: string): readonly number[] {
  const last = lastStreams.get(tokenizer);
  if (last?.text === text) return last.ids;
  const ids = tokenizer.encode(text);
  lastStreams.set(tokenizer, { text, ids });
  return ids;
}

/** One stream of tokens in rows of `sequence`; what does not fill a row is dropped. */
function textTable(spec: TableSpec, context: TableContext): Table | undefined {
  const path = pathOf(spec);
  const { sequence } = context;
  if (sequence === undefined)
    throw new InputError("P0703", `\`${path}\` is one long text, which needs \`sequence\`: how many tokens a row has`);
  const tokenizer = tokenizerOf(context, `\`${path}\``);
  const stream = streamOf(tokenizer, readText(context.files, path));
  const part = partOf(spec, Math.floor(stream.length / sequence));
  if (part === undefined) return undefined;
  if (part[1] === 0) {
    throw new InputError("P0700", `\`${path}\` has ${stream.length} tokens, which fill no row of ${sequence}`, [
      "give a smaller sequence, or more text",
    ]);
  }
  const rows = Array.from({ length: part[1] - part[0] }, (_, i) =>
    Int32Array.from(stream.slice((part[0] + i) * sequence, (part[0] + i + 1) * sequence)),
  );
  const columns = new Map<string, Column>([
    ["input_ids", listColumn(rows, tokenizer.ids.pad ?? 0)],
    [
      "attention_mask",
      listColumn(
        rows.map((row) => row.map(() => 1)),
        0,
      ),
    ],
    [
      "special",
      listColumn(
        rows.map((row) => row.map((id) => Number(tokenizer.specials.has(id)))),
        1,
      ),
    ],
  ]);
  return { name: `\`${path}\``, rows: rows.length, columns };
}

function recordTable(spec: TableSpec, context: TableContext, read: (files: Files, path: string) => Row[]): Table | undefined {
  const path = pathOf(spec);
  const all = read(context.files, path);
  if (all.length === 0) throw new InputError("P0700", `\`${path}\` has no rows`);
  const part = partOf(spec, all.length);
  if (part === undefined) return undefined;
  const plan = planOf(spec, all[0], path, context.promptsOnly);
  const tokenizer = tokenizerOf(context, `\`${path}\``);
  const config: ModelConfig = readConfig(context.files, context.tokenizer!) ?? {};
  const encoded = encodeRows(all, plan, {
    file: path,
    tokenizer,
    sequence: context.sequence,
    separate: config.is_encoder_decoder === true,
    labels: labelIds(config, joinPath(context.tokenizer!, "config.json")),
  });
  // names of labels are numbered over both parts, so both are read
  const table: Table = { name: `\`${path}\``, rows: all.length, columns: encoded };
  return rangeOf(table, part);
}

function rangeOf(table: Table, [start, end]: readonly [number, number]): Table {
  if (start === 0 && end === table.rows) return table;
  return pickRows(
    table,
    Array.from({ length: end - start }, (_, i) => start + i),
  );
}

/** Conversations, a row each. */
function chatTable(spec: TableSpec, context: TableContext): Table | undefined {
  const path = pathOf(spec);
  const rows = readJsonLines(context.files, path);
  if (rows.length === 0) throw new InputError("P0700", `\`${path}\` has no rows`);
  const part = partOf(spec, rows.length);
  if (part === undefined) return undefined;
  const tokenizer = tokenizerOf(context, `\`${path}\``);
  const chat = new Chat(chatTemplate(context.files, context.tokenizer!), tokenizer, path);
  const picked = rows.slice(...part);
  const columns = context.promptsOnly ? chat.encodePrompts(picked) : chat.encode(picked, context.sequence);
  return { name: `\`${path}\``, rows: picked.length, columns };
}

/** What the options say, or what the usual names of columns do: `prompt` and `completion`, `text`, `label`. */
function planOf(spec: TableSpec, first: Row, path: string, promptsOnly = false): RowPlan {
  const { input, target, label, columns } = spec.options;
  const has = (name: string) => first.values[name] !== undefined;
  const text = (value: unknown, option: string): string => {
    if (typeof value === "string") return value;
    throw new InputError("P0703", `\`${option}\` of ${spec.make} is ${describe(value)} where a string is wanted`);
  };
  const given = (value: unknown) => value !== undefined && value !== null;
  const wanted = given(columns) ? columns : [];
  if (!Array.isArray(wanted))
    throw new InputError("P0703", `\`columns\` of ${spec.make} is ${describe(columns)} where a list of names is wanted`);
  let inputs: Template[];
  if (given(input)) inputs = (Array.isArray(input) ? input : [input]).map((template) => parseTemplate(text(template, "input")));
  else if (has("prompt")) inputs = [parseTemplate("{prompt}")];
  else if (has("text")) inputs = [parseTemplate("{text}")];
  else {
    throw new InputError("P0703", `\`${path}\` has no column \`text\` or \`prompt\`, so \`input\` must say what the model reads`, [
      `it has ${Object.keys(first.values).join(", ")}`,
      'for example `input: "{premise} {hypothesis}"`, or a pair `input: ["{premise}", "{hypothesis}"]`',
    ]);
  }
  if (inputs.length < 1 || inputs.length > 2)
    throw new InputError("P0703", `\`input\` of ${spec.make} is a list of ${inputs.length} where one template or two are wanted`);
  const usualTarget = !given(input) && has("prompt") && has("completion") ? parseTemplate("{completion}") : undefined;
  return {
    inputs,
    target: promptsOnly ? undefined : given(target) ? parseTemplate(text(target, "target")) : usualTarget,
    label: promptsOnly ? undefined : given(label) ? text(label, "label") : !given(input) && has("label") ? "label" : undefined,
    columns: wanted.map((name) => text(name, "columns")),
  };
}

/** Rows of several tables, one after another; `weights`: how often each one's rows come. */
function mixTable(spec: TableSpec, context: TableContext): Table | undefined {
  const [specs] = spec.args;
  const { weights } = spec.options;
  if (!Array.isArray(specs) || specs.length === 0)
    throw new InputError("P0703", `\`mix\` takes a list of tables, this is ${describe(specs)}`);
  const tables = specs
    .map((one) => makeTable({ ...(one as TableSpec), part: spec.part === "held" ? "held" : (one as TableSpec).part }, context))
    .filter((table) => table !== undefined);
  if (tables.length === 0) return undefined;
  if (weights === undefined || weights === null) return joinTables(tables, "mix");
  if (!Array.isArray(weights) || weights.length !== tables.length || !weights.every((weight) => typeof weight === "number" && weight > 0)) {
    throw new InputError("P0703", `\`weights\` of mix is ${JSON.stringify(weights)} where ${tables.length} positive numbers are wanted`);
  }
  const weighted = tables.map((table, i) =>
    pickRows(
      table,
      Array.from({ length: Math.max(1, Math.round(table.rows * weights[i])) }, (_, row) => row % table.rows),
    ),
  );
  return joinTables(weighted, "mix");
}

/** What a `predict` stage left, as columns beside those of the table it went over, if that is given. */
function predictedTable(spec: TableSpec, context: TableContext): Table | undefined {
  const folder = pathOf(spec);
  const path = joinPath(folder, "predictions.jsonl");
  const rows = readJsonLines(context.files, path);
  const base = spec.args.length > 1 ? makeTable(spec.args[1] as TableSpec, context) : undefined;
  if (base !== undefined && base.rows !== rows.length) {
    throw new InputError("P0703", `\`${path}\` has ${rows.length} rows, but ${base.name}, which it was made of, has ${base.rows}`);
  }
  const names = Object.keys(rows[0]?.values ?? {}).filter((name) => name !== "row");
  const columns = new Map(base?.columns ?? []);
  for (const name of names) {
    const arrays = rows.map((row) => readArray(row, name, path));
    columns.set(name, arrayColumn(arrays, arrays[0].shape.length, 0));
  }
  return { name: `\`${baseName(folder)}\``, rows: rows.length, columns };
}
