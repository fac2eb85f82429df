/** How much is compiled while a plan is looked for that fits a budget: counted, not timed. */
import { describe, expect, test } from "@jest/globals";
import type { TargetOptions } from "../../src/backends/backend.ts";
import { outlook } from "../../src/backends/compile.ts";
import { SharedKernels } from "../../src/backends/kernels/shared.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { FINER } from "../../src/ir/passes/chunk.ts";
import type { Compiled } from "../../src/ir/pipeline.ts";
import { backendEngine } from "../../src/train/engine/backend.ts";
import { memoryOf } from "../../src/train/engine/budget.ts";
import type { Built, EntryPoint } from "../../src/train/engine/engine.ts";
import { type Fitted, type Fitting, fit, Unmet } from "../../src/train/engine/fit.ts";
import { inParts } from "../../src/train/engine/parts.ts";
import type { LaidTrain } from "../../src/train/stages/train.ts";
import { TINY, trainingStep } from "../support/transformer.ts";

const target: TargetOptions = { target: "wasm", arithmetic: "plain", workers: 1 };
const shape = { ...TINY, layers: 3, dim: 16 };
const entries: readonly EntryPoint[] = [
  { name: "step", graph: trainingStep(shape), sizes: new Map() },
  { name: "evaluate", graph: trainingStep(shape, { forwardOnly: true }), sizes: new Map() },
];

/** A build, and how often each pass ran meanwhile. */
async function counted(memory?: number, doubtful = false, of = entries): Promise<{ built: Built; runs: (pass: string) => number }> {
  const ran = new Map<string, number>();
  const engine = backendEngine(
    { target, device: "wasm", reason: "", memory: 2 ** 32, depth: 1, open: () => Promise.reject(new Error("not opened")) },
    { print: "*", onPrint: (pass) => ran.set(pass, (ran.get(pass) ?? 0) + 1) },
  );
  const built = await engine.build(of, { trained: [], memory, planOnly: true, doubtful });
  return { built, runs: (pass) => ran.get(pass) ?? 0 };
}

