/** Which nodes depend, through something differentiable, on the nodes that a derivative is taken by. */
import type { Body, Node } from "../graph.ts";
import { order } from "../graph.ts";
import { rowOf } from "../ops/index.ts";
import { isGet, readOf } from "../rebuild.ts";
import type { LoopExports } from "./exports.ts";

/** Of a loop: for each iteration, the active nodes of its body (parameters among them). */
export interface LoopActivity {
  readonly iterations: readonly ReadonlySet<Node>[];
}
interface Activity {
  readonly active: ReadonlySet<Node>;
  readonly loops: ReadonlyMap<Node, LoopActivity>;
}

/** Of each loop, by iteration, the nodes of its body that `by` (settled) names through reads. */
export function insideLoops(by: ReadonlySet<Node>, exports: LoopExports): Map<Node, Map<number, Set<Node>>> {
  const out = new Map<Node, Map<number, Set<Node>>>();
  for (const n of by) {
    if (!isGet(n)) continue;
    const { loop, iteration } = readOf(n);
    if (!out.has(loop)) out.set(loop, new Map());
    const iterations = out.get(loop)!;
    if (!iterations.has(iteration)) iterations.set(iteration, new Set());
    iterations.get(iteration)!.add(exports.inside(n));
  }
  return out;
}

/** The activity of `nodes` (operands first), given the settled nodes `by` that the derivative is taken by. */
export function activity(nodes: readonly Node[], by: ReadonlySet<Node>, exports: LoopExports): Activity {
  const inside = insideLoops(by, exports);
  const active = new Set<Node>();
  const loops = new Map<Node, LoopActivity>();
  for (const n of nodes) {
    if (n.loop) {
      const iterations = loopActivity(n, (k) => active.has(n.inputs[k]), inside.get(n) ?? new Map(), exports);
      if (!iterations.some((t) => t.size > 0)) continue;
      loops.set(n, { iterations });
      active.add(n);
    } else if (isGet(n)) {
      const { loop, iteration } = readOf(n);
      if (loops.get(loop)?.iterations[iteration].has(exports.inside(n))) active.add(n);
    } else if (by.has(n)) active.add(n);
    else if (n.type.dtype === "f32" && rowOf(n).vjp !== "zero" && n.inputs.some((i) => active.has(i))) active.add(n);
  }
  return { active, loops };
}

function loopActivity(
  n: Node,
  enters: (input: number) => boolean,
  inside: ReadonlyMap<number, ReadonlySet<Node>>,
  exports: LoopExports,
): ReadonlySet<Node>[] {
  const { carried, bodies, iterations } = n.loop!;
  const known = new Map<string, ReadonlySet<Node>>();
  let flowing = Array.from({ length: carried }, (_, k) => enters(k));
  return iterations.map((iteration, t) => {
    const body = bodies[iteration.body];
    const given = [...flowing, ...iteration.args.map((k) => enters(carried + k))];
    const by = inside.get(t) ?? new Set<Node>();
    const key = `${iteration.body}:${given.map(Number).join("")}:${[...by].map((x) => x.id).join(",")}`;
    let found = known.get(key);
    if (!found) {
      const start = new Set([...body.params.filter((p, i) => given[i] && p.type.dtype === "f32"), ...by]);
      found = activity(nodesOf(body, exports), start, exports).active;
      known.set(key, found);
    }
    flowing = body.results.slice(0, carried).map((r) => found.has(r));
    return found;
  });
}

/** All nodes of a body, its parameters too, operands first. */
export const nodesOf = (body: Body, exports: LoopExports): Node[] => order([...body.params, ...exports.results(body)]);
