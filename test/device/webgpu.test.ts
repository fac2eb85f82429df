/** Kernels on a WebGPU device agree with the meaning of their graphs. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { WebGPULimits } from "../../src/ground/limits.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { type OpName, ops, type Tensor, tensor } from "../../src/ir/ops/index.ts";
import { expand } from "../../src/ir/passes/expand.ts";
import { grad } from "../../src/ir/passes/grad.ts";
import { roll } from "../../src/ir/passes/roll.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { openWebGPU, type WebGPUDevice } from "../../src/runtime/webgpu.ts";
import { gradientsOf, randomGraph, supplies } from "../support/random-graph.ts";
import { suppliesFor, TINY, trainingStep } from "../support/transformer.ts";
import { tolerances } from "../tolerances.ts";
import { type Given, given, outputs, values } from "./support/run.ts";
import { differences, programFor, runWebGPU, supply, testDevice } from "./support/webgpu.ts";

let device: WebGPUDevice;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.close());

const b = new Builder({ path: "test" });
const none = (): Given => ({ params: new Map(), states: new Map(), inputs: new Map() });
const float = (name: string, ...shape: number[]) => b.input(name, { dtype: "f32", shape });
const softmax = (x: Node): Node => {
  const e = b.unary("exp", b.sub(x, b.reduce("max", x, [-1], true)));
  return b.div(e, b.reduce("sum", e, [-1], true));
};
/** Schedules of a GPU, with workgroups small enough for a software adapter to compile in good time. */
const hardware = (): WebGPULimits => ({ ...device.limits, deviceClass: "hardware", invocations: 16 });

async function agree(graph: Graph, g: Given, limits = device.limits, tolerance: number = tolerances.chain): Promise<void> {
  expect(differences(graph, g, await runWebGPU(device, graph, g, limits), tolerance)).toEqual([]);
}

test("the examples of every op", async () => {
  const g = none();
  const nodes: Node[] = [];
  for (const [name, row] of Object.entries(ops))
    row.examples.forEach((example, e) => {
      const inputs = example.inputs.map((t: Tensor, i) => {
        const input = `${name}_${e}_${i}`;
        g.inputs.set(input, t);
        return b.input(input, { dtype: t.dtype, shape: t.shape });
      });
      nodes.push(b.make(name as OpName, inputs, example.attrs));
    });
  expect(nodes.length).toBeGreaterThan(80);
  await agree(outputs(...nodes), g);
});

test("random graphs", async () => {
  await fc.assert(
    fc.asyncProperty(randomGraph, (graph) => agree(graph, { states: new Map(), ...supplies } as Given)),
    { numRuns: 20, seed: 7 },
  );
});

test("gradients of random graphs", async () => {
  const given = { states: new Map(), ...supplies } as Given;
  let compared = 0;
  await fc.assert(
    fc.asyncProperty(randomGraph, async (graph) => {
      const gradients = gradientsOf(graph);
      const values = [...interpret(graph, given).values(), ...interpret(gradients, given).values()];
      fc.pre(gradients.results.length > 0 && values.every((t) => t.data.every((x) => Math.abs(x) < 1e4)));
      compared++;
      await agree(gradients, given);
    }),
    { numRuns: 12, seed: 9 },
  );
  expect(compared).toBeGreaterThan(8);
});

test("products in large tiles, whole and ragged, from every layout", async () => {
  const limits: WebGPULimits = { ...device.limits, deviceClass: "hardware" };
  const nodes: Node[] = [];
  for (const [m, n, k] of [
    [64, 128, 32],
    [67, 66, 21],
  ])
    for (const [lhs, rhs] of [
      [[1], [0]],
      [[1], [1]],
      [[0], [0]],
    ]) {
      const x = float(`x${nodes.length}`, ...(lhs[0] === 1 ? [m, k] : [k, m]));
      const y = float(`y${nodes.length}`, ...(rhs[0] === 0 ? [k, n] : [n, k]));
      nodes.push(b.dot(x, y, { lhsContract: lhs, rhsContract: rhs }));
    }
  const graph = outputs(...nodes);
  const { kernels } = await programFor([{ name: "main", graph }], limits);
  expect(kernels.filter((kernel) => kernel.code.includes("@workgroup_size(256)")).length).toBe(nodes.length);
  await agree(graph, given(graph, 3), limits);
});

