/** Structures that are printed as a function of PyTorch's: which are found, and that they compute what their nodes do. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { printTorch } from "../../src/backends/torch/program.ts";
import { differentiate } from "../../src/ir/autodiff.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { type Tensor, tensor } from "../../src/ir/ops/index.ts";
import { drawInto } from "../../src/ir/random.ts";
import { torchEngine } from "../../src/node/torch/engine.ts";
import type { Engine } from "../../src/train/engine/engine.ts";
import { hasTorch, torchTest } from "./support.ts";

const b = new Builder({ path: "m" });
const input = (name: string, ...shape: number[]): Node => b.input(name, { dtype: "f32", shape });
const spread = (x: Node, like: Node): Node => b.restore(x, like.type.shape, [like.type.shape.length - 1]);
const last = (kind: "sum" | "max" | "mean", x: Node): Node => spread(b.reduce(kind, x, [-1]), x);

const LOWEST = -3.4028234663852886e38;
function masked(x: Node, mask: Node): Node {
  const seen = b.where(mask, x, LOWEST);
  const e = b.where(mask, b.unary("exp", b.sub(seen, spread(b.stopGradient(b.reduce("max", seen, [-1])), seen))), 0);
  const all = b.reduce("sum", e, [-1], true);
  return b.div(e, b.broadcastTo(b.add(all, b.where(b.compare("gt", all, 0), 0, b.constant(1, "f32", all.type.shape))), e.type.shape));
}
const shifted = (x: Node): Node => b.sub(x, spread(b.stopGradient(b.reduce("max", x, [-1])), x));
function logSoftmax(x: Node): Node {
  const s = shifted(x);
  return b.sub(s, spread(b.unary("log", b.reduce("sum", b.unary("exp", s), [-1])), s));
}
const sigmoid = (x: Node): Node => b.div(1, b.add(1, b.unary("exp", b.neg(x))));
function norm(x: Node, eps: number): Node {
  return b.unary("sqrt", b.add(last("mean", b.pow(x, 2)), eps));
}

const mask = (shape: number[]): Node => b.input("mask", { dtype: "bool", shape });
const structures: Readonly<Record<string, () => Node>> = {
  "torch.softmax": () => {
    const x = input("x", 3, 5);
    const e = b.unary("exp", shifted(x));
    return b.div(e, last("sum", e));
  },
  "F.log_softmax": () => logSoftmax(input("x", 3, 5)),
  "ops.masked_softmax": () => masked(input("x", 3, 5), mask([3, 5])),
  "ops.attention": () => {
    const [q, k, v] = [input("q", 2, 2, 3, 4), input("k", 2, 2, 5, 4), input("v", 2, 2, 5, 6)];
    return b.matmul(masked(b.mul(b.matmul(q, b.permute(k, [0, 1, 3, 2])), 0.3), mask([2, 2, 3, 5])), v);
  },
  "F.layer_norm": () => {
    const x = input("x", 3, 5);
    const centred = b.sub(x, last("mean", x));
    return b.add(b.mul(b.div(centred, norm(centred, 1e-5)), b.broadcastTo(input("w", 5), [3, 5])), b.broadcastTo(input("c", 5), [3, 5]));
  },
  "F.rms_norm": () => {
    const x = input("x", 3, 5);
    return b.div(b.mul(b.broadcastTo(input("w", 5), [3, 5]), x), norm(x, 1e-6));
  },
  "torch.sigmoid": () => sigmoid(input("x", 3, 5)),
  "F.silu": () => {
    const x = input("x", 3, 5);
    return b.mul(x, sigmoid(x));
  },
  "F.gelu": () => {
    const x = input("x", 3, 5);
    return b.mul(b.mul(0.5, x), b.add(1, b.unary("erf", b.div(x, Math.SQRT2))));
  },
  "ops.dropout": () => {
    const x = input("x", 3, 5);
    const key = b.make("const", [], { shape: [2], dtype: "i32", data: [-7, 11] });
    const drawn = b.make("draw", [key, b.constant(3, "i32", [])], { kind: "uniform", shape: [3, 5] });
    return b.div(b.mul(x, b.cast(b.compare("lt", drawn, 0.9), "f32")), 0.9);
  },
  "ops.cross_entropy": () => {
    const x = input("x", 4, 5);
    const labels = b.input("labels", { dtype: "i32", shape: [4] });
    const known = b.make("ne", [labels, b.constant(-100, "i32", [4])]);
    const place = b.where(b.make("ne", [labels, b.constant(-100, "i32", [4])]), labels, b.constant(0, "i32", [4]));
    const hit = b.eq(b.iota([4, 5], 1), b.broadcastTo(b.reshape(place, [4, 1]), [4, 5]));
    return b.where(known, b.neg(b.reduce("sum", b.where(hit, logSoftmax(x), 0), [-1])), 0);
  },
};

/** Numbers for inputs: masks with a row that is false everywhere, labels with one that is none. */
function numbersFor(graph: Graph): Map<string, Tensor> {
  const out = new Map<string, Tensor>();
  const visit = (n: Node) => {
    for (const i of n.inputs) visit(i);
    if (n.op !== "input") return;
    const shape = n.type.shape as number[];
    const data = new Float64Array(shape.reduce((p, d) => p * d, 1));
    drawInto(data, "normal", [7, n.attrs.name === "k" ? 1 : 2], 0);
    if (n.type.dtype === "bool") data.forEach((_, i) => (data[i] = i >= shape.at(-1)! && i % 3 !== 1 ? 1 : 0));
    if (n.type.dtype === "i32") data.forEach((_, i) => (data[i] = [2, -100, 0, 4][i]));
    out.set(String(n.attrs.name), tensor(n.type.dtype, shape, n.type.dtype === "f32" ? Float64Array.from(Float32Array.from(data)) : data));
  };
  for (const r of graph.results) visit(r.node);
  return out;
}

