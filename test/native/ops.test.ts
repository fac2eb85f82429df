/** Every row of the op table as native kernels compute it, beside its meaning; and programs at every width of vectors. */
import { describe, expect } from "@jest/globals";
import { Builder, make } from "../../src/ir/build.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";
import { type OpName, ops, type Tensor, tensor } from "../../src/ir/ops/index.ts";
import { difference, type Given, given, meaning, outputs, values } from "../device/support/run.ts";
import { tolerances } from "../tolerances.ts";
import { nativeTest, openNative, quick, scratch } from "./support.ts";

const origin = { path: "native" };
const b = new Builder(origin);
const folder = scratch();

interface Case {
  readonly name: string;
  readonly graph: Graph;
  readonly given: Given;
  readonly most: number;
}

function examples(): Case[] {
  return Object.entries(ops).flatMap(([op, row]) =>
    row.examples.map(({ inputs, attrs }, i): Case => {
      const values: Given = { params: new Map(), states: new Map(), inputs: new Map(inputs.map((t, j) => [`x${j}`, t])) };
      const nodes = inputs.map((t, j) => make("input", [], { name: `x${j}`, shape: t.shape, dtype: t.dtype }, origin));
      const exact = (row.role === "move" || row.role === "source" || row.role === "index") && op !== "draw";
      const graph = outputs(make(op as OpName, nodes, attrs, origin));
      return { name: `${op}_${i}`, graph, given: values, most: exact ? tolerances.exact : tolerances.map };
    }),
  );
}

/** Numbers from where functions are hard: near 0, near their limits, beyond them, and what is no number. */
const HARD = [
  0,
  -0,
  1e-30,
  -1e-30,
  1e-6,
  -0.4,
  0.6,
  0.89,
  0.91,
  1,
  -1,
  2.5,
  -2.5,
  7.9,
  -8,
  30,
  -87,
  -90,
  88,
  100,
  1e30,
  -1e30,
  Infinity,
  -Infinity,
  NaN,
];
const FUNCTIONS = ["exp", "log", "tanh", "erf", "sqrt", "abs", "sign", "floor", "ceil", "round", "neg"] as const;

function functions(): Case[] {
  const x: Tensor = tensor("f32", [HARD.length], Float64Array.from(HARD, Math.fround));
  return FUNCTIONS.map((fn) => {
    const node = make("input", [], { name: "x0", shape: x.shape, dtype: "f32" }, origin);
    const values: Given = { params: new Map(), states: new Map(), inputs: new Map([["x0", x]]) };
    return { name: `hard_${fn}`, graph: outputs(b.unary(fn, node)), given: values, most: tolerances.map };
  });
}

/** Products in every layout, with edges on all sides, two sums in one, rows that meet columns; reductions over rows and columns. */
function programs(): Case[] {
  const x = b.input("x", { dtype: "f32", shape: [37, 45] });
  const dot = (lhs: Node, rhs: Node, l: number, r: number) => b.dot(lhs, rhs, { lhsContract: [l], rhsContract: [r] });
  const y = dot(x, b.param("w", [45, 70]), 1, 0);
  const z = dot(x, b.param("v", [70, 45]), 1, 1);
  const low = dot(dot(x, b.param("a", [45, 4]), 1, 0), b.param("b", [4, 70]), 1, 0);
  const h = b.unary("tanh", b.add(b.add(y, low), b.param("c", [70])));
  const e = b.unary("exp", b.sub(h, b.reduce("max", h, [1], true)));
  const soft = b.div(e, b.reduce("sum", e, [1], true));
  const graphs = {
    layers: outputs(soft, b.reduce("sum", h, [0]), dot(x, b.mul(z, h), 0, 0), b.reduce("max", z, [0, 1])),
    heads: outputs(
      dot(b.reshape(b.permute(b.reshape(x, [37, 9, 5]), [1, 0, 2]), [9 * 37, 5]), b.param("u", [5, 33]), 1, 0),
      b.permute(y, [1, 0]),
    ),
    deep: outputs(dot(b.input("p", { dtype: "f32", shape: [3, 1000] }), b.param("q", [1000, 20]), 1, 0)),
  };
  return Object.entries({ ...graphs, ...packed() }).map(([name, graph]) => ({
    name,
    graph,
    given: given(graph, 11),
    most: tolerances.chain,
  }));
}

