/** Frozen weights in half precision: the graph reads what their nearest 16-bit numbers stand for. */

import type { HalfFormat } from "../../ground/weights.ts";
import { Builder } from "../build.ts";
import type { Graph, Node } from "../graph.ts";
import { rowOf } from "../ops/index.ts";
import { rebuildGraph, withInputs } from "../rebuild.ts";
import type { Pass } from "./pass.ts";

export const halve: Pass = {
  name: "halve",
  before: "any graph of a stage, sizes unbound",
  after: "where `precision` asks for 16 bits: each frozen parameter of two axes or more is read as the nearest numbers of that format",
  law: "results are those at the rounded parameters",
  run: (graph, { options: { halves, trained = [] } }) => (halves === undefined ? graph : halveFrozen(graph, trained, halves)),
};

/** Parameters with two axes or more that are not among `trained`. Vectors (biases, norms) are little and stay as they are. */
function halveFrozen(graph: Graph, trained: readonly string[], format: HalfFormat): Graph {
  const changed = new Set([...trained, ...graph.results.filter((r) => r.role === "param").map((r) => r.name)]);
  const halved = new Map<string, Node>();
  return rebuildGraph(graph, new Map(), (n, inputs) => {
    const name = String(n.attrs.name);
    if (rowOf(n).supply !== "param" || n.type.shape.length < 2 || changed.has(name)) return withInputs(n, inputs);
    let out = halved.get(name);
    if (!out) {
      const b = new Builder(n.origin);
      out = b.make("widen", [b.make("narrow", [n], { format })], { shape: n.type.shape, format });
      halved.set(name, out);
    }
    return out;
  });
}
