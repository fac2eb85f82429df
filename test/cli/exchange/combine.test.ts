import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { openCheckpoint } from "../../../src/formats/checkpoint.ts";
import { openSafetensors } from "../../../src/formats/safetensors/read.ts";
import { type Place, peftc, place } from "../support.ts";

const GOLDEN = path.resolve(import.meta.dirname, "../../golden");
const BASE = ["--base", `${GOLDEN}/models/llama-lm`];
const adapter = (name: string) => `${GOLDEN}/combined/${name}`;
const near = (a: ArrayLike<number>, b: ArrayLike<number>) => Math.max(...Array.from(a, (v, i) => Math.abs(v - b[i])));
const LLAMA = `import { LlamaForCausalLM } from "std/models/llama"
model m = LlamaForCausalLM from "${GOLDEN}/models/llama-lm"
`;
/** The weights of two models' folders, compared. */
function far(at: Place, a: string, b: string): number {
  const [one, other] = [a, b].map((folder) => openCheckpoint(at.files, folder)!);
  expect([...one.tensors.keys()].sort()).toEqual([...other.tensors.keys()].sort());
  return Math.max(...[...one.tensors.keys()].map((name) => near(one.read(name), other.read(name))));
}

describe("several adapters as one", () => {
  test("convert --with: what PEFT's linear combination is, in its layout", async () => {
    const at = place();
    const run = await peftc(at, [
      ...["convert", adapter("a"), "--with", adapter("b"), "--combine", "linear", "--weights", "0.7,-0.3", "--output", "both", ...BASE],
    ]);
    expect([run.code, run.err]).toEqual([0, ""]);
    expect(JSON.parse(at.get("both/adapter_config.json"))).toMatchObject({
      r: 4,
      lora_alpha: 4,
      target_modules: ["down_proj", "q_proj", "v_proj"],
    });
    const [a, b, both] = [adapter("a"), adapter("b"), "both"].map((f) => openSafetensors(at.files, `${f}/adapter_model.safetensors`));
    const key = (m: string) => `base_model.model.model.layers.1.self_attn.v_proj.lora_${m}.weight`;
    // weights 0.7 and −0.3, scales 8 / 4 and 6 / 4; the sign goes with A
    const sum = (m: string, sign: number) =>
      Array.from(a.read(key(m)), (v, i) => Math.sqrt(1.4) * v + sign * Math.sqrt(0.45) * b.read(key(m))[i]);
    expect(near(both.read(key("A")), sum("A", -1))).toBeLessThan(1e-6);
    expect(near(both.read(key("B")), sum("B", 1))).toBeLessThan(1e-6);
    expect((await peftc(at, ["convert", adapter("a"), "--combine", "linear", "--output", "c"])).err).toMatch(/nothing to combine it with/);
  });

  test("merge --adapter twice: the model that the combination gives, whatever the file attaches", async () => {
    const at = place();
    at.put("m.peft", LLAMA);
    const one = ["--combine", "ties", "--density", "0.5", "--weights", "0.7,0.3"];
    const merged = await peftc(at, ["merge", "m.peft", "--adapter", adapter("a"), "--adapter", adapter("b"), ...one, "--output", "m1"]);
    expect([merged.code, merged.out]).toEqual([0, expect.stringMatching(/layers\.0\.mlp\.down_proj\.weight/)]);
    expect((await peftc(at, ["convert", adapter("a"), "--with", adapter("b"), ...one, "--output", "both", ...BASE])).code).toBe(0);
    at.put("n.peft", `${LLAMA}attach x = load("both") to m\n`);
    expect((await peftc(at, ["merge", "n.peft", "--adapter", "both", "--output", "m2"])).code).toBe(0);
    expect(far(at, "m1", "m2")).toBe(0);
    // with attachments of its own the file's model is taken without them
    const again = await peftc(at, ["merge", "n.peft", "--adapter", adapter("a"), "--adapter", adapter("b"), ...one, "--output", "m3"]);
    expect([again.code, far(at, "m1", "m3")]).toEqual([0, 0]);
    expect((await peftc(at, ["merge", "m.peft", "--adapter", adapter("a"), "--rank", "2", "--output", "m4"])).err).toMatch(/--rank/);
  });
});

