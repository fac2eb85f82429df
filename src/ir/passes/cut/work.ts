/** How long nodes take, so that recomputing can be weighed against keeping. */
import { elementsOf, multiplyAdds } from "../../flops.ts";
import { type Node, order, sizes } from "../../graph.ts";
import { rowOf } from "../../ops/index.ts";

/**
 * A machine in four numbers: multiply-adds and bytes a second of two cores with 128-bit vectors, and what an element of a map and of a draw takes.
 * Only their ratios decide. They were measured with `npm run bench` on products and maps; another machine moves the borders a little.
 */
const MULTIPLY_ADDS = 42e9;
const BYTES = 20e9;
const ELEMENT = 0.1e-9;
const DRAWN = 4e-9;

const elements = (n: Node): number => sizes(n).reduce((p, d) => p * d, 1);

/** Seconds that computing `n` from its operands takes. Movement takes none: kernels that read it compute where its elements lie. */
export function secondsOf(n: Node): number {
  n.seconds ??= measured(n);
  return n.seconds;
}
function measured(n: Node): number {
  if (n.loop) {
    const bodies = n.loop.bodies.map((body) => order(body.results).reduce((sum, x) => sum + secondsOf(x), 0));
    return n.loop.iterations.reduce((sum, iteration) => sum + bodies[iteration.body], 0);
  }
  const products = multiplyAdds(n);
  if (products > 0) {
    const moved = elements(n) + n.inputs.reduce((sum, x) => sum + elements(x), 0);
    return products / MULTIPLY_ADDS + (4 * moved) / BYTES;
  }
  const { role, supply } = rowOf(n);
  if (role === "index") return (8 * elements(n)) / BYTES;
  if (role === "source" && !supply && n.inputs.length > 0) return elements(n) * DRAWN;
  return elementsOf(n) * ELEMENT;
}
