import { createHash } from "node:crypto";
import { describe, expect, test } from "@jest/globals";
import { openCheckpoint } from "../../../src/formats/checkpoint.ts";
import { writeFile } from "../../../src/formats/files.ts";
import type { StoredDType } from "../../../src/formats/safetensors/dtype.ts";
import { openSafetensors } from "../../../src/formats/safetensors/read.ts";
import { writeSafetensors, writeWeights } from "../../../src/formats/safetensors/write.ts";
import { type Place, peftc, place, SPEC } from "../support.ts";

const SITE = "transformer.h.0.attn.c_attn";
const LOADED = SPEC.replace(/attach lora = .*/, 'attach lora = load("adapter") to gpt2').replace("train {", "train {\n  params = lora");

/** A folder with an adapter, trained for one update. */
async function trained(spec = SPEC): Promise<Place> {
  const at = place(spec);
  const { code, err } = await peftc(at, ["train", "main.peft", "--set", "train.steps=1", "--output", "adapter"]);
  expect([code, err]).toEqual([0, expect.not.stringMatching(/P069/)]);
  return at;
}
let first: Place | undefined;
/** A folder with a copy of one that was trained before. */
async function ready(): Promise<Place> {
  first ??= await trained();
  const at = place();
  for (const name of ["peftc.json", "adapter_config.json", "adapter_model.safetensors"])
    writeFile(at.files, `adapter/${name}`, first.bytes(`adapter/${name}`));
  return at;
}
const record = (at: Place, folder = "adapter") => JSON.parse(at.get(`${folder}/peftc.json`));
const evaluate = (at: Place, file = "main.peft") =>
  peftc(at, ["eval", file, ...(file === "main.peft" ? ["--adapter", "adapter"] : []), "--json"]);
const codes = (out: { events(): Record<string, unknown>[] }) =>
  out.events().flatMap((e) => (e.event === "problem" ? [`${e.severity} ${e.code}`] : []));

/** Writes the base's weights anew. `change`: its values by name. */
function rewrite(
  at: Place,
  change: (name: string, values: Float32Array) => Float32Array,
  { shards = false, rename = (name: string) => name, dtype = "F32" as StoredDType } = {},
): void {
  const store = openCheckpoint(at.files, "models/tiny")!;
  const tensors = [...store.tensors.values()].map(({ name, shape }) => {
    const values = change(name, Float32Array.from(store.read(name)));
    return { name: rename(name), shape, dtype, values: () => values };
  });
  at.files.remove("models/tiny/model.safetensors");
  if (shards) expect(writeWeights(at.files, "models/tiny", tensors, 4000).length).toBeGreaterThan(2);
  else writeSafetensors(at.files, "models/tiny/model.safetensors", tensors);
}
const same = (_name: string, values: Float32Array) => values;
const shifted = (part: string) => (name: string, values: Float32Array) => (name.includes(part) ? values.map((v) => v + 1) : values);

