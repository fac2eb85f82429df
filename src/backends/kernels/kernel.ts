/**
 * The loop language: what a kernel computes, as data. Printers (WGSL, WebAssembly) turn it into text; they know loops, loads and scalar
 * functions, but no op and no model. Schedules (tiles, threads, lanes) are apart.
 *
 * A kernel is one graph of scalar **values** in SSA form (a value's number is its place in `values`; operands come before users) over
 * integer **axes**, and **stages** that say which values are reduced and which are stored. What a stage needs is what its roots reach: use
 * `needed`. A value that two stages reach may be computed in both or held between them, as the printer likes: values have no side effects,
 * and no load of a kernel sees a store of the same kernel, except as `Operand.access` says.
 *
 * Numbers: f32 arithmetic; i32 wraps; bool is a condition in values, an i32 0/1 in memory. All memory is 4 bytes an element. The printer
 * spells functions so that they are stable: `exp` underflows to 0 and is never NaN for finite arguments, `tanh` saturates, NaN wins in
 * `max`/`min` where the target can say so.
 *
 * Results do not depend on how work is cut: sums run in an order that follows from the kernel alone.
 */

import type { DType } from "../../ir/graph.ts";
import type { MapName } from "../../ir/ops/op.ts";
import { axesOf, type Index, valuesOf } from "./index.ts";

/** A buffer a kernel touches. Distinct operands never overlap in memory. */
export interface Operand {
  /** For comments and variable names, unique in the kernel: `x0`, `out1`. */
  readonly name: string;
  readonly dtype: DType;
  /** Number of elements. */
  readonly count: number;
  /**
   * read: only loaded · write: only stored · both: every load of an element comes before its store in the same iteration of the kernel's
   * outer loops: in a `loop` kernel each parallel iteration reads only elements that it or no iteration writes, and reads an element in
   * the stage that stores it at the same index, or in an earlier stage.
   */
  readonly access: "read" | "write" | "both";
}

/** Scalar functions: those of the op table's elementwise rows, bit operations on i32 (`shl`, `shr`: logical, by 0..31), `bits`: the f32 with the bits of an i32, and
 * `floor_div`: an i32 over a positive literal, rounded downward. */
export type ScalarFunction = MapName | BitFunction;
type BitFunction = "xor" | "shl" | "shr" | "bits" | "floor_div";
const bitFunctions: Readonly<Record<BitFunction, true>> = { xor: true, shl: true, shr: true, bits: true, floor_div: true };
export const isBitFunction = (fn: ScalarFunction): fn is BitFunction => Object.hasOwn(bitFunctions, fn);

export type Value =
  /** A literal. For f32 the number is to be rounded to f32; ±Infinity and NaN occur. bool: 0 or 1. */
  | { readonly kind: "const"; readonly dtype: DType; readonly value: number }
  /** An index expression as an i32. */
  | { readonly kind: "index"; readonly dtype: "i32"; readonly index: Index }
  /**
   * An element of an operand. Where `guard` (a bool value) is false the result is 0 and memory must not be touched: the index may then be
   * out of bounds, even negative. Without a guard, or where it holds, the index is in bounds.
   */
  | { readonly kind: "load"; readonly dtype: DType; readonly operand: number; readonly index: Index; readonly guard?: number }
  /**
   * A scalar function of values. Operand types are as in the op table: arithmetic on f32 or i32 alike, comparisons give bool, `where` is
   * (bool, a, a). `cast` converts from the argument's dtype to this one: f32 → i32 truncates (saturating, NaN gives 0), → bool is ≠ 0.
   * `div`, `pow` and the transcendental functions are f32 only; `floor`, `ceil`, `round` come as f32 only. `mod` has the divisor's sign;
   * by 0 it is NaN in f32 and 0 in i32.
   */
  | { readonly kind: "call"; readonly dtype: DType; readonly fn: ScalarFunction; readonly args: readonly number[] }
  /** `loop`: the result of the `slot`-th reduction of stage `stage`, the same for all elements of the row; only later stages use it. */
  | { readonly kind: "reduced"; readonly dtype: DType; readonly stage: number; readonly slot: number }
  /** `product`: the finished sum at [b, m, n] · `scan`: the running sum up to and with this element. */
  | { readonly kind: "acc"; readonly dtype: DType };