/** The structure, and the gradient of a weighted sum of it by each input. */
function graphOf(make: () => Node): Graph {
  const y = make();
  const size = (y.type.shape as number[]).reduce((p, d) => p * d, 1);
  const sum = b.reduce("sum", b.mul(y, b.reshape(b.add(b.cast(b.iota([size], 0), "f32"), b.constant(1, "f32", [size])), y.type.shape)));
  const inputs = new Map<string, Node>();
  const visit = (n: Node) => {
    for (const i of n.inputs) visit(i);
    if (n.op === "input" && n.type.dtype === "f32") inputs.set(String(n.attrs.name), n);
  };
  visit(y);
  const gradients = [...inputs].map(([name, x]) => ({ role: "output" as const, name: `d_${name}`, node: b.grad(sum, x) }));
  return { results: [{ role: "output", name: "y", node: y }, ...gradients] };
}
const text = (graph: Graph) => printTorch([{ name: "f", graph, sizes: new Map() }]).files.get("objective.py")!;

describe("structures", () => {
  test.each(Object.entries(structures))("%s is found", (name, make) => {
    expect(text(graphOf(make))).toContain(`${name}(`);
    // and what is almost the same is not: another node reads a part
    const y = make();
    const parts = [y, ...y.inputs, ...y.inputs.flatMap((i) => i.inputs)].filter((n) => n.type.dtype === "f32" && n.inputs.length > 0);
    const results = parts.map((node, i) => ({ role: "output" as const, name: `y${i}`, node }));
    expect(text({ results })).not.toContain(`${name}(`);
  });

  let engine: Engine;
  beforeAll(async () => {
    if (hasTorch) engine = await torchEngine({ threads: 1 });
  });
  afterAll(() => engine?.close?.());

  torchTest("compute what their nodes do, and the same gradients", async () => {
    const wrong: string[] = [];
    for (const [name, make] of Object.entries(structures)) {
      const graph = graphOf(make);
      const numbers = numbersFor(graph);
      const session = await engine.open(await engine.build([{ name: "f", graph, sizes: new Map() }], { trained: [] }));
      const given = Object.fromEntries(
        [...numbers].map(([key, t]) => [key, t.dtype === "f32" ? Float32Array.from(t.data) : Int32Array.from(t.data)]),
      );
      const seen = await session.run("f", given);
      for (const [key, { data }] of interpret(differentiate(graph), { inputs: numbers })) {
        const got = seen[key.slice("output:".length)];
        const scale = Math.max(1, ...Array.from(data, Math.abs));
        if (!Array.from(data).every((v, i) => Math.abs(v - got[i]) / scale <= 1e-5))
          wrong.push(`${name} ${key}: ${Array.from(got)} for ${Array.from(data)}`);
      }
      await session.close();
    }
    expect(wrong).toEqual([]);
  });
});
