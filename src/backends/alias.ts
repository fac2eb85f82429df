/** Whether a kernel may write a result over one of its operands, and the kernel that does. */
import { keyOf } from "./kernels/index.ts";
import { type LoopLanguage, needed, type Operand, rootsOf, type Store, sumsOf, type Value } from "./kernels/kernel.ts";

/** What follows from a kernel and two of its operands, once: steps of equal structure have the same kernel. */
class PerKernel<T> {
  private readonly known = new WeakMap<LoopLanguage, Map<string, T>>();
  constructor(private readonly make: (kernel: LoopLanguage, operand: number, out: number) => T) {}
  of(kernel: LoopLanguage, operand: number, out: number): T {
    const found = this.known.get(kernel) ?? new Map<string, T>();
    this.known.set(kernel, found);
    const key = `${operand} ${out}`;
    const known = found.get(key);
    if (known !== undefined) return known;
    const made = this.make(kernel, operand, out);
    found.set(key, made);
    return made;
  }
}

/** Every store of `operand`, with its stage (0 where there are no stages). */
function storesOf(kernel: LoopLanguage, operand: number): { store: Store; stage: number }[] {
  if (kernel.kind === "loop")
    return kernel.stages.flatMap((s, stage) => s.stores.filter((x) => x.operand === operand).map((store) => ({ store, stage })));
  if (kernel.kind === "product") return kernel.stores.filter((x) => x.operand === operand).map((store) => ({ store, stage: 0 }));
  return [];
}

/**
 * Whether `out` may lie where `operand` lies: both hold the same type, all loads are of the element about to be stored, and none comes in a later pass than the store.
 */
export const mayOverwrite = (kernel: LoopLanguage, operand: number, out: number): boolean => overwriting.of(kernel, operand, out);
const overwriting = new PerKernel(canOverwrite);
function canOverwrite(kernel: LoopLanguage, operand: number, out: number): boolean {
  const [from, to] = [kernel.operands[operand], kernel.operands[out]];
  // one binding has one type, also where all numbers take four bytes
  if (from.count !== to.count || from.dtype !== to.dtype || from.access !== "read") return false;
  const stores = storesOf(kernel, out);
  if (stores.length !== 1) return false;
  const [{ store, stage }] = stores;
  const at = keyOf(store.index);
  const loads = kernel.values.flatMap((v, i) => (v.kind === "load" && v.operand === operand ? [{ v, i }] : []));
  if (loads.some(({ v }) => v.kind !== "load" || v.guard !== undefined || keyOf(v.index) !== at)) return false;
  if (kernel.kind === "product") {
    const sides = new Set(
      needed(
        kernel.values,
        sumsOf(kernel).flatMap(({ lhs, rhs, gate }) => (gate === undefined ? [lhs, rhs] : [lhs, rhs, gate])),
      ),
    );
    return !loads.some(({ i }) => sides.has(i));
  }
  if (kernel.kind !== "loop") return false;
  const later = new Set(kernel.stages.slice(stage + 1).flatMap((s) => needed(kernel.values, rootsOf(s))));
  return !loads.some(({ i }) => later.has(i));
}

/** The kernel with `out` and `operand` as one operand (at the place of `operand`, access "both"); operands after `out` move up. */
export const merge = (kernel: LoopLanguage, operand: number, out: number): LoopLanguage => merging.of(kernel, operand, out);
const merging = new PerKernel(merged);
function merged(kernel: LoopLanguage, operand: number, out: number): LoopLanguage {
  const to = (o: number): number => {
    const target = o === out ? operand : o;
    return target > out ? target - 1 : target;
  };
  const store = (s: Store): Store => ({ ...s, operand: to(s.operand) });
  const operands = kernel.operands.map((o, i): Operand => (i === operand ? { ...o, access: "both" } : o)).filter((_, i) => i !== out);
  const values = kernel.values.map((v): Value => (v.kind === "load" ? { ...v, operand: to(v.operand) } : v));
  const counts = kernel.counts && { counts: kernel.counts.map((c) => ({ of: to(c.of), into: to(c.into) })) };
  if (kernel.kind === "loop") {
    const stages = kernel.stages.map((s) => ({ ...s, stores: s.stores.map(store) }));
    return { ...kernel, operands, values, stages, ...counts };
  }
  if (kernel.kind === "product" || kernel.kind === "scan")
    return { ...kernel, operands, values, stores: kernel.stores.map(store), ...counts };
  return { ...kernel, operands, values, out: to(kernel.out) };
}
