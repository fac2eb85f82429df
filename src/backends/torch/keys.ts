/** Keys of draws: pairs of words that nothing else reads are Python tuples, also where a loop hands them to its iterations. */
import { type Node, order } from "../../ir/graph.ts";
import { isConst, isDraw } from "../../ir/ops/index.ts";

/** Constants that draws alone read, here or in iterations of loops. */
export function keysOf(nodes: readonly Node[], roots: readonly Node[]): Set<Node> {
  const out = new Set(nodes.filter((n) => isConst(n) && n.type.dtype === "i32" && n.type.shape.length === 1 && !roots.includes(n)));
  if (out.size === 0) return out;
  for (const n of nodes)
    n.inputs.forEach((x, i) => {
      if (out.has(x) && !(isDraw(n) && i === 0) && !(n.loop && isKeyOfIterations(n, i))) out.delete(x);
    });
  return out;
}

/** Whether the iterations of a loop take what is handed in at a place for a key alone. */
function isKeyOfIterations({ loop }: Node, at: number): boolean {
  const { carried, bodies, iterations } = loop!;
  if (at < carried) return false;
  return iterations.every((iteration) =>
    iteration.args.every((k, i) => k !== at - carried || isKeyIn(bodies[iteration.body], carried + i)),
  );
}

/** Whether a body's parameter is only the key of draws. */
export function isKeyIn(body: { readonly params: readonly Node[]; readonly results: readonly Node[] }, at: number): boolean {
  const param = body.params[at];
  if (body.results.includes(param)) return false;
  return order(body.results).every((n) =>
    n.inputs.every((x, i) => x !== param || (isDraw(n) && i === 0) || (n.loop !== undefined && isKeyOfIterations(n, i))),
  );
}
