/** `grammar.ebnf` and the parser say the same: by the names of their productions, and by sentences drawn from the one and read by the other. */
import { readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { PeftParser } from "../../grammar/parser.ts";
import { lexer, lexerOf } from "../../grammar/tokens.ts";
import { cstTypes } from "../../scripts/cst-types.ts";

type Rule =
  | { kind: "literal"; text: string }
  | { kind: "ref"; text: string }
  | { kind: "choice"; parts: Rule[] }
  | { kind: "sequence"; parts: Rule[] }
  | { kind: "many"; part: Rule }
  | { kind: "maybe"; part: Rule };

const ebnf = readFileSync(new URL("../../grammar/grammar.ebnf", import.meta.url), "utf8");
const header = ebnf.slice(0, ebnf.indexOf("(* ── lexical"));

/** Reads the notation of the file. */
function productions(text: string): Map<string, Rule> {
  const tokens = [...text.replace(/\(\*[\s\S]*?\*\)/g, " ").matchAll(/"[^"]*"|[A-Za-z]+|[=;|()[\]{}]/g)].map((m) => m[0]);
  let at = 0;
  const choice = (): Rule => {
    const parts = [sequence()];
    while (tokens[at] === "|") {
      at++;
      parts.push(sequence());
    }
    return parts.length === 1 ? parts[0] : { kind: "choice", parts };
  };
  const bracket = (close: string): Rule => {
    at++;
    const inner = choice();
    if (tokens[at++] !== close) throw new Error(`${close} expected in grammar.ebnf`);
    return inner;
  };
  const sequence = (): Rule => {
    const parts: Rule[] = [];
    for (;;) {
      const t = tokens[at];
      if (t === "{") parts.push({ kind: "many", part: bracket("}") });
      else if (t === "[") parts.push({ kind: "maybe", part: bracket("]") });
      else if (t === "(") parts.push(bracket(")"));
      else if (t.startsWith('"')) parts.push({ kind: "literal", text: tokens[at++].slice(1, -1) });
      else if (/^[A-Za-z]/.test(t)) parts.push({ kind: "ref", text: tokens[at++] });
      else return { kind: "sequence", parts };
    }
  };
  const out = new Map<string, Rule>();
  while (at < tokens.length) {
    const name = tokens[at++];
    if (tokens[at++] !== "=") throw new Error(`= expected after ${name}`);
    out.set(name, choice());
    if (tokens[at++] !== ";") throw new Error(`; expected after ${name}`);
  }
  return out;
}

const rules = productions(ebnf);
// reading files, the parser does not look at its own grammar
const parser = new PeftParser(true);

test("every kind of token can be met", () => {
  expect(lexerOf(true).lexerDefinitionErrors).toEqual([]);
});

test("the parser has the productions of the grammar, and no others but the one for misplaced declarations", () => {
  const written = [...rules.keys()].filter((n) => n !== "Name" && n !== "AnyName").sort();
  expect(
    Object.keys(parser.getGAstProductions())
      .filter((n) => n !== "Misplaced")
      .sort(),
  ).toEqual(written);
});

test("the words of the grammar's first lines are those of the lexer", () => {
  const words = (label: string) =>
    [...header.matchAll(new RegExp(`${label}[^:]*:\\s*([a-z\\s]+)`, "g"))].flatMap((m) => m[1].trim().split(/\s+/)).sort();
  const ofLexer = (category: string) =>
    lexer
      .tokenize(["HARD", "SOFT"].flatMap(words).join(" "))
      .tokens.filter((t) => t.tokenType.CATEGORIES?.some((c) => c.name === category) && t.tokenType.name !== "Identifier")
      .map((t) => t.image)
      .sort();
  expect(words("HARD").length).toBeGreaterThan(20);
  expect(ofLexer("Hard")).toEqual(words("HARD"));
  expect(ofLexer("Name")).toEqual(words("SOFT"));
});

test("the types of the concrete tree are generated from this parser", () => {
  expect(readFileSync(new URL("../../grammar/cst.ts", import.meta.url), "utf8")).toBe(cstTypes());
});

const terminals: Record<string, string[]> = {
  NAME: ["a", "b1", "_", "Linear", "iff"],
  SOFT: ["from", "model", "state", "input"],
  HARD: ["in", "type", "if"],
  DIGITS: ["0", "12"],
  NUMBER: ["3", "1_000", "2.5e-3", "256MB"],
  STRING: ['"s"', '"a \\" b"'],
};

/** A sentence of the grammar; `choose(n)` gives numbers below n, and 0 once it has run dry. */
function sentence(choose: (n: number) => number): string[] {
  let budget = 120;
  const out: string[] = [];
  const cost = (r: Rule): number => {
    if (r.kind === "literal") return 1;
    if (r.kind === "ref") return terminals[r.text] ? 1 : 2;
    if (r.kind === "many" || r.kind === "maybe") return 0;
    return r.kind === "choice" ? Math.min(...r.parts.map(cost)) : r.parts.reduce((n, p) => n + cost(p), 0);
  };
  const run = (r: Rule): void => {
    budget--;
    if (r.kind === "literal") out.push(r.text);
    else if (r.kind === "ref") {
      const words = terminals[r.text];
      if (words) out.push(words[choose(words.length)]);
      // of a name's spellings soft words are ambiguous by design in some places, which the other tests look at
      else if (r.text === "Name") out.push(terminals.NAME[choose(terminals.NAME.length)]);
      else run(rules.get(r.text)!);
    } else if (r.kind === "sequence") r.parts.forEach(run);
    else if (r.kind === "choice") {
      if (budget > 0) run(r.parts[choose(r.parts.length)]);
      else run(leastDeep(r.parts));
    } else if (budget > 0) {
      const times = r.kind === "maybe" ? choose(2) : choose(3);
      for (let i = 0; i < times; i++) run(r.part);
    }
  };
  const leastDeep = (parts: Rule[]): Rule => {
    const depth = (r: Rule, seen: string[]): number => {
      if (r.kind === "ref") {
        if (terminals[r.text] || r.text === "Name") return 0;
        return seen.includes(r.text) ? 1000 : 1 + depth(rules.get(r.text)!, [...seen, r.text]);
      }
      if (r.kind === "choice") return Math.min(...r.parts.map((p) => depth(p, seen)));
      if (r.kind === "sequence") return Math.max(0, ...r.parts.map((p) => depth(p, seen)));
      return 0;
    };
    return [...parts].sort((a, b) => depth(a, []) - depth(b, []) || cost(a) - cost(b))[0];
  };
  run(rules.get("Item")!);
  return out;
}

test("sentences drawn from the grammar are read without a word of complaint", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1000), { minLength: 1, maxLength: 200 }), (choices) => {
      let i = 0;
      const text = sentence((n) => (i < choices.length ? choices[i++] % n : 0))
        .join(" ")
        .replaceAll(" . ", ".");
      parser.read(lexer.tokenize(text).tokens);
      const trouble = [...parser.errors.map((e) => `${e.message}: ${e.token.image}`), ...parser.notes.map((n) => n.kind)];
      if (trouble.length > 0) throw new Error(`${text}\n${trouble.join("\n")}`);
    }),
    { numRuns: 400, seed: 7 },
  );
});
