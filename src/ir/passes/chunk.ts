/** Large values that are made, used and gone are computed in slices: attention without its scores, a head without its logits. */
import { type Node, node, order, sizes } from "../graph.ts";
import { axesOfDot, isWhere, rowOf } from "../ops/index.ts";
import { boxOf, Spans } from "../ops/spans.ts";
import { withInputs, withRoots } from "../rebuild.ts";
import { buildLoop, GROUPS, iterationSizes } from "./chunk/build.ts";
import {
  closed,
  component,
  depth,
  elements,
  growth,
  isLongWeight,
  Large,
  type Members,
  type Region,
  regionAlong,
  repeated,
  type Surroundings,
  surroundings,
} from "./chunk/region.ts";
import type { Pass } from "./pass.ts";

/** A value that takes more is computed in slices, each of about as many bytes: more than what caches hold, less than what else a step needs. */
const SLICE = 8 * 2 ** 20;
/** Rows that a product of a slice has at least, where it has so many: fewer, and packing the other operand takes longer than multiplying. */
const ROWS = 8;
/** The same where the other operand is a weight that caches do not hold: each slice reads all of it, which takes as long as multiplying so many rows. */
const ROWS_BY_WEIGHT = 64;
/** Under a budget: slices of so many bytes, each finer for who cannot do with the one before, with at least so many rows for a weight. */
export const FINER: readonly number[] = [2 ** 20, 2 ** 19];
const FINE_ROWS_BY_WEIGHT = [16, 8];
/** A product is worth a slice's loop where it makes so many times as many elements as it reads. */
const GROWTH = 2;
/** Products over at most so many elements are repeated in the backward half; longer ones only where they make so many times as many elements. */
const SHORT = 128;
const WIDE = 8;

/** What a mask hides of an axis is looked for where it, and the other one, are as long as this; iterations then take at least so many places. */
const HIDING = 512;
const HIDING_ROWS = 128;

interface Cut {
  readonly region: Region;
  readonly iterations: readonly number[];
}

export const chunk: Pass = {
  name: "chunk",
  before: "a flat graph, in which equal nodes are one",
  after:
    "large values that nothing reads whole are computed in loops over slices; the backward half recomputes them, or both are computed in the same loop",
  law: "results are equal but for the order of sums over slices",
  optional: true,
  run(graph, context) {
    const bytes = context.options.slice ?? SLICE;
    if (!Number.isFinite(bytes)) return graph;
    const counts = new Map<string, number>();
    const done = inSlices(
      graph.results.map((r) => r.node),
      bytes,
      { value: (size) => counts.set(size, (counts.get(size) ?? 0) + 1), cut: (text) => context.slices.push(text) },
    );
    for (const [what, n] of counts) context.note(`${n === 1 ? "one value" : `${n} values`} of ${what}: computed in slices, never whole`);
    return withRoots(graph, done);
  },
};

/** Who is told what is done. */
interface Told {
  /** A large value that is not made whole. */
  value(what: string): void;
  /** Each cut, in their order: equal for equal cuts of one graph. */
  cut(text: string): void;
}

/** `roots`, with loops over slices; bodies of loops whose slices are still large have such loops in turn. */
function inSlices(roots: readonly Node[], bytes: number, told: Told): readonly Node[] {
  const nodes = order(roots);
  const seeds = nodes
    .filter((n) => axesOfDot(n) && (4 * elements(n) > bytes || mayHide(n)) && growth(n) >= GROWTH)
    .sort((a, b) => elements(b) - elements(a));
  if (seeds.length === 0) return roots;
  const around = surroundings(nodes, roots);
  const cuts: Cut[] = [];
  const seen = new Set<Node>();
  for (const seed of seeds) {
    if (seen.has(seed)) continue;
    const large = new Large(seed, bytes);
    const core = component(seed, large, around);
    const fresh = core.every((n) => !seen.has(n));
    for (const n of core) seen.add(n);
    if (!fresh || (4 * elements(seed) <= bytes && !masked(core))) continue;
    const made = cutsOf(core, large, around, bytes);
    if (made.length)
      told.value(`${((4 * elements(seed)) / 1e6).toFixed(1)} MB around ${(seed.origin.path || seed.op).replace(/\.\d+(?=\.|$)/g, "[*]")}`);
    cuts.push(...made);
  }
  if (cuts.length === 0) return roots;
  const place = new Map(nodes.map((n, i) => [n, i]));
  for (const { region, iterations } of cuts)
    told.cut(`${[...region.inside].map(([n, axis]) => `${place.get(n)} ${axis}`)} in ${iterations}`);
  return rebuilt(roots, cuts, bytes, told);
}