describe("a plan for a budget", () => {
  test("is looked for behind the passes: they run once an entry, and few steps of the scale are planned", async () => {
    const free = await counted();
    expect([free.runs("grad"), free.runs("cut")]).toEqual([2, 2]);
    const { total } = memoryOf(free.built.program);
    const refused = await counted(1000);
    expect(refused.built.smallest).toBeDefined();
    const least = await refused.built.smallest!();
    expect(least).toBeLessThan(0.9 * total);
    let added = 0;
    for (const part of [0.5, 0]) {
      const memory = Math.floor(least + part * (total - least));
      const { built, runs } = await counted(memory);
      expect(built.smallest).toBeUndefined();
      expect(memoryOf(built.program).total).toBeLessThanOrEqual(memory);
      expect(built.recomputed.step).toBeGreaterThanOrEqual(added);
      added = built.recomputed.step;
      expect(runs("grad")).toBe(2);
      // slices of each size, of what comes before them
      expect(runs("chunk")).toBeLessThanOrEqual(2 * (1 + FINER.length));
      // of the two entries' first plans, and of a few of some thirty steps: the plan without a budget is one of them, and is not made again. Where there is room,
      // neither the least that could be had is planned nor the step before the one that fits: what it keeps by itself is too much.
      expect(runs("cut")).toBeLessThanOrEqual(part > 0 ? 3 : 5);
    }
    expect(added).toBeGreaterThan(0.1);
    expect((await counted(least - 64)).built.smallest).toBeDefined();
  });

  test("that is hardly met does not compile what has nothing to recompute", async () => {
    const { built, runs } = await counted(1000, true);
    expect(built.smallest).toBeDefined();
    expect(runs("grad")).toBe(1);
  });

  test("is priced by its kernels as well: a part of a batch has as many of them as the whole, on less work", async () => {
    const rows = async (batch: number) => {
      const { built } = await counted(undefined, false, [{ name: "step", graph: trainingStep({ ...shape, batch }), sizes: new Map() }]);
      return { seconds: built.seconds.step, kernels: built.program.entries.find((e) => e.name === "step")!.steps.length };
    };
    const [whole, part] = [await rows(4), await rows(1)];
    expect(part.kernels).toBeGreaterThan(50);
    expect(4 * part.seconds - whole.seconds).toBeGreaterThan(1e-5 * (4 * part.kernels - whole.kernels));
  });

  test("takes no part of a batch twice", async () => {
    const laid = { stage: { batch: 8, accumulate: 1 }, batch: 8, accumulate: 1 } as unknown as LaidTrain;
    const seen: [number, boolean][] = [];
    const whole = { smallest: async () => 800, recomputed: { step: 0 }, seconds: { step: 8 } } as unknown as Built;
    const made = await inParts(
      laid,
      whole,
      async ({ batch = 8, accumulate = 1 }) => ({ ...laid, batch, accumulate }),
      async ({ batch }, doubtful) => {
        seen.push([batch, doubtful]);
        const fits = batch <= 2;
        return {
          notes: [],
          recomputed: { gradients: 0 },
          seconds: { gradients: batch + 0.1 },
          ...(fits ? {} : { smallest: async () => 100 * batch }),
        } as unknown as Built;
      },
    );
    expect(made.batch).toBe(2);
    // the one that fits if any does, then the others from the largest on, until they take longer
    expect(seen).toEqual([
      [1, false],
      [4, true],
      [2, true],
    ]);
  });

  test("looks for a part where the whole repeats more than a run of a part takes, not where it repeats next to nothing", async () => {
    const laid = { stage: { batch: 2, accumulate: 1 }, batch: 2, accumulate: 1 } as unknown as LaidTrain;
    const rows = async (added: number) =>
      (
        await inParts(
          laid,
          { recomputed: { step: added }, seconds: { step: 2 * (1 + added) }, notes: [] } as unknown as Built,
          async ({ batch = 2, accumulate = 1 }) => ({ ...laid, batch, accumulate }),
          async () => ({ notes: [], recomputed: { gradients: 0 }, seconds: { gradients: 1.01 } }) as unknown as Built,
        )
      ).batch;
    expect([await rows(0.05), await rows(0.005)]).toEqual([1, 2]);
  });
  test("builds no smaller part than one that takes longer even with nothing repeated", async () => {
    const laid = { stage: { batch: 8, accumulate: 1 }, batch: 8, accumulate: 1 } as unknown as LaidTrain;
    const seen: number[] = [];
    const made = await inParts(
      laid,
      { recomputed: { step: 0.5 }, seconds: { step: 1.5 * 8.2 }, notes: [] } as unknown as Built,
      async ({ batch = 8, accumulate = 1 }) => ({ ...laid, batch, accumulate }),
      async ({ batch }) => {
        seen.push(batch);
        const repeated = batch > 2 ? 0.2 : 0;
        // a run is its rows and 0.2 seconds: with one row at a time 9.6 seconds at least, with two 8.8
        return {
          notes: [],
          recomputed: { gradients: repeated },
          seconds: { gradients: (1 + repeated) * (batch + 0.2) },
        } as unknown as Built;
      },
    );
    expect(made.batch).toBe(2);
    expect(seen).toEqual([4, 2]);
  });

  test("is refused with the smallest that is met, also where what repeats most takes more beside its activations", async () => {
    const b = new Builder({ path: "fake" });
    const rows = { lhsContract: [1], rhsContract: [0] };
    const step = (size: number, table: number): Compiled => {
      const product = b.dot(b.sliceAxis(b.param("w", [512, 64]), 0, 0, size), b.input("x", { dtype: "f32", shape: [64, 64] }), rows);
      const numbers = b.table(
        Array.from({ length: table }, (_, i) => Math.sin(i)),
        [table],
      );
      const beside = b.reduce("sum", b.mul(numbers, b.broadcastTo(b.input("s", { dtype: "f32", shape: [1] }), [table])), [0]);
      const node = b.add(b.reduce("sum", b.unary("exp", b.sub(product, b.reduce("max", product, [1], true))), [0, 1]), beside);
      const graph: Graph = { results: [{ role: "output", name: "y", node }] };
      const at = size === 512 ? 0 : 1;
      const recompute = {
        step: at,
        usual: 0,
        corners: [0, 1],
        borders: 1,
        kept: (i: number) => [131_072, 16_384][i],
        seconds: 1,
        added: at,
      };
      return { graph, recompute, notes: [], rounded: [] } as unknown as Compiled;
    };
    const steps = [step(512, 4), step(64, 20_000)];
    const shared = new SharedKernels();
    const peaks = { bytes: (i: number) => outlook(steps[i].graph, target, shared).bytes, compiled: (i: number) => steps[i] };
    const entry = { name: "step", differentiated: true, usual: { name: "step", ...steps[0] }, peaks } as unknown as Fitting;
    const refused = await fit([entry], target, 1000, shared);
    const smallest = await (refused as Unmet).smallest();
    const met = (await fit([entry], target, smallest, shared)) as Fitted;
    expect(memoryOf(met.planned.program).total).toBe(smallest);
    expect(await fit([entry], target, smallest - 65_536, shared)).toBeInstanceOf(Unmet);
  });
});
