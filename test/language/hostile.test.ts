/** Programs that ask for work without an end, or for names that every object has: each is an error with its place, in little time. */

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { compile, type Overrides } from "../../src/compiler/compile.ts";
import { limits, mostProblems } from "../../src/compiler/limits.ts";
import type { Host } from "../../src/compiler/project.ts";
import { parse } from "../../src/compiler/read/parse.ts";
import { openWorkspace } from "../../src/node/workspace.ts";

const folder = new URL("../corpus/lang/", import.meta.url).pathname;
const small = { ...limits, steps: 100_000, depth: 250 };
const host = openWorkspace(folder).sources;

const errors = (file: string, h: Host = host, overrides: Overrides = { limits: small }) =>
  compile(file, h, overrides).problems.filter((p) => p.severity === "error");
const text = (source: string, overrides: Overrides = { limits: small }) => errors("text.peft", host.with("text.peft", source), overrides);

/** The first error of each program of the corpus; `none`: it is sound. */
const expected: Readonly<Record<string, string>> = {
  comp_blow: "P0002",
  factors_huge: "P0403",
  import_cycle_a: "P0214",
  import_cycle_b: "P0214",
  import_self: "P0214",
  list_double: "P0002",
  method_on_loss: "P0301",
  range_1e10: "P0002",
  range_1e9: "P0002",
  range_float: "P0002",
  rec_default: "P0002",
  rec_fib: "P0002",
  rec_fn: "P0002",
  rec_fn2: "P0002",
  rec_fn_count: "P0002",
  rec_lambda: "P0002",
  rec_method: "P0002",
  rec_module: "P0002",
  rec_module_forward: "P0002",
  rec_type2: "P0002",
  rec_y: "P0002",
  scatter_upper_huge: "P0002",
  share_tree: "none",
  stage_proto: "P0219",
  string_double: "P0002",
  unit_proto: "P0104",
  word_constructor: "P0105",
};

test.each(readdirSync(folder).filter((f) => f.endsWith(".peft")))("%s", (file) => {
  const [first] = errors(file);
  expect(first?.code ?? "none").toBe(expected[file.replace(".peft", "")]);
  if (first !== undefined) expect(first.span).toBeDefined();
});

