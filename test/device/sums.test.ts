/** Products that are added up in one kernel: what low rank beside a frozen product becomes. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { compileProgram } from "../../src/backends/compile.ts";
import type { Program } from "../../src/ground/program.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";
import { markSparse } from "../../src/ir/passes/sparse.ts";
import { openWebGPU, type WebGPUDevice } from "../../src/runtime/webgpu.ts";
import { tolerances } from "../tolerances.ts";
import { difference, type Given, given, meaning, openGraphs, outputs, runWasm, values } from "./support/run.ts";
import { programFor, runWebGPU, testDevice } from "./support/webgpu.ts";

const b = new Builder({ path: "site" });
const f = (name: string, ...shape: number[]): Node => b.input(name, { dtype: "f32", shape });
const times = (x: Node, w: Node): Node => b.dot(x, w, { lhsContract: [x.type.shape.length - 1], rhsContract: [0] });

/** x·W + bias + x·A·B, of `rows` tokens. */
function site(rows: number, inner: number, outer: number, rank: number): { y: Node; thin: Node; low: Node } {
  const x = f("x", rows, inner);
  const low = times(x, f("A", inner, rank));
  const thin = times(low, f("B", rank, outer));
  return { y: b.add(b.add(times(x, f("W", inner, outer)), f("bias", outer)), thin), thin, low };
}

/** Two adapters, each for some rows of a batch, in matrices of their own for each row. */
function byRows(batch: number, tokens: number, inner: number, outer: number): Graph {
  const x = f("x", batch, tokens, inner);
  const base = b.add(times(x, f("W", inner, outer)), f("bias", outer));
  const adapter = (name: string) => {
    const low = b.dot(x, f(`A${name}`, batch, inner, 4), { lhsBatch: [0], rhsBatch: [0], lhsContract: [2], rhsContract: [1] });
    const delta = b.dot(low, f(`B${name}`, batch, 4, outer), { lhsBatch: [0], rhsBatch: [0], lhsContract: [2], rhsContract: [1] });
    const mine = b.compare("ge", f(`mine${name}`, batch), 0);
    return b.where(b.expand(b.reshape(mine, [batch, 1, 1]), [batch, tokens, outer]), delta, 0);
  };
  return outputs(b.unary("tanh", b.add(b.add(base, adapter("1")), adapter("2"))));
}

/** Rows 1 and 3 belong to the first adapter, row 2 to the second; matrices of other rows are NaN. */
function rowsGiven(graph: Graph): Given {
  const g = given(graph, 5);
  const mine: Record<string, number[]> = { 1: [-1, 1, -1, 1], 2: [-1, -1, 1, -1] };
  for (const [name, list] of Object.entries(mine)) {
    g.inputs.get(`mine${name}`)!.data.set(list);
    const matrices = g.inputs.get(`B${name}`)!.data;
    const each = matrices.length / list.length;
    for (const [row, own] of list.entries()) if (own < 0) matrices.fill(Number.NaN, row * each, (row + 1) * each);
  }
  return g;
}

const SIZES: readonly (readonly [number, number, number, number])[] = [
  [5, 7, 9, 3],
  [70, 33, 130, 8],
  [66, 700, 20, 4],
  [8, 1300, 64, 1],
];

const agree = (graph: Graph, g: Given, seen: ReadonlyMap<string, ArrayLike<number>>, tolerance: number): void => {
  for (const [name, t] of meaning(graph, g)) {
    const d = difference(Float32Array.from(seen.get(name)!), t);
    if (!(d <= tolerance)) throw new Error(`${name} differs by ${d}, more than ${tolerance}`);
  }
};
const stepsOf = ({ entries }: Program): number => entries.find((e) => e.name === "main")!.steps.length;
const planned = async (graph: Graph) =>
  (await compileProgram([{ name: "main", graph }], { target: "wasm", arithmetic: "plain", workers: 1 })).program;
/** Elements of tensors that kernels store and others read. */
const stored = ({ tensors }: Program): number[] => tensors.filter((t) => t.arena === "activations").map((t) => t.bytes / 4);

