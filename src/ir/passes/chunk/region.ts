/**
 * A region: everything around a large value that can be computed slice by slice along one axis, so that the large value never stands whole.
 * What goes in and comes out is small, or a sum over slices.
 */
import { type Node, sizes } from "../../graph.ts";
import { axesOfDot, isConst, isGather, rowOf } from "../../ops/index.ts";
import { type Tie, tiesOf } from "../../ops/ties.ts";

/** Where a node is cut: an axis, all slices' sum, or not at all. */
type Axis = number | "sum" | undefined;

export interface Region {
  /** Number of places on the axis that is cut. */
  readonly length: number;
  /** What is computed in slices, with the axis of each. */
  readonly inside: ReadonlyMap<Node, number | "sum">;
  /** What of that exists nowhere else. */
  readonly own: ReadonlySet<Node>;
  /** What comes from outside, and how: by node the axes it is read along. */
  readonly given: ReadonlyMap<Node, ReadonlySet<number | undefined>>;
  /** How an operand is had where it is not in `inside`: recomputed within, by this tie, or, if there is none, given. */
  tieOf(n: Node, axis: Axis): Tie | undefined;
  /** Whether `n`, asked for whole, is computed within. */
  free(n: Node): boolean;
  /** Whether `n`, asked for along `axis`, is a part of a weight that lies whole in memory: where it begins must be known when kernels are printed. */
  partOfWeight(n: Node, axis: number): boolean;
  /** Whether any is: then each iteration has a body of its own. */
  readonly apart: boolean;
}

export const elements = (n: Node): number => sizes(n).reduce((p, d) => p * d, 1);

/** What the search knows of the whole graph. */
export interface Surroundings {
  readonly nodes: readonly Node[];
  readonly position: ReadonlyMap<Node, number>;
  readonly users: ReadonlyMap<Node, readonly Node[]>;
  readonly isResult: (n: Node) => boolean;
}

export function surroundings(nodes: readonly Node[], results: Iterable<Node>): Surroundings {
  const users = new Map<Node, Node[]>(nodes.map((n) => [n, []]));
  for (const n of nodes) for (const x of new Set(n.inputs)) users.get(x)!.push(n);
  const kept = new Set(results);
  return { nodes, position: new Map(nodes.map((n, i) => [n, i])), users, isResult: (n) => kept.has(n) };
}

/** Costs nothing to repeat in each iteration: it has no operands, only moves elements, or unpacks. */
const moves = (n: Node): boolean => {
  const row = rowOf(n);
  if (row.supply !== undefined || row.role === "region") return false;
  return row.role === "move" || row.role === "barrier" || row.packed === true || row.role === "source";
};
/** Numbers of its own, such as the key of a layer's dropout. They are handed to a loop, so that loops of equal layers are equal. */
const isList = (n: Node): boolean => isConst(n) && (n.attrs.data as readonly unknown[]).length > 1;
/** Elementwise work on positions and constants: known without any data. */
const positional = (n: Node): boolean =>
  (moves(n) || rowOf(n).scalar !== undefined) && (rowOf(n).role !== "source" || n.inputs.length === 0) && n.inputs.every(positional);
/** A product that makes more elements than it reads, and how many times as many. */
export function growth(n: Node): number {
  if (!axesOfDot(n)) return 0;
  const made = n.inputs.filter((x) => !isWeight(x));
  return elements(n) / Math.max(...(made.length > 0 ? made : n.inputs).map(elements));
}
/** A parameter, however it is turned or packed: it is in memory whatever is cut. */
function isWeight(n: Node): boolean {
  for (;;) {
    const { role, packed } = rowOf(n);
    // codes go with scales and levels
    const few = packed === true || role === "host";
    if (!(few || ((moves(n) || role === "map") && n.inputs.length === 1))) break;
    n = n.inputs[0];
  }
  return rowOf(n).supply === "param";
}
/** What caches do not hold. */
const CACHE = 4 * 2 ** 20;
/** A weight that reading takes time: it is read in parts where it lies, and in as few as may be. */
export const isLongWeight = (n: Node): boolean => 4 * elements(n) > CACHE && isWeight(n);
export function depth(n: Node): number {
  const axes = axesOfDot(n)!;
  const shape = sizes(n.inputs[0]);
  return axes.lhsContract.reduce((p, a) => p * shape[a], 1);
}

/** What takes this part of a slice may as well stand whole. */
const SMALL = 8;

