/** A product with its sides exchanged. */
import { axisIndex, type Index, substitute } from "./index.ts";
import type { ProductKernel, Value } from "./kernel.ts";

/** The same results: rows are columns, and each factor stands where the other did. */
export function swapSides(kernel: ProductKernel): ProductKernel {
  const [batch, m, n, k, ...rest] = kernel.axes;
  const axes = [batch, n, m, k, ...rest] as const;
  const moved = (i: Index): Index => substitute(i, (a) => axisIndex(a === 1 ? 2 : a === 2 ? 1 : a), axes);
  const { skip, more } = kernel;
  return {
    ...kernel,
    axes,
    values: kernel.values.map((v): Value => (v.kind === "index" || v.kind === "load" ? { ...v, index: moved(v.index) } : v)),
    lhs: kernel.rhs,
    rhs: kernel.lhs,
    ...(more && { more: more.map(({ lhs, rhs }) => ({ lhs: rhs, rhs: lhs })) }),
    stores: kernel.stores.map((s) => ({ ...s, index: moved(s.index) })),
    ...(skip && { skip: { ...skip, side: skip.side === "lhs" ? "rhs" : "lhs" } }),
  };
}
