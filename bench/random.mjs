/**
 * Folders of random weights in the shapes of models that people tune, so that loading, memory and steps can be measured without a download:
 * `node bench/random.mjs SHAPE FOLDER` (with `config` behind it no weights), or without arguments the names of the shapes. A folder holds `config.json`, `model.safetensors`, a tokenizer of
 * single bytes, rows to train on, and `lora.peft`.
 */
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";

const llama = (c) => {
  const d = c.hidden_size;
  const head = c.head_dim ?? d / c.num_attention_heads;
  const [q, kv, inner] = [c.num_attention_heads * head, c.num_key_value_heads * head, c.intermediate_size];
  const biased = c.model_type === "qwen2";
  const out = [["model.embed_tokens.weight", [c.vocab_size, d]]];
  for (let i = 0; i < c.num_hidden_layers; i++) {
    const at = `model.layers.${i}`;
    out.push([`${at}.input_layernorm.weight`, [d]], [`${at}.post_attention_layernorm.weight`, [d]]);
    for (const [name, rows] of [
      ["q", q],
      ["k", kv],
      ["v", kv],
    ]) {
      out.push([`${at}.self_attn.${name}_proj.weight`, [rows, d]]);
      if (biased) out.push([`${at}.self_attn.${name}_proj.bias`, [rows]]);
    }
    out.push([`${at}.self_attn.o_proj.weight`, [d, q]]);
    out.push(
      [`${at}.mlp.gate_proj.weight`, [inner, d]],
      [`${at}.mlp.up_proj.weight`, [inner, d]],
      [`${at}.mlp.down_proj.weight`, [d, inner]],
    );
  }
  out.push(["model.norm.weight", [d]]);
  return out;
};

const gpt2 = (c) => {
  const d = c.n_embd;
  const both = (name, shape) => [
    [`${name}.weight`, shape],
    [`${name}.bias`, [shape.at(-1)]],
  ];
  const out = [
    ["transformer.wte.weight", [c.vocab_size, d]],
    ["transformer.wpe.weight", [c.n_positions, d]],
  ];
  for (let i = 0; i < c.n_layer; i++) {
    const at = `transformer.h.${i}`;
    out.push(...both(`${at}.ln_1`, [d]), ...both(`${at}.attn.c_attn`, [d, 3 * d]), ...both(`${at}.attn.c_proj`, [d, d]));
    out.push(...both(`${at}.ln_2`, [d]), ...both(`${at}.mlp.c_fc`, [d, 4 * d]), ...both(`${at}.mlp.c_proj`, [4 * d, d]));
  }
  return [...out, ...both("transformer.ln_f", [d])];
};

const roberta = (c) => {
  const [d, inner] = [c.hidden_size, c.intermediate_size];
  const both = (name, shape) => [
    [`${name}.weight`, shape],
    [`${name}.bias`, [shape[0]]],
  ];
  const out = [
    ["roberta.embeddings.word_embeddings.weight", [c.vocab_size, d]],
    ["roberta.embeddings.position_embeddings.weight", [c.max_position_embeddings, d]],
    ["roberta.embeddings.token_type_embeddings.weight", [c.type_vocab_size, d]],
    ...both("roberta.embeddings.LayerNorm", [d]),
  ];
  for (let i = 0; i < c.num_hidden_layers; i++) {
    const at = `roberta.encoder.layer.${i}`;
    for (const name of ["query", "key", "value"]) out.push(...both(`${at}.attention.self.${name}`, [d, d]));
    out.push(...both(`${at}.attention.output.dense`, [d, d]), ...both(`${at}.attention.output.LayerNorm`, [d]));
    out.push(
      ...both(`${at}.intermediate.dense`, [inner, d]),
      ...both(`${at}.output.dense`, [d, inner]),
      ...both(`${at}.output.LayerNorm`, [d]),
    );
  }
  out.push(...both("classifier.dense", [d, d]), ...both("classifier.out_proj", [2, d]));
  return out;
};

const causal = (imports, sites, sequence, precision) => `${imports}
import { LoRA } from "std/methods/lora"
import { causal_lm } from "std/objectives"
import { adamw } from "std/training"

attach lora = LoRA(rank: 8, alpha: 16) to ${sites}

train {
  objective = causal_lm(m)
  data      = text("rows.txt")
  sequence  = ${sequence}
  batch     = 1
  optimizer = adamw(lr: 1e-4)
  precision = "${precision}"
  steps     = 3
  seed      = 7
}
`;
const ofLlama = (kind, precision) =>
  causal(
    `import { ${kind} } from "std/models/llama"\nmodel m = ${kind} from "."`,
    "m.model.layers[*].self_attn.{q_proj, v_proj}",
    256,
    precision,
  );
