/** The graphs of a program, as they are printed: sizes bound but the batch's, and rewritten by what `rewrites.ts` lists, in its order. */
import { bind } from "../../ir/bind.ts";
import type { Graph, Node } from "../../ir/graph.ts";
import { roll } from "../../ir/loops/roll.ts";
import type { DriverHooks, PassRow } from "../../ir/passes/pass.ts";
import { verify } from "../../ir/verify.ts";
import { tell } from "../lowering.ts";
import { writeOutInner } from "./inner.ts";
import { isUpdate } from "./kinds.ts";
import { type Prepared, prepared } from "./once.ts";
import * as rewrites from "./rewrites.ts";
import { forOneRow } from "./tables.ts";
import { single } from "./update-names.ts";
import { wantedIn } from "./wanted.ts";

/** A graph with a number for each of its symbols but the batch's, which stays open. */
export interface TorchEntry {
  readonly name: string;
  readonly graph: Graph;
  readonly sizes: ReadonlyMap<string, number>;
  readonly batch?: string | undefined;
  /** Values for symbols that are known when it runs; see `bind`. */
  readonly values?: ReadonlyMap<string, Node>;
}

export interface Bound {
  readonly names: string[];
  readonly graph: Graph;
  readonly batch: string | undefined;
}
/** Entries of one graph that differ in the batch alone are one. */
export function graphsOf(
  entries: readonly TorchEntry[],
  hooks: DriverHooks,
): { readonly bound: readonly Bound[]; readonly once: Prepared } {
  const out = new Map<string, Bound>();
  const ids = new Map<Graph, number>();
  for (const { name, graph, sizes, batch, values } of entries) {
    if (!ids.has(graph)) ids.set(graph, ids.size);
    const others = [...sizes].filter(([symbol]) => symbol !== batch);
    const key = `${ids.get(graph)} ${others.map(([symbol, size]) => `${symbol}=${size}`).sort()}`;
    const known = out.get(key);
    if (known) known.names.push(name);
    else out.set(key, { names: [name], graph: bind(graph, new Map(others), { values }), batch });
  }
  const all = [...out.values()];
  let graphs = all.map((b) => b.graph);
  const stop = rewrites.torchRewrites.findIndex((p) => p.name === hooks.stopAfter);
  const behind = (row: PassRow, now: readonly Graph[], more: readonly { name: string; graph: Graph }[] = []): void => {
    graphs = [...now];
    for (const graph of graphs) verify(graph);
    // the program is made of what all of them give: who stops earlier sees no more
    const named = graphs.map((graph, i) => ({ name: all[i].names[0], graph }));
    if (stop < 0 || rewrites.torchRewrites.indexOf(row) <= stop) tell([row], [...named, ...more], hooks);
  };
  const leaves = (row: PassRow): boolean => hooks.without?.includes(row.name) === true;

  behind(rewrites.inner, graphs.map(writeOutInner));
  const wanted = new Set(graphs.flatMap((g) => [...wantedIn(g.results.map((r) => r.node))]));
  if (!leaves(rewrites.oneRow))
    behind(
      rewrites.oneRow,
      graphs.map((g) => forOneRow(g, wanted)),
    );
  const once = prepared(graphs, wanted);
  const first = [
    { name: "tables", graph: once.tables },
    { name: "prepare", graph: once.prepare },
  ].filter(({ graph }) => graph.results.length > 0);
  behind(rewrites.once, once.graphs, first);
  if (!leaves(rewrites.rolled))
    behind(
      rewrites.rolled,
      graphs.map((g) => (isUpdate(g) ? g : roll(g))),
    );
  const prepare = single(once.prepare);
  behind(
    rewrites.single,
    graphs.map((g) => (isPlainUpdate(g) ? single(g) : g)),
    first.slice(-1).map(({ name }) => ({ name, graph: prepare })),
  );
  return { bound: all.map((b, i) => ({ ...b, graph: graphs[i] })), once: { ...once, prepare } };
}

/** Whether a graph is an update whose gradients are there, not asked for. */
const isPlainUpdate = (graph: Graph): boolean => isUpdate(graph) && wantedIn(graph.results.map((r) => r.node)).size === 0;
