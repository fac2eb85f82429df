/**
 * Every name that a declaration mentions must be known where it stands, whether or not anything ever evaluates it: a misspelt name in a
 * method that no stage uses is found too. What stands behind a dot depends on values and is checked when it is read.
 */

import type * as ast from "./ast.ts";
import { Fault } from "./elaborate/fault.ts";
import type { Unit } from "./elaborate/files.ts";
import { namesOfRole, roleFields } from "./elaborate/roles.ts";
import type { Scope } from "./elaborate/scope.ts";
import { capitalsOf, isTensorType } from "./elaborate/signature.ts";
import { parameterNames } from "./elaborate/storage.ts";
import { MethodDecl, ModuleDecl, RoleDecl, type Value } from "./elaborate/values.ts";
import { mostProblems } from "./limits.ts";
import { boundNames } from "./names.ts";
import type { Problem } from "./report/problem.ts";
import { didYouMean } from "./suggest.ts";

/**
 * Names that are known at a place: those of the text around it, and those added here. A block adds to its own as it goes, so that a long file
 * costs no more than its length.
 */
class Known {
  private readonly own = new Set<string>();
  constructor(private readonly outer?: Known | ReadonlySet<string>) {}
  has(name: string): boolean {
    return this.own.has(name) || (this.outer?.has(name) ?? false);
  }
  add(names: Iterable<string>): this {
    for (const n of names) this.own.add(n);
    return this;
  }
  /** What was added here, without what is around it. */
  added(): Iterable<string> {
    return this.own;
  }
  *all(): IterableIterator<string> {
    yield* this.own;
    if (this.outer instanceof Known) yield* this.outer.all();
    else if (this.outer) yield* this.outer;
  }
}
const nothing = new Known();
const types = new Set([
  "int",
  "float",
  "bool",
  "string",
  "record",
  "tokenizer",
  "attachment",
  "dataset",
  "method",
  "Parameter",
  "f32",
  "i32",
]);

/** Names that an expression uses and that are not known where it stands: `more` are known there beside those of the scope. */
export function unknownNames(expr: ast.Expr, scope: Scope, more: Iterable<string>): readonly Problem[] {
  const resolver = new Resolver(scope, new Set());
  resolver.expr(expr, new Known().add(more));
  return resolver.problems;
}

export function resolve(unit: Unit): readonly Problem[] {
  const top = unit.program.items.flatMap((i) =>
    i.kind === "Binding" || i.kind === "Model" || i.kind === "Attach" || i.kind === "If" || i.kind === "For" ? topNames(i) : [],
  );
  const resolver = new Resolver(unit.scope, new Set(top));
  for (const item of unit.program.items) resolver.item(item);
  return resolver.problems;
}

class Resolver {
  readonly problems: Problem[] = [];

  constructor(
    private readonly scope: Scope,
    /** Names that the file's statements bind. */
    private readonly top: ReadonlySet<string>,
  ) {}

  item(item: ast.Program["items"][number]): void {
    switch (item.kind) {
      case "Type":
      case "Role":
        for (const f of item.fields) {
          if (item.kind === "Type") this.type(f.type, nothing);
          this.expr(f.start, nothing);
        }
        break;
      case "Module": {
        const names = new Known().add(item.params.map((p) => p.name.text));
        for (const p of item.params) this.param(p, names);
        for (const f of item.fills) this.use(f.role, names);
        this.members(item.members, names);
        break;
      }
      case "Method":
        this.method(item);
        break;
      case "Function":
        this.fn(item, nothing);
        break;
    }
  }

  private outer(name: string): boolean {
    return this.top.has(name) || this.scope.find(name) !== undefined;
  }
  private report(name: ast.Name, known: Known): void {
    this.problems.push({
      code: "P0201",
      severity: "error",
      message: `unknown name \`${name.text}\``,
      span: name.span,
      label: "not known here",
      // of very many unknown names few are told, so the others need no search
      notes: this.problems.length < mostProblems ? didYouMean(name.text, [...known.all(), ...this.scope.names()]) : [],
    });
  }
  private use(name: ast.Name, known: Known): void {
    if (!known.has(name.text) && !this.outer(name.text) && name.text !== "_") this.report(name, known);
  }

