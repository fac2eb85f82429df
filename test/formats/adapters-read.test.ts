import { describe, expect, test } from "@jest/globals";
import type { AdapterFolder } from "../../src/formats/adapters/folder.ts";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import { isAdapter, readAdapter } from "../../src/formats/adapters/read.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { type OutTensor, writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { refusal } from "../support/refusal.ts";

const golden = new NodeFiles("test/golden");
const mappings = readMappings(new NodeFiles(), "specs/std/methods");
const read = (dir: string): AdapterFolder => readAdapter(golden, dir, mappings)!;
const brief = (folder: AdapterFolder) => folder.parts.map(({ method, options, sites }) => [method, options, sites.length, sites[0].path]);

/** A folder with these tensors, given by shape; element i of each has the value i. */
function made(config: object, tensors: Record<string, number[]> = {}): () => AdapterFolder {
  const files = new MemoryFiles([["a/adapter_config.json", JSON.stringify(config)]]);
  const out = Object.entries(tensors).map(([name, shape]): OutTensor => {
    const count = shape.reduce((x, y) => x * y, 1);
    return { name, shape, dtype: "F32", values: () => Float32Array.from({ length: count }, (_, i) => i) };
  });
  writeSafetensors(files, "a/adapter_model.safetensors", out);
  return () => readAdapter(files, "a", mappings)!;
}
const Q = "base_model.model.m.q";
const pair = { [`${Q}.lora_A.weight`]: [2, 4], [`${Q}.lora_B.weight`]: [3, 2] };

const lists = (trainable_token_indices: unknown) => ({
  peft_type: "LORA",
  r: 2,
  lora_alpha: 2,
  use_dora: false,
  target_modules: ["q"],
  trainable_token_indices,
});
test("rows of embeddings beside LoRA: one list, or lists by name", () => {
  const more = { "base_model.model.m.wte.token_adapter.trainable_tokens_delta": [2, 4] };
  const tokens = (value: unknown) => made(lists(value), { ...pair, ...more })().parts.find(({ method }) => method === "TrainableTokens");
  for (const value of [[5, 1], { wte: [5, 1], other: [3] }])
    expect(tokens(value)).toMatchObject({
      options: { tokens: [5, 1] },
      sites: [{ path: "m.wte", params: { trainable_tokens_delta: Object.keys(more)[0] } }],
    });
  expect(refusal(made(lists([5, 1]), pair))).toMatch(/P0664[\s\S]*trainable_token_indices is set/);
});

