import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { Builder, LOOP_TYPE } from "../../src/ir/build.ts";
import { symbol } from "../../src/ir/dim.ts";
import { type Graph, type Node, node } from "../../src/ir/graph.ts";
import { verify } from "../../src/ir/verify.ts";
import { graphs } from "./graphs.ts";

const b = new Builder({ path: "m" });
const at = { path: "m" };
const output = (n: Node): Graph => ({ results: [{ role: "output", name: "y", node: n }] });
const x = b.param("x", [2]);
const vector = x.type;
const doubled = (c: Node) => b.add(c, c);
/** One iteration of a body made from its parameter. */
function looped(f: (arg: Node) => Node[], more: Partial<{ args: number[]; carried: number; inputs: Node[] }> = {}): Node {
  const arg = b.arg(0, vector);
  const { args = [], carried = 1, inputs = [x] } = more;
  return node("loop", inputs, {}, LOOP_TYPE, at, {
    carried,
    bodies: [{ params: [arg], results: f(arg) }],
    iterations: [{ body: 0, args }],
  });
}
const carriedOut = (l: Node) => node("get", [l], { output: "carried", index: 0 }, vector, at);

describe("verify", () => {
  test("accepts what the builder makes", () => {
    fc.assert(
      fc.property(graphs, (g) => verify(g)),
      { numRuns: 40 },
    );
    verify(output(carriedOut(looped((c) => [doubled(c)]))));
  });

  const wrong: [string, Graph, RegExp][] = [
    ["an unknown op", output(node("frobnicate", [], {}, vector, at)), /no op frobnicate/],
    ["a false type", output(node("neg", [x], {}, { dtype: "f32", shape: [3] }, at)), /neg \(m\).*f32\[3\].*f32\[2\]/],
    ["operands that do not fit", output(node("add", [x, b.param("z", [3])], {}, vector, at)), /sizes 2 and 3/],
    [
      "a forward result that reads the backward half",
      {
        results: [
          { role: "output", name: "y", forward: true, node: b.add(node("neg", [x], {}, vector, { path: "m", half: "backward" }), x) },
        ],
      },
      /output y is of the forward half, but reads the backward half/,
    ],
    ["two results of one name", { results: [...output(x).results, ...output(x).results] }, /two results are called output y/],
    [
      "a parameter of another shape",
      { results: [{ role: "param", name: "x", node: b.concat([x, x], 0) }, ...output(x).results] },
      /next value of param x/,
    ],
    ["a body's parameter outside", output(b.arg(0, vector)), /outside any loop/],
    ["a parameter inside a body", output(carriedOut(looped((c) => [b.add(c, x)]))), /must come in as an argument/],
    ["another body's parameter", output(carriedOut(looped(() => [b.arg(0, vector)]))), /not a parameter of this body/],
    ["a carried value of another type", output(carriedOut(looped((c) => [b.concat([c, c], 0)]))), /comes out of body 0 with another type/],
    ["too many arguments", output(carriedOut(looped((c) => [doubled(c)], { args: [0] }))), /gives 1 arguments to a body of 0/],
    [
      "an operand that is not there",
      output(carriedOut(looped((c) => [doubled(c)], { carried: 0, args: [4] }))),
      /operand 4, which does not exist/,
    ],
    [
      "a get beyond the results",
      output(node("get", [looped((c) => [doubled(c)])], { output: "export", iteration: 0, index: 0 }, vector, at)),
      /exports 0 values/,
    ],
    [
      "an iteration that is not there",
      output(node("get", [looped((c) => [c, c])], { output: "export", iteration: 3, index: 0 }, vector, at)),
      /has 1 iterations/,
    ],
    ["a get of something else", output(node("get", [x], { output: "carried", index: 0 }, vector, at)), /not a loop/],
    ["a loop as a value", output(node("neg", [looped((c) => [c])], {}, LOOP_TYPE, at)), /without get/],
    ["a loop as a result", output(looped((c) => [c])), /needs a get/],
  ];
  test.each(wrong)("refuses %s", (_name, graph, why) => {
    expect(() => verify(graph)).toThrow(expect.objectContaining({ name: "Bug", message: expect.stringMatching(why) }));
  });

  test("takes a solver's word for sizes", () => {
    const [p, q] = [b.input("p", { dtype: "f32", shape: [symbol("S")] }), b.input("q", { dtype: "f32", shape: [symbol("T")] })];
    const g = output(new Builder(at, { equal: () => true }).add(p, q));
    expect(() => verify(g)).toThrow("S and T");
    verify(g, { equal: () => true });
  });
});
