/** Where the Rust library cuts otherwise than the JavaScript one, and what files beside `tokenizer.json` add. */
import { describe, expect, test } from "@jest/globals";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { charsmap, cutBy } from "../../src/formats/tokenizer/mend.ts";
import { loadTokenizer, type TextTokenizer } from "../../src/formats/tokenizer/tokenizer.ts";
import { refusal } from "../support/refusal.ts";
import { table, texts } from "./letters.ts";
import { sentencePiece } from "./sentencepiece-file.ts";

const load = (files: Readonly<Record<string, object | string>>): TextTokenizer =>
  loadTokenizer(
    new MemoryFiles(Object.entries(files).map(([name, data]) => [`m/${name}`, typeof data === "string" ? data : JSON.stringify(data)])),
    "m",
  )!;
const wordPieces = (pre_tokenizer: object | null, pieces: readonly string[]) => ({
  added_tokens: [],
  normalizer: null,
  pre_tokenizer,
  post_processor: null,
  decoder: null,
  model: {
    type: "WordPiece",
    vocab: Object.fromEntries(["[UNK]", ...pieces].map((piece, id) => [piece, id])),
    unk_token: "[UNK]",
    continuing_subword_prefix: "##",
  },
});
/** Pieces that a text is cut into, each of which the vocabulary has. */
const cuts = (pre: object, text: string, pieces: readonly string[]) => {
  const t = load({ "tokenizer.json": wordPieces(pre, pieces), "tokenizer_config.json": { unk_token: "[UNK]" } });
  return t.encode(text).map((id) => t.tokenOf(id));
};

describe("classes of characters are Unicode's", () => {
  test.each([
    ["Whitespace", {}, "straße café a://b 漢字kanji", ["straße", "café", "a", "://", "b", "漢字kanji"]],
    ["Whitespace", {}, "x\u0301 ²\u200dy", ["x\u0301", "²", "\u200dy"]],
    ["WhitespaceSplit", {}, "a\u0085b c!", ["a", "b", "c!"]],
    ["BertPreTokenizer", {}, "a$b—c d", ["a", "$", "b", "—", "c", "d"]],
    ["Punctuation", {}, "a?!b", ["a", "?", "!", "b"]],
    ["Punctuation", { behavior: "Contiguous" }, "a?!b", ["a", "?!", "b"]],
    ["Punctuation", { behavior: "MergedWithPrevious" }, "a?!b", ["a?", "!", "b"]],
    ["Digits", { individual_digits: true }, "a12٣½", ["a", "1", "2", "٣", "½"]],
    ["Digits", { individual_digits: false }, "a12٣b", ["a", "12٣", "b"]],
    ["Split", { pattern: { String: "-" }, behavior: "MergedWithNext", invert: false }, "a-b--c", ["a", "-b", "-", "-c"]],
    ["Split", { pattern: { Regex: "\\d+" }, behavior: "Removed", invert: true }, "a12b3", ["12", "3"]],
  ] as const)("%s %j", (type, options, text, pieces) => {
    expect(cuts({ type: "Sequence", pretokenizers: [{ type, ...options }] }, text, pieces)).toEqual(pieces);
  });
  test("pieces of a pattern are told from what lies between them", () => {
    expect(cutBy(/-/gu, "Isolated", true)("a-b")).toEqual(["a", "-", "b"]);
    expect(cutBy(/x*/gu, "Isolated", false)("aab")).toEqual(["aab"]);
  });
});

/** A double array with these replacements, each node's children on 256 places of their own. */
function mapped(entries: Readonly<Record<string, string>>): string {
  const blob: number[] = [];
  const units: number[] = [];
  type Trie = Map<number, Trie> & { value?: number };
  const root: Trie = new Map();
  for (const [from, to] of Object.entries(entries)) {
    let node = root;
    for (const byte of new TextEncoder().encode(from)) {
      if (!node.has(byte)) node.set(byte, new Map());
      node = node.get(byte)!;
    }
    node.value = blob.length;
    blob.push(...new TextEncoder().encode(to), 0);
  }
  let next = 256;
  const place = (node: Trie, at: number, label: number): void => {
    const base = next;
    next += 256;
    units[at] = (((at ^ base) << 10) | label | (node.value === undefined ? 0 : 256)) >>> 0;
    if (node.value !== undefined) units[base] = (node.value | 0x80000000) >>> 0;
    for (const [byte, child] of node) place(child, base ^ byte, byte);
  };
  place(root, 0, 0);
  const bytes = new Uint8Array(4 + next * 4 + blob.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, next * 4, true);
  for (let i = 0; i < next; i++) view.setUint32(4 + i * 4, units[i] ?? 0, true);
  bytes.set(blob, 4 + next * 4);
  return btoa(String.fromCharCode(...bytes));
}

