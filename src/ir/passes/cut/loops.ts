/**
 * The cut of a loop and the loops that follow it backwards: which exports become rows of an adjoint, and what its bodies recompute from
 * them. Iterations of one body with the same followers are decided together, since all their values have the same sizes.
 */
import { LoopExports } from "../../autodiff/exports.ts";
import { type Body, type Graph, type Node, node, order } from "../../graph.ts";
import { trim } from "../../loops/trim.ts";
import { makeArg } from "../../make.ts";
import { attrsOf, rowOf } from "../../ops/index.ts";
import { constantNodes, isGet, orderUntil, rebuild, withInputs, withRoots } from "../../rebuild.ts";
import { bytesOf, choose } from "./choose.ts";
import { halvesOf } from "./halves.ts";

/** Iterations of the forward loop that are decided together, and the body of each follower that goes with them. */
interface Group {
  readonly iterations: number[];
  readonly body: Body;
  /** By follower: its body, or -1. */
  readonly bodies: readonly number[];
}
/** How a follower is made anew: its operands are old ones, by place, or values of the forward loop. */
interface Remade {
  readonly inputs: readonly (number | Node)[];
  readonly loop: NonNullable<Node["loop"]>;
}

/** The graph whose adjoint bodies recompute what is cheap and not worth exporting. */
export function cutLoops(graph: Graph, changed?: readonly string[]): Graph {
  const { nodes, free } = halvesOf(graph, changed);
  const exports = new LoopExports();
  const followersOf = new Map<Node, Node[]>();
  for (const n of nodes) {
    if (!n.loop || !n.backward || n.attrs.follows === undefined) continue;
    const forward = followedBy(n);
    if (!forward || forward.backward) continue;
    followersOf.set(forward, [...(followersOf.get(forward) ?? []), n]);
  }
  const remade = new Map<Node, Remade>();
  for (const [forward, followers] of followersOf) for (const [n, r] of cutPair(forward, followers, free, exports)) remade.set(n, r);
  if (remade.size === 0) return graph;
  const roots = rebuild(
    graph.results.map((r) => r.node),
    new Map(),
    (n, inputs) => {
      const now = remade.get(n);
      if (!now) return withInputs(n, inputs);
      const all = now.inputs.map((x) => (typeof x === "number" ? inputs[x] : x));
      return node(n.op, all, n.attrs, n.type, n.origin, now.loop);
    },
  );
  const done = exports.apply(roots);
  return trim(withRoots(graph, done));
}

/** The loop that most of a follower's rows come from. */
function followedBy(n: Node): Node | undefined {
  const reads = new Map<Node, number>();
  for (const i of n.inputs) if (isGet(i)) reads.set(i.inputs[0], (reads.get(i.inputs[0]) ?? 0) + 1);
  return [...reads].sort((a, b) => b[1] - a[1])[0]?.[0];
}

function cutPair(forward: Node, followers: readonly Node[], free: (n: Node) => boolean, exports: LoopExports): Map<Node, Remade> {
  const { carried } = forward.loop!;
  const groups = groupsOf(forward, followers);
  const makers = followers.map((n) => new FollowerMaker(n, forward, exports));
  let changed = false;
  for (const group of groups) {
    const positions = followers.map((n, f) => (group.bodies[f] < 0 ? [] : positionsIn(forward, n, group, exports)));
    const constants = constantNodes(order(group.body.results));
    const uses = (p: Node): readonly Node[] => group.iterations.map((t) => exports.valueAt(forward, t, p));
    const isFree = (n: Node): boolean => {
      if (constants.has(n)) return true;
      return rowOf(n).supply === "arg" && attrsOf(n, "arg").index >= carried && uses(n).every(free);
    };
    // A value that several iterations share is kept once.
    const cost = (n: Node): number => {
      const shared = rowOf(n).supply === "arg" && attrsOf(n, "arg").index >= carried;
      return shared ? (bytesOf(n) * new Set(uses(n)).size) / group.iterations.length : bytesOf(n);
    };
    const required = new Set(positions.flatMap((of) => of.flatMap((m) => m ?? [])));
    const { recomputed } = choose(required, { free: isFree, cost });
    if ([...required].some((m) => recomputed.has(m))) changed = true;
    makers.forEach((maker, f) => {
      if (group.bodies[f] >= 0) maker.add(group, group.bodies[f], positions[f], recomputed, constants);
    });
  }
  return changed ? new Map(makers.map((m) => [m.follower, m.finish()])) : new Map();
}