describe("what an adapter was made on", () => {
  test("the record: tensors under the sites, the tokenizer's files, the writer; equal runs write equal bytes, checkpoints have it too", async () => {
    const at = await trained();
    const made = record(at);
    expect(made).toEqual({
      format: "peftc-adapter",
      version: 1,
      written_by: { name: "peftc", version: "0.1.0" },
      base: { [`${SITE}.weight`]: expect.stringMatching(/^[0-9a-f]{64}$/), [`${SITE}.bias`]: expect.stringMatching(/^[0-9a-f]{64}$/) },
      tokenizer: {
        "merges.txt": createHash("sha256").update(at.bytes("models/tiny/merges.txt")).digest("hex"),
        "tokenizer_config.json": expect.any(String),
        "vocab.json": createHash("sha256").update(at.bytes("models/tiny/vocab.json")).digest("hex"),
      },
    });
    // the hash of the digests of the shape and of the values, as src/train/run/provenance.ts says
    const sha = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest();
    const values = openSafetensors(at.files, "models/tiny/model.safetensors").read(`${SITE}.bias`);
    const whole = sha(Buffer.concat([sha("f32[48]"), sha(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))]));
    expect(made.base[`${SITE}.bias`]).toBe(whole.toString("hex"));
    const again = await trained();
    for (const name of ["peftc.json", "adapter_config.json", "adapter_model.safetensors"])
      expect(Buffer.from(again.bytes(`adapter/${name}`))).toEqual(Buffer.from(at.bytes(`adapter/${name}`)));
    expect(at.get("adapter/checkpoint-1/peftc.json")).toBe(at.get("adapter/peftc.json"));
  });

  test("the right base is silent, given with --adapter or loaded by the file, and in a folder without the record any base is", async () => {
    const at = await ready();
    at.put("loaded.peft", LOADED);
    expect(codes(await evaluate(at))).toEqual([]);
    expect(codes(await evaluate(at, "loaded.peft"))).toEqual([]);
    rewrite(at, shifted("attn.c_attn"));
    at.files.remove("adapter/peftc.json");
    expect(codes(await evaluate(at))).toEqual([]);
    expect(codes(await evaluate(at, "loaded.peft"))).toEqual([]);
  });

  test("another base is said by name: with --adapter, in a file that loads it (once), when that trains on, and in inspect", async () => {
    const at = await ready();
    at.put("loaded.peft", LOADED);
    rewrite(at, shifted("attn.c_attn.bias"));
    for (const file of ["main.peft", "loaded.peft"]) {
      const seen = await evaluate(at, file);
      expect([seen.code, codes(seen)]).toEqual([0, ["warning P0695"]]);
      const problem = seen.events().find((e) => e.event === "problem")!;
      expect(problem.message).toBe("`adapter` was trained on another base than `gpt2` from `models/tiny`");
      expect((problem.notes as string[])[0]).toBe(`1 of 2 tensors of the base differ: \`${SITE}.bias\``);
    }
    const on = await peftc(at, ["train", "loaded.peft", "--set", "train.steps=1", "--output", "on"]);
    expect([on.code, on.err.match(/P0695/g)?.length]).toEqual([0, 1]);
    // what it was trained on then
    expect(record(at, "on").base[`${SITE}.bias`]).not.toBe(record(at).base[`${SITE}.bias`]);
    expect((await peftc(at, ["inspect", "adapter"])).out).toMatch(
      /made by peftc 0\.1\.0, with hashes of 2 tensors of its base and of its tokenizer \(.*vocab\.json.*\)\n\s+models\/tiny: other weights \(1 of 2 tensors differ\): transformer\.h\[0\]\.attn\.c_attn\.bias/,
    );
    const [facts] = (await peftc(at, ["inspect", "on", "--json"])).events();
    expect(facts.made).toMatchObject({ written_by: { name: "peftc" }, differing: [], compared: [expect.any(String), expect.any(String)] });
  });

  test("tensors that nothing is attached to may change; shards, a trunk without its prefix, and more bits for the same values too", async () => {
    const at = await ready();
    rewrite(at, shifted("mlp"));
    expect(codes(await evaluate(at))).toEqual([]);
    rewrite(at, same, { shards: true });
    expect(at.has("models/tiny/model.safetensors.index.json")).toBe(true);
    expect(codes(await evaluate(at))).toEqual([]);
    const seen = (await peftc(at, ["inspect", "adapter", "--json"])).events()[0].made as { compared: string[]; differing: string[] };
    expect([seen.compared.length, seen.differing]).toEqual([2, []]);
    const bare = await ready();
    rewrite(bare, same, { rename: (name) => name.replace(/^transformer\./, "") });
    expect(codes(await evaluate(bare))).toEqual([]);

    const half = place();
    rewrite(half, same, { dtype: "BF16" });
    await peftc(half, ["train", "main.peft", "--set", "train.steps=1", "--output", "adapter"]);
    rewrite(half, same);
    expect(openSafetensors(half.files, "models/tiny/model.safetensors").info("transformer.wte.weight").dtype).toBe("F32");
    expect(codes(await evaluate(half))).toEqual([]);
    // rounded, it is another
    expect(record(half).base).not.toEqual(record(at).base);
  });

  test("a changed tokenizer is said, file by file; one in fewer files is not", async () => {
    const at = await ready();
    at.files.remove("models/tiny/tokenizer_config.json");
    at.put(
      "models/tiny/tokenizer_config.json",
      JSON.stringify({ tokenizer_class: "GPT2Tokenizer", bos_token: "!", eos_token: "!", unk_token: "!" }),
    );
    const seen = await evaluate(at);
    expect(codes(seen)).toEqual(["warning P0696"]);
    const problem = seen.events().find((e) => e.event === "problem")!;
    expect([problem.message, (problem.notes as string[])[0]]).toEqual([
      "`adapter` was trained with another tokenizer than that of `models/tiny`",
      "what differs: `tokenizer_config.json`",
    ]);
    expect((await peftc(at, ["inspect", "adapter"])).out).toMatch(/models\/tiny: another tokenizer: tokenizer_config\.json/);
    const less = await ready();
    less.files.remove("models/tiny/tokenizer_config.json");
    expect(codes(await evaluate(less))).toEqual([]);
  });

  test("a method at places without parameters has the embedding and the last layer", async () => {
    const prompt = SPEC.replace(/import \{ LoRA \} .*/, 'import { Prompt } from "std/methods/prompt"').replace(
      /attach lora = .*/,
      "attach lora = Prompt(tokens: 3) to gpt2.transformer",
    );
    const at = await trained(prompt);
    const paths = Object.keys(record(at).base);
    expect(paths).toHaveLength(13);
    expect(paths).toEqual(expect.arrayContaining(["transformer.wte.weight", "transformer.h.0.mlp.c_proj.bias"]));
    expect(codes(await evaluate(at))).toEqual([]);
    rewrite(at, shifted("wte"));
    expect(codes(await evaluate(at))).toEqual(["warning P0695"]);
  });

  test("a base that an earlier stage trains: the adapter sits on the result", async () => {
    const two = SPEC.replace(
      "attach lora",
      'train first { objective = causal_lm(gpt2)  params = gpt2  data = text("corpus.txt")  sequence = 16  batch = 4  optimizer = adamw(lr: 1e-2)  steps = 1 }\nattach lora',
    ).replace("train {", "train second {\n  params = lora");
    const at = place(two);
    const run = await peftc(at, ["train", "main.peft", "--set", "second.steps=1"]);
    expect([run.code, run.err]).toEqual([0, expect.not.stringMatching(/P069/)]);
    // the newest run brings its base along; the adapter alone does not
    expect(codes(await peftc(at, ["eval", "main.peft", "--json"]))).toEqual([]);
    expect(codes(await peftc(at, ["eval", "main.peft", "--adapter", "runs/main/second", "--json"]))).toEqual(["warning P0695"]);
    at.put("after.peft", SPEC.replace("models/tiny", "runs/main/first"));
    const exported = await peftc(at, ["eval", "after.peft", "--adapter", "runs/main/second", "--json"]);
    expect([exported.code, codes(exported)]).toEqual([0, []]);
  });

  test("convert carries it along, and claims nothing where there was none; a record that is not sound is said", async () => {
    const at = await ready();
    const convert = (to: string, ...more: string[]) =>
      peftc(at, ["convert", "adapter", "--to", "peftc", "--output", to, "--base", "models/tiny", ...more]);
    expect((await convert("own")).code).toBe(0);
    expect(at.get("own/peftc.json")).toBe(at.get("adapter/peftc.json"));
    at.files.remove("adapter/peftc.json");
    expect((await convert("own", "--force")).code).toBe(0);
    expect(at.has("own/peftc.json")).toBe(false);
    at.put("adapter/peftc.json", '{"format": "peftc-adapter", "version": 1, "written_by": {}, "base": [], "tokenizer": {}}');
    const seen = await evaluate(at);
    expect([seen.code, codes(seen)]).toEqual([0, ["warning P0697"]]);
    at.put("loaded.peft", LOADED);
    const loaded = await evaluate(at, "loaded.peft");
    expect([loaded.code, codes(loaded)]).toEqual([0, ["warning P0697"]]);
  });

  test("a newest run whose record is not sound is used, and that is said", async () => {
    const at = place();
    await peftc(at, ["train", "main.peft", "--set", "train.steps=1"]);
    at.put("runs/main/train/peftc.json", "{");
    const seen = await peftc(at, ["eval", "main.peft", "--json"]);
    expect([seen.code, codes(seen)]).toEqual([0, [expect.stringMatching(/^warning P068\d$/)]]);
  });
});
