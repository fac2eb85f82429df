/**
 * Loops that follow another one iteration by iteration: its adjoint and its tangent. Their bodies are made over the forward body's own nodes;
 * here what they use of it becomes rows: the forward loop's operands where a value only came in, its exports where it was computed.
 */
import { Builder, LOOP_TYPE, makeArg } from "../build.ts";
import { type Body, type Node, node, type Origin, type Type } from "../graph.ts";
import { followNames } from "../loops/names.ts";
import { constantNodes, isGet, rebuild, withInputs } from "../rebuild.ts";
import { nodesOf } from "./activity.ts";
import type { LoopExports } from "./exports.ts";

/** A body in the making. `slots` and `given` are stand-ins for what is carried, and for what each iteration is handed beside. */
export interface DerivedBody {
  readonly forward: Body;
  readonly slots: readonly Node[];
  /** The next value of each slot. */
  readonly next: readonly Node[];
  readonly given: readonly Node[];
  readonly exports: readonly Node[];
}
export interface DerivedIteration {
  /** Index into the bodies. */
  readonly body: number;
  /** The iteration of the forward loop that it follows. */
  readonly iteration: number;
  readonly given: readonly Node[];
}

/** A stand-in for a value of a type, until its body is made. */
export const standIn = (type: Type, origin: Origin): Node => makeArg(0, type, origin);

/** The loop over `iterations` in their order; `start` is what goes into the slots. */
export function derivedLoop(
  loop: Node,
  exports: LoopExports,
  start: readonly Node[],
  bodies: readonly DerivedBody[],
  iterations: readonly DerivedIteration[],
  origin: Origin,
): Node {
  const made = bodies.map((d) => makeBody(d, exports));
  const values: Node[] = [];
  const places = new Map<Node, number>();
  const place = (n: Node): number => {
    let at = places.get(n);
    if (at === undefined) {
      at = values.push(n) - 1;
      places.set(n, at);
    }
    return at;
  };
  const runs = iterations.map(({ body, iteration, given }) => ({
    body,
    args: [...given, ...made[body].needed.map((n) => exports.valueAt(loop, iteration, n))].map(place),
  }));
  const shape = { carried: start.length, bodies: made.map((m) => m.body), iterations: runs };
  return node(
    "loop",
    [...start, ...values],
    followNames(
      loop,
      iterations.map((t) => t.iteration),
    ),
    LOOP_TYPE,
    origin,
    shape,
  );
}

/** The body, and the nodes of the forward body that its last parameters stand for. */
function makeBody(d: DerivedBody, exports: LoopExports): { body: Body; needed: Node[] } {
  const forwardNodes = nodesOf(d.forward, exports);
  const forward = new Set(forwardNodes);
  const constants = constantNodes(forwardNodes);
  const known = new Map<Node, Node>();
  const params: Node[] = [];
  const param = (n: Node): Node => {
    const p = makeArg(params.length, n.type, n.origin);
    params.push(p);
    known.set(n, p);
    return p;
  };
  d.slots.forEach(param);
  d.given.forEach(param);
  const needed: Node[] = [];
  const isForward = (n: Node) => forward.has(n) || (isGet(n) && forward.has(n.inputs[0]));
  const roots = [...d.next, ...d.exports];
  // What of the forward body is used, in the order met; settled before the rebuild, which takes these nodes as leaves.
  const seen = new Set<Node>(known.keys());
  const visit = [...roots].reverse();
  while (visit.length) {
    const n = visit.pop()!;
    if (seen.has(n)) continue;
    seen.add(n);
    if (isForward(n) && !constants.has(n)) {
      const settled = exports.settle(n);
      if (!known.has(settled)) {
        param(settled);
        needed.push(settled);
      }
      known.set(n, known.get(settled)!);
    } else visit.push(...[...n.inputs].reverse());
  }
  const results = rebuild(roots, known, (n, inputs) =>
    constants.has(n) ? node(n.op, inputs, n.attrs, n.type, n.origin, n.loop) : withInputs(n, inputs),
  );
  return { body: { params, results }, needed };
}

/** Where a derivative's nodes come from: the place of what is differentiated. */
export const originOf = (n: Node, half?: "backward"): Origin => {
  const { span, path } = n.origin;
  const of = half ?? n.origin.half;
  return { ...(span && { span }), path, ...(of && { half: of }) };
};
export const builderAt = (n: Node, half?: "backward"): Builder => new Builder(originOf(n, half));
