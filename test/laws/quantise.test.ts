/** Weights in few bits: codes, what they stand for, and the levels that the library gives. */
import { describe, expect, test } from "@jest/globals";
import type { Project } from "../../src/compiler/project.ts";
import { tensor } from "../../src/ir/ops/index.ts";
import { codeBits, quantise } from "../../src/ir/ops/quantise.ts";
import { drawInto, keyOf } from "../../src/ir/random.ts";
import { ValueStore } from "../../src/train/values.ts";
import { compileText } from "../support/compile.ts";

/** bitsandbytes' table of 4-bit NormalFloat (functional.py). */
const NF4 = [
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495,
  0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
  0.7229568362236023, 1.0,
];
/** bitsandbytes' dynamic 8-bit numbers, made as `create_dynamic_map()` makes them. */
function dynamicMap(): number[] {
  const out: number[] = [0, 1];
  for (let i = 0; i < 7; i++) {
    const items = 2 ** i + 1;
    const bounds = Array.from({ length: items }, (_, k) => 0.1 + (0.9 * k) / (items - 1));
    for (let k = 0; k + 1 < items; k++) {
      const mean = 10 ** (i - 6) * ((bounds[k] + bounds[k + 1]) / 2);
      out.push(mean, -mean);
    }
  }
  return out.sort((a, b) => a - b);
}
const list = (values: ArrayLike<number>) => tensor("f32", [values.length], Float64Array.from(values));
const normal = (n: number, seed: number): number[] => {
  const out = new Float64Array(n);
  drawInto(out, "normal", keyOf(seed, "quantise"), 0);
  return Array.from(out, Math.fround);
};

describe("codes", () => {
  test("a level is its own code, side by side in words, the first in the lowest bits", () => {
    const words = quantise(list(NF4.map((l) => 3 * l)), list([3]), list(NF4), 16).data;
    expect([...words].map((w) => (w >>> 0).toString(16))).toEqual(["76543210", "fedcba98"]);
  });
  test("the nearest level, half-way the lower one; a block of zeros is zero", () => {
    const of = (x: number[], scale: number[], block: number) => quantise(list(x), list(scale), list(NF4), block).data[0] >>> 0;
    expect(of([1, 0.03, 0.05, -0.6, 0, 0.9], [1], 6)).toBe(0xf7287f);
    expect(of([0, 0, 0], [0], 3)).toBe(0x777);
    expect(of([(NF4[3] + NF4[4]) / 2], [1], 1)).toBe(3);
  });
  test("bits for a number of levels: a code lies in one word", () => {
    expect([2, 3, 4, 5, 16, 17, 255, 256, 257].map(codeBits)).toEqual([1, 2, 2, 4, 4, 8, 8, 8, 16]);
  });
});

function project(text: string): Project {
  const made = compileText(text);
  expect(made.problems.map((p) => `${p.code} ${p.message}`)).toEqual([]);
  return made;
}

/** What an expression of the library over `w`, a parameter of shape [rows, columns], comes to; the start of a parameter is computed as it stands. */
function value(expression: string, w: readonly number[], shape: readonly [number, number], type: string): number[] {
  const p = project(`
    import { absmax, scales8, rounded, nf4, nf4_levels, int8_levels, dynamic8 } from "std/methods/quantise"
    import { mean_over } from "std/nn"
    module Held() { param w: f32[${shape}] = 0  param v: ${type} = ${expression}  forward(x: f32[B]) -> y: f32[] { y = sum(x) + sum(v) + sum(w) } }
    module loss(m: Held) { forward(x: f32[B]) -> loss: f32[] { loss = m(x) } }
    model held = Held()
    train { objective = loss(held) data = text("x") steps = 1 sequence = 1 }`);
  const store = new ValueStore(p, () => undefined);
  store.setParam("held.w", Float32Array.from(w));
  return Array.from(store.param("held.v"));
}

describe("the library's levels", () => {
  const far = (a: readonly number[], b: readonly number[]) => Math.max(...a.map((x, i) => Math.abs(x - b[i])));
  // each level times a scale, in a block of its own: comes back as it is only where it is a level
  const keeps = (levels: string, wanted: readonly number[]) => {
    const w = wanted.map((l) => 2 * l);
    const got = value(`rounded(w, ${levels}, ${w.length})`, w, [1, w.length], `f32[1, ${w.length}]`);
    return Math.max(...got.map((x, i) => Math.abs(x - w[i]) / (Math.abs(w[i]) || 1)));
  };
  test("are bitsandbytes' NF4 and dynamic numbers, and 255 equal steps", () => {
    expect(dynamicMap()).toHaveLength(256);
    expect(keeps("nf4_levels", NF4)).toBeLessThan(3e-7);
    expect(keeps("dynamic8", dynamicMap())).toBeLessThan(3e-7);
    expect(
      keeps(
        "int8_levels",
        Array.from({ length: 255 }, (_, i) => (i - 127) / 127),
      ),
    ).toBeLessThan(1e-7);
  });
  test("NF4 of normal numbers is off by the known share of their size; half the widest step at most", () => {
    const w = normal(64 * 65, 3);
    const got = value("nf4(w)", w, [65, 64], "f32[65, 64]");
    const error = Math.sqrt(w.reduce((s, x, i) => s + (x - got[i]) ** 2, 0) / w.reduce((s, x) => s + x * x, 0));
    // QLoRA's table: about 0.09 to 0.1 of the norm for normal weights with blocks of 64
    expect(error).toBeGreaterThan(0.08);
    expect(error).toBeLessThan(0.11);
    for (let row = 0; row < 65; row++) {
      const of = w.slice(64 * row, 64 * (row + 1));
      const most = Math.max(...of.map(Math.abs));
      for (const [i, x] of of.entries()) expect(Math.abs(x - got[64 * row + i])).toBeLessThanOrEqual(most * 0.152);
    }
  });
  test("double quantisation moves scales by little, int8 weights by less than half a step", () => {
    const w = normal(300 * 64, 4);
    const [plain, double] = [value("absmax(w, 64)", w, [300, 64], "f32[300]"), value("scales8(absmax(w, 64))", w, [300, 64], "f32[300]")];
    const spread = Math.max(...plain) - Math.min(...plain);
    expect(far(plain, double)).toBeLessThan(0.01 * spread);
    expect(far(plain, double)).toBeGreaterThan(0);
    const small = normal(5 * 40, 5);
    const got = value("rounded(w, int8_levels, 40)", small, [5, 40], "f32[5, 40]");
    for (let row = 0; row < 5; row++) {
      const of = small.slice(40 * row, 40 * (row + 1));
      const step = Math.max(...of.map(Math.abs)) / 127;
      for (const [i, x] of of.entries()) expect(Math.abs(x - got[40 * row + i])).toBeLessThanOrEqual(step * 0.5001);
    }
  });
  test("a last block that is short has a scale of its own", () => {
    const w = [1, 2, 3, 4, 5, 6, 7];
    expect(value("absmax(w, 3)", w, [1, 7], "f32[3]")).toEqual([3, 6, 7]);
  });
});
