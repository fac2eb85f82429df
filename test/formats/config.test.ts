import { describe, expect, test } from "@jest/globals";
import { matchCheckpoint, openCheckpoint } from "../../src/formats/checkpoint.ts";
import { labelCount, labelIds, normaliseConfig, readConfig, writeConfig } from "../../src/formats/config.ts";
import { readRecord, readText } from "../../src/formats/files.ts";
import { jsonFault, parseJson } from "../../src/formats/json.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { writeModel } from "../../src/formats/model.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { refusal } from "../support/refusal.ts";

const golden = new NodeFiles("test/golden");

describe("config.json", () => {
  test("both spellings of rotary positions and types become one", () => {
    const old = { rope_theta: 10000, rope_scaling: { type: "linear", factor: 2 }, torch_dtype: "bfloat16" };
    const now = { rope_parameters: { rope_theta: 10000, rope_type: "linear", factor: 2 }, dtype: "bfloat16" };
    expect(normaliseConfig(now, "c")).toEqual(normaliseConfig(old, "c"));
    expect(normaliseConfig({ rope_parameters: { rope_theta: 5, rope_type: "default" } }, "c")).toEqual({
      rope_theta: 5,
      rope_scaling: null,
    });
    expect(normaliseConfig({ rope_theta: 5, rope_scaling: { rope_type: "default" } }, "c")).toEqual({ rope_theta: 5, rope_scaling: null });
    expect(normaliseConfig({ rope_parameters: { rope_theta: 5, partial_rotary_factor: 0.5 } }, "c")).toMatchObject({
      partial_rotary_factor: 0.5,
    });
    const byLayer = { full_attention: { rope_theta: 1, rope_type: "default" } };
    expect(normaliseConfig({ rope_parameters: byLayer }, "c")).toEqual({ rope_parameters: byLayer });
  });
  test("words between bars are a list", () => {
    expect(normaliseConfig({ pos_att_type: "P2C| c2p" }, "c")).toEqual({ pos_att_type: ["p2c", "c2p"] });
    expect(normaliseConfig({ pos_att_type: ["c2p"] }, "c")).toEqual({ pos_att_type: ["c2p"] });
  });
  test("spellings that disagree and fields of the wrong kind are refused", () => {
    expect(refusal(() => normaliseConfig({ dtype: "float16", torch_dtype: "float32" }, "m/config.json"))).toMatch(
      /^P0630 `m\/config.json`.*float16.*float32/,
    );
    expect(refusal(() => normaliseConfig({ rope_scaling: 2 }, "c"))).toMatch(/^P0631/);
    expect(refusal(() => normaliseConfig({ id2label: ["a"] }, "c"))).toMatch(/^P0631/);
    expect(refusal(() => readConfig(new MemoryFiles([["m/config.json", "[]"]]), "m"))).toMatch(/^P0687/);
    expect(refusal(() => readConfig(new MemoryFiles([["m/config.json", '{\n "a": 1,\n}']]), "m"))).toMatch(/^P0686.*line 3, column 1/);
    expect(readConfig(new MemoryFiles(), "m")).toBeUndefined();
  });
  test("the number of labels is told, derived, or left to the record", () => {
    expect(readConfig(golden, "models/bert-cls")).toMatchObject({ num_labels: 3 });
    expect(readConfig(golden, "models/gpt2-lm")).not.toHaveProperty("num_labels");
    expect(labelCount(readConfig(golden, "models/gpt2-lm")!)).toBe(2);
    expect(normaliseConfig({ num_labels: 1, id2label: { 0: "a", 1: "b" } }, "c")).toMatchObject({ num_labels: 1 });
  });
  test("names of labels", () => {
    expect(labelIds({ id2label: { 0: "no", 1: "yes" } }, "c")).toEqual(
      new Map([
        ["no", 0],
        ["yes", 1],
      ]),
    );
    expect(labelIds({ label2id: { yes: 1 } }, "c")).toEqual(new Map([["yes", 1]]));
    expect(labelIds(readConfig(golden, "models/bert-cls")!, "c")).toBeUndefined();
    expect(refusal(() => labelIds({ id2label: { x: "no" } }, "c"))).toMatch(/^P0631/);
  });
  test("written, it is read as the same", () => {
    const files = new MemoryFiles();
    const config = readConfig(golden, "models/bert-cls")!;
    writeConfig(files, "m", config);
    expect(readConfig(files, "m")).toEqual({ ...withoutNulls(config), torch_dtype: "float32" });
    writeConfig(files, "m", config, { fields: { num_labels: 2 }, module: "Mine" });
    expect(readRecord(files, "m/config.json")).toMatchObject({ architectures: ["Mine"], id2label: { 0: "LABEL_0", 1: "LABEL_1" } });
    expect(readRecord(files, "m/config.json")).not.toHaveProperty("num_labels");
  });

  const LLAMA = `{
  "architectures": [
    "LlamaForCausalLM"
  ],
  "head_dim": null, "layer_types": null,
  "dtype": "float32",
  "attention_dropout": 0.0,
  "hidden_size": 9007199254740993,
  "rms_norm_eps": 1e-05, "logit_scale": 40.0,
  "quantization_config": {"quant_method": "gptq", "x": "a } \\" ,b"},
  "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
  "vocab_size": 64
}
`;
  const edited = (changes: Parameters<typeof writeConfig>[3]) => {
    const files = new MemoryFiles([["base/config.json", LLAMA]]);
    writeConfig(files, "out", { folder: "base" }, changes);
    return readText(files, "out/config.json");
  };
  test("a folder's is kept to the letter, but for what changed: numbers stay as they were spelt, packing goes", () => {
    const unpacked = LLAMA.replace(/ {2}"quantization_config".*\n/, "");
    const same = { module: "LlamaForCausalLM", dtype: "F32" } as const;
    expect(edited(same)).toBe(unpacked);
    expect(edited({ ...same, dtype: "BF16" })).toBe(unpacked.replace('"dtype": "float32"', '"dtype": "bfloat16"'));
    expect(edited({ ...same, module: "Other" })).toBe(unpacked.replace('[\n    "LlamaForCausalLM"\n  ]', '[\n    "Other"\n  ]'));
    expect(edited({ ...same, fields: { vocab_size: 68, rms_norm_eps: 1, extra: 3 }, floats: ["rms_norm_eps", "extra"] })).toBe(
      unpacked.replace("1e-05", "1.0").replace("64\n}", '68,\n  "extra": 3.0\n}'),
    );
    expect(JSON.parse(edited({ ...same, fields: { rope_scaling: { rope_type: "linear", factor: 2 } } })).rope_parameters).toEqual({
      rope_theta: 10000,
      rope_type: "linear",
      factor: 2,
    });
  });
  test("a model's without a folder has floats as floats, and nothing that says nothing", () => {
    const files = new MemoryFiles();
    writeConfig(files, "m", { head_dim: null, layer_types: [], dropout: 0, heads: 2 }, { floats: ["dropout"] });
    expect(readText(files, "m/config.json")).toBe(
      '{\n  "dropout": 0,\n  "heads": 2,\n  "torch_dtype": "float32"\n}\n'.replace(" 0,", " 0.0,"),
    );
  });
});

