/** A GPT-2 kind of checkpoint of a few thousand random numbers, with a byte tokenizer, and a corpus: enough to train on in a second. */
import type { Files } from "../../src/formats/files.ts";
import { writeFile } from "../../src/formats/files.ts";
import { type OutTensor, writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { drawInto, keyOf } from "../../src/ir/random.ts";

const text = (files: Files, path: string, content: string) => writeFile(files, path, new TextEncoder().encode(content));

export const EMBED = 16;
export const VOCAB = 257;

export function writeTinyModel(files: Files, folder: string, layers = 2, embed = EMBED): void {
  const config = {
    architectures: ["GPT2LMHeadModel"],
    model_type: "gpt2",
    vocab_size: VOCAB,
    n_positions: 64,
    n_embd: embed,
    n_layer: layers,
    n_head: 2,
    activation_function: "gelu_new",
    resid_pdrop: 0,
    embd_pdrop: 0,
    attn_pdrop: 0,
    layer_norm_epsilon: 1e-5,
    bos_token_id: 256,
    eos_token_id: 256,
    tie_word_embeddings: true,
  };
  text(files, `${folder}/config.json`, JSON.stringify(config));
  writeSafetensors(files, `${folder}/model.safetensors`, tensors(layers, embed));
  const vocab = Object.fromEntries([...bytes().map((c, i) => [c, i] as const), ["<|endoftext|>", 256] as const]);
  text(files, `${folder}/vocab.json`, JSON.stringify(vocab));
  text(files, `${folder}/merges.txt`, "#version: 0.2\n");
  text(
    files,
    `${folder}/tokenizer_config.json`,
    JSON.stringify({
      tokenizer_class: "GPT2Tokenizer",
      bos_token: "<|endoftext|>",
      eos_token: "<|endoftext|>",
      unk_token: "<|endoftext|>",
    }),
  );
}

export function writeCorpus(files: Files, path: string, lines = 60): void {
  const words = ["the sea", "a hill", "the wind", "some rain", "one road", "the light", "a door"];
  const corpus = Array.from({ length: lines }, (_, i) => `${words[i % 7]} and ${words[(i * 3 + 1) % 7]}; then ${words[(i * 5 + 2) % 7]}.`);
  text(files, path, `${corpus.join("\n")}\n`);
}

function tensors(layers: number, d: number): OutTensor[] {
  const make = (name: string, shape: number[], std: number, mean = 0): OutTensor => {
    const data = new Float64Array(shape.reduce((a, b) => a * b, 1));
    drawInto(data, "normal", keyOf(1, name), 0);
    return { name, shape, dtype: "F32", values: () => Float32Array.from(data, (x) => mean + std * x) };
  };
  const block = (i: number): OutTensor[] => {
    const at = (name: string) => `transformer.h.${i}.${name}`;
    return [
      make(at("ln_1.weight"), [d], 0.1, 1),
      make(at("ln_1.bias"), [d], 0.1),
      make(at("attn.c_attn.weight"), [d, 3 * d], 0.2),
      make(at("attn.c_attn.bias"), [3 * d], 0.1),
      make(at("attn.c_proj.weight"), [d, d], 0.2),
      make(at("attn.c_proj.bias"), [d], 0.1),
      make(at("ln_2.weight"), [d], 0.1, 1),
      make(at("ln_2.bias"), [d], 0.1),
      make(at("mlp.c_fc.weight"), [d, 4 * d], 0.2),
      make(at("mlp.c_fc.bias"), [4 * d], 0.1),
      make(at("mlp.c_proj.weight"), [4 * d, d], 0.2),
      make(at("mlp.c_proj.bias"), [d], 0.1),
    ];
  };
  return [
    make("transformer.wte.weight", [VOCAB, d], 0.3),
    make("transformer.wpe.weight", [64, d], 0.1),
    ...Array.from({ length: layers }, (_, i) => block(i)).flat(),
    make("transformer.ln_f.weight", [d], 0.1, 1),
    make("transformer.ln_f.bias", [d], 0.1),
  ];
}

/** GPT-2's characters for the 256 bytes: printable ones stand for themselves, the others for characters from 256 on. */
function bytes(): string[] {
  const plain = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(plain(b) ? b : next++));
}
