/** What is computed in slices: results stay, and what is large never stands whole. */
import { describe, expect, test } from "@jest/globals";
import { Builder } from "../../src/ir/build.ts";
import { type Graph, type Node, order, sizes } from "../../src/ir/graph.ts";
import { interpret, type Supplies } from "../../src/ir/interpret.ts";
import { rowOf } from "../../src/ir/ops/index.ts";
import { compileGraph, pipeline } from "../../src/ir/pipeline.ts";
import { allNodes } from "../../src/ir/rewrite.ts";
import { suppliesFor, trainingStep } from "../support/transformer.ts";

const passes = pipeline.filter((p) => p.name !== "scalars");
const compiled = (graph: Graph, slice: number): Graph => compileGraph(graph, { options: { slice }, passes }).graph;
const elements = (n: Node): number => sizes(n).reduce((p, d) => p * d, 1);
/** Elements of the largest value that a step outside loops, or within a body, computes by a product. */
const largest = (graph: Graph): number => Math.max(...allNodes(graph).map((n) => (n.op === "dot" ? elements(n) : 0)));
const loops = (graph: Graph): Node[] => order(graph.results.map((r) => r.node)).filter((n) => n.loop);

/** Each result's greatest difference from the first graph's, relative to its greatest magnitude. */
function apart(a: Graph, b: Graph, given: Supplies): number {
  const [x, y] = [interpret(a, given), interpret(b, given)];
  let worst = 0;
  for (const [key, t] of x) {
    const scale = t.data.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-30);
    t.data.forEach((v, i) => {
      worst = Math.max(worst, Math.abs(v - y.get(key)!.data[i]) / scale);
    });
  }
  return worst;
}

const shape = { layers: 1, batch: 2, sequence: 24, dim: 12, heads: 2, vocab: 96, rank: 2 };

