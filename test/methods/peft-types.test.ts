/** Types of PEFT that no golden has: the names and shapes in their files, and that what is written is read and attached again as it was. */

import { readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { compile } from "../../src/compiler/compile.ts";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import { readAdapter } from "../../src/formats/adapters/read.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { openSafetensors } from "../../src/formats/safetensors/read.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { Sources } from "../../src/train/compiler-host.ts";
import { artefactsFor } from "../../src/train/run/artefacts.ts";
import { ValueStore } from "../../src/train/values.ts";
import { programOf } from "./program.ts";

const mappings = readMappings(new NodeFiles(), "specs/std/methods");
const HEAD = `import { BertForSequenceClassification } from "std/models/bert"
model m = BertForSequenceClassification(vocab_size: 13, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 12, max_position_embeddings: 20)
`;

function program(body: string, files = new MemoryFiles()) {
  const { p, values } = programOf(HEAD + body, mappings, files);
  expect(p.problems.map(({ code, message }) => `${code} ${message}`)).toEqual([]);
  return { p, values };
}

/** Of the way up, 8 to 12: names behind the module's path to shapes. */
const cases: readonly (readonly [call: string, from: string, type: string, tensors: Readonly<Record<string, readonly number[]>>])[] = [
  ["DEFT(rank: 2)", "deft", "DEFT", { deft_P: [12, 2], deft_R: [2, 8] }],
  ["DEFT(rank: 2, para: true)", "deft", "DEFT", { deft_P: [12, 2] }],
  [
    "GLoRA(rank: 2)",
    "glora",
    "GLORA",
    {
      "glora_A.Xd": [12, 2],
      "glora_A.Xu": [2, 8],
      "glora_B.Xd": [12, 2],
      "glora_B.Xu": [2, 8],
      "glora_C.Xd": [8, 2],
      "glora_C.Xu": [2, 1],
      "glora_D.X": [1],
      "glora_E.X": [1],
    },
  ],
  [
    'GLoRA(a_b: "vector", c: "vector", d_e: "vector")',
    "glora",
    "GLORA",
    { "glora_A.X": [12, 1], "glora_B.X": [12, 1], "glora_C.X": [8, 1], "glora_D.X": [12], "glora_E.X": [12] },
  ],
  ["WaveFT(frequencies: 5, scaling: 3)", "waveft", "WAVEFT", { waveft_spectrum: [5] }],
  [
    'PEANuT(rank: 2, depth: 1, act: "gelu")',
    "peanut",
    "PEANUT",
    {
      "peanut_A.weight": [2, 12],
      "peanut_B.weight": [12, 2],
      "peanut_decoders.0.weight": [2, 2],
      "peanut_encoders.0.weight": [2, 2],
    },
  ],
  ["PVeRA(rank: 3)", "vera", "PVERA", { pvera_lambda_b: [12], pvera_lambda_d: [6] }],
];

test.each(cases)("%s", (call, from, type, tensors) => {
  const method = call.slice(0, call.indexOf("("));
  const { p, values } = program(`import { ${method} } from "std/methods/${from}"\nattach a = ${call} to m.bert.**.{dense, query}`);
  for (const param of p.params.values())
    if (param.owner.kind === "attachment" && !param.frozen)
      values.setParam(
        param.name,
        values.param(param.name).map((v, i) => v + Math.sin(i + 1)),
      );
  const files = new MemoryFiles();
  const parts = { attachments: ["a"], models: [], heads: [], objectives: [] };
  artefactsFor(p, files, mappings).adapter("out", parts, (n) => values.param(n));
  expect(JSON.parse(new TextDecoder().decode(files.content.get("out/adapter_config.json")!)).peft_type).toBe(type);
  const stored = openSafetensors(files, "out/adapter_model.safetensors").tensors;
  const site = "base_model.model.bert.encoder.layer.0.intermediate.dense.";
  const own = [...stored.values()].filter(({ name }) => name.startsWith(site)).map(({ name, shape }) => [name.slice(site.length), shape]);
  expect(Object.fromEntries(own)).toEqual(tensors);
  const read = readAdapter(files, "out", mappings)!;
  expect(read.parts.map((part) => [part.method, part.sites.length])).toEqual([[method, p.attachments[0].sites.length]]);

  const back = program(`attach a = load("out") to m`, files);
  expect(back.p.attachments[0].options).toEqual(p.attachments[0].options);
  const names = [...p.params.values()].flatMap(({ owner, name }) => (owner.kind === "attachment" ? [name] : []));
  for (const name of names) expect(back.values.param(name)).toEqual(values.param(name));
});

test("a cartridge is a table as a prefix's, and goes on so", () => {
  const { p, values } = program(`import { Cartridge } from "std/methods/cartridge"
import { Shifted } from "std/methods/prefix"
import { Attention, Positions } from "std/nn"
attach a = Cartridge(tokens: 3, held: 2) to m.**: Attention
attach s = Shifted(3) to m.**: Positions`);
  const files = new MemoryFiles();
  const parts = { attachments: ["a"], models: [], heads: [], objectives: [] };
  artefactsFor(p, files, mappings).adapter("out", parts, (n) => values.param(n));
  expect(JSON.parse(new TextDecoder().decode(files.content.get("out/adapter_config.json")!))).toMatchObject({
    peft_type: "CARTRIDGE",
    num_frozen_tokens: 2,
    num_virtual_tokens: 3,
    token_dim: 8,
  });
  expect([...openSafetensors(files, "out/adapter_model.safetensors").tensors.values()].map(({ name, shape }) => [name, shape])).toEqual([
    ["base_model.classifier.bias", [2]],
    ["base_model.classifier.weight", [2, 8]],
    ["prompt_embeddings", [3, 16]],
  ]);
  const back = program(`attach b = load("out") to m`, files);
  expect(back.p.attachments.map(({ method }) => method).sort()).toEqual(["Cartridge", "Shifted"]);
  const at = (of: typeof back, name: string) => [...of.p.params.values()].find((q) => q.name.endsWith(name))!.name;
  for (const name of ["prefix_key", "prefix_value"])
    expect(back.values.param(at(back, name))).toEqual(values.param(at({ p, values }, name)));
});

test("a classifier's head comes along untrained, and the rest of a module of which a part was trained: PEFT reads all of what it saves", () => {
  const { p, values } = program(`import { LoRA } from "std/methods/lora"
attach a = LoRA(rank: 2) to m.bert.encoder.layer[*].attention.self.query`);
  const files = new MemoryFiles();
  const norm = [...p.params.values()].find(({ path }) => path === "bert.embeddings.LayerNorm.weight")!;
  artefactsFor(p, files, mappings).adapter("out", { attachments: ["a"], models: [], heads: [norm.name], objectives: [] }, (n) =>
    values.param(n),
  );
  const { heads } = readAdapter(files, "out", mappings)!;
  const modules = ["bert.embeddings.LayerNorm", "classifier"];
  expect(Object.keys(heads).sort()).toEqual(modules.flatMap((module) => [`${module}.bias`, `${module}.weight`]));
  const stored = openSafetensors(files, "out/adapter_model.safetensors");
  for (const path of Object.keys(heads)) {
    const { name } = [...p.params.values()].find((q) => q.path === path)!;
    expect([...stored.read(heads[path])]).toEqual([...values.param(name)]);
  }
});

test("Bone's folders are MiSS's", () => {
  const shapes = { bone_block: [4, 12] };
  const files = new MemoryFiles([
    ["a/adapter_config.json", JSON.stringify({ peft_type: "BONE", r: 4, target_modules: ["layer.0.intermediate.dense"] })],
  ]);
  const site = "bert.encoder.layer.0.intermediate.dense";
  const { p, values } = program(
    `import { MiSS } from "std/methods/miss"\nattach a = MiSS(rank: 4) to m.bert.encoder.layer[0].intermediate.dense`,
  );
  values.setParam(
    `a.${site}.miss_block`,
    Float32Array.from({ length: 48 }, (_, i) => Math.sin(i)),
  );
  artefactsFor(p, files, mappings).adapter("b", { attachments: ["a"], models: [], heads: [], objectives: [] }, (n) => values.param(n));
  const text = Buffer.from(files.content.get("b/adapter_model.safetensors")!).toString("latin1").replace("miss_block", "bone_block");
  files.content.set("a/adapter_model.safetensors", Buffer.from(text, "latin1"));
  expect(openSafetensors(files, "a/adapter_model.safetensors").info(`base_model.model.${site}.bone_block`).shape).toEqual(
    shapes.bone_block,
  );
  const back = program(`attach a = load("a") to m`, files);
  expect(back.p.attachments[0]).toMatchObject({ method: "MiSS", options: { rank: 4, dropout: 0 } });
  expect(back.values.param(`a.${site}.miss_block`)).toEqual(values.param(`a.${site}.miss_block`));
});

const LILY = "model.layers.0.self_attn.q_proj";
const llama = (body: string, files: MemoryFiles) => {
  const text = `import { LlamaForCausalLM } from "std/models/llama"
import { Lily } from "std/methods/lily"
model m = LlamaForCausalLM(vocab_size: 13, hidden_size: 8, num_hidden_layers: 3, num_attention_heads: 2, intermediate_size: 12)
${body}`;
  const sources = new Sources(files, { source: (at) => readFileSync(`specs/${at}`, "utf8") }, mappings, new Map([["main.peft", text]]));
  const p = compile("main.peft", sources);
  return { p, said: p.problems.map(({ code, message }) => `${code} ${message}`), values: new ValueStore(p, sources.open) };
};
const parts = { attachments: ["a"], models: [], heads: [], objectives: [] };

test("Lily's shared matrices are repeated at every site, and what contradicts that is refused", () => {
  const files = new MemoryFiles();
  const { p, said, values } = llama("attach a = Lily(rank: 2, stride: 2) to m.**.{q_proj, k_proj}", files);
  expect(said).toEqual([]);
  // A of the first and the third layer, B once, for each name; a router for each site
  expect([...p.params.values()].filter(({ owner }) => owner.kind === "attachment").length).toBe(2 * (2 + 1) + 6);
  const write = () => artefactsFor(p, files, mappings).adapter("out", parts, (n) => values.param(n));
  write();
  const stored = openSafetensors(files, "out/adapter_model.safetensors");
  expect(stored.tensors.size).toBe(18);
  expect(stored.read(`base_model.model.${LILY.replace("0", "1")}.lily_A.weight`)).toEqual(
    stored.read(`base_model.model.${LILY}.lily_A.weight`),
  );
  expect(llama('attach a = load("out") to m', files).said).toEqual([]);

  const config = JSON.parse(new TextDecoder().decode(files.content.get("out/adapter_config.json")!));
  const changed = (fields: object) =>
    files.content.set("out/adapter_config.json", new TextEncoder().encode(JSON.stringify({ ...config, ...fields })));
  changed({ stride_A: 3 });
  expect(llama('attach a = load("out") to m', files).said.join()).toMatch(/P0664 .*are one tensor in LILY, and have other values/);
  changed({ target_modules: "q_proj|k_proj" });
  expect(llama('attach a = load("out") to m', files).said.join()).toMatch(/P0665 .*shares tensors between modules of different names/);
});

test("OSF's configuration and its tensors say one rank", () => {
  const files = new MemoryFiles();
  const { p, values } = program(`import { OSF } from "std/methods/osf"\nattach a = OSF(preserved: 3) to m.bert.**.{dense, query}`, files);
  artefactsFor(p, files, mappings).adapter("out", parts, (n) => values.param(n));
  const config = JSON.parse(new TextDecoder().decode(files.content.get("out/adapter_config.json")!));
  expect(config).toMatchObject({ peft_type: "OSF", effective_rank: 3 });
  const changed = (fields: object) => {
    files.content.set("out/adapter_config.json", new TextEncoder().encode(JSON.stringify({ ...config, ...fields })));
    return () => readAdapter(files, "out", mappings);
  };
  expect(changed({ effective_rank: 0.375 })()!.parts[0].options).toEqual({ preserved: 3 });
  expect(changed({ effective_rank: 5, rank_pattern: { "d.nse|query": 3 } })()!.parts[0].options).toEqual({ preserved: 3 });
  expect(changed({ effective_rank: 5 })).toThrow(/effective_rank = 5, and .* leaves 3 of 8/);
  expect(changed({ effective_rank: null })).toThrow(/leaves 3 of 8/);
});

test("where PEFT has nothing for weights that lie the other way round, the folder is ours", () => {
  for (const [method, from, type] of [
    ["LoHa(rank: 2)", "loha_lokr", "PEFTC"],
    ["LoRA(rank: 2)", "lora", "LORA"],
  ]) {
    const files = new MemoryFiles();
    const text = `import { GPT2LMHeadModel } from "std/models/gpt2"
import { ${method.slice(0, 4)} } from "std/methods/${from}"
model m = GPT2LMHeadModel(vocab_size: 13, n_embd: 8, n_layer: 1, n_head: 2, n_positions: 8)
attach a = ${method} to m.**.c_attn`;
    const sources = new Sources(files, { source: (at) => readFileSync(`specs/${at}`, "utf8") }, mappings, new Map([["main.peft", text]]));
    const p = compile("main.peft", sources);
    const values = new ValueStore(p, sources.open);
    artefactsFor(p, files, mappings).adapter("out", parts, (n) => values.param(n));
    expect(JSON.parse(new TextDecoder().decode(files.content.get("out/adapter_config.json")!)).peft_type).toBe(type);
  }
});

/** What is said of where the adapter of a program loads, and its folder. */
function saved(text: string, trained: readonly string[] = []) {
  const files = new MemoryFiles();
  const all = readMappings(new NodeFiles(), "specs/std/methods", "specs/std/models");
  const sources = new Sources(files, { source: (at) => readFileSync(`specs/${at}`, "utf8") }, all, new Map([["main.peft", text]]));
  const p = compile("main.peft", sources);
  expect(p.problems.filter(({ severity }) => severity === "error").map(({ message }) => message)).toEqual([]);
  const values = new ValueStore(p, sources.open);
  const heads = [...p.params.values()].flatMap(({ name, path }) => (trained.includes(path) ? [name] : []));
  const own = { ...parts, heads };
  const artefacts = artefactsFor(p, files, all);
  artefacts.adapter("out", own, (n) => values.param(n));
  const again = compile(
    "main.peft",
    new Sources(
      files,
      { source: (at) => readFileSync(`specs/${at}`, "utf8") },
      all,
      new Map([["main.peft", `${text.split("attach")[0]}\nattach a = load("out") to m`]]),
    ),
  );
  return {
    lines: artefacts.verdicts(own, (n) => values.param(n)),
    stored: [...openSafetensors(files, "out/adapter_model.safetensors").tensors.keys()],
    again,
  };
}

test("T5's trained embedding table is named where transformers reads it, and is one table when it comes back", () => {
  const { lines, stored, again } = saved(
    `import { T5ForConditionalGeneration } from "std/models/t5"
import { LoRA } from "std/methods/lora"
model m = T5ForConditionalGeneration(vocab_size: 13, d_model: 8, d_kv: 4, d_ff: 12, num_layers: 1, num_decoder_layers: 1, num_heads: 2)
attach a = LoRA(rank: 2) to m.**.q`,
    ["shared.weight"],
  );
  expect(stored.filter((key) => !key.includes("lora"))).toEqual(
    ["decoder.embed_tokens", "encoder.embed_tokens", "lm_head"].map((name) => `base_model.model.${name}.weight`),
  );
  expect(lines[0]).toBe("peft: yes");
  expect(again.problems.map(({ message }) => message)).toEqual([]);
  expect([...again.params.values()].filter(({ path }) => /shared|embed_tokens|lm_head/.test(path)).map(({ path }) => path)).toEqual([
    "shared.weight",
  ]);
});

test("an adapter on ViT: what transformers 5 calls otherwise is said", () => {
  const { lines } = saved(`import { ViTForImageClassification } from "std/models/vit"
import { LoRA } from "std/methods/lora"
model m = ViTForImageClassification(hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 12, image_size: 4, patch_size: 2)
attach a = LoRA(rank: 2) to m.**.query`);
  expect(lines[0]).toMatch(/^peft: yes, before transformers 5: that calls `vit\.encoder\.layer\.0\.attention\.attention\.query` otherwise/);
});
