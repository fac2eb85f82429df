/** Which products may skip zeros: by the op table's `sparse` column alone. */
import { expect, test } from "@jest/globals";
import { Builder } from "../../src/ir/build.ts";
import type { Node } from "../../src/ir/graph.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { tensor } from "../../src/ir/ops/index.ts";
import { markSparse } from "../../src/ir/passes/sparse.ts";

const b = new Builder({ path: "sparse" });
const N = 128;
const x = b.param("x", [N, N]);
const w = b.param("w", [N, N]);
const zero = b.zeros(x.type);
const relu = b.make("max", [x, zero]);
const gelu = b.mul(b.mul(0.5, x), b.add(1, b.unary("erf", x)));
const times = (l: Node, r: Node) => b.dot(l, r, { lhsContract: [1], rhsContract: [0] });
const marks = (n: Node): unknown => {
  const { graph, marked } = markSparse({ results: [{ role: "output", name: "y", node: n }] });
  return marked === 0 ? undefined : graph.results[0].node.attrs.zeros;
};

test.each<[string, Node, unknown]>([
  ["behind a ReLU", times(relu, w), "lhs"],
  ["behind its square, in another shape", times(b.reshape(b.reshape(b.mul(relu, relu), [N * N]), [N, N]), w), "lhs"],
  ["behind a gate that is cut off at zero", times(b.mul(relu, w), w), "lhs"],
  ["of a gradient behind a ReLU", times(b.mul(w, b.cast(b.make("gt", [x, zero]), "f32")), w), "lhs"],
  ["of weights under a Boolean mask", times(x, b.where(b.input("mask", { dtype: "bool", shape: [N, N] }), w, 0)), "rhs"],
  ["of weights cut off at a threshold", times(x, b.mul(w, b.cast(b.make("ge", [w, x]), "f32"))), "rhs"],
  ["behind a maximum with a number that is not 0", times(b.make("max", [x, b.constant(1, "f32", [N, N])]), w), undefined],
  ["behind a GELU", times(gelu, w), undefined],
  ["of a ReLU and what is added to it", times(b.add(relu, w), w), undefined],
  ["with few columns", times(relu, b.param("narrow", [N, 16])), undefined],
  ["of products behind a ReLU", times(times(relu, w), b.param("narrow", [N, 16])), undefined],
])("a product %s", (_, n, side) => {
  expect(marks(n)).toBe(side);
});

test("a mark changes no value", () => {
  const results = [{ role: "output" as const, name: "y", node: times(relu, w) }];
  const params = new Map(
    ["x", "w"].map((name, k) => [
      name,
      tensor(
        "f32",
        [N, N],
        Float64Array.from({ length: N * N }, (_, i) => Math.sin(i + k)),
      ),
    ]),
  );
  const given = { params, states: new Map(), inputs: new Map() };
  expect(interpret(markSparse({ results }).graph, given)).toEqual(interpret({ results }, given));
});
