/** Weights on their way to their place: a piece at a time, each number asked for once, converted or packed on the way, never whole beside it. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { compileProgram } from "../../src/backends/compile.ts";
import type { Program, Session, Values } from "../../src/ground/program.ts";
import type { Weights } from "../../src/ground/weights.ts";
import { Builder } from "../../src/ir/build.ts";
import { type Graph, type Node, sizes } from "../../src/ir/graph.ts";
import { fromBrain, fromHalf, narrowWords, toBrain, toHalf, widenWords } from "../../src/ir/ops/halves.ts";
import { openWasm } from "../../src/runtime/wasm.ts";
import { openWebGPU, type WebGPUDevice } from "../../src/runtime/webgpu.ts";
import { PIECE, weightsOf } from "../../src/runtime/weights.ts";
import { difference, given, meaning, outputs } from "./support/run.ts";
import { programFor, testDevice } from "./support/webgpu.ts";

const b = new Builder({ path: "loading" });
const ROWS = 2304;
const COLUMNS = 1024;
const BLOCK = 64;
const LEVELS = Array.from({ length: 16 }, (_, i) => (2 * i) / 15 - 1);

const absmax = (x: Node, block: number): Node => {
  const n = sizes(x).reduce((p, d) => p * d, 1);
  return b.reduce("max", b.unary("abs", b.reshape(x, [n / block, block])), [1]);
};
/** As the library packs; `double`: the scales are packed themselves, less their mean. */
function packed(w: Node, double: boolean): Node {
  const scale = absmax(w, BLOCK);
  const table = b.table(LEVELS, [16]);
  const codes = b.make("quantise", [w, scale, table], { block: BLOCK });
  let used = scale;
  if (double) {
    const mean = b.reduce("mean", scale, [0], true);
    const rest = b.sub(scale, b.expand(mean, sizes(scale)));
    const size = absmax(rest, 256);
    const eight = b.table(
      Array.from({ length: 255 }, (_, i) => (i - 127) / 127),
      [255],
    );
    const small = b.make("quantise", [rest, size, eight], { block: 256 });
    used = b.add(b.make("dequantise", [small, size, eight], { shape: sizes(scale), block: 256 }), b.expand(mean, sizes(scale)));
  }
  return b.make("dequantise", [codes, used, table], { shape: sizes(w), block: BLOCK });
}
const half = (w: Node): Node => b.make("widen", [b.make("narrow", [w], { format: "bf16" })], { shape: sizes(w), format: "bf16" });

const graphOf = (pack: (w: Node) => Node): Graph =>
  outputs(
    b.dot(b.input("x", { dtype: "f32", shape: [1, COLUMNS] }), pack(b.param("w", [ROWS, COLUMNS])), { lhsContract: [1], rhsContract: [1] }),
  );

/** The same numbers, with a count of how often each thousandth was asked for, and of the most that was asked for at once. */
function watched(values: Float32Array): Weights & { most: number; readonly asked: Int32Array } {
  const inner = weightsOf(values);
  const out = {
    length: values.length,
    most: 0,
    asked: new Int32Array(values.length),
    fill: (into: Float32Array, at: number) => {
      out.most = Math.max(out.most, into.length);
      for (let i = at; i < at + into.length; i++) out.asked[i]++;
      // as a file answers
      return Promise.resolve().then(() => inner.fill(into, at));
    },
    fillWords: (into: Uint16Array, at: number, format: "f16" | "bf16") => {
      out.most = Math.max(out.most, into.length);
      for (let i = at; i < at + into.length; i++) out.asked[i]++;
      return Promise.resolve().then(() => inner.fillWords(into, at, format));
    },
  };
  return out;
}

const bytesIn = (program: Program, arena: string): number =>
  program.arenas.filter((a) => a.name === arena).reduce((sum, a) => sum + a.pages.reduce((x, y) => x + y, 0), 0);

const CASES: readonly [string, (w: Node) => Node][] = [
  ["as it is", (w) => w],
  ["in 16 bits", half],
  ["in 4 bits", (w) => packed(w, false)],
  ["in 4 bits, with scales in 8", (w) => packed(w, true)],
];

async function check(graph: Graph, program: Program, session: Session): Promise<void> {
  const g = given(graph, 5);
  const weights = watched(Float32Array.from(g.params.get("w")!.data));
  await session.write("param", "w", weights);
  const seen = await session.run("main", { x: Float32Array.from(g.inputs.get("x")!.data) });
  expect(difference(seen.y0, [...meaning(graph, g).values()][0])).toBeLessThan(5e-4);
  expect(weights.most).toBeLessThanOrEqual(PIECE);
  // the last piece may begin where the one before has been
  const twice = weights.asked.reduce((n, times) => n + (times === 2 ? 1 : 0), 0);
  expect(weights.asked.every((times) => times === 1 || times === 2)).toBe(true);
  expect(twice).toBeLessThanOrEqual(program.loads === undefined ? 0 : 1 << 20);
  // no room for the weight beside its place
  expect(bytesIn(program, "io")).toBeLessThan(5e6);
  expect(bytesIn(program, "activations")).toBeLessThan(1e6);
}