function withoutNulls(config: object): object {
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== null));
}

describe("faults of JSON", () => {
  test.each([
    ["", 1, 1, /value is wanted, the text ends/],
    ['{"a" 1}', 1, 6, /: is wanted/],
    ["[1,\n 2,\n]", 3, 1, /value is wanted, "\]"/],
    ["{a: 1}", 1, 2, /name in double quotes/],
    ['{"a": "b\n"}', 1, 7, /no sound end/],
    ["[1 2]", 1, 4, /, or \] is wanted/],
    ["1 2", 1, 3, /end is wanted/],
    ["[01]", 1, 3, /, or \]/],
    ["nul", 1, 1, /value/],
  ])("%j", (text, line, column, what) => {
    expect(() => JSON.parse(text)).toThrow();
    expect(jsonFault(text)).toMatchObject({ line, column, what: expect.stringMatching(what) });
  });
  test("sound texts have none", () => {
    for (const text of ['{"a":[1,-2.5e+3,true,null,"x\\u00e9\\n"],"b":{}}', " [] ", '"é𝄞\u007f"']) {
      expect(jsonFault(text)).toBeUndefined();
      expect(parseJson(text)).toEqual({ value: JSON.parse(text) });
    }
  });
});

describe("matching a checkpoint", () => {
  const tensors = (names: readonly string[], shape: number[] = [2]) => new Map(names.map((name) => [name, { shape }]));
  const wanted = (names: readonly string[]) => names.map((path) => ({ path, shape: [2] }));

  test("GPT-2 saved from its base model fits the model with a head", () => {
    const whole = openCheckpoint(golden, "models/gpt2-lm")!;
    const trunk = openCheckpoint(golden, "models/gpt2-noprefix")!;
    const paths = [...whole.tensors.values()].map(({ name, shape }) => ({ path: name, shape }));
    paths.push({ path: "lm_head.weight", shape: [120, 32] });
    const tied = paths.map((p) => (p.path === "lm_head.weight" ? { ...p, tiedTo: "transformer.wte.weight" } : p));
    const match = matchCheckpoint(tied, trunk.tensors);
    expect(match).toMatchObject({ missing: [], wrongShape: [], leftOver: [], prefix: { kind: "lacks", name: "transformer" } });
    expect(match.found.get("transformer.h.0.attn.c_attn.weight")).toBe("h.0.attn.c_attn.weight");
    expect(match.found.has("lm_head.weight")).toBe(false);
    // and the other way round: a bare trunk takes the tensors it has from the whole model
    const bare = [...trunk.tensors.values()].map(({ name, shape }) => ({ path: name, shape }));
    expect(matchCheckpoint(bare, whole.tensors)).toMatchObject({
      missing: [],
      leftOver: [],
      prefix: { kind: "adds", name: "transformer" },
    });
  });
  test("a new head is missing, an old one is left over", () => {
    const match = matchCheckpoint(wanted(["bert.a", "bert.b", "classifier.weight"]), tensors(["bert.a", "bert.b", "cls.bias"]));
    expect(match).toMatchObject({ missing: ["classifier.weight"], leftOver: ["cls.bias"], prefix: { kind: "same" } });
  });
  test("old spellings serve, buffers are passed over", () => {
    const match = matchCheckpoint(
      wanted(["LayerNorm.weight", "LayerNorm.bias"]),
      tensors([
        "LayerNorm.gamma",
        "LayerNorm.beta",
        "h.0.attn.bias",
        "h.0.attn.masked_bias",
        "l.rotary_emb.inv_freq",
        "embeddings.position_ids",
        "x.bias",
      ]),
    );
    expect([...match.found]).toEqual([
      ["LayerNorm.weight", "LayerNorm.gamma"],
      ["LayerNorm.bias", "LayerNorm.beta"],
    ]);
    expect(match.leftOver).toEqual(["x.bias"]);
  });
  test("a buffer's name that a parameter has is no buffer", () => {
    const match = matchCheckpoint(wanted(["attn.bias"]), tensors(["attn.bias"]));
    expect(match.found.get("attn.bias")).toBe("attn.bias");
  });
  test("tied parameters: one copy, under either name, or two", () => {
    const params = [
      { path: "wte.weight", shape: [2] },
      { path: "head.weight", shape: [2], tiedTo: "wte.weight" },
    ];
    expect(matchCheckpoint(params, tensors(["wte.weight"]))).toMatchObject({ missing: [], copies: [] });
    const other = matchCheckpoint(params, tensors(["head.weight"]));
    expect(other).toMatchObject({ missing: [], leftOver: [] });
    expect(other.found.get("wte.weight")).toBe("head.weight");
    expect(matchCheckpoint(params, tensors(["wte.weight", "head.weight"])).copies).toEqual([
      { path: "head.weight", tensor: "head.weight", of: "wte.weight" },
    ]);
    expect(matchCheckpoint(params, tensors(["x.y"])).missing).toEqual(["wte.weight"]);
  });
  test("shapes are compared", () => {
    expect(matchCheckpoint([{ path: "a", shape: [2, 3] }], tensors(["a"], [3, 2])).wrongShape).toEqual([
      { path: "a", tensor: "a", wanted: [2, 3], seen: [3, 2] },
    ]);
  });
});

