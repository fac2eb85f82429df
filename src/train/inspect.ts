/** What a stage learns from its data, looked at before it starts: which tokens are labelled, how long rows are, what is cut off, and what looks wrong. */
import type { ColumnDecl, DatasetSpec, Stage } from "../compiler/project.ts";
import type { Problem } from "../compiler/report/problem.ts";
import { IGNORED } from "../formats/data/encode.ts";
import type { TextTokenizer } from "../formats/tokenizer/tokenizer.ts";
import { type DataTable, roundUp } from "./columns.ts";

/** What checks ask of a tokenizer. */
export type Words = Pick<TextTokenizer, "ids" | "specials" | "tokenOf" | "decode">;

export interface Inspected {
  readonly table: DataTable;
  /** Columns that the stage's graph reads. */
  readonly columns: readonly ColumnDecl[];
  readonly spec: DatasetSpec;
  readonly tokenizer: Words | undefined;
  readonly sequence: number | undefined;
}

/** Tokens of a row, as one of its columns has them, with what is to be learnt of each: its label, or nothing. */
export interface View {
  readonly column: string;
  readonly ids: readonly number[];
  readonly labels: readonly (number | undefined)[];
}

/** A row as the model will see it, column by column of tokens. */
export function viewsOf({ table, columns }: Inspected, row: number): View[] {
  const list = (name: string): number[] | undefined => {
    const column = table.columns.get(name);
    return column?.rank === 1 ? Array.from(column.row(row)) : undefined;
  };
  const nothing = (ids: readonly number[]) => ids.map(() => undefined);
  const [chosen, rejected] = [list("chosen"), list("rejected")];
  if (chosen !== undefined && rejected !== undefined) {
    const start = Number(table.columns.get("prompt_length")?.row(row)[0] ?? 0);
    const scored = (ids: readonly number[]) => ids.map((id, i) => (i < start ? undefined : id));
    return [
      { column: "chosen", ids: chosen, labels: scored(chosen) },
      { column: "rejected", ids: rejected, labels: scored(rejected) },
    ];
  }
  const ids = list("input_ids");
  if (ids === undefined) return [];
  const own = list("labels") ?? list("tags");
  if (own !== undefined && separate(table)) {
    return [
      { column: "input_ids", ids, labels: nothing(ids) },
      { column: "labels", ids: own, labels: own },
    ];
  }
  if (own !== undefined) return [{ column: "input_ids", ids, labels: own.map((label) => (label === IGNORED ? undefined : label)) }];
  const whole = columns.some(({ name, fallback }) => name === "labels" && fallback?.kind === "column");
  return [{ column: "input_ids", ids, labels: whole ? ids : nothing(ids) }];
}

/** Whether labels are texts of their own (an encoder–decoder's), rather than classes of the input's tokens. */
function separate(table: DataTable): boolean {
  const [ids, labels] = [table.columns.get("input_ids"), table.columns.get("labels")];
  if (ids === undefined || labels === undefined) return false;
  for (let i = 0; i < table.rows; i++) if (ids.shape(i)[0] !== labels.shape(i)[0]) return true;
  return false;
}

export interface Facts {
  readonly rows: number;
  /** Tokens of rows, after cutting. */
  readonly tokens: { readonly least: number; readonly median: number; readonly mean: number; readonly most: number } | undefined;
  /** Share of the tokens that have a label. */
  readonly labelled: number | undefined;
  /** What rows are padded to, and which share of all positions that leaves empty. */
  readonly sequence: number | undefined;
  readonly padding: number | undefined;
  /** Rows that lose tokens, and those of them that lose tokens with labels. */
  readonly cut: { readonly rows: number; readonly answers: number };
  /** How many rows each class has, where a row has one. */
  readonly classes: ReadonlyMap<number, number> | undefined;
}

