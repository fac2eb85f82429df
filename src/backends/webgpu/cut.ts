/** Kernels over ranges of their axes, which touch less of their operands. */
import { Bug } from "../../ir/errors.ts";
import { axisIndex, type Index, shift, substitute } from "../kernels/index.ts";
import type { LoopLanguage, ProductKernel, ScatterKernel, Store, Value } from "../kernels/kernel.ts";

type Whole = Exclude<LoopLanguage, ScatterKernel>;

/** Axes whose ranges can run one after the other, the ones that cut most first. */
export function splittable(kernel: Whole): number[] {
  switch (kernel.kind) {
    case "loop":
      return [...Array(kernel.axes.length - kernel.row).keys()];
    case "product":
      return [2, 1, 0];
    case "scan":
      return [...Array(kernel.axes.length - 1).keys()];
    case "select":
      return [];
  }
}

/** The kernel over the two halves of an axis. */
export function halve(kernel: Whole, axis: number): [Whole, Whole] | undefined {
  const size = kernel.axes[axis];
  if (size < 2) return undefined;
  const middle = Math.ceil(size / 2);
  return [restrict(kernel, axis, 0, middle), restrict(kernel, axis, middle, size - middle)];
}

/** The kernel over elements `from..from+size` of an axis. */
function restrict(kernel: Whole, axis: number, from: number, size: number): Whole {
  const axes = kernel.axes.map((s, a) => (a === axis ? size : s));
  const moved = (i: Index) => substitute(i, (a) => (a === axis ? shift(axisIndex(a), from) : axisIndex(a)), axes);
  const values = kernel.values.map((v): Value => (v.kind === "index" || v.kind === "load" ? { ...v, index: moved(v.index) } : v));
  const stores = (list: readonly Store[]) => list.map((s) => ({ ...s, index: moved(s.index) }));
  const name = `${kernel.name}, ${from} to ${from + size - 1}`;
  switch (kernel.kind) {
    case "loop":
      return { ...kernel, name, axes, values, stages: kernel.stages.map((s) => ({ ...s, stores: stores(s.stores) })) };
    case "product":
      return { ...kernel, name, axes: [axes[0], axes[1], axes[2], axes[3], ...axes.slice(4)], values, stores: stores(kernel.stores) };
    case "scan":
      return { ...kernel, name, axes, values, stores: stores(kernel.stores) };
    case "select":
      return { ...kernel, name, axes: [axes[0]], values };
  }
}

/**
 * A product as `count` products over ranges of its sum: each leaves its sum where the first result goes, and the next goes on from there; the last
 * computes the results. `undefined` where the sum is too short, or no result is an f32 stored for every element.
 */
export function cutSum(kernel: ProductKernel, count: number): ProductKernel[] | undefined {
  const size = kernel.axes[3];
  const place = kernel.stores.find(({ operand, guard }) => {
    const o = kernel.operands[operand];
    // A result that lies over an operand would hide it from the last range.
    return o.dtype === "f32" && o.access === "write" && guard === undefined;
  });
  if (size < count || !place) return undefined;
  const acc = kernel.values.findIndex((v) => v.kind === "acc");
  if (acc < 0) throw new Bug(`the product ${kernel.name} does not use its sum`);
  const operands = kernel.operands.map((o, i) => (i === place.operand ? { ...o, access: "both" as const } : o));
  return Array.from({ length: count }, (_, i) => {
    const from = Math.floor((i * size) / count);
    const piece = restrict(kernel, 3, from, Math.floor(((i + 1) * size) / count) - from) as ProductKernel;
    const whole = i === 0 ? piece : { ...piece, operands, ...continued(piece, acc, place) };
    // only what is stored in the end is counted; further sums come last
    const partial: Pick<ProductKernel, "stores" | "counts" | "more"> = {
      stores: [{ operand: place.operand, index: place.index, value: i === 0 ? acc : acc + 2 }],
      counts: undefined,
      more: undefined,
    };
    return i === count - 1 ? whole : { ...whole, ...partial };
  });
}

/** Values and stores in which the sum starts from what lies at `place`: the value `acc` becomes the sum of that and the product's own. */
function continued(kernel: ProductKernel, acc: number, place: Store): Pick<ProductKernel, "values" | "stores" | "lhs" | "rhs" | "more"> {
  const own: Value = { kind: "acc", dtype: "f32" };
  const before: Value = { kind: "load", dtype: "f32", operand: place.operand, index: place.index };
  const total: Value = { kind: "call", dtype: "f32", fn: "add", args: [acc, acc + 1] };
  const to = (v: number) => (v < acc ? v : v + 2);
  const index = (i: Index): Index => ({
    base: i.base,
    terms: i.terms.map(({ factor, atom }) => {
      if (atom.kind === "value") return { factor, atom: { ...atom, value: to(atom.value) } };
      return { factor, atom: atom.kind === "axis" ? atom : { ...atom, of: index(atom.of) } };
    }),
  });
  const moved = (v: Value): Value => {
    if (v.kind === "call") return { ...v, args: v.args.map(to) };
    if (v.kind === "index") return { ...v, index: index(v.index) };
    if (v.kind === "load") return { ...v, index: index(v.index), ...(v.guard === undefined ? {} : { guard: to(v.guard) }) };
    return v;
  };
  const values = kernel.values.flatMap((v, i) => (i === acc ? [own, before, total] : [moved(v)]));
  const stores = kernel.stores.map((s) => ({
    ...s,
    index: index(s.index),
    value: to(s.value),
    ...(s.guard === undefined ? {} : { guard: to(s.guard) }),
  }));
  const more = kernel.more?.map(({ lhs, rhs, gate }) => ({ lhs: to(lhs), rhs: to(rhs), ...(gate !== undefined && { gate: to(gate) }) }));
  return { values, stores, lhs: to(kernel.lhs), rhs: to(kernel.rhs), ...(more && { more }) };
}
