import { describe, expect, test } from "@jest/globals";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { loadTokenizer, type TextTokenizer } from "../../src/formats/tokenizer/tokenizer.ts";
import { refusal } from "../support/refusal.ts";

const PIECES = [
  "[PAD]",
  "[UNK]",
  "[CLS]",
  "[SEP]",
  "[MASK]",
  "the",
  "cat",
  "sat",
  "##s",
  "un",
  "##believ",
  "##able",
  ".",
  ",",
  "caf",
  "##e",
];

function load(content: Record<string, string | object>): TextTokenizer {
  const files = new MemoryFiles(
    Object.entries(content).map(([name, data]) => [`m/${name}`, typeof data === "string" ? data : JSON.stringify(data)]),
  );
  return loadTokenizer(files, "m")!;
}

/** GPT-2's table of printable stand-ins for bytes, as its vocabulary starts: 188 printable ones, then the rest. */
function byteTokens(): string[] {
  const printable = [...Array(94).keys()]
    .map((i) => i + 33)
    .concat(
      [...Array(12).keys()].map((i) => i + 161),
      [...Array(82).keys()].map((i) => i + 174),
    );
  const chars = printable.map((c) => String.fromCharCode(c));
  for (let i = 0; chars.length < 256; i++) chars.push(String.fromCharCode(256 + i));
  return chars;
}
function bpe(extra: string[], merges: string[]): { "vocab.json": object; "merges.txt": string } {
  const tokens = [...byteTokens(), ...merges.map((m) => m.replace(" ", "")), ...extra];
  return { "vocab.json": Object.fromEntries(tokens.map((t, i) => [t, i])), "merges.txt": `#version: 0.2\n${merges.join("\n")}\n` };
}

describe("WordPiece from vocab.txt", () => {
  const t = load({ "vocab.txt": `${PIECES.join("\n")}\n` });
  test("roles and size", () => {
    expect(t.size).toBe(PIECES.length);
    expect(t.ids).toEqual({ unk: 1, cls: 2, sep: 3, pad: 0, mask: 4 });
    expect([...t.specials].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4]);
  });
  test("encodes in pieces, lower case, without accents", () => {
    expect(t.encode("The cats sat, unbelievable café.").map((id) => t.tokenOf(id))).toEqual([
      "the",
      "cat",
      "##s",
      "sat",
      ",",
      "un",
      "##believ",
      "##able",
      "caf",
      "##e",
      ".",
    ]);
    expect(t.encode("dog [MASK]")).toEqual([1, 4]);
  });
  test("frames one text and two, and cuts the longer first", () => {
    expect(t.frame([5, 6], undefined)).toEqual({ ids: [2, 5, 6, 3], types: [0, 0, 0, 0], special: [true, false, false, true], cut: 0 });
    expect(t.frame([5, 6], [7])).toMatchObject({ ids: [2, 5, 6, 3, 7, 3], types: [0, 0, 0, 0, 1, 1] });
    expect(t.frame([5, 6, 7, 5], [6, 7], 7)).toMatchObject({ ids: [2, 5, 6, 3, 6, 7, 3], cut: 2 });
    expect(t.frame([5, 6, 7, 5], [6, 7], 6)).toMatchObject({ ids: [2, 5, 6, 3, 6, 3], cut: 3 });
    expect(t.frame([5], [6, 7, 5], 5)).toMatchObject({ ids: [2, 5, 3, 6, 3], cut: 2 });
    expect(t.overhead(true)).toBe(3);
  });
  test("decodes", () => {
    expect(t.decode([2, 5, 6, 8, 7, 12, 3], { skipSpecial: true })).toBe("the cats sat.");
    expect(t.decode([])).toBe("");
  });
  test("tables that are not sound are refused", () => {
    expect(refusal(() => load({ "vocab.txt": "a\nb\na\n" }))).toMatch(/^P0650.*line 3.*line 1 too/);
    expect(refusal(() => load({ "vocab.txt": "a\nb\n" }))).toMatch(/^P0650.*lacks the token \[UNK\]/);
  });
});

