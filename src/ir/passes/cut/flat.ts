/** The cut of a flat graph, or of what of a graph is outside loops. */
import { type Graph, type Node, node } from "../../graph.ts";
import { rebuild, withInputs } from "../../rebuild.ts";
import { type CutRules, choose } from "./choose.ts";
import { crossing, halvesOf } from "./halves.ts";

/** The graph whose backward half computes again what is not worth keeping. */
export function cutFlat(graph: Graph, { changed, mayRepeat }: CutRules = {}): Graph {
  const halves = halvesOf(graph, changed);
  const { again } = choose(crossing(halves), { free: halves.free, mayRepeat });
  if (again.size === 0) return graph;
  const known = new Map<Node, Node>();
  for (const n of halves.nodes) if (!again.has(n) && !n.backward) known.set(n, n);
  const change = (n: Node, inputs: readonly Node[]): Node =>
    again.has(n) ? node(n.op, inputs, n.attrs, n.type, { ...n.origin, half: "backward" }) : withInputs(n, inputs);
  return {
    // A forward result is what it was; only the backward half reads the copies.
    results: graph.results.map((r) => (r.node.backward ? { ...r, node: rebuild([r.node], known, change)[0] } : r)),
  };
}
