/**
 * A slice that leaves little out is not taken: what follows runs on the whole, and the sum at its end counts only what the slice had. So a
 * language model's `logits[:, :-1]` is a mask, its product and gradient keep their even sizes, and no gradient has to be padded.
 *
 * Floating-point values of places that the slice had left out are values of the whole, never made up: nothing there can be NaN that was
 * not. Integers and booleans (labels, masks) are filled up with 0.
 */
import type { Builder } from "../../build.ts";
import { type Node, type Origin, sizes } from "../../graph.ts";
import {
  isExpand,
  isPlainMove,
  isReshape,
  type OpName,
  passedAxes,
  permuteOrder,
  reducedAxes,
  resized,
  rowOf,
  sliceOf,
  splatOf,
  summedAxes,
  windowOf,
} from "../../ops/index.ts";
import { constantAxes, range, unitReshape } from "../rules/facts.ts";

/** The slice that a node stands behind: of which axis of the node, from where, out of how many; `group` is shared by what is lifted together. */
interface Cut {
  readonly axis: number;
  readonly from: number;
  readonly of: number;
  readonly group: number;
}

/** How much a slice has to keep for the rest to be worth computing. */
const KEEPS = 0.75;

/** Finds what can be lifted: everything from a slice to sums over its axis, or nothing of it. `kept`: nodes that must stay what they are. */
export function liftable(ordered: readonly Node[], kept: ReadonlySet<Node>): ReadonlyMap<Node, Cut> {
  const cuts = new Map<Node, Cut>();
  const parent: number[] = [];
  const find = (g: number): number => {
    let at = g;
    while (parent[at] !== at) at = parent[at];
    return at;
  };
  const bad = new Set<number>();
  for (const n of ordered) {
    const mine = n.inputs.flatMap((x) => cuts.get(x) ?? []);
    const cut = kept.has(n) ? undefined : (sliceCut(n, parent) ?? passedOn(n, cuts));
    if (cut) {
      cuts.set(n, cut);
      for (const other of mine) parent[find(other.group)] = find(cut.group);
    } else if (mine.length > 0 && !(sumsOver(n, mine[0].axis) && !kept.has(n))) for (const other of mine) bad.add(other.group);
  }
  for (const n of kept) if (cuts.has(n)) bad.add(cuts.get(n)!.group);
  const spoiled = new Set([...bad].map(find));
  return new Map([...cuts].filter(([, c]) => !spoiled.has(find(c.group))));
}

const sumsOver = (n: Node, axis: number): boolean => summedAxes(n)?.includes(axis) ?? false;

function sliceCut(n: Node, parent: number[]): Cut | undefined {
  const slice = sliceOf(n);
  if (!slice || n.type.dtype !== "f32" || n.inputs[0].inputs.length === 0 || splatOf(n.inputs[0]) !== undefined) return undefined;
  const whole = sizes(n.inputs[0]);
  const size = sizes(n);
  const axes = range(whole.length).filter((a) => whole[a] !== size[a]);
  if (axes.length !== 1 || slice.step[axes[0]] !== 1 || size[axes[0]] < KEEPS * whole[axes[0]]) return undefined;
  parent.push(parent.length);
  return { axis: axes[0], from: slice.start[axes[0]], of: whole[axes[0]], group: parent.length - 1 };
}

/** The cut of a node that treats the places of its operands' cut axis alike. */
function passedOn(n: Node, cuts: ReadonlyMap<Node, Cut>): Cut | undefined {
  if (n.loop) return undefined;
  const mine = n.inputs.map((x) => cuts.get(x));
  const first = mine.find((c) => c !== undefined);
  if (!first) return undefined;
  const row = rowOf(n);
  if (row.scalar || row.role === "barrier") {
    const fits = n.inputs.every((x, i) => {
      const c = mine[i];
      if (c) return c.axis === first.axis && c.from === first.from && c.of === first.of;
      return x.type.dtype !== "f32" || constantAlong(x, first.axis);
    });
    return fits ? first : undefined;
  }
  const [x] = n.inputs;
  const summed = summedAxes(n) ?? reducedAxes(n);
  if (summed) return summed.includes(first.axis) ? undefined : { ...first, axis: first.axis - summed.filter((a) => a < first.axis).length };
  if (isReshape(n)) {
    const axis = unitReshape(sizes(x), sizes(n))?.indexOf(first.axis);
    return axis === undefined || axis < 0 ? undefined : { ...first, axis };
  }
  if (!isPlainMove(n) || windowOf(n)) return undefined;
  const axis = passedAxes(n).findIndex((axes) => axes !== "changed" && axes[0] === first.axis);
  return axis < 0 ? undefined : { ...first, axis };
}

