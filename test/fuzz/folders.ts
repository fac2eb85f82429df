/** Readers of files that lie in a folder with others: tokenizers without `tokenizer.json`, indices of shards, packed weights, adapters of other layouts, our own records. */
import { Buffer } from "node:buffer";
import type { Mappings } from "../../src/formats/adapters/mapping.ts";
import { readProvenance } from "../../src/formats/adapters/provenance.ts";
import { readAdapter } from "../../src/formats/adapters/read.ts";
import { readSetup } from "../../src/formats/adapters/setup.ts";
import { openCheckpoint } from "../../src/formats/checkpoint.ts";
import { makeSource, makeTable } from "../../src/formats/data/make.ts";
import { pythonJson } from "../../src/formats/files.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import type { TensorStore } from "../../src/formats/safetensors/read.ts";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { loadTokenizer } from "../../src/formats/tokenizer/tokenizer.ts";
import { readCheckpoint } from "../../src/train/run/checkpoint.ts";
import { crc32, sumsIn } from "../../src/train/run/checksum.ts";
import { metricsIn, resultsIn } from "../../src/train/run/results.ts";
import { type Raw, raw } from "../formats/raw-tensor.ts";
import { sentencePiece } from "../formats/sentencepiece-file.ts";
import { type Stored, torchZip } from "../formats/torch-file.ts";
import type { Reader } from "./readers.ts";

type Content = Uint8Array | string;
type Beside = readonly (readonly [name: string, content: Content])[];

const TEXTS = ["", "abc ab, a1b.  \n c é😀", "a".repeat(40), " \t\r\n".repeat(30)];

/** One file of a folder is drawn, the others are sound. */
const inFolder =
  (name: string, beside: Beside, read: (files: MemoryFiles) => unknown) =>
  (bytes: Uint8Array): unknown =>
    read(new MemoryFiles([...beside.map(([n, content]) => [`m/${n}`, content] as const), [`m/${name}`, bytes]]));

/** Encodes and gives back: every number is a token's. */
function speak(files: MemoryFiles): void {
  const made = loadTokenizer(files, "m")!;
  for (const text of TEXTS) {
    const ids = made.encode(text);
    if (!ids.every((id) => Number.isInteger(id) && id >= 0 && id < made.size)) throw new Error(`${ids} are no numbers below ${made.size}`);
    made.decode(ids);
    made.frame(ids, ids, 7);
  }
}

/** Reads every tensor: it has as many values as its shape says. */
function weigh(store: Pick<TensorStore, "tensors" | "read">): void {
  for (const [name, { shape }] of store.tensors) {
    const [seen, wanted] = [store.read(name).length, shape.reduce((a, b) => a * b, 1)];
    if (seen !== wanted) throw new Error(`${name} has ${seen} values in the shape [${shape.join(", ")}]`);
  }
}
const openModel = (files: MemoryFiles): void => weigh(openCheckpoint(files, "m")!);

const floats = (shape: readonly number[]): Raw =>
  raw(
    "F32",
    shape,
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => (i % 7) / 4 - 0.5),
  );
const words = (shape: readonly number[]): Raw =>
  raw(
    "I32",
    shape,
    Int32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => (i * 2654435761) | 0),
  );
const bytesOf = (dtype: string, shape: readonly number[]): Raw =>
  raw(
    dtype,
    shape,
    Uint8Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => (i * 37) & 127),
  );

/** A safetensors file of any types. */
function safetensorsOf(tensors: Readonly<Record<string, Raw>>): Uint8Array {
  let end = 0;
  const header = Object.fromEntries(
    Object.entries(tensors).map(([name, { dtype, shape, bytes }]) => {
      end += bytes.length;
      return [name, { dtype, shape, data_offsets: [end - bytes.length, end] }] as const;
    }),
  );
  const json = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(json.length));
  return Uint8Array.from(Buffer.concat([size, json, ...Object.values(tensors).map(({ bytes }) => bytes)]));
}