describe("byte-level BPE from vocab.json and merges.txt", () => {
  const merges = ["t h", "Ġ th", "Ġth e"];
  const gpt2 = load({
    ...bpe(["<|endoftext|>"], merges),
    "tokenizer_config.json": { eos_token: "<|endoftext|>", bos_token: { content: "<|endoftext|>" } },
  });
  test("merges, bytes and special tokens", () => {
    expect(gpt2.size).toBe(260);
    // the class takes it for the unknown too
    expect(gpt2.ids).toEqual({ eos: 259, bos: 259, unk: 259 });
    expect(gpt2.encode(" the the").map((id) => gpt2.tokenOf(id))).toEqual(["Ġthe", "Ġthe"]);
    expect(gpt2.encode("a<|endoftext|>")).toEqual([64, 259]);
    expect(gpt2.frame([5], undefined).ids).toEqual([5]);
    expect(gpt2.frame([5], [6]).ids).toEqual([5, 6]);
  });
  test("any text comes back", () => {
    for (const text of ["Hello, wörld! 日本語 🎉\n\n  x", "a  b\tc", "' .? ,"]) expect(gpt2.decode(gpt2.encode(text))).toBe(text);
  });
  test("cls and sep frame the text; RoBERTa's kind separates twice and has one type", () => {
    const special = { cls_token: "<s>", bos_token: "<s>", sep_token: "</s>", eos_token: "</s>", pad_token: "<pad>", mask_token: "<mask>" };
    const roberta = load({ ...bpe(["<s>", "</s>", "<pad>", "<mask>"], merges), "special_tokens_map.json": special });
    const { cls, sep, mask } = roberta.ids;
    expect(roberta.frame([5], [6])).toMatchObject({ ids: [cls, 5, sep, sep, 6, sep], types: [0, 0, 0, 0, 0, 0] });
    expect(roberta.encode("a <mask>")).toEqual([64, mask]);
  });
  test("a bos that the settings ask for", () => {
    const opt = load({ ...bpe(["</s>"], merges), "tokenizer_config.json": { bos_token: "</s>", add_bos_token: true } });
    expect(opt.frame([5], undefined).ids).toEqual([opt.ids.bos, 5]);
  });
  test("broken merges name their line", () => {
    expect(refusal(() => load({ ...bpe([], merges), "merges.txt": "#version: 0.2\na b\nabc\n" }))).toMatch(
      /^P0650 `m\/merges.txt`, line 3/,
    );
    expect(refusal(() => load({ "vocab.json": { a: "x" }, "merges.txt": "" }))).toMatch(/^P0650.*"a"/);
  });
  test("a stream gives whole characters and adds up to the text", () => {
    const text = `Grüße 🎉 the the 日本語 the ${"the 🎉 ".repeat(40)}`;
    const stream = gpt2.stream();
    const ids = gpt2.encode(text);
    const pieces = [...ids.map((id) => stream.push(id)), stream.end()];
    expect(pieces.join("")).toBe(text);
    expect(pieces.some((piece) => piece.includes("\ufffd"))).toBe(false);
    expect(pieces.filter((piece) => piece !== "").length).toBeGreaterThan(100);
  });
});

test("WordPiece streams add up too", () => {
  const t = load({ "vocab.txt": `${PIECES.join("\n")}\n` });
  const ids = Array.from({ length: 200 }, (_, i) => [5, 6, 8, 7, 13, 9, 10, 11, 12][i % 9]);
  const stream = t.stream();
  expect([...ids.map((id) => stream.push(id)), stream.end()].join("")).toBe(t.decode(ids));
});

describe("tokenizer.json", () => {
  const json = {
    added_tokens: [
      { id: 0, content: "<pad>", special: true, normalized: false },
      { id: 1, content: "</s>", special: true, normalized: false },
    ],
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: {
      type: "TemplateProcessing",
      single: [{ Sequence: { id: "A", type_id: 0 } }, { SpecialToken: { id: "</s>", type_id: 0 } }],
      pair: [],
      special_tokens: {},
    },
    decoder: null,
    model: { type: "WordPiece", vocab: { "<pad>": 0, "</s>": 1, a: 2, b: 3 }, unk_token: "<unk>", continuing_subword_prefix: "##" },
  };
  test("roles are read off the marked tokens where no settings lie beside it", () => {
    const t = load({ "tokenizer.json": json });
    expect(t.ids).toEqual({ pad: 0, eos: 1 });
    expect(t.frame(t.encode("a b"), undefined).ids).toEqual([2, 3, 1]);
  });
  test("a piece without a number is refused, as is a part nobody knows", () => {
    expect(refusal(() => load({ "tokenizer.json": json }).encode("a zebra"))).toMatch(/^P0652.*<unk>/);
    expect(refusal(() => load({ "tokenizer.json": { ...json, pre_tokenizer: { type: "Martian" } } }))).toMatch(/^P0651.*Martian/);
    expect(refusal(() => load({ "tokenizer.json": { a: 1 } }))).toMatch(/^P0651/);
  });
  test("SentencePiece alone, of a type that needs more, is refused with a recipe; nothing at all is nothing", () => {
    expect(refusal(() => load({ "spiece.model": "" }))).toMatch(/^P0654/);
    expect(load({ "config.json": {} })).toBeUndefined();
  });
});

