/**
 * Every name that a declaration mentions must be known where it stands, whether or not anything ever evaluates it: a misspelt name in a
 * method that no stage uses is found too. What stands behind a dot depends on values and is checked when it is read.
 */

import type * as ast from "./ast.ts";
import { Fault } from "./elaborate/fault.ts";
import type { Unit } from "./elaborate/files.ts";
import { namesOfRole, roleFields } from "./elaborate/roles.ts";
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

export function resolve(unit: Unit): Problem[] {
  const problems: Problem[] = [];
  const top = new Set(
    unit.program.items.flatMap((i) =>
      i.kind === "Binding" || i.kind === "Model" || i.kind === "Attach" || i.kind === "If" || i.kind === "For" ? topNames(i) : [],
    ),
  );
  const outer = (name: string): boolean => top.has(name) || unit.scope.find(name) !== undefined;

  const report = (name: ast.Name, known: Known): void => {
    problems.push({
      code: "P0201",
      severity: "error",
      message: `unknown name \`${name.text}\``,
      span: name.span,
      label: "not known here",
      // of very many unknown names few are told, so the others need no search
      notes: problems.length < mostProblems ? didYouMean(name.text, [...known.all(), ...unit.scope.names()]) : [],
    });
  };
  const use = (name: ast.Name, known: Known): void => {
    if (!known.has(name.text) && !outer(name.text) && name.text !== "_") report(name, known);
  };

  const expr = (x: unknown, known: Known): void => {
    if (Array.isArray(x)) return x.forEach((y) => expr(y, known));
    if (x === null || typeof x !== "object") return;
    const e = x as ast.Expr | ast.Argument | ast.Spread | ast.IndexItem | ast.Entry | ast.Alternatives | ast.Step;
    switch (e.kind) {
      case "Name":
        return use(e, known);
      case "Member":
        return expr(e.object, known);
      case "Select":
        expr(e.object, known);
        return step(e.step, known);
      case "Named":
      case "Entry":
        return expr(e.value, known);
      case "Lambda":
        for (const p of e.params) param(p, known);
        return expr(
          e.body,
          with_(
            known,
            e.params.map((p) => p.name.text),
          ),
        );
      case "Comprehension": {
        expr(e.list, known);
        const inner = with_(
          known,
          e.names.map((n) => n.text),
        );
        expr(e.condition, inner);
        return expr(e.element, inner);
      }
      case "Call":
        // `x.f(a)` may be `f(x, a)`: what f is depends on x
        expr(e.callee.kind === "Member" ? e.callee.object : e.callee, known);
        return expr(e.args, known);
      default:
        for (const [k, v] of Object.entries(e)) if (k !== "span" && k !== "kind") expr(v, known);
    }
  };
  const step = (s: ast.Step, known: Known): void => {
    if (s.kind === "Deep" && s.role) use(s.role, known);
    if (s.kind === "Alternatives") for (const p of s.paths) for (const t of p) step(t, known);
  };
  const type = (t: ast.TypeRef | undefined, known: Known): void => {
    if (!t || t.kind === "FnType") return;
    if (t.kind === "ListType") return type(t.element, known);
    if (!types.has(t.name.text)) use(t.name, known);
    const inner = with_(known, capitalsOf([t]));
    for (const d of t.dims ?? []) if (d.kind !== "Rest") expr(d, inner);
  };
  const param = (p: ast.Param, known: Known): void => {
    type(p.type, known);
    expr(p.default, known);
  };

  /** Names that the statements bind come to be known behind each; gives what is known behind them all. */
  const statements = (list: readonly ast.Statement[], outer: Known): Known => {
    const known = new Known(outer);
    for (const s of list) known.add(statement(s, known));
    return known;
  };
  /** Looks through a statement and gives the names that it binds. */
  const statement = (s: ast.Statement, known: Known): Iterable<string> => {
    switch (s.kind) {
      case "Binding":
        expr(s.values, known);
        if (s.op === ":=" || s.targets.some((t) => t.names.length > 1)) for (const t of s.targets) use(t.names[0], known);
        return s.targets.map((t) => t.names[0].text);
      case "If":
        expr(s.condition, known);
        return [...statements(s.then, known).added(), ...(s.else ? statements(s.else, known).added() : [])];
      case "For": {
        expr(s.list, known);
        const names = s.names.map((n) => n.text);
        return [...names, ...statements(s.body, with_(known, names)).added()];
      }
      case "Attach":
        expr(s.value, known);
        expr(s.to, known);
        expr(s.expect, known);
        return [s.name.text];
      case "Model":
        expr(s.value, known);
        expr(s.from, known);
        return [s.name.text];
      case "Detach":
        expr(s.selection, known);
        return [];
      case "Require":
        expr(s.condition, known);
        return [];
      case "Stage":
        for (const f of s.settings) expr(f.value, with_(known, ["new"]));
        return s.name ? [s.name.text] : [];
    }
  };

  const fn = (f: ast.Function | ast.Forward, known: Known): void => {
    const capitals = capitalsOf([...f.params, ...(f.results ?? [])].map((p) => p.type));
    const inner = with_(
      with_(known, capitals),
      f.params.map((p) => p.name.text),
    );
    for (const p of [...f.params, ...(f.results ?? [])]) param(p, inner);
    if (Array.isArray(f.body)) {
      const after = statements(f.body as readonly ast.Statement[], inner);
      for (const r of f.results ?? [])
        if (!after.has(r.name.text))
          problems.push({
            code: "P0211",
            severity: "error",
            message: `the result \`${r.name.text}\` is never set`,
            span: r.name.span,
            label: "declared here",
          });
    } else expr(f.body, inner);
  };

  const members = (list: readonly ast.Member[], known: Known): void => {
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
        type(m.field.type, own);
        expr(m.field.start, own);
      } else if (m.kind === "SharedChild") expr(m.value, own);
      else if (m.kind === "State") {
        type(m.type, own);
        expr(m.start, own);
      } else if (m.kind === "Function" || m.kind === "Forward") fn(m, own);
      else statement(m, own);
    }
  };

  for (const item of unit.program.items) {
    switch (item.kind) {
      case "Type":
      case "Role":
        for (const f of item.fields) {
          if (item.kind === "Type") type(f.type, nothing);
          expr(f.start, nothing);
        }
        break;
      case "Module": {
        const names = new Known().add(item.params.map((p) => p.name.text));
        for (const p of item.params) param(p, names);
        for (const f of item.fills) use(f.role, names);
        members(item.members, names);
        break;
      }
      case "Method":
        method(item);
        break;
      case "Function":
        fn(item, nothing);
        break;
    }
  }

  function method(item: ast.Method): void {
    const site = siteNames(item);
    if (!site) return;
    const names = with_(new Known(site), ["site", "sites", "index", "module_name", ...item.params.map((p) => p.name.text)]);
    for (const p of item.params) param(p, names);
    for (const f of item.fills) use(f.role, names);
    members(item.members, names);
  }
  /** Names that the place of a method brings; `undefined` (and a problem) where what it is on is not known. */
  function siteNames(item: ast.Method): Set<string> | undefined {
    const on = item.on.kind === "ListType" ? item.on.element : item.on;
    if (on.kind !== "NamedType") return new Set();
    if (on.name.text === "Parameter" && !outer("Parameter")) return new Set(parameterNames);
    if (!outer(on.name.text)) {
      report(on.name, new Known().add(["Parameter"]));
      return undefined;
    }
    const decl = declared(on.name);
    if (!(decl instanceof RoleDecl) && !(decl instanceof ModuleDecl) && !(decl instanceof MethodDecl)) {
      problems.push({
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
    if (decl instanceof MethodDecl) for (const n of siteNames(decl.decl) ?? []) out.add(n);
    return out;
  }
  /** What a name stands for that somebody declared; `undefined` for one that has a value only in a run. */
  function declared(name: ast.Name): Value | undefined {
    try {
      return unit.scope.find(name.text)!(unit.scope.here);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      return undefined;
    }
  }
  return problems;
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
