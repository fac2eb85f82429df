/** Builds kernels out of sets of roots: loop kernels (maps and rows) and products with their epilogues. */

import { type Node, sizes as shapeOf } from "../../ir/graph.ts";
import { foldedAxes, rowOf } from "../../ir/ops/index.ts";
import { Emitter } from "./emit.ts";
import { axesOf, axisIndex, flatten, type Index, sameIndex, substitute, zero } from "./index.ts";
import { type LoopKernel, type LoopLanguage, type Operand, type Reduction, type Stage, type Store, usesOf, type Value } from "./kernel.ts";
import { elements } from "./roots.ts";
import { bindAll, isReduction, keptCoords, Misfit, type Signatures, spaceOf } from "./space.ts";

/** A kernel and the tensors its operands are, each named by the node whose value it holds. */
export interface Built {
  readonly kernel: LoopLanguage;
  readonly tensors: readonly Node[];
}

/** The operands of a kernel being built: one a tensor, loads first come. */
export class Operands {
  readonly tensors: Node[] = [];
  readonly list: Operand[] = [];
  private readonly numbers = new Map<Node, number>();

  read(n: Node): number {
    let i = this.numbers.get(n);
    if (i === undefined) {
      i = this.list.length;
      this.numbers.set(n, i);
      this.tensors.push(n);
      this.list.push({ name: `x${i}`, dtype: n.type.dtype, count: elements(n), access: "read" });
    }
    return i;
  }
  write(n: Node, access: "write" | "both" = "write"): number {
    const i = this.list.length;
    this.tensors.push(n);
    this.list.push({ name: `out${i}`, dtype: n.type.dtype, count: elements(n), access });
    return i;
  }
}

/** Whether a node's value is read from memory in a kernel that does not compute it. */
export type InMemory = (n: Node) => boolean;

export const flat = (coords: readonly Index[], n: Node): Index => flatten(coords, shapeOf(n));

/**
 * One loop kernel for `roots`; `stored` are those whose values are needed outside. The seed is a reduction, if there is one, so that the row
 * is known. Throws `Misfit`.
 */
export function buildLoop(roots: readonly Node[], stored: ReadonlySet<Node>, inMemory: InMemory, signatures: Signatures): Built {
  const seed = roots.find(isReduction) ?? roots[roots.length - 1];
  const shape = spaceOf(seed);
  const reduced = isReduction(seed) ? foldedAxes(seed) : [];
  /** For each dimension of the seed's space the sizes of the axes it is split into. */
  let split = shape.map((d) => [d]);
  for (let round = 0; ; round++) {
    const built = buildSplit(roots, stored, inMemory, signatures, seed, split, reduced);
    const finer = round < 8 ? refine(built.kernel, split, reduced) : undefined;
    if (!finer) return { kernel: mergeAxes(built.kernel), tensors: built.tensors };
    split = finer;
  }
}

/** Places of the axes of each dimension of the seed, in the order in which `buildSplit` numbers them: parallel dimensions, then the row's. */
function layout(split: readonly (readonly number[])[], reduced: readonly number[]): { axes: number[]; places: number[][]; row: number } {
  const axes: number[] = [];
  const places = split.map(() => [] as number[]);
  const dims = split.map((_, i) => i);
  let row = 0;
  for (const d of [...dims.filter((i) => !reduced.includes(i)), ...dims.filter((i) => reduced.includes(i))]) {
    for (const size of split[d]) {
      if (size === 1) continue;
      places[d].push(axes.length);
      axes.push(size);
      if (reduced.includes(d)) row++;
    }
  }
  return { axes, places, row };
}