describe("PEFT goldens say which methods, where, with which options", () => {
  test("LoRA and DoRA by module", () => {
    expect(brief(read("peft/lora-gpt2-all"))).toEqual([
      ["LoRA", { rank: 3, alpha: 5, rslora: true, dropout: 0, bias: false }, 8, "transformer.h.0.attn.c_attn"],
    ]);
    expect(brief(read("peft/dora-bert-all"))).toEqual([
      ["DoRA", { rank: 4, alpha: 8, rslora: false }, 13, "bert.encoder.layer.0.attention.output.dense"],
    ]);
    expect(read("peft/dora-bert-all").heads).toEqual({
      "classifier.bias": "base_model.model.classifier.bias",
      "classifier.weight": "base_model.model.classifier.weight",
    });
    expect(read("peft/dora-bert-all")).toMatchObject({ base: "models/bert-cls", taskType: "SEQ_CLS", layout: "peft" });
  });
  test("an embedding beside linear layers, its untrained copy apart", () => {
    const folder = read("peft/lora-llama-layers-embed");
    expect(folder.parts.map(({ method }) => method)).toEqual(["LoRAEmbedding", "LoRA"]);
    expect(folder.heads).toEqual({});
    expect(Object.keys(folder.copies)).toEqual(["model.embed_tokens.weight"]);
  });
  test("(IA)³ on inputs where the name ends like a feed-forward's, attention's output too", () => {
    const [input, output] = read("peft/ia3-bert").parts;
    expect(input.method).toBe("IA3Input");
    expect(input.sites.map(({ path }) => path)).toContain("bert.encoder.layer.1.attention.output.dense");
    expect(output.method).toBe("IA3");
    expect(output.sites).toHaveLength(4);
  });
  test("a prefix is cut out of the table, layer by layer, and moves positions", () => {
    const folder = read("peft/prefix-gpt2");
    expect(folder.parts.map(({ method, options, sites }) => [method, options, sites.map(({ path }) => path)])).toEqual([
      ["Shifted", { tokens: 5 }, ["**: Positions #0?"]],
      ["Prefix", { tokens: 5, pad_bias: true, gates: 0 }, ["**: Attention #0", "**: Attention #1"]],
    ]);
    const key = folder.parts[1].sites[1].params.prefix_value;
    expect(folder.shapes[key]).toEqual([4, 5, 8]);
    const table = folder.read("prompt_embeddings"); // [5, 2 layers · 2, 4, 8]
    const values = folder.read(key);
    for (const [head, token, i] of [
      [0, 0, 0],
      [3, 4, 7],
      [2, 1, 5],
    ])
      expect(values[(head * 5 + token) * 8 + i]).toBe(table[((token * 4 + 3) * 4 + head) * 8 + i]);
  });
  test("prompts stay in front: of a pooler, and of a language model, whose loss then has the first word in it", () => {
    expect(brief(read("peft/prompt-bert"))).toEqual([
      ["LastColumn", {}, 1, "**: LastRead #0?"],
      ["Prompt", { tokens: 5, spare: 0, cut: false, late: false }, 1, "**: TextModel #0"],
    ]);
    expect(brief(read("peft/prompt-gpt2"))).toEqual([
      ["LastColumn", {}, 1, "**: LastRead #0?"],
      ["Prompt", { tokens: 5, spare: 0, cut: false, late: false }, 1, "**: TextModel #0"],
    ]);
    expect(Object.keys(read("peft/prompt-bert").heads)).toEqual(["classifier.bias", "classifier.weight"]);
  });
});

