/**
 * Numbers that scale a product, or one of its factors, scale the smallest of the three: what is scaled is a pass over memory, and a product with a number
 * behind it is no part of a sum.
 */
import type { Graph, Node } from "../graph.ts";
import { sizes } from "../graph.ts";
import { make } from "../make.ts";
import { axesOfDot } from "../ops/index.ts";
import { rebuild, withInputs } from "../rebuild.ts";
import { allNodes, withRoots } from "../rewrite.ts";
import type { Pass } from "./pass.ts";
import { elements, isTimes, splat } from "./rules/facts.ts";

export const scaled: Pass = {
  name: "scaled",
  before: "a flat graph, sizes bound; numbers stand second",
  after:
    "no number scales a product that is used once where a factor of a quarter of its size that is a product could be scaled, or a factor where a thin result could",
  law: "results are equal up to rounding",
  run: (graph) => moveNumbers(graph),
};

/** What is scaled has to be so much larger than what could be: a product than a factor; a factor than a product, which is no part of a sum then. */
const SMALLER = 4;
const THIN = 16;
const size = (n: Node): number => elements(sizes(n));

function moveNumbers(graph: Graph): Graph {
  const uses = new Map<Node, number>();
  for (const n of allNodes(graph)) for (const x of n.inputs) uses.set(x, (uses.get(x) ?? 0) + 1);
  for (const { node } of graph.results) uses.set(node, (uses.get(node) ?? 0) + 1);
  const roots = rebuild(
    graph.results.map((r) => r.node),
    new Map(),
    (n, inputs) => {
      const scaling = isTimes(n) ? splat(n.inputs[1]) : undefined;
      if (scaling !== undefined && uses.get(n.inputs[0]) === 1 && axesOfDot(inputs[0]))
        return into(n, inputs[0], scaling) ?? withInputs(n, inputs);
      return axesOfDot(n) ? outOf(withInputs(n, inputs)) : withInputs(n, inputs);
    },
  );
  return withRoots(graph, roots);
}

const times = (x: Node, by: number, n: Node): Node =>
  make("mul", [x, make("const", [], { shape: sizes(x), dtype: "f32", data: [by] }, n.origin)], {}, n.origin);

/** The product with a small factor scaled, if that is a product itself, which is scaled where it is stored. */
function into(n: Node, dot: Node, by: number): Node | undefined {
  const i = [0, 1].find((k) => axesOfDot(dot.inputs[k]) && SMALLER * size(dot.inputs[k]) <= size(n));
  if (i === undefined) return undefined;
  const factors = dot.inputs.map((x, k) => (k === i ? times(x, by, n) : x));
  return make("dot", factors, dot.attrs, n.origin);
}

/** The product of factors that are not scaled, scaled itself. */
function outOf(dot: Node): Node {
  for (const i of [0, 1]) {
    const factor = dot.inputs[i];
    const by = isTimes(factor) ? splat(factor.inputs[1]) : undefined;
    if (by === undefined || THIN * size(dot) > size(factor)) continue;
    return times(
      outOf(
        make(
          "dot",
          dot.inputs.map((x, k) => (k === i ? factor.inputs[0] : x)),
          dot.attrs,
          dot.origin,
        ),
      ),
      by,
      dot,
    );
  }
  return dot;
}
