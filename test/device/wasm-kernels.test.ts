/** Kernels on WebAssembly over many shapes: products, rows, columns, scatters; and random graphs. */
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { compileProgram } from "../../src/backends/compile.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";
import { print } from "../../src/ir/print.ts";
import { gradientsOf, randomGraph, supplies } from "../support/random-graph.ts";
import { tolerances } from "../tolerances.ts";
import { difference, given, meaning, outputs, runWasm, type WasmRun } from "./support/run.ts";

const b = new Builder({ path: "kernel" });
const f = (name: string, ...shape: number[]): Node => b.input(name, { dtype: "f32", shape });

/** All results within the tolerance; the same seed gives the same numbers. */
async function check(graph: Graph, tolerance: number, how: WasmRun = {}, ints = 5): Promise<void> {
  const g = given(graph, 17, () => ints);
  const expected = meaning(graph, g);
  const seen = await runWasm(graph, g, how);
  for (const [name, t] of expected) {
    const d = difference(seen.get(name)!, t);
    if (!(d <= tolerance)) throw new Error(`${name} differs by ${d}, more than ${tolerance}\n${print(graph)}`);
  }
}

describe("products", () => {
  const sizes = [
    [1, 7, 5],
    [5, 1, 3],
    [2, 3, 1],
    [3, 5, 2],
    [4, 16, 8],
    [5, 9, 13],
    [17, 33, 31],
    [64, 64, 64],
    [66, 20, 130],
    [130, 6, 9],
    [9, 1300, 11],
    [70, 700, 20],
  ];
  for (const arithmetic of ["plain", "relaxed"] as const)
    test(`every layout, ${arithmetic}`, async () => {
      for (const [m, k, n] of sizes) {
        const nodes = [0, 1].flatMap((ta) =>
          [0, 1].map((tb) =>
            b.dot(ta ? f("at", k, m) : f("a", m, k), tb ? f("bt", n, k) : f("b", k, n), {
              lhsContract: [ta ? 0 : 1],
              rhsContract: [tb ? 1 : 0],
            }),
          ),
        );
        await check(outputs(...nodes), tolerances.sum(k), { arithmetic });
      }
    });

  test("sums so long that operands are packed a piece at a time, whose scratch is bounded", async () => {
    const long = (k: number, m = 3, n = 10) => {
      const layouts = [0, 1].flatMap((ta) =>
        [0, 1].map((tb) =>
          b.dot(ta ? f("at", k, m) : f("a", m, k), tb ? f("bt", n, k) : f("b", k, n), {
            lhsContract: [ta ? 0 : 1],
            rhsContract: [tb ? 1 : 0],
          }),
        ),
      );
      return outputs(
        ...layouts,
        b.add(
          b.dot(b.unary("exp", f("a", m, k)), f("b", k, n), { lhsContract: [1], rhsContract: [0] }),
          b.dot(f("u", m, 4), f("v", 4, n), { lhsContract: [1], rhsContract: [0] }),
        ),
      );
    };
    await check(long(33_001), tolerances.sum(33_001));
    await check(long(33_002, 5, 3), tolerances.sum(33_002));
    const scratchOf = async (k: number) => {
      const { program } = await compileProgram(
        [{ name: "run", graph: long(k, 64, 64) }],
        { target: "wasm", arithmetic: "relaxed", workers: 1 },
        true,
      );
      return program.arenas.find((a) => a.name === "scratch")!.pages[0];
    };
    const [short, wide] = [await scratchOf(16_384), await scratchOf(262_144)];
    expect(wide).toBeLessThanOrEqual(short);
    expect(wide).toBeLessThan(8 * 2 ** 20);
  });

  test("batches, several contracted axes, permuted and sliced operands", async () => {
    const q = b.permute(b.reshape(f("q", 2, 5, 12), [2, 5, 3, 4]), [0, 2, 1, 3]);
    const k = b.permute(b.reshape(f("k", 2, 7, 12), [2, 7, 3, 4]), [0, 2, 1, 3]);
    const scores = b.dot(q, k, { lhsBatch: [0, 1], rhsBatch: [0, 1], lhsContract: [3], rhsContract: [3] });
    const two = b.dot(f("x", 3, 4, 5), f("y", 5, 6, 3), { lhsContract: [0, 2], rhsContract: [2, 0] });
    const part = b.dot(b.sliceAxis(f("x", 3, 4, 5), 1, 1, 4), f("z", 5, 9), { lhsContract: [2], rhsContract: [0] });
    const middle = b.dot(f("u", 4, 3, 6), f("v", 4, 6, 3), { lhsBatch: [1], rhsBatch: [2], lhsContract: [0, 2], rhsContract: [0, 1] });
    await check(outputs(scores, b.permute(scores, [0, 2, 1, 3]), two, part, middle), tolerances.sum(24));
  });

  test("epilogues: bias, activation, residual, a product added, results in another order, the value before kept", async () => {
    const x = f("x", 2, 9, 10);
    const h = b.add(b.dot(x, f("w", 10, 13), { lhsContract: [2], rhsContract: [0] }), f("bias", 13));
    const thin = b.dot(b.dot(x, f("A", 10, 3), { lhsContract: [2], rhsContract: [0] }), f("B", 3, 13), {
      lhsContract: [2],
      rhsContract: [0],
    });
    const y = b.add(b.unary("tanh", b.add(h, b.mul(thin, 2))), f("res", 2, 9, 13));
    await check(outputs(h, y, b.permute(y, [2, 0, 1]), b.reshape(y, [18, 13])), tolerances.chain);
  });
});

