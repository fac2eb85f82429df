/** What a stage learns from its data, looked at before it starts: which tokens are labelled, how long rows are, what is cut off, and what looks wrong. */
import type { ColumnDecl, DatasetSpec, Entry, Stage } from "../../compiler/project.ts";
import { IGNORED } from "../../formats/data/encode.ts";
import type { TextTokenizer } from "../../formats/tokenizer/tokenizer.ts";
import type { Graph } from "../../ir/graph.ts";
import { type DataTable, roundUp } from "./columns.ts";

/** What checks ask of a tokenizer. */
export type Words = Pick<TextTokenizer, "ids" | "specials" | "tokenOf" | "decode">;

export interface Inspected {
  readonly table: DataTable;
  /** Columns that the stage's graph reads. */
  readonly columns: readonly ColumnDecl[];
  readonly graph: Graph;
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
  const seen = list("attention_mask");
  return [{ column: "input_ids", ids, labels: whole ? ids.map((id, i) => (seen?.[i] === 0 ? undefined : id)) : nothing(ids) }];
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

export function labelsKept(inspected: Inspected, row: number): number {
  return Math.max(0, ...viewsOf(inspected, row).map(({ labels }) => labels.filter((label) => label !== undefined).length));
}

export function cutRows(inspected: Inspected): { rows: number; answers: number } {
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

export function classesOf(table: DataTable): Map<number, number> | undefined {
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

export interface StageTable extends Inspected {
  readonly stage: string;
  readonly verb: Stage["verb"];
  readonly part: "main" | "held";
}

/** Columns of the file that nothing is made of, or that the stage's graph does not read: a `label` beside texts that are learnt as they stand. */
export function unreadIn({ table, columns }: Pick<Inspected, "table" | "columns">): readonly string[] {
  const unread = ["label", "tags"].filter((made) => table.columns.has(made) && columns.every(({ name }) => name !== made));
  return [...(table.unread ?? []), ...unread];
}

/** Tables that a stage reads. `table`: makes one; `undefined`: there is no such part. */
export async function stageTables(
  stage: Stage,
  make: (spec: DatasetSpec) => Promise<DataTable | undefined>,
  tokenizer: Words | undefined,
): Promise<StageTable[]> {
  const out: StageTable[] = [];
  const add = async (spec: DatasetSpec, entry: Entry | undefined, sequence: number | undefined, part = spec.part) => {
    const table = await make(spec);
    const { columns, graph } = entry ?? { columns: [], graph: { results: [] } };
    if (table !== undefined) out.push({ stage: stage.name, verb: stage.verb, part, table, columns, graph, spec, tokenizer, sequence });
  };
  switch (stage.verb) {
    case "train":
      for (const [i, spec] of stage.data.entries()) {
        await add(spec, stage.step[i], stage.sequence);
        if (stage.evaluate?.data === undefined) await add({ ...spec, part: "held" }, stage.evaluation[i], stage.sequence);
      }
      if (stage.evaluate?.data !== undefined) await add(stage.evaluate.data, stage.evaluation[0], stage.sequence, "held");
      break;
    case "evaluate":
      await add(stage.data, stage.evaluation, stage.sequence);
      break;
    case "predict":
      await add(stage.data, stage.entry, stage.sequence);
      break;
    case "generate":
    case "report":
    case "score":
      break;
  }
  return out;
}
