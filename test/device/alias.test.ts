/** Where a kernel may write over what it reads. */
import { expect, test } from "@jest/globals";
import { mayOverwrite } from "../../src/backends/alias.ts";
import { axisIndex } from "../../src/backends/kernels/index.ts";
import type { LoopLanguage } from "../../src/backends/kernels/kernel.ts";

/** out = x, element by element, as numbers of the type given. */
function copied(dtype: "f32" | "i32", count = 4): LoopLanguage {
  const index = axisIndex(0);
  return {
    kind: "loop",
    name: "copy",
    axes: [4],
    row: 0,
    operands: [
      { name: "x0", dtype: "f32", count: 4, access: "read" },
      { name: "out1", dtype, count, access: "write" },
    ],
    values: [{ kind: "load", dtype: "f32", operand: 0, index }],
    stages: [{ over: "row", reductions: [], stores: [{ operand: 1, index, value: 0 }] }],
  };
}

test("a result takes its operand's place where type and size are the same", () => {
  expect(mayOverwrite(copied("f32"), 0, 1)).toBe(true);
  expect(mayOverwrite(copied("i32"), 0, 1)).toBe(false);
  expect(mayOverwrite(copied("f32", 8), 0, 1)).toBe(false);
});
