/** The colours of editors know the words of the lexer. */
import { readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { tokens } from "../../grammar/tokens.ts";
import { units } from "../../src/compiler/read/literals.ts";
import { specs } from "./support.ts";

interface Pattern {
  name?: string;
  match?: string;
  begin?: string;
  end?: string;
  include?: string;
  captures?: Record<string, { name: string }>;
  patterns?: Pattern[];
}
const grammar = JSON.parse(readFileSync(new URL("../../grammar/peft.tmLanguage.json", import.meta.url), "utf8")) as {
  patterns: Pattern[];
  repository: Record<string, Pattern>;
};

/** All patterns, in the order an editor tries them. */
function flat(list: readonly Pattern[]): Pattern[] {
  return list.flatMap((p) =>
    p.include ? flat([grammar.repository[p.include.slice(1)]]) : p.begin ? [p] : p.patterns ? flat(p.patterns) : [p],
  );
}
const patterns = flat(grammar.patterns).map((p) => ({
  ...p,
  first: new RegExp(p.match ?? p.begin!, "g"),
  close: new RegExp(p.end ?? "$", "g"),
}));

/** Scopes of a line: at each place the first pattern that begins nearest, as editors do. */
function scopes(line: string): [text: string, scope: string][] {
  const out: [string, string][] = [];
  for (let at = 0; at < line.length; ) {
    let best: { start: number; end: number; parts: [string, string][] } | undefined;
    for (const p of patterns) {
      p.first.lastIndex = at;
      const found = p.first.exec(line);
      if (!found || (best && found.index >= best.start)) continue;
      let end = found.index + found[0].length;
      if (p.end) {
        const { close } = p;
        close.lastIndex = end;
        // escapes are skipped: the next quote that none precedes
        for (let c = close.exec(line); c; c = close.exec(line)) {
          end = c.index + c[0].length;
          if (line[c.index - 1] !== "\\" || c[0] === "") break;
        }
      }
      const parts: [string, string][] = p.captures
        ? Object.entries(p.captures).flatMap(([k, c]): [string, string][] => (found[Number(k)] ? [[found[Number(k)], c.name]] : []))
        : [[line.slice(found.index, end), p.name!]];
      if (end > found.index) best = { start: found.index, end, parts };
    }
    if (!best) break;
    out.push(...best.parts);
    at = best.end;
  }
  return out;
}
const scopeOf = (line: string, text: string): string | undefined => scopes(line).find(([t]) => t === text)?.[1];

test("every word that is never a name is coloured as a word, and after a dot as a member", () => {
  const hard = tokens.filter((t) => t.CATEGORIES?.some((c) => c.name === "Hard") && /^[a-z]+$/.test(t.name)).map((t) => t.name);
  expect(hard.length).toBeGreaterThan(20);
  for (const word of hard) {
    expect([word, scopeOf(`${word} x`, word)]).toEqual([word, expect.stringMatching(/^(keyword|storage|constant\.language)/)]);
    expect(scopeOf(`x.${word} `, word)).toBe("variable.other.member.peft");
    expect(scopeOf(`${word}ed x`, word)).toBeUndefined();
  }
});

test("every unit is a unit", () => {
  for (const unit of Object.keys(units)) expect(scopeOf(`a = 3${unit}`, unit)).toBe("keyword.other.unit.peft");
});

test("declarations, statements, stages", () => {
  expect(scopes("attach lora = LoRA(rank: 8) to gpt2.h[*].attn expect 12  // all")).toEqual([
    ["attach", "keyword.other.peft"],
    ["lora", "variable.other.declaration.peft"],
    ["=", "keyword.operator.assignment.peft"],
    ["LoRA", "entity.name.function.call.peft"],
    ["rank", "variable.parameter.peft"],
    [":", "punctuation.separator.peft"],
    ["8", "constant.numeric.peft"],
    ["to", "keyword.other.peft"],
    [".", "punctuation.accessor.peft"],
    ["h", "variable.other.member.peft"],
    ["[*]", "keyword.operator.selector.peft"],
    [".", "punctuation.accessor.peft"],
    ["attn", "variable.other.member.peft"],
    ["expect", "keyword.other.peft"],
    ["12", "constant.numeric.peft"],
    ["// all", "comment.line.double-slash.peft"],
  ]);
  expect(scopeOf("train distil {", "train")).toBe("keyword.control.stage.peft");
  expect(scopeOf("train distil {", "distil")).toBe("entity.name.section.peft");
  expect(scopeOf("if a {", "if")).toBe("keyword.control.peft");
  expect(scopeOf("  shared frozen param vera_A: f32[rank]", "vera_A")).toBe("variable.other.declaration.peft");
  expect(scopeOf("  shared frozen param vera_A: f32[rank]", "f32")).toBe("support.type.peft");
  expect(scopeOf("  y := y + delta", ":=")).toBe("keyword.operator.rebind.peft");
  expect(scopeOf('  a = "in // it" ', '"in // it"')).toBe("string.quoted.double.peft");
});

test("in every program, comments and strings are what the lexer takes for them", () => {
  for (const [file, text] of specs)
    for (const line of text.split("\n")) {
      const comment = scopes(line).find(([, s]) => s.startsWith("comment"))?.[0];
      const at = line.replace(/"(?:[^"\\]|\\.)*"/g, (s) => "_".repeat(s.length)).indexOf("//");
      expect([file, comment]).toEqual([file, at < 0 ? undefined : line.slice(at)]);
    }
});
