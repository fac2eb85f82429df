/**
 * How a kernel's work is cut among invocations, by kind of kernel, shape and device class. The numbers come from `peers.md`-style measurements: on a
 * software adapter workgroup memory and barriers cost a factor, on a GPU they pay; every stack's common product is a 32×32 tile of 8×8 threads. No
 * number is in a template. Tests override schedules.
 */

import type { WebGPULimits } from "../../ground/limits.ts";
import { strideOf } from "../kernels/index.ts";
import type { LoopKernel, ProductKernel, SelectKernel } from "../kernels/kernel.ts";

/** `lanes` rows (elements, for a map) a workgroup; `team` invocations share a row and meet in workgroup memory, 1: none do. */
export interface LoopSchedule {
  readonly kind: "loop";
  readonly lanes: number;
  readonly team: number;
  /** The parallel axis along which neighbouring invocations lie. */
  readonly fastest: number;
}
/** Each invocation keeps `tile` outputs (rows × columns) in registers and reads its operands from memory; `slices` invocations share the sum. */
export interface RegisterSchedule {
  readonly kind: "registers";
  readonly tile: readonly [number, number];
  /** Results that need at most this many values are written once an output; others once, in a loop over the tile. */
  readonly unrolled: number;
  readonly threads: number;
  readonly slices: number;
}
/** A workgroup of `threads` (down × across), each with `tile` outputs; operands pass through workgroup memory, `depth` of the sum at a time. */
export interface TiledSchedule {
  readonly kind: "tiled";
  readonly tile: readonly [number, number];
  readonly unrolled: number;
  readonly threads: readonly [number, number];
  readonly depth: number;
}
/** One workgroup of `team` invocations. */
export interface SelectSchedule {
  readonly kind: "select";
  readonly team: number;
}
export type ProductSchedule = RegisterSchedule | TiledSchedule;

const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);
/** The least power of two that is at least n, at most `most`. */
function powerOfTwo(n: number, most: number): number {
  let p = 1;
  while (p < n && p < most) p *= 2;
  return p;
}

/** How many loads and stores of the kernel move by one element along each axis. */
function unitStrides(kernel: LoopKernel): number[] {
  const indices = kernel.values.flatMap((v) => (v.kind === "load" ? [v.index] : []));
  for (const s of kernel.stages) for (const store of s.stores) indices.push(store.index);
  return kernel.axes.map((_, axis) => indices.filter((i) => strideOf(i, axis) === 1).length);
}

/** Rows that many elements long are shared by a team on a GPU. */
const TEAM_ROW = 64;

export function loopSchedule(kernel: LoopKernel, limits: WebGPULimits): LoopSchedule {
  const count = kernel.axes.length - kernel.row;
  const rows = product(kernel.axes.slice(0, count));
  const length = product(kernel.axes.slice(count));
  const strides = unitStrides(kernel);
  let fastest = Math.max(0, count - 1);
  for (let a = 0; a < count; a++) if (kernel.axes[a] > 1 && strides[a] > strides[fastest]) fastest = a;
  const lanes = Math.min(64, limits.invocations);
  if (limits.deviceClass === "software" || length < TEAM_ROW) return { kind: "loop", lanes, team: 1, fastest };
  const along = Math.max(...strides.slice(count));
  const across = count > 0 ? strides[fastest] : 0;
  // Neighbours in memory are neighbouring rows: as many of them as fit lie side by side, and a smaller team walks down.
  if (across > along) {
    if (rows >= 16384) return { kind: "loop", lanes, team: 1, fastest };
    const side = powerOfTwo(Math.min(rows, 16), 16);
    return { kind: "loop", lanes: side, team: powerOfTwo(length / 4, Math.floor(limits.invocations / side)), fastest };
  }
  const most = rows < 64 && length >= 4096 ? limits.invocations : Math.min(64, limits.invocations);
  return { kind: "loop", lanes: 1, team: powerOfTwo(length / 2, most), fastest };
}

/** A sum is shared by several invocations where there are fewer workgroups than this and the sum is long: a GPU would idle otherwise. */
const FEW_WORKGROUPS = 128;
const LONG_SUM = 256;
/** Invocations along each side of a large tile. */
const LARGE_TILE = 16;

export function productSchedule(kernel: ProductKernel, limits: WebGPULimits): ProductSchedule {
  const [batch, m, n, k] = kernel.axes;
  const tile = [Math.min(4, m), Math.min(4, n)] as const;
  const threads = Math.min(64, limits.invocations);
  // Software adapters compile every statement slowly, and gain nothing from constant indices.
  if (limits.deviceClass === "software") return { kind: "registers", tile, unrolled: 0, threads, slices: 1 };
  const unrolled = 12;
  const outputs = batch * Math.ceil(m / tile[0]) * Math.ceil(n / tile[1]);
  const groups = Math.ceil(outputs / threads);
  if (groups < FEW_WORKGROUPS && k >= LONG_SUM && (Math.min(m, n) <= 64 || groups < 16)) {
    const slices = powerOfTwo(Math.min(k / 32, FEW_WORKGROUPS / groups), Math.min(16, threads));
    return { kind: "registers", tile, unrolled, threads, slices };
  }
  if (Math.min(m, n) < 8 || k < 8) return { kind: "registers", tile, unrolled, threads, slices: 1 };
  // A tile of 64×64 reads each operand half as often as one of 32×32; where it does not fill, more and smaller workgroups do better.
  const team = limits.invocations >= LARGE_TILE ** 2 && Math.min(m, n) >= LARGE_TILE * 4 ? LARGE_TILE ** 2 : threads;
  const across = powerOfTwo(Math.ceil(n / tile[1]), Math.floor(Math.sqrt(team)));
  const down = powerOfTwo(Math.ceil(m / tile[0]), Math.floor(team / across));
  return { kind: "tiled", tile, unrolled, threads: [down, across], depth: k >= 16 ? 16 : 8 };
}

export function selectSchedule(kernel: SelectKernel, limits: WebGPULimits): SelectSchedule {
  return { kind: "select", team: limits.deviceClass === "software" ? 1 : powerOfTwo(kernel.axes[0] / 4, limits.invocations) };
}

/** Schedules a test forces, by kind of kernel. */
export interface Forced {
  readonly loop?: (kernel: LoopKernel) => LoopSchedule;
  readonly product?: (kernel: ProductKernel) => ProductSchedule;
  readonly select?: (kernel: SelectKernel) => SelectSchedule;
}
