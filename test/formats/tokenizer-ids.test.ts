/** Numbers that the Rust library gives drawn texts, for tokenizers of drawn parts: `test/golden/tokenizers/ids.json`, whose README says how it was made. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { loadTokenizer } from "../../src/formats/tokenizer/tokenizer.ts";

interface Golden {
  readonly tokenizer: { readonly model: { readonly type: string } };
  readonly texts: readonly (readonly [text: string, ids: readonly number[], decoded?: string])[];
}
const golden = JSON.parse(readFileSync(new URL("../golden/tokenizers/ids.json", import.meta.url), "utf8")) as Golden[];
const made = (tokenizer: object) =>
  loadTokenizer(
    new MemoryFiles([
      ["m/tokenizer.json", JSON.stringify(tokenizer)],
      ["m/tokenizer_config.json", '{"clean_up_tokenization_spaces": false}'],
    ]),
    "m",
  )!;

test.each(golden.map((one, i) => [`${i} (${one.tokenizer.model.type})`, one] as const))("tokenizer %s", (_, { tokenizer, texts }) => {
  const own = made(tokenizer);
  expect(texts.length).toBeGreaterThan(10);
  for (const [text, ids, decoded] of texts) {
    expect([text, own.encode(text)]).toEqual([text, ids]);
    if (decoded !== undefined) expect(own.decode(ids)).toBe(decoded);
  }
});

describe("rules of the Rust library", () => {
  const model = (type: string, vocab: unknown, more: object = {}) => ({ type, vocab, ...more });
  const of = (parts: object) =>
    made({ added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, ...parts });
  test("a word of a list that is not there is the unknown one", () => {
    const own = of({ model: model("WordLevel", { "<unk>": 0, a: 1 }, { unk_token: "<unk>" }), pre_tokenizer: { type: "WhitespaceSplit" } });
    expect(own.encode("a b a")).toEqual([1, 0, 1]);
  });
  test("of rows of pieces that are as likely, the sums up to each place decide", () => {
    const vocab = [["<unk>", 0], ["▁", -1.6735476594916214], ["0", -5.466513085181502], ["00", -6.575216909539685], ["1", -6.929359752884372]]; // biome-ignore format: a table
    const own = of({ model: model("Unigram", vocab, { unk_id: 0 }), pre_tokenizer: { type: "Metaspace", replacement: "▁" } });
    expect(own.encode("0001")).toEqual([1, 3, 2, 4]);
  });
  test("what a unigram model does not know is bytes, where it has them", () => {
    const bytes = Array.from({ length: 256 }, (_, b) => [`<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`, -20]);
    const own = of({ model: model("Unigram", [["<unk>", 0], ["a", -1], ...bytes], { unk_id: 0, byte_fallback: true }) });
    expect(own.encode("aé")).toEqual([1, 2 + 0xc3, 2 + 0xa9]);
  });
  test("an added token that is no word of its own stands in none, and models do not find it", () => {
    const vocab = Object.fromEntries(["<unk>", "c", "##a", "##t", "##s", "a"].map((piece, i) => [piece, i]));
    const own = of({
      added_tokens: [{ id: 6, content: "cat", single_word: true, lstrip: true, rstrip: false, normalized: false, special: false }],
      model: model("WordPiece", vocab, { unk_token: "<unk>", continuing_subword_prefix: "##", max_input_chars_per_word: 100 }),
      pre_tokenizer: { type: "WhitespaceSplit" },
    });
    expect(own.encode("a cat cats")).toEqual([5, 6, 1, 2, 3, 4]);
  });
  test("bytes of added tokens are their letters'", () => {
    const own = of({
      added_tokens: [{ id: 1, content: "<｜a▁b｜>", special: false, normalized: false }],
      model: model("BPE", { a: 0 }, { merges: [] }),
      decoder: { type: "ByteLevel" },
    });
    expect(own.decode([0, 1, 0])).toBe("a<｜a▁b｜>a");
  });
  test("pairs with a prefix inside words are refused by name", () => {
    expect(() => of({ model: model("BPE", { a: 0 }, { merges: [], continuing_subword_prefix: "##" }) })).toThrow(
      /continuing_subword_prefix "##" is not built/,
    );
  });
});
