/** Results as kernels can store them. */

import { type Graph, type Node, node, type Result } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import type { Pass } from "../../ir/passes/pass.ts";
import { isLeaf, isReshape, isView } from "../kernels/roots.ts";

export const storable: Pass = {
  name: "storable",
  before: "a flat graph, or the body of a loop",
  after: "each result has a node of its own, which is no leaf and no reshape",
  law: "every result is the same, to the bit, but for its shape",
  run: (graph, { options: { body = false } }) => storableResults(graph, body),
};

const copyOf = (n: Node): Node => node("stop_gradient", [n], {}, n.type, n.origin);

/** Reshapes only: the same elements in the same order. */
function sameElements(n: Node): Node {
  while (isView(n) && (rowOf(n).role === "barrier" || isReshape(n)) && !isLeaf(n.inputs[0])) n = n.inputs[0];
  return n;
}

/**
 * Lets results that are reshaped be stored as what they are reshaped from, and copies what two results, or a result and what is handed in, would
 * share. The first result of a node keeps it. `apart`: outputs share nothing either.
 */
function storableResults(graph: Graph, apart: boolean): Graph {
  const taken = new Set<Node>();
  const results = graph.results.map((r): Result => {
    const n = sameElements(r.node);
    if (isLeaf(n) || (taken.has(n) && (apart || r.role !== "output"))) return { ...r, node: copyOf(r.node) };
    taken.add(n);
    return { ...r, node: n };
  });
  return { results };
}
