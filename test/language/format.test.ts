import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { lexer } from "../../grammar/tokens.ts";
import { format } from "../../src/compiler/format.ts";
import { parse, parseConcrete } from "../../src/compiler/read/parse.ts";
import { bare, soup, specs, spoilt } from "./support.ts";

const fmt = (text: string): string => {
  const { text: out, problems } = format(text, "f.peft");
  expect(problems.filter((p) => p.severity === "error")).toEqual([]);
  return out;
};
const tree = (text: string) => bare(parse(text, "f.peft").program);
const comments = (text: string) =>
  (parseConcrete(text, "f.peft").concrete.comments ?? []).map((c) => c.image.replace(/^\/\/\s*/, "").trim());

describe("the programs", () => {
  test.each([...specs])("%s is laid out already", (_file, text) => {
    expect(fmt(text)).toBe(text);
  });
});

/** A stretch of whole top-level items of a program, with all space between words drawn anew. */
const mangled: fc.Arbitrary<string> = fc
  .tuple(
    fc.constantFrom(...specs.values()),
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.array(fc.constantFrom(" ", " ", " ", "", "  ", "      ", "\n", "\n  ", "\n\n\n      "), { minLength: 30, maxLength: 90 }),
  )
  .map(([text, where, spaces]) => {
    const { items } = parse(text, "f").program;
    const from = Math.floor(where * items.length * 0.99);
    const part = text.slice(items[from].span.start, items[Math.min(items.length, from + 3) - 1].span.end);
    const { tokens, groups } = lexer.tokenize(part);
    const all = [...tokens, ...(groups.comments ?? [])].sort((a, b) => a.startOffset - b.startOffset);
    let out = "";
    all.forEach((t, i) => {
      const next = all[i + 1];
      out += t.image;
      const isComment = t.image.startsWith("//");
      let space = spaces[i % spaces.length];
      // words that would run into each other keep a space between them, digits after a dot and a unit keep none
      if (isComment) space = space.includes("\n") ? space : "\n";
      else if (space === "" && next && !/[(),[\]{}]$/.test(t.image) && !/^[(),[\]{}]/.test(next.image)) space = t.image === "." ? "" : " ";
      if (t.image === ".") space = "";
      out += next ? space : "\n";
    });
    return out;
  });

describe("whatever is read", () => {
  const holds = (text: string): void => {
    const { problems } = parse(text, "f.peft");
    const once = format(text, "f.peft");
    if (problems.some((p) => p.severity === "error")) {
      expect(once.text).toBe(text);
      return;
    }
    expect(tree(once.text)).toEqual(tree(text));
    expect(comments(once.text)).toEqual(comments(text));
    if (format(once.text, "f.peft").text !== once.text)
      throw new Error(`not settled:\n${text}\n---\n${once.text}\n---\n${format(once.text, "f.peft").text}`);
    expect(once.text).not.toMatch(/[ \t]\n|\n\n\n|^\n|\r/);
    if (once.text !== "") expect(once.text).toMatch(/[^\n]\n$/);
  };
  test("keeps its tree and comments, and is laid out the same a second time: programs with other spaces and line ends", () => {
    let read = 0;
    fc.assert(
      fc.property(mangled, (text) => {
        if (!parse(text, "f").problems.some((p) => p.severity === "error")) read++;
        holds(text);
      }),
      { numRuns: 150 },
    );
    expect(read).toBeGreaterThan(120);
  });
  test("the same of programs and words that were spoilt", () => {
    fc.assert(fc.property(fc.oneof(spoilt, soup), holds), { numRuns: 100 });
  });
});

describe("rules", () => {
  test.each([
    [
      "spaces between words",
      "a=b+ c*-d**2\nx = f( a ,b :2, ...c)[ : , 1 :2, ... ,none]",
      "a = b + c * -d ** 2\nx = f(a, b: 2, ...c)[:, 1:2, ..., none]\n",
    ],
    [
      "selectors",
      "attach a=M() to m . ** .{ q,v } [ * ] [2 .. ] . ** :R .act expect 3",
      "attach a = M() to m.**.{q, v}[*][2..].**: R.act expect 3\n",
    ],
    [
      "records and lists",
      'a={b:1,"c" :[ 1,2 ]}\nb={ }\nc=[x for i,x in y if i>0]',
      'a = { b: 1, "c": [1, 2] }\nb = {}\nc = [x for i, x in y if i > 0]\n',
    ],
    ["types", "type T{a:int ?=none  b : [ [fn]? ] c:f32[ ... ,2*n]}", "type T { a: int? = none  b: [[fn]?]  c: f32[..., 2 * n] }\n"],
    [
      "braces stay with what they belong to, and end lines of their own",
      "if a\n{\nb=1 }\nelse\n{\n c = 2\n}",
      "if a {\n  b = 1\n} else {\n  c = 2\n}\n",
    ],
    ["what stands on one line stays there", "if a {b=1   c=2}else{ d=3 }", "if a { b = 1  c = 2 } else { d = 3 }\n"],
    ["top-level units have their lines", "a=1 b=2 train{c=3}", "a = 1\nb = 2\ntrain { c = 3 }\n"],
    [
      "empty lines: one at most, none inside braces",
      "\n\na=1\n\n\n\nmodule M() {\n\n  b=1\n\n\n  c=2\n\n}\n\n\n",
      "a = 1\n\nmodule M() {\n  b = 1\n\n  c = 2\n}\n",
    ],
    [
      "columns that were made are kept, as narrow as may be",
      "a    = 1\nlong = 2\n\nb      = 1\nlonger   = 2\nc        = 3",
      "a    = 1\nlong = 2\n\nb = 1\nlonger = 2\nc      = 3\n",
    ],
    [
      "columns of several kinds",
      "x = [f(1),    g(2),  h(3)]\ny = [f(1000), g(200), h(3)]",
      "x = [f(1),    g(2), h(3)]\ny = [f(1000), g(200), h(3)]\n",
    ],
    [
      "comments behind code keep their column, two spaces off",
      "a = 1 //x\nbcd = 2      // y\ne = 3        // z",
      "a = 1  // x\nbcd = 2      // y\ne = 3        // z\n",
    ],
    [
      "comments on lines of their own go with what follows",
      "module M() {\n      // a\n  b = 1\n // c\n}\n  // d",
      "module M() {\n  // a\n  b = 1\n  // c\n}\n// d\n",
    ],
    [
      "what continues a line keeps its place under a word",
      "  abc = if x then [1,\n                   2]\n        else [3]",
      "abc = if x then [1,\n                 2]\n      else [3]\n",
    ],
    ["and what stands in brackets that end a line is indented", "a = f(\nb,\n      c\n)", "a = f(\n  b,\n  c\n)\n"],
    ["a line that goes on stands further in than it began", "a =\nb", "a =\n    b\n"],
    ["units behind a brace stand under each other", "evaluate r { a = 1\n b = 2 }", "evaluate r { a = 1\n             b = 2 }\n"],
  ])("%s", (_rule, before, after) => {
    expect(fmt(before)).toBe(after);
    expect(fmt(after)).toBe(after);
  });

  test("with errors nothing is touched, and they are told", () => {
    const { text, problems } = format("a=1\nb = = 2", "f.peft");
    expect(text).toBe("a=1\nb = = 2");
    expect(problems.map((p) => p.code)).toEqual(["P0105"]);
  });
  test("with nothing there is nothing", () => {
    expect(fmt("")).toBe("");
    expect(fmt("  \n\n")).toBe("");
    expect(fmt("//a\n\n\n// b")).toBe("// a\n\n// b\n");
  });
});