  expr(x: unknown, known: Known): void {
    if (Array.isArray(x)) return x.forEach((y) => this.expr(y, known));
    if (x === null || typeof x !== "object") return;
    const e = x as ast.Expr | ast.Argument | ast.Spread | ast.IndexItem | ast.Entry | ast.Alternatives | ast.Step;
    switch (e.kind) {
      case "Name":
        return this.use(e, known);
      case "Member":
        return this.expr(e.object, known);
      case "Select":
        this.expr(e.object, known);
        return this.step(e.step, known);
      case "Named":
      case "Entry":
        return this.expr(e.value, known);
      case "Lambda":
        for (const p of e.params) this.param(p, known);
        return this.expr(
          e.body,
          with_(
            known,
            e.params.map((p) => p.name.text),
          ),
        );
      case "Comprehension": {
        this.expr(e.list, known);
        const inner = with_(
          known,
          e.names.map((n) => n.text),
        );
        this.expr(e.condition, inner);
        return this.expr(e.element, inner);
      }
      case "Call":
        // `x.f(a)` may be `f(x, a)`: what f is depends on x
        this.expr(e.callee.kind === "Member" ? e.callee.object : e.callee, known);
        return this.expr(e.args, known);
      default:
        for (const [k, v] of Object.entries(e)) if (k !== "span" && k !== "kind") this.expr(v, known);
    }
  }
  private step(s: ast.Step, known: Known): void {
    if (s.kind === "Deep" && s.role) this.use(s.role, known);
    if (s.kind === "Alternatives") for (const p of s.paths) for (const t of p) this.step(t, known);
  }
  private type(t: ast.TypeRef | undefined, known: Known): void {
    if (!t || t.kind === "FnType") return;
    if (t.kind === "ListType") return this.type(t.element, known);
    if (!types.has(t.name.text)) this.use(t.name, known);
    const inner = with_(known, capitalsOf([t]));
    for (const d of t.dims ?? []) if (d.kind !== "Rest") this.expr(d, inner);
  }
  private param(p: ast.Param, known: Known): void {
    this.type(p.type, known);
    this.expr(p.default, known);
  }

  /** Names that the statements bind come to be known behind each; gives what is known behind them all. */
  private statements(list: readonly ast.Statement[], around: Known): Known {
    const known = new Known(around);
    for (const s of list) known.add(this.statement(s, known));
    return known;
  }
  /** Looks through a statement and gives the names that it binds. */
  private statement(s: ast.Statement, known: Known): Iterable<string> {
    switch (s.kind) {
      case "Binding":
        this.expr(s.values, known);
        if (s.op === ":=" || s.targets.some((t) => t.names.length > 1)) for (const t of s.targets) this.use(t.names[0], known);
        return s.targets.map((t) => t.names[0].text);
      case "If":
        this.expr(s.condition, known);
        return [...this.statements(s.then, known).added(), ...(s.else ? this.statements(s.else, known).added() : [])];
      case "For": {
        this.expr(s.list, known);
        const names = s.names.map((n) => n.text);
        return [...names, ...this.statements(s.body, with_(known, names)).added()];
      }
      case "Attach":
        this.expr(s.value, known);
        this.expr(s.to, known);
        this.expr(s.expect, known);
        return [s.name.text];
      case "Model":
        this.expr(s.value, known);
        this.expr(s.from, known);
        return [s.name.text];
      case "Detach":
        this.expr(s.selection, known);
        return [];
      case "Require":
        this.expr(s.condition, known);
        return [];
      case "Stage":
        for (const f of s.settings) this.expr(f.value, with_(known, ["new"]));
        return s.name ? [s.name.text] : [];
    }
  }

  private fn(f: ast.Function | ast.Forward, known: Known): void {
    const capitals = capitalsOf([...f.params, ...(f.results ?? [])].map((p) => p.type));
    const inner = with_(
      with_(known, capitals),
      f.params.map((p) => p.name.text),
    );
    for (const p of [...f.params, ...(f.results ?? [])]) this.param(p, inner);
    if (Array.isArray(f.body)) {
      const after = this.statements(f.body as readonly ast.Statement[], inner);
      for (const r of f.results ?? [])
        if (!after.has(r.name.text))
          this.problems.push({
            code: "P0211",
            severity: "error",
            message: `the result \`${r.name.text}\` is never set`,
            span: r.name.span,
            label: "declared here",
          });
    } else this.expr(f.body, inner);
  }