/**
 * One element stored. `index` is injective over the axes that the stage runs over. Where `guard` is false nothing is stored. Values inside
 * the index (`write` at a position) depend on no axis.
 */
export interface Store {
  readonly operand: number;
  readonly index: Index;
  readonly value: number;
  readonly guard?: number;
}

/**
 * Over the elements of a row. sum: f32 or i32 (wrapping) · max, min: NaN wins where the target can say so; f32 starts from the first
 * element or ∓Infinity as the printer likes · argmax: the i32 position (row-major over the row's axes) of the first greatest f32 or i32.
 */
export interface Reduction {
  readonly fn: "sum" | "max" | "min" | "argmax";
  readonly dtype: DType;
  readonly value: number;
}

/**
 * One pass over the row: reductions of values, then results are known to later stages; and stores.
 * `over: "row"` runs over all axes of the row; `over: "once"` runs once a row, its stores depend on parallel axes only (it has no reductions).
 */
export interface Stage {
  readonly over: "row" | "once";
  readonly reductions: readonly Reduction[];
  readonly stores: readonly Store[];
}

/**
 * Counts elements that are not 0 while they are stored (a NaN is not 0). `into` is an i32 operand that nothing else touches: its numbers add
 * up to the count. Which element is counted where is the printer's choice: see `Counted` in ../sparse.ts.
 */
export interface Count {
  /** The operand whose stored elements are counted. */
  readonly of: number;
  readonly into: number;
}

interface Base {
  /** Readable and unique within a program; from the module path. */
  readonly name: string;
  readonly operands: readonly Operand[];
  readonly values: readonly Value[];
  /** `loop` and `product` only. */
  readonly counts?: readonly Count[] | undefined;
}

/**
 * Elementwise kernels and kernels with reductions over a row.
 * Parallel axes come first, `row` axes (none for a map) last; sizes ≥ 1. The last axis is the one that varies fastest in most loads and
 * stores, but not always: see the strides (a column sum has its unit-stride axis among the parallel ones).
 * A map has one stage with `over: "row"` (the row is the single element).
 */
export interface LoopKernel extends Base {
  readonly kind: "loop";
  readonly axes: readonly number[];
  /** How many of the last axes are the row's. */
  readonly row: number;
  readonly stages: readonly Stage[];
}

/**
 * acc[b, m, n] = Σ_k a(b, m, k) · b(b, n, k), f32, then stores over b, m, n that may use the `acc` value.
 * Axes: 0 = b, 1 = m, 2 = n, 3 = k. `lhs` and `rhs` are values over axes (0, 1, 3) and (0, 2, 3): mostly plain loads, whose strides tell
 * the layout.
 */
export interface ProductKernel extends Base {
  readonly kind: "product";
  /** [batch, m, n, k], then the axis of each further sum. */
  readonly axes: readonly [number, number, number, number, ...number[]];
  readonly lhs: number;
  readonly rhs: number;
  /**
   * Further products that the same accumulator goes on with, in this order: the sum of the i-th runs along axis 4 + i. Their factors are loads
   * without a guard. `gate`: a bool value over batch and row; where it does not hold nothing is added, whatever the factors are.
   */
  readonly more?: readonly { readonly lhs: number; readonly rhs: number; readonly gate?: number }[] | undefined;
  readonly stores: readonly Store[];
  /**
   * Zeros of that side add nothing, and may be left out of the sum, where `guard` (a bool value without axes) holds: what they are multiplied
   * with is finite. Sums run in the same order, so that the result is the same to the bit.
   */
  readonly skip?: { readonly side: "lhs" | "rhs"; readonly guard: number };
}

/**
 * out[row, c] = Σ over i with index(i) = row of value(i, c), in ascending i; rows that no index names are 0. Axes: 0 = i (updates),
 * 1 = c (columns). `index` is an i32 value over axis 0 within 0..rows-1. The owner of a column computes: columns are independent, no
 * atomics. The element (row, c) of `out` is at row·columns + c.
 */
