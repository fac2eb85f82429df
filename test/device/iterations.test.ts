/** Loops over slices on a device: a body of kernels for all iterations, its parts read and written where they lie. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { compileProgram, outlook } from "../../src/backends/compile.ts";
import { Builder } from "../../src/ir/build.ts";
import { type Body, type Graph, type Node, order } from "../../src/ir/graph.ts";
import { parse } from "../../src/ir/parse.ts";
import { compileGraph, pipeline } from "../../src/ir/pipeline.ts";
import { print } from "../../src/ir/print.ts";
import { verify } from "../../src/ir/verify.ts";
import type { WebGPUDevice } from "../../src/runtime/webgpu.ts";
import { attention, padded } from "../support/attention.ts";
import { suppliesFor, trainingStep } from "../support/transformer.ts";
import { tolerances } from "../tolerances.ts";
import { difference, type Given, given, meaning, outputs, runWasm, values } from "./support/run.ts";
import { differences, runWebGPU, testDevice } from "./support/webgpu.ts";

const b = new Builder({ path: "iterations" });
const arg = (i: number, shape: readonly number[], dtype: "f32" | "i32" = "f32") => b.arg(i, { dtype, shape });

/** x·w in rows of x, with the sum of squares of all of it carried, and where each row's own number is read. */
function rows(x: Node, w: Node, sizes: readonly number[]): Node {
  const [n, d] = x.type.shape as number[];
  const body = (size: number): Body => {
    const [sum, part, first, whole] = [arg(0, [d]), arg(1, [size, d]), arg(2, [1], "i32"), arg(3, [d, d])];
    const number = b.add(b.iota([size, d], 0), b.broadcastTo(first, [size, d]));
    const y = b.unary("tanh", b.dot(b.add(part, b.mul(b.cast(number, "f32"), 0.01)), whole, { lhsContract: [1], rhsContract: [0] }));
    return { params: [sum, part, first, whole], results: [b.add(sum, b.reduce("sum", b.mul(y, y), [0])), y, b.reduce("max", y, [1])] };
  };
  const kinds = [...new Set(sizes)];
  const starts = b.table(
    sizes.map((_, t) => sizes.slice(0, t).reduce((p, q) => p + q, 0)),
    [sizes.length],
    "i32",
  );
  return b.loop([b.zeros({ dtype: "f32", shape: [d] }), b.reshape(b.mul(x, 2), [n, d]), starts, w], {
    carried: 1,
    bodies: kinds.map(body),
    iterations: sizes.map((size) => ({ body: kinds.indexOf(size), args: [0, 1, 2] })),
    sliced: [0, 1],
  });
}

const read = (loop: Node): Node[] => [b.carried(loop, 0), b.joined(loop, 0), b.mul(b.joined(loop, 1), 3)];

let device: WebGPUDevice;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.close());

/** On both backends; on WebGPU with offsets that bindings cannot begin at. */
async function agrees(graph: Graph, seed: number): Promise<void> {
  verify(graph);
  const g = given(graph, seed);
  const seen = await runWasm(graph, g);
  const meant = meaning(graph, g);
  for (const [key, value] of meant) expect([key, difference(seen.get(key)!, value) <= tolerances.chain]).toEqual([key, true]);
  expect(differences(graph, g, await runWebGPU(device, graph, g), tolerances.chain)).toEqual([]);
}

