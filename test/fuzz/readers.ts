/** What reads files of others, each with sound inputs to begin from. A reader may refuse, in a known way; anything else is a fault of ours. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { compile } from "../../src/compiler/compile.ts";
import { format } from "../../src/compiler/format.ts";
import { limits } from "../../src/compiler/limits.ts";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import { readAdapter } from "../../src/formats/adapters/read.ts";
import { JinjaTemplate } from "../../src/formats/data/jinja.ts";
import { makeTable } from "../../src/formats/data/make.ts";
import { readParquet } from "../../src/formats/data/parquet.ts";
import { readCsv, readJsonLines } from "../../src/formats/data/records.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { openTorch } from "../../src/formats/pickle/torch.ts";
import { openSafetensors } from "../../src/formats/safetensors/read.ts";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { loadTokenizer } from "../../src/formats/tokenizer/tokenizer.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { decodeImage } from "../../src/node/images.ts";
import { openWorkspace } from "../../src/node/workspace.ts";
import { pickled, type Stored, torchLegacy, torchZip } from "../formats/torch-file.ts";
import { folderReaders } from "./folders.ts";

export interface Reader {
  readonly text: boolean;
  readonly seeds: readonly (Uint8Array | string)[];
  /** Inputs in the suite; those that take longer have fewer. */
  readonly runs: number;
  /** Reads it to its end. What it throws is judged. */
  read(bytes: Uint8Array): unknown;
  /** Errors that are no `InputError` and mean that the input is refused: the caller gives them a place. */
  readonly refuses?: (error: unknown) => boolean;
}

const ROOT = path.resolve(import.meta.dirname, "../..");
const disk = (name: string) => new Uint8Array(readFileSync(path.join(ROOT, name)));
const folder = (name: string) =>
  readdirSync(path.join(ROOT, name))
    .filter((f) => /\.\w+$/.test(f))
    .map((f) => disk(`${name}/${f}`));
const at = (name: string, bytes: Uint8Array, beside: readonly (readonly [string, string])[] = []) =>
  new MemoryFiles([...beside, [name, bytes]]);

const workspace = openWorkspace(ROOT);
const host = workspace.sources;
const mappings = readMappings(new NodeFiles(ROOT), "specs/std/methods", "specs/std/models");
const small = { ...limits, steps: 60_000, depth: 200, items: 10_000, text: 100_000 };

/** Slow on purpose, and tested by themselves: to begin from only where there is time. */
const hostile = (name: string) => (process.env.PEFTC_FUZZ === undefined ? [] : folder(name));

const CONFIG = {
  model_type: "gpt2",
  architectures: ["GPT2LMHeadModel"],
  vocab_size: 8,
  n_positions: 8,
  n_embd: 4,
  n_layer: 1,
  n_head: 2,
  n_inner: null,
  activation_function: "gelu_new",
  attn_pdrop: 0.1,
  embd_pdrop: 0.1,
  resid_pdrop: 0.1,
  layer_norm_epsilon: 1e-5,
  initializer_range: 0.02,
  bos_token_id: 0,
  eos_token_id: 0,
  tie_word_embeddings: true,
  id2label: { "0": "a", "1": "b" },
  label2id: { a: 0, b: 1 },
};
const LLAMA = {
  model_type: "llama",
  architectures: ["LlamaForCausalLM"],
  vocab_size: 8,
  hidden_size: 8,
  intermediate_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 16,
  rms_norm_eps: 1e-6,
  rope_theta: 10000.0,
  rope_scaling: { rope_type: "llama3", factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position_embeddings: 8 },
  hidden_act: "silu",
  tie_word_embeddings: false,
};
const config = (model: string, file: string) => (bytes: Uint8Array) => {
  const sources = openWorkspace(ROOT, true).sources;
  const memory = at("fuzzed/config.json", bytes);
  const files = Object.assign(Object.create(memory), {
    stat: (p: string) => (p.startsWith("fuzzed") ? memory.stat(p) : workspace.files.stat(p)),
    read: (p: string, o: number, n: number) => (p.startsWith("fuzzed") ? memory.read(p, o, n) : workspace.files.read(p, o, n)),
    list: (p: string) => (p.startsWith("fuzzed") ? memory.list(p) : workspace.files.list(p)),
  });
  const program = `import { ${model} } from "std/models/${file}"\nimport { causal_lm } from "std/objectives"\nmodel m = ${model} from "fuzzed"\nattach_none = 1\n`;
  const made = Object.assign(Object.create(Object.getPrototypeOf(sources)), sources, { files }).with("fuzz.peft", program);
  return mine(compile("fuzz.peft", made, { limits: { ...limits, steps: 2_000_000 } }).problems);
};

