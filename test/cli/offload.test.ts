/** `offload`: frozen weights stay in their files, and are read ahead of the steps that work with them; where nothing else meets `memory`, or where it is said. */
import { beforeAll, describe, expect, test } from "@jest/globals";
import { type Outcome, type Place, peftc, place, SPEC } from "./support.ts";
import { writeTinyModel } from "./tiny-model.ts";

const STAYS = /frozen weights stay in their files/;
let at: Place;
beforeAll(() => {
  const spec = SPEC.replace('generate { model = gpt2  prompts = ["the "]  max_tokens = 6 }', "").replace("steps     = 6", "steps     = 2");
  at = place(spec.replace('evaluate  = { metrics: ["perplexity"] }', ""));
  // layers whose matrices are worth a read of their own
  writeTinyModel(at.files, "models/tiny", 4, 256);
});

interface Planned {
  readonly peak_bytes: number;
  readonly arenas: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}
const run = (verb: string, ...set: string[]): Promise<Outcome> =>
  peftc(at, [verb, "main.peft", "--json", "--device", "wasm", ...set.flatMap((s) => ["--set", s])]);
const planOf = (outcome: Outcome): Planned => outcome.events().find((e) => e.event === "plan") as unknown as Planned;
const losses = (outcome: Outcome): unknown[] =>
  outcome
    .events()
    .filter((e) => e.event === "step")
    .map((e) => (e as { loss?: number }).loss);

describe("frozen weights", () => {
  let [kept, left]: [Planned, Planned] = [undefined!, undefined!];
  beforeAll(async () => {
    kept = planOf(await run("plan"));
    left = planOf(await run("plan", "train.offload=true"));
  });

  test("are kept where nobody asks; left in their files they take a few places", () => {
    expect(kept.notes.join()).not.toMatch(STAYS);
    expect(kept.arenas.streamed).toBe(0);
    expect(left.notes.join()).toMatch(STAYS);
    const [whole, places] = [kept.arenas.frozen, left.arenas.frozen + left.arenas.streamed];
    expect(left.arenas.file).toBe(0);
    expect(places).toBeLessThan(0.8 * whole);
    expect(left.peak_bytes).toBeLessThan(kept.peak_bytes - 0.15 * whole);
  });

  test("stay in their files where nothing else meets the budget, and the smallest budget counts on it", async () => {
    const memory = `train.memory=${left.peak_bytes}`;
    const met = await run("plan", memory);
    expect(met.code).toBe(0);
    expect(planOf(met).notes.join()).toMatch(STAYS);
    expect(planOf(met).peak_bytes).toBeLessThanOrEqual(left.peak_bytes);
    const smallest = (outcome: Outcome) =>
      Number(/\((\d+) bytes\): the smallest budget that fits/.exec(JSON.stringify(outcome.events().at(-1)))![1]);
    const never = await run("plan", memory, "train.offload=false");
    expect(never.code).toBe(1);
    expect(smallest(never)).toBeGreaterThan(left.peak_bytes);
    expect(smallest(await run("plan", "train.memory=50000", "train.offload=true"))).toBeLessThanOrEqual(left.peak_bytes);
  });

  test("give the same losses, to the bit", async () => {
    const [whole, read] = [await run("train"), await run("train", "train.offload=true")];
    expect([whole.code, read.code]).toEqual([0, 0]);
    expect(losses(whole)).toHaveLength(2);
    expect(losses(read)).toEqual(losses(whole));
  });

  test("cannot be left in files on devices that cannot wait for them", async () => {
    const outcome = await peftc(at, ["plan", "main.peft", "--json", "--device", "reference", "--set", "train.offload=true"]);
    expect(outcome.code).toBe(1);
    expect(JSON.stringify(outcome.events().at(-1))).toMatch(/P0902.*offload/);
  });
});
