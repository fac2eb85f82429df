/** What a graph costs, for `plan` and for passes that choose. */
import { type Graph, type Node, order, sizes } from "./graph.ts";
import { axesOfDot, type Role, rowOf } from "./ops/index.ts";

interface Cost {
  /** Multiply-adds of contractions. */
  readonly products: number;
  /** Elements that elementwise functions, reductions, scans and draws compute or read. */
  readonly elements: number;
}
interface GraphCost {
  readonly forward: Cost;
  readonly backward: Cost;
  /** Of both. */
  readonly total: Cost;
}

const count = (shape: readonly number[]): number => shape.reduce((p, d) => p * d, 1);

/** Multiply-adds of one contraction: the size of its result times that of what it sums over; 0 for other nodes. */
export function multiplyAdds(n: Node): number {
  const axes = axesOfDot(n);
  if (!axes) return 0;
  const lhs = sizes(n.inputs[0]);
  return count(sizes(n)) * count(axes.lhsContract.map((i) => lhs[i]));
}

/** Roles whose nodes compute each element of their result. */
const elementwise: ReadonlySet<Role> = new Set<Role>(["map", "sum", "scale"]);
/** Roles whose nodes read each element of their first operand. */
const reading: ReadonlySet<Role> = new Set<Role>(["reduce", "scan"]);

/** Elements that one node computes, or reads to reduce them. */
export function elementsOf(n: Node): number {
  const { role } = rowOf(n);
  if (elementwise.has(role)) return count(sizes(n));
  if (reading.has(role)) return count(sizes(n.inputs[0]));
  return 0;
}

/** The cost of one run of the graph, loops counted iteration by iteration. Sizes are bound. */
export function graphCost(graph: Graph): GraphCost {
  return regionCost(graph.results.map((r) => r.node));
}

function regionCost(roots: readonly Node[]): GraphCost {
  const halves = { forward: { products: 0, elements: 0 }, backward: { products: 0, elements: 0 } };
  const nodes = order(roots);
  for (const n of nodes) {
    const half = n.backward ? halves.backward : halves.forward;
    half.products += multiplyAdds(n);
    if (!n.loop) {
      half.elements += elementsOf(n);
      continue;
    }
    // A loop that stands in the backward half is backward whole, whatever the marks inside say.
    const bodies = n.loop.bodies.map((b) => regionCost(b.results));
    for (const t of n.loop.iterations) {
      const body = bodies[t.body];
      half.products += n.backward ? body.total.products : body.forward.products;
      half.elements += n.backward ? body.total.elements : body.forward.elements;
      if (n.backward) continue;
      halves.backward.products += body.backward.products;
      halves.backward.elements += body.backward.elements;
    }
  }
  const { forward, backward: after } = halves;
  return {
    forward,
    backward: after,
    total: { products: forward.products + after.products, elements: forward.elements + after.elements },
  };
}