describe("rows and columns", () => {
  test("reductions over every set of axes, and what is fused with them", async () => {
    const shape = [3, 1, 5, 7];
    const x = f("x", ...shape);
    const i = b.input("i", { dtype: "i32", shape });
    for (let set = 1; set < 16; set++) {
      const axes = [0, 1, 2, 3].filter((a) => set & (1 << a));
      const e = b.unary("exp", b.sub(x, b.reduce("max", x, axes, true)));
      const nodes = [
        b.reduce("sum", b.mul(x, x), axes),
        b.reduce("min", x, axes),
        b.div(e, b.reduce("sum", e, axes, true)),
        b.reduce("sum", i, axes),
      ];
      await check(outputs(...nodes), tolerances.chain);
    }
    await check(outputs(...[0, 1, 2, 3].map((axis) => b.argmax(x, axis)), ...[0, 2, 3].map((axis) => b.argmax(i, axis))), tolerances.exact);
  });

  test("softmax, layer norm and cross-entropy with rows of all lengths around the lanes", async () => {
    for (const n of [1, 2, 3, 4, 5, 8, 15, 16, 31, 33, 64, 257]) {
      const x = f("x", 6, n);
      const shifted = b.sub(x, b.reduce("max", x, [1], true));
      const e = b.unary("exp", shifted);
      const total = b.reduce("sum", e, [1], true);
      const centred = b.sub(x, b.reduce("mean", x, [1], true));
      const deviation = b.unary("sqrt", b.add(b.reduce("mean", b.mul(centred, centred), [1], true), 1e-5));
      const norm = b.add(b.mul(b.div(centred, deviation), f("g", n)), f("bias", n));
      const label = b.expand(b.reshape(b.input("label", { dtype: "i32", shape: [6] }), [6, 1]), [6, n]);
      const picked = b.reduce("sum", b.where(b.eq(b.iota([6, n], 1), label), shifted, 0), [1]);
      const loss = b.reduce("mean", b.sub(b.unary("log", b.reshape(total, [6])), picked), [0]);
      await check(outputs(b.div(e, total), norm, loss), tolerances.chain, {}, n);
    }
  });

  test("a row of lowest values gives numbers", async () => {
    const lowest = -3.4028234663852886e38;
    const masked = b.where(b.compare("ge", b.iota([4, 9], 0), b.add(b.iota([4, 9], 1), 1)), f("x", 4, 9), lowest);
    const e = b.unary("exp", b.sub(masked, b.reduce("max", masked, [1], true)));
    await check(outputs(b.div(e, b.reduce("sum", e, [1], true))), tolerances.map);
  });

  test("column sums, scans, selections and scatters", async () => {
    const x = f("x", 37, 19);
    const ids = b.input("ids", { dtype: "i32", shape: [37] });
    const scattered = b.make("scatter_add", [ids, x], { rows: 6 });
    const scans = [0, 1].map((axis) => b.make("cumsum", [x], { axis }));
    const flat = b.reshape(x, [37 * 19]);
    const kths = [1, 2, 350, 703].map((k) => b.make("kth", [flat, b.constant(k, "i32")]));
    await check(outputs(b.reduce("sum", x, [0]), scattered, ...scans, ...kths, b.reverse(x, 1)), tolerances.sum(37 * 19), {}, 8);
  });
});