/** A problem that is marked as a mistake of ours is one. */
function mine(problems: readonly { readonly code: string; readonly message: string }[]): void {
  const ours = problems.find((p) => p.code === "P0004");
  if (ours !== undefined) throw new Error(`P0004: ${ours.message}`);
}

const vocabulary = (tokens: readonly string[]) => Object.fromEntries(tokens.map((t, i) => [t, i]));
const TOKENIZERS = [
  {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [{ id: 0, content: "<s>", special: true, lstrip: false, rstrip: false, normalized: false, single_word: false }],
    normalizer: { type: "Sequence", normalizers: [{ type: "NFC" }, { type: "Replace", pattern: { Regex: "\\s+" }, content: " " }] },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: "\\p{L}+|\\p{N}{1,3}|\\s+(?!\\S)|\\s+" }, behavior: "Isolated", invert: false },
        { type: "ByteLevel", add_prefix_space: false, use_regex: false },
      ],
    },
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
      special_tokens: { "<s>": { id: "<s>", ids: [0], tokens: ["<s>"] } },
    },
    decoder: { type: "ByteLevel" },
    model: {
      type: "BPE",
      unk_token: "<s>",
      byte_fallback: false,
      vocab: vocabulary(["<s>", "a", "b", "c", "ab", "abc", "Ġ", "1"]),
      merges: ["a b", "ab c"],
    },
  },
  {
    added_tokens: [{ id: 0, content: "[UNK]", special: true }],
    normalizer: { type: "BertNormalizer", lowercase: true, strip_accents: null, clean_text: true, handle_chinese_chars: true },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: null,
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 20,
      vocab: vocabulary(["[UNK]", "a", "##b", "b", "##c", ",", "."]),
    },
  },
  {
    added_tokens: [],
    normalizer: { type: "Prepend", prepend: "▁" },
    pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "Unigram",
      unk_id: 0,
      vocab: [
        ["<unk>", 0],
        ["▁", -2.5],
        ["a", -3],
        ["b", -3.5],
        ["ab", -4.25],
      ],
    },
  },
];
const TEXTS = ["", "abc ab, a1b.  \n c é😀", "a".repeat(40), "aaaa".repeat(10).concat("!"), " \t\r\n".repeat(30)];

const TEMPLATES = [
  "{% for m in messages %}<|{{ m.role }}|>{{ m['content'] | trim }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
  "{%- set ns = namespace(n=0) -%}{%- for m in messages[::-1] -%}{% set ns.n = ns.n + 1 %}{% if loop.first and m.role == 'user' %}{{ raise_exception('no') }}{% endif %}{{ m.content.split('a')[-1] ~ ns.n }}{%- endfor -%}",
  "{% macro f(x, y=2) %}{{ x|tojson(indent=2) }}{{ y }}{% endmacro %}{{ f(messages) }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ 'a' * 3 if tools is defined else range(3)|join(',') }}",
];