/** By the name of a packing: what config.json says, and tensors that are packed so. */
const PACKINGS: Readonly<Record<string, readonly [config: object, tensors: Readonly<Record<string, Raw>>]>> = {
  gptq: [
    { quantization_config: { quant_method: "gptq", bits: 4, group_size: 16, checkpoint_format: "gptq", desc_act: true, sym: false } },
    {
      "l.qweight": words([4, 8]),
      "l.qzeros": words([2, 1]),
      "l.scales": floats([2, 8]),
      "l.g_idx": raw(
        "I32",
        [32],
        Int32Array.from({ length: 32 }, (_, i) => i % 2),
      ),
    },
  ],
  awq: [
    { quantization_config: { quant_method: "awq", bits: 4, group_size: 16, version: "gemm", zero_point: true } },
    { "l.qweight": words([32, 1]), "l.qzeros": words([2, 1]), "l.scales": floats([2, 8]) },
  ],
  fp8: [
    { quantization_config: { quant_method: "fp8", weight_block_size: [4, 4], activation_scheme: "dynamic" } },
    { "l.weight": bytesOf("F8_E4M3", [8, 6]), "l.weight_scale_inv": floats([2, 2]) },
  ],
  "compressed-tensors": [
    {
      quantization_config: {
        quant_method: "compressed-tensors",
        format: "pack-quantized",
        config_groups: { group_0: { weights: { num_bits: 4, group_size: 16, strategy: "group", symmetric: true }, targets: ["Linear"] } },
      },
    },
    {
      "l.weight_packed": words([8, 4]),
      "l.weight_scale": floats([8, 2]),
      "l.weight_shape": raw("I64", [2], BigInt64Array.of(8n, 32n)),
    },
  ],
  mlx: [
    { quantization: { bits: 4, group_size: 16, mode: "affine", l: { bits: 4, group_size: 16 } } },
    { "l.weight": raw("U32", [8, 4], new Uint32Array(32).fill(0x76543210)), "l.scales": floats([8, 2]), "l.biases": floats([8, 2]) },
  ],
  "bitsandbytes, 4 bits": [
    { quantization_config: { quant_method: "bitsandbytes", load_in_4bit: true } },
    {
      "l.weight": bytesOf("U8", [16, 1]),
      "l.weight.absmax": bytesOf("U8", [2]),
      "l.weight.quant_map": floats([16]),
      "l.weight.nested_absmax": floats([1]),
      "l.weight.nested_quant_map": floats([256]),
      "l.weight.quant_state.bitsandbytes__nf4": raw(
        "U8",
        [120],
        Buffer.from(
          '{"quant_type":"nf4","blocksize":16,"dtype":"float16","shape":[4,8],"nested_blocksize":256,"nested_offset":0.25}'.padEnd(120),
        ),
      ),
    },
  ],
  "bitsandbytes, 8 bits": [
    { quantization_config: { quant_method: "bitsandbytes", load_in_8bit: true } },
    { "l.weight": bytesOf("I8", [4, 8]), "l.SCB": floats([4]), "l.weight_format": bytesOf("U8", []) },
  ],
};

function shards(): Beside {
  const [one, two] = [new MemoryFiles(), new MemoryFiles()];
  writeSafetensors(one, "x", [{ name: "a", shape: [2, 2], dtype: "F32", values: () => [1, 2, 3, 4] }]);
  writeSafetensors(two, "x", [{ name: "b.c", shape: [3], dtype: "BF16", values: () => [1, 2, 3] }]);
  return [
    ["model-00001-of-00002.safetensors", one.content.get("x")!],
    ["model-00002-of-00002.safetensors", two.content.get("x")!],
  ];
}
const stored: Readonly<Record<string, Stored>> = {
  "a.weight": { shape: [2, 2], storage: "FloatStorage", data: new Uint8Array(16), count: 4 },
};

