import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { Builder, makeArg, makeLoop } from "../../src/ir/build.ts";
import { symbol } from "../../src/ir/dim.ts";
import { type Graph, order } from "../../src/ir/graph.ts";
import { parse } from "../../src/ir/parse.ts";
import { print } from "../../src/ir/print.ts";
import { verify } from "../../src/ir/verify.ts";
import { graphs } from "./graphs.ts";

const b = new Builder({ path: "" });

describe("text of graphs", () => {
  test("parse undoes print; what comes back is a valid graph", () => {
    fc.assert(
      fc.property(graphs, (g) => {
        const text = print(g);
        const back = parse(text);
        expect(print(back)).toBe(text);
        verify(back);
        const [mine, theirs] = [g, back].map((x) => order(x.results.map((r) => r.node)));
        expect(theirs.map((n) => n.op)).toEqual(mine.map((n) => n.op));
      }),
      { numRuns: 40 },
    );
  });

  test("is this", () => {
    const S = symbol("S");
    const x = b.input("x", { dtype: "f32", shape: [S, 2] });
    const at = b.at({ path: "h.1.mlp", iteration: { loop: "h", iteration: 1, of: 2, outer: { loop: "stage", iteration: 0, of: 3 } } });
    const y = at.mul(x, at.constant(Number.POSITIVE_INFINITY));
    const graph: Graph = { results: [{ role: "output", name: 'the "y"', node: b.sliceAxis(b.padAxis(y, 0, S, 1, -0.5), 0, 0, S) }] };
    const text = print(graph);
    expect(text).toBe(`%0 = input {name: "x", shape: [S, 2], dtype: "f32"} : f32[S, 2]
%1 = const {shape: [S, 2], dtype: "f32", data: [Infinity]} : f32[S, 2] iteration("h" 1/2 in "stage" 0/3) @ h.1.mlp
%2 = mul(%0, %1) : f32[S, 2] iteration("h" 1/2 in "stage" 0/3) @ h.1.mlp
%3 = pad(%2) {low: [S, 0], high: [1, 0], value: -0.5} : f32[2 * S + 1, 2]
%4 = slice(%3) {start: [0, 0], stop: [S, 2], step: [1, 1]} : f32[S, 2]
output "the \\"y\\"" = %4
`);
    expect(print(parse(text))).toBe(text);
  });

  test("keeps the backward mark and a loop's attributes", () => {
    const origin = { path: "h.0", half: "backward" as const };
    const c = makeArg(0, { dtype: "f32", shape: [] }, { path: "" });
    const at = new Builder(origin);
    const loop = makeLoop(
      [at.constant(1)],
      { carried: 1, bodies: [{ params: [c], results: [at.neg(c)] }], iterations: [{ body: 0, args: [] }] },
      origin,
      { note: "x", n: [1, 2] },
    );
    const text = print({ results: [{ role: "output", name: "y", node: at.carried(loop, 0) }] });
    expect(text).toContain('%1 = loop carried(%0) given() {note: "x", n: [1, 2]} { backward @ h.0');
    const back = parse(text);
    expect(print(back)).toBe(text);
    expect(back.results[0].node.origin).toEqual(origin);
  });

  test("numbers survive", () => {
    const data = [Number.NaN, Number.NEGATIVE_INFINITY, -0, 1e-300, -3.4028234663852886e38, 0.1, 5];
    const back = parse(print({ results: [{ role: "output", name: "c", node: b.table(data, [7]) }] }));
    expect(back.results[0].node.attrs.data).toEqual(data);
  });

  test("brief text leaves out long tables", () => {
    const g: Graph = { results: [{ role: "output", name: "c", node: b.table(new Array(100).fill(3), [100]) }] };
    expect(print(g, { brief: true })).toContain("... 100 values");
    expect(print(g).split("3, ").length).toBe(100);
  });

  test.each([
    ["%0 = add(%1, %1) : f32[]", /line 1: %1 is not defined/],
    ["\noutput y = %0", /line 2: expected a string/],
    ['%0 = const {shape: [], dtype: "f32", data: [1]} : f16[]', /no dtype f16/],
    ["%0 = ; ", /line 1: cannot read|expected/],
  ])("%j is refused with its line", (text, why) => {
    expect(() => parse(text)).toThrow(why);
  });
});
