/** Rows of text before they are tokens: what files hold, and what functions over texts make of it. */
import type { RowPlan } from "./encode.ts";
import type { Row } from "./records.ts";

/** How rows become tokens: by templates over their columns, or by a tokenizer's chat template. */
export type Plan = RowPlan | TokenPlan | ChatPlan | PairPlan | JudgedPlan;

/** Rows are tokens already. */
export interface TokenPlan {
  readonly kind: "tokens";
  readonly columns: readonly string[];
  /** Columns of 0 and 1 a token: where one has 0, it is not learnt. */
  readonly learnt?: readonly string[];
  readonly label: string | undefined;
}

/** Rows are conversations. */
export interface ChatPlan {
  readonly kind: "chat";
  /** Which of several templates; none: the usual one. */
  readonly template: string | undefined;
  /** Values for the template, from the program; `date`: the day that it is told, `YYYY-MM-DD`. */
  readonly given?: Readonly<Record<string, unknown>>;
  readonly date?: string;
}

/** Rows are a prompt with a better and a worse answer. */
interface PairPlan extends Omit<ChatPlan, "kind"> {
  readonly kind: "pairs";
}

/** Rows are a prompt with an answer that is wished for or not. */
interface JudgedPlan extends Omit<ChatPlan, "kind"> {
  readonly kind: "judged";
}

/** Rows put together are kept apart by a column that says which is which, or follow each other as one text. */
export type Packing = "documents" | "stream";

export interface Source {
  /** For messages: a file's path. */
  readonly file: string;
  /** Rows of both parts of a split, since names of classes are numbered over all of them. */
  readonly rows: readonly Row[];
  /** Which of them the part is. */
  readonly part: readonly [start: number, end: number];
  readonly plan: Plan;
  /** What was seen of the columns, for people: `prompt and completion`. */
  readonly shape: string;
  /** How several rows go into one of `sequence` tokens, if they do. */
  readonly packed?: Packing | undefined;
  /** A `generate` stage wrote the answers. */
  readonly written?: boolean;
  /** The call that made it: what it says of classes. */
  readonly spec?: { readonly make: string; readonly options: Readonly<Record<string, unknown>> };
  /** Columns of the file that nothing was made of. */
  readonly unread?: readonly string[];
}

export const rowsOf = (source: Source): readonly Row[] => source.rows.slice(...source.part);

/** The same with changed rows, one for one. */
export function mapRows(source: Source, change: (row: Row, i: number) => Row["values"]): Source {
  return { ...source, rows: source.rows.map((row, i) => ({ line: row.line, values: change(row, i) })) };
}
