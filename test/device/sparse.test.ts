/** Products that skip zeros: the same bits as dense ones, chosen by what is counted. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { compileProgram } from "../../src/backends/compile.ts";
import type { Session, Values } from "../../src/ground/program.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";
import { markSparse } from "../../src/ir/passes/sparse.ts";
import { rebuild, withInputs } from "../../src/ir/rebuild.ts";
import { openWebGPU, type WebGPUDevice } from "../../src/runtime/webgpu.ts";
import { difference, type Given, given, meaning, openGraphs, outputs, values } from "./support/run.ts";
import { programFor, testDevice } from "./support/webgpu.ts";

const b = new Builder({ path: "mlp" });
const [T, D, F] = [70, 98, 170];

type Activation = (x: Node) => Node;
const relu: Activation = (x) => b.make("max", [x, b.zeros(x.type)]);
const squared: Activation = (x) => b.mul(relu(x), relu(x));

/** An MLP behind an activation, and what its gradient multiplies: of the input, of both weights. `shift` is added before the activation. */
function mlp(activation: Activation): Graph {
  const p = (name: string, shape: number[]) => b.param(name, shape);
  const x = b.input("x", { dtype: "f32", shape: [T, D] });
  const dy = b.input("dy", { dtype: "f32", shape: [T, D] });
  const shift = b.input("shift", { dtype: "f32", shape: [] });
  const [w1, w2] = [p("w1", [D, F]), p("w2", [F, D])];
  const z = b.add(b.dot(x, w1, { lhsContract: [1], rhsContract: [0] }), b.expand(b.reshape(shift, [1, 1]), [T, F]));
  const h = activation(z);
  const y = b.dot(h, w2, { lhsContract: [1], rhsContract: [0] });
  const dh = b.mul(b.dot(dy, w2, { lhsContract: [1], rhsContract: [1] }), b.cast(b.make("gt", [z, b.zeros(z.type)]), "f32"));
  const dx = b.dot(dh, w1, { lhsContract: [1], rhsContract: [1] });
  const dw2 = b.dot(h, dy, { lhsContract: [0], rhsContract: [0] });
  const dw1 = b.dot(x, dh, { lhsContract: [0], rhsContract: [0] });
  return markSparse(outputs(y, dx, dw1, dw2)).graph;
}

/** At these shifts nearly all, about 11 %, and 29 % of the activations are not zero: the last lies between the thresholds. */
const [FULL, FEW, HALF] = [10, -4, -1.83];
/** About 5 %: WebGPU skips later. */
const FEWER = -5.5;

const inputsOf = (g: Given, shift: number): Record<string, Values | number> => ({
  ...Object.fromEntries([...g.inputs].map(([name, t]) => [name, values(t)])),
  shift,
});
const open = async (graph: Graph, g: Given, arithmetic: "plain" | "relaxed", workers: number): Promise<Session> => {
  const session = await openGraphs([{ name: "main", graph }], { arithmetic, workers });
  for (const [name, t] of g.params) await session.write("param", name, values(t));
  return session;
};
const skipping = (s: Session): boolean[] => s.densities!().map((d) => d.skipping);

