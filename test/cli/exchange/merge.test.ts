import { describe, expect, test } from "@jest/globals";
import { openCheckpoint } from "../../../src/formats/checkpoint.ts";
import { InputError, merge } from "../../../src/index.ts";
import { Losses, nearest, stochastic } from "../../../src/train/run/rounding.ts";
import { peftc, place, SPEC } from "../support.ts";

describe("peftc merge", () => {
  test("folds the newest result into a folder that loads as a plain model, and says what rounding loses", async () => {
    const at = place();
    expect((await peftc(at, ["train", "main.peft", "--set", "train.steps=3"])).code).toBe(0);
    const { code, out, err } = await peftc(at, ["merge", "main.peft", "--output", "merged"]);
    expect([code, err]).toEqual([0, expect.stringContaining("using the newest result: runs/main/train")]);
    expect(err).toMatch(/merged gpt2 into gpt2_merged: 1 parameters changed, largest difference \d\.\de-\d/);
    expect(out).toMatch(/^merged: f32, rounded to the nearest\n/);
    expect(out).toMatch(/transformer\.h\.0\.attn\.c_attn\.weight/);
    expect(JSON.parse(at.get("merged/config.json"))).toMatchObject({
      torch_dtype: "float32",
      n_embd: 16,
      architectures: ["GPT2LMHeadModel"],
    });
    expect(at.has("merged/vocab.json")).toBe(true);
    // the library does the same
    expect(await merge("main.peft", { cwd: at.folder, output: "library", device: "wasm" })).toMatchObject({
      dtype: "F32",
      all: { lost: 0 },
    });
    expect(Buffer.from(at.bytes("library/model.safetensors"))).toEqual(Buffer.from(at.bytes("merged/model.safetensors")));
    await expect(merge("main.peft", { cwd: at.folder, output: "library" })).rejects.toThrow(InputError);

    // the folder is a model like any other, and answers as the base with the adapter does
    at.put(
      "plain.peft",
      SPEC.replace("models/tiny", "merged")
        .replace(/attach[^\n]*\n/, "")
        .replace(/train \{[\s\S]*?\n\}\n/, ""),
    );
    const plain = await peftc(at, ["generate", "plain.peft"]);
    expect([plain.code, plain.out]).toEqual([0, (await peftc(at, ["generate", "main.peft"])).out]);

    // its weights also take the place of another folder's, where nothing is attached
    at.put("base.peft", at.get("plain.peft").replace('"merged"', '"models/tiny"'));
    expect((await peftc(at, ["generate", "base.peft", "--adapter", "merged"])).out).toBe(plain.out);
    // where the file attaches what they have already, that does not act a second time
    const same = await peftc(at, ["generate", "main.peft", "--adapter", "merged"]);
    expect([same.out, same.err]).toEqual([plain.out, expect.stringMatching(/using merged as `gpt2`: .*\(`lora`\).* does not act/)]);
    expect((await peftc(at, ["merge", "main.peft", "--adapter", "merged", "--output", "twice"])).err).toMatch(
      /P0692[\s\S]*would act twice/,
    );

    expect((await peftc(at, ["merge", "main.peft", "--output", "merged"])).err).toMatch(/P0825/);
  });

  test("narrower types: what is lost, by parameter and in all; stochastic rounding is seeded", async () => {
    const at = place();
    await peftc(at, ["train", "main.peft", "--set", "train.steps=2", "--output", "adapter"]);
    const run = async (...more: string[]) =>
      (await peftc(at, ["merge", "main.peft", "--adapter", "adapter", "--output", "m", "--force", "--json", ...more])).events().at(-1)!;
    const near = (await run("--dtype", "bf16")) as { all: { lost: number; unchanged: number }; parameters: { path: string }[] };
    expect(near).toMatchObject({ event: "merge", dtype: "BF16", parameters: [{ path: "transformer.h.0.attn.c_attn.weight" }] });
    expect(near.all.lost).toBeGreaterThan(0.01);
    expect(near.all.unchanged).toBeGreaterThan(0);
    expect(openCheckpoint(at.files, "m")!.info("transformer.wte.weight").dtype).toBe("BF16");
    expect(JSON.parse(at.get("m/config.json")).torch_dtype).toBe("bfloat16");
    const f32 = (await run("--dtype", "f32")) as unknown as { all: { lost: number }; logits: { difference: number; of: number } };
    expect(f32.all.lost).toBe(0);
    expect(f32.logits.difference).toBeLessThan(1e-5 * f32.logits.of);
    const draws: string[] = [];
    for (const seed of ["1", "1", "2"]) {
      await run("--dtype", "bf16", "--rounding", "stochastic", "--seed", seed);
      draws.push(Buffer.from(at.bytes("m/model.safetensors")).toString("base64"));
    }
    expect(draws[0]).toBe(draws[1]);
    expect(draws[0]).not.toBe(draws[2]);
  });

  test("what cannot be merged, and what is no way to ask", async () => {
    const at = place(
      SPEC.replace('"std/methods/lora"', '"std/methods/prefix"')
        .replace("{ LoRA }", "{ Prefix }")
        .replace(/attach[^\n]*/, "attach p = Prefix(tokens: 2) to gpt2.**.attn"),
    );
    const prefix = await peftc(at, ["merge", "main.peft", "--output", "m"]);
    expect([prefix.code, prefix.err]).toEqual([1, expect.stringMatching(/P0508.*`p` cannot be folded into parameters/)]);
    expect(at.has("m")).toBe(false);
    const plain = place();
    for (const [argv, why] of [
      [["--dtype", "int4"], /the types are: f32, bf16, f16/],
      [["--rounding", "up"], /the ways are/],
      [["--model", "llama"], /it has: gpt2/],
    ] as const) {
      const { code, err } = await peftc(plain, ["merge", "main.peft", "--output", "m", ...argv]);
      expect([code, err]).toEqual([2, expect.stringMatching(why)]);
    }
  });
});

