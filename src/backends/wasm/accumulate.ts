/** Reductions in four lanes: how they begin, take an element more in each lane, and end across the lanes. */
import type { Reduction } from "../kernels/kernel.ts";
import type { Accumulator } from "../lanes/loop.ts";
import { type Code, get, splatF, splatI } from "./text.ts";
import type { Printer } from "./values.ts";

function identity(r: Reduction): string {
  const f = r.dtype === "f32";
  switch (r.fn) {
    case "sum":
      return f ? splatF(0) : splatI(0);
    case "min":
      return f ? splatF(Number.POSITIVE_INFINITY) : splatI(0x7fffffff);
    default:
      return f ? splatF(Number.NEGATIVE_INFINITY) : splatI(-0x80000000);
  }
}
export function start(code: Code, reductions: readonly Reduction[]): Accumulator[] {
  return reductions.map((reduction) => {
    const total = code.let("v128", "acc", identity(reduction));
    // comparing without NaN is one instruction, with NaN eight
    if (ordered(reduction)) return { reduction, total, unordered: code.let("v128", "nan", splatI(0)) };
    return reduction.fn === "argmax" ? { reduction, total, position: code.let("v128", "pos", splatI(0)) } : { reduction, total };
  });
}
const ordered = (r: Reduction): boolean => r.dtype === "f32" && (r.fn === "max" || r.fn === "min");
/** The total, in which lanes that saw a NaN are NaN. */
export const totalOf = ({ total, unordered }: Accumulator): string =>
  unordered ? `(v128.or ${get(total)} ${get(unordered)})` : get(total);
export const merged = (r: Reduction, a: string, b: string): string => {
  const f = r.dtype === "f32";
  if (r.fn === "sum") return f ? `(f32x4.add ${a} ${b})` : `(i32x4.add ${a} ${b})`;
  return f ? `(f32x4.${r.fn} ${a} ${b})` : `(i32x4.${r.fn}_s ${a} ${b})`;
};
export function accumulate(p: Printer, code: Code, acc: Accumulator, position: () => string): void {
  const { reduction, total } = acc;
  const value = p.filled(reduction.value, identity(reduction));
  if (acc.unordered) {
    const v = get(code.let("v128", "x", value));
    code.set(total, `(f32x4.p${reduction.fn} ${get(total)} ${v})`);
    code.set(acc.unordered, `(v128.or ${get(acc.unordered)} (f32x4.ne ${v} ${v}))`);
    return;
  }
  if (acc.position === undefined) {
    code.set(total, merged(reduction, get(total), value));
    return;
  }
  const v = get(code.let("v128", "x", value));
  const better = get(
    code.let("v128", "m", reduction.dtype === "f32" ? `(f32x4.gt ${v} ${get(total)})` : `(i32x4.gt_s ${v} ${get(total)})`),
  );
  code.set(total, `(v128.bitselect ${v} ${get(total)} ${better})`);
  code.set(acc.position, `(v128.bitselect ${position()} ${get(acc.position)} ${better})`);
}
/** The result over the four lanes, in all lanes. Lanes are paired (0, 2), (1, 3), then the pairs. */
export function acrossLanes(code: Code, acc: Accumulator): string {
  const { reduction: r, total } = acc;
  if (acc.position === undefined) {
    if (acc.unordered) code.set(total, totalOf(acc));
    const swap = (v: string, lanes: readonly number[]) =>
      `(i8x16.shuffle ${lanes.flatMap((l) => [0, 1, 2, 3].map((b) => 4 * l + b)).join(" ")} ${v} ${v})`;
    const pairs = code.let("v128", "r", merged(r, get(total), swap(get(total), [2, 3, 0, 1])));
    return code.let("v128", "r", merged(r, get(pairs), swap(get(pairs), [1, 0, 3, 2])));
  }
  const f = r.dtype === "f32";
  const lane = (v: string, l: number) => `(${f ? "f32x4" : "i32x4"}.extract_lane ${l} ${get(v)})`;
  const where = (l: number) => `(i32x4.extract_lane ${l} ${get(acc.position!)})`;
  const best = code.let(f ? "f32" : "i32", "best", lane(total, 0));
  const at = code.let("i32", "at", where(0));
  for (let l = 1; l < 4; l++) {
    const greater = f ? `(f32.gt ${lane(total, l)} ${get(best)})` : `(i32.gt_s ${lane(total, l)} ${get(best)})`;
    const tie = `(i32.and (${f ? "f32" : "i32"}.eq ${lane(total, l)} ${get(best)}) (i32.lt_s ${where(l)} ${get(at)}))`;
    code.if(`(i32.or ${greater} ${tie})`, () => {
      code.set(best, lane(total, l));
      code.set(at, where(l));
    });
  }
  return code.let("v128", "r", `(i32x4.splat ${get(at)})`);
}
