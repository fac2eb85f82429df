/**
 * Gradients that a loss is made of, where no column enters them: the divisors of sums over rows. They are written out, so that PyTorch's autograd runs once,
 * from the loss: `fully_shard` takes the first backward half that runs for the end of a step.
 */
import { differentiate } from "../../ir/autodiff.ts";
import { type Graph, type Node, order } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { rebuild, withRoots } from "../../ir/rebuild.ts";

const isGrad = (n: Node): boolean => rowOf(n).role === "placeholder" && n.inputs.length === 2;
const readsColumns = (n: Node): boolean => order([n]).some((m) => rowOf(m).supply === "input" && m.type.shape.length > 0);

export function writeOutInner(graph: Graph): Graph {
  const roots = graph.results.map((r) => r.node);
  const asked = order(roots).filter((n) => rowOf(n).role === "placeholder");
  const within = new Set(order(asked.map((n) => n.inputs[0])));
  const inner = asked.filter((n) => isGrad(n) && within.has(n) && !readsColumns(n.inputs[0]));
  if (inner.length === 0) return graph;
  const written = differentiate({ results: inner.map((node, i) => ({ role: "output", name: `${i}`, node })) });
  const nodes = rebuild(roots, new Map(inner.map((n, i) => [n, forwardOf(written.results[i].node)])));
  return withRoots(graph, nodes);
}

/** The same nodes as ones of the forward half, which they now are. */
function forwardOf(root: Node): Node {
  const known = new Map<Node, Node>();
  for (const n of order([root])) {
    if (!n.backward) known.set(n, n);
    else known.set(n, { ...n, inputs: n.inputs.map((i) => known.get(i)!), origin: { ...n.origin, half: undefined }, backward: false });
  }
  return known.get(root)!;
}