const MERGES = "#version: 0.2\na b\nab c\nĠ a\n";
const VOCAB = JSON.stringify(
  Object.fromEntries(["<|endoftext|>", "a", "b", "c", "Ġ", "ab", "abc", "Ġa", ",", ".", "Ċ", "1"].map((t, i) => [t, i])),
);
const WORDS = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##b\n##c\nab\n,\n.\n1\n";
const PIECES = [
  ["<unk>", 0, 2],
  ["<s>", 0, 3],
  ["</s>", 0, 3],
  ["<0x0A>", 0, 6],
  ["▁a", -1],
  ["ab", -1.5],
  ["▁", -9],
  ["a", -9],
  ["b", -9],
  ["c", -9],
] as const;
const SIDE = JSON.stringify({
  add_prefix_space: false,
  added_tokens_decoder: { "12": { content: "<x>", special: true, lstrip: true, rstrip: false, normalized: false, single_word: true } },
  additional_special_tokens: ["<y>"],
  extra_special_tokens: { image_token: "<z>" },
  bos_token: { content: "<|endoftext|>", lstrip: false },
  eos_token: "<|endoftext|>",
  pad_token: "<pad>",
  clean_up_tokenization_spaces: true,
  add_bos_token: true,
  add_eos_token: true,
  model_max_length: 1024,
});
const GENERATION = JSON.stringify({ eos_token_id: [0, 3], pad_token_id: 0, do_sample: true, temperature: 0.6, top_k: 20, top_p: 0.95 });

/** `params` are keys with what stands behind the layer's name. */
const adapterWeights = (params: Readonly<Record<string, readonly number[]>>): Uint8Array => {
  const files = new MemoryFiles();
  writeSafetensors(
    files,
    "x",
    Object.entries(params).map(([name, shape]) => ({
      name,
      shape,
      dtype: "F32" as const,
      values: () => new Float32Array(shape.reduce((a, b) => a * b, 1)),
    })),
  );
  return files.content.get("x")!;
};
const LORA = {
  peft_type: "LORA",
  base_model_name_or_path: "models/x",
  r: 2,
  lora_alpha: 4,
  target_modules: ["c_attn"],
  fan_in_fan_out: true,
};
const LORA_KEYS = {
  "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight": [2, 4],
  "base_model.model.transformer.h.0.attn.c_attn.lora_B.weight": [12, 2],
};
const MLX = {
  fine_tune_type: "lora",
  model: "models/x",
  num_layers: 1,
  lora_parameters: { rank: 2, scale: 10.0, dropout: 0.0, keys: ["self_attn.q_proj"] },
};
const MLX_KEYS = { "model.layers.0.self_attn.q_proj.lora_a": [4, 2], "model.layers.0.self_attn.q_proj.lora_b": [2, 4] };
const LIBRARY = {
  name: "tuned",
  model_name: "models/x",
  model_type: "bert",
  model_class: "BertAdapterModel",
  hidden_size: 4,
  version: "adapters.1.3.0",
  config: {
    architecture: "lora",
    alpha: 4,
    r: 2,
    attn_matrices: ["q", "v"],
    composition_mode: "add",
    dropout: 0.0,
    init_weights: "lora",
    intermediate_lora: false,
    leave_out: [],
    output_lora: false,
    selfattn_lora: true,
    use_gating: false,
    vera_b: null,
    vera_d: null,
  },
};
const LIBRARY_KEYS = {
  "bert.encoder.layer.0.attention.self.query.loras.tuned.lora_A": [2, 4],
  "bert.encoder.layer.0.attention.self.query.loras.tuned.lora_B": [4, 2],
};
const OWN = {
  peft_type: "PEFTC",
  peftc_version: 1,
  base_model_name_or_path: "models/x",
  parts: [
    {
      method: "LoRA",
      from: "std/methods/lora",
      options: { rank: 2, alpha: 4 },
      sites: [{ path: "h.0", params: { down: "d", up: "u" }, states: { seen: "s" } }],
      shared: { all: "d" },
    },
  ],
  heads: { head: "u" },
};
const SETUP = {
  adapter_setup: {
    type: "Stack",
    children: [
      { type: "single", children: ["a"] },
      { type: "Fuse", children: [{ type: "single", children: ["b"] }], kwargs: { x: 1 } },
    ],
  },
  head_setup: null,
};
const PROVENANCE = {
  format: "peftc-adapter",
  version: 1,
  written_by: { name: "peftc", version: "0.1.0" },
  base: { "h.0.w": "00" },
  tokenizer: { "vocab.json": "11" },
  classes: { negative: 0, positive: 1 },
};
const MANIFEST = {
  format: "peftc-checkpoint",
  version: 2,
  total: 8,
  identity: {
    settings: { batch: "2", steps: "8" },
    graph: "a",
    data: { rows: "b" },
    weights: { w: "c" },
    arithmetic: "wasm relaxed, 0.1.0",
  },
  progress: {
    step: 4,
    best: { step: 2, value: 0.5 },
    sinceBest: 1,
    fraction: 0.5,
    owes: true,
    segment: 3,
    history: [{ step: 1, loss: 2.5 }],
  },
};

