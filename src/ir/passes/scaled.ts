/**
 * Numbers that scale a product, or one of its factors, scale the smallest of the three: what is scaled is a pass over memory, and a product with a number
 * behind it is no part of a sum.
 */
import type { Graph, Node } from "../graph.ts";
import { sizes } from "../graph.ts";
import { make } from "../make.ts";
import { attrsOf, axesOfDot } from "../ops/index.ts";
import { rebuild, withInputs, withRoots } from "../rebuild.ts";
import { allNodes } from "../rewrite.ts";
import type { Pass } from "./pass.ts";
import { elements, isPlus, isTimes, splat } from "./rules/facts.ts";

export const scaled: Pass = {
  name: "scaled",
  before: "a flat graph, sizes bound; numbers stand second",
  after:
    "no number scales a product that is used once where a factor of a quarter of its size that is a product could be scaled, or a factor where a thin result could",
  law: "results are equal up to rounding",
  doubles: true,
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
  /** `x` scaled, with the number at a product that is used once, or at one of those that are added up to `x`. `old`: what `x` was in the graph. */
  const into = (old: Node, x: Node, by: number, n: Node): Node | undefined => {
    if (uses.get(old) !== 1) return undefined;
    if (axesOfDot(x)) return intoFactor(x, by, n);
    if (!isPlus(old) || !isPlus(x)) return undefined;
    const parts = x.inputs.map((part, i) => into(old.inputs[i], part, by, n));
    if (parts.every((p) => p === undefined)) return undefined;
    return make(
      "add",
      parts.map((p, i) => p ?? times(x.inputs[i], by, n)),
      {},
      x.origin,
    );
  };
  const roots = rebuild(
    graph.results.map((r) => r.node),
    new Map(),
    (n, inputs) => {
      const by = isTimes(n) ? splat(n.inputs[1]) : undefined;
      const moved = by === undefined ? undefined : into(n.inputs[0], inputs[0], by, n);
      if (moved) return moved;
      return axesOfDot(n) ? outOf(withInputs(n, inputs)) : withInputs(n, inputs);
    },
  );
  return withRoots(graph, roots);
}

/** A node as a number times another. */
function numbered(x: Node): { readonly of: Node; readonly by: number } {
  const by = isTimes(x) ? splat(x.inputs[1]) : undefined;
  return by === undefined ? { of: x, by: 1 } : { of: x.inputs[0], by };
}

function times(given: Node, more: number, n: Node): Node {
  const { of: x, by: before } = numbered(given);
  const by = before * more;
  return by === 1 ? x : scaledBy(x, by, n);
}

const scaledBy = (x: Node, by: number, n: Node): Node =>
  make("mul", [x, make("const", [], { shape: sizes(x), dtype: "f32", data: [by] }, n.origin)], {}, n.origin);

/** The product with a small factor scaled, if that is a product itself, which is scaled where it is stored. */
function intoFactor(dot: Node, by: number, n: Node): Node | undefined {
  const i = [0, 1].find((k) => axesOfDot(numbered(dot.inputs[k]).of) && SMALLER * size(dot.inputs[k]) <= size(dot));
  if (i === undefined) return undefined;
  const factors = dot.inputs.map((x, k) => (k === i ? times(x, by, n) : x));
  return make("dot", factors, attrsOf(dot, "dot"), n.origin);
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
          attrsOf(dot, "dot"),
          dot.origin,
        ),
      ),
      by,
      dot,
    );
  }
  return dot;
}