describe("budgets", () => {
  test("steps end compiling at once, and say where", () => {
    const found = text("a = [[x * y for y in 0..1000] for x in 0..1000]");
    expect(found.map((p) => p.code)).toEqual(["P0002"]);
    expect(found[0].label).toBe("this is where they ran out");
  });
  test("without a bound the same file compiles", () => {
    expect(text("a = [x for x in 0..2000]", { limits: { ...limits, steps: 10 } })).toHaveLength(1);
    expect(text("a = [x for x in 0..2000]", { limits })).toEqual([]);
  });
  test("a list, a text, a source and a comparison of shared lists", () => {
    expect(text("a = 0..50", { limits: { ...limits, items: 49 } })[0].code).toBe("P0002");
    expect(text('a = "abcd" + "efgh"', { limits: { ...limits, text: 7 } })[0].code).toBe("P0002");
    expect(text('a = "abcd"', { limits: { ...limits, source: 5 } })[0].code).toBe("P0002");
    const doubling = Array.from({ length: 40 }, (_, i) => `a${i + 1} = [a${i}, a${i}]\nb${i + 1} = [b${i}, b${i}]`).join("\n");
    expect(text(`a0 = [1]\nb0 = [1]\n${doubling}\nc = a40 == b40`)[0].code).toBe("P0002");
  });
  test("attachments in a loop", () => {
    const source = `import { Linear } from "std/nn"
import { LoRA } from "std/methods/lora"
module N() { l = Linear(2, 2) forward(x: f32[B, 2]) -> y: f32[B, 2] { y = l(x) } }
model n = N()
for i in 0..100000 { attach x = LoRA(rank: 1) to n.l }`;
    expect(text(source)[0].code).toBe("P0002");
  });
  test("a row of imports", () => {
    const chain = Array.from({ length: 8 }, (_, i) => [`c${i}.peft`, `import { a } from "c${i + 1}"\nb = a\na = 1`] as const);
    const sources = chain.reduce((h, [name, source]) => h.with(name, source), host).with("c8.peft", "a = 1");
    expect(errors("c0.peft", sources)).toEqual([]);
    expect(errors("c0.peft", sources, { limits: { ...small, imports: 4 } })[0].code).toBe("P0002");
  });
  test("compiling can be called off", () => {
    const found = text("a = [[x for x in 0..1000] for y in 0..1000]", { limits, cancelled: () => true });
    expect(found.map((p) => p.code)).toEqual(["P0003"]);
  });
  test("thousands of bindings, backward and forward", () => {
    const n = 4000;
    const rows = Array.from({ length: n }, (_, i) => ` a${i + 1} = a${i}`).join("\n");
    expect(text(`a0 = 1\n${rows}`, { limits })).toEqual([]);
    const source = `module M() { forward(x: f32[B]) -> y: f32[B] {\n a0 = x\n${rows}\n y = a${n}\n} }
model m = M()
module Ob(m: M) { forward(x: f32[B]) -> loss: f32[] { loss = mean(m(x)) } }
evaluate { objective = Ob(m) data = jsonl("d.jsonl", columns: ["x"]) metrics = [] batch = 1 }`;
    expect(text(source)[0].code).toBe("P0002");
  }, 60_000);
  test("nearly equal names of a megabyte, and thousands of mistakes", () => {
    const long = `a${"x".repeat(1_000_000)}`;
    expect(text(`${long} = 1\nb = ${long}y`)[0].code).toBe("P0201");
    const many = text(Array.from({ length: 1000 }, (_, i) => `a${i} = b${i}`).join("\n"));
    expect(many).toHaveLength(mostProblems + 1);
    expect(many.at(-1)!.code).toBe("P0005");
    expect(parse(Array.from({ length: 500 }, () => "foo bar").join("\n"), "x").problems.length).toBeLessThanOrEqual(mostProblems + 1);
  });
});

test("what a host throws is a diagnostic that is marked as ours, and the file stays as it is", () => {
  const broken: Host = Object.assign(Object.create(host), {
    readConfig() {
      throw new TypeError("x is not a function");
    },
  });
  const source =
    'import { GPT2LMHeadModel } from "std/models/gpt2"\nmodel m = GPT2LMHeadModel from "somewhere"\nunknown = nothing_of_this_name';
  Object.assign(broken, { readSource: (p: string) => (p === "text.peft" ? source : host.readSource(p)) });
  const found = errors("text.peft", broken);
  expect(found.map((p) => p.code)).toEqual(["P0004", "P0201"]);
  const ours = errors(
    "text.peft",
    Object.assign(broken, {
      readSource: (p: string) => (p === "text.peft" ? source.split("\n").slice(0, 2).join("\n") : host.readSource(p)),
    }),
  )[0];
  expect(ours.code).toBe("P0004");
  expect(ours.notes?.[0]).toMatch(/a mistake of peftc, not yours/);
});

describe("real files", () => {
  const at = mkdtempSync(path.join(tmpdir(), "peftc-hostile-"));
  const real = openWorkspace(at).sources;
  test("a pipe as an import, a name with a null, a file that imports itself through a link", () => {
    mkdirSync(path.join(at, "x"), { recursive: true });
    if (process.platform !== "win32") {
      execFileSync("mkfifo", [path.join(at, "pipe.peft")]);
      writeFileSync(path.join(at, "a.peft"), 'import { b } from "pipe"\nc = b');
      expect(errors("a.peft", real)[0]).toMatchObject({ code: "P0688", span: { file: "a.peft" } });
      symlinkSync("self.peft", path.join(at, "other.peft"));
      writeFileSync(path.join(at, "self.peft"), 'import { b } from "other"\nb = 1');
      expect(errors("self.peft", real)[0].code).toBe("P0214");
    }
    writeFileSync(path.join(at, "n.peft"), 'import { b } from "x\\u{0}y"\nc = b');
    expect(errors("n.peft", real)[0]).toMatchObject({ code: "P0684", span: { file: "n.peft" } });
  });
});

