/** Schedules of products on a processor with vectors: as data, from the kernel's sizes and the machine's width. */
import type { ProductKernel } from "../kernels/kernel.ts";
import { LONG } from "../kernels/stretches.ts";
import { type Blocks, ceil, depthOf } from "../lanes/product.ts";

/** A processor as the printer sees it. */
export interface Machine {
  /** Lanes of f32 in a vector. */
  readonly lanes: number;
  /** Vector registers. */
  readonly registers: number;
}

export interface ProductSchedule extends Blocks {
  /** Lanes of this kernel's vectors. */
  readonly width: number;
  /** Rows and vectors of a tile: so many accumulators. */
  readonly tileRows: number;
  readonly tileVectors: number;
}

/** Bytes of a packed block of B that stay in a core's second cache, and of a panel that is packed whole. */
const BLOCK = 2 ** 19;
const PANEL = 2 ** 21;
/** Of a sum so much at a time: what a tile reads of a panel stays in the first cache. */
const DEPTH = 384;

/** Rows by vectors, best first: as many accumulators as there is room for beside a vector of each side. */
function tileOf(m: number, n: number, { lanes, registers }: Machine): { width: number; rows: number; vectors: number } {
  let best = { width: lanes, rows: 1, vectors: 1 };
  let least = Number.POSITIVE_INFINITY;
  for (let width = lanes; width >= 4; width /= 2)
    for (let most = 1; most <= 4; most++) {
      const vectors = Math.ceil(Math.ceil(n / width) / Math.ceil(n / width / most));
      const room = Math.min(12, Math.floor((registers - vectors - 1) / vectors));
      const rows = Math.ceil(m / Math.ceil(m / room));
      // per place of the sum: multiply-adds, two at a time, and loads, two at a time
      const iterations = Math.max(8, rows * vectors, rows + vectors);
      const cost = iterations * Math.ceil(m / rows) * Math.ceil(n / (vectors * width));
      if (cost < least * 0.999) {
        least = cost;
        best = { width, rows, vectors };
      }
    }
  return best;
}

export function productSchedule(kernel: ProductKernel, machine: Machine): ProductSchedule {
  const [batch, m, n, k] = kernel.axes;
  const tile = tileOf(m, n, machine);
  const [tileRows, tileColumns] = [tile.rows, tile.vectors * tile.width];
  const all = depthOf(kernel);
  const pieces = k > DEPTH && tileColumns * all * 4 > PANEL;
  const held = pieces ? all - k + DEPTH : all;
  let rows = tileRows * Math.max(1, Math.min(Math.ceil(m / tileRows), Math.floor(96 / tileRows)));
  let columns = tileColumns * Math.max(1, Math.min(Math.ceil(n / tileColumns), Math.floor(BLOCK / (4 * held * tileColumns))));
  const units = () => batch * Math.ceil(m / rows) * Math.ceil(n / columns);
  const halved = (size: number, by: number) => ceil(Math.ceil(size / 2), by);
  while (units() < 8 && columns > tileColumns && columns > 64) columns = halved(columns, tileColumns);
  while (units() < 8 && rows > tileRows && rows > 12) rows = halved(rows, tileRows);
  const even = ceil(Math.ceil(k / Math.ceil(k / DEPTH)), pieces ? LONG : machine.lanes);
  return { width: tile.width, tileRows, tileVectors: tile.vectors, rows, columns, depth: k <= DEPTH ? k : even, pieces };
}