describe("convert --to-lora", () => {
  test("any method that folds: exact at the full rank, and the nearest below it, with its error", async () => {
    const at = place();
    const from = `${GOLDEN}/peft/ia3-llama`;
    const low = await peftc(at, ["convert", from, "--to-lora", "rank=3", "--output", "low", "--json", ...BASE]);
    const [{ error, places }] = low.events() as unknown as { error: number; places: { path: string; error: number }[] }[];
    expect(error).toBeGreaterThan(0.1);
    expect(places.length).toBeGreaterThan(2);
    const full = await peftc(at, ["convert", from, "--to-lora", "32", "--output", "full", ...BASE]);
    expect([full.code, full.out]).toEqual([0, expect.stringMatching(/in all \S+e-\d+ %|in all 0\.00000\d* % of the change is lost/)]);
    at.put("ia3.peft", `${LLAMA}attach x = load("${from}") to m\n`);
    at.put("full.peft", `${LLAMA}attach x = load("full") to m\n`);
    at.put("low.peft", `${LLAMA}attach x = load("low") to m\n`);
    for (const [name, folder] of [["ia3", from], ["full", "full"], ["low", "low"]]) // biome-ignore format: a row
      expect((await peftc(at, ["merge", `${name}.peft`, "--adapter", folder, "--output", `m-${name}`])).code).toBe(0);
    expect(far(at, "m-ia3", "m-full")).toBeLessThan(1e-5);
    // the error is what it says: of each weight, and there is no nearer one
    const base = openCheckpoint(at.files, `${GOLDEN}/models/llama-lm`)!;
    const [exact, near] = ["m-ia3", "m-low"].map((folder) => openCheckpoint(at.files, folder)!);
    for (const place of places) {
      const [w, v, u] = [base, exact, near].map((store) => Array.from(store.read(place.path)));
      const norm = (x: readonly number[]) => Math.hypot(...x);
      expect(norm(v.map((x, i) => x - u[i])) / norm(v.map((x, i) => x - w[i]))).toBeCloseTo(place.error, 4);
    }
  });

  test("of a whole model beside its base; weights that lie the other way round", async () => {
    const at = place();
    expect((await peftc(at, ["train", "main.peft", "--output", "adapter"])).code).toBe(0);
    expect((await peftc(at, ["merge", "main.peft", "--adapter", "adapter", "--output", "merged"])).code).toBe(0);
    expect((await peftc(at, ["convert", "merged", "--to-lora", "rank=4", "--output", "x"])).err).toMatch(/P0694[\s\S]*--base/);
    const run = await peftc(at, ["convert", "merged", "--to-lora", "rank=4", "--base", "models/tiny", "--output", "again", "--json"]);
    expect((run.events()[0] as unknown as { error: number }).error).toBeLessThan(1e-4);
    at.put(
      "again.peft",
      `import { GPT2LMHeadModel } from "std/models/gpt2"\nmodel gpt2 = GPT2LMHeadModel from "models/tiny"\nattach x = load("again") to gpt2\n`,
    );
    expect((await peftc(at, ["merge", "again.peft", "--adapter", "again", "--output", "twice"])).code).toBe(0);
    expect(far(at, "merged", "twice")).toBeLessThan(1e-6);
    // a file that attaches with another alpha says so: the values act otherwise
    const other = await peftc(at, ["merge", "main.peft", "--adapter", "again", "--output", "other"]);
    expect(other.err).toMatch(/P0699[\s\S]*alpha = 4, and `lora` has alpha = 8/);
    expect(other.err).not.toMatch(/dropout =/);
  });
});
