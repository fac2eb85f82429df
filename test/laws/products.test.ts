import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { differentiate } from "../../src/ir/autodiff.ts";
import { Builder } from "../../src/ir/build.ts";
import { graphCost } from "../../src/ir/flops.ts";
import { type Graph, type Node, order, sizes } from "../../src/ir/graph.ts";
import type { Supplies } from "../../src/ir/interpret.ts";
import { type Tensor, tensor } from "../../src/ir/ops/index.ts";
import { fold } from "../../src/ir/passes/fold.ts";
import { PassContext, runPasses } from "../../src/ir/passes/pass.ts";
import { levelsOf, Prices } from "../../src/ir/passes/products/prices.ts";
import { products } from "../../src/ir/passes/products.ts";
import { simplify } from "../../src/ir/passes/simplify.ts";
import { print } from "../../src/ir/print.ts";
import { verify } from "../../src/ir/verify.ts";
import { cse } from "../support/cse.ts";
import { expectEqual } from "../support/equal.ts";
import { randomGraph, supplies } from "../support/random-graph.ts";

const inspect = { verify, print };
const ready = (graph: Graph) => runPasses([simplify, fold, cse], differentiate(graph), new PassContext(), inspect);
const improved = (graph: Graph) => runPasses([products, simplify, fold, cse], graph, new PassContext(), inspect);

const b = new Builder({ path: "" });
const values = (named: Readonly<Record<string, readonly number[]>>): Map<string, Tensor> =>
  new Map(
    Object.entries(named).map(([name, shape], k) => {
      const n = shape.reduce((p, d) => p * d, 1);
      return [
        name,
        tensor(
          "f32",
          shape,
          Array.from({ length: n }, (_, i) => Math.sin(1.3 * i + k) + 0.2 * Math.cos(i * (k + 2))),
        ),
      ];
    }),
  );

/** Sizes that make a dense matrix dear and a thin one cheap; small enough for the interpreter. */
const [T, I, O, R] = [6, 48, 40, 2];
const shapes = { w: [O, I], a: [R, I], b: [O, R], m: [O] };
const supplied: Supplies = { inputs: values({ x: [T, I], y: [T, O] }), params: values(shapes) };
const x = b.input("x", { dtype: "f32", shape: [T, I] });
const y = b.input("y", { dtype: "f32", shape: [T, O] });
const w = b.param("w", shapes.w);
const a = b.param("a", shapes.a);
const bb = b.param("b", shapes.b);
const m = b.param("m", shapes.m);

const linear = (x: Node, weight: Node) => b.matmul(x, b.swapLast(weight));
const lossOf = (out: Node) => {
  const e = b.sub(b.unary("tanh", out), y);
  return b.reduce("sum", b.mul(e, e));
};
const training = (loss: Node, params: readonly Node[]): Graph => ({
  results: [
    { role: "output", name: "loss", node: loss },
    ...params.map((p) => ({ role: "param" as const, name: String(p.attrs.name), node: b.sub(p, b.mul(0.01, b.grad(loss, p))) })),
  ],
});
/** Nodes of the shape of the dense weight, other than sources and moved sources. */
const dense = (graph: Graph) =>
  order(graph.results.map((r) => r.node)).filter(
    (n) =>
      sizes(n).reduce((p, d) => p * d, 1) >= O * I && n.inputs.length > 0 && n.op !== "permute" && n.op !== "reshape" && n.op !== "expand",
  );

/** What all nodes cost by the measure that the pass goes by. */
function price(graph: Graph): number {
  const nodes = order(graph.results.map((r) => r.node));
  const prices = new Prices(levelsOf(nodes, new Set(), new Map()));
  return nodes.reduce((sum, n) => sum + prices.node(n), 0);
}

const update = b.mul(0.5, b.matmul(bb, a));

