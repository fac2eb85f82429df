/** Adapters of others on models whose head is their embedding table, or that have fewer words; and what is saved of such. */
import { describe, expect, test } from "@jest/globals";
import { openSafetensors } from "../../src/formats/safetensors/read.ts";
import { type OutTensor, writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { type Place, peftc, place } from "./support.ts";
import { EMBED, VOCAB } from "./tiny-model.ts";

const HEAD = `import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRA }            from "std/methods/lora"
import { causal_lm }       from "std/objectives"
import { adamw }           from "std/training"
model m = GPT2LMHeadModel from "models/tiny"
`;
const DATA = 'data = text("corpus.txt", split: 0.9)  sequence = 16  batch = 4';
const EVALUATE = `evaluate e { objective = causal_lm(m)  ${DATA} }\n`;
const PREFIX = "base_model.model.";

/** An adapter's folder with a LoRA that changes nothing, and these tensors, shifted copies of the base's table. */
function adapter(
  at: Place,
  name: string,
  config: object,
  heads: Readonly<Record<string, { rows: number; shift: number }>>,
  layers = [0],
): void {
  const base = openSafetensors(at.files, "models/tiny/model.safetensors").read("transformer.wte.weight");
  const out: OutTensor[] = [
    ...layers.flatMap((layer): OutTensor[] =>
      [
        { name: "lora_A", shape: [2, EMBED] },
        { name: "lora_B", shape: [3 * EMBED, 2] },
      ].map(({ name, shape }) => ({
        name: `${PREFIX}transformer.h.${layer}.attn.c_attn.${name}.weight`,
        shape,
        dtype: "F32",
        values: () => new Float32Array(shape[0] * shape[1]),
      })),
    ),
    ...Object.entries(heads).map(
      ([path, { rows, shift }]): OutTensor => ({
        name: `${PREFIX}${path}`,
        shape: [rows, EMBED],
        dtype: "F32",
        values: () => Float32Array.from({ length: rows * EMBED }, (_, i) => (base[i] ?? 0) + shift * Math.sin(i)),
      }),
    ),
  ];
  writeSafetensors(at.files, `${name}/adapter_model.safetensors`, out);
  at.put(
    `${name}/adapter_config.json`,
    JSON.stringify({ peft_type: "LORA", r: 2, lora_alpha: 2, target_modules: ["c_attn"], task_type: "CAUSAL_LM", ...config }),
  );
}
async function loss(at: Place, program: string, ...more: string[]): Promise<number> {
  at.put("main.peft", HEAD + program);
  const { code, err, events } = await peftc(at, [
    "train",
    "main.peft",
    "--json",
    "--device",
    "reference",
    "--output",
    "out",
    "--force",
    ...more,
  ]);
  if (code !== 0) throw new Error(err);
  return events().findLast((e) => e.event === "evaluation")!.loss as number;
}

describe("a head that is tied to the embedding table", () => {
  const at = place();
  const load = (name: string) => loss(at, `attach a = load("${name}") to m\n${EVALUATE}`);
  test("a copy in the adapter's file is a tensor of its own, as in PEFT, unless it was told to keep the tie", async () => {
    const plain = await loss(at, EVALUATE);
    const [own, none] = [
      { rows: VOCAB, shift: 0.3 },
      { rows: VOCAB, shift: 0 },
    ];
    adapter(at, "head", { modules_to_save: ["lm_head"] }, { "lm_head.weight": own });
    adapter(at, "head-and-table", { modules_to_save: ["lm_head", "wte"] }, { "lm_head.weight": own, "transformer.wte.weight": none });
    adapter(at, "table", { modules_to_save: ["wte"] }, { "transformer.wte.weight": own });
    adapter(
      at,
      "tied",
      { modules_to_save: ["wte", "lm_head"], ensure_weight_tying: true },
      { "transformer.wte.weight": own, "lm_head.weight": own },
    );
    const [head, both, table, tied] = [await load("head"), await load("head-and-table"), await load("table"), await load("tied")];
    expect(both).toBe(head);
    expect(new Set([plain, head, table, tied]).size).toBe(4);
    // the same folder for a program that names the adapter itself: the model there is tied
    at.put("main.peft", `${HEAD}attach a = LoRA(rank: 2, alpha: 2) to m.transformer.h[*].attn.c_attn\n${EVALUATE}`);
    const given = async (name: string) => peftc(at, ["eval", "main.peft", "--json", "--device", "reference", "--adapter", name]);
    expect((await given("tied")).events().findLast((e) => e.event === "evaluation")!.loss).toBe(tied);
    expect((await given("head")).err + (await given("head")).out).toMatch(/P0691.*`lm_head.weight` as a tensor of its own/);
  });

  test("a model that was untied is merged as one that is not tied", async () => {
    adapter(at, "head", { modules_to_save: ["lm_head"] }, { "lm_head.weight": { rows: VOCAB, shift: 0.3 } });
    at.put("main.peft", `${HEAD}attach a = load("head") to m\n${EVALUATE}`);
    const { code, err } = await peftc(at, ["merge", "main.peft", "--output", "merged", "--device", "reference", "--force"]);
    expect([code, err]).toEqual([0, expect.anything()]);
    expect([code, JSON.parse(at.get("merged/config.json")).tie_word_embeddings]).toEqual([0, false]);
    const store = openSafetensors(at.files, "merged/model.safetensors");
    expect(store.read("lm_head.weight")[1]).not.toBe(store.read("transformer.wte.weight")[1]);
  });

  test("a table that was trained is saved under both names, and PEFT is told to keep them one", async () => {
    const train = `attach a = LoRA(rank: 2) to m.transformer.h[*].attn.c_attn\ntrain t { objective = causal_lm(m)  params = [a, m.transformer.wte.weight]  ${DATA}  steps = 1  optimizer = adamw(lr: 1e-2) }\n`;
    const after = await loss(at, `${train}${EVALUATE}`);
    const config = JSON.parse(at.get("out/adapter_config.json"));
    expect([config.modules_to_save, config.ensure_weight_tying]).toEqual([["lm_head", "wte"], true]);
    const store = openSafetensors(at.files, "out/adapter_model.safetensors");
    expect(store.read(`${PREFIX}lm_head.weight`)).toEqual(store.read(`${PREFIX}transformer.wte.weight`));
    at.put("main.peft", `${HEAD}attach a = load("out") to m\n${EVALUATE}`);
    const { events } = await peftc(at, ["eval", "main.peft", "--json", "--device", "reference", "--adapter", "out"]);
    expect(events().findLast((e) => e.event === "evaluation")!.loss).toBeCloseTo(after, 5);
  });

  test("llama.cpp has no such head to adapt", async () => {
    at.put("main.peft", HEAD);
    const wide = place();
    const out = (name: string, shape: number[]): OutTensor => ({
      name: PREFIX + name,
      shape,
      dtype: "F32",
      values: () => new Float32Array(shape[0] * shape[1]),
    });
    writeSafetensors(wide.files, "a/adapter_model.safetensors", [
      out("lm_head.lora_A.weight", [2, EMBED]),
      out("lm_head.lora_B.weight", [VOCAB, 2]),
    ]);
    wide.put(
      "a/adapter_config.json",
      JSON.stringify({ peft_type: "LORA", r: 2, lora_alpha: 2, target_modules: ["lm_head"], task_type: "CAUSAL_LM" }),
    );
    expect((await peftc(wide, ["inspect", "a", "--base", "models/tiny"])).out).toMatch(
      /llama.cpp: no, `lm_head` is tied to `transformer.wte.weight`/,
    );
    expect((await peftc(wide, ["convert", "a", "--base", "models/tiny", "--to", "gguf", "--output", "a.gguf"])).code).toBe(1);
  });
});

describe("words that were added", () => {
  test("an adapter's larger tables enlarge the model's, and so does `vocab_size`; new rows begin as the mean; merged, the folder says so", async () => {
    const at = place();
    const table = { rows: VOCAB + 3, shift: 0.1 };
    adapter(at, "grown", { modules_to_save: ["wte"], ensure_weight_tying: true }, { "transformer.wte.weight": table });
    const program = `attach a = load("grown") to m\n${EVALUATE}`;
    const grown = await loss(at, program);
    at.put("main.peft", HEAD + program);
    expect((await peftc(at, ["check", "main.peft"])).out + (await peftc(at, ["check", "main.peft"])).err).toMatch(
      /P0609: grown .*tables of `m` have 260 rows now/,
    );
    at.put("said.peft", HEAD.replace("GPT2LMHeadModel from", "GPT2LMHeadModel(vocab_size: 260) from") + program);
    const said = await peftc(at, ["eval", "said.peft", "--json", "--device", "reference"]);
    expect(said.events().findLast((e) => e.event === "evaluation")!.loss).toBe(grown);
    expect((await peftc(at, ["merge", "main.peft", "--output", "merged", "--device", "reference"])).code).toBe(0);
    expect(JSON.parse(at.get("merged/config.json"))).toMatchObject({ vocab_size: 260, tie_word_embeddings: true });
    expect(openSafetensors(at.files, "merged/model.safetensors").info("transformer.wte.weight").shape).toEqual([260, EMBED]);
    // without an adapter the new rows are the mean of the others
    at.put(
      "mean.peft",
      `${HEAD.replace("GPT2LMHeadModel from", "GPT2LMHeadModel(vocab_size: 258) from")}attach a = LoRA(rank: 1) to m.transformer.h[*].attn.c_attn\n`,
    );
    expect((await peftc(at, ["merge", "mean.peft", "--output", "mean", "--device", "reference"])).code).toBe(0);
    const rows = openSafetensors(at.files, "mean/model.safetensors").read("transformer.wte.weight");
    const first = Array.from({ length: VOCAB }, (_, i) => rows[i * EMBED]);
    expect(rows[VOCAB * EMBED]).toBeCloseTo(first.reduce((a, b) => a + b, 0) / VOCAB, 5);
    at.put("less.peft", `${HEAD.replace("GPT2LMHeadModel from", "GPT2LMHeadModel(vocab_size: 200) from")}`);
    expect((await peftc(at, ["check", "less.peft"])).err).toMatch(/P0606[\s\S]*can be larger than the folder's, not smaller/);
  });
});

test("options that differ by module in a folder, and not in the file, are told where its values are taken", async () => {
  const at = place();
  adapter(at, "forms", { target_modules: ["c_attn"], alpha_pattern: { "h.1.attn.c_attn": 8 } }, {}, [0, 1]);
  at.put("main.peft", `${HEAD}attach a = LoRA(rank: 2, alpha: 2) to m.transformer.h[*].attn.c_attn\n${EVALUATE}`);
  const { code, err } = await peftc(at, ["eval", "main.peft", "--device", "reference", "--adapter", "forms"]);
  expect([code, err]).toEqual([
    1,
    expect.stringMatching(/P0690: `forms` holds LoRA in 2 forms[\s\S]*LoRA\(alpha: 8\) at `transformer.h.1[\s\S]*load\("forms"\)/),
  ]);
});

test("places that a folder names and has not, and the other way round, are told where it is loaded and where its values are taken", async () => {
  const at = place();
  adapter(at, "apart", { target_modules: ["c_proj"], modules_to_save: ["wpe"] }, {});
  const told =
    /(?=[\s\S]*P0608: apart: target_modules names `transformer.h.0.attn.c_proj` and \d+ more, and the weights have nothing)(?=[\s\S]*tensors for `transformer.h.0.attn.c_attn`, which target_modules does not name)(?=[\s\S]*P0608: apart: modules_to_save names `transformer.wpe`)/;
  at.put("main.peft", `${HEAD}attach a = load("apart") to m\n${EVALUATE}`);
  expect((await peftc(at, ["train", "main.peft", "--device", "reference"])).err).toMatch(told);
  at.put("main.peft", `${HEAD}attach a = LoRA(rank: 2, alpha: 2) to m.transformer.h[0].attn.c_attn\n${EVALUATE}`);
  expect((await peftc(at, ["eval", "main.peft", "--device", "reference", "--adapter", "apart"])).err).toMatch(told);
});
