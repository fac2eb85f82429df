import { describe, expect, test } from "@jest/globals";
import { affine, NotAffine, ROWS, solveFor, tabulate } from "../../src/ir/affine.ts";
import { bind } from "../../src/ir/bind.ts";
import { Builder } from "../../src/ir/build.ts";
import { symbol } from "../../src/ir/dim.ts";
import type { Node } from "../../src/ir/graph.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { type Tensor, tensor } from "../../src/ir/ops/index.ts";

const b = new Builder({ path: "test" });
const R = symbol(ROWS);
const N = 6;
const x = b.input("x", { dtype: "f32", shape: [R, N] });
const numbers = (shape: number[], seed: number): Tensor =>
  tensor(
    "f32",
    shape,
    Array.from({ length: shape.reduce((p, d) => p * d, 1) }, (_, i) => Math.sin(1 + i * 1.7 + seed)),
  );
const params = new Map([
  ["w", numbers([4, N], 1)],
  ["bias", numbers([4], 2)],
  ["a", numbers([2, N], 3)],
  ["b", numbers([4, 2], 4)],
  ["l", numbers([N], 5)],
  ["m", numbers([4], 6)],
  ["q", numbers([3, 2, 2], 7)],
  ["table", numbers([5, 4], 8)],
  ["small", numbers([5, 2], 9)],
]);
const p = (name: string): Node => b.param(name, params.get(name)!.shape);
const value = (node: Node | undefined, inputs = new Map<string, Tensor>()): number[] =>
  node === undefined
    ? []
    : ([
        ...interpret({ results: [{ role: "output", name: "y", node }] }, { params, inputs }).values(),
      ][0].data.slice() as unknown as number[]);
const plain = (at: Node) => b.add(b.matmul(at, b.swapLast(p("w"))), p("bias"));

/** y(x) − (x · linear + constant), the largest. */
function gap(y: Node): number {
  const { linear, constant } = affine(y, x);
  const rows = 3;
  const at = numbers([rows, N], 11);
  const inputs = new Map([["x", at]]);
  const bound = bind({ results: [{ role: "output", name: "y", node: y }] }, new Map([[ROWS, rows]])).results[0].node;
  const wanted = value(bound, inputs);
  const [l, c] = [value(linear), value(constant)];
  const width = wanted.length / rows;
  return Math.max(
    ...wanted.map((v, i) => {
      const [row, column] = [Math.floor(i / width), i % width];
      let sum = c[column] ?? 0;
      for (let k = 0; k < N; k++) sum += at.data[row * N + k] * (l[k * width + column] ?? 0);
      return Math.abs(v - sum);
    }),
  );
}

describe("functions of rows taken apart", () => {
  const low = (at: Node) => b.matmul(b.matmul(at, b.swapLast(p("a"))), b.swapLast(p("b")));
  const turned = b.reshape(
    b.permute(b.dot(b.reshape(x, [R, 3, 2]), p("q"), { lhsBatch: [1], rhsBatch: [0], lhsContract: [2], rhsContract: [1] }), [1, 0, 2]),
    [R, N],
  );
  const cases: Record<string, Node> = {
    "a product with a bias": plain(x),
    "a low-rank product beside it": b.add(plain(x), b.mul(low(x), 0.5)),
    "scaled going in": plain(b.mul(x, p("l"))),
    "scaled coming out, the bias too": b.mul(plain(x), p("m")),
    "shifted going in": plain(b.add(b.mul(x, 3), p("l"))),
    "rotated in blocks": plain(turned),
    "the difference of two": b.sub(low(x), plain(b.div(x, p("l")))),
    "coefficients that are not linear in parameters": b.mul(plain(x), b.unary("tanh", p("m"))),
    "no function of x at all": b.expand(b.reshape(p("m"), [1, 4]), [R, 4]),
    "behind a barrier": b.stopGradient(plain(x)),
    "a part of x": b.sliceAxis(plain(x), 1, 1, 3),
  };
  for (const [name, y] of Object.entries(cases)) test(name, () => expect(gap(y)).toBeLessThan(1e-12));

  test("what is no sum of a product and a constant names the node that prevents it", () => {
    const why = (y: Node) => {
      try {
        affine(y, x);
        return "none";
      } catch (error) {
        if (!(error instanceof NotAffine)) throw error;
        return `${error.why}: ${error.node.op}`;
      }
    };
    expect(why(b.unary("tanh", plain(x)))).toBe("not linear: tanh");
    expect(why(b.mul(x, x))).toBe("not linear: mul");
    expect(why(b.div(p("l"), x))).toBe("not linear: div");
    expect(why(b.add(x, b.reduce("mean", x, [0], true)))).toMatch("mixes rows");
    expect(why(b.cumsum(x, 0))).toBe("mixes rows: cumsum");
    expect(why(b.take(x, b.iota([R], 0), 0))).toBe("mixes rows: gather");
    expect(why(b.add(x, b.cast(b.reshape(b.iota([R], 0), [R, 1]), "f32")))).toMatch("by position");
    expect(why(b.div(x, b.constant(R)))).toMatch("by position");
  });

  test("a weight comes back out of its product, whichever way round it is stored", () => {
    for (const y of [plain(x), b.add(b.matmul(x, b.swapLast(b.swapLast(b.permute(p("w"), [1, 0])))), p("bias"))]) {
      const { linear, constant } = affine(y, x);
      const edited = affine(b.mul(plain(x), p("m")), x);
      const solved = solveFor(linear!, edited.linear!)!;
      expect(solved.param).toBe("w");
      expect(solved.value.type.shape).toEqual([4, N]);
      const [w, m] = [params.get("w")!.data, params.get("m")!.data];
      expect(value(solved.value)).toEqual(Float64Array.from(w, (v, i) => v * m[Math.floor(i / N)]));
      expect(solveFor(constant!, constant!)!.value.attrs.name).toBe("bias");
      expect(solveFor(edited.linear!, edited.linear!)).toBeUndefined();
    }
  });

  test("whole numbers: the table of all of them", () => {
    const ids = b.input("ids", { dtype: "i32", shape: [R] });
    const y = b.add(b.gather(p("table"), ids), b.matmul(b.gather(p("small"), ids), b.swapLast(p("b"))));
    const { linear } = tabulate(y, ids, 5);
    expect(linear!.type.shape).toEqual([5, 4]);
    expect(tabulate(b.gather(p("table"), ids), ids, 5).linear!.attrs.name).toBe("table");
    expect(() => tabulate(b.cumsum(b.gather(p("table"), ids), 0), ids, 5)).toThrow(NotAffine);
  });
});