export interface ScatterKernel extends Base {
  readonly kind: "scatter";
  /** [updates, columns]. */
  readonly axes: readonly [number, number];
  readonly rows: number;
  readonly index: number;
  readonly value: number;
  readonly out: number;
}

/** Running sums along the last axis, one after the other; all other axes are parallel. Stores may use the `acc` value (inclusive sum). */
export interface ScanKernel extends Base {
  readonly kind: "scan";
  readonly axes: readonly number[];
  /** f32 or i32: the dtype of `acc`. */
  readonly dtype: DType;
  readonly value: number;
  readonly stores: readonly Store[];
}

/** out[0] = the k-th smallest (1-based) of value(i), i along axis 0; `k` is an i32 value without axes, clamped to 1..n. */
export interface SelectKernel extends Base {
  readonly kind: "select";
  readonly axes: readonly [number];
  readonly value: number;
  readonly k: number;
  readonly out: number;
}

/** One of the sums that make up a product's result. */
export interface Sum {
  readonly lhs: number;
  readonly rhs: number;
  readonly gate?: number;
  /** The axis that it runs along, and its length. */
  readonly axis: number;
  readonly size: number;
  /** How many products are added before its first one. */
  readonly from: number;
}

/** The sums of a product, in their order. */
export function sumsOf({ axes, lhs, rhs, more = [] }: ProductKernel): Sum[] {
  let from = 0;
  return [{ lhs, rhs }, ...more].map((sides, i) => {
    const sum: Sum = { ...sides, axis: 3 + i, size: axes[3 + i], from };
    from += sum.size;
    return sum;
  });
}

export type LoopLanguage = LoopKernel | ProductKernel | ScatterKernel | ScanKernel | SelectKernel;

/** The values that a value uses directly, in its arguments, guard or index. */
export function usesOf(v: Value): number[] {
  switch (v.kind) {
    case "call":
      return [...v.args];
    case "index":
      return [...valuesOf(v.index)];
    case "load":
      return [...valuesOf(v.index), ...(v.guard === undefined ? [] : [v.guard])];
    default:
      return [];
  }
}

/** The values a store uses directly. */
export const usesOfStore = (s: Store): number[] => [s.value, ...valuesOf(s.index), ...(s.guard === undefined ? [] : [s.guard])];

/** All values that `roots` reach, in ascending order (so operands come first), except those in `known` and what only they reach. */
export function needed(values: readonly Value[], roots: Iterable<number>, known: ReadonlySet<number> = new Set()): number[] {
  const seen = new Set<number>();
  const stack = [...roots];
  while (stack.length) {
    const v = stack.pop()!;
    if (seen.has(v) || known.has(v)) continue;
    seen.add(v);
    stack.push(...usesOf(values[v]));
  }
  return [...seen].sort((a, b) => a - b);
}

/** The roots of a stage: what it reduces and stores. */
export const rootsOf = (s: Stage): number[] => [...s.reductions.map((r) => r.value), ...s.stores.flatMap(usesOfStore)];

/**
 * For every value the axes it varies with, as a bit set (axis a is bit a). `acc` varies with all axes but those in `reducedAxes`;
 * `reduced` with the parallel axes of a loop kernel. Printers use it to lift values out of loops.
 */
export function dependence(kernel: LoopLanguage): number[] {
  const all = (1 << kernel.axes.length) - 1;
  const parallel = kernel.kind === "loop" ? (1 << (kernel.axes.length - kernel.row)) - 1 : all;
  const acc = kernel.kind === "product" ? 0b0111 : all;
  const out: number[] = [];
  for (const v of kernel.values) {
    let bits = v.kind === "reduced" ? parallel : v.kind === "acc" ? acc : 0;
    if (v.kind === "index" || v.kind === "load") for (const a of axesOf(v.index)) bits |= 1 << a;
    for (const u of usesOf(v)) bits |= out[u];
    out.push(bits);
  }
  return out;
}