const ofGpt2 = causal(
  'import { GPT2LMHeadModel } from "std/models/gpt2"\nmodel m = GPT2LMHeadModel from "."',
  "m.transformer.h[*].attn.c_attn",
  128,
  "f32",
);
const ofRoberta = `import { RobertaForSequenceClassification } from "std/models/bert"
import { LoRA } from "std/methods/lora"
import { classify } from "std/objectives"
import { adamw } from "std/training"

model m = RobertaForSequenceClassification from "."
attach lora = LoRA(rank: 8, alpha: 16) to m.roberta.encoder.layer[*].attention.self.{query, value}

train {
  objective = classify(m)
  data      = jsonl("rows.jsonl")
  sequence  = 128
  batch     = 4
  optimizer = adamw(lr: 1e-4)
  steps     = 3
  seed      = 7
}
`;

const common = { architectures: [], tie_word_embeddings: true, bos_token_id: 0, eos_token_id: 0 };
const qwen2 = {
  ...common,
  model_type: "qwen2",
  architectures: ["Qwen2ForCausalLM"],
  hidden_act: "silu",
  rms_norm_eps: 1e-6,
  rope_theta: 1e6,
  attention_dropout: 0,
  max_position_embeddings: 32768,
  use_sliding_window: false,
};
const gpt = {
  ...common,
  model_type: "gpt2",
  architectures: ["GPT2LMHeadModel"],
  activation_function: "gelu_new",
  layer_norm_epsilon: 1e-5,
  vocab_size: 50257,
  n_positions: 1024,
  attn_pdrop: 0,
  embd_pdrop: 0,
  resid_pdrop: 0,
};
const llama3 = {
  ...common,
  model_type: "llama",
  architectures: ["LlamaForCausalLM"],
  hidden_act: "silu",
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  attention_bias: false,
  attention_dropout: 0,
  mlp_bias: false,
  max_position_embeddings: 131072,
  vocab_size: 128256,
  head_dim: 64,
};

const SHAPES = {
  "qwen2-tiny": {
    tensors: llama,
    dtype: "BF16",
    spec: ofLlama("Qwen2ForCausalLM", "bf16"),
    config: {
      ...qwen2,
      hidden_size: 64,
      intermediate_size: 192,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      vocab_size: 4096,
    },
  },
  "qwen2.5-0.5b": {
    tensors: llama,
    dtype: "BF16",
    spec: ofLlama("Qwen2ForCausalLM", "bf16"),
    config: {
      ...qwen2,
      hidden_size: 896,
      intermediate_size: 4864,
      num_hidden_layers: 24,
      num_attention_heads: 14,
      num_key_value_heads: 2,
      vocab_size: 151936,
    },
  },
  "llama-3.2-1b": {
    tensors: llama,
    dtype: "BF16",
    spec: ofLlama("LlamaForCausalLM", "bf16"),
    config: {
      ...llama3,
      hidden_size: 2048,
      intermediate_size: 8192,
      num_hidden_layers: 16,
      num_attention_heads: 32,
      num_key_value_heads: 8,
    },
  },
  "llama-3.2-3b": {
    tensors: llama,
    dtype: "BF16",
    spec: ofLlama("LlamaForCausalLM", "bf16"),
    config: {
      ...llama3,
      hidden_size: 3072,
      intermediate_size: 8192,
      num_hidden_layers: 28,
      num_attention_heads: 24,
      num_key_value_heads: 8,
      head_dim: 128,
    },
  },
  gpt2: { tensors: gpt2, dtype: "F32", spec: ofGpt2, config: { ...gpt, n_embd: 768, n_layer: 12, n_head: 12 } },
  "gpt2-medium": { tensors: gpt2, dtype: "F32", spec: ofGpt2, config: { ...gpt, n_embd: 1024, n_layer: 24, n_head: 16 } },
  "roberta-large": {
    tensors: roberta,
    dtype: "F32",
    spec: ofRoberta,
    config: {
      model_type: "roberta",
      architectures: ["RobertaForSequenceClassification"],
      hidden_size: 1024,
      intermediate_size: 4096,
      num_hidden_layers: 24,
      num_attention_heads: 16,
      vocab_size: 50265,
      max_position_embeddings: 514,
      type_vocab_size: 1,
      layer_norm_eps: 1e-5,
      hidden_act: "gelu",
      hidden_dropout_prob: 0,
      attention_probs_dropout_prob: 0,
      pad_token_id: 1,
      bos_token_id: 0,
      eos_token_id: 2,
      position_embedding_type: "absolute",
    },
  },
};