test("a charsmap replaces what it has, and nothing else: whole characters first, then their parts", () => {
  const map = charsmap(mapped({ ﬁ: "fi", "①": "1", "e\u0301": "é", "\u200b": "", "\n": " " }));
  expect(map("ﬁn ① e\u0301 \u200b.\nｱ ½")).toBe("fin 1 é . ｱ ½");
});

describe("an answer behind a prompt is cut with it, where a tokenizer marks beginnings", () => {
  const spaced = (scheme: string) => ({
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: scheme, split: true },
    post_processor: null,
    decoder: { type: "Metaspace", replacement: "▁", prepend_scheme: scheme },
    model: {
      type: "BPE",
      vocab: Object.fromEntries(["<unk>", "▁", "a", "b", ":", "▁a", "▁b"].map((piece, id) => [piece, id])),
      merges: ["▁ a", "▁ b"],
      unk_token: "<unk>",
    },
  });
  test("no space that the data have not", () => {
    const always = load({ "tokenizer.json": spaced("always") });
    expect(always.encodeBehind("a:", "b")).toEqual({ first: [5, 4], second: [3], merged: false });
    expect(always.encodeBehind("a:", " b")).toEqual({ first: [5, 4], second: [6], merged: false });
    // a space at the prompt's end goes into the answer's first token
    expect(always.encodeBehind("a: ", "b")).toEqual({ first: [5, 4], second: [6], merged: true });
    expect(load({ "tokenizer.json": spaced("never") }).encodeBehind("a:", "b")).toEqual({ first: [2, 4], second: [3], merged: false });
  });
  test("in rows and in pairs; others are cut apart as before", () => {
    expect(texts(table([{ prompt: "ab", completion: "cd" }], { template: "" }))).toEqual(["abcd<|im_end|>"]);
  });
});

const loadModel = (name: string, model: Uint8Array, type: string): TextTokenizer =>
  loadTokenizer(
    new MemoryFiles([
      [`m/${name}`, model],
      ["m/config.json", JSON.stringify({ model_type: type })],
    ]),
    "m",
  )!;

describe("SentencePiece's own files", () => {
  const BYTES = Array.from({ length: 256 }, (_, i) => [`<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`, 0, 6] as const);
  test("byte pairs: a space in front of whatever it is, pairs by their scores, bytes for the rest", () => {
    const pieces = [
      ["<unk>", 0, 2],
      ["<s>", 0, 3],
      ["</s>", 0, 3],
      ...BYTES,
      ["▁a", -1],
      ["ab", 0],
      ["▁", -9],
      ["a", -9],
      ["b", -9],
    ] as const;
    const t = loadModel("tokenizer.model", sentencePiece(pieces, 2, { collapse: false }), "llama");
    const said = (text: string) => t.encode(text).map((id) => t.tokenOf(id));
    expect(said("ab a")).toEqual(["▁", "ab", "▁a"]);
    expect(said(" a")).toEqual(["▁", "▁a"]);
    expect(said("é")).toEqual(["▁", "<0xC3>", "<0xA9>"]);
    expect(t.frame(t.encode("a"), undefined).ids).toEqual([1, 259]);
    expect(t.decode(t.encode("ab é a"))).toBe("ab é a");
    expect([t.ids.bos, t.ids.eos, t.ids.unk]).toEqual([1, 2, 0]);
  });
  test("unigram: the best cut by scores, spaces made one, the end behind", () => {
    const pieces = [
      ["<pad>", 0, 3],
      ["</s>", 0, 3],
      ["<unk>", 0, 2],
      ["▁", -3],
      ["a", -3],
      ["b", -3],
      ["▁ab", -4],
      ["b▁", -1],
    ] as const;
    const t = loadModel("spiece.model", sentencePiece(pieces, 1), "t5");
    expect(t.encode("ab   ab ").map((id) => t.tokenOf(id))).toEqual(["▁ab", "▁ab"]);
    expect(t.frame(t.encode("a"), undefined).ids).toEqual([3, 4, 1]);
  });
  test("what is no such file, or of a type that needs more", () => {
    expect(refusal(() => loadModel("tokenizer.model", Uint8Array.of(10, 200), "llama"))).toMatch(/^P0650 `m\/tokenizer.model` is no sound/);
    expect(refusal(() => loadModel("tokenizer.model", sentencePiece([["a", 0]], 4), "llama"))).toMatch(/^P0654.*of characters/);
    expect(refusal(() => loadModel("sentencepiece.bpe.model", sentencePiece([["a", 0]], 1), "xlm-roberta"))).toMatch(
      /^P0654.*"xlm-roberta"/,
    );
  });
});