/** Throws `Misfit` unless each root covers all axes, or all but the row, and reductions go along the row in its order. */
function requireWhole(
  roots: readonly Node[],
  bound: ReadonlyMap<Node, readonly Index[]>,
  axes: readonly number[],
  first: number,
  usesRow: (coords: readonly Index[]) => boolean,
): void {
  const count = (list: readonly number[]) => list.reduce((a, b) => a * b, 1);
  const parallel = count(axes.slice(0, first));
  const whole = parallel * count(axes.slice(first));
  const flatRow = flatten(
    axes.slice(first).map((_, i) => axisIndex(first + i)),
    axes.slice(first),
  );
  for (const n of roots) {
    const coords = bound.get(n)!;
    if (isReduction(n)) {
      const dims = spaceOf(n);
      const list = foldedAxes(n);
      if (usesRow(keptCoords(n, coords))) throw new Misfit("a result varies along the row");
      if (elements(n) !== parallel || elements(n.inputs[0]) !== whole) throw new Misfit("a reduction over part of the axes");
      const at = flatten(
        list.map((a) => coords[a]),
        list.map((a) => dims[a]),
      );
      if (!sameIndex(at, flatRow)) throw new Misfit("rows run in another order");
    } else if (elements(n) !== (usesRow(coords) ? whole : parallel)) throw new Misfit("a root covers part of the axes");
  }
}

function buildSplit(
  roots: readonly Node[],
  stored: ReadonlySet<Node>,
  inMemory: InMemory,
  signatures: Signatures,
  seed: Node,
  split: readonly (readonly number[])[],
  reduced: readonly number[],
): { kernel: LoopKernel; tensors: readonly Node[] } {
  const { axes, places, row: found } = layout(split, reduced);
  let row = found;
  if (reduced.length && row === 0) {
    // A row of one element: an axis of size 1 keeps the kernel a reduction.
    axes.push(1);
    row = 1;
  }
  const bound = new Map<Node, readonly Index[]>();
  bound.set(
    seed,
    places.map((list) =>
      flatten(
        list.map(axisIndex),
        list.map((a) => axes[a]),
      ),
    ),
  );
  bindAll(roots, bound, axes, row, signatures);

  const first = axes.length - row;
  const usesRow = (coords: readonly Index[]) => coords.some((c) => [...axesOf(c)].some((a) => a >= first));
  requireWhole(roots, bound, axes, first, usesRow);

  const operands = new Operands();
  const members = new Set(roots);
  const level: number[] = [];
  const reductions: Reduction[][] = [];
  const results = new Map<Node, number>();
  /** The first stage in which a value is known: one after the last reduction it needs. */
  const levelOf = (v: number): number => {
    for (let i = level.length; i < emitter.values.length; i++) {
      const value = emitter.values[i];
      level.push(value.kind === "reduced" ? value.stage + 1 : usesOf(value).reduce((a, u) => Math.max(a, level[u]), 0));
    }
    return level[v];
  };
  const emitter: Emitter = new Emitter(axes, (n, coords, guard, e) => {
    if (members.has(n)) {
      const at = bound.get(n)!;
      const own = isReduction(n) ? keptCoords(n, at) : at;
      if (guard !== undefined || coords.some((c, i) => !sameIndex(c, own[i]))) throw new Misfit(`${n.op} is read elsewhere`);
      if (!isReduction(n)) return undefined;
      let value = results.get(n);
      if (value === undefined) {
        const operand = e.at(n.inputs[0], at);
        const stage = levelOf(operand);
        while (reductions.length <= stage) reductions.push([]);
        value = e.value({ kind: "reduced", dtype: n.type.dtype, stage, slot: reductions[stage].length }, `r ${n.id}`);
        reductions[stage].push(reductionOf(n, operand, e));
        results.set(n, value);
      }
      return value;
    }
    return inMemory(n) ? e.load(operands.read(n), n.type.dtype, flat(coords, n), guard) : undefined;
  });

  const everywhere: { node: Node; value: number; index: Index }[] = [];
  const once: typeof everywhere = [];
  for (const n of roots) {
    const at = bound.get(n)!;
    const own = isReduction(n) ? keptCoords(n, at) : at;
    const value = emitter.at(n, own);
    if (stored.has(n)) (row > 0 && !usesRow(own) ? once : everywhere).push({ node: n, value, index: flat(own, n) });
  }
  const stores: Store[][] = [];
  const put = (stage: number, s: Store) => {
    while (stores.length <= stage) stores.push([]);
    stores[stage].push(s);
  };
  for (const { node, value, index } of everywhere) put(levelOf(value), { operand: operands.write(node), index, value });
  const stages: Stage[] = [];
  for (let i = 0; i < Math.max(stores.length, reductions.length); i++)
    stages.push({ over: "row", reductions: reductions[i] ?? [], stores: stores[i] ?? [] });
  if (once.length)
    stages.push({
      over: "once",
      reductions: [],
      stores: once.map(({ node, value, index }) => ({ operand: operands.write(node), index, value })),
    });
  return {
    kernel: { kind: "loop", name: "", operands: operands.list, axes, row, values: emitter.values, stages },
    tensors: operands.tensors,
  };
}

