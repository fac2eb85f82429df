/** What a metric is: what it looks at, and the numbers that it gives. */
import type { DatasetSpec, Static } from "../../compiler/project.ts";
import type { Source } from "../../formats/data/source.ts";
import { InputError } from "../../ir/errors.ts";
import type { DataTable } from "../data/columns.ts";
import type { Scalars } from "../events.ts";

/** What an objective predicts, and what the data say, one beside the other; without what no label says anything of (−100). */
export interface Labelled {
  readonly predicted: readonly number[];
  readonly expected: readonly number[];
}
export type Options = Readonly<Record<string, Static>>;
export type ReadTable = (spec: DatasetSpec) => Promise<DataTable>;

/**
 * `labels`: rows of an evaluation, of the values `predicted` and `expected` of its objective. `texts`: rows of text that earlier stages wrote.
 * `tables`: tables that it is told of, whatever is evaluated. `counts`: numbers that no mean may be taken of. Errors: P0703.
 */
export type Metric = { readonly counts?: boolean } & (
  | { readonly wants: "labels"; of(rows: Labelled, options: Options): Scalars }
  | { readonly wants: "texts"; of(source: Source, options: Options): Scalars }
  | { readonly wants: "tables"; of(read: ReadTable, options: Options): Promise<Scalars> }
);

export const unfit = (message: string, notes: readonly string[] = []): InputError => new InputError("P0703", message, notes);

/** P0703: a label or prediction that is no class. */
export function requireClasses(name: string, { predicted, expected }: Labelled): void {
  const odd = [...expected, ...predicted].find((x) => !Number.isInteger(x) || x < 0);
  if (odd !== undefined) throw unfit(`\`${name}\` is of classes, and a row has ${odd}`, ["`pearson` and `spearman` are of numbers"]);
}
