/** Frozen weights that stay in their files: brought in ahead of the steps that read them, in each run, with the same bits as when they are kept. */
import { describe, expect, test } from "@jest/globals";
import { compileProgram } from "../../src/backends/compile.ts";
import type { Program } from "../../src/ground/program.ts";
import type { Weights } from "../../src/ground/weights.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";
import { startThread } from "../../src/node/threads.ts";
import { openWasm } from "../../src/runtime/wasm.ts";
import { weightsOf } from "../../src/runtime/weights.ts";

const [LAYERS, WIDE, NARROW] = [10, 1024, 256];
const b = new Builder({ path: "layers" });
const names = Array.from({ length: LAYERS }, (_, i) => `w${i}`);
const values = new Map(names.map((name, i) => [name, Float32Array.from({ length: WIDE * NARROW }, (_, k) => Math.sin(k * (i + 1)) / 16)]));
const x = Float32Array.from({ length: 8 * WIDE }, (_, k) => Math.cos(k));

/** Down and up again, and then back through the same weights, as a gradient goes; `half`: weights in 16 bits. */
function layers(half: boolean): Graph {
  const weightOf = (name: string): Node => {
    const w = b.param(name, [NARROW, WIDE]);
    return half ? b.make("widen", [b.make("narrow", [w], { format: "bf16" })], { shape: [NARROW, WIDE], format: "bf16" }) : w;
  };
  let y: Node = b.input("x", { dtype: "f32", shape: [8, WIDE] });
  const all = names.map(weightOf);
  for (const w of all)
    y = b.unary("tanh", b.dot(b.dot(y, w, { lhsContract: [1], rhsContract: [1] }), w, { lhsContract: [1], rhsContract: [0] }));
  for (const w of [...all].reverse())
    y = b.add(y, b.dot(b.dot(y, w, { lhsContract: [1], rhsContract: [1] }), w, { lhsContract: [1], rhsContract: [0] }));
  return { results: [{ role: "output", name: "y", node: y }] };
}
const compiled = (half: boolean, workers: number, stream?: readonly string[]) =>
  compileProgram(
    [{ name: "run", graph: layers(half) }],
    { target: "wasm", arithmetic: "plain", workers },
    false,
    undefined,
    stream && new Set(stream),
  );
const bytes = ({ arenas }: Program, ...of: string[]): number =>
  arenas.filter((a) => of.includes(a.name)).reduce((sum, a) => sum + a.pages.reduce((p, q) => p + q, 0), 0);

/** Weights that lie elsewhere, whoever reads them waits; how often each was read. */
function elsewhere(name: string, reads: Map<string, number>, fail = false): Weights {
  const held = weightsOf(values.get(name)!);
  const wait = async (at: number) => {
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (fail) throw new Error(`${name} cannot be read`);
    if (at === 0) reads.set(name, (reads.get(name) ?? 0) + 1);
  };
  return {
    length: held.length,
    fill: async (into, at) => {
      await wait(at);
      await held.fill(into, at);
    },
    fillWords: async (into, at, format) => {
      await wait(at);
      await held.fillWords(into, at, format);
    },
  };
}

describe("weights that stay in their files", () => {
  for (const half of [false, true])
    for (const workers of [1, 2])
      test(`give the same bits, ${half ? "in 16 bits" : "in f32"}, ${workers} worker${workers > 1 ? "s" : ""}`, async () => {
        const run = async (stream: readonly string[] | undefined, reads: Map<string, number>): Promise<[Float32Array, Program]> => {
          const { program, module } = await compiled(half, workers, stream);
          const session = await openWasm(program, module!, { workers, startThread });
          try {
            for (const name of names) await session.write("param", name, elsewhere(name, reads));
            await session.run("run", { x });
            const { y } = await session.run("run", { x });
            return [y as Float32Array, program];
          } finally {
            await session.close();
          }
        };
        const [once, each] = [new Map<string, number>(), new Map<string, number>()];
        const [kept, whole] = await run(undefined, once);
        const [brought, program] = await run(names, each);
        expect(brought).toEqual(kept);
        expect([...once.values()]).toEqual(names.map(() => 1));
        // forward and backward in two runs; the last few stay from one half to the other
        expect(names.map((name) => each.get(name))).toEqual(names.map((_, i) => (i < LAYERS - 4 ? 4 : 2)));
        const one = (half ? 2 : 4) * WIDE * NARROW;
        expect(bytes(whole, "frozen")).toBe(LAYERS * one);
        expect(bytes(program, "frozen", "file")).toBe(0);
        // those that stay and the next
        expect(bytes(program, "streamed")).toBeLessThanOrEqual(5 * one);
      });

  test("are refused by the run where they cannot be read, and the next run goes on", async () => {
    const { program, module } = await compiled(false, 1, names);
    const session = await openWasm(program, module!, { workers: 1 });
    const reads = new Map<string, number>();
    for (const name of names) await session.write("param", name, elsewhere(name, reads, name === "w3"));
    await expect(session.run("run", { x })).rejects.toThrow("w3 cannot be read");
    await session.write("param", "w3", elsewhere("w3", reads));
    await session.run("run", { x });
    await session.close();
  });

  test("are those that are named, large, and not computed from at loading", async () => {
    const { program } = await compiled(false, 1, ["w1", "nothing"]);
    expect(program.brings!.run.map((bring) => bring.param)).toEqual(["w1"]);
    expect((await compiled(false, 1)).program.brings).toBeUndefined();
  });
});