/** Some numbers of deviation 0.02, over and over; a norm's weights are 1, biases 0. */
const CYCLE = (1 << 20) - 3;
const word = new Float32Array(1);
const bits = new Uint32Array(word.buffer);
const rounded = (x) => {
  word[0] = x;
  return (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) >>> 16;
};
function normal() {
  const out = new Float32Array(CYCLE);
  let x = 1;
  const uniform = () => {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    return ((x >>> 8) + 0.5) / 2 ** 24;
  };
  for (let i = 0; i < CYCLE; i++) out[i] = 0.02 * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  return out;
}
const stored = (dtype, values) => new Uint8Array((dtype === "BF16" ? Uint16Array.from(values, rounded) : values).buffer);

function weights(path, tensors, dtype) {
  const width = dtype === "BF16" ? 2 : 4;
  const header = {};
  let end = 0;
  for (const [name, shape] of tensors) {
    const bytes = shape.reduce((a, b) => a * b, 1) * width;
    header[name] = { dtype, shape, data_offsets: [end, end + bytes] };
    end += bytes;
  }
  const json = JSON.stringify(header);
  const text = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = openSync(path, "w");
  writeSync(file, length);
  writeSync(file, text);
  const random = stored(dtype, normal());
  let at = 0;
  for (const [name, shape] of tensors) {
    const count = shape.reduce((a, b) => a * b, 1);
    if (shape.length === 1) {
      const one = /norm|ln_/i.test(name) && name.endsWith("weight") ? 1 : 0;
      writeSync(file, stored(dtype, new Float32Array(count).fill(one)));
      continue;
    }
    for (let left = count * width; left > 0; ) {
      const some = Math.min(left, random.length - at);
      writeSync(file, random, at, some);
      left -= some;
      at = (at + some) % random.length;
    }
  }
  closeSync(file);
}

/** A tokenizer of single bytes, with the special tokens that the families name; ids end far below every vocabulary here. */
function tokenizer(folder, config) {
  const special = config.model_type === "roberta" ? ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] : ["<|endoftext|>"];
  // GPT-2's printable stand-ins for bytes
  const printable = [];
  for (let b = 0, next = 256; b < 256; b++) {
    const own = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    printable.push(String.fromCodePoint(own ? b : next++));
  }
  const vocab = Object.fromEntries([...special, ...printable].map((token, id) => [token, id]));
  const added = special.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const model = {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: "",
    end_of_word_suffix: "",
    fuse_unk: false,
    byte_fallback: false,
    vocab,
    merges: [],
  };
  const framing =
    config.model_type === "roberta"
      ? { type: "RobertaProcessing", sep: ["</s>", 2], cls: ["<s>", 0], trim_offsets: true, add_prefix_space: false }
      : null;
  writeFileSync(
    join(folder, "tokenizer.json"),
    JSON.stringify({
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: added,
      normalizer: null,
      pre_tokenizer: bytes,
      post_processor: framing,
      decoder: bytes,
      model,
    }),
  );
  const roles =
    config.model_type === "roberta"
      ? {
          tokenizer_class: "RobertaTokenizer",
          bos_token: "<s>",
          eos_token: "</s>",
          pad_token: "<pad>",
          unk_token: "<unk>",
          mask_token: "<mask>",
          cls_token: "<s>",
          sep_token: "</s>",
        }
      : { tokenizer_class: "GPT2Tokenizer", bos_token: special[0], eos_token: special[0], unk_token: special[0] };
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify({ ...roles, model_max_length: 512 }));
}

function make(name, folder, whole) {
  const { tensors, config, dtype, spec } = SHAPES[name];
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, "config.json"),
    JSON.stringify({ ...config, torch_dtype: dtype === "BF16" ? "bfloat16" : "float32" }, undefined, 2),
  );
  tokenizer(folder, config);
  const lines = Array.from(
    { length: 200 },
    (_, i) => `Row ${i} of a text that only has to be long enough, with the number ${i * 7919} in it.`,
  );
  writeFileSync(join(folder, "rows.txt"), `${lines.join("\n")}\n`);
  writeFileSync(join(folder, "rows.jsonl"), `${lines.map((text, i) => JSON.stringify({ text, label: i % 2 })).join("\n")}\n`);
  writeFileSync(join(folder, "lora.peft"), spec);
  // `plan` needs no weights
  if (whole) weights(join(folder, "model.safetensors"), tensors(config), dtype);
}

const [name, folder, only] = process.argv.slice(2);
if (SHAPES[name] === undefined || folder === undefined) {
  console.log(`node bench/random.mjs SHAPE FOLDER [config], where SHAPE is one of ${Object.keys(SHAPES).join(", ")}`);
  process.exitCode = 2;
} else make(name, folder, only !== "config");