const stored: Readonly<Record<string, Stored>> = {
  "a.weight": { shape: [2, 2], storage: "FloatStorage", data: new Uint8Array(16), count: 4 },
  b: { shape: [3], storage: "HalfStorage", data: new Uint8Array(6), count: 3 },
};
function safetensors(): Uint8Array {
  const files = new MemoryFiles();
  writeSafetensors(files, "x", [
    { name: "a", shape: [2, 2], dtype: "F32", values: () => [1, 2, 3, 4] },
    { name: "b.c", shape: [3], dtype: "BF16", values: () => [1, 2, 3] },
    { name: "none", shape: [0, 4], dtype: "I32", values: () => [] },
  ]);
  return files.content.get("x")!;
}
const everything = (store: { readonly tensors: ReadonlyMap<string, unknown>; read(name: string): unknown }) => {
  for (const name of store.tensors.keys()) store.read(name);
};
const ADAPTER = {
  peft_type: "LORA",
  task_type: "CAUSAL_LM",
  base_model_name_or_path: "models/x",
  r: 2,
  lora_alpha: 4,
  lora_dropout: 0.0,
  target_modules: ["c_attn"],
  bias: "none",
  fan_in_fan_out: true,
  rank_pattern: { "h.1.*": 1 },
  alpha_pattern: {},
  layers_to_transform: null,
  layers_pattern: null,
  modules_to_save: null,
  use_rslora: false,
  use_dora: false,
  init_lora_weights: true,
  inference_mode: true,
};
function adapterWeights(): string {
  const files = new MemoryFiles();
  writeSafetensors(files, "x", [
    { name: "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight", shape: [2, 4], dtype: "F32", values: () => new Float32Array(8) },
    {
      name: "base_model.model.transformer.h.0.attn.c_attn.lora_B.weight",
      shape: [12, 2],
      dtype: "F32",
      values: () => new Float32Array(24),
    },
  ]);
  return String.fromCharCode(...files.content.get("x")!);
}
const weights = Uint8Array.from(adapterWeights(), (c) => c.charCodeAt(0));

const ROWS = [
  '{"text": "a b", "label": 1, "id": 9007199254740993}\n{"text": "c", "label": 40.0}\n',
  '[{"input_ids": [1, 2], "labels": [1, -100], "attention_mask": [1, 1]}, {"input_ids": [3]}]',
  '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]}\n',
];
/** Rows as tables of the kinds that take no tokenizer's word. */
const tables = (name: string) => (bytes: Uint8Array) => {
  const files = at(name, bytes);
  for (const columns of [undefined, ["input_ids"], ["label"]]) {
    try {
      makeTable(
        {
          make: name.endsWith(".csv") ? "csv" : "jsonl",
          args: [name],
          options: columns === undefined ? {} : { columns },
          part: "main",
        } as never,
        { files, tokenizer: undefined, decodeImage } as never,
      );
    } catch (error) {
      if (!isRefusal(error)) throw error;
    }
  }
  return name.endsWith(".csv") ? readCsv(files, name) : readJsonLines(files, name);
};

/** By class in code, by form here: the suite runs in a realm of its own. */
export const isRefusal = (error: unknown): boolean => /^P\d{4}$/.test(String((error as { code?: unknown } | null)?.code));
const said = (error: unknown): boolean => (error as { constructor?: { name?: string } } | null)?.constructor?.name === "Error";

