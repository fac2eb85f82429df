/** Weights that are kept in few bits: kernels multiply out of the packed form, what nothing else reads is not kept, and the plan is smaller by that. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { compileProgram } from "../../src/backends/compile.ts";
import type { Program } from "../../src/ground/program.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";
import { sizes } from "../../src/ir/graph.ts";
import type { WebGPUDevice } from "../../src/runtime/webgpu.ts";
import { difference, given, meaning, numbers, openGraphs, outputs, runWasm } from "./support/run.ts";
import { textsOf } from "./support/texts.ts";
import { differences, runWebGPU, testDevice } from "./support/webgpu.ts";

const b = new Builder({ path: "packed" });

/** As the library packs: the scale of a block is its largest magnitude. */
function packed(w: Node, levels: readonly number[], block: number): Node {
  const shape = sizes(w);
  const n = shape.reduce((x, y) => x * y, 1);
  const flat = b.padAxis(b.reshape(w, [n]), 0, 0, (block - (n % block)) % block);
  const scale = b.reduce("max", b.unary("abs", b.reshape(flat, [Math.ceil(n / block), block])), [1]);
  const table = b.table(levels, [levels.length]);
  const codes = b.make("quantise", [w, scale, table], { block });
  return b.make("dequantise", [codes, scale, table], { shape, block });
}
const even = (n: number): number[] => Array.from({ length: n }, (_, i) => (2 * i) / (n - 1) - 1);

/** y = x·Wᵀ and what a gradient takes: g·W; a row of W alone, and W as it is. */
function uses(rows: number, columns: number, batch: number, levels: readonly number[], block: number): Graph {
  const w = packed(b.param("w", [rows, columns]), levels, block);
  const x = b.input("x", { dtype: "f32", shape: [batch, columns] });
  const g = b.input("g", { dtype: "f32", shape: [batch, rows] });
  return outputs(
    b.dot(x, w, { lhsContract: [1], rhsContract: [1] }),
    b.dot(g, w, { lhsContract: [1], rhsContract: [0] }),
    b.mul(b.reshape(b.sliceAxis(w, 0, 1, 2), [columns]), b.reduce("sum", x, [0])),
    b.add(w, b.reduce("sum", x, [0, 1], true)),
  );
}

const shapes: readonly [rows: number, columns: number, batch: number, levels: number, block: number][] = [
  [24, 64, 9, 16, 64],
  [13, 10, 5, 16, 7],
  [8, 33, 1, 255, 33],
  [17, 12, 6, 4, 5],
  [6, 9, 70, 2, 54],
  // stretches of words and of blocks, along the sum and across it
  [48, 192, 9, 16, 64],
  [24, 128, 3, 255, 64],
  // a sum that is packed in pieces
  [33024, 16, 5, 16, 16],
];

const halved = (rows: number, columns: number, batch: number, format: "f16" | "bf16"): Graph => {
  // magnitudes from what a half can only just hold to large ones, both signs, zero
  const size = b.table(
    Array.from({ length: rows * columns }, (_, i) => (i % 7 === 0 ? 0 : 10 ** ((i % 13) - 7))),
    [rows, columns],
  );
  const w = b.mul(b.param("w", [rows, columns]), size);
  const half = b.make("widen", [b.make("narrow", [w], { format })], { shape: [rows, columns], format });
  const x = b.input("x", { dtype: "f32", shape: [batch, columns] });
  const ids = b.input("ids", { dtype: "i32", shape: [4] });
  return outputs(
    b.dot(x, half, { lhsContract: [1], rhsContract: [1] }),
    b.make("gather", [half, ids]),
    b.mul(half, b.broadcastTo(b.reduce("sum", x, [0, 1], true), [rows, columns])),
  );
};

describe("on wasm", () => {
  test.each([
    ["f16", 11],
    ["bf16", 6],
  ] as const)("%s, rows of %d", async (format, columns) => {
    const graph = halved(9, columns, 5, format);
    const g = given(graph, 4);
    const expected = meaning(graph, g);
    for (const [key, seen] of await runWasm(graph, g)) {
      const want = expected.get(key)!;
      expect(difference(seen, want)).toBeLessThan(1e-5);
      // small numbers come back as well as large ones
      if (key === "output:y1") want.data.forEach((v, i) => void expect(seen[i]).toBe(Math.fround(v)));
    }
  });

  test.each(shapes)("%d × %d, %d rows of x, %d levels in blocks of %d", async (rows, columns, batch, levels, block) => {
    const graph = uses(rows, columns, batch, even(levels), block);
    const g = given(graph, 7);
    const expected = meaning(graph, g);
    for (const workers of [1, 2]) {
      for (const [key, seen] of await runWasm(graph, g, { workers })) expect(difference(seen, expected.get(key)!)).toBeLessThan(2e-5);
    }
  });
});

