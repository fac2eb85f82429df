/** The clean-up of what lowering sees: leaves. */

import type { Graph, Node } from "../ir/graph.ts";
import { rowOf } from "../ir/ops/index.ts";
import { rebuildGraph, withInputs } from "../ir/rebuild.ts";

/** One node for each parameter, state and input: kernels tell operands apart by their nodes. */
export function singleLeaves(graph: Graph): Graph {
  const seen = new Map<string, Node>();
  return rebuildGraph(graph, new Map(), (n, inputs) => {
    if (rowOf(n).supply === undefined) return withInputs(n, inputs);
    const key = `${n.op} ${String(n.attrs.name ?? n.attrs.index)}`;
    const first = seen.get(key);
    if (!first) seen.set(key, n);
    return first ?? n;
  });
}
