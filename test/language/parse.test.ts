import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type * as ast from "../../src/compiler/ast.ts";
import { parse } from "../../src/compiler/read/parse.ts";
import { bare, soup, specs, spoilt } from "./support.ts";

/** The tree of an expression, without places. */
function expr(text: string): unknown {
  const { program, problems } = parse(`it = ${text}`, "t.peft");
  expect(problems).toEqual([]);
  expect(program.items).toHaveLength(1);
  return bare((program.items[0] as ast.Binding).values[0]);
}
const item = (text: string): unknown => {
  const { program, problems } = parse(text, "t.peft");
  expect(problems).toEqual([]);
  expect(program.items).toHaveLength(1);
  return bare(program.items[0]);
};
/** A tree of an expression as one line, with every grouping shown. */
function show(text: string): string {
  const { program, problems } = parse(`it = ${text}`, "t.peft");
  expect(problems).toEqual([]);
  const step = (s: ast.Step): string =>
    s.kind === "Child"
      ? s.name.text
      : s.kind === "Any"
        ? "*"
        : s.kind === "Deep"
          ? `**${s.role ? `:${s.role.text}` : ""}`
          : `{${s.paths.map((p) => p.map(step).join(".")).join(",")}}`;
  const of = (e: ast.Expr): string => {
    switch (e.kind) {
      case "Number":
        return `${e.value}`;
      case "Name":
        return e.text;
      case "Unary":
        return `(${e.op} ${of(e.operand)})`;
      case "Binary":
      case "Compare":
      case "Logic":
        return `(${of(e.left)} ${e.op} ${of(e.right)})`;
      case "Default":
        return `(${of(e.left)} ?? ${of(e.right)})`;
      case "Except":
        return `(${of(e.left)} except ${of(e.right)})`;
      case "Range":
        return `(${of(e.start)} .. ${e.end ? of(e.end) : ""})`;
      case "Conditional":
        return `(if ${of(e.condition)} then ${of(e.then)} else ${of(e.else)})`;
      case "Lambda":
        return `(fn ${e.params.map((p) => p.name.text).join(" ")} => ${of(e.body)})`;
      case "Member":
        return `${of(e.object)}.${e.name.text}`;
      case "Select":
        return `${e.object ? `${of(e.object)}.` : ""}${step(e.step)}`;
      case "Call":
        return `${of(e.callee)}(${e.args.map((a) => (a.kind === "Named" ? `${a.name.text}: ` : a.kind === "Spread" ? "..." : "") + of(a.value)).join(", ")})`;
      case "Index":
        return `${of(e.object)}[${e.items.map((i) => (i.kind === "At" ? of(i.value) : i.kind === "Slice" ? [i.start, i.stop, i.step].map((x) => (x ? of(x) : "")).join(":") : i.kind === "Star" ? "*" : "...")).join(", ")}]`;
      default:
        return e.kind;
    }
  };
  return of((program.items[0] as ast.Binding).values[0]);
}

describe("the programs", () => {
  test.each([...specs])("%s is read without a word", (file, text) => {
    const { program, problems } = parse(text, file);
    expect(problems).toEqual([]);
    expect(program.items.length).toBeGreaterThan(0);
  });

  test("every name's place holds its text, and every node lies in the one around it", () => {
    let names = 0;
    const wrong: unknown[] = [];
    const walk = (node: unknown, text: string, start: number, end: number): void => {
      if (Array.isArray(node)) for (const n of node) walk(n, text, start, end);
      if (node === null || typeof node !== "object" || Array.isArray(node)) return;
      const { span, kind } = node as { span?: { start: number; end: number }; kind?: string };
      if (span) {
        if (span.start < start || span.end > end || span.end < span.start) wrong.push(node);
        if (kind === "Name") {
          names++;
          const written = text.slice(span.start, span.end);
          // a quoted key of a record is a name too
          if (![written, written.slice(1, -1)].includes((node as ast.Name).text)) wrong.push(node);
        }
      }
      for (const [k, v] of Object.entries(node)) if (k !== "span") walk(v, text, span?.start ?? start, span?.end ?? end);
    };
    for (const [file, text] of specs) walk(parse(text, file).program, text, 0, text.length);
    expect(wrong).toEqual([]);
    expect(names).toBeGreaterThan(5000);
  });
});