describe("a training step in slices", () => {
  const graph = trainingStep(shape);
  const given = suppliesFor(graph);
  const whole = compiled(graph, Number.POSITIVE_INFINITY);

  test("gives the same losses and next values, by batch, by head and by rows", () => {
    for (const slice of [4000, 1500, 600]) {
      const cut = compiled(graph, slice);
      expect(loops(cut).length).toBeGreaterThan(2);
      expect(apart(whole, cut, given)).toBeLessThan(1e-9);
    }
  });

  test("never has its logits, nor its scores", () => {
    const logits = shape.batch * shape.sequence * shape.vocab;
    const scores = shape.batch * shape.heads * shape.sequence ** 2;
    expect(largest(whole)).toBe(logits);
    // what is left is the largest product that is not made to be used up at once: queries, keys and values
    expect(largest(compiled(graph, 1500))).toBe(shape.batch * shape.sequence * 3 * shape.dim);
    expect(3 * shape.dim * shape.sequence * shape.batch).toBeLessThan(Math.min(logits, scores));
    // a mask is made of positions where it is read
    const masks = loops(compiled(graph, 1500)).flatMap((n) =>
      n.inputs.filter((x) => x.type.dtype === "bool" && elements(x) >= shape.sequence ** 2),
    );
    expect(masks).toEqual([]);
  });

  test("the head makes loss and gradient in one loop, and its product once each way", () => {
    const cut = compiled(graph, 1500);
    const head = (n: Node) => n.op === "dot" && n.inputs.some((x) => sizes(x)[0] === shape.vocab);
    const heads = loops(cut).filter((n) =>
      allNodes({ results: n.loop!.bodies[0].results.map((node) => ({ role: "output", name: "", node })) }).some(head),
    );
    expect(heads).toHaveLength(1);
    expect(heads[0].backward).toBe(false);
  });

  test("a head whose weight is larger than its logits, in 16 bits: cut by what it makes of activations", () => {
    const b = new Builder({ path: "head" });
    const words = b.make("narrow", [b.param("words", [512, 8])], { format: "bf16" });
    const weight = b.make("widen", [words], { shape: [512, 8], format: "bf16" });
    const logits = b.dot(b.input("x", { dtype: "f32", shape: [32, 8] }), weight, { lhsContract: [1], rhsContract: [1] });
    const graph: Graph = { results: [{ role: "output", name: "y", node: b.reduce("sum", b.unary("exp", logits), [1]) }] };
    const cut = compiled(graph, 16 * 512 * 4);
    expect(loops(cut)).toHaveLength(1);
    expect(largest(cut)).toBe(16 * 512);
    // what is packed is packed once, outside
    expect(order(cut.results.map((r) => r.node)).filter((n) => n.op === "narrow")).toHaveLength(1);
    expect(allNodes(cut).filter((n) => n.op === "narrow")).toHaveLength(1);
  });

  test("a head whose weight is in 4 bits, with scales and levels: cut as well, and unpacked where it is read", () => {
    const b = new Builder({ path: "head" });
    const words = b.param("words", [512, 8]);
    const scale = b.reduce("max", b.unary("abs", b.reshape(words, [64, 64])), [1]);
    const levels = b.table(
      Array.from({ length: 16 }, (_, i) => i / 8 - 1),
      [16],
    );
    const weight = b.make("dequantise", [b.make("quantise", [words, scale, levels], { block: 64 }), scale, levels], {
      shape: [512, 8],
      block: 64,
    });
    const logits = b.dot(b.input("x", { dtype: "f32", shape: [32, 8] }), weight, { lhsContract: [1], rhsContract: [1] });
    const graph: Graph = { results: [{ role: "output", name: "y", node: b.reduce("sum", b.unary("exp", logits), [1]) }] };
    const cut = compiled(graph, 16 * 512 * 4);
    expect(loops(cut)).toHaveLength(1);
    expect(largest(cut)).toBe(16 * 512);
    expect(allNodes(cut).filter((n) => n.op === "quantise")).toHaveLength(1);
  });

  test("has as many nodes for many iterations as for few", () => {
    const b = new Builder({ path: "rows" });
    const count = (rows: number): [number, number] => {
      const q = b.param("q", [rows, 4]);
      const weights = b.unary("exp", b.dot(q, q, { lhsContract: [1], rhsContract: [1] }));
      const graph: Graph = { results: [{ role: "output", name: "y", node: b.dot(weights, q, { lhsContract: [1], rhsContract: [0] }) }] };
      const cut = compiled(graph, 4 * rows * 16);
      return [allNodes(cut).length, loops(cut)[0].loop!.iterations.length];
    };
    const [[few, four], [many, sixteen]] = [count(64), count(256)];
    expect([four, sixteen]).toEqual([4, 16]);
    expect(many).toBe(few);
  });
});

describe("a feed-forward layer in fine slices", () => {
  const b = new Builder({ path: "mlp" });
  const [tokens, dim, width] = [8, 40, 32768];
  const x = b.param("x", [tokens, dim]);
  const [gate, up] = ["gate", "up"].map((name) => b.param(name, [width, dim]));
  const down = b.make("widen", [b.make("narrow", [b.param("down", [dim, width])], { format: "bf16" })], {
    shape: [dim, width],
    format: "bf16",
  });
  const by = (h: Node, w: Node) => b.dot(h, w, { lhsContract: [1], rhsContract: [1] });
  const inner = b.mul(b.unary("tanh", by(x, gate)), by(x, up));
  const y = by(inner, down);
  const loss = b.reduce("sum", b.unary("sin", y), [0, 1]);
  const graph: Graph = {
    results: [
      { role: "output", name: "y", node: y },
      { role: "output", name: "dx", node: b.grad(loss, x) },
    ],
  };
  const cut = compiled(graph, 2 ** 18);

  test("goes by its width, forward and backward, and has what it gives as a sum over iterations", () => {
    expect(loops(cut).map((n) => [n.backward, n.loop!.iterations.length, n.loop!.carried])).toEqual([
      [false, 4, 1],
      [true, 4, 2],
    ]);
    expect(largest(cut)).toBe((tokens * width) / 4);
    expect(apart(compiled(graph, Number.POSITIVE_INFINITY), cut, suppliesFor(graph))).toBeLessThan(1e-9);
  });

  test("reads each part of a weight where it lies, once a loop", () => {
    for (const n of loops(cut)) {
      for (const x of n.inputs) expect(rowOf(x).supply === "param" || x.op === "narrow" || elements(x) <= tokens * dim).toBe(true);
      const read = n.loop!.bodies.flatMap(({ results }) =>
        order(results).filter((s) => s.op === "slice" && elements(s) === (width / 4) * dim),
      );
      expect(read.length).toBeGreaterThanOrEqual(3 * 4);
    }
  });

  test("is left whole where slices are not fine: its backward half would make long products again", () => {
    expect(loops(compiled(graph, 2 ** 23))).toHaveLength(0);
  });
});

