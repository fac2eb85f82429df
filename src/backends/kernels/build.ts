/** Builds kernels out of sets of roots: loop kernels (maps and rows) and products with their epilogues. */

import { type Node, sizes as shapeOf } from "../../ir/graph.ts";
import { attrsOf, foldedAxes, rowOf } from "../../ir/ops/index.ts";
import { Emitter } from "./emit.ts";
import { axesOf, axisIndex, flatten, type Index, sameIndex, substitute, zero } from "./index.ts";
import {
  dependence,
  type LoopKernel,
  type LoopLanguage,
  type Operand,
  type ProductKernel,
  type Reduction,
  type Stage,
  type Store,
  usesOf,
  type Value,
} from "./kernel.ts";
import { elements } from "./roots.ts";
import { bindAll, isReduction, keptCoords, Misfit, type Signatures, spaceOf } from "./space.ts";
import { alignedShapes, isGate, Vanishing } from "./sums.ts";

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

const flat = (coords: readonly Index[], n: Node): Index => flatten(coords, shapeOf(n));

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
  const count = (list: readonly number[]) => list.reduce((a, b) => a * b, 1);
  const parallel = count(axes.slice(0, first));
  const whole = parallel * count(axes.slice(first));
  const usesRow = (coords: readonly Index[]) => coords.some((c) => [...axesOf(c)].some((a) => a >= first));
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

/**
 * A product with the roots of its epilogue (maps over the same elements), and with further products that are added to it. Throws `Misfit`.
 * `dot` is the product; `roots` holds it, the other products and the maps, operands first.
 */
export function buildProduct(
  dot: Node,
  roots: readonly Node[],
  stored: ReadonlySet<Node>,
  inMemory: InMemory,
  signatures: Signatures,
): Built {
  const others = roots.filter((n) => n !== dot && rowOf(n).role === "product");
  const [main, ...further] = alignedShapes([dot, ...others]);
  const { out } = main;
  const axes = [...main.axes, ...further.map((s) => s.axes[3])] as unknown as ProductKernel["axes"];
  const operands = new Operands();
  const members = new Set(roots);
  const addends = new Set(others);
  const vanishing = new Vanishing(addends);
  if (others.length > 0 && [dot, ...others].some((n) => stored.has(n))) throw new Misfit("a part of a sum is wanted by itself");
  const bound = new Map<Node, readonly Index[]>([[dot, out]]);
  const epilogue = roots.filter((n) => !addends.has(n));
  bindProduct(epilogue, bound, axes, signatures, addends);
  const own = flat(out, dot);
  /** Conditions met on the way to a product that is added, and those of each. */
  const open: number[] = [];
  const gates = new Map<Node, number>();
  const emitter: Emitter = new Emitter(axes, (n, coords, guard, e) => {
    if (addends.has(n)) {
      if (guard !== undefined || !sameIndex(flat(coords, n), own)) throw new Misfit("products are added in another order");
      const [first, ...rest] = open;
      if (first !== undefined)
        gates.set(
          n,
          rest.reduce((a, c) => e.call("and", "bool", a, c), first),
        );
      return e.literal(0, "f32");
    }
    if (isGate(n) && vanishing.has(n)) {
      open.push(e.at(n.inputs[0], coords, guard));
      const nothing = e.at(n.inputs[1], coords, guard);
      open.pop();
      return nothing;
    }
    if (members.has(n)) {
      const at = bound.get(n)!;
      if (guard !== undefined || coords.some((c, i) => !sameIndex(c, at[i]))) throw new Misfit(`${n.op} is read elsewhere`);
      if (n === dot) return e.value({ kind: "acc", dtype: "f32" }, "acc");
    }
    const rest = vanishing.rest(n);
    if (rest) {
      for (const x of n.inputs) if (x !== rest) e.at(x, coords, guard);
      return e.at(rest, coords, guard);
    }
    if (members.has(n)) return undefined;
    return inMemory(n) ? e.load(operands.read(n), n.type.dtype, flat(coords, n), guard) : undefined;
  });
  const left = emitter.at(dot.inputs[0], main.lhs);
  const right = emitter.at(dot.inputs[1], main.rhs);
  const more = further.map((shape, i) => {
    const own = (index: Index) => substitute(index, (a) => axisIndex(a === 3 ? 4 + i : a), axes);
    const [lhs, rhs] = [shape.lhs, shape.rhs].map((coords, side) => emitter.at(others[i].inputs[side], coords.map(own)));
    for (const v of [lhs, rhs]) {
      const value = emitter.values[v];
      if (value.kind !== "load" || value.guard !== undefined) throw new Misfit("a factor that is computed");
    }
    return { lhs, rhs };
  });
  const [first, ...same] = [main, ...further].map((s) => s.axes.slice(0, 3).join());
  if (same.some((s) => s !== first)) throw new Misfit("products of other shapes");
  const total = axes[0] * axes[1] * axes[2];
  const values = epilogue.map((n) => {
    if (elements(n) !== total) throw new Misfit("an epilogue over other elements");
    return { n, value: emitter.at(n, bound.get(n)!) };
  });
  // zeros of a side are skipped row by row of it, and so are rows
  const skips = dot.inputs.length === 3 && !(gates.size > 0 && dot.attrs.zeros === "rhs");
  const skip = skips ? skipOf(dot, emitter) : undefined;
  const stores = values
    .filter(({ n }) => stored.has(n))
    .map(({ n, value }) => ({ operand: operands.write(n), index: flat(bound.get(n)!, n), value }));
  const kernel: ProductKernel = {
    kind: "product",
    name: "",
    operands: operands.list,
    axes,
    values: emitter.values,
    lhs: left,
    rhs: right,
    ...(more.length > 0 && { more: more.map((sides, i) => (gates.has(others[i]) ? { ...sides, gate: gates.get(others[i])! } : sides)) }),
    stores,
    ...(skip === undefined ? {} : { skip }),
  };
  // The epilogue must not see k.
  const deps = dependence(kernel);
  if (kernel.stores.some((s) => deps[s.value] & ~0b0111)) throw new Misfit("an epilogue that varies with k");
  if ([...gates.values()].some((gate) => deps[gate] & ~0b0011)) throw new Misfit("a gate that varies along a row");
  return { kernel, tensors: operands.tensors };
}

/** Sums up to this are finite, and so is all that was summed. */
const FINITE = 3e38;

/** See the pass `sparse`: the third operand is the sum of absolute values on the other side. Infinite or NaN, it does not compare as less. */
const skipOf = (dot: Node, e: Emitter): ProductKernel["skip"] => ({
  side: attrsOf(dot, "dot").zeros!,
  guard: e.call("lt", "bool", e.at(dot.inputs[2], []), e.literal(FINITE, "f32")),
});

/** As `bindAll`, with the product as the one bound root; its own operands are not epilogue, and other products are nothing to bind by. */
function bindProduct(
  roots: readonly Node[],
  bound: Map<Node, readonly Index[]>,
  axes: readonly number[],
  signatures: Signatures,
  addends: ReadonlySet<Node>,
): void {
  const dot = roots[0];
  bindAll(roots, bound, axes, 0, {
    of: (n: Node) => (n === dot ? [] : signatures.of(n).filter((ref) => !addends.has(ref.node))),
  });
}