describe("files beside tokenizer.json", () => {
  const json = wordPieces({ type: "WhitespaceSplit" }, ["a", "b"]);
  const token = (content: string, more: object = {}) => ({
    content,
    lstrip: false,
    rstrip: false,
    normalized: false,
    single_word: false,
    special: false,
    ...more,
  });
  test("added tokens by number, then special ones that the vocabulary lacks", () => {
    const t = load({
      "tokenizer.json": json,
      "tokenizer_config.json": {
        unk_token: "[UNK]",
        pad_token: "<pad>",
        added_tokens_decoder: { 3: token("<tool>"), 4: token("</tool>") },
        extra_special_tokens: { image: "<image>" },
      },
      "special_tokens_map.json": { additional_special_tokens: ["<sep>"] },
    });
    expect(t.encode("a<tool>b</tool><image>")).toEqual([1, 3, 2, 4, 6]);
    expect([t.ids.pad, t.size, [...t.specials].sort()]).toEqual([5, 8, [0, 5, 6, 7]]);
  });
  test("added_tokens.json alone; a number that is taken is refused", () => {
    expect(load({ "tokenizer.json": json, "added_tokens.json": { "<x>": 3 } }).encode("a <x>")).toEqual([1, 3]);
    expect(refusal(() => load({ "tokenizer.json": json, "added_tokens.json": { "<x>": 1 } }))).toMatch(
      /^P0650.*"<x>" as number 1, which the string "a" has/,
    );
  });
  test("GPT-2's first files take their class's tokens", () => {
    const vocab = Object.fromEntries(["<|endoftext|>", "a", "b"].map((piece, id) => [piece, id]));
    const first = load({ "vocab.json": vocab, "merges.txt": "#version: 0.2\n", "config.json": { model_type: "gpt2" } });
    expect([first.ids.eos, first.ids.bos, first.encode("a<|endoftext|>b")]).toEqual([0, 0, [1, 0, 2]]);
    const roberta = Object.fromEntries(["<s>", "<pad>", "</s>", "<unk>", "a", "<mask>"].map((piece, id) => [piece, id]));
    expect(load({ "vocab.json": roberta, "merges.txt": "" }).frame([4], undefined).ids).toEqual([0, 4, 2]);
    expect(load({ "vocab.json": roberta, "merges.txt": "", "config.json": { model_type: "opt" } }).frame([4], undefined).ids).toEqual([
      2, 4,
    ]);
  });
  test("the tokens that end what a model writes", () => {
    const files = { "tokenizer.json": json, "tokenizer_config.json": { eos_token: "b", unk_token: "[UNK]" } };
    expect(load(files).ends).toEqual([2]);
    expect(load({ ...files, "config.json": { eos_token_id: 1 } }).ends).toEqual([2, 1]);
    expect(load({ ...files, "config.json": { eos_token_id: 1 }, "generation_config.json": { eos_token_id: [2, 0] } }).ends).toEqual([2, 0]);
  });
});
