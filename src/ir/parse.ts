/**
 * Reads the text of `print.ts`. It builds what the text says, types included, and checks no more than that it can be read: `verify` does
 * the rest. Throws `Malformed` with the line.
 */

import { LOOP_TYPE, makeArg } from "./build.ts";
import { addDim, type Dim, mulDim, symbol } from "./dim.ts";
import { Malformed } from "./errors.ts";
import {
  type Attr,
  type Attrs,
  type Body,
  type DType,
  type Graph,
  type Iteration,
  type Node,
  node,
  type Origin,
  type Result,
  type Type,
} from "./graph.ts";

type Token = {
  readonly kind: "value" | "string" | "number" | "word" | "mark" | "path" | "line";
  readonly text: string;
  readonly line: number;
};

const LEXER =
  /(?<value>%\w+)|(?<string>"(?:[^"\\]|\\.)*")|(?<number>-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Infinity))|(?<path>@ .*)|(?<word>[^\s,:=()[\]{}*+"/@-][^\s,:=()[\]{}*+"/]*)|(?<mark>[:=()[\]{},*+/-])|(?<line>\n)|(?<space>[^\S\n]+)/gy;

function tokens(text: string): Token[] {
  const out: Token[] = [];
  let line = 1;
  let at = 0;
  for (const m of text.matchAll(LEXER)) {
    const [kind, found] = Object.entries(m.groups!).find(([, v]) => v !== undefined)!;
    at = m.index + m[0].length;
    if (kind !== "space") out.push({ kind: kind as Token["kind"], text: found, line });
    if (kind === "line") line++;
  }
  if (at !== text.length) throw fault(line, `cannot read ${JSON.stringify(text.slice(at, at + 20))}`);
  out.push({ kind: "line", text: "end", line });
  return out;
}

const fault = (line: number, why: string): Malformed => new Malformed(`line ${line}: ${why}`);

/** Inverse of `print` (but for places in the source). */
export function parse(text: string): Graph {
  return new Reader(tokens(text)).graph();
}

type Names = Map<string, Node>;

class Reader {
  private at = 0;
  constructor(private readonly tokens: readonly Token[]) {}

  graph(): Graph {
    const names: Names = new Map();
    const results: Result[] = [];
    for (;;) {
      this.blank();
      const t = this.peek();
      if (t.text === "end") return { results };
      if (t.kind === "value") {
        this.statement(names);
        continue;
      }
      const role = this.take("word");
      if (role !== "output" && role !== "param" && role !== "state") throw fault(t.line, `expected a node or a result, not ${role}`);
      const name = JSON.parse(this.take("string")) as string;
      this.mark("=");
      results.push({ role, name, node: this.value(names) });
    }
  }

  // ---- tokens

  private peek(): Token {
    return this.tokens[this.at];
  }
  private take(kind: Token["kind"]): string {
    const t = this.peek();
    if (t.kind !== kind) throw fault(t.line, `expected a ${kind}, not ${JSON.stringify(t.text)}`);
    this.at++;
    return t.text;
  }
  private maybe(text: string): boolean {
    const t = this.peek();
    if (t.kind === "string" || t.text !== text) return false;
    this.at++;
    return true;
  }
  private mark(text: string): void {
    const t = this.peek();
    if (!this.maybe(text)) throw fault(t.line, `expected ${text}, not ${JSON.stringify(t.text)}`);
  }
  private blank(): void {
    while (this.peek().kind === "line" && this.peek().text !== "end") this.at++;
  }
  private list<T>(open: string, close: string, item: () => T): T[] {
    const out: T[] = [];
    this.mark(open);
    while (!this.maybe(close)) {
      if (out.length) this.mark(",");
      out.push(item());
    }
    return out;
  }
  private integer(): number {
    return Number(this.take("number"));
  }

  // ---- nodes

  private value(names: Names): Node {
    const { line } = this.peek();
    const name = this.take("value");
    const n = names.get(name);
    if (!n) throw fault(line, `${name} is not defined yet`);
    return n;
  }

  private statement(names: Names): void {
    const name = this.take("value");
    this.mark("=");
    const op = this.take("word");
    if (this.maybe("carried")) {
      names.set(name, this.loop(op, names));
      return;
    }
    const inputs = this.peek().text === "(" ? this.list("(", ")", () => this.value(names)) : [];
    const attrs = this.peek().text === "{" ? this.attrs() : {};
    this.mark(":");
    const type = this.type();
    names.set(name, node(op, inputs, attrs, type, this.origin()));
  }

  private loop(op: string, names: Names): Node {
    const carried = this.list("(", ")", () => this.value(names));
    this.mark("given");
    const given = this.list("(", ")", () => this.value(names));
    const sliced = this.maybe("sliced") ? this.list("(", ")", () => this.integer()) : undefined;
    const attrs = this.peekAttrs() ? this.attrs() : {};
    this.mark("{");
    const origin = this.origin();
    const bodies: Body[] = [];
    this.blank();
    while (this.maybe("body")) {
      bodies.push(this.body());
      this.blank();
    }
    this.mark("iterations");
    const iterations: { body: number; args: number[] }[] = [];
    while (this.peek().kind === "number") iterations.push({ body: this.integer(), args: this.list("(", ")", () => this.integer()) });
    this.blank();
    this.mark("}");
    return node(op, [...carried, ...given], attrs, LOOP_TYPE, origin, {
      carried: carried.length,
      bodies,
      iterations,
      ...(sliced ? { sliced } : {}),
    });
  }

  private body(): Body {
    this.integer();
    const names: Names = new Map();
    const params = this.list("(", ")", () => {
      const name = this.take("value");
      this.mark(":");
      return [name, this.type()] as const;
    }).map(([name, type], index) => {
      const n = makeArg(index, type, { path: "" });
      names.set(name, n);
      return n;
    });
    this.mark("{");
    this.blank();
    while (this.peek().kind === "value") {
      this.statement(names);
      this.blank();
    }
    this.mark("carry");
    const carry = this.list("(", ")", () => this.value(names));
    this.mark("export");
    const exported = this.list("(", ")", () => this.value(names));
    this.blank();
    this.mark("}");
    return { params, results: [...carry, ...exported] };
  }

  private type(): Type {
    const { line } = this.peek();
    const dtype = this.take("word");
    if (dtype !== "f32" && dtype !== "i32" && dtype !== "bool") throw fault(line, `there is no dtype ${dtype}`);
    return { dtype: dtype satisfies DType, shape: this.list("[", "]", () => this.dim()) };
  }

  private origin(): Origin {
    const half = this.maybe("backward") ? { half: "backward" as const } : {};
    const iteration = this.maybe("iteration") ? this.list("(", ")", () => this.iteration())[0] : undefined;
    const path = this.peek().kind === "path" ? this.take("path").slice(2) : "";
    return iteration ? { path, iteration, ...half } : { path, ...half };
  }
  private iteration(): Iteration {
    const loop = JSON.parse(this.take("string")) as string;
    const iteration = this.integer();
    this.mark("/");
    const of = this.integer();
    return this.maybe("in") ? { loop, iteration, of, outer: this.iteration() } : { loop, iteration, of };
  }

  // ---- attributes

  /** Whether attributes follow, rather than a block: `{`, a name, `:`. */
  private peekAttrs(): boolean {
    return this.peek().text === "{" && this.tokens[this.at + 1].kind === "word" && this.tokens[this.at + 2].text === ":";
  }

  private attrs(): Attrs {
    return Object.fromEntries(
      this.list("{", "}", () => {
        const key = this.take("word");
        this.mark(":");
        return [key, this.attr()];
      }),
    );
  }
  private attr(): Attr {
    const t = this.peek();
    if (t.text === "[" && t.kind === "mark") return this.list("[", "]", () => this.element()) as Attr;
    return this.element();
  }
  private element(): string | boolean | Dim {
    if (this.peek().kind === "string") return JSON.parse(this.take("string")) as string;
    if (this.maybe("true")) return true;
    if (this.maybe("false")) return false;
    return this.dim();
  }

  /** `2 * S * B + 3 - T`; a number alone may be any number, also NaN. */
  private dim(): Dim {
    if (this.maybe("NaN")) return Number.NaN;
    let sum = this.product();
    for (;;) {
      if (this.maybe("+")) sum = addDim(sum, this.product());
      else if (this.maybe("-")) sum = addDim(sum, this.product(), -1);
      else return sum;
    }
  }
  private product(): Dim {
    if (this.maybe("-")) return mulDim(-1, this.product());
    let out = this.factor();
    while (this.maybe("*")) out = mulDim(out, this.factor());
    return out;
  }
  private factor(): Dim {
    return this.peek().kind === "number" ? this.integer() : symbol(this.take("word"));
  }
}
