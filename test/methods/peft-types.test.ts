/** Types of PEFT that no golden has: the names and shapes in their files, and that what is written is read and attached again as it was. */
import { readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { compile } from "../../src/compiler/compile.ts";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import { readAdapter } from "../../src/formats/adapters/read.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { openSafetensors } from "../../src/formats/safetensors/read.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { artefactsFor } from "../../src/train/artefacts.ts";
import { Sources } from "../../src/train/compiler-host.ts";
import { ValueStore } from "../../src/train/values.ts";

const mappings = readMappings(new NodeFiles(), "specs/std/methods");
const HEAD = `import { BertForSequenceClassification } from "std/models/bert"
model m = BertForSequenceClassification(vocab_size: 13, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 12, max_position_embeddings: 20)
`;

function program(body: string, files = new MemoryFiles()) {
  const sources = new Sources(
    files,
    { source: (path) => readFileSync(`specs/${path}`, "utf8") },
    mappings,
    new Map([["main.peft", HEAD + body]]),
  );
  const p = compile("main.peft", sources);
  expect(p.problems.map(({ code, message }) => `${code} ${message}`)).toEqual([]);
  return { p, values: new ValueStore(p, sources.open) };
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
    ["prompt_embeddings", [3, 16]],
  ]);
  const back = program(`attach b = load("out") to m`, files);
  expect(back.p.attachments.map(({ method }) => method).sort()).toEqual(["Cartridge", "Shifted"]);
  const at = (of: typeof back, name: string) => [...of.p.params.values()].find((q) => q.name.endsWith(name))!.name;
  for (const name of ["prefix_key", "prefix_value"])
    expect(back.values.param(at(back, name))).toEqual(values.param(at({ p, values }, name)));
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