test("a model's folder is written whole and read back", () => {
  const files = new MemoryFiles([
    ["base/tokenizer.json", "{}"],
    ["base/config.json", "{}"],
    ["base/notes.txt", "x"],
    ["base/processor_config.json", "{}"],
    ["base/chat_template.jinja", "x"],
    ["base/additional_chat_templates/tool_use.jinja", "x"],
    ["base/tokenizer.model", "x"],
    ["base/LICENSE", "x"],
    ["base/pytorch_model.bin", "x"],
    ["base/finished.json", "{}"],
  ]);
  const config = readConfig(golden, "models/gpt2-lm")!;
  const names = writeModel(files, "out", {
    config,
    tensors: [{ name: "w", shape: [1], dtype: "F32", values: () => [3] }],
    companions: "base",
  });
  const along = [
    "LICENSE",
    "additional_chat_templates/tool_use.jinja",
    "chat_template.jinja",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer.model",
  ];
  expect([...names].sort()).toEqual(["config.json", "model.safetensors", ...along].sort());
  expect(files.list("out")).toEqual([...new Set(names.map((name) => name.split("/")[0]))].sort());
  expect(openCheckpoint(files, "out")!.read("w")).toEqual(Float32Array.of(3));
  expect(readConfig(files, "out")).toEqual({ ...withoutNulls(config), torch_dtype: "float32" });
});
