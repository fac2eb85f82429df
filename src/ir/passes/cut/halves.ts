/** What crosses from the forward to the backward half of a graph, and what need not be kept for it. */

import { LoopExports } from "../../autodiff/exports.ts";
import { type Graph, type Node, order } from "../../graph.ts";
import { rowOf } from "../../ops/index.ts";
import { constantNodes, isGet } from "../../rebuild.ts";
import { bytesOf } from "./choose.ts";

export interface Halves {
  readonly nodes: readonly Node[];
  /**
   * There anyway: what is handed in, what is kept between updates, constants, and what depends on frozen parameters alone, which is
   * computed once after loading.
   */
  free(n: Node): boolean;
}

/** `changed`: names of parameters that change from run to run, beside those that the graph itself updates. */
export function halvesOf(graph: Graph, changed: readonly string[] = []): Halves {
  const nodes = order(graph.results.map((r) => r.node));
  const constants = constantNodes(nodes);
  const trained = new Set([...changed, ...graph.results.filter((r) => r.role === "param").map((r) => r.name)]);
  const lasting = new Set<Node>();
  for (const n of nodes) {
    const { supply } = rowOf(n);
    const given = supply ? supply === "param" && !trained.has(String(n.attrs.name)) : n.inputs.every((i) => lasting.has(i));
    if (given) lasting.add(n);
  }
  return { nodes, free: (n) => rowOf(n).supply !== undefined || constants.has(n) || lasting.has(n) };
}

/** Forward nodes that the backward half reads. */
export function crossing({ nodes }: Halves): Set<Node> {
  const out = new Set<Node>();
  for (const n of nodes) if (n.backward) for (const i of n.inputs) if (!i.backward && !i.loop) out.add(i);
  return out;
}

/** Bytes of all values that are kept for the backward half; reads of one value of a loop count once. */
export function keptBytes(graph: Graph, changed: readonly string[] = []): number {
  const halves = halvesOf(graph, changed);
  const values = new LoopExports();
  const kept = new Set(
    [...crossing(halves)].map((n) => (isGet(n) && !n.inputs[0].loop?.sliced ? values.settle(n) : n)).filter((n) => !halves.free(n)),
  );
  return [...kept].reduce((sum, n) => sum + bytesOf(n), 0);
}
