/** Loops run backwards: gradients as with everything kept, and nothing kept but what is needed. */
import { describe, expect, test } from "@jest/globals";
import { evaluate } from "../../src/ir/interpret.ts";
import { tensor } from "../../src/ir/ops/index.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { REVERSE_SCALE, REVERSE_UNIT } from "../../src/ir/reverse/exact.ts";
import { type Stack, stackStep, stored } from "../support/reversible.ts";
import { suppliesFor } from "../support/transformer.ts";

const scalar = (x: number) => tensor("f32", [], [x]);
function run(graph: ReturnType<typeof stackStep>, q = 20) {
  const given = suppliesFor(graph);
  const inputs = new Map(given.inputs as Map<string, ReturnType<typeof scalar>>);
  inputs.set(REVERSE_SCALE, scalar(2 ** q));
  inputs.set(REVERSE_UNIT, scalar(2 ** -q));
  const values = evaluate(
    graph.results.map((r) => r.node),
    { ...given, inputs },
  );
  return new Map(graph.results.map((r, i) => [`${r.role} ${r.name}`, [...values[i].data]]));
}

describe("exact", () => {
  test.each<Stack>([
    { kind: 1, layers: 4 },
    { kind: 2, layers: 4 },
    { kind: 3, layers: 4 },
    { kind: "revnet", layers: 4 },
  ])("$kind", (s) => {
    const { graph } = compileGraph(stackStep(s), { options: { reverse: "exact" } });
    const again = run(graph);
    const kept = run(stored(graph));
    expect(again.get("output reverse_check")).toEqual([0]);
    expect(again.get("output reverse_range")).toEqual([0]);
    expect(again).toEqual(kept);
    const plain = run(compileGraph(stackStep(s)).graph);
    for (const [name, values] of plain) {
      const off = Math.max(...values.map((v, i) => Math.abs(v - again.get(name)![i])));
      expect(off).toBeLessThan(1e-4);
    }
  });
});
