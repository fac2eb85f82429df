/** Running a loop backwards: what it carried into its iterations, from what it carried out. */
import { Builder, LOOP_TYPE, makeArg } from "../build.ts";
import { type Body, type Node, node, order } from "../graph.ts";
import { rowOf, splatOf } from "../ops/index.ts";
import { carriedRead, exportRead, rebuild, withInputs } from "../rebuild.ts";
import { followNames } from "./names.ts";

/** Why a body cannot be solved for what is carried in. */
export interface Blocked {
  /** The node whose operands cannot be found from its value. */
  readonly at: Node;
  readonly why: string;
}
export const isBlocked = (x: object): x is Blocked => "why" in x;

export interface Inverse {
  /** The loop over the iterations from the last to the first. It starts with what the forward loop carried out. */
  readonly loop: Node;
  /** What the forward loop carried into an iteration of it, rebuilt. */
  carriedInto(iteration: number, slot: number): Node;
}

/**
 * The loop that runs the iterations of `loop` backwards, body by body, as far as iteration `first`. Equal to what went in up to rounding, which grows with
 * each iteration: a factor λ on a carried value divides the error by λ on the way back. What goes into iteration 0 is there anyway; a body that it alone
 * runs may take two values that start equal for one, and then has no inverse.
 */
export function invertLoop(loop: Node, first = 0): Inverse | Blocked {
  const { carried, bodies, iterations } = loop.loop!;
  const last = iterations.length - 1;
  const backwards = iterations.slice(first).map((_, t) => last - t);
  const made: Body[] = [];
  const places = new Map<number, number>();
  for (const t of backwards) {
    if (places.has(iterations[t].body)) continue;
    const inverse = invertBody(bodies[iterations[t].body], carried);
    if (isBlocked(inverse)) return inverse;
    // what an iteration carries in is also wanted outside
    places.set(iterations[t].body, made.push({ params: inverse.params, results: [...inverse.results, ...inverse.results] }) - 1);
  }
  const start = Array.from({ length: carried }, (_, k) => carriedRead(loop, k));
  const inverse = node("loop", [...start, ...loop.inputs.slice(carried)], followNames(loop, backwards), LOOP_TYPE, loop.origin, {
    carried,
    bodies: made,
    iterations: backwards.map((t) => ({ body: places.get(iterations[t].body)!, args: iterations[t].args })),
  });
  return { loop: inverse, carriedInto: (iteration, slot) => exportRead(inverse, last - iteration, slot, loop.inputs[slot]) };
}

/**
 * The body that gives what is carried in for what is carried out. Solves from the results up: an operand is known once the value, the other
 * operands and the row's `invert` give it; everything that only needs known values is recomputed.
 */
function invertBody(body: Body, carried: number): Body | Blocked {
  const params = body.params.map((p, i) => makeArg(i, i < carried ? body.results[i].type : p.type, p.origin));
  const unknown = new Set(body.params.slice(0, carried));
  const values = new Map<Node, Node>(body.params.slice(carried).map((p, i) => [p, params[carried + i]]));
  const solved: Node[] = [];
  const settle = (n: Node, value: Node): void => {
    if (values.has(n)) return;
    values.set(n, value);
    unknown.delete(n);
    solved.push(n);
  };
  for (let k = 0; k < carried; k++) settle(body.results[k], params[k]);

  const nodes = order(body.results.slice(0, carried));
  while (unknown.size > 0) {
    const known = new Set<Node>();
    for (const n of nodes) if (values.has(n) || (!unknown.has(n) && n.inputs.every((i) => known.has(i)))) known.add(n);
    const before = solved.length;
    for (const n of [...solved]) {
      const open = n.inputs.flatMap((x, i) => (known.has(x) ? [] : [i]));
      if (open.length !== 1 || obstacle(n, open) !== undefined) continue;
      const operands = n.inputs.map((x, i) => (i === open[0] ? x : rebuild([x], values)[0]));
      const value = rowOf(n).invert?.(new Builder(n.origin), withInputs(n, operands), open[0], values.get(n)!);
      if (value) settle(n.inputs[open[0]], value);
    }
    if (solved.length > before) continue;
    const stuck = solved.flatMap((n) => {
      const open = n.inputs.flatMap((x, i) => (known.has(x) ? [] : [i]));
      return open.length > 0 ? [{ at: n, why: obstacle(n, open) ?? `${n.op} cannot be undone` }] : [];
    });
    // a carried value that no result depends on is lost
    return stuck[0] ?? { at: [...unknown][0], why: "nothing that is carried out depends on this value" };
  }
  return { params, results: body.params.slice(0, carried).map((p) => values.get(p)!) };
}

/** What keeps the open operands of a node from being found from its value; `undefined`: nothing but the row itself. */
function obstacle(n: Node, open: readonly number[]): string | undefined {
  if (open.length > 1) return "both sides depend on what is carried in";
  if (!rowOf(n).invert) return `${n.op} cannot be undone`;
  if (rowOf(n).role !== "scale" || n.inputs.length < 2) return undefined;
  const factor = splatOf(n.inputs[1 - open[0]]);
  if (typeof factor !== "number") return "the factor is no static number";
  return factor === 0 ? "the factor is 0" : undefined;
}