/** Which nodes are of a seed's size, and had only by work that is not repeated for each reader. */
export class Large {
  private readonly known = new Map<Node, boolean>();
  private readonly wide = new Map<Node, boolean>();
  readonly size: number;
  /** `bytes`: of a slice. */
  constructor(
    seed: Node,
    private readonly bytes: number,
  ) {
    this.size = elements(seed) / 2;
  }
  /** Made by cheap work out of values that are small beside it, and not small beside a slice, or a mask; or of positions alone: made again where it is read. */
  spread(n: Node): boolean {
    let seen = this.wide.get(n);
    if (seen === undefined) {
      seen =
        positional(n) ||
        ((4 * elements(n) > this.bytes / SMALL || n.type.dtype === "bool") &&
          rowOf(n).role !== "region" &&
          rowOf(n).supply === undefined &&
          !isWeight(n) &&
          new Large(n, this.bytes).light(n));
      this.wide.set(n, seen);
    }
    return seen;
  }
  is(n: Node): boolean {
    return elements(n) >= this.size;
  }
  /** Elementwise work on small values, moved and widened: had again anywhere. */
  light(n: Node): boolean {
    if (!this.is(n)) return true;
    let seen = this.known.get(n);
    if (seen === undefined) {
      const row = rowOf(n);
      const easy = row.scalar !== undefined || moves(n) || isGather(n);
      // what is handed in, weights as they are packed, and what another loop gives, lie in memory
      seen = row.supply !== undefined || row.role === "region" || isWeight(n) || (easy && n.inputs.every((x) => this.light(x)));
      this.known.set(n, seen);
    }
    return seen;
  }
  heavy(n: Node): boolean {
    return this.is(n) && !this.light(n);
  }
}

/** All heavy nodes that hang together with the seed. */
export function component(seed: Node, large: Large, around: Surroundings): Node[] {
  const found = new Set([seed]);
  for (const n of found)
    for (const x of [...n.inputs, ...around.users.get(n)!]) if (large.heavy(x) && rowOf(x).role !== "region") found.add(x);
  return [...found].sort((a, b) => around.position.get(a)! - around.position.get(b)!);
}

/** What is cut out together. */
export interface Members {
  /** All of it, without `clones`. */
  readonly own: ReadonlySet<Node>;
  /** Large values of the forward half that the backward half computes again. */
  readonly clones: ReadonlySet<Node>;
}

/**
 * The core, what lies between its nodes, and what reads its large values; `undefined` where that is not a piece that can be cut out. `extra`: small
 * nodes that belong to it as well. `ignored`: readers that have the values elsewhere.
 */
export function closed(
  core: readonly Node[],
  extra: readonly Node[],
  ignored: (n: Node) => boolean,
  large: Large,
  around: Surroundings,
): Set<Node> | undefined {
  const members = new Set([...core, ...extra]);
  const places = [...members].map((n) => around.position.get(n)!);
  const [first, last] = [places.reduce((p, q) => Math.min(p, q)), places.reduce((p, q) => Math.max(p, q))];
  const after = new Set(members);
  for (let i = first; i <= last; i++) {
    const n = around.nodes[i];
    if (!after.has(n) && n.inputs.some((x) => after.has(x))) after.add(n);
  }
  const before = new Set(members);
  for (let i = last; i >= first; i--) {
    const n = around.nodes[i];
    if (before.has(n)) for (const x of n.inputs) before.add(x);
  }
  for (let i = first; i <= last; i++) {
    const n = around.nodes[i];
    if (members.has(n) || !after.has(n) || !before.has(n)) continue;
    const { role } = rowOf(n);
    if (role === "product" || role === "region" || role === "scan" || role === "index" || role === "host") return undefined;
    members.add(n);
  }
  let moved = 0;
  for (const n of core) {
    if (around.isResult(n)) return undefined;
    for (const u of around.users.get(n)!) {
      if (members.has(u) || ignored(u)) continue;
      if (rowOf(u).role === "region" || large.is(u)) return undefined;
      if (moves(u) || rowOf(u).scalar !== undefined) moved += elements(u);
      members.add(u);
    }
  }
  // what is only taken apart is as large outside as it was inside
  return moved > large.size ? undefined : members;
}