describe("functions that WGSL leaves open", () => {
  const sample = (...x: number[]) => {
    const g = none();
    g.inputs.set("x", tensor("f32", [x.length], x.map(Math.fround)));
    return { g, x: float("x", x.length) };
  };
  const ramp = (from: number, to: number, n = 200) => Array.from({ length: n }, (_, i) => from + ((to - from) * i) / (n - 1));

  test("tanh and erf saturate and are exact near 0", async () => {
    const { g, x } = sample(...ramp(-7, 7), 1e4, -1e4, 3e38);
    await agree(outputs(b.unary("tanh", x), b.unary("erf", x)), g, device.limits, tolerances.map);
    const near = sample(...ramp(-1e-4, 1e-4, 20));
    await agree(outputs(b.unary("tanh", near.x), b.unary("erf", near.x)), near.g, device.limits, tolerances.map);
  });

  test("sine and cosine far from 0", async () => {
    const { g, x } = sample(...ramp(-3000, 3000));
    await agree(outputs(b.unary("sin", x), b.unary("cos", x)), g, device.limits, tolerances.map);
  });

  test("powers of negative numbers, of 0 and by 0", async () => {
    const g = none();
    g.inputs.set("x", tensor("f32", [8], [-2, -2, -2, 0, 0, 5, 1, 0.5]));
    g.inputs.set("y", tensor("f32", [8], [3, 2, 0.5, 2, 0, 0, 1e9, -3]));
    await agree(outputs(b.pow(float("x", 8), float("y", 8))), g, device.limits, tolerances.map);
  });

  test("NaN is told from numbers, and wins in max and min", async () => {
    const { g, x } = sample(Number.NaN, 1, -1, Number.NaN);
    const notANumber = b.compare("ne", x, x);
    await agree(outputs(notANumber, b.max(x, 0), b.binary("min", x, 0), b.reduce("max", x, [0])), g);
  });

  test("masks with the lowest number leave rows finite", async () => {
    const g = none();
    g.inputs.set("x", tensor("f32", [2, 3], [1, 2, 3, 4, 5, 6]));
    g.inputs.set("keep", tensor("bool", [2, 3], [1, 0, 1, 0, 0, 0]));
    const masked = b.where(b.input("keep", { dtype: "bool", shape: [2, 3] }), float("x", 2, 3), -3.4028234663852886e38);
    await agree(outputs(softmax(masked)), g);
  });
});

describe("schedules of a GPU", () => {
  const check = (...nodes: Node[]) => {
    const graph = outputs(...nodes);
    return agree(graph, given(graph, 3), hardware());
  };

  test("a team shares a row", () => check(softmax(float("x", 3, 70)), b.make("argmax", [float("y", 3, 70)], { axis: 1 })));
  test("a team walks down columns", () =>
    check(b.reduce("sum", float("x", 70, 6), [0]), b.make("argmax", [float("y", 70, 6)], { axis: 0 })));
  test("products through workgroup memory, edges cut", () => check(b.matmul(float("x", 17, 9), float("y", 9, 10))));
  test("products read four numbers at a time where they lie side by side", async () => {
    const alongSum = b.matmul(float("x", 10, 12), b.swapLast(float("w", 9, 12)));
    const alongRows = b.matmul(b.swapLast(float("y", 20, 9)), float("v", 20, 12));
    const graph = outputs(alongSum, alongRows);
    const { kernels } = await programFor([{ name: "main", graph }], hardware());
    expect(kernels.map((k) => k.code.match(/array<vec4f>/g)?.length)).toEqual([2, 1]);
    await agree(graph, given(graph, 3), hardware());
  });
  test("long sums of thin products are shared", () => check(b.matmul(float("x", 6, 300), float("y", 300, 3))));
  test("the k-th smallest", () => check(b.make("kth", [float("x", 70), b.constant(20, "i32")], {})));
});