describe("rounding", () => {
  const values = Float32Array.from({ length: 2000 }, (_, i) => Math.sin(i * 1.3) * 10 ** ((i % 9) - 6));
  for (const dtype of ["BF16", "F16"] as const)
    test(`${dtype}: stochastic draws are neighbours whose mean is the value`, () => {
      const one = Float32Array.of(0.3, -0.3, 1 + 1e-3, 1e-7);
      const sums = new Float64Array(one.length);
      const draws = 4000;
      const seen = one.map(() => 0) && Array.from(one, () => new Set<number>());
      for (let k = 0; k < draws; k++)
        stochastic(one, dtype, [k, 7]).forEach((v, i) => {
          sums[i] += v / draws;
          seen[i].add(v);
        });
      one.forEach((v, i) => {
        const [a, b = a] = [...seen[i]].sort((x, y) => x - y);
        expect(seen[i].size).toBeLessThanOrEqual(2);
        expect(a).toBeLessThanOrEqual(v);
        expect(b).toBeGreaterThanOrEqual(v);
        expect(Math.abs(sums[i] - v)).toBeLessThanOrEqual(0.05 * (b - a));
      });
      const near = nearest(values, dtype);
      expect(stochastic(near, dtype, [1, 2])).toEqual(near);
    });

  test("losses are those of the definition", () => {
    const losses = new Losses();
    losses.add(Float32Array.of(1, 2, 2), Float32Array.of(1.001, 2.5, 2), Float32Array.of(1, 2.5, 2), Float32Array.of(1, 2, 2));
    const { change, lost, unchanged } = losses.result;
    expect(change).toBeCloseTo(Math.hypot(0.001, 0.5) / 3, 6);
    expect(lost).toBeCloseTo(0.001 / Math.hypot(0.001, 0.5), 6);
    expect(unchanged).toBe(0.5);
  });
});

test("a model made afresh is a transformers folder with the tokenizer it was given, and says where its texts begin and end", async () => {
  const at = place(`import { GPT2LMHeadModel } from "std/models/gpt2"
import { causal_lm } from "std/objectives"
import { adamw } from "std/training"
model fresh = GPT2LMHeadModel(vocab_size: 257, n_positions: 16, n_embd: 8, n_layer: 1, n_head: 2, tokenizer: tokenizer("models/tiny"))
train {
  objective = causal_lm(fresh)
  data      = text("corpus.txt")
  sequence  = 8
  batch     = 2
  optimizer = adamw(lr: 1e-3)
  steps     = 1
}
`);
  const { code, err } = await peftc(at, ["train", "main.peft", "--output", "made"]);
  expect([code, err]).toEqual([0, expect.stringContaining("made")]);
  const config = JSON.parse(at.get("made/config.json"));
  expect(config).toMatchObject({ model_type: "gpt2", vocab_size: 257, bos_token_id: 256, eos_token_id: 256 });
  expect(at.get("made/merges.txt")).toBe(at.get("models/tiny/merges.txt"));
});