test("a word is loaded and a scale worked out once for all numbers that share it", async () => {
  const [codes, scales] = [b.input("codes", { dtype: "i32", shape: [1024] }), b.input("scales", { dtype: "f32", shape: [128] })];
  const w = b.make("dequantise", [codes, b.mul(scales, 0.5), b.table(even(16), [16])], { shape: [64, 128], block: 64 });
  const times = (columns: number, from: number) =>
    b.dot(b.input("x", { dtype: "f32", shape: [16, columns] }), w, { lhsContract: [1], rhsContract: [from] });
  const [along, across] = [await textsOf("wat", [times(128, 1)]), await textsOf("wat", [times(64, 0)])].map((texts) => texts[0]);
  const count = (part: RegExp) => along.match(new RegExp(`local\\.set \\$${part.source}_\\d+(_\\d+)? `, "g"))?.length;
  // two vectors of four columns: a word each for 8 places, a scale each for 64
  expect(along).toContain("k < 128");
  expect([count(/in_codes/), count(/in_scales/), count(/shr/)]).toEqual([2, 2, 16]);
  // 64 columns share a scale: it is worked out ahead of their panels
  expect(across).toContain("k < 64");
  const panels = across.search(/local\.set \$x(_\d+)? \(i32\.const 0\)/);
  expect(across.search(/local\.set \$in_scales_\d/)).toBeLessThan(panels);
  expect(across.search(/local\.set \$in_codes_\d/)).toBeGreaterThan(panels);
  expect(across).toContain("(i32x4.mul (i32x4.shl");
});

describe("on WebGPU", () => {
  let device: WebGPUDevice;
  beforeAll(async () => {
    device = await testDevice();
  });
  afterAll(() => device.close());
  test("the same kernels, with the device's schedules and with a GPU's", async () => {
    for (const [rows, columns, batch, levels, block] of shapes.slice(0, 3)) {
      const graph = uses(rows, columns, batch, even(levels), block);
      const g = given(graph, 7);
      for (const limits of [device.limits, { ...device.limits, deviceClass: "hardware", invocations: 16 } as const]) {
        expect(differences(graph, g, await runWebGPU(device, graph, g, limits), 2e-5)).toEqual([]);
      }
    }
    for (const format of ["f16", "bf16"] as const) {
      const graph = halved(9, 11, 5, format);
      const g = given(graph, 4);
      expect(differences(graph, g, await runWebGPU(device, graph, g), 2e-5)).toEqual([]);
    }
  });
});

const bytesIn = (program: Program, arena: string): number =>
  program.arenas.filter((a) => a.name === arena).reduce((sum, a) => sum + a.pages.reduce((x, y) => x + y, 0), 0);

describe("the plan", () => {
  const layers = 4;
  const size = 128;
  const model = (pack: (w: Node) => Node): Graph => {
    let x: Node = b.input("x", { dtype: "f32", shape: [16, size] });
    const weights = Array.from({ length: layers }, (_, i) => pack(b.param(`w${i}`, [size, size])));
    for (const w of weights) x = b.unary("tanh", b.dot(x, w, { lhsContract: [1], rhsContract: [1] }));
    // back again, as a gradient goes
    for (const w of weights.toReversed()) x = b.dot(x, w, { lhsContract: [1], rhsContract: [0] });
    return outputs(x);
  };
  const compiled = async (graph: Graph) =>
    (await compileProgram([{ name: "main", graph }], { target: "wasm", arithmetic: "plain", workers: 1 })).program;
  test("keeps codes and scales, and hands weights one at a time to what packs them", async () => {
    const [plain, small] = [await compiled(model((w) => w)), await compiled(model((w) => packed(w, even(16), 64)))];
    const whole = 4 * layers * size * size;
    expect(bytesIn(plain, "frozen")).toBe(whole);
    expect(bytesIn(small, "frozen")).toBe(whole / 8 + whole / 64);
    // one weight at a time on its way in
    expect(bytesIn(small, "io")).toBe(whole / layers);
    expect(bytesIn(small, "activations")).toBeLessThan(bytesIn(plain, "activations") + whole / layers);
    expect(small.loads).toHaveLength(layers);
    expect(Object.keys(small.params).sort()).toEqual(["w0", "w1", "w2", "w3"]);
    // nothing of packing is left in what runs every time
    expect(small.entries.filter((e) => e.steps.some((s) => "host" in s)).map((e) => e.name)).toEqual(small.loads!.map((l) => l.entry));
  });

  test("a weight that something else reads as well is kept whole", async () => {
    const w = b.param("w", [size, size]);
    const x = b.input("x", { dtype: "f32", shape: [4, size] });
    const both = outputs(
      b.dot(x, packed(w, even(16), 64), { lhsContract: [1], rhsContract: [1] }),
      b.dot(x, w, { lhsContract: [1], rhsContract: [0] }),
    );
    const program = await compiled(both);
    expect(program.loads).toEqual([{ entry: "load", handed: [], reads: true }]);
    expect(bytesIn(program, "frozen")).toBeGreaterThan(4 * size * size);
  });

  test("a session packs what is written, and again when it is written again; what is not written is asked for, what is not kept cannot be read", async () => {
    const graph = model((w) => packed(w, even(16), 64));
    const session = await openGraphs([{ name: "main", graph }]);
    const x = Float32Array.from({ length: 16 * size }, numbers(3));
    await session.write("param", "w0", Float32Array.from({ length: size * size }, numbers(1)));
    await expect(session.run("main", { x })).rejects.toThrow("w1 has not been written");
    for (const seed of [5, 6]) {
      const g = given(graph, seed);
      for (const [name, t] of g.params) await session.write("param", name, Float32Array.from(t.data));
      const seen = await session.run("main", { x: Float32Array.from(g.inputs.get("x")!.data) });
      const [expected] = meaning(graph, g).values();
      expect(difference(Object.values(seen)[0], expected)).toBeLessThan(2e-5);
    }
    await expect(session.read("param", "w0")).rejects.toThrow("is not kept");
    await session.close();
  });
});