export function factsOf(inspected: Inspected): Facts {
  const { table, sequence } = inspected;
  const lengths: number[] = [];
  let tokens = 0;
  let labelled = 0;
  for (let row = 0; row < table.rows; row++) {
    const views = viewsOf(inspected, row);
    if (views.length > 0) lengths.push(Math.max(...views.map(({ ids }) => ids.length)));
    for (const { ids, labels } of views) {
      tokens += ids.length;
      labelled += labels.filter((label) => label !== undefined).length;
    }
  }
  const sorted = [...lengths].sort((a, b) => a - b);
  const total = lengths.reduce((sum, n) => sum + n, 0);
  const width = sorted.length === 0 ? undefined : (sequence ?? roundUp(sorted.at(-1)!));
  return {
    rows: table.rows,
    tokens:
      sorted.length === 0
        ? undefined
        : { least: sorted[0], median: sorted[sorted.length >> 1], mean: total / sorted.length, most: sorted.at(-1)! },
    labelled: labelled === 0 ? undefined : labelled / tokens,
    sequence: width,
    padding: width === undefined ? undefined : 1 - total / (width * sorted.length),
    cut: cutRows(inspected),
    classes: classesOf(table),
  };
}

/** Tokens that a row has after cutting, in the column that `facts` count. */
function kept({ table }: Inspected, row: number): number {
  return (
    table.columns.get("input_ids")?.shape(row)[0] ??
    Math.max(...["chosen", "rejected"].map((name) => table.columns.get(name)?.shape(row)[0] ?? 0))
  );
}

function labelsKept(inspected: Inspected, row: number): number {
  return Math.max(0, ...viewsOf(inspected, row).map(({ labels }) => labels.filter((label) => label !== undefined).length));
}

function cutRows(inspected: Inspected): { rows: number; answers: number } {
  const { facts } = inspected.table;
  let rows = 0;
  let answers = 0;
  facts?.forEach(({ tokens, labelled }, row) => {
    const loses = labelled !== undefined && labelsKept(inspected, row) < labelled;
    if (loses) answers++;
    if (loses || kept(inspected, row) < tokens) rows++;
  });
  return { rows, answers };
}