describe("some of the tokens alone", () => {
  const kept = (t: TextTokenizer, texts: readonly string[]) => texts.map((text) => idOf(t, text));
  const idOf = (t: TextTokenizer, token: string) => Array.from({ length: t.size }, (_, id) => id).find((id) => t.tokenOf(id) === token)!;
  const said = (t: TextTokenizer, text: string) => t.encode(text).map((id) => t.tokenOf(id));

  test("word pieces: other words are cut into what is left, or unknown; the frame has the new numbers", () => {
    const t = load({ "vocab.txt": `${PIECES.join("\n")}\n` });
    const small = t.reduced(kept(t, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat", "##s", "."]));
    expect([small.size, small.ids]).toEqual([7, { pad: 0, unk: 1, cls: 2, sep: 3 }]);
    expect(said(small, "cats sat .")).toEqual(["cat", "##s", "[UNK]", "."]);
    expect(small.frame(small.encode("cat"), undefined).ids).toEqual([2, 4, 3]);
  });

  test("byte pairs: a merge stays with its halves and what it makes", () => {
    const t = load(bpe(["<|endoftext|>"], ["t h", "th e", "c a", "ca t"]));
    expect(said(t, "thecat")).toEqual(["the", "cat"]);
    // without `th` nothing leads to `the`
    const small = t.reduced(kept(t, [...byteTokens(), "the", "ca", "cat"]));
    expect(said(small, "thecat")).toEqual(["t", "h", "e", "cat"]);
    expect(small.decode(small.encode("the cat"))).toBe("the cat");
  });

  test("pieces with scores: the best cut of what is left, as the whole one where all of it is kept", () => {
    const vocab = [
      ["<s>", 0],
      ["<pad>", 0],
      ["</s>", 0],
      ["<unk>", 0],
      ["▁ca", -2],
      ["▁cat", -1],
      ["t", -3],
      ["s", -3],
      ["▁dog", -1],
    ];
    const special = (id: number) => ({ id, content: String(vocab[id][0]), special: true });
    const template = (name: string, id: number) => ({ [name]: { id: name, ids: [id], tokens: [name] } });
    const t = load({
      "tokenizer.json": {
        normalizer: null,
        added_tokens: [0, 1, 2, 3].map(special),
        pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
        decoder: { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
        post_processor: {
          type: "TemplateProcessing",
          single: [
            { SpecialToken: { id: "<s>", type_id: 0 } },
            { Sequence: { id: "A", type_id: 0 } },
            { SpecialToken: { id: "</s>", type_id: 0 } },
          ],
          pair: [],
          special_tokens: { ...template("<s>", 0), ...template("</s>", 2) },
        },
        model: { type: "Unigram", unk_id: 3, vocab },
      },
    });
    expect(said(t, "cats dog")).toEqual(["▁cat", "s", "▁dog"]);
    const small = t.reduced([0, 2, 3, 4, 6, 7, 8]);
    expect(said(small, "cats dog")).toEqual(["▁ca", "t", "s", "▁dog"]);
    expect(small.frame(small.encode("dog"), undefined).ids).toEqual([0, 6, 1]);
    expect(small.ids).toEqual({ bos: 0, eos: 1, unk: 2 });
    // written as files, it is the same again
    const again = load(small.description as Record<string, object>);
    expect(said(again, "cats dog")).toEqual(["▁ca", "t", "s", "▁dog"]);
  });

  test("added tokens cannot come before pieces that are counted", () => {
    const t = load({
      "tokenizer.json": {
        ...{ normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null },
        added_tokens: [{ id: 2, content: "<mask>", special: true }],
        model: {
          type: "Unigram",
          unk_id: 0,
          vocab: [
            ["<unk>", 0],
            ["a", -1],
          ],
        },
      },
    });
    expect(t.reduced([0, 2]).ids).toMatchObject({ mask: 1 });
    expect(refusal(() => t.reduced([2, 0]))).toMatch(/^P0653/);
  });
});
