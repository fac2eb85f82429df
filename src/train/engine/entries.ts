/** Names and sizes of the entry points that a stage needs: one for each table and each number of rows that its batches have. */
import type { Entry, Stage } from "../../compiler/project.ts";
import { batchSymbol } from "../data/columns.ts";
import type { EntryPoint } from "./engine.ts";

/** The largest batch of the first table has the plain name (`step`); others say which they are (`step_5_rows`, `step_table_1`). */
export function entryName(kind: string, table: number, rows: number, full: number): string {
  return `${kind}${table > 0 ? `_table_${table}` : ""}${rows === full ? "" : `_${rows}_rows`}`;
}

export function sizesFor(entry: Entry, sizes: ReadonlyMap<string, number>, rows: number): Map<string, number> {
  const batch = batchSymbol(entry.columns);
  return batch === undefined ? new Map(sizes) : new Map([...sizes, [batch, rows]]);
}

/** An entry point for each size of batch. `batches[table]`: the numbers of rows, the full one first; tables are numbered from `first`. */
export function entryPoints(
  kind: string,
  entries: readonly Entry[],
  sizes: readonly ReadonlyMap<string, number>[],
  batches: readonly (readonly number[])[],
  first = 0,
): EntryPoint[] {
  return entries.flatMap((entry, table) =>
    batches[table].map((rows) => ({
      name: entryName(kind, first + table, rows, batches[table][0]),
      graph: entry.graph,
      batch: batchSymbol(entry.columns),
      sizes: sizesFor(entry, sizes[table], rows),
    })),
  );
}

/** The graphs with which a stage reads its data, as they are in use. */
export function entriesOf(stage: Stage): readonly Entry[] {
  if (stage.verb === "train") return stage.evaluation;
  if (stage.verb === "evaluate") return [stage.evaluation];
  return stage.verb === "predict" ? [stage.entry] : [];
}

/** Numbers of rows of consecutive batches over a whole table. */
export function batchesOf(rows: number, batch: number): number[][] {
  const out: number[][] = [];
  for (let at = 0; at < rows; at += batch) out.push(Array.from({ length: Math.min(batch, rows - at) }, (_, i) => at + i));
  return out;
}
