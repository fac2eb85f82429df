/** From values of a kernel to statements: what is used once is written in place, loads and what is used more often get a name. */
import { Bug } from "../../ir/errors.ts";
import type { Index } from "../kernels/index.ts";
import { valuesOf } from "../kernels/index.ts";
import { dependence, type LoopLanguage, needed, type Store, usesOf, usesOfStore, type Value } from "../kernels/kernel.ts";
import { valueNames } from "../kernels/names.ts";
import type { Bindings } from "./bindings.ts";
import { atom, type Helpers, literal, spell, valueType, zeroOf } from "./spelling.ts";

/** Lines of a block, indented by two spaces a level. */
export class Lines {
  private readonly lines: string[] = [];
  private depth = 1;
  add(line: string): void {
    this.lines.push(line === "" ? "" : "  ".repeat(this.depth) + line);
  }
  /** `head {` ... `}` around what `body` adds. */
  block(head: string, body: () => void): void {
    this.add(`${head} {`);
    this.depth++;
    body();
    this.depth--;
    this.add("}");
  }
  text(): string {
    return this.lines.join("\n");
  }
}

/** What names mean at some place of the text. Inner scopes see the outer ones. */
export interface Names {
  /** The variable, or a number, of each axis that is bound. */
  readonly axes: ReadonlyMap<number, string>;
  /** Values already computed: a name, or an expression that may stand anywhere. */
  readonly values: Map<number, string>;
  /** Ends every name made here, so that copies of a value (the elements of a tile) differ. */
  readonly suffix: string;
}
export const names = (axes: ReadonlyMap<number, string>, outer?: Names, suffix = ""): Names => ({
  axes: new Map([...(outer?.axes ?? []), ...axes]),
  values: new Map(outer?.values ?? []),
  suffix: (outer?.suffix ?? "") + suffix,
});

/** Most characters of an expression that is written where it is used, whatever its values are called. */
const MAX_INLINE = 60;
const lengthOf = (text: string): number => text.replace(/[A-Za-z]\w*?_(?=\d)/g, "v").length;

/** The variable in which an invocation counts what it stores. */
export const counterOf = (operand: number): string => `counted_${operand}`;

export class Writer {
  private readonly dependence: readonly number[];
  constructor(
    private readonly kernel: LoopLanguage,
    private readonly bindings: Bindings,
    readonly helpers: Helpers,
  ) {
    this.dependence = dependence(kernel);
  }

  /** The expression of an index, an i32. */
  index(i: Index, n: Names): string {
    const parts: string[] = [];
    for (const { factor, atom: a } of i.terms) {
      let text: string;
      if (a.kind === "axis") text = n.axes.get(a.axis) ?? `axis${a.axis}`;
      else if (a.kind === "value") text = atom(n.values.get(a.value) ?? "");
      else text = `${atom(this.index(a.of, n))} ${a.kind === "div" ? "/" : "%"} ${a.by}`;
      if (/^\d+$/.test(text)) {
        parts.push(String(Number(text) * factor));
        continue;
      }
      const simple = a.kind === "axis" || a.kind === "value";
      parts.push(factor === 1 ? (simple ? text : `(${text})`) : `${factor} * ${simple ? atom(text) : `(${text})`}`);
    }
    if (i.base !== 0 || parts.length === 0) parts.push(String(i.base));
    return parts.join(" + ").replaceAll("+ -", "- ");
  }

  /**
   * Writes what `roots` need and `n` does not have. Afterwards `say` has the text of each. Loads are always statements, so that what is written in
   * place later never reads memory after a store. `named`: the roots get a name even if they are used once (they are used in a loop).
   */
  values(roots: readonly number[], n: Names, out: Lines, named = false): void {
    const { values } = this.kernel;
    const todo = needed(values, roots, new Set(n.values.keys()));
    const uses = new Map<number, number>();
    const inIndex = new Set<number>();
    for (const v of todo) {
      for (const u of usesOf(values[v])) uses.set(u, (uses.get(u) ?? 0) + 1);
      const value = values[v];
      if (value.kind === "index" || value.kind === "load") for (const u of valuesOf(value.index)) inIndex.add(u);
    }
    for (const r of roots) uses.set(r, (uses.get(r) ?? 0) + (named ? 2 : 1));
    const called = valueNames(this.kernel);
    for (const v of todo) {
      const value = values[v];
      const name = `${called[v]}${n.suffix}`;
      if (value.kind === "load") {
        n.values.set(v, this.load(value, name, n, out));
        continue;
      }
      const text = this.expression(value, n, out);
      const often = (uses.get(v) ?? 0) > 1;
      const trivial = /^-?[\w.]+$/.test(text) || value.kind === "const";
      if (trivial || (!often && lengthOf(text) <= MAX_INLINE && !inIndex.has(v))) n.values.set(v, text);
      else {
        out.add(`let ${name} = ${text};`);
        n.values.set(v, name);
      }
    }
  }

