/**
 * Products that may skip zeros get a second kernel that does, and what they read is counted: the kernel that stores a tensor counts its elements
 * that are not zero on the way, so that no pass over memory is added. After a run the session sets each product to one kernel or the other by
 * what was counted; see `Skipping` of the runtime.
 */
import { type Node, node, type Result, sizes } from "../ir/graph.ts";
import { rowOf } from "../ir/ops/index.ts";
import type { Step } from "./kernels/fuse.ts";
import type { Count, LoopKernel, LoopLanguage, Operand, ProductKernel } from "./kernels/kernel.ts";
import type { SpecialBuilt } from "./kernels/special.ts";
import { type Scheduled, storageKey } from "./schedule.ts";

/** A tensor whose elements that are not zero are counted. */
export interface Measure {
  /** i32: the numbers that add up to the count. */
  readonly counts: Node;
  /** i32[1]: 1 where products that read it skip its zeros. */
  readonly flag: Node;
  /** The tensor that is counted. */
  readonly of: Node;
  /** The entry whose runs count it. */
  readonly entry: string;
}

interface CountedEntry {
  readonly name: string;
  readonly results: readonly Result[];
  readonly scheduled: Scheduled;
}

export interface Counting {
  /** How many numbers a kernel counts into. */
  slots(kernel: LoopLanguage): number;
  /** Most operands of one kernel. */
  readonly operands: number;
}

export interface Counted<E> {
  readonly entries: readonly E[];
  readonly measures: readonly Measure[];
  /** Of a kernel with `skip`: the place in `measures` of what it would skip zeros of. */
  readonly measureOf: ReadonlyMap<Node, number>;
}

/** Counts what products that may skip zeros read; those that read what no kernel of ours stores lose their `skip`. */
export function countZeros<E extends CountedEntry>(entries: readonly E[], counting: Counting): Counted<E> {
  const measures: Measure[] = [];
  const places = new Map<Node | string, number>();
  const counted = new Map<Step, SpecialBuilt>();
  const measureOf = new Map<Node, number>();
  const kernels: CountingKernels = new WeakMap();
  /** What a node is called in all entries, if it is kept between runs. */
  const key = (n: Node): Node | string => (rowOf(n).supply === "param" ? storageKey("param", n.attrs.name) : n);

  /** The step that stores a tensor, and the entry it is of. */
  const makers = new Map<Node | string, { readonly step: Step; readonly node: Node; readonly entry: string }>();
  for (const {
    name,
    scheduled: { steps },
    results,
  } of entries) {
    const kept = new Map(results.filter((r) => r.role === "param").map((r) => [r.node, storageKey("param", r.name)]));
    for (const step of steps)
      for (const n of step.roots) {
        makers.set(n, { step, node: n, entry: name });
        const as = kept.get(n);
        if (as !== undefined) makers.set(as, { step, node: n, entry: name });
      }
  }

  const measure = (n: Node): number | undefined => {
    const known = places.get(key(n));
    if (known !== undefined) return known;
    const maker = makers.get(key(n));
    if (maker?.step.built.length !== 1) return undefined;
    const built = counted.get(maker.step) ?? maker.step.built[0];
    const with_ = countIn(built, maker.node, counting, kernels);
    if (!with_) return undefined;
    counted.set(maker.step, with_.built);
    const flag = node("iota", [], { axis: 0 }, { dtype: "i32", shape: [1] }, n.origin);
    measures.push({ counts: with_.counts, flag, of: maker.node, entry: maker.entry });
    const at = measures.length - 1;
    places.set(n, at);
    places.set(key(n), at);
    places.set(maker.node, at);
    return at;
  };

  for (const { scheduled } of entries)
    for (const step of scheduled.steps) {
      const [built] = step.built;
      if (built?.kernel.kind !== "product" || !built.kernel.skip) continue;
      const { kernel } = built;
      const side = kernel.values[kernel.skip!.side === "lhs" ? kernel.lhs : kernel.rhs];
      const at = side.kind === "load" && side.guard === undefined ? measure(built.tensors[side.operand]) : undefined;
      if (at !== undefined) measureOf.set(step.roots[0], at);
    }
  const replaced = (step: Step): Step => {
    const built = counted.get(step) ?? step.built[0];
    if (!built) return step;
    const plain = built.kernel.kind === "product" && built.kernel.skip && !measureOf.has(step.roots[0]);
    if (!counted.has(step) && !plain) return step;
    return { ...step, built: [plain ? { ...built, kernel: dense(built.kernel as ProductKernel) } : built] };
  };
  return {
    measures,
    measureOf,
    entries: entries.map((e) => ({ ...e, scheduled: { ...e.scheduled, steps: e.scheduled.steps.map(replaced) } })),
  };
}

/** The kernel that multiplies everything. */
export function dense(kernel: ProductKernel): ProductKernel {
  const known = denser.get(kernel);
  if (known) return known;
  const { skip: _, ...rest } = kernel;
  denser.set(kernel, rest);
  return rest;
}
const denser = new WeakMap<ProductKernel, ProductKernel>();

/** A kernel that counts what it stores, and how many numbers it counts into. */
interface CountingKernel {
  readonly kernel: LoopKernel | ProductKernel;
  readonly size: number;
}
/** By kernel and the operand counted, once: steps of equal structure have the same kernel. */
type CountingKernels = WeakMap<LoopLanguage, Map<number, CountingKernel>>;

/** The kernel that counts what it stores of `n` as well, and where to. */
function countIn(
  built: SpecialBuilt,
  n: Node,
  counting: Counting,
  known: CountingKernels,
): { built: SpecialBuilt; counts: Node } | undefined {
  const { tensors, kernel } = built;
  if (kernel.kind !== "loop" && kernel.kind !== "product") return undefined;
  const of = tensors.findIndex((t, i) => t === n && kernel.operands[i].access !== "read");
  if (of < 0 || n.type.dtype !== "f32" || kernel.operands.length >= counting.operands) return undefined;
  const found = known.get(kernel) ?? new Map<number, CountingKernel>();
  known.set(kernel, found);
  const made = found.get(of) ?? countingKernel(kernel, of, counting);
  found.set(of, made);
  const counts = node("iota", [], { axis: 0 }, { dtype: "i32", shape: [made.size] }, n.origin);
  return { built: { ...built, kernel: made.kernel, tensors: [...tensors, counts] }, counts };
}

function countingKernel(kernel: LoopKernel | ProductKernel, of: number, { slots }: Counting): CountingKernel {
  const into = kernel.operands.length;
  const count: Count = { of, into };
  const withCount = (plain: LoopKernel | ProductKernel, size: number) => {
    const operand: Operand = { name: `count${into}`, dtype: "i32", count: size, access: "write" };
    return { ...plain, operands: [...plain.operands, operand], counts: [...(plain.counts ?? []), count] };
  };
  const size = slots(withCount(kernel, 1));
  if (kernel.kind === "product" && kernel.skip) {
    // the two kernels of a product that may skip count into the same places: where they do not have as many units, it multiplies everything
    const all = dense(kernel);
    const places = slots(withCount(all, 1));
    if (places !== size) return { kernel: withCount(all, places), size: places };
  }
  return { kernel: withCount(kernel, size), size };
}

/** Elements of what is counted. */
export const countedElements = (m: Measure): number => sizes(m.of).reduce((a, b) => a * b, 1);