function classesOf(table: DataTable): Map<number, number> | undefined {
  const column = table.columns.get("label");
  if (column === undefined || column.rank !== 0) return undefined;
  const counts = new Map<number, number>();
  for (let row = 0; row < table.rows; row++) {
    const [label] = Array.from(column.row(row));
    if (!Number.isInteger(label)) return undefined;
    counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  return new Map([...counts].sort(([a], [b]) => a - b));
}

type Check = (inspected: Inspected) => Omit<Problem, "severity" | "span"> | undefined;

const place = ({ table }: Inspected, row: number): string => {
  const line = table.facts?.[row]?.line;
  return line === undefined ? `row ${row + 1} of ${table.name}` : `${table.name}, line ${line}`;
};
const of = (n: number, all: number): string => `${n} of ${all} row${all === 1 ? "" : "s"}`;

/** One row a check. What stops a run is thrown while the table is made; these are warnings. */
const CHECKS: readonly Check[] = [
  function cut(inspected) {
    const { table, sequence } = inspected;
    const { rows, answers } = cutRows(inspected);
    if (rows === 0 || answers > 0) return undefined;
    return {
      code: "P0740",
      message: `${of(rows, table.rows)} of ${table.name} ${rows === 1 ? "is" : "are"} longer than sequence = ${sequence} and lose${rows === 1 ? "s" : ""} the rest`,
      notes: [longest(inspected)],
    };
  },
  function cutAnswers(inspected) {
    const { table, sequence } = inspected;
    const { answers } = cutRows(inspected);
    if (answers === 0) return undefined;
    const first = table.facts!.findIndex(({ labelled }, row) => labelled !== undefined && labelsKept(inspected, row) < labelled);
    const { labelled } = table.facts![first];
    return {
      code: "P0741",
      message: `${of(answers, table.rows)} of ${table.name} lose${answers === 1 ? "s" : ""} part of what is to be learnt to sequence = ${sequence}`,
      notes: [
        `${place(inspected, first)} keeps ${labelsKept(inspected, first)} of ${labelled} labelled tokens, and not its end`,
        longest(inspected),
      ],
    };
  },
  function neverEnds(inspected) {
    const { table, tokenizer } = inspected;
    const end = tokenizer?.ids.eos;
    if (
      tokenizer === undefined ||
      end === undefined ||
      table.facts === undefined ||
      inspected.columns.every(({ name }) => name !== "labels")
    )
      return undefined;
    let learns = false;
    for (let row = 0; row < table.rows; row++) {
      for (const { labels } of viewsOf(inspected, row)) {
        const last = labels.filter((label) => label !== undefined).at(-1);
        if (last === undefined) continue;
        learns = true;
        // a template may end turns with a token of its own
        if (tokenizer.specials.has(last)) return undefined;
      }
    }
    if (!learns) return undefined;
    return {
      code: "P0742",
      message: `no answer in ${table.name} ends with ${JSON.stringify(tokenizer.tokenOf(end))}: the model does not learn to stop`,
      notes: ["put the token at the end of the text or the chat template"],
    };
  },
  function startsTwice(inspected) {
    const { table, tokenizer } = inspected;
    const start = tokenizer?.ids.bos ?? tokenizer?.ids.cls;
    if (tokenizer === undefined || start === undefined) return undefined;
    const rows: number[] = [];
    for (let row = 0; row < table.rows; row++)
      if (viewsOf(inspected, row).some(({ ids }) => ids[0] === start && ids[1] === start)) rows.push(row);
    if (rows.length === 0) return undefined;
    return {
      code: "P0743",
      message: `${of(rows.length, table.rows)} of ${table.name} begin${rows.length === 1 ? "s" : ""} with ${JSON.stringify(tokenizer.tokenOf(start))} twice`,
      notes: [`${place(inspected, rows[0])} is the first`, "the tokenizer puts it in front, so the text or the template need not"],
    };
  },
  function merges(inspected) {
    const { table } = inspected;
    const rows = (table.facts ?? []).flatMap(({ merged }, row) => (merged ? [row] : []));
    if (rows.length === 0) return undefined;
    return {
      code: "P0744",
      message: `in ${of(rows.length, table.rows)} of ${table.name} an answer begins within a token that also holds the end of its prompt`,
      notes: [
        `${place(inspected, rows[0])} is the first`,
        "when the model is asked it sees the prompt in other tokens; move the space or line end from the end of the prompt to the answer",
      ],
    };
  },
  function unknown(inspected) {
    const { table, tokenizer } = inspected;
    const unk = tokenizer?.ids.unk;
    if (tokenizer === undefined || unk === undefined || Object.entries(tokenizer.ids).some(([role, id]) => role !== "unk" && id === unk))
      return undefined;
    let all = 0;
    let lost = 0;
    let first: number | undefined;
    for (let row = 0; row < table.rows; row++) {
      for (const { ids } of viewsOf(inspected, row)) {
        const here = ids.filter((id) => id === unk).length;
        if (here > 0) first ??= row;
        all += ids.length;
        lost += here;
      }
    }
    if (first === undefined || lost / all < MANY_UNKNOWN) return undefined;
    return {
      code: "P0745",
      message: `${Math.round((100 * lost) / all)} % of the tokens of ${table.name} are unknown to the tokenizer`,
      notes: [`${place(inspected, first)} is the first row with one`, "is it the tokenizer of another language, or of lower-case text?"],
    };
  },
  function sameAnswers({ table }) {
    const { without } = table;
    if (without === undefined) return undefined;
    return {
      code: "P0749",
      message: `${of(without.rows, table.rows + without.rows)} of ${table.name} ${without.rows === 1 ? "is" : "are"} left out: ${without.why}`,
      notes: without.notes,
    };
  },
  function oneClass({ table }) {
    const classes = classesOf(table);
    if (classes === undefined || classes.size !== 1 || table.rows < 2) return undefined;
    return {
      code: "P0746",
      message: `all ${table.rows} rows of ${table.name} have the label ${[...classes.keys()][0]}`,
      notes: ["are the rows sorted by label, so that a split parts the classes?"],
    };
  },
];
/** Share of unknown tokens from which on it is said. */
const MANY_UNKNOWN = 0.01;

function longest({ table }: Inspected): string {
  const most = Math.max(...table.facts!.map(({ tokens }) => tokens));
  return `the longest has ${most} tokens: sequence = ${roundUp(most)} keeps everything`;
}

/** Warnings about a table. */
export function checkRows(inspected: Inspected): Problem[] {
  return CHECKS.flatMap((check) => {
    const found = check(inspected);
    return found === undefined ? [] : [{ ...found, severity: "warning" as const, span: inspected.spec.span }];
  });
}

/** Columns that say what is in the views, or what should be answered; all others (a picture, which adapter) are part of what is asked. */
const TOKENS: ReadonlySet<string> = new Set([
  ...["input_ids", "attention_mask", "special", "token_type_ids", "labels", "tags", "label", "mask_at", "score", "segment"],
  ...["chosen", "chosen_mask", "rejected", "rejected_mask", "prompt_length"],
]);

/** P0747: rows that are held and trained on as well. */
export function checkHeld(main: Inspected, held: Inspected): Problem[] {
  const key = (inspected: Inspected, row: number) => {
    const views = viewsOf(inspected, row);
    const { beside } = inspected.table;
    const numbers = inspected.columns.flatMap(({ name }) => {
      const column = TOKENS.has(name) || (beside && name.startsWith(beside.prefix)) ? undefined : inspected.table.columns.get(name);
      return column === undefined ? [] : [...Array.from(column.shape(row)), ...Array.from(column.row(row))];
    });
    return views.length + numbers.length === 0 ? undefined : fingerprint([...views.flatMap(({ ids }) => ids), ...numbers]);
  };
  const seen = new Set(Array.from({ length: main.table.rows }, (_, row) => key(main, row)));
  const both = Array.from({ length: held.table.rows }, (_, row) => row).filter((row) => {
    const own = key(held, row);
    return own !== undefined && seen.has(own);
  });
  if (both.length === 0) return [];
  return [
    {
      code: "P0747",
      severity: "warning",
      message: `${of(both.length, held.table.rows)} of the held part of ${held.table.name} ${both.length === 1 ? "is" : "are"} trained on as well`,
      span: held.spec.span,
      notes: [`${place(held, both[0])} is the first`, "what is measured there is partly what was learnt by heart"],
    },
  ];
}

const float = new Float64Array(1);
const halves = new Int32Array(float.buffer);

/** A number of 53 bits for a row of numbers: rows that differ have the same one practically never, and it is small to keep. */
function fingerprint(numbers: readonly number[]): number {
  let low = 0x811c9dc5;
  let high = numbers.length;
  for (const number of numbers) {
    float[0] = number;
    const id = Number.isInteger(number) ? number : Math.imul(halves[0], 0x85ebca6b) ^ halves[1];
    low = Math.imul(low ^ id, 0x01000193);
    high = Math.imul(high + id, 0x9e3779b1) ^ (high >>> 15);
  }
  return (low >>> 0) * 2 ** 21 + (high >>> 11);
}

export interface StageTable extends Inspected {
  readonly stage: string;
  readonly part: "main" | "held";
}

/** Tables that a stage reads. `table`: makes one; `undefined`: there is no such part. */
export async function stageTables(
  stage: Stage,
  make: (spec: DatasetSpec) => Promise<DataTable | undefined>,
  tokenizer: Words | undefined,
): Promise<StageTable[]> {
  const out: StageTable[] = [];
  const add = async (spec: DatasetSpec, columns: readonly ColumnDecl[], sequence: number | undefined, part = spec.part) => {
    const table = await make(spec);
    if (table !== undefined) out.push({ stage: stage.name, part, table, columns, spec, tokenizer, sequence });
  };
  switch (stage.verb) {
    case "train":
      for (const [i, spec] of stage.data.entries()) {
        await add(spec, stage.step[i].columns, stage.sequence);
        if (stage.evaluate?.data === undefined) await add({ ...spec, part: "held" }, stage.evaluation[i]?.columns ?? [], stage.sequence);
      }
      if (stage.evaluate?.data !== undefined) await add(stage.evaluate.data, stage.evaluation[0].columns, stage.sequence, "held");
      break;
    case "evaluate":
      await add(stage.data, stage.evaluation.columns, stage.sequence);
      break;
    case "predict":
      await add(stage.data, stage.entry.columns, stage.sequence);
      break;
    case "generate":
    case "score":
      break;
  }
  return out;
}

/** Warnings about everything that a stage reads. */
export function checkTables(tables: readonly StageTable[]): Problem[] {
  const main = tables.filter(({ part }) => part === "main");
  const held = tables.filter(({ part }) => part === "held");
  return [...tables.flatMap(checkRows), ...held.flatMap((table, i) => (main[i] === undefined ? [] : checkHeld(main[i], table)))];
}
