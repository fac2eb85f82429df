/** Reversible stacks on devices: what is rebuilt is what was there, to the bit. */
import { describe, expect, test } from "@jest/globals";
import type { Graph } from "../../src/ir/graph.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { type Tensor, tensor } from "../../src/ir/ops/index.ts";
import { halve } from "../../src/ir/passes/halve.ts";
import { PassContext } from "../../src/ir/passes/pass.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { REVERSE_SCALE, REVERSE_UNIT, REVERSE_WIDE_SCALE, REVERSE_WIDE_UNIT } from "../../src/ir/reverse/streams.ts";
import { type Stack, stackStep, stored } from "../support/reversible.ts";
import { suppliesFor } from "../support/transformer.ts";
import { type Given, runWasm, type WasmRun } from "./support/run.ts";
import { runWebGPU, testDevice } from "./support/webgpu.ts";

function givenFor(graph: Graph, q = 20): Given {
  const given = suppliesFor(graph) as unknown as Given;
  given.inputs.set(REVERSE_SCALE, tensor("f32", [], [2 ** q]));
  given.inputs.set(REVERSE_UNIT, tensor("f32", [], [2 ** -q]));
  given.inputs.set(REVERSE_WIDE_SCALE, tensor("f32", [], [2 ** (q + 10)]));
  given.inputs.set(REVERSE_WIDE_UNIT, tensor("f32", [], [2 ** -(q + 10)]));
  return given;
}
async function run(graph: Graph, how: WasmRun = {}, q = 20): Promise<Record<string, number[]>> {
  const out = await runWasm(graph, givenFor(graph, q), how);
  return Object.fromEntries([...out].map(([name, values]) => [name, [...values]]));
}

describe("exact on WebAssembly", () => {
  test.each<Stack>([
    { kind: 1, layers: 24, dropout: 0.1, packed: true },
    { kind: 3, layers: 8, dropout: 0.1 },
  ])("kind $kind, $layers layers: the bits of everything kept", async (s) => {
    const { graph } = compileGraph(stackStep(s), { options: { reverse: "exact" } });
    const again = await run(graph);
    expect(again["output:reverse_check"]).toEqual([0]);
    expect(again["output:reverse_range"]).toEqual([0]);
    expect(await run(stored(graph))).toEqual(again);
    expect(await run(graph, { workers: 2 })).toEqual(again);
  });
});

describe("streams that no norm holds", () => {
  const far: Stack = { kind: 3, layers: 12, pre: true, outlier: 3000 };
  /** The largest difference of updates from those in f64, relative to the largest of each parameter. */
  const offFrom = (meaning: Map<string, Tensor>, seen: Record<string, number[]>): number => {
    let worst = 0;
    for (const [name, { data }] of meaning) {
      if (!name.startsWith("param:")) continue;
      const size = Math.max(...data.map(Math.abs));
      data.forEach((v, i) => {
        worst = Math.max(worst, Math.abs(v - seen[name][i]) / size);
      });
    }
    return worst;
  };

  test("have integers of two words, and an outlier of 3000 costs nothing of f32's precision", async () => {
    const step = stackStep(far);
    const { graph, notes } = compileGraph(step, { options: { reverse: "exact" } });
    expect(notes.map((n) => n.text)).toContainEqual(
      expect.stringMatching(/streams have 64 bits, as no norm keeps them from growing by 1\.\d+ an iteration/),
    );
    const again = await run(graph, {}, 22);
    expect([again["output:reverse_check"], again["output:reverse_range"]]).toEqual([[0], [0]]);
    expect(await run(stored(graph), {}, 22)).toEqual(again);
    const plain = compileGraph(step).graph;
    const meaning = interpret(plain, givenFor(plain));
    expect(offFrom(meaning, again)).toBeLessThan(3 * offFrom(meaning, await run(plain)) + 1e-7);
  });

  test("on WebGPU as well", async () => {
    const device = await testDevice();
    try {
      const { graph } = compileGraph(stackStep({ ...far, kind: 1, dropout: 0.1 }), { options: { reverse: "exact" } });
      const on = async (g: Graph) =>
        Object.fromEntries([...(await runWebGPU(device, g, givenFor(g, 22)))].map(([name, v]) => [name, [...v]]));
      const again = await on(graph);
      expect([again["output:reverse_check"], again["output:reverse_range"]]).toEqual([[0], [0]]);
      expect(await on(stored(graph))).toEqual(again);
    } finally {
      await device.close();
    }
  });
});

test("in f32, with the published factors at 24 layers: off by less than was asked for, and the same update", async () => {
  for (const s of [{ kind: 3, layers: 24 }] as const) {
    const step = stackStep(s);
    const { graph } = compileGraph(step, { options: { reverse: 1e-3 } });
    const again = await run(graph);
    const [error] = again["output:reverse_error"];
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(1e-3);
    const kept = await run(compileGraph(step).graph);
    for (const [name, values] of Object.entries(kept))
      for (const [i, v] of values.entries()) expect(Math.abs(v - again[name][i])).toBeLessThan(1e-3);
  }
});

test("exact on WebGPU, 24 layers, frozen weights as bf16: the bits of everything kept", async () => {
  const device = await testDevice();
  try {
    const step = stackStep({ kind: 1, layers: 24, dropout: 0.1 });
    const { graph } = compileGraph(halve.run(step, new PassContext(new Map(), { halves: "bf16" })), { options: { reverse: "exact" } });
    const on = async (g: Graph) => Object.fromEntries([...(await runWebGPU(device, g, givenFor(g)))].map(([name, v]) => [name, [...v]]));
    const again = await on(graph);
    expect([again["output:reverse_check"], again["output:reverse_range"]]).toEqual([[0], [0]]);
    expect(await on(stored(graph))).toEqual(again);
  } finally {
    await device.close();
  }
});