describe("movement", () => {
  test("of up to six axes, as operands and as results", async () => {
    const x = f("x", 2, 3, 1, 4, 2, 3);
    const turned = b.permute(x, [5, 3, 0, 2, 4, 1]);
    const wide = b.expand(turned, [3, 4, 2, 5, 2, 3]);
    const padded = b.pad(x, [1, 0, 0, 2, 0, 1], [0, 1, 0, 0, 0, 2], 0.5);
    const joined = b.concat([x, b.neg(x), b.sliceAxis(x, 3, 1, 4)], 3);
    const many = b.concat(
      [0, 1, 2, 3, 4, 5].map((i) => b.mul(b.sliceAxis(x, 1, i % 3, (i % 3) + 1), i)),
      1,
    );
    const stepped = b.slice(x, [0, 0, 0, 1, 0, 0], [2, 3, 1, 4, 2, 3], [1, 2, 1, 2, 1, 1]);
    await check(
      outputs(turned, wide, b.reshape(turned, [12, 12]), padded, joined, many, stepped, b.reshape(joined, [396])),
      tolerances.exact,
    );
  });

  test("gather and write put indices that are out of range at the nearest row", async () => {
    const x = f("x", 5, 6);
    const ids = b.sub(b.input("ids", { dtype: "i32", shape: [2, 7] }), 3);
    const written = b.make("write", [x, b.input("at", { dtype: "i32", shape: [] }), f("rows", 2, 6)], { axis: 0 });
    const inner = b.make("write", [x, b.input("at", { dtype: "i32", shape: [] }), f("cols", 5, 2)], { axis: 1 });
    // over what is computed as well, where each row has taken another's place
    const moved = b.gather(x, b.table([4, 0, 0, 2, 1], [5], "i32"));
    const over = b.make("write", [moved, b.input("at", { dtype: "i32", shape: [] }), f("rows", 2, 6)], { axis: 0 });
    await check(outputs(b.gather(x, ids), written, inner, b.add(written, 1), over), tolerances.exact, {}, 12);
  });
});

test("gradients of random graphs agree with the interpreter", async () => {
  const g = { params: new Map(), states: new Map(), inputs: new Map(), ...supplies } as Parameters<typeof meaning>[1];
  let compared = 0;
  await fc.assert(
    fc.asyncProperty(randomGraph, async (graph) => {
      const tame = (values: ReturnType<typeof meaning>) => [...values.values()].every((t) => t.data.every((x) => Math.abs(x) < 1e4));
      fc.pre(tame(meaning(graph, g)));
      const gradients = gradientsOf(graph);
      const expected = meaning(gradients, g);
      fc.pre(expected.size > 0 && tame(expected));
      const seen = await runWasm(gradients, g);
      for (const [name, t] of expected) {
        compared++;
        const d = difference(seen.get(name)!, t);
        if (!(d <= 1e-4)) throw new Error(`${name} differs by ${d}\n${print(gradients)}`);
      }
    }),
    { numRuns: 80, seed: 5 },
  );
  expect(compared).toBeGreaterThan(80);
});

test("random graphs agree with the interpreter", async () => {
  const g = { params: new Map(), states: new Map(), inputs: new Map(), ...supplies } as Parameters<typeof meaning>[1];
  await fc.assert(
    fc.asyncProperty(randomGraph, async (graph) => {
      const expected = meaning(graph, g);
      const tame = [...expected.values()].every((t) => t.data.every((x) => Math.abs(x) < 1e6));
      fc.pre(tame);
      const seen = await runWasm(graph, g);
      for (const [name, t] of expected) {
        const d = difference(seen.get(name)!, t);
        if (!(d <= 1e-4)) throw new Error(`${name} differs by ${d}\n${print(graph)}`);
      }
    }),
    { numRuns: 150, seed: 3 },
  );
});
