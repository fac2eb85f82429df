import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { parse } from "../../src/compiler/read/parse.ts";
import { problemJson } from "../../src/compiler/report/json.ts";
import { Lines, width } from "../../src/compiler/report/place.ts";
import type { Problem } from "../../src/compiler/report/problem.ts";
import { renderProblem, renderProblems, summary } from "../../src/compiler/report/render.ts";
import { didYouMean, distance, nearest } from "../../src/compiler/suggest.ts";
import { codes, families, family } from "../../src/ground/codes.ts";
import { specs, spoilt } from "./support.ts";

/** A problem whose span is the first place of `part` in `text`. */
const at = (text: string, part: string, more: Partial<Problem> = {}): Problem => {
  const start = text.indexOf(part);
  return {
    code: "P0312",
    severity: "error",
    message: "this selector matches nothing",
    span: { file: "f.peft", start, end: start + part.length },
    ...more,
  };
};
const show = (text: string, problem: Problem, options = {}) => renderProblem(problem, () => text, options);

describe("rendering", () => {
  test("a frame: code, place, line, carets, label, notes", () => {
    const text = "\n\n\n\n\n\nattach lora = LoRA(rank: 8) to gpt2.transformer.h[*].atn.c_attn\n";
    const problem = at(text, "atn", {
      label: "no child `atn` in GPT2Block",
      notes: ["GPT2Block has: ln_1, attn, ln_2, mlp", "did you mean `gpt2.transformer.h[*].attn.c_attn`? (12 matches)"],
    });
    expect(show(text, problem)).toBe(`error P0312: this selector matches nothing
  f.peft:7:54
 7 | attach lora = LoRA(rank: 8) to gpt2.transformer.h[*].atn.c_attn
   |                                                      ^^^ no child \`atn\` in GPT2Block
   = GPT2Block has: ln_1, attn, ln_2, mlp
   = did you mean \`gpt2.transformer.h[*].attn.c_attn\`? (12 matches)`);
  });

  test("other places: on the same line under it, elsewhere in a frame of their own", () => {
    const text = `${"\n".repeat(98)}a = (1\nb = (2 3\n`;
    const span = (part: string) => ({ file: "f.peft", start: text.indexOf(part), end: text.indexOf(part) + 1 });
    const problem = at(text, "3", {
      label: "here",
      related: [
        { span: span("(2"), label: "opened here" },
        { span: span("(1"), label: "and here" },
      ],
    });
    expect(show(text, problem)).toBe(`error P0312: this selector matches nothing
  f.peft:100:8
 100 | b = (2 3
     |        ^ here
     |     - opened here
  f.peft:99:5
  99 | a = (1
     |     - and here`);
  });

  test("tabs, wide letters and marks keep the carets in place; several lines are said", () => {
    const text = '\tx = "日本é" + y\nz';
    expect(show(text, at(text, "y"))).toContain('1 |   x = "日本é" + y\n   |                 ^ (to line 2)'.replace(" (to line 2)", ""));
    expect(show(text, at(text, "y\nz", { label: "all this" }))).toContain("^ all this (to line 2)");
  });

  test("a long line is cut around its carets", () => {
    const text = `it = ${"aaaa + ".repeat(60)}WRONG${" + bbbb".repeat(60)}`;
    const lines = show(text, at(text, "WRONG"), { width: 80 }).split("\n");
    expect(lines.every((l) => width(l) <= 80)).toBe(true);
    const from = lines[3].indexOf("^");
    expect(lines[2].slice(from, from + 5)).toBe("WRONG");
    expect(lines[2]).toMatch(/…aa.*bb.*…$/);
  });

  test("no place, no file, the end of a file", () => {
    const nowhere: Problem = { code: "P0901", severity: "warning", message: "much", span: undefined, notes: ["two\nlines"] };
    expect(show("", nowhere)).toBe("warning P0901: much\n   = two\n     lines");
    expect(renderProblem(at("x", "x", { label: "here" }), () => undefined)).toBe(
      "error P0312: this selector matches nothing\n  f.peft\n   | here",
    );
    const text = "a = (\n";
    expect(show(text, parse(text, "f.peft").problems[0])).toContain(" 1 | a = (\n   |      ^ the file ends here");
  });

  test("colours only where they are asked for, and nothing else by them", () => {
    const text = "a = 3 4";
    const problem = at(text, "4", { label: "here", notes: ["note"] });
    const coloured = show(text, problem, { color: true });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the escapes of terminals
    const escapes = /\u001b\[[0-9;]*m/g;
    expect(coloured).toMatch(escapes);
    expect(coloured.replace(escapes, "")).toBe(show(text, problem));
    expect(show(text, problem)).not.toMatch(escapes);
  });

  test("several with their count", () => {
    const text = "a = 3 4";
    const [error, warning] = [at(text, "4"), at(text, "3", { severity: "warning" })];
    expect(summary([error, warning, error])).toBe("2 errors, 1 warning");
    expect(summary([])).toBe("");
    expect(renderProblems([error, warning], () => text)).toBe(`${show(text, error)}\n\n${show(text, warning)}\n\n1 error, 1 warning`);
  });

  test("every problem of every spoilt program has a frame that holds together", () => {
    fc.assert(
      fc.property(spoilt, fc.boolean(), (text, narrow) => {
        const options = narrow ? { width: 60 } : {};
        for (const problem of parse(text, "f.peft").problems) {
          const lines = show(text, problem, options).split("\n");
          const rows = lines.filter((l) => /^ +\| +[\^-]/.test(l));
          if (rows.length < 1) throw new Error(lines.join("\n"));
          // what the carets mark is what the span says, on its first line
          const { start, end } = problem.span!;
          const marked = text.slice(start, end).split(/\r\n?|\n/)[0];
          const [code, carets] = [lines[2].slice(lines[2].indexOf("|") + 2), lines[3].slice(lines[3].indexOf("|") + 2)];
          const from = carets.indexOf("^");
          if (/^[ -~]*$/.test(text) && !narrow && marked.length < 40) {
            const seen = code.slice(from, from + Math.max(1, marked.length));
            if (seen.trim() !== marked.trim() && !code.includes("…")) throw new Error(`${seen} is not ${marked}`);
          }
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe("places", () => {
  test("lines and columns are those a naive count gives, for every kind of line end", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("a", "é", "日", "\n", "\r\n", "\t"), { maxLength: 30 }), (parts) => {
        const text = parts.join("");
        const lines = new Lines(text);
        for (let i = 0; i <= text.length; i++) {
          if (text[i - 1] === "\r" && text[i] === "\n") continue;
          const before = text.slice(0, i).split(/\r\n|\n/);
          expect(lines.position(i)).toEqual({ line: before.length, column: before[before.length - 1].length + 1 });
        }
      }),
    );
  });
});

describe("JSON", () => {
  test("has the shape it promises", () => {
    const text = "a = 1\nb = [2 3\n";
    const [problem] = parse(text, "f.peft").problems;
    expect(problemJson(problem, () => text)).toEqual({
      code: "P0105",
      family: "text",
      severity: "error",
      message: "`,` or `]` was expected",
      place: { file: "f.peft", start: 13, end: 14, line: 2, column: 8, endLine: 2, endColumn: 9 },
      label: "`3` stands here",
      related: [{ place: { file: "f.peft", start: 10, end: 11, line: 2, column: 5, endLine: 2, endColumn: 6 }, label: "opened here" }],
      notes: [],
    });
    expect(problemJson({ code: "P0901", severity: "error", message: "m", span: undefined }, () => text)).toMatchObject({
      place: null,
      label: null,
    });
    expect(problemJson(problem, () => undefined).place).toMatchObject({ start: 13, line: null });
  });
});

describe("codes", () => {
  test("every row is a sentence of a family", () => {
    for (const [code, text] of Object.entries(codes)) {
      expect(code).toMatch(/^P0\d{3}$/);
      expect(text).toMatch(/^[A-Z`].*\.$|\(a warning\)\.$/);
      expect(family(code)).not.toBe("");
    }
    expect(Object.keys(families)).toHaveLength(10);
  });
  test("each problem of reading is met by some text", () => {
    const texts = [
      "a = b $ c",
      'a = "x',
      'a = "\\q"',
      "a = 3mb",
      "a = [1 2]",
      "a = (1",
      "a = 1 2",
      "a = f(b = 1)",
      "train { a: 1 }",
      "a = b\n(c)",
      "a = b && c",
      "in = 3",
      "if a { param x: f32[] }",
      "a, b = 1, 2, 3",
      `a = ${"(".repeat(200)}`,
    ];
    const found = texts.map((t) => parse(t, "f").problems[0]?.code);
    expect(found).toEqual(
      Object.keys(codes)
        .filter((c) => c.startsWith("P01"))
        .sort(),
    );
  });
});

describe("did you mean", () => {
  test("words of other tools come before spelling, where the name is valid", () => {
    expect(nearest("lora_alpha", ["rank", "alpha", "lora_alphb"])).toBe("alpha");
    expect(nearest("r", ["rank", "alpha"])).toBe("rank");
    expect(nearest("per_device_train_batch_size", ["batch", "steps"])).toBe("batch");
    expect(nearest("num_train_epochs", ["batch", "epochs"])).toBe("epochs");
    expect(nearest("dropout", ["p", "size"])).toBe("p");
    expect(nearest("lora_alpha", ["rank", "size"])).toBeUndefined();
    expect(didYouMean("max_seq_length", ["sequence", "steps"])).toEqual([
      "did you mean `sequence`? It is what `max_seq_length` is called here",
    ]);
  });
  test("where no name will do, what is done instead", () => {
    expect(didYouMean("target_modules", ["rank", "alpha"])[0]).toContain("to model.path");
    expect(didYouMean("lr", ["batch", "steps"])[0]).toContain("optimizer = adamw(lr: …)");
    expect(didYouMean("stepz", ["batch", "steps"])).toEqual(["did you mean `steps`?"]);
    expect(didYouMean("zzz", ["batch", "steps"])).toEqual([]);
  });
  test("spelling: near ones only", () => {
    expect(nearest("atn", ["ln_1", "attn", "ln_2", "mlp"])).toBe("attn");
    expect(nearest("Gelu", ["gelu", "gelu_new", "relu"])).toBe("gelu");
    expect(nearest("querry", ["key", "query", "value"])).toBe("query");
    expect(nearest("transofrmer", ["transformer", "lm_head"])).toBe("transformer");
    expect(nearest("x", ["y", "z"])).toBeUndefined();
    expect(nearest("banana", ["query", "value"])).toBeUndefined();
  });
  test("distance is a metric on short words, and the limit only cuts", () => {
    const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 6 });
    fc.assert(
      fc.property(word, word, fc.nat(6), (a, b, limit) => {
        const d = distance(a, b);
        expect(d).toBe(distance(b, a));
        expect(d === 0).toBe(a === b);
        expect(distance(a, b, limit)).toBe(d > limit ? limit + 1 : d);
        expect(d).toBeLessThanOrEqual(Math.max(a.length, b.length));
      }),
    );
    expect(distance("abcd", "abdc")).toBe(1);
  });
  test("every field of a stage that the programs give is found from itself misspelt", () => {
    const fields = new Set([...specs.values()].flatMap((t) => [...t.matchAll(/^ {2,}([a-z_]+) += /gm)].map((m) => m[1])));
    for (const f of ["objective", "sequence", "optimizer", "schedule"]) {
      expect(fields.has(f)).toBe(true);
      expect(nearest(`${f.slice(0, 3)}${f.slice(4)}`, fields)).toBe(f);
    }
  });
});
