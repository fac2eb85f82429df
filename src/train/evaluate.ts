/** Means of an objective's scalars over whole tables, and the stage that prints them. */
import type { Entry, EvaluateStage } from "../compiler/project.ts";
import type { Session } from "../runtime/program.ts";
import { bindSizes, checkTable, type DataTable, fillBatch } from "./columns.ts";
import type { EntryPoint } from "./engine.ts";
import { batchesOf, entryName, entryPoints } from "./entries.ts";
import type { Scalars } from "./events.ts";
import { Means } from "./metrics.ts";

/** Where a loss is a mean over labels, batches count by labels; this says how many a batch has. */
export type WeightOf = (table: number, rows: readonly number[]) => number;

/** One evaluation, ready to be run again and again: entries to compile, and the calls that use them. */
export class Evaluation {
  readonly points: readonly EntryPoint[];
  private readonly sizes: readonly ReadonlyMap<string, number>[];
  private readonly batches: readonly (readonly (readonly number[])[])[];

  constructor(
    private readonly entries: readonly Entry[],
    private readonly tables: readonly DataTable[],
    batch: number,
    sequence: number | undefined,
  ) {
    entries.forEach((entry, i) => {
      checkTable(entry.columns, entry.graph, tables[i]);
    });
    this.sizes = entries.map((entry, i) => bindSizes(entry.columns, tables[i], sequence));
    this.batches = tables.map((table) => batchesOf(table.rows, batch));
    this.points = entryPoints(
      "evaluate",
      entries,
      this.sizes,
      this.batches.map((b) => [...new Set(b.map((rows) => rows.length))]),
    );
  }

  get rows(): number {
    return this.tables.reduce((sum, table) => sum + table.rows, 0);
  }

  /** Means over all rows. `step`, `steps`: of the last update. */
  async run(session: Session, step: number, steps: number): Promise<Scalars> {
    const means = new Means();
    for (const [t, entry] of this.entries.entries()) {
      for (const rows of this.batches[t]) {
        const name = entryName("evaluate", t, rows.length, this.batches[t][0].length);
        const outputs = await session.run(name, { ...fillBatch(entry.columns, this.tables[t], rows, this.sizes[t]), step, steps });
        means.add(scalarsOf(outputs), rows.length);
      }
    }
    return means.result();
  }
}

/** Outputs that are single numbers. */
export function scalarsOf(outputs: Readonly<Record<string, ArrayLike<number>>>): Record<string, number> {
  return Object.fromEntries(Object.entries(outputs).flatMap(([name, value]) => (value.length === 1 ? [[name, value[0]]] : [])));
}

export type { EvaluateStage };
