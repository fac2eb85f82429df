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
 * The graph without placeholders. Nodes of backward sweeps have `origin.half: "backward"`; results that none of them leads to are marked. Throws `Limit` where a gradient is asked for
 * through an op that has none.
 */
export function differentiate(graph: Graph): Graph {
  const exports = new LoopExports();
  const roots = expand(
    graph.results.map((r) => r.node),
    exports,
  );
  const done = exports.apply(roots);
  return {
    results: graph.results.map((r, i) => ({ ...r, node: done[i], ...(done[i].backward ? {} : { forward: true as const }) })),
  };
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
  const { sums, together } = sumsOfTangents(roots);
  const tangent = (of: readonly Node[]): Node | undefined => {
    const seeds = new Map<Node, Node>();
    for (const [, x, v] of of.map((n) => n.inputs.map((i) => known.get(i)!))) {
      const at = exports.settle(x);
      const other = seeds.get(at);
      seeds.set(at, other ? builderAt(v).add(other, v) : v);
    }
    return forward([known.get(of[0].inputs[0])!], seeds, exports)[0];
  };
  return rebuild(roots, known, (n, inputs) => {
    const sum = sums.get(n);
    if (sum) {
      const terms = [...sum.groups.map(tangent), ...sum.rest.map((r) => known.get(r)!)].filter((t) => t !== undefined);
      return terms.length ? terms.reduce((x, y) => builderAt(n).add(x, y)) : builderAt(n).zeros(n.type);
    }
    if (together.has(n)) return n; // a term of a sum, which has it
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
    if (isPlaceholder(n)) return tangent([n]) ?? builderAt(n).zeros(n.type);
    return n.loop ? expandLoop(n, inputs, exports) : withInputs(n, inputs);
  });
}

interface Sum {
  /** Derivatives of one value along several directions. */
  readonly groups: readonly (readonly Node[])[];
  readonly rest: readonly Node[];
}

/**
 * Sums in which one value has derivatives along several nodes, such as along all parameters: one walk gives their sum. `together`: these
 * derivatives, and the sums inside.
 */
function sumsOfTangents(roots: readonly Node[]): { sums: Map<Node, Sum>; together: Set<Node> } {
  const nodes = order(roots);
  const uses = new Map<Node, number>();
  for (const n of [...nodes.flatMap((x) => x.inputs), ...roots]) uses.set(n, (uses.get(n) ?? 0) + 1);
  const isAdd = (n: Node) => rowOf(n).role === "sum" && rowOf(n).algebra?.commutative === true;
  const isTangent = (n: Node) => isPlaceholder(n) && !isGrad(n) && uses.get(n) === 1;
  const sums = new Map<Node, Sum>();
  const together = new Set<Node>();
  for (const top of nodes.reverse()) {
    if (!isAdd(top) || together.has(top)) continue;
    const byValue = new Map<Node, Node[]>();
    const rest: Node[] = [];
    const inner: Node[] = [];
    const stack = [...top.inputs].reverse();
    while (stack.length) {
      const n = stack.pop()!;
      if (isAdd(n) && uses.get(n) === 1) {
        inner.push(n);
        stack.push(...[...n.inputs].reverse());
      } else if (isTangent(n)) byValue.set(n.inputs[0], [...(byValue.get(n.inputs[0]) ?? []), n]);
      else rest.push(n);
    }
    const groups = [...byValue.values()];
    if (!groups.some((g) => g.length > 1)) continue;
    sums.set(top, { groups, rest });
    for (const n of [...inner, ...groups.flat()]) together.add(n);
  }
  return { sums, together };
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