describe("expressions", () => {
  test.each([
    ["a + b * c ** -d ** 2", "(a + (b * (c ** (- (d ** 2)))))"],
    ["-a ** 2", "(- (a ** 2))"],
    ["a - b - c", "((a - b) - c)"],
    ["a @ b.T / c % d", "(((a @ b.T) / c) % d)"],
    ["not a == b and c or d", "(((not (a == b)) and c) or d)"],
    ["a ?? b ?? c", "((a ?? b) ?? c)"],
    ["0..n - 1", "(0 .. (n - 1))"],
    ["if a then b else if c then d else e ?? f", "(if a then b else (if c then d else (e ?? f)))"],
    ["fn(t, n) => t / n", "(fn t n => (t / n))"],
    ["x[:, none, 1:-1, ..., ::2][*][2..][i]", "x[::, None, 1:(- 1):, ..., ::2][*][(2 .. )][i]"],
    ["m.**.{query, a.*.{b, c}}", "m.**.{query,a.*.{b,c}}"],
    ["m.**: Linear.act", "m.**:Linear.act"],
    ["f(m.**: Linear, to: 2, ...rest)", "f(m.**:Linear, to: 2, ...rest)"],
    ["mlp.0.12.in.weight[0]", "mlp.0.12.in.weight[0]"],
    ["a except **.b except c", "((a except **.b) except c)"],
    ["2 ** 3 * x ** 2", "((2 ** 3) * (x ** 2))"],
    ["f(a)(b).c[d]", "f(a)(b).c[d]"],
  ])("%s", (text, shown) => {
    expect(show(text)).toBe(shown);
  });

  test("numbers carry their unit", () => {
    expect(expr("256MB")).toEqual({ kind: "Number", value: 256e6, unit: "MB", isInt: true });
    expect(expr("2KiB")).toMatchObject({ value: 2048 });
    expect(expr("1.5h")).toMatchObject({ value: 5400 });
    expect(expr("20_000")).toEqual({ kind: "Number", value: 20000, isInt: true });
    expect(expr("1e3")).toEqual({ kind: "Number", value: 1000, isInt: false });
    expect(expr("2e-3")).toMatchObject({ value: 0.002, isInt: false });
  });
  test("strings resolve their escapes", () => {
    expect(expr(String.raw`"a\n\t\"\\\u{1F600} é//"`)).toEqual({ kind: "String", value: 'a\n\t"\\😀 é//' });
  });
  test("lists, comprehensions and records", () => {
    expect(expr("[1, ...xs, ]")).toMatchObject({ kind: "List", items: [{ kind: "Number" }, { kind: "Spread", value: { text: "xs" } }] });
    expect(expr("[s.a for i, s in enumerate(xs) if i > 0]")).toMatchObject({
      kind: "Comprehension",
      names: [{ text: "i" }, { text: "s" }],
      list: { kind: "Call" },
      condition: { kind: "Compare", op: ">" },
    });
    expect(expr('{ a: 1, "b-c": 2, ...d }')).toMatchObject({
      entries: [{ kind: "Entry", key: { text: "a" } }, { key: { text: "b-c" } }, { kind: "Spread" }],
    });
    expect(expr("{}")).toEqual({ kind: "Record", entries: [] });
  });
});