describe("numbers that cannot be", () => {
  const model = new URL("../../specs/examples/models/tiny-gpt2", import.meta.url).pathname;
  const program = (fields: string, of = model) => `import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRA } from "std/methods/lora"
import { causal_lm } from "std/objectives"
model gpt2 = GPT2LMHeadModel from "${of}"
attach lora = LoRA(rank: 2, dropout: 0.1) to gpt2.transformer.h[0].attn.c_attn
train { objective = causal_lm(gpt2) data = text("x.txt") sequence = 8 batch = 1 ${fields} }`;
  test.each([
    ["steps = 1000000000000000000", "P0206"],
    ["steps = 2 evaluate = { every: 0 }", "P0206"],
    ["steps = 2 evaluate = { stop_after: 0 }", "P0206"],
    ["steps = 2 checkpoint = { keep: 0 }", "P0206"],
    ["steps = 2 checkpoint = { every: 0.5 }", "P0206"],
  ])("%s", (fields, code) => expect(text(program(fields), {})[0].code).toBe(code));
  test("a dropout of 2, a negative one", () => {
    for (const p of ["2", "-0.5"]) {
      const [first] = text(program("steps = 2").replace("dropout: 0.1", `dropout: ${p}`), {});
      expect(first.code).toBe("P0217");
      // what is wrong is the option, not the configuration of the model that it is attached to
      expect(first.notes).toEqual([`\`dropout\` is ${p} there`]);
      expect(first.related?.at(-1)).toMatchObject({ label: "attached here" });
    }
  });
  test("a field within a field of config.json is named by its path", () => {
    const at = mkdtempSync(path.join(tmpdir(), "peftc-config-"));
    const rope = { rope_type: "frobnicate", rope_theta: 10000, factor: 2 };
    const sizes = { hidden_size: 8, num_attention_heads: 2, num_hidden_layers: 1, intermediate_size: 8, vocab_size: 9 };
    writeFileSync(path.join(at, "config.json"), JSON.stringify({ model_type: "llama", ...sizes, rope_parameters: rope }));
    const llama = `import { LlamaForCausalLM } from "std/models/llama"\nmodel m = LlamaForCausalLM from "${at}" except **\nrequire count(m) > 0, "-"\n`;
    const [first] = errors("text.peft", openWorkspace(at).sources.with("text.peft", llama), {});
    expect(first.notes?.[0]).toContain('.rope_type` is "frobnicate" in');
  });
  test("a module is named by what it is", () => {
    const [first] = text(program("steps = 2").replaceAll("causal_lm", "classification"), {});
    expect(first.message).toContain("must be a Classifier, the module gpt2 (GPT2LMHeadModel) is not");
  });
  test("a wrong number in config.json is named with its key", () => {
    const at = mkdtempSync(path.join(tmpdir(), "peftc-config-"));
    for (const name of readdirSync(model)) symlinkSync(path.join(model, name), path.join(at, name === "config.json" ? "was.json" : name));
    const config = JSON.parse(readFileSync(path.join(model, "config.json"), "utf8"));
    for (const [key, value] of [
      ["n_layer", 1e9],
      ["attn_pdrop", 7],
      ["activation_function", "constructor"],
    ] as const) {
      writeFileSync(path.join(at, "config.json"), JSON.stringify({ ...config, [key]: value }));
      const [first] = errors("text.peft", openWorkspace(at).sources.with("text.peft", program("steps = 2", at)), {});
      expect(first.notes?.join("\n")).toContain(`\`${key}\` is ${JSON.stringify(value)} in`);
      expect(first.related?.some((r) => r.span.file === "text.peft")).toBe(true);
    }
  });
});