/** The loops for a core: one for both halves, or else one for each. */
function cutsOf(core: readonly Node[], large: Large, around: Surroundings, bytes: number): Cut[] {
  const none: ReadonlySet<Node> = new Set();
  const whole = closed(core, [], () => false, large, around);
  const both = whole && cutAlong(core, { own: whole, clones: none }, large, around, bytes);
  if (both) return [both];
  const forward = core.filter((n) => !n.backward);
  const backward = core.filter((n) => n.backward);
  const extra = forward.flatMap((n) => around.users.get(n)!.filter((u) => u.backward && !large.is(u)));
  const out: Cut[] = [];
  if (backward.length + extra.length > 0) {
    const own = closed(backward, extra, () => false, large, around);
    const cut = own && cutAlong([...backward, ...extra], { own, clones: new Set(forward) }, large, around, bytes);
    if (!cut) return [];
    out.push(cut);
  }
  const own = forward.length ? closed(forward, [], (n) => n.backward, large, around) : undefined;
  const cut = own && cutAlong(forward, { own, clones: none }, large, around, bytes);
  if (cut) out.push(cut);
  return out;
}

/** The region of the members along the first axis that goes. */
function cutAlong(core: readonly Node[], members: Members, large: Large, around: Surroundings, bytes: number): Cut | undefined {
  const seed = core.find((n) => large.is(n) && axesOfDot(n)) ?? core.find((n) => large.is(n));
  if (!seed) return undefined;
  const hidden = masked(core);
  if (hidden) {
    const length = sizes(hidden.at)[hidden.axis];
    const most = Math.max(HIDING_ROWS, Math.floor(length / 8));
    const region = (4 * elements(hidden.at) * most) / length <= bytes && regionAlong(hidden.at, hidden.axis, members, large, around);
    if (region && mayRepeat(region) && joinable(region)) return { region, iterations: iterationSizes(length, most) };
  }
  if (4 * elements(seed) <= bytes) return undefined;
  const shape = sizes(seed);
  const fine = bytes <= FINER[0];
  for (const axis of axesOf(seed, fine)) {
    const length = shape[axis];
    if (length === 1) continue;
    const region = regionAlong(seed, axis, members, large, around);
    if (!region || !(fine || mayRepeat(region)) || !joinable(region)) continue;
    const each = (4 * elements(seed)) / length;
    const least = region.apart ? Math.ceil(length / GROUPS) : leastPlaces(seed, axis, bytes);
    const most = Math.min(length, Math.max(least, Math.floor(bytes / each)));
    if (most === length) continue;
    return { region, iterations: iterationSizes(length, most) };
  }
  return undefined;
}

/** A product whose result may be worth cutting because masks hide part of it. */
const mayHide = (n: Node): boolean => sizes(n).filter((d) => d >= HIDING).length >= 2;

/** A choice among the values of a core that positions alone make for whole corners of it, and the axis along which iterations would see that. */
function masked(core: readonly Node[]): { readonly at: Node; readonly axis: number } | undefined {
  for (const at of core) {
    if (!isWhere(at)) continue;
    const shape = sizes(at);
    const long = shape.flatMap((d, i) => (d >= HIDING ? [i] : []));
    for (const axis of long)
      for (const other of long) {
        if (other === axis) continue;
        const corner = (first: boolean): boolean => {
          const quarter = (i: number, begin: boolean) => {
            const part = Math.floor(shape[i] / 4);
            return begin ? ([0, part] as const) : ([shape[i] - part, shape[i]] as const);
          };
          const box = boxOf(at).map((all, i) => (i === axis ? quarter(i, first) : i === other ? quarter(i, !first) : all));
          return new Spans().at(at.inputs[0], box).hi === 0;
        };
        if (corner(true) || corner(false)) return { at, axis };
      }
  }
  return undefined;
}

/** Axes from the front. In fine slices the width of a weight comes first: iterations over it read each part of the weight once. */
function axesOf(seed: Node, fine: boolean): number[] {
  const all = sizes(seed).map((_, axis) => axis);
  const axes = axesOfDot(seed);
  if (!fine || !axes) return all;
  const batch = axes.lhsBatch.length;
  const side = (axis: number) => (axis < batch ? undefined : seed.inputs[axis < batch + axes.lhsFree.length ? 0 : 1]);
  const wide = all.filter((axis) => {
    const x = side(axis);
    return x !== undefined && isLongWeight(x);
  });
  return [...wide, ...all.filter((axis) => !wide.includes(axis))];
}

