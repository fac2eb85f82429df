/** What printers for processors with vectors decide of loop kernels before they print them. */
import { isDear } from "../../ir/ops/index.ts";
import { type Index, strideOf } from "../kernels/index.ts";
import { dependence, isBitFunction, type LoopKernel, needed, rootsOf, type ScalarFunction } from "../kernels/kernel.ts";

/** The axis whose elements fill the lanes: the one that makes most loads and stores contiguous. */
export function laneAxis(kernel: LoopKernel, lanes: number): number {
  const first = kernel.axes.length - kernel.row;
  const indices: Index[] = [];
  for (const v of kernel.values) if (v.kind === "load") indices.push(v.index);
  for (const stage of kernel.stages) for (const s of stage.stores) indices.push(s.index, s.index);
  let best = -1;
  let least = Number.POSITIVE_INFINITY;
  for (let axis = kernel.axes.length - 1; axis >= 0; axis--) {
    // Inside a row only the last axis can hold the lanes; a kernel with several reduced axes has them merged where they are contiguous.
    if (axis >= first && axis !== kernel.axes.length - 1) continue;
    const size = kernel.axes[axis];
    let cost = 1;
    for (const i of indices) {
      const stride = strideOf(i, axis);
      cost += stride === 0 ? 0.5 : stride === 1 ? 1 : 4;
    }
    // Lanes along a row end in a sum over the lanes.
    const ends = axis >= first ? 4 / Math.ceil(size / lanes) : 0;
    cost = (cost * Math.ceil(size / lanes)) / size + ends / 4;
    if (cost < least) {
      least = cost;
      best = axis;
    }
  }
  return best;
}

/** Functions that are worth keeping for how they are spelt here: remainders lane by lane, and chains of random bits. */
const LONG: ReadonlySet<ScalarFunction> = new Set(["mod", "xor"]);
/** Whether a value takes long to compute. */
export const isLong = (kernel: LoopKernel, v: number): boolean => {
  const value = kernel.values[v];
  return value.kind === "call" && (LONG.has(value.fn) || (!isBitFunction(value.fn) && isDear(value.fn)));
};

/** Dear values that several passes over the row need, each with a slot of the worker's scratch. */
export function heldValues(kernel: LoopKernel): Map<number, number> {
  const out = new Map<number, number>();
  if (kernel.row !== 1) return out;
  const deps = dependence(kernel);
  const lane = kernel.axes.length - 1;
  const counts = new Map<number, number>();
  for (const stage of kernel.stages) for (const v of needed(kernel.values, rootsOf(stage))) counts.set(v, (counts.get(v) ?? 0) + 1);
  for (const [v, n] of counts) if (n > 1 && deps[v] & (1 << lane) && isLong(kernel, v)) out.set(v, 0);
  // Of a chain only the last counts: drop what is needed only to make another held value.
  for (const v of [...out.keys()]) {
    const others = new Set([...out.keys()].filter((u) => u !== v));
    const stages = kernel.stages.filter((s) => needed(kernel.values, rootsOf(s), others).includes(v)).length;
    if (stages < 2 && others.size) out.delete(v);
  }
  let slot = 0;
  for (const v of out.keys()) out.set(v, slot++);
  return out;
}