describe("WebAssembly", () => {
  test.each([
    ["relu", relu, "plain", 1],
    ["relu", relu, "relaxed", 2],
    ["squared relu", squared, "plain", 2],
  ] as const)("an MLP behind %s, forward and backward (%#)", async (_, activation, arithmetic, workers) => {
    const graph = mlp(activation);
    const g = given(graph, 3);
    const session = await open(graph, g, arithmetic, workers);
    try {
      const first = await session.run("main", inputsOf(g, FEW));
      const counted = session.densities!();
      // the activation and its gradient
      expect(counted.length).toBe(2);
      for (const d of counted) {
        expect(d.density).toBeGreaterThan(0.02);
        expect(d.density).toBeLessThan(0.25);
        expect(d.skipping).toBe(true);
      }
      expect(await session.run("main", inputsOf(g, FEW))).toEqual(first);
      const expected = meaning(graph, { ...g, inputs: new Map([...g.inputs, ["shift", scalar(FEW)]]) });
      for (const name of ["y0", "y1", "y2", "y3"]) expect(difference(first[name], expected.get(`output:${name}`)!)).toBeLessThan(1e-5);
    } finally {
      await session.close();
    }
  });

  test.each([70, 300])("a product that may skip zeros and whose result is counted itself (%i rows)", async (rows) => {
    const x = b.input("x", { dtype: "f32", shape: [rows, D] });
    const shift = b.expand(b.reshape(b.input("shift", { dtype: "f32", shape: [] }), [1, 1]), [rows, F]);
    const p = (name: string, shape: number[]) => b.param(name, shape);
    const layer = (of: Node, weight: Node) => relu(b.add(b.dot(of, weight, { lhsContract: [1], rhsContract: [0] }), shift));
    const last = b.dot(layer(layer(x, p("w1", [D, F])), p("w2", [F, F])), p("w3", [F, D]), { lhsContract: [1], rhsContract: [0] });
    const graph = markSparse(outputs(last)).graph;
    const g = given(graph, 3);
    const session = await open(graph, g, "plain", 1);
    try {
      for (const at of [FULL, FEW, FEW]) {
        const seen = await session.run("main", inputsOf(g, at));
        const expected = meaning(graph, { ...g, inputs: new Map([...g.inputs, ["shift", scalar(at)]]) });
        expect(difference(seen.y0, expected.get("output:y0")!)).toBeLessThan(1e-5);
      }
      expect(session.densities!()).toHaveLength(2);
      expect(skipping(session)).toEqual([true, true]);
    } finally {
      await session.close();
    }
  });

  test("dense above one density, skipping below another, and between them as before", async () => {
    const graph = mlp(relu);
    const g = given(graph, 3);
    const session = await open(graph, g, "plain", 1);
    try {
      const seen: boolean[][] = [];
      for (const shift of [FULL, HALF, FEW, HALF, FULL, HALF]) {
        await session.run("main", inputsOf(g, shift));
        seen.push(skipping(session));
      }
      expect(seen.map((s) => s[0])).toEqual([false, false, true, true, false, false]);
    } finally {
      await session.close();
    }
  });

  test.each(["y0", "y1"])("what meets a zero and is not finite is not lost (%s)", async (name) => {
    const graph = mlp(relu);
    const g = given(graph, 3);
    // the first hidden unit is never on, and what it is multiplied with is infinite
    const weight = g.params.get(name === "y0" ? "w2" : "w1")!.data;
    if (name === "y0") weight[5] = Number.POSITIVE_INFINITY;
    else for (let i = 0; i < D; i++) weight[i * F] = i === 0 ? Number.NEGATIVE_INFINITY : 0;
    const x = g.inputs.get("x")!.data;
    for (let t = 0; t < T; t++) x[t * D] = Math.abs(x[t * D]) + 0.1;
    const session = await open(graph, g, "plain", 1);
    try {
      const inputs = inputsOf(g, FEW);
      const dense = await session.run("main", inputs);
      const after = await session.run("main", inputs);
      expect(skipping(session)).toContain(true);
      const expected = meaning(graph, { ...g, inputs: new Map([...g.inputs, ["shift", scalar(FEW)]]) }).get(`output:${name}`)!;
      const isNaNs = (list: ArrayLike<number>) => Array.from(list, (v) => Number.isNaN(v));
      expect(isNaNs(expected.data)).toContain(true);
      expect(isNaNs(dense[name])).toEqual(isNaNs(expected.data));
      expect(isNaNs(after[name])).toEqual(isNaNs(expected.data));
    } finally {
      await session.close();
    }
  });

  test("the kernel that stores an activation counts it: no kernel is added for it", async () => {
    const graph = mlp(relu);
    const plain = unmarked(graph);
    const target = { target: "wasm", arithmetic: "plain", workers: 1 } as const;
    const marked = await compileProgram([{ name: "main", graph }], target);
    const before = await compileProgram([{ name: "main", graph: plain }], target);
    const steps = (p: typeof marked) => p.program.entries.find((e) => e.name === "main")!.steps.length;
    // sums over x and dy, which say whether zeros may be skipped; those over weights are made at loading
    expect(steps(marked)).toBe(steps(before) + 2);
    expect(marked.program.measures!.map((m) => m.elements)).toEqual([T * F, T * F]);
  });
});

describe("WebGPU", () => {
  let device: WebGPUDevice;
  beforeAll(async () => {
    device = await testDevice();
  });
  afterAll(() => device.close());

  test.each([
    ["relu", "software", relu],
    ["squared relu", "software", squared],
  ] as const)("an MLP behind %s, forward and backward, on schedules for %s adapters", async (_, deviceClass, activation) => {
    const graph = mlp(activation);
    const g = given(graph, 3);
    const session = await openWebGPU(await programFor([{ name: "main", graph }], { ...device.limits, deviceClass }), device);
    try {
      for (const [name, t] of g.params) await session.write("param", name, values(t));
      const first = await session.run("main", inputsOf(g, FEWER));
      expect(session.densities!().map((d) => d.skipping)).toEqual([true, true]);
      const wasm = await open(graph, g, "plain", 1);
      await wasm.run("main", inputsOf(g, FEWER));
      // both backends count the same
      expect(session.densities!()).toEqual(wasm.densities!());
      await wasm.close();
      const second = await session.run("main", inputsOf(g, FEWER));
      expect(second).toEqual(first);
      const expected = meaning(graph, { ...g, inputs: new Map([...g.inputs, ["shift", scalar(FEWER)]]) });
      for (const name of ["y0", "y1", "y2", "y3"]) expect(difference(second[name], expected.get(`output:${name}`)!)).toBeLessThan(1e-5);
      await session.run("main", inputsOf(g, FULL));
      expect(session.densities!().map((d) => d.skipping)).toEqual([false, false]);
    } finally {
      await session.close();
    }
  });
});

const scalar = (x: number) => ({ dtype: "f32" as const, shape: [], data: Float64Array.of(x) });

/** The same without marks of products, and without the third operands that come with them. */
function unmarked({ results }: Graph): Graph {
  const plain = ({ zeros, ...attrs }: Node["attrs"]): Node["attrs"] => attrs;
  const roots = rebuild(
    results.map((r) => r.node),
    new Map(),
    (n, inputs) => (n.op === "dot" ? { ...n, attrs: plain(n.attrs), inputs: inputs.slice(0, 2) } : withInputs(n, inputs)),
  );
  return { results: results.map((r, i) => ({ ...r, node: roots[i] })) };
}