function reductionOf(n: Node, operand: number, e: Emitter): Reduction {
  const from = n.inputs[0].type.dtype;
  const merge = rowOf(n).reduce?.merge;
  if (!merge)
    return { fn: "argmax", dtype: from === "f32" ? "f32" : "i32", value: from === "bool" ? e.call("cast", "i32", operand) : operand };
  const value = from === "bool" ? e.call("cast", "i32", operand) : operand;
  return { fn: merge === "add" ? "sum" : (merge as "max" | "min"), dtype: n.type.dtype, value };
}

/** Finer dimensions, where the kernel divides an axis; `undefined` if none is divided (evenly). */
function refine(kernel: LoopKernel, split: readonly (readonly number[])[], reduced: readonly number[]): number[][] | undefined {
  const { places } = layout(split, reduced);
  const cuts = new Map<number, number>();
  const visit = (i: Index) => {
    for (const { atom } of i.terms) {
      if (atom.kind !== "div" && atom.kind !== "mod") continue;
      visit(atom.of);
      const [only] = atom.of.terms;
      if (atom.of.terms.length !== 1 || only.factor !== 1 || only.atom.kind !== "axis" || atom.of.base !== 0) continue;
      const size = kernel.axes[only.atom.axis];
      if (size % atom.by === 0 && !cuts.has(only.atom.axis)) cuts.set(only.atom.axis, atom.by);
    }
  };
  for (const i of indicesOf(kernel)) visit(i);
  if (cuts.size === 0) return undefined;
  return split.map((axes, d) => {
    let at = 0;
    return axes.flatMap((size) => {
      if (size === 1) return [1];
      const cut = cuts.get(places[d][at++]);
      return cut ? [size / cut, cut] : [size];
    });
  });
}

function* indicesOf(kernel: LoopKernel): Iterable<Index> {
  for (const v of kernel.values) if (v.kind === "index" || v.kind === "load") yield v.index;
  for (const stage of kernel.stages) for (const s of stage.stores) yield s.index;
}

/** Joins neighbouring axes that every index treats as one, so that the last is as long as can be. */
export function mergeAxes(kernel: LoopKernel): LoopKernel {
  for (let a = kernel.axes.length - 2; a >= 0; a--) {
    const first = kernel.axes.length - kernel.row;
    if (a + 1 === first) continue;
    const size = kernel.axes[a + 1];
    const fits = [...indicesOf(kernel)].every((i) => {
      let [outer, inner] = [0, 0];
      for (const { factor, atom } of i.terms) {
        if (atom.kind === "axis") {
          if (atom.axis === a) outer = factor;
          else if (atom.axis === a + 1) inner = factor;
        } else if (atom.kind !== "value") {
          const inside = axesOf(atom.of);
          if (inside.has(a) || inside.has(a + 1)) return false;
        }
      }
      return outer === inner * size;
    });
    if (!fits) continue;
    const axes = [...kernel.axes.slice(0, a), kernel.axes[a] * size, ...kernel.axes.slice(a + 2)];
    // a·size + b becomes the joint axis: the inner axis takes its place, the outer one vanishes.
    const moved = (i: Index): Index => substitute(i, (x) => (x === a ? zero : axisIndex(x > a ? x - 1 : x)), axes);
    kernel = rewriteIndices({ ...kernel, axes, row: a >= first ? kernel.row - 1 : kernel.row }, moved);
  }
  return kernel;
}

function rewriteIndices(kernel: LoopKernel, f: (i: Index) => Index): LoopKernel {
  return {
    ...kernel,
    values: kernel.values.map((v): Value => (v.kind === "index" || v.kind === "load" ? { ...v, index: f(v.index) } : v)),
    stages: kernel.stages.map((s) => ({ ...s, stores: s.stores.map((x) => ({ ...x, index: f(x.index) })) })),
  };
}