const constantAlong = (x: Node, axis: number): boolean =>
  splatOf(x) !== undefined || (isExpand(x) && sizes(x.inputs[0])[axis] === 1) || (constantAxes(x).has(axis) && rowOf(x).role === "source");

/** Builds lifted nodes. `done` gives what an original node has become: the whole, if it is lifted. */
export class Lifter {
  private readonly extended = new Map<string, Node>();
  constructor(
    readonly cuts: ReadonlyMap<Node, Cut>,
    private readonly done: (n: Node) => Node,
    private readonly builderAt: (origin: Origin) => Builder,
  ) {}

  /** The node on whole operands; `undefined` if it is neither lifted nor the sum at the end. */
  build(n: Node): Node | undefined {
    const b = this.builderAt(n.origin);
    const cut = this.cuts.get(n);
    if (!cut) return this.end(b, n);
    const [x] = n.inputs;
    if (sliceOf(n)) return this.done(x);
    const wide = sizes(n).map((d, a) => (a === cut.axis ? cut.of : d));
    const inputs = n.inputs.map((i) => (this.cuts.has(i) ? this.done(i) : this.wide(b, i, cut.axis, cut)));
    return b.make(n.op as OpName, inputs, resized(n, wide));
  }

  /** A sum over the axis counts the places that the slice had. */
  private end(b: Builder, n: Node): Node | undefined {
    const cut = this.cuts.get(n.inputs[0]);
    if (!cut || n.loop) return undefined;
    const x = n.inputs[0];
    const size = sizes(x)[cut.axis];
    const whole = this.done(x);
    const place = b.iota(whole.type.shape, cut.axis);
    let inside: Node | undefined;
    if (cut.from > 0) inside = b.compare("ge", place, cut.from);
    if (cut.from + size < cut.of) {
      const below = b.compare("lt", place, cut.from + size);
      inside = inside ? b.logic("and", inside, below) : below;
    }
    return b.make(n.op as OpName, [b.where(inside!, whole, b.constant(0, whole.type.dtype))], n.attrs);
  }

  /** A node that is not cut, as large as the whole: repeated, or filled up with 0. */
  private wide(b: Builder, x: Node, axis: number, cut: Cut): Node {
    const key = `${x.id}/${axis}/${cut.from}/${cut.of}`;
    const known = this.extended.get(key);
    if (known) return known;
    const made = this.widened(b, x, axis, cut);
    this.extended.set(key, made);
    return made;
  }

  private widened(b: Builder, x: Node, axis: number, cut: Cut): Node {
    const shape = sizes(x).map((d, a) => (a === axis ? cut.of : d));
    const value = splatOf(x);
    if (typeof value === "number") return b.constant(value, x.type.dtype, shape);
    if (rowOf(x).role === "source" && constantAxes(x).has(axis)) return b.make(x.op as OpName, x.inputs, { ...x.attrs, shape });
    if (isExpand(x)) {
      const [inner] = x.inputs;
      return b.expand(sizes(inner)[axis] === 1 ? this.done(inner) : this.wide(b, inner, axis, cut), shape);
    }
    if (isReshape(x)) {
      const from = unitReshape(sizes(x.inputs[0]), sizes(x))?.[axis];
      if (from !== undefined && from >= 0) return b.reshape(this.wide(b, x.inputs[0], from, cut), shape);
    }
    const order = permuteOrder(x);
    if (order) return b.permute(this.wide(b, x.inputs[0], order[axis], cut), order);
    const whole = (i: Node) => i.type.dtype !== "f32" || constantAlong(i, axis);
    if (rowOf(x).scalar && x.inputs.every((i) => whole(i) && !this.cuts.has(i)))
      return b.make(
        x.op as OpName,
        x.inputs.map((i) => this.wide(b, i, axis, cut)),
        x.attrs,
      );
    return b.padAxis(this.done(x), axis, cut.from, cut.of - cut.from - sizes(x)[axis]);
  }
}