describe("what is not cut", () => {
  const b = new Builder({ path: "chunk" });
  const x = b.param("x", [64, 4]);
  const big = b.dot(x, x, { lhsContract: [1], rhsContract: [1] });
  const graphOf = (node: Node): Graph => ({ results: [{ role: "output", name: "y", node }] });

  test("a value that is read whole", () => {
    expect(loops(compiled(graphOf(b.unary("exp", big)), 1000))).toHaveLength(0);
    expect(loops(compiled(graphOf(b.cumsum(b.cumsum(big, 0), 1)), 1000))).toHaveLength(0);
  });

  test("along an axis in whose order it is computed: then along another", () => {
    const sum = b.reduce("sum", b.cumsum(b.unary("exp", big), 0), [1]);
    const cut = compiled(graphOf(sum), 4000);
    expect(loops(cut)).toHaveLength(1);
    expect(loops(cut)[0].loop!.carried).toBe(1);
    const given = suppliesFor(graphOf(sum));
    expect(apart(graphOf(sum), cut, given)).toBeLessThan(1e-12);
  });

  test("a loss that the gradient depends on: two loops, the second makes the value again", () => {
    const w = b.param("w", [80, 8]);
    const h = b.param("h", [32, 8]);
    const logits = b.dot(h, w, { lhsContract: [1], rhsContract: [1] });
    const margin = b.reduce("sum", b.unary("exp", logits), [0, 1]);
    const loss = b.unary("tanh", b.mul(margin, 1e-3));
    const graph: Graph = {
      results: [
        { role: "output", name: "loss", node: loss },
        { role: "output", name: "dh", node: b.grad(loss, h) },
      ],
    };
    const cut = compiled(graph, 5000);
    expect(loops(cut)).toHaveLength(2);
    expect(loops(cut).map((n) => n.backward)).toEqual([false, true]);
    expect(apart(compiled(graph, Number.POSITIVE_INFINITY), cut, suppliesFor(graph))).toBeLessThan(1e-12);
  });

  test("draws are those of the whole value", () => {
    const [key, step] = [b.table([7, 9], [2], "i32"), b.input("step", { dtype: "i32", shape: [] })];
    const q = b.param("q", [2, 48, 4]);
    const scores = b.dot(q, q, { lhsBatch: [0], rhsBatch: [0], lhsContract: [2], rhsContract: [2] });
    const kept = b.compare("lt", b.draw("uniform", [2, 48, 48], key, step), 0.9);
    const y = b.dot(b.where(kept, b.unary("exp", scores), 0), q, { lhsBatch: [0], rhsBatch: [0], lhsContract: [2], rhsContract: [1] });
    const cut = compiled(graphOf(y), 4 * 48 * 20);
    expect(loops(cut)).toHaveLength(1);
    expect(
      loops(cut)[0]
        .loop!.bodies[0].results.flatMap((n) => order([n]))
        .some((n) => n.loop),
    ).toBe(true);
    expect(apart(compiled(graphOf(y), Number.POSITIVE_INFINITY), cut, suppliesFor(graphOf(y)))).toBeLessThan(1e-12);
  });
});
