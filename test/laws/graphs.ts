/** Random graphs for the laws, and small helpers to make and compare tensors. */
import fc from "fast-check";
import { Builder } from "../../src/ir/build.ts";
import { addDim, symbol } from "../../src/ir/dim.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";
import { type Tensor, tensor } from "../../src/ir/ops/index.ts";

export const f32 = (shape: readonly number[], data: readonly number[]): Tensor => tensor("f32", shape, data);
export const i32 = (shape: readonly number[], data: readonly number[]): Tensor => tensor("i32", shape, data);

const S = symbol("S");
/** What the symbols and inputs of `graphs` stand for. */
export const SIZES = new Map([["S", 3]]);
export const supplies = {
  params: new Map([
    ["w", f32([4, 4], [0.5, -1, 2, 0.25, 1, 1, -0.5, 0.75, -2, 0.1, 0.2, 0.3, 1, 0, -1, 2])],
    ["v", f32([4], [1, -0.5, 0.25, 2])],
  ]),
  inputs: new Map([
    ["x", f32([3, 4], [1, 2, -3, 4, 0.5, -0.25, 2, 1, -1, 0.125, 3, 0])],
    ["i", i32([3], [2, 0, 3])],
  ]),
};

/** One way to extend a graph: from a value of shape [S, 4] to another. */
const steps: readonly ((b: Builder, x: Node, y: Node) => Node)[] = [
  (b, x, y) => b.add(x, y),
  (b, x, y) => b.mul(x, b.unary("tanh", y)),
  (b, x) => b.add(x, b.param("v", [4])),
  (b, x) => b.matmul(x, b.param("w", [4, 4])),
  (b, x, y) => b.where(b.compare("gt", x, 0), x, b.mul(y, 0.5)),
  (b, x) => b.sub(x, b.reduce("max", x, [-1], true)),
  (b, x) => b.div(x, b.add(b.reduce("sum", b.mul(x, x), [-1], true), 1)),
  (b, x) => b.swapLast(b.swapLast(x)),
  (b, x, y) => b.sliceAxis(b.concat([x, y], 1), 1, 2, 6),
  (b, x) => b.sliceAxis(b.padAxis(x, 0, 1, 1, 0.5), 0, 1, addDim(S, 1)),
  (b, x) => b.reshape(b.reshape(x, [S, 2, 2]), [S, 4]),
  (b, x) => b.cumsum(x, 1),
  (b, x) => b.add(x, b.gather(b.param("w", [4, 4]), b.input("i", { dtype: "i32", shape: [S] }))),
  (b, x) => b.mul(x, b.constant(S)),
  (b, x) => b.mul(x, b.draw("uniform", [S, 4], b.table([3, 4], [2], "i32"), b.constant(7, "i32"))),
  (b, x, y) => loopOf(b, x, y),
];
/** Three iterations of two bodies; the second exports, and the export of the last iteration is read. */
function loopOf(b: Builder, x: Node, y: Node): Node {
  const row = b.param("v", [4]);
  const inputs = [x, y, row];
  const body = (f: (carried: Node, captured: Node, row: Node) => Node[]) => {
    const params = [b.arg(0, x.type), b.arg(1, y.type), b.arg(2, row.type)];
    return { params, results: f(params[0], params[1], params[2]) };
  };
  const loop = b.loop(inputs, {
    carried: 1,
    bodies: [
      body((c, captured, r) => [b.mul(b.add(c, captured), r)]),
      body((c, captured, r) => [b.unary("tanh", b.sub(c, captured)), b.reduce("sum", b.mul(c, r), [1])]),
    ],
    iterations: [
      { body: 0, args: [0, 1] },
      { body: 1, args: [0, 1] },
      { body: 1, args: [0, 1] },
    ],
  });
  return b.add(b.carried(loop, 0), b.reshape(b.exported(loop, 2, 0), [S, 1]));
}

/** Graphs over the symbol S, with parameters, inputs, draws and loops. */
export const graphs: fc.Arbitrary<Graph> = fc
  .array(fc.tuple(fc.nat(steps.length - 1), fc.nat(100), fc.nat(100)), { minLength: 1, maxLength: 12 })
  .map((choices) => {
    const b = new Builder({ path: "" });
    const values: Node[] = [b.input("x", { dtype: "f32", shape: [S, 4] })];
    for (const [step, p, q] of choices) {
      const at = b.at({ path: `layer.${values.length}`, iteration: { loop: "layers", iteration: values.length, of: choices.length + 1 } });
      values.push(steps[step](at, values[p % values.length], values[q % values.length]));
    }
    const last = values[values.length - 1];
    return {
      results: [
        { role: "output", name: "y", node: last },
        { role: "output", name: "loss", node: b.reduce("mean", last) },
      ],
    };
  });
