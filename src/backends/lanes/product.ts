/** What printers for processors with vectors share of products: the blocks that units of work cover, and what of them is packed. */
import { strideOf } from "../kernels/index.ts";
import { type ProductKernel, type Sum, sumsOf } from "../kernels/kernel.ts";

/** How a product is cut; rows and columns are multiples of a tile's. */
export interface Blocks {
  /** Rows and columns of the block that one unit of work covers. */
  readonly rows: number;
  readonly columns: number;
  /** How much of the first sum is worked off at a time: so much of a panel stays in the first cache. The order of additions does not depend on it. */
  readonly depth: number;
  /** Whether no more of the first sum than that is packed at a time. */
  readonly pieces: boolean;
}

export const ceil = (n: number, by: number): number => Math.ceil(n / by) * by;

/** How many products one result adds up. */
export const depthOf = (kernel: ProductKernel): number => sumsOf(kernel).reduce((total, { size }) => total + size, 0);

/** The stride along a sum, in elements, with which the rows of A are read in place; `undefined` where they are not. */
export function strideInPlace(kernel: ProductKernel, { lhs, axis, size }: Sum): number | undefined {
  const value = kernel.values[lhs];
  if (value.kind !== "load" || value.guard !== undefined) return undefined;
  const stride = strideOf(value.index, axis);
  return stride === 1 || size === 1 ? stride : undefined;
}

/** The blocks of a kernel, and its sums as they lie where no more than a piece of the first is packed: the others lie behind that. */
export function blocksOf(kernel: ProductKernel, { rows, columns, depth, pieces }: Blocks) {
  const [batch, m, n, k] = kernel.axes;
  const less = pieces ? k - depth : 0;
  const rowBlocks = Math.ceil(m / rows);
  const columnBlocks = Math.ceil(n / columns);
  return {
    rowBlocks,
    columnBlocks,
    units: batch * rowBlocks * columnBlocks,
    sums: sumsOf(kernel).map((sum) => ({ ...sum, from: Math.max(0, sum.from - less) })),
    /** Places of all sums that are packed. */
    all: depthOf(kernel) - less,
  };
}