describe("low rank without a list of methods", () => {
  test("W + s·B·A: neither the sum nor its gradient is made", () => {
    const graph = ready(training(lossOf(linear(x, b.add(w, update))), [a, bb]));
    const better = improved(graph);
    expectEqual(graph, better, supplied);
    expect(dense(better).map((n) => n.op)).toEqual([]);
    expect(graphCost(better).total.products).toBeLessThan(graphCost(graph).total.products);
    // x·W, x·Aᵀ, ·Bᵀ, and backwards g·B and two thin gradients; the gradient of x is not asked for.
    expect(graphCost(better).total.products).toBe(T * I * O + 3 * T * O * R + 2 * T * I * R);
  });
  test("x·(B·A) is (x·A)·B", () => {
    const graph = ready(training(lossOf(b.add(linear(x, w), linear(x, update))), [a, bb]));
    const better = improved(graph);
    expectEqual(graph, better, supplied);
    expect(dense(better).map((n) => n.op)).toEqual([]);
  });
  test("a row norm, a magnitude and their gradients: DoRA's form", () => {
    const v = b.add(w, update);
    const norm = b.stopGradient(b.unary("sqrt", b.reduce("sum", b.pow(v, 2), [1])));
    const scaled = b.mul(b.reshape(b.div(m, norm), [O, 1]), v);
    const graph = ready(training(lossOf(linear(x, scaled)), [a, bb, m]));
    const better = improved(graph);
    expectEqual(graph, better, supplied);
    // ‖W‖² alone is as large as W, and it is fixed at loading.
    expect(
      dense(better)
        .filter((n) => order([n]).some((i) => i.attrs.name === "a"))
        .map((n) => n.op),
    ).toEqual([]);
    expect(graphCost(better).total.products).toBeLessThan(graphCost(graph).total.products);
  });
  test("what is fixed at loading is not taken apart", () => {
    const graph = ready(training(lossOf(b.mul(linear(x, b.add(w, update)), b.broadcastTo(m, [T, O]))), [m]));
    const better = improved(graph);
    expectEqual(graph, better, supplied);
    expect(graphCost(better).total.products).toBeLessThanOrEqual(graphCost(graph).total.products);
  });
  test("an elementwise product of two updates stays dense where that is cheaper", () => {
    const hada = b.mul(b.matmul(bb, a), b.matmul(bb, a));
    const graph = ready(training(lossOf(linear(x, b.add(w, hada))), [a, bb]));
    const better = improved(graph);
    expectEqual(graph, better, supplied);
    expect(graphCost(better).total.products).toBeLessThanOrEqual(graphCost(graph).total.products);
  });
});

test("products keeps what random graphs mean, and costs no more", () => {
  fc.assert(
    fc.property(randomGraph, (graph) => {
      const before = runPasses([simplify, fold, cse], graph, new PassContext(), inspect);
      const after = runPasses([products], before, new PassContext(), inspect);
      expectEqual(before, after, supplies, 1e-8);
      expect(price(after)).toBeLessThanOrEqual(price(before) * (1 + 1e-12));
    }),
    { numRuns: 200 },
  );
});

test("streams that each layer adds to twice are looked at once a node: the paths through them double with every layer", () => {
  let [p, q]: Node[] = [b.input("p", { dtype: "f32", shape: [T, I] }), b.input("q", { dtype: "f32", shape: [T, I] })];
  const thin = (i: number, x: Node) => b.matmul(b.matmul(x, b.param(`u${i}`, [I, R])), b.param(`v${i}`, [R, I]));
  for (let i = 0; i < 30; i++) {
    p = b.add(b.add(p, q), b.reshape(thin(i, q), [T, I]));
    q = b.add(b.add(q, p), b.matmul(b.param(`s${i}`, [T, 1]), b.param(`t${i}`, [1, I])));
  }
  const graph = ready(training(b.reduce("sum", b.unary("tanh", q)), [b.param("u0", [I, R])]));
  // to be run through in seconds, and in memory
  verify(improved(graph));
});