const call = (make: string) => ({ make, args: ["m"], options: {}, part: "main" }) as never;
function numbers(read: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(read)) if (typeof value !== "number") throw new Error(`${name} is ${value}`);
}

/** With sums that are right, as somebody who means to deceive would write them. */
function readManifest(bytes: Uint8Array): unknown {
  const files = new MemoryFiles([["m/checkpoint-4/parameters.safetensors", adapterWeights({ p: [2] })]]);
  let text = new TextDecoder().decode(bytes);
  try {
    const { files: _, checksum: __, ...state } = JSON.parse(text);
    const whole = { ...state, files: sumsIn(files, "m/checkpoint-4") };
    text = JSON.stringify({ ...whole, checksum: crc32(new TextEncoder().encode(pythonJson(whole))) });
  } catch {
    // it goes to the reader as it is
  }
  files.content.set("m/checkpoint-4/peftc_state.json", new TextEncoder().encode(text));
  files.content.set("m/checkpoint-4/optimizer.safetensors", adapterWeights({ p: [2] }));
  return readCheckpoint(files, "m", 4).snapshot();
}

export function folderReaders(mappings: Mappings): Readonly<Record<string, Reader>> {
  const adapter =
    (weights: string, params: Readonly<Record<string, readonly number[]>>, config: object) =>
    (drawn: string): Reader => {
      const sound: Beside = [
        ["adapter_config.json", JSON.stringify(config)],
        [weights, adapterWeights(params)],
      ];
      const beside = sound.filter(([name]) => name !== drawn);
      return {
        text: drawn.endsWith(".json"),
        runs: 50,
        seeds: sound.flatMap(([name, content]) => (name === drawn ? [content] : [])),
        read: inFolder(drawn, beside, (files) => {
          const read = readAdapter(files, "m", mappings)!;
          for (const { sites, shared } of read.parts)
            for (const key of [...sites.flatMap((site) => Object.values(site.params)), ...Object.values(shared ?? {})]) read.read(key);
        }),
      };
    };
  const lora = adapter("adapter_model.safetensors", LORA_KEYS, LORA);
  const mlx = adapter("adapters.safetensors", MLX_KEYS, MLX);
  const library = adapter("adapter.safetensors", LIBRARY_KEYS, LIBRARY);
  const own = adapter("adapter_model.safetensors", { d: [2, 4], u: [4, 2], s: [1] }, OWN);
  const tables: Beside = [
    ["vocab.json", VOCAB],
    ["merges.txt", MERGES],
    ["config.json", '{"model_type": "gpt2"}'],
  ];
  const table = (name: string, sound: string, beside: Beside): Reader => ({
    text: true,
    runs: 50,
    seeds: [sound],
    read: inFolder(
      name,
      beside.filter(([n]) => n !== name),
      speak,
    ),
  });
  const pieces = (name: string, type: string, kind: number): Reader => ({
    text: false,
    runs: 60,
    seeds: [sentencePiece(PIECES, kind), sentencePiece(PIECES, kind, { collapse: false, prefix: false })],
    read: inFolder(name, [["config.json", JSON.stringify({ model_type: type })]], speak),
  });
  const safe = shards();
  return {
    "SentencePiece, pairs": pieces("tokenizer.model", "llama", 2),
    "SentencePiece, unigram": pieces("spiece.model", "t5", 1),
    "vocab.txt": table("vocab.txt", WORDS, []),
    "vocab.json": table("vocab.json", VOCAB, tables),
    "merges.txt": table("merges.txt", MERGES, tables),
    "tokenizer_config.json": table("tokenizer_config.json", SIDE, tables),
    "special_tokens_map.json": table("special_tokens_map.json", SIDE, tables),
    "added_tokens.json": table("added_tokens.json", '{"<x>": 12, "<y>": 13}', tables),
    "generation_config.json": table("generation_config.json", GENERATION, tables),
    "index of safetensors": {
      text: true,
      runs: 60,
      seeds: [JSON.stringify({ metadata: { total_size: 22 }, weight_map: { a: safe[0][0], "b.c": safe[1][0] } })],
      read: inFolder("model.safetensors.index.json", safe, openModel),
    },
    "index of torch's files": {
      text: true,
      runs: 60,
      seeds: [JSON.stringify({ metadata: {}, weight_map: { "a.weight": "pytorch_model-1.bin" } })],
      read: inFolder("pytorch_model.bin.index.json", [["pytorch_model-1.bin", torchZip(stored)]], openModel),
    },
    ...Object.fromEntries(
      Object.entries(PACKINGS).flatMap(([name, [config, tensors]]): [string, Reader][] => {
        const weights = safetensorsOf(tensors);
        return [
          [
            `config.json of ${name}`,
            {
              text: true,
              runs: 40,
              seeds: [JSON.stringify(config)],
              read: inFolder("config.json", [["model.safetensors", weights]], openModel),
            },
          ],
          [
            `tensors of ${name}`,
            {
              text: false,
              runs: 40,
              seeds: [weights],
              read: inFolder("model.safetensors", [["config.json", JSON.stringify(config)]], openModel),
            },
          ],
        ];
      }),
    ),
    "tensors of PEFT's adapters": lora("adapter_model.safetensors"),
    "adapter_config.json of mlx": mlx("adapter_config.json"),
    "tensors of mlx's adapters": mlx("adapters.safetensors"),
    "adapter_config.json of the adapters library": library("adapter_config.json"),
    "tensors of the adapters library": library("adapter.safetensors"),
    "adapter_config.json of our own": own("adapter_config.json"),
    "adapter_setup.json": {
      text: true,
      runs: 50,
      seeds: [JSON.stringify(SETUP)],
      read: inFolder("adapter_setup.json", [], (files) => readSetup(files, "m")),
    },
    "peftc.json": {
      text: true,
      runs: 50,
      seeds: [JSON.stringify(PROVENANCE)],
      read: inFolder("peftc.json", [], (files) => readProvenance(files, "m")),
    },
    "finished.json": {
      text: true,
      runs: 40,
      seeds: ['{"format": "peftc-run", "version": 1, "steps": 8, "results": {"loss": 2.5, "after/loss": 1e-3, "updates": 8}}'],
      read: inFolder("finished.json", [], (files) => numbers(resultsIn(files, "m"))),
    },
    "metrics.json": {
      text: true,
      runs: 40,
      seeds: ['{"loss": 2.5, "accuracy": 1, "f1/yes": 0.25}'],
      read: inFolder("metrics.json", [], (files) => numbers(metricsIn(files, "m/metrics.json"))),
    },
    "predictions.jsonl": {
      text: true,
      runs: 60,
      seeds: ['{"row": 0, "logits": [0.5, -1], "predicted": 1}\n{"row": 1, "logits": [0.25, 1e-3], "predicted": 0}\n'],
      read: inFolder("predictions.jsonl", [], (files) =>
        makeTable(call("predicted"), { files, tokenizer: undefined, sequence: undefined }),
      ),
    },
    "samples.jsonl": {
      text: true,
      runs: 60,
      seeds: [
        '{"row": 0, "prompt": "a b", "text": "c"}\n{"row": 0, "prompt": "a b", "text": "ab", "messages": [{"role": "user", "content": "a b"}]}\n',
      ],
      read: inFolder("samples.jsonl", [], (files) => makeSource(call("generated"), { files, tokenizer: undefined, sequence: undefined })),
    },
    "peftc_state.json": { text: true, runs: 50, seeds: [JSON.stringify(MANIFEST)], read: readManifest },
  };
}
