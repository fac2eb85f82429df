/** Every row of the op table as PyTorch computes it: values of its examples, and their gradients, beside those of the interpreter. */
import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import { differentiate } from "../../src/ir/autodiff.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Graph, Node, Result } from "../../src/ir/graph.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { type Example, type OpName, ops, type Tensor } from "../../src/ir/ops/index.ts";
import { torchEngine } from "../../src/node/torch/engine.ts";
import type { Engine } from "../../src/train/engine/engine.ts";
import { hasTorch, torchTest } from "./support.ts";

const b = new Builder({ path: "m" });
const rows = Object.entries(ops).filter(([, row]) => row.examples.length > 0) as [OpName, (typeof ops)[OpName]][];

/** f32's unit roundoff, with room for a reduction in another order and for functions within a few units. */
const TOLERANCE = 1e-5;

/** The example with its operands handed in, and where there are slopes the gradient of a weighted sum of the result. */
function graphOf(op: OpName, { inputs, attrs }: Example): { graph: Graph; given: Record<string, Float32Array | Int32Array> } {
  const given: Record<string, Float32Array | Int32Array> = {};
  const operands = inputs.map((t, i) => {
    given[`x${i}`] = t.dtype === "f32" ? Float32Array.from(t.data) : Int32Array.from(t.data);
    return b.input(`x${i}`, { dtype: t.dtype, shape: t.shape });
  });
  const y = b.make(op, operands, attrs);
  const results: Result[] = [{ role: "output", name: "y", node: y }];
  const { vjp } = ops[op];
  if (y.type.dtype === "f32" && vjp !== "zero" && vjp !== "refused" && operands.length > 0) {
    const size = (y.type.shape as number[]).reduce((p, d) => p * d, 1);
    const weights: Node = b.reshape(b.add(b.cast(b.iota([size], 0), "f32"), b.constant(1, "f32", [size])), y.type.shape);
    const sum = b.reduce("sum", b.mul(y, weights));
    operands.forEach((x, i) => {
      if (x.type.dtype === "f32") results.push({ role: "output", name: `d${i}`, node: b.grad(sum, x) });
    });
  }
  return { graph: { results }, given };
}

const tensors = (inputs: readonly Tensor[]) => new Map(inputs.map((t, i) => [`x${i}`, t]));

describe("rows in PyTorch", () => {
  let engine: Engine;
  beforeAll(async () => {
    if (hasTorch) engine = await torchEngine({ threads: 1 });
  });
  afterAll(() => engine?.close?.());

  torchTest("give what the interpreter gives, and the same gradients", async () => {
    const entries = rows.flatMap(([op, row]) =>
      row.examples.map((example, i) => ({ name: `${op}_${i}`, example, ...graphOf(op, example) })),
    );
    const built = await engine.build(
      entries.map(({ name, graph }) => ({ name, graph, sizes: new Map() })),
      { trained: [] },
    );
    const session = await engine.open(built);
    const wrong: string[] = [];
    for (const { name, graph, given, example } of entries) {
      const seen = await session.run(name, given);
      const meant = interpret(differentiate(graph), { inputs: tensors(example.inputs) });
      for (const [key, { data }] of meant) {
        const got = seen[key.slice("output:".length)];
        const scale = Math.max(1, ...Array.from(data, (v) => (Number.isFinite(v) ? Math.abs(v) : 0)));
        const off = Array.from(data, (v, i) => (Object.is(v, got[i]) || v === got[i] ? 0 : Math.abs(v - got[i]) / scale));
        if (got.length !== data.length || !off.every((d) => d <= TOLERANCE))
          wrong.push(`${name} ${key}: ${Array.from(got)} for ${Array.from(data)}`);
      }
    }
    await session.close();
    expect(wrong).toEqual([]);
    // every row with an example has been looked at
    expect(new Set(entries.map((e) => e.name.replace(/_\d+$/, ""))).size).toBe(rows.length);
  });
});
