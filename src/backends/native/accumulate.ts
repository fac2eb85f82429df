/** Reductions in vectors of C: how they begin, take an element more in each lane, and end across the lanes. */
import type { Reduction } from "../kernels/kernel.ts";
import type { Accumulator } from "../lanes/loop.ts";
import { letterOf, literal, vectorType } from "./spelling.ts";
import { f32, i32 } from "./text.ts";
import type { Printer } from "./values.ts";

function identity(r: Reduction, width: number): string {
  const edge = r.fn === "sum" ? 0 : r.fn === "min" ? 1 : -1;
  if (r.dtype === "f32") return `splat_f${width}(${f32(edge === 0 ? 0 : edge * Number.POSITIVE_INFINITY)})`;
  return `splat_i${width}(${i32(edge === 0 ? 0 : edge > 0 ? 0x7fffffff : -0x80000000)})`;
}
export function start(p: Printer, reductions: readonly Reduction[]): Accumulator[] {
  return reductions.map((reduction) => {
    const total = p.code.variable(vectorType(reduction.dtype, p.width), "acc", identity(reduction, p.width));
    if (reduction.fn !== "argmax") return { reduction, total };
    return { reduction, total, position: p.code.variable(`vi${p.width}`, "pos", literal(0, "i32", p.width)) };
  });
}
export function merged(r: Reduction, width: number, a: string, b: string): string {
  return r.fn === "sum" ? `${a} + ${b}` : `${r.fn}_${letterOf(r.dtype)}${width}(${a}, ${b})`;
}
export function accumulate(p: Printer, { reduction, total, position }: Accumulator, at: () => string): void {
  const { code, width } = p;
  const value = p.filled(reduction.value, identity(reduction, width));
  if (position === undefined) {
    code.set(total, merged(reduction, width, total, value));
    return;
  }
  const letter = letterOf(reduction.dtype);
  const v = code.let(vectorType(reduction.dtype, width), "x", value);
  const better = code.let(`vi${width}`, "m", `${v} > ${total}`);
  code.set(total, `sel_${letter}${width}(${better}, ${v}, ${total})`);
  code.set(position, `sel_i${width}(${better}, ${at()}, ${position})`);
}
/** The result over the lanes, in all lanes. */
export function acrossLanes(p: Printer, { reduction: r, total, position }: Accumulator): string {
  const { code, width } = p;
  const letter = letterOf(r.dtype);
  if (position === undefined) {
    const name = r.fn === "sum" ? "sum" : r.fn === "max" ? "most" : "least";
    return code.let(vectorType(r.dtype, width), "r", `splat_${letter}${width}(${name}_${letter}${width}(${total}))`);
  }
  const best = code.variable(r.dtype === "f32" ? "f32" : "i32", "best", `${total}[0]`);
  const at = code.variable("i32", "at", `${position}[0]`);
  p.block(`for (int l = 1; l < ${width}; l++)`, () => {
    p.block(`if (${total}[l] > ${best} || (${total}[l] == ${best} && ${position}[l] < ${at}))`, () => {
      code.set(best, `${total}[l]`);
      code.set(at, `${position}[l]`);
    });
  });
  return code.let(`vi${width}`, "r", `splat_i${width}(${at})`);
}
