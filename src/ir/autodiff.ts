/**
 * Differentiation: `grad` and `jvp` placeholders become ordinary nodes. All gradients of one scalar share a sweep; only what leads to a node
 * that a gradient is asked for exists. A gradient of a gradient is no special case: inner placeholders are expanded first.
 *
 * The gradient by a node counts all uses of that node's value on the way to the scalar; where the node reads a value out of a loop, its
 * uses inside the loop too, so that a loop and its unrolled form have the same gradients.
 */
import { builderAt } from "./autodiff/derived.ts";
import { LoopExports } from "./autodiff/exports.ts";
import { forward } from "./autodiff/forward.ts";
import { reverse } from "./autodiff/reverse.ts";
import { type Body, type Graph, type Node, node, order } from "./graph.ts";
import { rowOf } from "./ops/index.ts";
import { isGet, rebuild, withInputs } from "./rebuild.ts";

/**
 * The graph without placeholders. Nodes of backward sweeps have `origin.half: "backward"`. Throws `Limit` where a gradient is asked for
 * through an op that has none.
 */
export function differentiate(graph: Graph): Graph {
  const exports = new LoopExports();
  const roots = expand(
    graph.results.map((r) => r.node),
    exports,
  );
  const done = exports.apply(roots);
  return { results: graph.results.map((r, i) => ({ ...r, node: done[i] })) };
}

const isPlaceholder = (n: Node): boolean => rowOf(n).role === "placeholder";
/** `grad` has the operands (e, x), `jvp` (e, x, v). */
const isGrad = (n: Node): boolean => isPlaceholder(n) && n.inputs.length === 2;

function expand(roots: readonly Node[], exports: LoopExports): Node[] {
  const askedOf = new Map<Node, Node[]>();
  for (const n of order(roots)) {
    if (!isGrad(n)) continue;
    const [e, x] = n.inputs;
    if (!askedOf.has(e)) askedOf.set(e, []);
    askedOf.get(e)!.push(x);
  }
  const known = new Map<Node, Node>();
  const swept = new Map<Node, ReadonlyMap<Node, Node>>();
  return rebuild(roots, known, (n, inputs) => {
    if (isGrad(n)) {
      const [e, x] = inputs;
      let found = swept.get(n.inputs[0]);
      if (!found) {
        // What e depends on is rebuilt by now, or read out of a loop that is; by anything else its gradient is zero.
        const by = askedOf.get(n.inputs[0])!.flatMap((w) => known.get(w) ?? rebuiltRead(w, known) ?? []);
        found = reverse(new Map([[e, builderAt(e, "backward").ones(e.type)]]), new Set(by.map((w) => exports.settle(w))), exports);
        swept.set(n.inputs[0], found);
      }
      return found.get(exports.settle(x)) ?? builderAt(n, "backward").zeros(x.type);
    }
    if (isPlaceholder(n)) {
      const [e, x, v] = inputs;
      const [t] = forward([e], new Map([[exports.settle(x), v]]), exports);
      return t ?? builderAt(n).zeros(e.type);
    }
    return n.loop ? expandLoop(n, inputs, exports) : withInputs(n, inputs);
  });
}

function rebuiltRead(n: Node, known: ReadonlyMap<Node, Node>): Node | undefined {
  const loop = isGet(n) ? known.get(n.inputs[0]) : undefined;
  return loop && withInputs(n, [loop]);
}

/** Placeholders inside a body mean the body's own nodes. */
function expandLoop(n: Node, inputs: readonly Node[], exports: LoopExports): Node {
  const { bodies } = n.loop!;
  const expanded = bodies.map((body): Body => {
    const results = expand(body.results, exports);
    return results.every((r, i) => r === body.results[i]) ? body : { params: body.params, results };
  });
  if (expanded.every((body, i) => body === bodies[i])) return withInputs(n, inputs);
  return node(n.op, inputs, n.attrs, n.type, n.origin, { ...n.loop!, bodies: expanded });
}