describe("on wasm", () => {
  test.each(CASES)("%s", async (_name, pack) => {
    const graph = graphOf(pack);
    const { program, module } = await compileProgram([{ name: "main", graph }], { target: "wasm", arithmetic: "plain", workers: 1 });
    const session = await openWasm(program, module!, { workers: 1 });
    await check(graph, program, session);
    await session.close();
  });
  test("numbers in 16 bits are packed into 4 a piece at a time, as they are without the 16", async () => {
    const seen: Values[] = [];
    for (const graph of [graphOf((w) => packed(w, true)), graphOf((w) => packed(half(w), true))]) {
      const { program, module } = await compileProgram([{ name: "main", graph }], { target: "wasm", arithmetic: "plain", workers: 1 });
      const g = given(graph, 5);
      const session = await openWasm(program, module!, { workers: 1 });
      // numbers that 16 bits hold as they are
      const weights = watched(Float32Array.from(g.params.get("w")!.data, (x) => Math.round(x * 64) / 64));
      await session.write("param", "w", weights);
      seen.push((await session.run("main", { x: Float32Array.from(g.inputs.get("x")!.data) })).y0);
      await session.close();
      expect(weights.most).toBeLessThanOrEqual(PIECE);
      expect(bytesIn(program, "io")).toBeLessThan(5e6);
      // a piece on its way from 16 bits to 4
      expect(bytesIn(program, "activations")).toBeLessThan(8e6);
    }
    expect(seen[1]).toEqual(seen[0]);
  });
  test("nothing but 16 bits needs no entry and no room on the way", async () => {
    const { program } = await compileProgram([{ name: "main", graph: graphOf(half) }], { target: "wasm", arithmetic: "plain", workers: 1 });
    expect(program).toMatchObject({ halves: { w: "bf16" } });
    expect(program.loads).toBeUndefined();
    expect(bytesIn(program, "io")).toBeLessThan(20_000);
  });
  test("a weight of another length is refused", async () => {
    const { program, module } = await compileProgram([{ name: "main", graph: graphOf(half) }], {
      target: "wasm",
      arithmetic: "plain",
      workers: 1,
    });
    const session = await openWasm(program, module!, { workers: 1 });
    await expect(session.write("param", "w", weightsOf(new Float32Array(7)))).rejects.toThrow("not 7");
    await expect(session.read("param", "w")).rejects.toThrow("is not kept");
    await session.close();
  });
});

describe("on WebGPU", () => {
  let device: WebGPUDevice;
  beforeAll(async () => {
    device = await testDevice();
  });
  afterAll(() => device.close());
  test.each(CASES.slice(1))("%s", async (_name, pack) => {
    const graph = graphOf(pack);
    const program = await programFor([{ name: "main", graph }], device.limits);
    const session = await openWebGPU(program, device);
    await check(graph, program, session);
    await session.close();
  });
});

describe("numbers of 16 bits in one go are those one by one", () => {
  const words = Uint16Array.from({ length: 65536 }, (_, i) => i);
  test.each([
    ["f16", fromHalf, toHalf],
    ["bf16", fromBrain, toBrain],
  ] as const)("%s", (format, from, to) => {
    const out = new Float32Array(65536);
    // the words lie over the last half of what they become
    const over = new Uint16Array(out.buffer, 2 * 65536, 65536);
    over.set(words);
    widenWords(format, over, out);
    const back = new Uint16Array(65536);
    narrowWords(format, out, back);
    for (let i = 0; i < 65536; i++) {
      if (!Object.is(out[i], Math.fround(from(i)))) throw new Error(`${i} is ${out[i]} instead of ${from(i)}`);
      if (!Number.isNaN(out[i]) && back[i] !== i) throw new Error(`${out[i]} is ${back[i]} instead of ${i}`);
    }
    // between them: half-way, a little to either side, beyond the largest
    const bits = Uint32Array.from({ length: 1 << 18 }, (_, i) => Math.imul(i, 16387) ^ (i % 3 === 0 ? 0x1000 : i % 3 === 1 ? 0x8000 : i));
    const values = new Float32Array(bits.buffer);
    const narrowed = new Uint16Array(values.length);
    narrowWords(format, values, narrowed);
    for (let i = 0; i < values.length; i++) {
      const wanted = to(values[i]);
      if (narrowed[i] !== wanted && !(Number.isNaN(values[i]) && Number.isNaN(from(narrowed[i]))))
        throw new Error(`${values[i]} is ${narrowed[i]} instead of ${wanted}`);
    }
  });
});
