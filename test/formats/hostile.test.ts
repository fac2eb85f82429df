/** Files of others that are built to take all memory, never to end, or to mean two things: each is refused by name, in little time. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { regex } from "../../src/formats/adapters/options.ts";
import { JinjaTemplate } from "../../src/formats/data/jinja.ts";
import { readJsonLines } from "../../src/formats/data/records.ts";
import { DEEPEST_JSON, parseJson } from "../../src/formats/json.ts";
import { Pattern } from "../../src/formats/pattern.ts";
import { readHeader } from "../../src/formats/safetensors/header.ts";
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
