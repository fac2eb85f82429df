/** Files of others that are built to take all memory, never to end, or to mean two things: each is refused by name, in little time. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { regex } from "../../src/formats/adapters/options.ts";
import { JinjaTemplate } from "../../src/formats/data/jinja.ts";
import { readJsonLines } from "../../src/formats/data/records.ts";
import { DEEPEST_JSON, parseJson } from "../../src/formats/json.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { Pattern } from "../../src/formats/pattern.ts";
import { readHeader } from "../../src/formats/safetensors/header.ts";
import { isRisky } from "../../src/formats/tokenizer/bounds.ts";
import { loadTokenizer } from "../../src/formats/tokenizer/tokenizer.ts";
import { InputError } from "../../src/ir/errors.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { decodeImage } from "../../src/node/images.ts";

const folder = new URL("../corpus/formats/", import.meta.url).pathname;
const files = new NodeFiles(folder);
const code = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    if (error instanceof InputError) return error.code;
    throw error;
  }
  return "none";
};

test.each(readdirSync(folder).filter((f) => f.endsWith(".safetensors")))("%s", (file) => {
  expect(code(() => readHeader(files, file))).toBe(file.startsWith("nested") ? "P0612" : "P0613");
});

test("JSON: depth, and what lies within it", () => {
  const nested = (n: number) => "[".repeat(n) + "]".repeat(n);
  expect(parseJson(nested(100_000))).toMatchObject({ fault: expect.stringContaining("nested deeper") });
  expect(parseJson(nested(DEEPEST_JSON))).toHaveProperty("value");
  // brackets inside strings are text
  expect(parseJson(JSON.stringify("[".repeat(10_000)))).toHaveProperty("value");
  expect(code(() => readJsonLines(files, "jsonl_nested_column.jsonl"))).toBe("P0701");
});

test("a row's column called constructor is there only where the row has it", () => {
  const [row] = readJsonLines(files, "images_metadata_nul.jsonl");
  expect(row.values.constructor).toBeUndefined();
});

test("a picture of 2³¹ × 2³¹ pixels, one that is cut off", () => {
  const bytes = readFileSync(`${folder}/png_2e31/x.png`);
  expect(() => decodeImage(bytes)).toThrow(/pixels/);
  expect(() => decodeImage(bytes.subarray(0, 20))).toThrow(/cut off/);
});

test.each(readdirSync(`${folder}/chat`))("template %s ends", (name) => {
  const template = new JinjaTemplate(readFileSync(`${folder}/chat/${name}`, "utf8"));
  expect(() => template.render({})).toThrow(/more than/);
});
test("a macro that calls itself", () => {
  expect(() => new JinjaTemplate("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").render({})).toThrow();
});

describe("tokenizers of folders", () => {
  const letters = (more: object) =>
    new MemoryFiles([
      [
        "t/tokenizer.json",
        JSON.stringify({
          added_tokens: [],
          normalizer: null,
          pre_tokenizer: null,
          post_processor: null,
          decoder: null,
          model: { type: "BPE", unk_token: "?", vocab: { "?": 0, a: 1, "!": 2 }, merges: [] },
          ...more,
        }),
      ],
    ]);
  const parts = (name: string) => JSON.parse(readFileSync(`${folder}/${name}`, "utf8")) as object;
  const encoded = (more: object, text: string) => loadTokenizer(letters(more), "t")!.encode(text);
  test("a pattern that takes engines for ever is matched in little time, and right", () => {
    const long = `${"a".repeat(400)}!`;
    expect(encoded(parts("tokenizer_redos.json"), long)).toEqual([...Array<number>(400).fill(1), 2]);
    const split = (Regex: string) => ({ pre_tokenizer: { type: "Split", pattern: { Regex }, behavior: "Removed", invert: false } });
    expect(encoded(split("(a|aa)+!"), "!aaa!!")).toEqual([2, 2]);
    expect(encoded({ normalizer: { type: "Replace", pattern: { Regex: "(\\p{L}+)+b" }, content: "!" } }, `aab${"a".repeat(300)}`)).toEqual([
      2,
      ...Array<number>(300).fill(1),
    ]);
    expect(code(() => encoded(parts("tokenizer_redos.json"), "a".repeat(20_000)))).toBe("P0652");
    expect(code(() => encoded(split("(a+)\\1+"), "aa"))).toBe("P0651");
  });
  test("patterns of usual tokenizers are the engine's", () => {
    for (const usual of [
      "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
      "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{M}]*[\\p{Ll}\\p{M}]+(?i:'s|'t)?|\\p{N}{1,3}",
    ])
      expect(isRisky(usual)).toBe(false);
    for (const risky of ["(a+)+$", "(a|aa)+", "(?:a*)*", "a*a*a*a*b", "(a)\\1", "(?:a{2,})+", "((a+)b?)*"])
      expect(isRisky(risky)).toBe(true);
  });
  test("rules that let a text grow without an end", () => {
    expect(code(() => encoded(parts("tokenizer_grows.json"), "aaaa"))).toBe("P0652");
  });
  test("numbers that no embedding table has, lengths that do not get on", () => {
    for (const id of [1e15, -1, 0.5, null, "1", 4e9]) {
      expect(code(() => encoded({ model: { type: "BPE", vocab: { a: id }, merges: [] } }, "a"))).toBe("P0651");
      expect(code(() => encoded({ added_tokens: [{ id, content: "x" }] }, "a"))).toBe("P0651");
    }
    for (const length of [0, -1, 0.5, null])
      expect(code(() => encoded({ pre_tokenizer: { type: "FixedLength", length } }, "aaa"))).toBe("P0651");
  });
});

describe("patterns of folders", () => {
  const same = (pattern: string, text: string) => {
    const wanted = new RegExp(pattern, "u").exec(text);
    expect(new Pattern(pattern).exec(text)).toEqual(wanted === null ? null : [...wanted]);
  };
  test("match what RegExp matches", () => {
    const texts = ["", "a", "aab", "model.layers.12.self_attn.q_proj", "h.0.attn.c_attn", "abcabc", "x\ny", "😀b"];
    const patterns = [
      "a*",
      "a+?b",
      "(a|ab)(c|bcd)?",
      "^(?:.*\\.)?(?:q_proj|v_proj)$",
      "^.*?\\.(?:layers|h)\\.(\\d+)\\.",
      "(?=a)a",
      "(?!a).",
      "(?<=a)b",
      "(?<!a)b",
      "\\bself",
      "[^.]+$",
      "[a-c]{2,3}",
      "(x*)*",
      "(?:)*",
      "(a*)(b*)",
      "\\w+\\.\\d",
      "(?<n>a)",
      ".",
      "[\\w.]+",
      "a{0}b",
      "$",
      "(a)|(b)",
    ];
    for (const p of patterns) for (const t of texts) same(p, t);
  });
  test("of any form", () => {
    const piece = fc.constantFrom("a", "b", ".", "[ab]", "[^a]", "(a|b)", "(?:ab)", "(a*)", "(?=b)", "(?!a)", "^", "$", "\\b");
    const pattern = fc
      .array(fc.tuple(piece, fc.constantFrom("", "*", "+", "?", "*?", "{1,2}")), { maxLength: 6 })
      .map((ps) => ps.map(([p, q]) => (/^(\(\?|\^|\$|\\b)/.test(p) && !p.startsWith("(?:") ? p : p + q)).join(""));
    fc.assert(
      fc.property(pattern, fc.stringMatching(/^[ab]{0,8}$/), (p, t) => expect(new Pattern(p).test(t)).toBe(new RegExp(p, "u").test(t))),
      {
        numRuns: 300,
      },
    );
  });
  test("what takes others for ever ends", () => {
    const long = "a".repeat(3000);
    for (const p of ["^(a+)+$", "^(([a-z0-9._])+)+!$", "^(a|aa)+$", "^(.*a){20}b$"])
      expect(new Pattern(p).test(`${long.slice(0, 300)}!`)).toBe(p.includes("!"));
    expect(new Pattern("^(a+)+$").test(long)).toBe(true);
  });
  test("what cannot be read is refused by name", () => {
    for (const p of ["(", "a)", "[a", "*", "(a)\\1", "a{3,2}", "(((((a{99}){99}){99}){99}){99})", "(?>a)", "(".repeat(5000)])
      expect(code(() => regex(p, "adapter_config.json: target_modules"))).toBe("P0661");
  });
});
