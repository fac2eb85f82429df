/**
 * Several roots in one kernel: the axes they share, and for each root its coordinates in terms of these axes. One root seeds the axes; the
 * others are bound through the places at which they read each other. A root that cannot be bound, or not to one place, does not belong.
 */

import { type Node, sizes as shapeOf } from "../../ir/graph.ts";
import { foldedAxes, rowOf } from "../../ir/ops/index.ts";
import { Emitter } from "./emit.ts";
import { axisIndex, flatten, type Index, range, sameIndex, substitute, unflatten, valuesOf, zero } from "./index.ts";
import { elements, isLeaf } from "./roots.ts";

/** Thrown, and caught by the fuser, where roots do not fit in one kernel. */
export class Misfit extends Error {}

/** A root read by another, at `coords` in terms of the reader's own axes. */
export interface Reference {
  readonly node: Node;
  readonly coords: readonly Index[];
}

export const isReduction = (n: Node): boolean => rowOf(n).role === "reduce";
/** The shape a root runs over: a reduction's operand, otherwise its own. */
export const spaceOf = (n: Node): readonly number[] => shapeOf(isReduction(n) ? n.inputs[0] : n);

/** What a root reads out of memory, by its own axes; computed once. */
export class Signatures {
  private readonly known = new Map<Node, readonly Reference[]>();
  constructor(private readonly roots: ReadonlySet<Node>) {}

  of(root: Node): readonly Reference[] {
    let out = this.known.get(root);
    if (!out) {
      const found: Reference[] = [];
      const space = spaceOf(root);
      const emitter = new Emitter(space, (node, coords, guard, e) => {
        if (node === root || !(this.roots.has(node) || isLeaf(node))) return undefined;
        // A guarded read is at no one place.
        found.push({ node, coords: guard === undefined ? coords : [] });
        return e.load(found.length, node.type.dtype, flatten(coords, shapeOf(node)));
      });
      const own = space.map((d, i) => (d === 1 ? zero : axisIndex(i)));
      if (isReduction(root)) emitter.at(root.inputs[0], own);
      else emitter.at(root, own);
      out = found;
      this.known.set(root, out);
    }
    return out;
  }
}

const sameCoords = (a: readonly Index[], b: readonly Index[]): boolean => a.length === b.length && a.every((x, i) => sameIndex(x, b[i]));

/** Drops the reduced axes of a reduction's operand coordinates. */
export const keptCoords = (n: Node, coords: readonly Index[]): Index[] => coords.filter((_, i) => !foldedAxes(n).includes(i));

/** The coordinates of a reader by axis, where it reads each axis by itself or not at all; `undefined`: it reads otherwise. */
function straight(ref: Reference, at: readonly Index[], rank: number): (Index | undefined)[] | undefined {
  const out = new Array<Index | undefined>(rank).fill(undefined);
  for (const [i, { terms, base }] of ref.coords.entries()) {
    if (terms.length === 0) continue;
    const [{ factor, atom }] = terms;
    if (terms.length > 1 || base !== 0 || factor !== 1 || atom.kind !== "axis") return undefined;
    out[atom.axis] = at[i];
  }
  return out;
}

/**
 * Binds all of `roots`, starting from those in `bound`. `rowCoords(dims)` are coordinates of the row in a box of those sizes.
 * Throws `Misfit`.
 */
export function bindAll(
  roots: readonly Node[],
  bound: Map<Node, readonly Index[]>,
  axes: readonly number[],
  row: number,
  signatures: Pick<Signatures, "of">,
): void {
  const members = new Set(roots);
  const first = axes.length - row;
  const flatRow = flatten(
    axes.slice(first).map((_, i) => axisIndex(first + i)),
    axes.slice(first),
  );
  const rowSize = axes.slice(first).reduce((a, b) => a * b, 1);
  const rowCoords = (dims: readonly number[]): Index[] => {
    if (dims.reduce((a, b) => a * b, 1) !== rowSize) throw new Misfit("rows of different length");
    return unflatten(flatRow, dims, axes);
  };
  const bind = (n: Node, coords: readonly Index[]) => {
    const before = bound.get(n);
    if (before) {
      if (!sameCoords(before, coords)) throw new Misfit(`${n.op} is read at two places`);
      return false;
    }
    const shape = spaceOf(n);
    coords.forEach((c, i) => {
      const r = range(c, axes);
      if (valuesOf(c).size || r.low !== 0 || r.high !== shape[i] - 1) throw new Misfit(`${n.op} is not covered`);
    });
    bound.set(n, coords);
    return true;
  };
  /** The place at which `reader`, bound to `coords`, reads. */
  const placed = (ref: Reference, reader: Node): Index[] => {
    const at = bound.get(reader)!;
    return ref.coords.map((c) => substitute(c, (a) => at[a], axes));
  };
  const fromResult = (n: Node, out: readonly Index[]): Index[] => {
    const shape = spaceOf(n);
    const reduced = foldedAxes(n);
    const rows = rowCoords(reduced.map((a) => shape[a]));
    let kept = 0;
    return shape.map((_, i) => (reduced.includes(i) ? rows[reduced.indexOf(i)] : out[kept++]));
  };
  /** Solves for the coordinates of a reader from where it reads a bound root. */
  const solve = (reader: Node, ref: Reference): Index[] | undefined => {
    const target = bound.get(ref.node)!;
    const at = isReduction(ref.node) ? keptCoords(ref.node, target) : target;
    const space = spaceOf(reader);
    if (ref.coords.length !== at.length) return undefined;
    const out = straight(ref, at, space.length);
    if (out !== undefined) {
      const missing = space.flatMap((d, i) => (out[i] === undefined && d !== 1 ? [i] : []));
      if (missing.length) {
        const dims = missing.map((i) => space[i]);
        if (dims.reduce((a, b) => a * b, 1) !== rowSize) return undefined;
        const rows = rowCoords(dims);
        missing.forEach((axis, i) => {
          out[axis] = rows[i];
        });
      }
      return out.map((c) => c ?? zero);
    }
    if (isReduction(ref.node) || elements(ref.node) !== space.reduce((a, b) => a * b, 1)) return undefined;
    return unflatten(flatten(at, shapeOf(ref.node)), space, axes);
  };

  for (let progress = true; progress; ) {
    progress = false;
    for (const n of roots) {
      if (bound.has(n)) {
        for (const ref of signatures.of(n)) {
          if (!members.has(ref.node)) continue;
          if (ref.coords.length !== ref.node.type.shape.length) throw new Misfit("a guarded read");
          const at = placed(ref, n);
          if (isReduction(ref.node)) {
            const before = bound.get(ref.node);
            if (before ? !sameCoords(keptCoords(ref.node, before), at) : true) {
              if (before) throw new Misfit(`${ref.node.op} is read at two places`);
              if (bind(ref.node, fromResult(ref.node, at))) progress = true;
            }
          } else if (bind(ref.node, at)) progress = true;
        }
        continue;
      }
      for (const ref of signatures.of(n)) {
        if (!members.has(ref.node) || !bound.has(ref.node)) continue;
        const at = solve(n, ref);
        if (at && bind(n, at)) {
          progress = true;
          break;
        }
      }
    }
  }
  if (bound.size !== members.size) throw new Misfit("not all roots are related");
}