/** The region of `members` cut along `axis` of the seed; `undefined` where they do not go together along it. */
export function regionAlong(seed: Node, axis: number, { own, clones }: Members, large: Large, around: Surroundings): Region | undefined {
  const members = new Set([...own, ...clones]);
  const length = sizes(seed)[axis];
  const inside = new Map<Node, number | "sum">();
  const queue: Node[] = [];
  const set = (n: Node, at: number | "sum"): boolean => {
    const before = inside.get(n);
    if (before !== undefined) return before === at;
    if (at !== "sum" && sizes(n)[at] !== length) return false;
    inside.set(n, at);
    queue.push(n);
    return true;
  };
  const chosen = new Map<Node, Tie>();
  const apply = (n: Node, tie: Tie): boolean => {
    chosen.set(n, tie);
    if (!set(n, tie.result)) return false;
    return n.inputs.every((x, i) => {
      const at = tie.operands[i];
      if (at === undefined) return !inside.has(x);
      return !members.has(x) || set(x, at);
    });
  };
  if (!set(seed, axis)) return undefined;
  while (queue.length) {
    const n = queue.pop()!;
    const at = inside.get(n)!;
    const own = chosen.get(n) ?? tiesOf(n).find((t) => t.result === at);
    if (!own || !apply(n, own)) return undefined;
    for (const u of around.users.get(n)!) {
      if (!members.has(u)) continue;
      if (at === "sum") return undefined;
      const tie = chosen.get(u) ?? tiesOf(u).find((t) => u.inputs.every((x, i) => x !== n || t.operands[i] === at));
      if (!tie || !apply(u, tie)) return undefined;
    }
  }
  for (const n of own) if (!inside.has(n)) return undefined;

  const again = new Map<Node, Map<Axis, Tie | undefined>>();
  const given = new Map<Node, Set<number | undefined>>();
  const whole = new Set<Node>();
  const parts = new Set<string>();
  let refused = false;
  const give = (n: Node, at: number | undefined) => {
    if (members.has(n)) refused = true;
    if (!given.has(n)) given.set(n, new Set());
    given.get(n)!.add(at);
  };
  const bring = (n: Node, at: number | undefined): void => {
    if (inside.has(n)) {
      if (inside.get(n) !== at) refused = true;
      return;
    }
    if (at === undefined) {
      if (whole.has(n) || given.get(n)?.has(undefined)) return;
      if (!isList(n) && (moves(n) || large.spread(n))) {
        whole.add(n);
        for (const x of n.inputs) bring(x, undefined);
      } else give(n, undefined);
      return;
    }
    if (isLongWeight(n)) {
      parts.add(`${n.id} ${at}`);
      bring(n, undefined);
      return;
    }
    let known = again.get(n);
    if (!known) {
      known = new Map();
      again.set(n, known);
    }
    if (known.has(at)) return;
    const may = rowOf(n).supply === undefined && (moves(n) || (large.is(n) && large.light(n)) || large.spread(n));
    const tie = may ? tiesOf(n).find((t) => t.result === at) : undefined;
    known.set(at, tie);
    if (!tie) give(n, at);
    else n.inputs.forEach((x, i) => bring(x, tie.operands[i]));
  };
  for (const n of inside.keys()) n.inputs.forEach((x, i) => bring(x, chosen.get(n)!.operands[i]));
  if (refused) return undefined;

  const real = [...inside.keys()].filter((n) => own.has(n));
  if (dependsOn(given.keys(), new Set(real), around)) return undefined;
  return {
    length,
    inside,
    own: new Set(real),
    given,
    tieOf: (n, at) => (inside.has(n) ? chosen.get(n) : again.get(n)?.get(at)),
    free: (n) => whole.has(n),
    partOfWeight: (n, at) => parts.has(`${n.id} ${at}`),
    apart: parts.size > 0,
  };
}

/** Whether any of `nodes` depends on any of `on`. */
function dependsOn(nodes: Iterable<Node>, on: ReadonlySet<Node>, { nodes: all, position }: Surroundings): boolean {
  const targets = new Set(nodes);
  const last = [...targets].reduce((p, n) => Math.max(p, position.get(n)!), -1);
  const first = [...on].reduce((p, n) => Math.min(p, position.get(n)!), last);
  const after = new Set(on);
  for (let i = first; i <= last; i++) {
    const n = all[i];
    if (on.has(n) || !n.inputs.some((x) => after.has(x))) continue;
    if (targets.has(n)) return true;
    after.add(n);
  }
  return false;
}

/** The products that a region computes although they are computed outside as well. */
export function repeated(region: Region): Node[] {
  const again = [...region.inside.keys()].filter((n) => !region.own.has(n));
  return again.filter((n) => axesOfDot(n) !== undefined);
}
