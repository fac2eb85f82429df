/** Loops run backwards: gradients as with everything kept, and nothing kept but what is needed. */
import { describe, expect, test } from "@jest/globals";
import { outlook } from "../../src/backends/compile.ts";
import { Builder } from "../../src/ir/build.ts";
import { order } from "../../src/ir/graph.ts";
import { evaluate } from "../../src/ir/interpret.ts";
import { tensor } from "../../src/ir/ops/index.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { rebuild, withInputs } from "../../src/ir/rebuild.ts";
import { REVERSE_SCALE, REVERSE_UNIT, REVERSE_WIDE_SCALE, REVERSE_WIDE_UNIT } from "../../src/ir/reverse/streams.ts";
import { type Stack, stackStep, stored } from "../support/reversible.ts";
import { suppliesFor } from "../support/transformer.ts";

const scalar = (x: number) => tensor("f32", [], [x]);
function run(graph: ReturnType<typeof stackStep>, q = 20) {
  const given = suppliesFor(graph);
  const inputs = new Map(given.inputs as Map<string, ReturnType<typeof scalar>>);
  inputs.set(REVERSE_SCALE, scalar(2 ** q));
  inputs.set(REVERSE_UNIT, scalar(2 ** -q));
  inputs.set(REVERSE_WIDE_SCALE, scalar(2 ** (q + 10)));
  inputs.set(REVERSE_WIDE_UNIT, scalar(2 ** -(q + 10)));
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
    { kind: 1, layers: 4, pre: true },
    { kind: 3, layers: 4, pre: true },
    { kind: "revnet", layers: 4 },
    { kind: 1, layers: 5, first: true },
  ])("$kind, norms in front: $pre, only the first token is read: $first", (s) => {
    const { graph, notes } = compileGraph(stackStep(s), { options: { reverse: "exact" } });
    const said = notes.find((n) => n.text.includes("runs backwards"))!.text;
    expect(said).toBe(`h (${s.layers} iterations) runs backwards: yes`);
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

test("a flipped bit of what is kept of a stream is caught, and nothing is updated", () => {
  const { graph } = compileGraph(stackStep({ kind: 3, layers: 3 }), { options: { reverse: "exact" } });
  const roots = graph.results.map((r) => r.node);
  const words = [
    ...new Set(
      order(roots)
        .filter((n) => n.op === "unpack")
        .map((n) => n.inputs[0]),
    ),
  ];
  expect(words.length).toBe(4);
  const before = suppliesFor(graph).params as unknown as Map<string, { data: ArrayLike<number> }>;
  for (const [w, word] of words.entries()) {
    const b = new Builder(word.origin);
    const count = word.type.shape[0] as number;
    const bit = b.table(
      Array.from({ length: count }, (_, i) => Number(i === 3 + w)),
      [count],
      "i32",
    );
    const flipped = rebuild(roots, new Map(), (n, inputs) => {
      if (n.op !== "unpack" || n.inputs[0] !== word) return withInputs(n, inputs);
      const even = b.sub(inputs[0], b.mul(2, b.unary("floor", b.cast(b.unary("floor", b.mul(b.cast(inputs[0], "f32"), 0.5)), "i32"))));
      return withInputs(n, [b.add(inputs[0], b.mul(bit, b.sub(1, b.mul(2, even))))]);
    });
    const out = run({ results: graph.results.map((r, i) => ({ ...r, node: flipped[i] })) });
    expect(out.get("output reverse_check")).toEqual([1]);
    for (const [name, values] of out)
      if (name.startsWith("param ")) expect(values).toEqual([...Array.from(before.get(name.slice(6))!.data)]);
  }
});

describe("rounded", () => {
  test.each<Stack>([
    { kind: 1, layers: 4 },
    { kind: 2, layers: 4 },
    { kind: 3, layers: 4 },
  ])("kind $kind: gradients as with everything kept, to 1e-9 in f64", (s) => {
    const { graph, notes } = compileGraph(stackStep(s), { options: { reverse: 1e-3 } });
    expect(notes.map((n) => n.text)).toContainEqual(
      expect.stringMatching(
        /h \(4 iterations\): an error grows by (11\.8|20\.5|119) an iteration at most, for Jacobians of norm 1; values are kept every [23] iterations/,
      ),
    );
    const again = run(graph);
    const plain = run(compileGraph(stackStep(s)).graph);
    expect(again.get("output reverse_error")![0]).toBeLessThan(1e-9);
    for (const [name, values] of plain)
      for (const [i, v] of values.entries()) expect(Math.abs(v - again.get(name)![i])).toBeLessThan(1e-9 * Math.max(1, Math.abs(v)));
  });
});

describe("what is kept", () => {
  const [batch, sequence, dim] = [2, 64, 64];
  const stream = 4 * batch * sequence * dim;
  const planned = (layers: number, reverse?: "exact"): number =>
    outlook(compileGraph(stackStep({ kind: 1, layers, batch, sequence, dim, first: true }), { options: { reverse } }).graph, {
      target: "wasm",
      arithmetic: "plain",
      workers: 1,
    }).bytes;

  test("the peak grows with depth by packed numbers and gradients of what learns, and by no value of a layer", () => {
    const [few, more] = [planned(8, "exact"), planned(12, "exact")];
    // 4 bits of one stream; gradients of two adapters of two matrices
    const [packed, gradients] = [stream / 8, 4 * 4 * 2 * dim];
    expect((more - few) / 4).toBeGreaterThan(0.9 * packed);
    expect((more - few) / 4).toBeLessThan(packed + gradients + 512);
    expect((planned(6) - planned(4)) / 2).toBeGreaterThan(5 * stream);
  });

  const said = (s: Stack, reverse: "exact" | number) => {
    const { graph, notes } = compileGraph(stackStep(s), { options: { reverse } });
    const rebuilt = order(graph.results.map((r) => r.node)).some((n) => n.op.startsWith("uncouple"));
    return { text: notes.map((n) => n.text).join("\n"), rebuilt };
  };
  test.each<[Stack, "exact" | number, string, boolean]>([
    [
      { kind: 1, layers: 4 },
      1e-5,
      "1 of 2 streams is kept at every iteration, no more bytes than all every 2 iterations: nothing is rebuilt",
      false,
    ],
    [{ kind: 3, layers: 4 }, 1e-3, "values are kept every 2 iterations", true],
    [{ kind: 1, layers: 2, pre: true }, "exact", "no more bytes than integer streams take: nothing is rebuilt", false],
    [{ kind: 1, layers: 4, pre: true }, "exact", "streams have 64 bits", true],
  ])("%j, reverse = %s: the one stream that is read, where that takes no more than rebuilding", (s, reverse, text, rebuilt) => {
    const seen = said(s, reverse);
    expect(seen.text).toContain(text);
    expect(seen.rebuilt).toBe(rebuilt);
  });
});
