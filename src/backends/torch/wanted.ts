/** By which nodes gradients are asked for, in a graph and in the bodies of its loops. */
import { type Node, order } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { isGet, readOf } from "../../ir/rebuild.ts";

/** Nodes that `grad` and `jvp` name; where one is read out of a loop, the result of the body that it is. */
export function wantedIn(roots: readonly Node[]): Set<Node> {
  const out = new Set<Node>();
  const add = (n: Node): void => {
    if (out.has(n)) return;
    out.add(n);
    if (!isGet(n)) return;
    const { loop, iteration, result } = readOf(n);
    const { bodies, iterations } = loop.loop!;
    add(bodies[iterations[iteration].body].results[result]);
  };
  for (const n of order(roots)) {
    if (rowOf(n).role === "placeholder") add(n.inputs[1]);
    for (const body of n.loop?.bodies ?? []) for (const m of wantedIn(body.results)) out.add(m);
  }
  return out;
}
