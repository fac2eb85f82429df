/** Means of an objective's scalars over whole tables. */
import type { Entry } from "../compiler/project.ts";
import { NotAdditive } from "../ir/accumulate.ts";
import type { Result } from "../ir/graph.ts";
import type { Session } from "../runtime/program.ts";
import { bindSizes, checkTable, type DataTable, fillBatch } from "./columns.ts";
import type { EntryPoint } from "./engine.ts";
import { batchesOf, entryName, entryPoints } from "./entries.ts";
import type { Scalars } from "./events.ts";
import { Means } from "./metrics.ts";
import { Summing } from "./summing.ts";

const NAMES = { count: "evaluate_count", part: "evaluate_part", finish: "evaluate" };
/** Of scalars that do not add up over batches (a largest error): each batch's counts by its rows. */
const REST = "evaluate_rest";

interface Part {
  readonly table: DataTable;
  readonly sizes: ReadonlyMap<string, number>;
  readonly batches: readonly (readonly number[])[];
  readonly summing: Summing | undefined;
  readonly rest: Entry | undefined;
}

/** One evaluation, ready to be run again and again: entries to compile, and the calls that use them. */
export class Evaluation {
  readonly points: readonly EntryPoint[];
  private readonly parts: readonly Part[];

  /** An entry and a table each. P07.. where a table cannot serve. */
  constructor(entries: readonly Entry[], tables: readonly DataTable[], batch: number, sequence: number | undefined) {
    this.parts = entries.map((entry, number) => {
      const table = tables[number];
      checkTable(entry.columns, entry.graph, table);
      const sizes = bindSizes(entry.columns, table, sequence);
      const batches = batchesOf(table.rows, batch);
      const lengths = lengthsOf(batches);
      const { sums, rest } = additive(entry);
      const summing = sums === undefined ? undefined : new Summing({ names: NAMES, entry: sums, number, table, sizes, batches: lengths });
      return { table, sizes, batches, summing, rest };
    });
    this.points = this.parts.flatMap(({ summing, rest, sizes, batches }, number) => [
      ...(summing?.points ?? []),
      ...(rest === undefined ? [] : entryPoints(REST, [rest], [sizes], [lengthsOf(batches)], number)),
    ]);
  }

  /** Means over all rows. `step`, `steps`: of the last update. */
  async run(session: Session, step: number, steps: number): Promise<Scalars> {
    const means = new Means();
    for (const [number, { table, sizes, batches, summing, rest }] of this.parts.entries()) {
      if (summing !== undefined) means.add(scalarsOf(await summing.run(session, batches, { step, steps })), table.rows);
      if (rest === undefined) continue;
      for (const rows of batches) {
        const name = entryName(REST, number, rows.length, batches[0].length);
        const outputs = await session.run(name, { ...fillBatch(rest.columns, table, rows, sizes), step, steps });
        means.add(scalarsOf(outputs), rows.length);
      }
    }
    return means.result();
  }
}

const lengthsOf = (batches: readonly (readonly number[])[]): number[] => [...new Set(batches.map((rows) => rows.length))];

/** The scalars that add up over batches, and the others. */
function additive(entry: Entry): { sums: Entry | undefined; rest: Entry | undefined } {
  const scalars = entry.graph.results.filter((r) => r.role === "output" && r.node.type.shape.length === 0);
  const adds = (results: readonly Result[]): boolean => {
    try {
      new Summing({
        names: NAMES,
        entry: { ...entry, graph: { results } },
        number: 0,
        table: { name: "", rows: 1, columns: new Map() },
        sizes: new Map(),
        batches: [1],
      });
      return true;
    } catch (error) {
      if (error instanceof NotAdditive) return false;
      throw error;
    }
  };
  const sums = adds(scalars) ? scalars : scalars.filter((r) => adds([r]));
  const rest = scalars.filter((r) => !sums.includes(r));
  const part = (results: readonly Result[]): Entry | undefined => (results.length === 0 ? undefined : { ...entry, graph: { results } });
  return { sums: part(sums), rest: part(rest) };
}

/** Outputs that are single numbers. */
export function scalarsOf(outputs: Readonly<Record<string, ArrayLike<number>>>): Record<string, number> {
  return Object.fromEntries(Object.entries(outputs).flatMap(([name, value]) => (value.length === 1 ? [[name, value[0]]] : [])));
}
