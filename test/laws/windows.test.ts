/** What masks hide of an iteration is not computed: results stay, the work shrinks. */
import { describe, expect, test } from "@jest/globals";
import { Builder } from "../../src/ir/build.ts";
import { graphCost } from "../../src/ir/flops.ts";
import { type Graph, type Node, order, sizes } from "../../src/ir/graph.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { boxOf, Spans } from "../../src/ir/ops/spans.ts";
import { compileGraph, pipeline } from "../../src/ir/pipeline.ts";
import { attention, causal, column, LENGTH, padded, row, SIZE } from "../support/attention.ts";
import { suppliesFor } from "../support/transformer.ts";

const b = new Builder({ path: "attention" });
const passes = pipeline.filter((p) => p.name !== "scalars");
const compiled = (graph: Graph, slice: number): Graph => compileGraph(graph, { options: { slice }, passes }).graph;
const loops = (graph: Graph): Node[] => order(graph.results.map((r) => r.node)).filter((n) => n.loop);
function apart(one: Graph, other: Graph): number {
  const given = suppliesFor(one);
  const [x, y] = [interpret(one, given), interpret(other, given)];
  let worst = 0;
  for (const [key, t] of x) t.data.forEach((value, i) => (worst = Math.max(worst, Math.abs(value - y.get(key)!.data[i]))));
  return worst;
}
const products = (graph: Graph) => graphCost(graph).total.products;

describe("a mask that positions alone decide", () => {
  test("causal: forward and backward iterations leave out the keys behind them", () => {
    const graph = attention(causal());
    const whole = compiled(graph, Number.POSITIVE_INFINITY);
    const cut = compiled(graph, 2 ** 23);
    expect(loops(cut).map((n) => [n.backward, n.loop!.iterations.length, n.loop!.bodies.length])).toEqual([
      [false, 4, 4],
      [true, 4, 4],
    ]);
    expect(apart(whole, cut)).toBeLessThan(1e-12);
    // seven products where scores are made twice, of which 128 + 256 + 384 + 512 of 4 · 512 keys are left
    expect(products(cut)).toBe((7 * LENGTH * LENGTH * SIZE * 10) / 16);
  });

  test("a window of keys: iterations leave out what is out of reach on either side", () => {
    const graph = attention(b.logic("and", causal(), b.compare("gt", column(), b.sub(row(), 100))));
    const cut = compiled(graph, 2 ** 23);
    expect(apart(compiled(graph, Number.POSITIVE_INFINITY), cut)).toBeLessThan(1e-12);
    // of 128 queries each: 128 keys, then 256, which are a sixteenth more than the 227 in reach
    expect(products(cut)).toBe(7 * 128 * SIZE * (128 + 3 * 256));
  });

  test("with rows that see nothing, and a part of it that is data", () => {
    const graph = attention(padded());
    const cut = compiled(graph, 2 ** 23);
    expect(apart(compiled(graph, Number.POSITIVE_INFINITY), cut)).toBeLessThan(1e-12);
    expect(products(cut)).toBe((7 * LENGTH * LENGTH * SIZE * 10) / 16);
  });

  test("nothing is left out of a sum where masked places weigh something in a row that sees nothing, nor where a number is not the least", () => {
    for (const graph of [attention(padded(), { exact: false }), attention(padded(), { least: -1e9 })]) {
      const cut = compiled(graph, 2 ** 23);
      const [{ bodies }] = loops(cut)
        .filter((n) => !n.backward)
        .map((n) => n.loop!);
      for (const { results } of bodies) expect(order(results).some((n) => n.op === "dot" && sizes(n).at(-1) === LENGTH)).toBe(true);
      expect(apart(compiled(graph, Number.POSITIVE_INFINITY), cut)).toBeLessThan(1e-12);
    }
  });
});

test("what is known of a part of a value: positions, constants and what they are moved to", () => {
  const at = (n: Node, ...box: [number, number][]) => new Spans().at(n, box.length > 0 ? box : boxOf(n));
  const i = b.iota([8, 4], 0);
  expect(at(i, [2, 4], [0, 4])).toEqual({ lo: 2, hi: 3 });
  expect(at(b.sub(b.mul(i, -2), 1), [2, 4], [0, 4])).toEqual({ lo: -7, hi: -5 });
  expect(at(b.permute(i, [1, 0]), [0, 1], [5, 6])).toEqual({ lo: 5, hi: 5 });
  expect(at(b.reshape(i, [8, 1, 4]), [5, 6], [0, 1], [0, 4])).toEqual({ lo: 5, hi: 5 });
  expect(at(b.reshape(i, [32]), [5, 6])).toEqual({ lo: 0, hi: 7 });
  expect(at(b.slice(i, [1, 0], [8, 4], [2, 1]), [1, 3], [0, 4])).toEqual({ lo: 3, hi: 5 });
  expect(at(b.pad(i, [2, 0], [0, 0], 9), [0, 2], [0, 4])).toEqual({ lo: 9, hi: 9 });
  expect(at(b.pad(i, [2, 0], [0, 0], 9), [1, 4], [0, 4])).toEqual({ lo: 0, hi: 9 });
  expect(at(b.concat([i, b.add(i, 20)], 0), [7, 9], [0, 4])).toEqual({ lo: 7, hi: 20 });
  const x = b.input("x", { dtype: "i32", shape: [8, 4] });
  expect(at(b.compare("lt", b.max(x, 3), b.min(i, 2)))).toEqual({ lo: 0, hi: 0 });
  expect(at(b.compare("lt", x, i))).toEqual({ lo: 0, hi: 1 });
  expect(at(b.mul(x, 0))).toEqual({ lo: 0, hi: 0 });
  expect(at(b.where(b.compare("lt", i, 2), x, 7), [2, 8], [0, 4])).toEqual({ lo: 7, hi: 7 });
  expect(sizes(i)).toEqual([8, 4]);
});