describe("declarations and statements", () => {
  test("imports, with other names", () => {
    expect(item('import { a, b as c } from "std/nn"')).toEqual({
      kind: "Import",
      names: [
        { kind: "ImportName", name: { kind: "Name", text: "a" } },
        { kind: "ImportName", name: { kind: "Name", text: "b" }, as: { kind: "Name", text: "c" } },
      ],
      from: { kind: "String", value: "std/nn" },
    });
  });
  test("a method with members of every kind", () => {
    const method = item(`method M(a: int = 8, b: [fn]?, c) on [Block] as Delta(x: z.y), R {
      param p: f32[a, ..., 2 * n] = 0   frozen param q: f32[]   shared param r: f32[1]   shared frozen param s: f32[1]
      shared wide = Linear(1, 2)
      state m = 0
      state n: i32[] = 1
      input grid: f32[B, P]
      fn f(x) = x
      forward(x: f32[B]) -> y: f32[B], z { y = x }
      shared = 3
      state = 4
      input, frozen = f(x)
      y.grad := y + 1
    }`) as ast.Method;
    expect(method).toMatchObject({
      params: [
        { name: { text: "a" }, type: { kind: "NamedType", name: { text: "int" }, optional: false }, default: { value: 8 } },
        { name: { text: "b" }, type: { kind: "ListType", element: { kind: "FnType" }, optional: true } },
        { name: { text: "c" } },
      ],
      on: { kind: "ListType", element: { name: { text: "Block" } } },
      fills: [
        { role: { text: "Delta" }, names: [{ name: { text: "x" }, path: { names: [{ text: "z" }, { text: "y" }] } }] },
        { role: { text: "R" }, names: [] },
      ],
    });
    expect(method.members.map((m) => m.kind)).toEqual(
      "Parameter Parameter Parameter Parameter SharedChild State State Input Function Forward Binding Binding Binding Binding".split(" "),
    );
    expect(method.members.slice(0, 4)).toMatchObject([
      { shared: false, frozen: false, field: { type: { dims: [{ text: "a" }, { kind: "Rest" }, { kind: "Binary" }] } } },
      { shared: false, frozen: true, field: { type: { dims: [] } } },
      { shared: true, frozen: false },
      { shared: true, frozen: true },
    ]);
    expect(method.members[12]).toMatchObject({ targets: [{ names: [{ text: "input" }] }, { names: [{ text: "frozen" }] }], op: "=" });
    expect(method.members[13]).toMatchObject({ targets: [{ names: [{ text: "y" }, { text: "grad" }] }], op: ":=" });
  });
  test("soft words are names where a name may stand, and words where they are", () => {
    const { program, problems } = parse(
      'model = 1\nmodel m = A from b\nfrom = 2\nattach x = y to z\nexpect = 3\nattach x = y to z expect 4\nrequire a == b, "why"\nrequire = 5\nmodel { to = 1 }\ntrain model { on = 2  ...rest }',
      "t",
    );
    expect(problems).toEqual([]);
    expect(program.items.map((i) => i.kind)).toEqual("Binding Model Binding Attach Binding Attach Require Binding Stage Stage".split(" "));
    expect(bare(program.items[1])).toMatchObject({ value: { text: "A" }, from: { text: "b" } });
    expect(bare(program.items[5])).toMatchObject({ expect: { value: 4 } });
    expect(bare(program.items[9])).toMatchObject({
      verb: { text: "train" },
      name: { text: "model" },
      settings: [{ kind: "Setting" }, { kind: "Spread" }],
    });
  });
  test("if, else if, else", () => {
    const tree = item("if a { b = 1 } else if c { } else { d = 2 }") as ast.If;
    expect(tree.then.map((s) => s.kind)).toEqual(["Binding"]);
    const [inner] = tree.else as ast.If[];
    expect([tree.else?.length, inner.kind, inner.then.length, inner.else?.length]).toEqual([1, "If", 0, 1]);
  });
});

describe("whatever the text, reading ends with a tree and problems", () => {
  const holds = (text: string) => {
    const { program, problems } = parse(text, "t");
    expect(program.kind).toBe("Program");
    for (const p of problems) {
      expect(p.code).toMatch(/^P01\d\d$/);
      expect(p.message).not.toBe("");
      expect(p.span!.start).toBeGreaterThanOrEqual(0);
      expect(p.span!.end).toBeLessThanOrEqual(text.length);
    }
    // a tree is the text only if nothing is wrong with it
    if (problems.length === 0 && program.items.length === 0) expect(text.replace(/\/\/[^\n\r]*/g, "").trim()).toBe("");
  };
  test("any characters", () => {
    fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 60 }), holds), { numRuns: 150 });
  });
  test("any words", () => {
    fc.assert(fc.property(soup, holds), { numRuns: 250 });
  });
  test("spoilt programs", () => {
    fc.assert(fc.property(spoilt, holds), { numRuns: 120 });
  });
  test("any depth", () => {
    const n = 3000;
    for (const [head, part, tail] of [
      ["a = ", "(", ""],
      ["a = ", "[", ""],
      ["a = ", "{ a: ", ""],
      ["a = ", "f(", ""],
      ["a = ", "-", "1"],
      ["a = ", "not ", "b"],
      ["a = b", ".c", ""],
      ["a = b", " + c", ""],
      ["a = b", " ** c", ""],
      ["a = b", ".{c", ""],
      ["a = ", "if b then c else ", "d"],
      ["a = ", "fn(x) => ", "x"],
      ["", "if a { ", ""],
      ["", "if a { } else ", "{ }"],
      ["", "module A() {", ""],
      ["type T { a: ", "[", "int"],
    ]) {
      const { problems } = parse(head + part.repeat(n) + tail, "t");
      expect(problems.some((p) => p.code === "P0116" || p.code === "P0106" || p.code === "P0113")).toBe(true);
    }
    // and what people write is far from it
    expect(parse(`a = ${"f([x + (".repeat(9)}1${")])".repeat(9)}`, "t").problems).toEqual([]);
  });
});