describe("WebAssembly", () => {
  for (const arithmetic of ["plain", "relaxed"] as const)
    test.each(arithmetic === "plain" ? SIZES : SIZES.slice(1, 2))(
      `a thin product goes on with the sum: %i × %i × %i, rank %i, ${arithmetic}`,
      async (...sizes) => {
        const graph = outputs(b.mul(site(...sizes).y, 0.5));
        const g = given(graph, 17);
        agree(graph, g, await runWasm(graph, g, { arithmetic }), tolerances.sum(sizes[1]));
      },
    );

  test("two kernels for a site, and nothing of the size of the result beside it", async () => {
    const [rows, inner, outer, rank] = [70, 33, 130, 8];
    const program = await planned(outputs(site(rows, inner, outer, rank).y));
    expect(stepsOf(program)).toBe(2);
    expect(stored(program)).toEqual([rows * rank]);
  });

  test("rows that cannot be read in place", async () => {
    const x = f("xt", 40, 66);
    const w = b.dot(x, f("W", 40, 24), { lhsContract: [0], rhsContract: [0] });
    const graph = outputs(b.add(w, b.dot(f("at", 3, 66), f("B", 24, 3), { lhsContract: [0], rhsContract: [1] })));
    const g = given(graph, 3);
    expect(stepsOf(await planned(graph))).toBe(1);
    agree(graph, g, await runWasm(graph, g), tolerances.sum(40));
  });

  test("many products, sums of them, views between", async () => {
    const parts = [40, 9, 3, 17].map((k, i) => times(f(`x${i}`, 6, 11, k), f(`w${i}`, k, 10)));
    const [p, q, r, s] = parts;
    const sum = b.add(b.reshape(b.add(b.add(p, f("c", 10)), b.add(q, r)), [66, 10]), b.reshape(s, [66, 10]));
    const graph = outputs(b.mul(sum, f("scale", 10)));
    const g = given(graph, 3);
    expect(stepsOf(await planned(graph))).toBe(1);
    agree(graph, g, await runWasm(graph, g), tolerances.sum(69));
  });

  test("a product that is wanted by itself, or twice, stays one", async () => {
    const { y, thin } = site(20, 12, 14, 3);
    const graph = outputs(y, thin);
    const g = given(graph, 3);
    expect(stepsOf(await planned(graph))).toBe(3);
    agree(graph, g, await runWasm(graph, g), tolerances.sum(15));
    const base = times(f("x", 20, 12), f("W", 12, 14));
    const twice = outputs(b.add(base, b.add(thin, thin)), b.mul(base, thin));
    const g2 = given(twice, 3);
    agree(twice, g2, await runWasm(twice, g2), tolerances.sum(30));
  });

  test.each([64, 70])("adapters of some rows of a batch (%i tokens): what is not finite in the others does not count", async (tokens) => {
    const graph = byRows(4, tokens, 20, 26);
    const g = rowsGiven(graph);
    const program = await planned(graph);
    expect(stepsOf(program)).toBe(3);
    expect(Math.max(...stored(program))).toBe(4 * tokens * 4);
    agree(graph, g, await runWasm(graph, g), tolerances.chain);
  });

  test.each([false, true])("zeros of the long product are skipped, to the same bits (some rows only: %s)", async (some) => {
    const graph = skipping(some);
    const g = given(graph, 3);
    const session = await openGraphs([{ name: "main", graph }], { arithmetic: "plain", workers: 1 });
    const inputs = Object.fromEntries([...g.inputs].map(([name, t]) => [name, values(t)]));
    const first = await session.run("main", inputs);
    expect(session.densities!().map((d) => d.skipping)).toEqual([true]);
    expect(await session.run("main", inputs)).toEqual(first);
    await session.close();
    agree(graph, g, new Map([["output:y0", first.y0]]), tolerances.sum(170));
  });
});

/** h·W + a·B for an h that is mostly zero. */
function skipping(some: boolean): Graph {
  const h = b.make("max", [b.add(b.mul(f("z", 70, 170), f("u", 170)), -0.7), b.constant(0, "f32", [70, 170])]);
  const thin = times(f("a", 70, 5), f("B", 5, 98));
  const gate = b.expand(b.reshape(b.compare("ge", f("mine", 70), 0), [70, 1]), [70, 98]);
  return markSparse(outputs(b.add(times(h, f("W", 170, 98)), some ? b.where(gate, thin, 0) : thin))).graph;
}

describe("WebGPU", () => {
  let device: WebGPUDevice;
  beforeAll(async () => {
    device = await testDevice();
  });
  afterAll(() => device.close());

  test.each(["software", "hardware"] as const)("on schedules for %s adapters", async (deviceClass) => {
    const limits = { ...device.limits, deviceClass };
    for (const [rows, inner, outer, rank] of SIZES.slice(0, 2)) {
      const graph = outputs(b.mul(site(rows, inner, outer, rank).y, 0.5));
      const g = given(graph, 17);
      expect((await programFor([{ name: "main", graph }], limits)).entries[0].steps.length).toBe(2);
      agree(graph, g, await runWebGPU(device, graph, g, limits), tolerances.sum(inner));
    }
    const graph = byRows(4, 64, 20, 26);
    const g = rowsGiven(graph);
    agree(graph, g, await runWebGPU(device, graph, g, limits), tolerances.chain);
  });

  test("sums cut over pages", async () => {
    const graph = outputs(b.add(times(f("x", 1, 150), f("W", 150, 4)), times(f("a", 1, 3), f("B", 3, 4))));
    const g = given(graph, 9);
    agree(graph, g, await runWebGPU(device, graph, g, { ...device.limits, bindingBytes: 1024, bindings: 6 }), tolerances.sum(150));
  });

  test.each([false, true])("zeros are skipped (some rows only: %s)", async (some) => {
    const graph = skipping(some);
    const g = given(graph, 3);
    const session = await openWebGPU(await programFor([{ name: "main", graph }], device.limits), device);
    const inputs = Object.fromEntries([...g.inputs].map(([name, t]) => [name, values(t)]));
    const first = await session.run("main", inputs);
    expect(await session.run("main", inputs)).toEqual(first);
    await session.close();
    agree(graph, g, new Map([["output:y0", first.y0]]), tolerances.sum(170));
  });
});