describe("limits of the device", () => {
  /** Pages of 1 KiB and five bindings: nearly every tensor here is larger than a page. */
  const tiny = (): WebGPULimits => ({ ...device.limits, bindingBytes: 1024, bindings: 5 });

  test("tensors larger than a binding: tables, rows, products", async () => {
    const ids = b.input("ids", { dtype: "i32", shape: [6] });
    const table = b.param("table", [40, 16]);
    const x = b.gather(table, ids);
    const logits = b.matmul(x, b.swapLast(table));
    const back = b.make("scatter_add", [ids, x], { rows: 40 });
    const graph = outputs(logits, back, softmax(b.mul(table, 2)));
    const g = given(graph, 5, () => 40);
    const program = await programFor([{ name: "main", graph }], tiny());
    const largest = Math.max(...program.arenas.flatMap((a) => a.pages));
    expect(largest).toBe(1024);
    expect(program.tensors.some((t) => t.bytes > largest)).toBe(true);
    expect(Math.max(...program.kernels.map((k) => k.operands.length))).toBeLessThanOrEqual(5);
    await agree(graph, g, tiny());
  });

  test("a sum over more pages than can be bound runs in pieces", async () => {
    const graph = outputs(b.add(b.matmul(float("x", 1, 150), float("w", 150, 4)), 1));
    await agree(graph, given(graph, 9), { ...tiny(), bindings: 4 });
  });

  test("many operands share bindings", async () => {
    const terms = Array.from({ length: 9 }, (_, i) => float(`x${i}`, 10));
    const graph = outputs(terms.reduce((sum, x) => b.add(b.mul(sum, 0.5), x)));
    await agree(graph, given(graph, 2), { ...device.limits, bindings: 4 });
  });

  test("what fits no cut is refused by name", async () => {
    const graph = outputs(b.reduce("sum", float("x", 3000), [0]));
    await expect(programFor([{ name: "main", graph }], tiny())).rejects.toThrow(/buffers at once, and the device binds 5/);
  });

  test("grids larger than one axis are folded", async () => {
    const graph = outputs(b.mul(float("x", 1000), 2));
    await agree(graph, given(graph, 4), { ...device.limits, workgroups: 3 });
  });
});

test("a training step: loss, gradients, AdamW, in place, step after step", async () => {
  const source = trainingStep(TINY);
  const meaning = compileGraph(source, { passes: [expand, roll, grad] }).graph;
  const { graph, scalars } = compileGraph(source);
  const g = suppliesFor(meaning) as Given;
  const program = await programFor([{ name: "step", graph, scalars }], device.limits);
  const session = await openWebGPU(program, device);
  await supply(session, program, g);
  const inputs = Object.fromEntries(program.entries[0].inputs.map((name) => [name, values(g.inputs.get(name)!)]));
  let now = g;
  for (const step of [3, 4]) {
    now = { ...now, inputs: new Map(now.inputs).set("step", tensor("i32", [], [step])) };
    const got = new Map([["output:loss", (await session.run("step", { ...inputs, step, steps: 10 })).loss]]);
    const next = { ...now, params: new Map(now.params), states: new Map(now.states) };
    for (const r of meaning.results) {
      if (r.role === "output") continue;
      const data = await session.read(r.role, r.name);
      got.set(`${r.role}:${r.name}`, data);
      (r.role === "param" ? next.params : next.states).set(r.name, tensor("f32", r.node.type.shape as number[], Float64Array.from(data)));
    }
    expect(differences(meaning, now, got, tolerances.chain)).toEqual([]);
    now = next;
  }
  await session.close();
});