  private members(list: readonly ast.Member[], known: Known): void {
    const own = new Known(known);
    for (const m of list) {
      if (m.kind === "Parameter" || m.kind === "Input") own.add([m.field.name.text]);
      if (m.kind === "State" || m.kind === "SharedChild" || m.kind === "Function" || m.kind === "Attach") own.add([m.name.text]);
      if (m.kind === "Input") own.add(capitalsOf([m.field.type]));
      if (
        m.kind !== "Parameter" &&
        m.kind !== "Input" &&
        m.kind !== "State" &&
        m.kind !== "SharedChild" &&
        m.kind !== "Function" &&
        m.kind !== "Forward"
      )
        own.add(boundNames(m));
    }
    for (const m of list) {
      if (m.kind === "Parameter" || m.kind === "Input") {
        this.type(m.field.type, own);
        this.expr(m.field.start, own);
      } else if (m.kind === "SharedChild") this.expr(m.value, own);
      else if (m.kind === "State") {
        this.type(m.type, own);
        this.expr(m.start, own);
      } else if (m.kind === "Function" || m.kind === "Forward") this.fn(m, own);
      else this.statement(m, own);
    }
  }

  private method(item: ast.Method): void {
    const site = this.siteNames(item);
    if (!site) return;
    const names = with_(new Known(site), ["site", "sites", "index", "module_name", ...item.params.map((p) => p.name.text)]);
    for (const p of item.params) this.param(p, names);
    for (const f of item.fills) this.use(f.role, names);
    this.members(item.members, names);
  }
  /** Names that the place of a method brings; `undefined` (and a problem) where what it is on is not known. */
  private siteNames(item: ast.Method): Set<string> | undefined {
    const on = item.on.kind === "ListType" ? item.on.element : item.on;
    if (on.kind !== "NamedType") return new Set();
    if (on.name.text === "Parameter" && !this.outer("Parameter")) return new Set(parameterNames);
    if (!this.outer(on.name.text)) {
      this.report(on.name, new Known().add(["Parameter"]));
      return undefined;
    }
    const decl = this.declared(on.name);
    if (!(decl instanceof RoleDecl) && !(decl instanceof ModuleDecl) && !(decl instanceof MethodDecl)) {
      this.problems.push({
        code: "P0301",
        severity: "error",
        message: `a method goes on a role, a module, another method or Parameter; \`${on.name.text}\` is none of them`,
        span: on.name.span,
      });
      return undefined;
    }
    const out = new Set(namesOfRole(decl));
    if (item.on.kind === "ListType") out.add("blocks");
    if (decl instanceof RoleDecl)
      for (const { field } of roleFields(decl)) {
        for (const c of capitalsOf([field.type])) out.add(c);
        if (isTensorType(field.type)) for (const d of field.type.dims) if (d.kind === "Name") out.add(d.text);
      }
    if (decl instanceof ModuleDecl)
      for (const m of decl.decl.members)
        if (m.kind === "Forward") for (const c of capitalsOf([...m.params, ...m.results].map((p) => p.type))) out.add(c);
    if (decl instanceof MethodDecl) for (const n of this.siteNames(decl.decl) ?? []) out.add(n);
    return out;
  }
  /** What a name stands for that somebody declared; `undefined` for one that has a value only in a run. */
  private declared(name: ast.Name): Value | undefined {
    try {
      return this.scope.find(name.text)!(this.scope.here);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      return undefined;
    }
  }
}

const topNames = (s: ast.Statement): string[] =>
  s.kind === "Model" || s.kind === "Attach"
    ? [s.name.text]
    : s.kind === "If"
      ? [...s.then, ...(s.else ?? [])].flatMap(topNames)
      : s.kind === "For"
        ? [...s.names.map((n) => n.text), ...s.body.flatMap(topNames)]
        : s.kind === "Stage" && s.name
          ? [s.name.text]
          : boundNames(s);
const with_ = (known: Known, names: Iterable<string>): Known => new Known(known).add(names);
