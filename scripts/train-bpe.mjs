// Trains a byte-level BPE vocabulary (Sennrich et al. 2016, on bytes as in GPT-2) and writes tokenizer.json and tokenizer_config.json.
//   node scripts/train-bpe.mjs SIZE OUT_FOLDER TEXT...
// Deterministic: the pair that occurs most is merged, ties go to the pair that sorts first.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

const [size, out, ...texts] = process.argv.slice(2);
if (!out || texts.length === 0) {
  console.error("usage: node scripts/train-bpe.mjs SIZE OUT_FOLDER TEXT...");
  process.exit(2);
}

// the printable stand-ins that byte-level tokenizers use for the 256 bytes
const shown = [];
for (let b = 33; b <= 126; b++) shown.push(b);
for (let b = 161; b <= 172; b++) shown.push(b);
for (let b = 174; b <= 255; b++) shown.push(b);
const letter = new Map(shown.map((b) => [b, String.fromCharCode(b)]));
for (let b = 0, n = 0; b < 256; b++) if (!letter.has(b)) letter.set(b, String.fromCharCode(256 + n++));
const alphabet = [...letter.values()].sort();

// pieces that merges never cross: contractions, words, numbers, marks, spaces
const piece = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
const counts = new Map();
for (const file of texts) for (const [word] of readFileSync(file, "utf8").matchAll(piece)) counts.set(word, (counts.get(word) ?? 0) + 1);
const words = [...counts].map(([word, n]) => ({ parts: [...Buffer.from(word, "utf8")].map((b) => letter.get(b)), n }));

const END = "<|endoftext|>";
const vocab = [END, ...alphabet];
const merges = [];
const pairs = new Map(); // "a b" -> { n, in: words that may hold it }
const key = (a, b) => `${a} ${b}`;
const change = (w, sign) => {
  for (let i = 1; i < w.parts.length; i++) {
    const k = key(w.parts[i - 1], w.parts[i]);
    let p = pairs.get(k);
    if (!p) {
      p = { n: 0, in: new Set() };
      pairs.set(k, p);
    }
    p.n += sign * w.n;
    if (sign > 0) p.in.add(w);
  }
};
for (const w of words) change(w, 1);
while (vocab.length < Number(size)) {
  let best;
  for (const [k, p] of pairs) if (p.n > 1 && (!best || p.n > best.n || (p.n === best.n && k < best.k))) best = { k, n: p.n, in: p.in };
  if (!best) break;
  const [a, b] = best.k.split(" ");
  vocab.push(a + b);
  merges.push([a, b]);
  for (const w of best.in) {
    change(w, -1);
    const parts = [];
    for (let i = 0; i < w.parts.length; i++) parts.push(w.parts[i] === a && w.parts[i + 1] === b ? a + w.parts[++i] : w.parts[i]);
    w.parts = parts;
    change(w, 1);
  }
  pairs.delete(best.k);
}

const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
const tokenizer = {
  version: "1.0",
  truncation: null,
  padding: null,
  added_tokens: [{ id: 0, content: END, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }],
  normalizer: null,
  pre_tokenizer: byteLevel,
  post_processor: null,
  decoder: byteLevel,
  model: {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: "",
    end_of_word_suffix: "",
    fuse_unk: false,
    byte_fallback: false,
    vocab: Object.fromEntries(vocab.map((t, i) => [t, i])),
    merges,
  },
};
mkdirSync(out, { recursive: true });
writeFileSync(`${out}/tokenizer.json`, `${JSON.stringify(tokenizer, null, 1)}\n`);
const config = {
  tokenizer_class: "GPT2Tokenizer",
  bos_token: END,
  eos_token: END,
  unk_token: END,
  add_prefix_space: false,
  model_max_length: 256,
};
writeFileSync(`${out}/tokenizer_config.json`, `${JSON.stringify(config, null, 2)}\n`);
console.log(`${vocab.length} tokens, ${merges.length} merges, from ${words.length} different pieces`);