export const readers: Readonly<Record<string, Reader>> = {
  language: {
    text: true,
    runs: 25,
    seeds: [
      ...hostile("test/corpus/lang"),
      disk("specs/examples/quickstart.peft"),
      ...["lora", "adapters", "ia3"]
        .filter((n) => readdirSync(path.join(ROOT, "specs/std/methods")).includes(`${n}.peft`))
        .map((n) => disk(`specs/std/methods/${n}.peft`)),
      disk("specs/std/objectives.peft"),
    ],
    read: (bytes) => {
      const source = new TextDecoder().decode(bytes);
      format(source, "fuzz.peft");
      mine(compile("fuzz.peft", host.with("fuzz.peft", source), { limits: small }).problems);
    },
  },
  "config.json": { text: true, runs: 25, seeds: [JSON.stringify(CONFIG)], read: config("GPT2LMHeadModel", "gpt2") },
  "config.json of LLaMA": { text: true, runs: 15, seeds: [JSON.stringify(LLAMA)], read: config("LlamaForCausalLM", "llama") },
  safetensors: {
    text: false,
    runs: 150,
    seeds: [safetensors(), ...folder("test/corpus/formats").slice(0, 5)],
    read: (b) => everything(openSafetensors(at("x.safetensors", b), "x.safetensors")),
  },
  "safetensors headers": {
    text: true,
    runs: 150,
    seeds: [
      '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I8","shape":[],"data_offsets":[8,9]},"__metadata__":{"format":"pt"}}',
    ],
    read: (header) => {
      const all = new Uint8Array(8 + header.length + 9);
      new DataView(all.buffer).setBigUint64(0, BigInt(header.length), true);
      all.set(header, 8);
      everything(openSafetensors(at("x.safetensors", all), "x.safetensors"));
    },
  },
  pickle: {
    text: false,
    runs: 150,
    seeds: [torchZip(stored), torchLegacy(stored), Uint8Array.from(pickled(stored))],
    read: (b) => everything(openTorch(at("x.bin", b), "x.bin")),
  },
  parquet: { text: false, runs: 40, seeds: folder("test/formats/parquet"), read: (b) => readParquet(at("x.parquet", b), "x.parquet") },
  csv: { text: true, runs: 80, seeds: ['text,label\na b,1\n"c, ""d""",0\n', ",a\tb\n1,2\n"], read: tables("x.csv") },
  "json and jsonl": {
    text: true,
    runs: 120,
    seeds: [
      ...ROWS,
      disk("test/corpus/formats/jsonl_nested_column.jsonl").slice(0, 400),
      disk("test/corpus/formats/images_metadata_nul.jsonl"),
    ],
    read: tables("x.jsonl"),
  },
  "tokenizer.json": {
    text: true,
    runs: 150,
    seeds: TOKENIZERS.map((t: object) =>
      JSON.stringify({ normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, ...t }),
    ),
    read: (bytes) => {
      const made = loadTokenizer(at("t/tokenizer.json", bytes), "t")!;
      for (const text of TEXTS) {
        const ids = made.encode(text);
        made.decode(ids);
        made.frame(ids, ids, 7);
      }
    },
  },
  "chat template": {
    text: true,
    runs: 120,
    seeds: [...TEMPLATES, ...hostile("test/corpus/formats/chat")],
    read: (bytes) =>
      new JinjaTemplate(new TextDecoder().decode(bytes)).render({
        messages: [
          { role: "user", content: "a b" },
          { role: "assistant", content: "c" },
        ],
        add_generation_prompt: true,
        bos_token: "<s>",
      }),
    refuses: (error) =>
      error instanceof Error || said(error) || ["SyntaxError", "TypeError"].includes((error as { name?: string } | null)?.name ?? ""),
  },
  "adapter_config.json": {
    text: true,
    runs: 100,
    seeds: [JSON.stringify(ADAPTER)],
    read: (bytes) =>
      readAdapter(
        new MemoryFiles([
          ["a/adapter_config.json", bytes],
          ["a/adapter_model.safetensors", weights],
        ]),
        "a",
        mappings,
      ),
  },
  pictures: {
    text: false,
    runs: 30,
    seeds: [...folder("test/formats/images").filter((b) => b[0] !== 0x7b), ...folder("test/corpus/formats/png_2e31")],
    read: decodeImage,
    refuses: (error) =>
      (error as { message?: unknown } | null)?.message !== undefined && !/^RangeError/.test(String((error as { name?: string }).name)),
  },
  ...folderReaders(mappings),
};
