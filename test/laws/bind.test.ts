import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { bind } from "../../src/ir/bind.ts";
import { Builder } from "../../src/ir/build.ts";
import { addDim, mulDim, symbol, symbolsOf } from "../../src/ir/dim.ts";
import { type Graph, type Node, order } from "../../src/ir/graph.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { print } from "../../src/ir/print.ts";
import { verify } from "../../src/ir/verify.ts";
import { graphs, i32, SIZES, supplies } from "./graphs.ts";

const b = new Builder({ path: "" });
const output = (n: Node): Graph => ({ results: [{ role: "output", name: "y", node: n }] });

describe("bind", () => {
  test("leaves no symbol, a valid graph, and nothing to do a second time", () => {
    fc.assert(
      fc.property(graphs, (g) => {
        const bound = bind(g, SIZES);
        verify(bound);
        for (const n of order(bound.results.map((r) => r.node))) expect(n.type.shape.flatMap(symbolsOf)).toEqual([]);
        expect(print(bound)).not.toMatch(/[[ ,]S[\], ]/);
        expect(bind(bound, SIZES).results[0].node).toBe(bound.results[0].node);
        expect(interpret(bound, supplies).get("output:y")!.shape).toEqual([3, 4]);
      }),
      { numRuns: 40 },
    );
  });

  test("checks sizes that were only assumed equal", () => {
    const assumed = new Builder({ path: "" }, { equal: () => true });
    const g = output(assumed.add(b.param("p", [symbol("S")]), b.param("q", [symbol("T")])));
    const bound = bind(
      g,
      new Map([
        ["S", 2],
        ["T", 2],
      ]),
    );
    expect(bound.results[0].node.type.shape).toEqual([2]);
    expect(() =>
      bind(
        g,
        new Map([
          ["S", 2],
          ["T", 3],
        ]),
      ),
    ).toThrow(/sizes 2 and 3/);
  });

  test("leaves what mentions no symbol as it is, also other symbols", () => {
    const p = b.param("p", [2, symbol("T")]);
    const g = output(b.unary("exp", p));
    expect(bind(g, SIZES).results[0].node).toBe(g.results[0].node);
  });

  describe("with values", () => {
    const past = symbol("past");
    const value = b.input("past", { dtype: "i32", shape: [] });
    const size = addDim(addDim(mulDim(past, mulDim(symbol("S"), 2)), past), 5); // 2·past·S + past + 5
    const sizes = new Map([
      ["S", 3],
      ["past", 15],
    ]);
    const at = (g: Graph, n: number) =>
      interpret(bind(g, sizes, { values: new Map([["past", value]]) }), { ...supplies, inputs: new Map([["past", i32([], [n])]]) }).get(
        "output:y",
      )!;

    test("a size as a value is computed, as an extent is the number", () => {
      const g = output(b.broadcastTo(b.constant(size), [past]));
      expect([...at(g, 4).data]).toEqual(new Array(15).fill(2 * 4 * 3 + 4 + 5));
    });
    test("in arithmetic on f32 as well", () => {
      expect([...at(output(b.mul(b.constant(past), 0.5)), 7).data]).toEqual([3.5]);
    });
    test("bodies get the value as an argument", () => {
      const [c, unused] = [b.arg(0, value.type), b.arg(0, value.type)];
      const zero = b.constant(0, "i32");
      const loop = b.loop([zero], {
        carried: 1,
        bodies: [
          { params: [c], results: [b.add(c, b.constant(size))] },
          { params: [unused], results: [b.add(unused, 1)] },
        ],
        iterations: [
          { body: 0, args: [] },
          { body: 1, args: [] },
          { body: 0, args: [] },
        ],
      });
      const g = output(b.carried(loop, 0));
      verify(bind(g, sizes, { values: new Map([["past", value]]) }));
      expect([...at(g, 4).data]).toEqual([2 * (2 * 4 * 3 + 4 + 5) + 1]);
      // Without values it is the number.
      expect([...interpret(bind(g, sizes), {}).get("output:y")!.data]).toEqual([2 * (2 * 15 * 3 + 15 + 5) + 1]);
    });
  });
});