/** Products with weights of few bits: words and blocks along the sum and across it, in pieces of it, and where neither fits the shape. */
function packed(): Record<string, Graph> {
  const of = (rows: number, columns: number, count: number, block: number): Graph => {
    const [w, levels] = [
      b.param(`w${rows}`, [rows, columns]),
      b.table(
        Array.from({ length: count }, (_, i) => (2 * i) / (count - 1) - 1),
        [count],
      ),
    ];
    const flat = b.padAxis(b.reshape(w, [rows * columns]), 0, 0, (block - ((rows * columns) % block)) % block);
    const scale = b.reduce("max", b.unary("abs", b.reshape(flat, [Math.ceil((rows * columns) / block), block])), [1]);
    const codes = b.make("quantise", [w, scale, levels], { block });
    const q = b.make("dequantise", [codes, scale, levels], { shape: [rows, columns], block });
    const times = (size: number, axis: number) =>
      b.dot(b.input(`x${axis}`, { dtype: "f32", shape: [5, size] }), q, { lhsContract: [1], rhsContract: [axis] });
    return outputs(times(columns, 1), times(rows, 0));
  };
  return {
    four: of(48, 192, 16, 64),
    eight: of(24, 128, 255, 64),
    odd: of(13, 10, 16, 7),
    long: of(40, 2048, 16, 64),
    half: outputs(
      b.dot(
        b.input("x", { dtype: "f32", shape: [5, 48] }),
        b.make("widen", [b.make("narrow", [b.param("half", [40, 48])], { format: "bf16" })], { shape: [40, 48], format: "bf16" }),
        { lhsContract: [1], rhsContract: [1] },
      ),
    ),
  };
}

/** Names of results that are not what they mean. */
async function wrong(cases: readonly Case[], lanes?: number, workers = 1): Promise<string[]> {
  const session = await openNative(
    quick(folder),
    cases.map(({ name, graph }) => ({ name, graph })),
    { ...(lanes !== undefined && { lanes }), workers },
  );
  const out: string[] = [];
  try {
    // what is packed is packed ahead of the first run
    for (const { given } of cases) for (const [param, t] of given.params) await session.write("param", param, values(t));
    for (const { name, graph, given, most } of cases) {
      for (const [param, t] of given.params) await session.write("param", param, values(t));
      const seen = await session.run(name, Object.fromEntries([...given.inputs].map(([n, t]) => [n, values(t)])));
      const meant = meaning(graph, given);
      for (const [key, value] of Object.entries(seen)) {
        const d = difference(value, meant.get(`output:${key}`)!);
        if (d > most) out.push(`${name} ${key}: ${d}`);
      }
    }
  } finally {
    await session.close();
  }
  return out;
}

describe("rows as native kernels", () => {
  nativeTest("give what they mean", async () => {
    expect(await wrong([...examples(), ...functions()])).toEqual([]);
  });
  for (const lanes of [4, 8, 16])
    nativeTest(`programs at ${lanes} lanes give what they mean`, async () => {
      expect(await wrong(programs(), lanes, 2)).toEqual([]);
    });
});

describe("threads", () => {
  nativeTest("results are the same bits for one, two, four and eight workers", async () => {
    const cases = programs();
    const run = async (workers: number) => {
      const session = await openNative(
        quick(folder),
        cases.map(({ name, graph }) => ({ name, graph })),
        { workers },
      );
      try {
        const out = [];
        for (const { given } of cases) for (const [param, t] of given.params) await session.write("param", param, values(t));
        for (const { name, given } of cases) {
          for (const [param, t] of given.params) await session.write("param", param, values(t));
          out.push(await session.run(name, Object.fromEntries([...given.inputs].map(([n, t]) => [n, values(t)]))));
        }
        return out;
      } finally {
        await session.close();
      }
    };
    const one = await run(1);
    for (const workers of [2, 4, 8]) expect(await run(workers)).toEqual(one);
  });
});