describe("PEFT's other spellings", () => {
  test("the smallest configuration, keys without prefix, with the adapter's name, the magnitude as a weight", () => {
    const bare = made(
      { peft_type: "LORA", target_modules: ["q"], use_dora: true },
      { "m.q.lora_A.default.weight": [2, 4], "m.q.lora_B.default.weight": [3, 2], "m.q.lora_magnitude_vector.weight": [3] },
    )();
    expect(brief(bare)).toEqual([["DoRA", { rank: 2, alpha: 8, rslora: false }, 1, "m.q"]]);
    expect(bare.parts[0].sites[0].params.lora_magnitude_vector).toBe("m.q.lora_magnitude_vector.weight");
  });
  test("ranks come from the tensors, alphas from the first pattern that fits", () => {
    const config = { peft_type: "LORA", lora_alpha: 8, alpha_pattern: { "m\\.q": 1, q: 2, ".*k": 3 } };
    const tensors = {
      ...pair,
      "base_model.model.m.k.lora_A.weight": [5, 4],
      "base_model.model.m.k.lora_B.weight": [3, 5],
      "base_model.model.n.q.lora_A.weight": [2, 4],
      "base_model.model.n.q.lora_B.weight": [3, 2],
    };
    expect(made(config, tensors)().parts.map(({ options, sites }) => [options.rank, options.alpha, sites[0].path])).toEqual([
      [5, 3, "m.k"],
      [2, 1, "m.q"],
      [2, 2, "n.q"],
    ]);
  });
  test("a rank that the file says must be that of its tensors, by patterns too", () => {
    const ranked = (more: object) => refusal(made({ peft_type: "LORA", lora_alpha: 4, ...more }, pair));
    expect(ranked({ r: 2 })).toBe("nothing was refused");
    expect(ranked({ r: 8, rank_pattern: { q: 2 } })).toBe("nothing was refused");
    expect(ranked({ r: 8 })).toMatch(/^P0666 .*says r = 8, and `lora_A.weight` at `m.q` has rank 2\n.*alpha over the rank/);
    expect(ranked({ r: 2, rank_pattern: { "m.q": 3 } })).toMatch(/^P0666 .*r = 3/);
  });
  test("a field of another kind than PEFT's default is refused, with what to write", () => {
    const odd = (more: object) => refusal(made({ peft_type: "LORA", r: 2, lora_alpha: 4, ...more }, pair));
    expect(odd({ lora_alpha: "16" })).toMatch(/^P0661 .*lora_alpha is the string "16" where a number is wanted\nwrite 16 without quotes/);
    expect(odd({ r: "2" })).toMatch(/^P0661 .*r is the string/);
    expect(odd({ lora_dropout: null })).toMatch(/^P0661 .*lora_dropout is null where a number is wanted\nthe default is 0/);
    expect(odd({ use_rslora: "false" })).toMatch(/^P0661 .*use_rslora is the string "false" where true or false/);
    expect(odd({ alpha_pattern: { q: "8" } })).toMatch(/^P0661 .*alpha_pattern for "q" is the string "8"/);
    expect(odd({ use_rslora: null })).toBe("nothing was refused");
  });
  test("what the configuration names and the tensors lack, and the other way round", () => {
    const of = (more: object) => made({ peft_type: "LORA", ...more }, pair)().elsewhere?.(["m.q", "m.k", "n.q"], ["m.q", "m.k"]);
    expect(of({ target_modules: ["q"] })).toEqual({ missing: ["n.q"], extra: [], unsaved: [] });
    expect(of({ target_modules: ["k"] })).toEqual({ missing: ["m.k"], extra: ["m.q"], unsaved: [] });
    expect(of({ target_modules: "m\\..*" })).toEqual({ missing: ["m.k"], extra: [], unsaved: [] });
    expect(of({ target_modules: ["q"], exclude_modules: ["n.q"] })).toEqual({ missing: [], extra: [], unsaved: [] });
    expect(of({ target_modules: ["elsewhere"] })).toEqual({ missing: [], extra: [], unsaved: [] });
    expect(of({ target_modules: ["m.q"], modules_to_save: ["n"] })).toEqual({ missing: [], extra: [], unsaved: ["n.q"] });
    expect(of({ target_modules: "all-linear" })).toEqual({ missing: ["m.k"], extra: [], unsaved: [] });
  });
  test("copies of whole modules are tensors of their own, unless ties were to be kept", () => {
    const heads = { ...pair, "base_model.model.lm_head.weight": [3, 4], "base_model.model.n.bias": [3] };
    const apart = (more: object) => made({ peft_type: "LORA", modules_to_save: ["lm_head"], ...more }, heads)().apart;
    expect(apart({})).toEqual(["lm_head.weight"]);
    expect(apart({ ensure_weight_tying: true })).toEqual([]);
    expect(apart({ modules_to_save: null })).toEqual([]);
  });
  test("trained biases of adapted modules are heads", () => {
    expect(made({ peft_type: "LORA", bias: "lora_only" }, { ...pair, [`${Q}.base_layer.bias`]: [3] })().heads).toEqual({
      "m.q.bias": `${Q}.base_layer.bias`,
    });
  });
  test("(IA)³'s feed-forward as a regular expression", () => {
    const parts = made(
      { peft_type: "IA3", feedforward_modules: ".*\\.fc" },
      { "base_model.model.l.fc.ia3_l": [1, 4], "base_model.model.l.fcx.ia3_l": [4, 1] },
    )().parts;
    expect(parts.map(({ method, sites }) => [method, sites[0].path])).toEqual([
      ["IA3Input", "l.fc"],
      ["IA3", "l.fcx"],
    ]);
  });
  test("norms replaced whole are new values of base parameters; shared projections are shared; blocks are read off the triangle", () => {
    expect(made({ peft_type: "LN_TUNING" }, { "base_model.model.n.LayerNorm.ln_tuning_layers.bias": [4] })().heads).toEqual({
      "n.LayerNorm.bias": "base_model.model.n.LayerNorm.ln_tuning_layers.bias",
    });
    const vera = { [`${Q}.vera_lambda_b`]: [3], [`${Q}.vera_lambda_d`]: [2], "base_model.vera_A": [2, 4], "base_model.vera_B": [3, 2] };
    expect(made({ peft_type: "VERA", r: 2 }, vera)().parts[0].shared).toEqual({ vera_A: "base_model.vera_A", vera_B: "base_model.vera_B" });
    expect(made({ peft_type: "OFT", r: 4, oft_block_size: 0 }, { [`${Q}.oft_R.weight`]: [4, 28] })().parts[0].options).toMatchObject({
      block: 8,
      exact: false,
      terms: 5,
      share: false,
      constrained: false,
      eps: 6e-5,
    });
  });
  test("what acts in training only is told, fields nobody knows are listed", () => {
    const lora = Object.fromEntries(["A", "B"].map((end) => [`${Q}.lora_${end}.weight`, [2, 2]]));
    const folder = made({ peft_type: "LORA", velora_config: { scale: 1 }, r: 2, new_field: "x", other_field: null }, lora)();
    expect(folder.notes).toEqual(['velora_config = {"scale":1} acts in training only and is not built']);
    expect(folder.unknownFields).toEqual(["new_field"]);
  });
  test("one set of tensors may be that of several methods: the model says which", () => {
    const [part] = made({ peft_type: "HRA", r: 2 }, { [`${Q}.hra_u`]: [4, 2] })().parts;
    expect(part).toMatchObject({ method: "HRA", or: [{ method: "HRAConv", options: { rank: 2, orthogonal: false } }] });
  });
  test("encoder–decoders: prefixes in the decoder's self-attention, pairs in one table, both halves of a prompt's", () => {
    const prefix = made(
      {
        peft_type: "PREFIX_TUNING",
        num_virtual_tokens: 1,
        num_layers: 2,
        num_attention_heads: 1,
        token_dim: 1,
        num_transformer_submodules: 2,
      },
      { prompt_embeddings: [1, 4] },
    )();
    expect(prefix.parts[2]).toMatchObject({
      method: "PairedPrefix",
      sites: [{ path: "**.decoder.**: SelfAttention #0" }, { path: "**.decoder.**: SelfAttention #1" }],
      shared: { prompt_embeddings: "prompt_embeddings" },
    });
    const prompt = made(
      { peft_type: "PROMPT_TUNING", num_virtual_tokens: 2, token_dim: 2, num_transformer_submodules: 2 },
      { prompt_embeddings: [4, 2] },
    )();
    // the second half is read by nothing, and kept
    expect(prompt.parts[1].options).toMatchObject({ tokens: 2, spare: 2 });
    expect([...prompt.read(prompt.parts[1].sites[0].params.prompt_embeddings)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });
});

test("a context-aware prompt is the prompt that it saved, whatever it was trained with", () => {
  const said = { cpt_token_ids: [5, 6, 7], cpt_mask: [1, 1, 1], cpt_tokens_type_mask: [1, 2, 4], opt_projection_epsilon: 0.3 };
  const config = { peft_type: "CPT", task_type: "CAUSAL_LM", num_virtual_tokens: 3, token_dim: 4, num_transformer_submodules: 1, ...said };
  expect(made(config, { prompt_embeddings: [3, 4] })()).toMatchObject({
    parts: [{ method: "Prompt", options: { tokens: 3, spare: 0, cut: false, late: false }, sites: [{ path: "**: TextModel #0" }] }],
    notes: [],
    unknownFields: [],
  });
  expect(refusal(made(config, { prompt_embeddings: [2, 4] }))).toMatch(/^P0666/);
});

describe("what cannot be read is refused by name", () => {
  test.each<[string, () => unknown, RegExp]>([
    ["an unknown type", made({ peft_type: "MAGIC" }), /^P0662 .*MAGIC is no type/],
    ["a known type that is not built", made({ peft_type: "FROD" }), /^P0663 .*FROD \(sparse/],
    [
      "a start that changes the base",
      made({ peft_type: "LORA", init_lora_weights: "corda" }, pair),
      /^P0665 .*init_lora_weights = "corda".*out of the base weights/,
    ],
    [
      "a field whose value changes the result",
      made({ peft_type: "LORA", layer_replication: [[0, 2]] }, pair),
      /^P0665 .*layer_replication/,
    ],
    [
      "VeRA whose projections are missing",
      made({ peft_type: "VERA" }, { [`${Q}.vera_lambda_b`]: [3], [`${Q}.vera_lambda_d`]: [2] }),
      /^P0664 .*base_model.vera_A/,
    ],
    ["half a pair", made({ peft_type: "LORA" }, { [`${Q}.lora_A.weight`]: [2, 4] }), /^P0664 .*lora_A.weight of `m.q` fit no method/],
    [
      "DoRA's tensors without its flag",
      made({ peft_type: "LORA" }, { ...pair, [`${Q}.lora_magnitude_vector`]: [3] }),
      /^P0664 .*\nwith .*use_dora = false/,
    ],
    ["a tensor too many at a site", made({ peft_type: "LORA" }, { ...pair, [`${Q}.lora_C`]: [3] }), /^P0664 .*lora_C/],
    [
      "a table of another size",
      made(
        { peft_type: "PROMPT_TUNING", num_virtual_tokens: 3, token_dim: 4, num_transformer_submodules: 1 },
        { prompt_embeddings: [3, 5] },
      ),
      /^P0666 .*\[3, 5\], 15 numbers.*12/,
    ],
    [
      "a table that is missing",
      made({ peft_type: "PROMPT_TUNING", num_virtual_tokens: 3, token_dim: 4, num_transformer_submodules: 1 }),
      /^P0664 .*lack the tensor `prompt_embeddings`/,
    ],
    [
      "a field of the wrong kind",
      made({ peft_type: "PROMPT_TUNING", num_virtual_tokens: "3", token_dim: 4, num_transformer_submodules: 1 }),
      /^P0661 .*num_virtual_tokens is "3"/,
    ],
    ["a pattern that is no regular expression", made({ peft_type: "LORA", alpha_pattern: { "(": 1 } }, pair), /^P0661 .*alpha_pattern/],
    ["no triangle", made({ peft_type: "OFT" }, { [`${Q}.oft_R.weight`]: [4, 27] }), /^P0666 .*27 entries/],
    ["a configuration of nobody's", made({ a: 1 }), /^P0667/],
    ["our layout of another version", made({ peft_type: "PEFTC", peftc_version: 9 }), /^P0665 .*peftc_version 9/],
    [
      "our layout without its tensors",
      made({
        peft_type: "PEFTC",
        peftc_version: 1,
        parts: [{ method: "M", from: "f", options: {}, sites: [{ path: "p", params: { w: "k" } }], shared: {} }],
        heads: {},
      }),
      /^P0664 .*`k`/,
    ],
    [
      "our layout, malformed",
      made({ peft_type: "PEFTC", peftc_version: 1, parts: [{ method: 3 }], heads: {} }),
      /^P0661 .*parts\[0\]\.method is the number 3/,
    ],
  ])("%s", (_name, action, says) => {
    expect(refusal(action)).toMatch(says);
  });
  test("folders that lack a file, or hold a pickle that is none", () => {
    const folder = (...names: string[]) =>
      new MemoryFiles(names.map((name) => [`a/${name}`, name === "adapter_config.json" ? '{"peft_type": "LORA"}' : ""]));
    expect(refusal(() => readAdapter(folder("config.json"), "a", mappings))).toMatch(/^P0660[\s\S]*a model's folder/);
    expect(refusal(() => readAdapter(folder("adapter_config.json"), "a", mappings))).toMatch(/^P0660 .*no adapter_model.safetensors/);
    expect(refusal(() => readAdapter(folder("adapter_config.json", "adapter_model.bin"), "a", mappings))).toMatch(
      /^P0669[\s\S]*adapter_model.bin/,
    );
    expect(readAdapter(new MemoryFiles(), "a", mappings)).toBeUndefined();
    expect(isAdapter(golden, "peft/lora-bert-qv")).toBe(true);
    expect(isAdapter(golden, "models/bert-cls")).toBe(false);
  });
});

describe("the adapters library", () => {
  test("bottlenecks, at modules or at roles of blocks", () => {
    expect(brief(read("adapters/pfeiffer-bert"))).toEqual([["Pfeiffer", { size: 8 }, 2, "bert.encoder.layer.0.output"]]);
    expect(brief(read("adapters/houlsby-bert"))).toEqual([["Sequential", { size: 8, p: 0 }, 4, "bert.encoder.layer.0.attention.output"]]);
    expect(brief(read("adapters/pfeiffer-llama"))).toEqual([["Pfeiffer", { size: 8 }, 2, "model.layers.0:FeedForwardSublayer"]]);
    expect(read("adapters/houlsby-gpt2").parts[0].sites.map(({ path }) => path)).toEqual([
      "transformer.h.0:AttentionSublayer",
      "transformer.h.0:FeedForwardSublayer",
      "transformer.h.1:AttentionSublayer",
      "transformer.h.1:FeedForwardSublayer",
    ]);
    const { params } = read("adapters/pfeiffer-bert").parts[0].sites[1];
    expect(params["adapter.up.bias"]).toBe("bert.encoder.layer.1.output.adapters.a.adapter_up.bias");
  });
  test("a flat prefix takes its heads from the base's configuration", () => {
    const folder = read("adapters/prefix-flat-gpt2");
    expect(brief(folder)).toEqual([["Prefix", { tokens: 5, p: 0, gates: 0 }, 2, "transformer.h.0.attn"]]);
    const pool = folder.read("transformer.prefix_tuning.prefix_tunings.a.self_prefix.control_trans"); // [5, 2 layers · 2, 4, 8]
    const values = folder.read(folder.parts[0].sites[1].params.prefix_key);
    for (const [head, token, i] of [
      [0, 0, 0],
      [3, 4, 7],
      [1, 2, 3],
    ])
      expect(values[(head * 5 + token) * 8 + i]).toBe(pool[((token * 4 + 2) * 4 + head) * 8 + i]);
  });
  test("a prefix by network: one table and one wide layer for all, a part of the last layer for each", () => {
    const folder = read("adapters/prefix-mlp-bert");
    expect(brief(folder)).toEqual([["PrefixMLP", { tokens: 4, hidden: 12, p: 0, gates: 0 }, 2, "bert.encoder.layer.0.attention.self"]]);
    const { shared, sites } = folder.parts[0];
    expect(folder.shapes[shared.table]).toEqual([4, 32]);
    expect(folder.shapes[sites[0].params["to_key.weight"]]).toEqual([32, 12]);
    const whole = folder.read(folder.parts[0].shared["wide.bias"].replace("control_trans.0", "control_trans.2"));
    expect(folder.read(sites[1].params["to_value.bias"])).toEqual(whole.slice(3 * 32));
  });
  /** A folder of the library's with these tensors, element i of each having the value i. */
  function library(config: object, tensors: Record<string, number[]>, base = {}): AdapterFolder {
    const files = new MemoryFiles([
      ["a/adapter_config.json", JSON.stringify({ config, name: "n", model_name: "b", hidden_size: 2, version: "adapters.1.2.0" })],
      ["b/config.json", JSON.stringify(base)],
    ]);
    const out = Object.entries(tensors).map(
      ([name, shape]): OutTensor => ({ name, shape, dtype: "F32", values: () => [...Array(shape.reduce((x, y) => x * y, 1)).keys()] }),
    );
    writeSafetensors(files, "a/adapter.safetensors", out);
    return readAdapter(files, "a", mappings)!;
  }
  test("an encoder–decoder's prefixes come from three pools, each repeated everywhere", () => {
    const places = ["m.encoder.layers.0.self_attn", "m.decoder.layers.0.self_attn", "m.decoder.layers.0.encoder_attn"];
    const pools = ["encoder_prefix", "self_prefix", "cross_prefix"];
    const keys = places.flatMap((place) => pools.map((pool) => `${place}.prefix_tuning.pool.prefix_tunings.n.${pool}.control_trans`));
    const config = { architecture: "prefix_tuning", flat: true, prefix_length: 1, dropout: 0, use_gating: false, leave_out: [] };
    const folder = library(config, Object.fromEntries(keys.map((key) => [key, [4]])), { encoder_attention_heads: 1 });
    const served = folder.parts.flatMap(({ sites }) =>
      sites.map(({ path, params }) => [path, /(\w+)\.control_trans/.exec(params.prefix_value)![1], [...folder.read(params.prefix_value)]]),
    );
    expect(served.sort()).toEqual([...places.map((place, i) => [place, pools[i], [2, 3]])].sort());
  });
  test("Compacter shares its rule; a prompt stands behind the embeddings", () => {
    const ends = ["adapter_down.0", "adapter_up"].flatMap((part) => ["W_left", "W_right", "b"].map((end) => `${part}.${end}`));
    const bottleneck = {
      cross_adapter: false,
      ln_before: false,
      ln_after: false,
      use_gating: false,
      adapter_residual_before_ln: false,
      original_ln_after: true,
      residual_before_ln: true,
      scaling: 1,
      output_adapter: true,
      is_parallel: false,
      inv_adapter: null,
    };
    const phm = {
      phm_layer: true,
      shared_phm_rule: true,
      factorized_phm_W: true,
      factorized_phm_rule: false,
      shared_W_phm: false,
      phm_bias: true,
    };
    const config = {
      ...bottleneck,
      ...phm,
      mh_adapter: true,
      original_ln_before: false,
      reduction_factor: 4,
      phm_dim: 2,
      phm_rank: 1,
      non_linearity: "gelu",
    };
    const tensors = {
      ...Object.fromEntries(ends.map((end) => [`l.0.output.adapters.n.${end}`, [2]])),
      "m.shared_parameters.n.phm_rule": [2, 2, 2],
    };
    const [compacter] = library(config, tensors).parts;
    expect(compacter).toMatchObject({
      method: "Compacter",
      options: { reduction: 4, n: 2, rank: 1 },
      shared: { phm_rule: "m.shared_parameters.n.phm_rule" },
    });
    const prompt = library(
      { architecture: "prompt_tuning", combine: "prefix", prompt_length: 3 },
      { "m.prompt_tuning.prompt_tunings.n.prompt_embedding.weight": [3, 2] },
    );
    expect(brief(prompt)).toEqual([["Prompt", { tokens: 3, spare: 0, late: true, cut: false }, 1, "m"]]);
  });
  test("other bottlenecks are refused by what differs", () => {
    const config = JSON.parse(
      new TextDecoder().decode(
        golden.read("adapters/pfeiffer-bert/adapter_config.json", 0, golden.stat("adapters/pfeiffer-bert/adapter_config.json")!.size),
      ),
    );
    const files = (change: object) => {
      const memory = new MemoryFiles([["a/adapter_config.json", JSON.stringify({ ...config, config: { ...config.config, ...change } })]]);
      memory.content.set(
        "a/adapter.safetensors",
        golden.read("adapters/pfeiffer-bert/adapter.safetensors", 0, golden.stat("adapters/pfeiffer-bert/adapter.safetensors")!.size),
      );
      return memory;
    };
    expect(refusal(() => readAdapter(files({ phm_layer: true }), "a", mappings))).toMatch(/^P0664[\s\S]*shared tensor `phm_rule`/);
    expect(refusal(() => readAdapter(files({ residual_before_ln: "pre" }), "a", mappings))).toMatch(/^P0665[\s\S]*"pre" is not built/);
    expect(refusal(() => readAdapter(files({ non_linearity: "softsign" }), "a", mappings))).toMatch(/^P0665[\s\S]*softsign/);
    const free = readAdapter(files({ scaling: 2, residual_before_ln: false }), "a", mappings)!.parts[0];
    expect(free).toMatchObject({ method: "Adapter", options: { size: 8, read: "normed", carry: "read", scale: 2, scaling: "fixed" } });
    expect(readAdapter(files({ non_linearity: "swish" }), "a", mappings)!.parts[0].options.act).toBe("silu");
  });
});