/** How many places of an axis of a product make rows enough. */
function leastPlaces(seed: Node, axis: number, bytes: number): number {
  const axes = axesOfDot(seed);
  if (!axes || axis < axes.lhsBatch.length) return 1;
  const batch = axes.lhsBatch.length;
  const middle = batch + axes.lhsFree.length;
  const side = axis < middle ? sizes(seed).slice(batch, middle) : sizes(seed).slice(middle);
  const byWeight = seed.inputs.some(isLongWeight);
  const finer = FINER.findLastIndex((b) => bytes <= b);
  const rows = byWeight ? (FINE_ROWS_BY_WEIGHT[finer] ?? ROWS_BY_WEIGHT) : ROWS;
  return Math.max(1, Math.ceil((rows * sizes(seed)[axis]) / side.reduce((p, d) => p * d, 1)));
}

const mayRepeat = (region: Region): boolean => repeated(region).every((n) => depth(n) <= SHORT || growth(n) >= WIDE);

/** Whether what a region of both halves is given can be of the forward half: cheap work on values of the forward half. */
function joinable({ own, given }: Region): boolean {
  if (!mixed(own)) return true;
  return [...given.keys()].every((n) => forwardCone(n, new Set()));
}
const mixed = (own: ReadonlySet<Node>): boolean => {
  const [first] = own;
  return [...own].some((n) => n.backward !== first.backward);
};
/** At most so many nodes are made anew for the forward half. */
const CONE = 100;
function forwardCone(n: Node, seen: Set<Node>): boolean {
  if (!n.backward || seen.has(n)) return true;
  seen.add(n);
  const { role } = rowOf(n);
  if (role === "product" || role === "region" || role === "host" || seen.size > CONE) return false;
  return n.inputs.every((x) => forwardCone(x, seen));
}
/** The same value as a node of the forward half. */
function asForward(n: Node, known: Map<Node, Node>): Node {
  if (!n.backward) return n;
  let made = known.get(n);
  if (!made) {
    const { half: _, ...origin } = n.origin;
    made = node(
      n.op,
      n.inputs.map((x) => asForward(x, known)),
      n.attrs,
      n.type,
      origin,
    );
    known.set(n, made);
  }
  return made;
}

/** The graph with its loops. What a region is read for is known only when all readers are: values that a loop computes again are not read. */
function rebuilt(roots: readonly Node[], cuts: readonly Cut[], bytes: number, told: Told): readonly Node[] {
  const cutOf = new Map(cuts.flatMap((c) => [...c.region.own].map((n) => [n, c] as const)));
  const read = new Map<Cut, Set<Node>>(cuts.map((c) => [c, new Set()]));
  const needs = (n: Node): readonly Node[] => {
    const c = cutOf.get(n);
    return c ? [...c.region.given.keys()] : n.inputs;
  };
  const sorted: Node[] = [];
  const done = new Set<Node>();
  const stack: [Node, readonly Node[], number][] = [];
  const enter = (n: Node) => {
    const c = cutOf.get(n);
    if (c) read.get(c)!.add(n);
    if (done.has(n)) return;
    done.add(n);
    stack.push([n, needs(n), 0]);
  };
  for (const root of roots) {
    enter(root);
    while (stack.length) {
      const top = stack[stack.length - 1];
      const next = top[1][top[2]++];
      if (next === undefined) {
        sorted.push(top[0]);
        stack.pop();
      } else enter(next);
    }
  }
  const known = new Map<Node, Node>();
  const forward = new Map<Node, Node>();
  for (const n of sorted) {
    if (known.has(n)) continue;
    const c = cutOf.get(n);
    if (!c) {
      known.set(
        n,
        withInputs(
          n,
          n.inputs.map((x) => known.get(x)!),
        ),
      );
      continue;
    }
    const outer = mixed(c.region.own) ? (x: Node) => asForward(known.get(x)!, forward) : (x: Node) => known.get(x)!;
    const values = buildLoop(c.region, [...read.get(c)!], c.iterations, outer, (results) =>
      inSlices(results, bytes, { ...told, value: () => {} }),
    );
    for (const [result, value] of values) known.set(result, value);
  }
  return roots.map((r) => known.get(r)!);
}