  /** Writes, before a loop over `axes` (a bit set), what `roots` need that does not change in it. */
  hoist(roots: readonly number[], axes: number, n: Names, out: Lines): void {
    const { values } = this.kernel;
    const reached = needed(values, roots, new Set(n.values.keys()));
    const still = (v: number) => (this.dependence[v] & axes) === 0 && values[v].kind !== "const";
    const changing = reached.filter((v) => !still(v));
    const used = new Set([...changing.flatMap((v) => usesOf(values[v])), ...roots]);
    this.values(
      reached.filter((v) => still(v) && used.has(v)),
      n,
      out,
      true,
    );
  }

  /** The text of a value that `values` has written. */
  say(v: number, n: Names): string {
    const text = n.values.get(v);
    if (text === undefined) throw new Bug(`value ${v} of ${this.kernel.name} is used before it is written`);
    return text;
  }

  private load(v: Value & { kind: "load" }, name: string, n: Names, out: Lines): string {
    const read = () => this.bindings.read(v.operand, this.index(v.index, n));
    const element = (text: string) => (v.dtype === "bool" ? `${text} != 0` : text);
    if (v.guard === undefined) out.add(`let ${name} = ${element(read())};`);
    else {
      out.add(`var ${name}: ${valueType(v.dtype)} = ${zeroOf(v.dtype)};`);
      out.add(`if (${this.say(v.guard, n)}) { ${name} = ${element(read())}; }`);
    }
    return name;
  }

  private expression(v: Value, n: Names, out: Lines): string {
    const { values } = this.kernel;
    switch (v.kind) {
      case "const":
        return literal(v.value, v.dtype, this.helpers);
      case "index":
        return this.index(v.index, n);
      case "call": {
        const last = values[v.args[v.args.length - 1]];
        const constant = last.kind === "const" ? last.value : undefined;
        let args = v.args.map((a) => this.say(a, n));
        // A power may be spelt with its base several times.
        if (v.fn === "pow" && !/^\w+$/.test(args[0])) {
          const base = `base${v.args[0]}${n.suffix}`;
          if (n.values.get(v.args[0]) !== base) {
            out.add(`let ${base} = ${this.say(v.args[0], n)};`);
            n.values.set(v.args[0], base);
          }
          args = [base, ...args.slice(1)];
        }
        // WGSL evaluates expressions of literals itself, and refuses those that overflow.
        if (v.args.every((a) => values[a].kind === "const")) {
          const first = `const${v.args[0]}${n.suffix}`;
          if (n.values.get(v.args[0]) !== first) {
            out.add(`var ${first}: ${valueType(values[v.args[0]].dtype)} = ${args[0]};`);
            n.values.set(v.args[0], first);
          }
          args = [first, ...args.slice(1)];
        }
        const same = v.args[0] === v.args[1];
        return spell(v.fn, { args, from: values[v.args[0]].dtype, to: v.dtype, same, constant }, this.helpers);
      }
      default:
        throw new Bug(`${this.kernel.name} uses a ${v.kind} value where none is known`);
    }
  }

  /** The operand that takes how many stored elements of `operand` are not 0, if they are counted. */
  private counted(operand: number): number | undefined {
    return this.kernel.counts?.find((c) => c.of === operand)?.into;
  }

  /** Writes the stores, what they need first. `when`: a condition for all of them. */
  stores(stores: readonly Store[], n: Names, out: Lines, when?: string): void {
    if (when !== undefined) {
      out.block(`if (${when})`, () => this.stores(stores, n, out));
      return;
    }
    this.values(stores.flatMap(usesOfStore), n, out);
    for (const s of stores) {
      const value = this.say(s.value, n);
      const dtype = this.kernel.values[s.value].dtype;
      const memory = dtype === "bool" ? `select(0, 1, ${value})` : value;
      const line = this.bindings.write(s.operand, this.index(s.index, n), memory);
      const counting = this.counted(s.operand) === undefined ? "" : ` ${counterOf(s.operand)} += select(0, 1, ${memory} != 0.0);`;
      out.add(s.guard === undefined ? line + counting : `if (${this.say(s.guard, n)}) { ${line}${counting} }`);
    }
  }
}