function groupsOf(forward: Node, followers: readonly Node[]): Group[] {
  const { bodies, iterations } = forward.loop!;
  const groups = new Map<string, Group>();
  iterations.forEach((iteration, t) => {
    const follow = followers.map((n) => n.loop!.iterations[attrsOf(n, "loop").follows!.indexOf(t)]?.body ?? -1);
    const key = `${iteration.body}|${follow.join()}`;
    if (!groups.has(key)) groups.set(key, { iterations: [], body: bodies[iteration.body], bodies: follow });
    groups.get(key)!.iterations.push(t);
  });
  return [...groups.values()];
}

/** For each argument of the follower's body: the node of the forward body whose value it has in all iterations of the group. */
function positionsIn(forward: Node, follower: Node, group: Group, exports: LoopExports): (Node | undefined)[] {
  const { carried, iterations } = follower.loop!;
  const follows = attrsOf(follower, "loop").follows!;
  let common: Set<Node>[] | undefined;
  for (const t of group.iterations) {
    const byValue = new Map<Node, Node[]>();
    for (const p of group.body.params) {
      const value = exports.valueAt(forward, t, p);
      byValue.set(value, [...(byValue.get(value) ?? []), p]);
    }
    const here = iterations[follows.indexOf(t)].args.map((k) => {
      const value = exports.settle(follower.inputs[carried + k]);
      const inside = isGet(value) && value.inputs[0] === forward && value.attrs.iteration === t ? [exports.inside(value)] : [];
      return new Set([...(byValue.get(value) ?? []), ...inside]);
    });
    common = common ? common.map((set, j) => new Set([...set].filter((m) => here[j].has(m)))) : here;
  }
  return common!.map((set) => [...set][0]);
}

/** Makes a follower's bodies anew, one for each group of iterations that it runs in. */
class FollowerMaker {
  private readonly bodies: Body[] = [];
  private readonly values: (number | Node)[] = [];
  private readonly places = new Map<number | Node, number>();
  private readonly iterations: { body: number; args: number[] }[] = [];

  constructor(
    readonly follower: Node,
    private readonly forward: Node,
    private readonly exports: LoopExports,
  ) {}

  private place(value: number | Node): number {
    const known = this.places.get(value);
    if (known !== undefined) return known;
    const at = this.values.push(value) - 1;
    this.places.set(value, at);
    return at;
  }

  add(
    group: Group,
    of: number,
    positions: readonly (Node | undefined)[],
    recomputed: ReadonlySet<Node>,
    constants: ReadonlySet<Node>,
  ): void {
    const { carried, bodies, iterations } = this.follower.loop!;
    const body = bodies[of];
    const params: Node[] = body.params.slice(0, carried);
    const known = new Map<Node, Node>(params.map((p) => [p, p]));
    const stays = positions.flatMap((m, j) => (m && recomputed.has(m) ? [] : [j]));
    /** Forward nodes that the body has, and those that it gets beside. */
    const have = new Map<Node, Node>();
    const arg = (like: Node): Node => {
      const p = makeArg(params.length, like.type, like.origin);
      params.push(p);
      return p;
    };
    for (const j of stays) {
      const p = arg(body.params[carried + j]);
      known.set(body.params[carried + j], p);
      const m = positions[j];
      if (m && !have.has(m)) have.set(m, p);
    }
    const beside: Node[] = [];
    const repeated = positions.filter((m): m is Node => m !== undefined && recomputed.has(m));
    for (const n of orderUntil(repeated, (x) => !recomputed.has(x))) {
      if (recomputed.has(n) || constants.has(n) || have.has(n)) continue;
      beside.push(n);
      have.set(n, arg(n));
    }
    const copies = rebuild(repeated, have, (n, inputs) => node(n.op, inputs, n.attrs, n.type, { ...n.origin, half: "backward" }));
    const copyOf = new Map(repeated.map((m, i) => [m, copies[i]]));
    positions.forEach((m, j) => {
      const copy = m && copyOf.get(m);
      if (copy) known.set(body.params[carried + j], copy);
    });
    const index = this.bodies.push({ params, results: rebuild(body.results, known) }) - 1;
    const follows = attrsOf(this.follower, "loop").follows!;
    for (const t of group.iterations) {
      const at = follows.indexOf(t);
      const old = stays.map((j) => this.place(carried + iterations[at].args[j]));
      this.iterations[at] = { body: index, args: [...old, ...beside.map((n) => this.place(this.exports.valueAt(this.forward, t, n)))] };
    }
  }

  finish(): Remade {
    const { carried } = this.follower.loop!;
    const inputs = [...Array.from({ length: carried }, (_, k) => k), ...this.values];
    return { inputs, loop: { carried, bodies: this.bodies, iterations: this.iterations } };
  }
}
