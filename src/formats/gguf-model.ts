/** Whole models for llama.cpp: weights under its names, in one of its types, with the facts and the vocabulary that it reads. */
import { InputError } from "../ir/errors.ts";
import type { GgufMapping, Mappings } from "./adapters/mapping.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { readConfig } from "./config.ts";
import { type Files, isRecord, type JsonRecord, joinPath, readRecord } from "./files.ts";
import type { GgufFact, GgufTensor } from "./gguf.ts";
import { GGUF_TYPES, type GgufType } from "./gguf-blocks.ts";

/** `general.file_type`, by the type of the matrices. */
const FILE_TYPES: Readonly<Record<GgufType, number>> = { f32: 0, f16: 1, q4_0: 2, q8_0: 7 };

/** How llama.cpp cuts text before it joins bytes, by what tokenizer.json says of it. */
const CUTS: readonly (readonly [pattern: RegExp, name: string])[] = [
  [/\(\?i:'s\|'t\|'re\|'ve\|'m\|'ll\|'d\).*\\p\{N\}\{1,3\}/s, "llama-bpe"],
  [/\(\?i:'s\|'t\|'re\|'ve\|'m\|'ll\|'d\).*\\p\{N\}\|/s, "qwen2"],
];

function refuse(folder: string, why: string): never {
  throw new InputError("P0671", `\`${folder}\` cannot be had as gguf`, [why]);
}

/** Facts and tensors of a model's folder. P0671: an architecture, a tensor or a tokenizer that is not known here · P0603: no weights. */
export function encodeGgufModel(
  files: Files,
  folder: string,
  type: GgufType,
  { gguf }: Pick<Mappings, "gguf">,
): { facts: Readonly<Record<string, GgufFact>>; tensors: readonly GgufTensor[] } {
  const config = readConfig(files, folder);
  const store = openCheckpoint(files, folder);
  if (config === undefined || store === undefined) throw new InputError("P0603", `\`${folder}\` holds no model with weights`);
  const mapping = gguf.get(String(config.model_type));
  const whole = mapping?.whole;
  if (mapping === undefined || whole === undefined)
    return refuse(
      folder,
      `llama.cpp's names for models of the type ${String(config.model_type)} are not known here; there are ${[...gguf].flatMap(([name, { whole: w }]) => (w ? [name] : [])).join(", ")}`,
    );
  const [architecture] = Array.isArray(config.architectures) ? config.architectures : [];
  if (typeof architecture !== "string" || !/(ForCausalLM|LMHeadModel)$/.test(architecture))
    refuse(folder, `it is a ${String(architecture)}: language models are written whole`);
  const facts: Record<string, GgufFact> = {
    "general.architecture": mapping.architecture,
    "general.type": "model",
    "general.name": String(config._name_or_path || folder),
    "general.file_type": { u32: FILE_TYPES[type] },
    "general.quantization_version": { u32: 2 },
  };
  for (const [name, fields] of Object.entries(whole.integers)) {
    const value = numberIn(config, fields);
    if (value !== undefined) facts[`${mapping.architecture}.${name}`] = { u32: value };
  }
  for (const [name, fields] of Object.entries(whole.floats)) {
    const value = numberIn(config, fields);
    if (value !== undefined) facts[`${mapping.architecture}.${name}`] = { f32: value };
  }
  for (const field of whole.plain) {
    const value = config[field];
    if (value !== undefined && value !== null && value !== false)
      refuse(folder, `\`${field}\` is ${JSON.stringify(value)}, which is not written for llama.cpp here`);
  }
  Object.assign(facts, vocabulary(files, folder, config));
  const tied = config.tie_word_embeddings !== false && config.tie_word_embeddings !== undefined;
  const tensors: GgufTensor[] = [];
  for (const { name, shape } of store.tensors.values()) {
    if (whole.without.some((pattern) => new RegExp(pattern).test(name))) continue;
    if (tied && name === "lm_head.weight") continue;
    const known = named(name, mapping);
    if (known === undefined) return refuse(folder, `there is no place for the tensor \`${name}\``);
    const turned = whole.turned.some((pattern) => new RegExp(pattern).test(name));
    const field = mapping.paired?.[known.replace(/^blk\.\d+\.|\.(weight|bias)$/g, "")];
    const heads = field === undefined ? undefined : Number(config[field] ?? config.num_attention_heads);
    const values = () => {
      const read = Float32Array.from(store.read(name));
      const upright = turned ? transposed(read, shape[0], shape[1]) : read;
      return heads === undefined ? upright : pairedRows(upright, turned ? shape[1] : shape[0], heads);
    };
    const own = turned ? [...shape].reverse() : shape;
    const fits = own.length > 1 && own.at(-1)! % GGUF_TYPES[type].block === 0;
    tensors.push({
      name: known,
      shape: own,
      values,
      type: own.length < 2 || /(_norm|position_embd)\.weight$/.test(known) ? "f32" : fits ? type : "f16",
    });
  }
  return { facts, tensors };
}

/** The first of the fields that is there; `a/b` is a quotient, `4*a` a multiple. */
function numberIn(config: JsonRecord, fields: readonly string[]): number | undefined {
  for (const field of fields) {
    const [, times, above, below] = /^(?:(\d+)\*)?(\w+)(?:\/(\w+))?$/.exec(field)!;
    const [a, b] = [config[above], below === undefined ? 1 : config[below]];
    if (typeof a === "number" && typeof b === "number") return (Number(times ?? 1) * a) / b;
  }
  return undefined;
}

/** llama.cpp's name of a tensor. */
function named(path: string, mapping: GgufMapping): string | undefined {
  const ends = /\.(weight|bias)$/.exec(path);
  const module = ends === null ? path : path.slice(0, ends.index);
  const own = { ...mapping.outside, ...mapping.whole!.outside };
  if (!module.startsWith(`${mapping.blocks}.`)) return own[module] === undefined ? undefined : `${own[module]}${ends?.[0] ?? ""}`;
  const [block, ...rest] = module.slice(mapping.blocks.length + 1).split(".");
  const name = { ...mapping.names, ...mapping.whole!.names }[rest.join(".")];
  return name === undefined ? undefined : `blk.${block}.${name}${ends?.[0] ?? ""}`;
}

function transposed(x: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(x.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = x[i * columns + j];
  return out;
}

/** Rows of each head in llama.cpp's order: of the two halves one by one in turn. */
function pairedRows(x: Float32Array, rows: number, heads: number): Float32Array {
  const width = x.length / rows;
  const out = new Float32Array(x.length);
  const half = rows / heads / 2;
  for (let head = 0; head < heads; head++)
    for (let part = 0; part < 2; part++)
      for (let i = 0; i < half; i++) {
        const from = ((head * 2 + part) * half + i) * width;
        out.set(x.subarray(from, from + width), ((head * half + i) * 2 + part) * width);
      }
  return out;
}

/** Kinds of tokens. */
const [NORMAL, CONTROL, ADDED, UNUSED] = [1, 3, 4, 5];

/** Tokens, what they are, and the pairs that are joined, of a vocabulary of bytes. P0671: any other. */
function vocabulary(files: Files, folder: string, config: JsonRecord): Record<string, GgufFact> {
  const path = joinPath(folder, "tokenizer.json");
  if (files.stat(path) === undefined) refuse(folder, "it has no tokenizer.json, whose vocabulary the file is to hold");
  const { model, pre_tokenizer: cutting, added_tokens: added } = readRecord(files, path);
  const cut = JSON.stringify(cutting ?? null);
  if (!isRecord(model) || model.type !== "BPE" || !isRecord(model.vocab) || model.byte_fallback === true || !/"ByteLevel"/.test(cut))
    return refuse(folder, "its tokenizer joins no bytes (BPE over bytes), and others' scores are not written here");
  const pattern = /"Regex":"((?:[^"\\]|\\.)*)"/.exec(cut)?.[1].replaceAll("\\\\", "\\");
  const pre = pattern === undefined ? "gpt-2" : CUTS.find(([known]) => known.test(pattern))?.[1];
  if (pre === undefined) return refuse(folder, `llama.cpp's name for how its tokenizer cuts text is not known here: ${pattern}`);
  const special = (Array.isArray(added) ? added : []).filter(isRecord);
  const size = Math.max(
    Number(config.vocab_size),
    ...Object.values(model.vocab).map((id) => Number(id) + 1),
    ...special.map(({ id }) => Number(id) + 1),
  );
  const tokens = Array.from({ length: size }, (_, id) => `[PAD${id}]`);
  const kinds = new Array<number>(size).fill(UNUSED);
  for (const [token, id] of Object.entries(model.vocab)) [tokens[Number(id)], kinds[Number(id)]] = [token, NORMAL];
  for (const { content, id, special: control } of special)
    [tokens[Number(id)], kinds[Number(id)]] = [String(content), control === true ? CONTROL : ADDED];
  const merges = (Array.isArray(model.merges) ? model.merges : []).map((pair) => (Array.isArray(pair) ? pair.join(" ") : String(pair)));
  const ids = (["bos", "eos", "pad"] as const).flatMap((name): [string, GgufFact][] => {
    const value = config[`${name}_token_id`];
    const id = Array.isArray(value) ? value[0] : value;
    return typeof id === "number" ? [[`tokenizer.ggml.${name === "pad" ? "padding" : name}_token_id`, { u32: id }]] : [];
  });
  return {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": pre,
    "tokenizer.ggml.tokens": { strings: tokens },
    "tokenizer.ggml.token_type": { i32s: kinds },
    "tokenizer.ggml.merges": { strings: merges },
    ...Object.fromEntries(ids),
    "tokenizer.ggml.add_bos_token": { bool: pre === "llama-bpe" },
  };
}
