import { describe, expect, test } from "@jest/globals";
import { drawInto, keyOf, threefry } from "../../src/ir/random.ts";

const hex = (words: readonly number[]) => words.map((w) => (w >>> 0).toString(16).padStart(8, "0"));
const drawn = (kind: "uniform" | "normal" | "bits", n: number, key = keyOf(7, "a"), step = 0) => {
  const out = new Float64Array(n);
  drawInto(out, kind, key, step);
  return out;
};

describe("threefry", () => {
  // Known answers of the authors' Random123 library for threefry2x32 with 20 rounds.
  test.each([
    [
      [0, 0],
      [0, 0],
      ["6b200159", "99ba4efe"],
    ],
    [
      [-1, -1],
      [-1, -1],
      ["1cb996fc", "bb002be7"],
    ],
    [
      [0x13198a2e, 0x03707344],
      [0x243f6a88, 0x85a308d3],
      ["c4923a9c", "483df7a0"],
    ],
  ])("key %p, counter %p", (key, counter, want) => {
    expect(hex(threefry(key[0], key[1], counter[0], counter[1]))).toEqual(want);
  });
});

describe("draws", () => {
  test("uniform: in [0, 1), exact in f32, of the right mean and spread", () => {
    const u = drawn("uniform", 20000);
    expect(u.every((x) => x >= 0 && x < 1 && Math.fround(x) === x)).toBe(true);
    const mean = u.reduce((s, x) => s + x, 0) / u.length;
    expect(Math.abs(mean - 0.5)).toBeLessThan(4 / Math.sqrt(12 * u.length));
  });
  test("normal: mean 0, variance 1, a tenth beyond 1.6449", () => {
    const z = drawn("normal", 20000);
    const mean = z.reduce((s, x) => s + x, 0) / z.length;
    const variance = z.reduce((s, x) => s + x * x, 0) / z.length;
    expect(Math.abs(mean)).toBeLessThan(4 / Math.sqrt(z.length));
    expect(Math.abs(variance - 1)).toBeLessThan(4 * Math.sqrt(2 / z.length));
    expect(Math.abs(z.filter((x) => Math.abs(x) > 1.6449).length / z.length - 0.1)).toBeLessThan(0.01);
  });
  test("an element depends on key, step and its index alone", () => {
    expect([...drawn("bits", 10)]).toEqual([...drawn("bits", 20).slice(0, 10)]);
    expect([...drawn("bits", 4)]).not.toEqual([...drawn("bits", 4, keyOf(7, "a"), 1)]);
    expect([...drawn("bits", 4)]).not.toEqual([...drawn("bits", 4, keyOf(7, "b"))]);
  });
});

describe("keys", () => {
  test("differ by seed, by parts and by where parts end", () => {
    const keys = [
      keyOf(0),
      keyOf(1),
      keyOf(2 ** 32),
      keyOf(0, ""),
      keyOf(0, "ab", "c"),
      keyOf(0, "a", "bc"),
      keyOf(0, "abc"),
      keyOf(0, "1"),
      keyOf(0, 1),
    ];
    expect(new Set(keys.map(String)).size).toBe(keys.length);
    expect(keyOf(3, "h.0", 2)).toEqual(keyOf(3, "h.0", 2));
  });
  test("do not change from version to version: checkpoints resume by them", () => {
    expect(keyOf(7, "transformer.h.0.attn", 1)).toMatchInlineSnapshot(`
[
  -1896551182,
  1975728342,
]
`);
  });
});
