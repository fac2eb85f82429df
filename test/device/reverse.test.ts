/** Reversible stacks on devices: what is rebuilt is what was there, to the bit. */
import { describe, expect, test } from "@jest/globals";
import type { Graph } from "../../src/ir/graph.ts";
import { tensor } from "../../src/ir/ops/index.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { REVERSE_SCALE, REVERSE_UNIT } from "../../src/ir/reverse/exact.ts";
import { type Stack, stackStep, stored } from "../support/reversible.ts";
import { suppliesFor } from "../support/transformer.ts";
import { type Given, runWasm, type WasmRun } from "./support/run.ts";

function givenFor(graph: Graph, q = 20): Given {
  const given = suppliesFor(graph) as unknown as Given;
  given.inputs.set(REVERSE_SCALE, tensor("f32", [], [2 ** q]));
  given.inputs.set(REVERSE_UNIT, tensor("f32", [], [2 ** -q]));
  return given;
}
async function run(graph: Graph, how: WasmRun = {}): Promise<Record<string, number[]>> {
  const out = await runWasm(graph, givenFor(graph), how);
  return Object.fromEntries([...out].map(([name, values]) => [name, [...values]]));
}

describe("exact on WebAssembly", () => {
  test.each<Stack>([
    { kind: 1, layers: 24, dropout: 0.1, packed: true },
    { kind: 3, layers: 24, dropout: 0.1 },
  ])("kind $kind, $layers layers: the bits of everything kept", async (s) => {
    const { graph } = compileGraph(stackStep(s), { options: { reverse: "exact" } });
    const again = await run(graph);
    expect(again["output:reverse_check"]).toEqual([0]);
    expect(again["output:reverse_range"]).toEqual([0]);
    expect(await run(stored(graph))).toEqual(again);
    expect(await run(graph, { workers: 2, arithmetic: "plain" })).toEqual(again);
  });
});
