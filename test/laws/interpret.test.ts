import { describe, expect, test } from "@jest/globals";
import { Builder } from "../../src/ir/build.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";
import { evaluate, interpret } from "../../src/ir/interpret.ts";
import { f32, i32 } from "./graphs.ts";

const b = new Builder({ path: "" });
const output = (n: Node): Graph => ({ results: [{ role: "output", name: "y", node: n }] });
const value = (n: Node) => evaluate([n])[0];

describe("the builder", () => {
  const x = b.table([1, 2, 3, 4, 5, 6], [2, 3]);
  test("broadcasts from the end", () => {
    expect([...value(b.add(x, b.table([10, 20, 30], [3]))).data]).toEqual([11, 22, 33, 14, 25, 36]);
    expect([...value(b.mul(b.table([1, 2], [2, 1]), b.table([1, 10], [2]))).data]).toEqual([1, 10, 2, 20]);
    expect(() => b.add(x, b.table([1, 2], [2]))).toThrow("sizes 3 and 2 differ on the last axis");
  });
  test("promotes: i32 with f32 is f32, bool counts, div is f32, a whole number stays i32", () => {
    const i = b.table([1, 2], [2], "i32");
    const c = b.compare("gt", i, 1);
    expect(c.type.dtype).toBe("bool");
    expect(b.add(i, 1).type.dtype).toBe("i32");
    expect(b.add(i, 1.5).type.dtype).toBe("f32");
    expect([...value(b.add(c, c)).data]).toEqual([0, 2]);
    expect(b.add(c, c).type.dtype).toBe("i32");
    expect([...value(b.div(i, 4)).data]).toEqual([0.25, 0.5]);
    expect(b.unary("exp", i).type.dtype).toBe("f32");
    expect(b.where(c, i, 0.5).type.dtype).toBe("f32");
    expect([...value(b.reduce("mean", i)).data]).toEqual([1.5]);
    expect(b.reduce("sum", c).type.dtype).toBe("i32");
  });
  test("matmul is NumPy's @ in all its ranks", () => {
    const naive = (p: number[], q: number[]) => {
      const a = b.reshape(b.cast(b.iota([p.reduce((s, d) => s * d, 1)], 0), "f32"), p);
      const c = b.reshape(b.cast(b.iota([q.reduce((s, d) => s * d, 1)], 0), "f32"), q);
      // By broadcasting: [..., m, k, 1] · [..., 1, k, n] summed over k.
      const left = p.length === 1 ? b.reshape(a, [1, ...p]) : a;
      const right = q.length === 1 ? b.reshape(c, [...q, 1]) : c;
      const product = b.mul(
        b.reshape(left, [...left.type.shape, 1]),
        b.reshape(right, [...right.type.shape.slice(0, -2), 1, ...right.type.shape.slice(-2)]),
      );
      const sum = value(b.reduce("sum", product, [-2]));
      let shape = [...sum.shape];
      if (q.length === 1) shape = shape.slice(0, -1);
      if (p.length === 1) shape.splice(q.length === 1 ? shape.length - 1 : shape.length - 2, 1);
      const got = value(b.matmul(a, c));
      expect(got.shape).toEqual(shape);
      expect([...got.data]).toEqual([...sum.data]);
    };
    naive([3], [3]);
    naive([2, 3], [3]);
    naive([3], [3, 2]);
    naive([2, 3], [3, 4]);
    naive([5, 2, 3], [3, 4]);
    naive([2, 3], [5, 3, 4]);
    naive([3], [5, 3, 4]);
    naive([5, 2, 3], [3]);
    naive([5, 2, 3], [5, 3, 4]);
    naive([6, 1, 2, 3], [5, 3, 4]);
  });
  test("take, pick, reverse", () => {
    expect([...value(b.take(x, b.table([2, 0], [2], "i32"), 1)).data]).toEqual([3, 1, 6, 4]);
    expect([...value(b.pick(x, 1, -1)).data]).toEqual([3, 6]);
    expect([...value(b.reverse(x, 1)).data]).toEqual([3, 2, 1, 6, 5, 4]);
    expect(value(b.take(b.reshape(x, [1, 2, 3]), b.table([0, 1, 1, 0], [2, 2], "i32"), 1)).shape).toEqual([1, 2, 2, 3]);
  });
});

describe("interpret", () => {
  test("runs loops: rows by iteration, captured values, exports by iteration", () => {
    const [c, r, k] = [0, 1, 2].map((i) => b.arg(i, { dtype: "f32", shape: [] }));
    const rows = [2, 3, 4].map((v) => b.constant(v));
    const loop = b.loop([b.constant(1), ...rows, b.constant(10)], {
      carried: 1,
      bodies: [{ params: [c, r, k], results: [b.mul(c, r), b.add(c, k)] }],
      iterations: [
        { body: 0, args: [0, 3] },
        { body: 0, args: [1, 3] },
        { body: 0, args: [2, 3] },
      ],
    });
    const out = evaluate([b.carried(loop, 0), b.exported(loop, 0, 0), b.exported(loop, 2, 0)]);
    expect(out.map((t) => t.data[0])).toEqual([24, 11, 16]);
  });
  test("results are named by role and name", () => {
    const p = b.param("p", [1]);
    const out = interpret(
      { results: [{ role: "param", name: "p", node: b.add(p, 1) }, ...output(p).results] },
      { params: new Map([["p", f32([1], [4])]]) },
    );
    expect([...out.keys()]).toEqual(["param:p", "output:y"]);
    expect(out.get("param:p")!.data[0]).toBe(5);
  });
  test("refuses placeholders, missing values, and values of another type", () => {
    const p = b.param("p", []);
    const params = new Map([["p", f32([], [4])]]);
    expect(() => interpret(output(b.grad(p, p)), { params })).toThrow(/placeholder/);
    expect(() => interpret(output(p), {})).toThrow("no value for the param p");
    expect(() => interpret(output(p), { params: new Map([["p", f32([1], [4])]]) })).toThrow(/its value is f32\[1\]/);
    expect(() => interpret(output(p), { params: new Map([["p", i32([], [4])]]) })).toThrow(/its value is i32\[\]/);
  });
  test("a long chain needs no stack", () => {
    let n = b.constant(0);
    for (let i = 0; i < 20000; i++) n = b.add(n, 1);
    expect(value(n).data[0]).toBe(20000);
  });
});
