/**
 * An entry point over many batches as if they were one: what divides is counted first, then each batch adds its part to states, then a last entry
 * computes the results from the sums. So a mean over labels is one over all of them, however they fall into batches.
 */

import type { Entry } from "../../compiler/project.ts";
import type { Session, Values } from "../../ground/program.ts";
import { type Accumulation, accumulate, ROWS_BEFORE, UPDATE_ROWS } from "../../ir/accumulate.ts";
import { make } from "../../ir/build.ts";
import type { Graph, Result } from "../../ir/graph.ts";
import { attrsOf, rowOf } from "../../ir/ops/index.ts";
import { rebuild, withInputs } from "../../ir/rebuild.ts";
import { batchSymbol, type DataTable, fillBatch } from "../data/columns.ts";
import type { EntryPoint } from "../engine/engine.ts";
import { entryName, sizesFor } from "../engine/entries.ts";
import type { StreamCall, Streams } from "../engine/streams.ts";

interface SummingNames {
  readonly count: string;
  readonly part: string;
  readonly finish: string;
}

interface SummingOptions {
  readonly names: SummingNames;
  readonly entry: Entry;
  /** Number of the table among the stage's, and the table. */
  readonly number: number;
  readonly table: DataTable;
  readonly sizes: ReadonlyMap<string, number>;
  /** Numbers of rows that batches have, the full one first. */
  readonly batches: readonly number[];
}

interface SummingRun {
  readonly streams?: Streams;
  /**
   * For sessions whose runs may be asked for ahead of each other's results: nothing of one update is waited for before the rest of it is asked for, and
   * this is called when all of it is.
   */
  readonly ahead?: () => void;
}

export class Summing {
  readonly points: readonly EntryPoint[];
  private readonly split: Accumulation;

  /** Throws `NotAdditive` (P0811) where batches do not add up. */
  constructor(private readonly options: SummingOptions) {
    const { names, entry, number, sizes, batches } = options;
    const batch = batchSymbol(entry.columns);
    const split = accumulate(entry.graph, batch ?? "B");
    const prefix = `${names.finish}${number > 0 ? `/${number}` : ""}`;
    const renamed = new Map(split.states.map((s) => [s.name, `${prefix}/${s.name}`]));
    const graph = (g: Graph) => renameStates(g, renamed);
    this.split = {
      ...split,
      ...(split.count && { count: graph(split.count) }),
      gradients: graph(split.gradients),
      update: graph(split.update),
    };
    const points = (kind: string, g: Graph) =>
      batches.map((rows) => ({ name: entryName(kind, number, rows, batches[0]), graph: g, batch, sizes: sizesFor(entry, sizes, rows) }));
    this.points = [
      ...(this.split.count === undefined ? [] : points(names.count, this.split.count)),
      ...points(names.part, this.split.gradients),
      { name: entryName(names.finish, number, 0, 0), graph: this.split.update, sizes: sizesFor(entry, sizes, batches[0]) },
    ];
  }

  /** Gives the results over all rows of these batches. The sums are zero before and after. */
  async run(
    session: Pick<Session, "run">,
    batches: readonly (readonly number[])[],
    numbers: Readonly<Record<string, number>>,
    { streams, ahead }: SummingRun = {},
  ): Promise<Record<string, Values>> {
    const { names, entry, number, table, sizes, batches: lengths } = this.options;
    const total = batches.reduce((sum, rows) => sum + rows.length, 0);
    const parts: Promise<unknown>[] = [];
    const each = async (kind: string) => {
      let before = 0;
      for (const rows of batches) {
        const inputs = { ...fillBatch(entry.columns, table, rows, sizes), ...numbers, [UPDATE_ROWS]: total, [ROWS_BEFORE]: before };
        const name = entryName(kind, number, rows.length, lengths[0]);
        const call: StreamCall = (more, also) => session.run(name, { ...inputs, ...more }, also);
        const part = streams === undefined ? call({}, []) : streams.run(name, call);
        // where one fails that failure is told; those under way beside it fail with it
        part.catch(() => {});
        parts.push(part);
        // a batch that does not count is made again before the next one adds to the sums
        if (streams?.any) await parts.shift();
        before += rows.length;
        // sessions keep their order; two under way keep a device busy without holding every batch in memory
        if (parts.length > 2) await parts.shift();
      }
      if (ahead === undefined) await Promise.all(parts.splice(0));
    };
    if (this.split.count !== undefined) await each(names.count);
    await each(names.part);
    const results = session.run(entryName(names.finish, number, 0, 0), { ...numbers, [UPDATE_ROWS]: total });
    ahead?.();
    results.catch(() => {});
    await Promise.all(parts);
    return results;
  }
}

/** The graph with other names for states. */
function renameStates(graph: Graph, names: ReadonlyMap<string, string>): Graph {
  const roots = rebuild(
    graph.results.map((r) => r.node),
    new Map(),
    (n, inputs) => {
      const name = rowOf(n).supply === "state" ? names.get(String(n.attrs.name)) : undefined;
      return name === undefined ? withInputs(n, inputs) : make("state", [], { ...attrsOf(n, "state"), name }, n.origin);
    },
  );
  const renamed = (r: Result): string => (r.role === "state" ? (names.get(r.name) ?? r.name) : r.name);
  return { results: graph.results.map((r, i) => ({ ...r, name: renamed(r), node: roots[i] })) };
}