describe("a loop over slices", () => {
  test("equals what it means: rows, a shorter last iteration, one iteration", async () => {
    for (const sizes of [[8, 8, 8], [8, 8, 5], [24], [1, 2, 3, 4]]) {
      const n = sizes.reduce((p, q) => p + q, 0);
      await agrees(outputs(...read(rows(b.param("x", [n, 12]), b.param("w", [12, 12]), sizes))), 3);
    }
  });

  test("equals the same written without a loop, in the interpreter", () => {
    const [x, w] = [b.param("x", [6, 4]), b.param("w", [4, 4])];
    const number = b.mul(b.cast(b.iota([6, 4], 0), "f32"), 0.01);
    const y = b.unary("tanh", b.dot(b.add(b.mul(x, 2), number), w, { lhsContract: [1], rhsContract: [0] }));
    const graph = outputs(b.joined(rows(x, w, [2, 3, 1]), 0), y);
    const [parts, whole] = [...meaning(graph, given(graph, 5)).values()];
    expect(difference(values(parts), whole)).toBeLessThan(1e-7);
  });

  test("whose iterations leave out what a mask hides: bodies of several lengths, sums that an iteration adds to in part", async () => {
    const graph = compileGraph(attention(padded()), {
      options: { slice: 2 ** 23 },
      passes: pipeline.filter((p) => p.name !== "scalars"),
    }).graph;
    expect(order(graph.results.map((r) => r.node)).flatMap((n) => (n.loop ? [n.loop.bodies.length] : []))).toEqual([4, 4]);
    await agrees(graph, 7);
  });

  test("is text, and comes back from it", () => {
    const graph = outputs(...read(rows(b.param("x", [6, 4]), b.param("w", [4, 4]), [3, 3])));
    expect(print(parse(print(graph)))).toBe(print(graph));
    expect(print(graph)).toContain("sliced(0, 1)");
  });

  test("stands in the body of another; kernels do not grow with the iterations", async () => {
    const nested = (outer: number, inner: number): Graph => {
      const [q, k] = [b.param("q", [outer, inner * 4, 8]), b.param("k", [outer, 16, 8])];
      const [pq, pk] = [arg(0, [1, inner * 4, 8]), arg(1, [1, 16, 8])];
      const [sum, part, keys] = [arg(0, [16, 8]), arg(1, [4, 8]), arg(2, [16, 8])];
      const scores = b.unary("exp", b.dot(part, keys, { lhsContract: [1], rhsContract: [1] }));
      const rows = b.loop([b.zeros({ dtype: "f32", shape: [16, 8] }), b.reshape(pq, [inner * 4, 8]), b.reshape(pk, [16, 8])], {
        carried: 1,
        bodies: [
          {
            params: [sum, part, keys],
            results: [
              b.add(sum, b.dot(scores, part, { lhsContract: [0], rhsContract: [0] })),
              b.dot(scores, keys, { lhsContract: [1], rhsContract: [0] }),
            ],
          },
        ],
        iterations: Array.from({ length: inner }, () => ({ body: 0, args: [0, 1] })),
        sliced: [0],
      });
      const out = [b.reshape(b.carried(rows, 0), [1, 16, 8]), b.reshape(b.joined(rows, 0), [1, inner * 4, 8])];
      const heads = b.loop([q, k], {
        carried: 0,
        bodies: [{ params: [pq, pk], results: out }],
        iterations: Array.from({ length: outer }, () => ({ body: 0, args: [0, 1] })),
        sliced: [0, 1],
      });
      return outputs(b.joined(heads, 0), b.joined(heads, 1));
    };
    await agrees(nested(3, 5), 9);
    const kernels = async (graph: Graph) =>
      (await compileProgram([{ name: "main", graph }], { target: "wasm", arithmetic: "plain", workers: 1 })).program.kernels.length;
    expect(await kernels(nested(6, 20))).toBe(await kernels(nested(3, 5)));
  });

  test("a next value of a parameter, a single export, and one that nobody reads", async () => {
    const x = b.param("x", [12, 4]);
    const [total, part] = [arg(0, [4]), arg(1, [3, 4])];
    const loop = b.loop([b.mul(b.param("w", [4]), 0.5), x], {
      carried: 1,
      bodies: [
        {
          params: [total, part],
          results: [b.add(b.mul(total, 0.5), b.reduce("sum", part, [0])), b.unary("exp", part), b.unary("neg", part), part],
        },
      ],
      iterations: [0, 1, 2, 3].map(() => ({ body: 0, args: [0] })),
      sliced: [0],
    });
    const graph: Graph = {
      results: [
        { role: "param", name: "w", node: b.carried(loop, 0) },
        { role: "output", name: "one", node: b.exported(loop, 2, 0) },
        { role: "output", name: "all", node: b.joined(loop, 2) },
      ],
    };
    await agrees(graph, 11);
  });
});

test("a training step in slices: logits and scores in loops, some within others", async () => {
  const graph = trainingStep({ layers: 1, batch: 2, sequence: 24, dim: 12, heads: 2, vocab: 96, rank: 2 });
  const passes = pipeline.filter((p) => p.name !== "scalars");
  const cut = compileGraph(graph, { options: { slice: 1500 }, passes }).graph;
  expect(cut.results.some(({ node }) => order([node]).some((n) => n.loop))).toBe(true);
  // what a search for a plan looks at counts iterations without writing them out
  const target = { target: "wasm", arithmetic: "plain", workers: 2 } as const;
  const { program } = await compileProgram([{ name: "main", graph: cut }], target, true);
  const { pages } = program.arenas.find((a) => a.name === "activations")!;
  expect(outlook(cut, target)).toEqual({ bytes: pages.reduce((p, q) => p + q), kernels: program.entries[0].steps.length });
  const g = suppliesFor(graph) as Given;
  const meant = meaning(cut, g);
  const seen = await runWasm(cut, g, { workers: 2 });
  for (const [key, value] of meant) expect([key, difference(seen.get(key)!, value) <= tolerances.chain]).toEqual([key, true]);
  expect(differences(cut, g, await runWebGPU(device, cut, g), 10 * tolerances.chain)).toEqual([]);
});
