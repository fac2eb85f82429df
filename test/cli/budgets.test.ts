/** `memory =`: the peak that a run allocates, met by recomputing as little as will do. */
import { beforeAll, describe, expect, test } from "@jest/globals";
import { type Place, peftc, place, SPEC } from "./support.ts";
import { writeTinyModel } from "./tiny-model.ts";

const LAYERS = 3;
let at: Place;
beforeAll(() => {
  at = place(
    // large enough for the pages that a memory consists of
    SPEC.replace("sequence  = 16", "sequence  = 64")
      .replace('generate { model = gpt2  prompts = ["the "]  max_tokens = 6 }', "")
      .replace('evaluate  = { metrics: ["perplexity"] }', ""),
  );
  writeTinyModel(at.files, "models/tiny", LAYERS);
});

interface Planned {
  readonly peak_bytes: number;
  readonly recomputed: number;
  readonly notes: readonly string[];
}
async function plan(memory?: number | string): Promise<{ code: number; planned: Planned; err: string }> {
  const set = memory === undefined ? [] : ["--set", `train.memory=${memory}`];
  const outcome = await peftc(at, ["plan", "main.peft", "--json", "--device", "wasm", ...set]);
  const planned = outcome.events().find((e) => e.event === "plan") as unknown as Planned;
  return { code: outcome.code, planned, err: JSON.stringify(outcome.events().at(-1)) };
}
/** Losses of a run, and what it allocated. */
async function trained(memory?: number): Promise<{ losses: number[]; peak: number }> {
  const set = memory === undefined ? [] : ["--set", `train.memory=${memory}`];
  const outcome = await peftc(at, ["train", "main.peft", "--json", "--device", "wasm", "--output", `out-${memory ?? "free"}`, ...set]);
  expect(outcome.code).toBe(0);
  const events = outcome.events() as Record<string, number & string>[];
  return {
    losses: events.filter((e) => e.event === "step").map((e) => e.loss),
    peak: events.find((e) => e.event === "plan")!.peak_bytes,
  };
}

describe("a budget", () => {
  let usual: Planned;
  let smallest: number;
  beforeAll(async () => {
    usual = (await plan()).planned;
    const refused = await plan("50KB"); // with a unit, as in the language
    expect(refused.code).toBe(1);
    smallest = Number(/\((\d+) bytes\): the smallest budget that fits/.exec(refused.err)![1]);
  });

  test("that is refused names one that is not, well below the usual peak", async () => {
    expect(smallest).toBeLessThan(0.75 * usual.peak_bytes);
    const met = await plan(smallest);
    expect(met.code).toBe(0);
    expect(met.planned.peak_bytes).toBeLessThanOrEqual(smallest);
    expect(met.planned.notes).toContainEqual(expect.stringContaining("a batch of 4 rows is computed 1 at a time"));
    const below = await plan(smallest - 64);
    expect(below.code).toBe(1);
    expect(below.err).toMatch(/`sequence = 32` would fit.*`precision = \\"bf16\\"` would fit/);
  });

  test("is met wherever it lies between, by less recomputing the larger it is", async () => {
    let added = Number.POSITIVE_INFINITY;
    for (let i = 1; i <= 3; i += 2) {
      const memory = Math.floor(smallest + ((usual.peak_bytes - smallest) * i) / 3);
      const { code, planned } = await plan(memory);
      expect(code).toBe(0);
      expect(planned.peak_bytes).toBeLessThanOrEqual(memory);
      expect(planned.recomputed).toBeLessThanOrEqual(added);
      added = planned.recomputed;
    }
    expect(added).toBe(usual.recomputed);
  });

  test("can be read off the front: ever less memory for ever more work, down to the smallest", async () => {
    const outcome = await peftc(at, ["plan", "main.peft", "--json", "--device", "wasm", "--front", "front.svg"]);
    const { points } = outcome.events().find((e) => e.event === "front") as unknown as { points: { bytes: number; added: number }[] };
    expect(points.length).toBeGreaterThan(4);
    expect(points[0].bytes).toBeLessThanOrEqual(usual.peak_bytes);
    expect(points[0].added).toBeLessThanOrEqual(usual.recomputed);
    for (let i = 1; i < points.length; i++) expect(points[i].bytes).toBeLessThan(points[i - 1].bytes);
    expect(points.at(-1)!.bytes).toBeLessThanOrEqual(smallest);
    expect(at.get("front.svg").match(/<circle/g)).toHaveLength(points.length);
  });

  test("changes no loss", async () => {
    const [free, tight] = [await trained(), await trained(smallest)];
    expect(tight.peak).toBeLessThanOrEqual(smallest);
    expect(free.losses).toHaveLength(6);
    tight.losses.forEach((loss, i) => expect(loss).toBeCloseTo(free.losses[i], 5));
  });

  test("holds for what only computes: fewer rows at a time, then a refusal with the smallest that fits", async () => {
    const evaluated = (memory?: number) =>
      peftc(at, ["eval", "main.peft", "--device", "wasm", "--json", ...(memory === undefined ? [] : ["--memory", String(memory)])]);
    const metrics = (events: Record<string, unknown>[]) => events.find((e) => e.event === "evaluation") as unknown as { loss: number };
    const refused = await evaluated(1000);
    expect(refused.code).toBe(1);
    const least = Number(/\((\d+) bytes\): the smallest budget that fits/.exec(JSON.stringify(refused.events().at(-1)))![1]);
    const [free, tight] = [await evaluated(), await evaluated(least)];
    expect([free.code, tight.code]).toEqual([0, 0]);
    expect(metrics(tight.events()).loss).toBeCloseTo(metrics(free.events()).loss, 5);
    expect(tight.out).toContain("1 of 4 rows at a time");
    expect(free.out).not.toContain("rows at a time");
    expect((await evaluated(least - 64)).code).toBe(1);
    const written = await peftc(at, ["generate", "main.peft", "--device", "wasm", "--json", "--prompt", "the", "--memory", "1KB"]);
    expect([written.code, written.out]).toEqual([1, expect.stringContaining("P0901")]);
  });
});
