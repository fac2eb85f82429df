import type { Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import { attach } from "./attach.ts";
import { Attachment, type Site } from "./attachment.ts";
import type { Elaborator } from "./elaborator.ts";
import { bindNames, evaluate } from "./expressions.ts";
import { Fault, fail } from "./fault.ts";
import { fromJson, makeModel } from "./models.ts";
import { betweenStages } from "./numbers.ts";
import { fixed, type Read, type Scope } from "./scope.ts";
import { selectionOf } from "./select.ts";
import { overridden } from "./settings.ts";
import { stage } from "./stages.ts";
import { Applied, describe, Loaded, MethodDecl, ModuleDecl, type Place, Selection, type Value } from "./values.ts";

/** Runs the statements of the main file in order. A mistake ends its statement; names it would have made are then known to be broken. */
export class Run {
  readonly variables = new Map<string, Read>();
  private readonly broken = new Set<string>();
  private readonly iterations: number[] = [];

  constructor(
    private readonly e: Elaborator,
    private scope: Scope,
  ) {}
  useScope(scope: Scope): void {
    this.scope = scope;
  }

  all(statements: readonly ast.Statement[]): void {
    for (const s of statements) this.one(s);
  }

  private one(s: ast.Statement): void {
    const ok = this.tolerant(() => this.run(s));
    if (!ok) for (const n of namesOf(s)) this.broken.add(n);
  }

  /** Errors that only follow from an earlier one are not repeated. */
  private tolerant(work: () => void): boolean {
    let follows = false;
    const ok = this.e.collect(() => {
      try {
        work();
      } catch (err) {
        if (!(err instanceof Fault)) throw err;
        const [first, ...rest] = [err, ...err.beside].filter((fault) => !this.isBroken(fault));
        follows = first === undefined;
        if (first === err && rest.length === err.beside.length) throw err;
        if (first !== undefined) throw new Fault(first.problem, first.follows, rest);
      }
    });
    return ok && !follows;
  }
  private isBroken({ problem: { code, message } }: Fault): boolean {
    return code === "P0201" && this.broken.has(/^unknown name `(.*)`$/s.exec(message)?.[1] ?? "");
  }

  private set(name: ast.Name, value: Value): void {
    this.broken.delete(name.text);
    this.variables.set(name.text, fixed(value));
  }

  private run(s: ast.Statement): void {
    switch (s.kind) {
      case "Model":
        return this.set(s.name, makeModel(this.e, s, this.scope));
      case "Attach":
        return this.set(s.name, this.attach(s));
      case "Detach": {
        const sel = selectionOf(this.e, s.selection, this.scope);
        let n = 0;
        for (const p of sel.places)
          if (p.kind === "site") {
            p.site.detached = true;
            n++;
          }
        if (n === 0 && sel.places.length > 0) fail("P0304", s.selection.span, "`detach` takes attachments, or sites of them");
        return;
      }
      case "Require":
        return this.e.require(s, this.scope, s.span);
      case "Stage":
        return this.stage(s);
      case "If": {
        const branch = this.e.condition(s.condition, this.scope) ? s.then : s.else;
        return this.all(branch ?? []);
      }
      case "For": {
        const list = this.e.elements(evaluate(this.e, s.list, this.scope), s.list.span);
        list.forEach((item, i) => {
          this.e.work.spend(1, s.span);
          for (const [n, r] of bindNames(this.e, s.names, item, s.list)) this.variables.set(n, r);
          this.iterations.push(i);
          this.all(s.body);
          this.iterations.pop();
        });
        return;
      }
      case "Binding":
        return this.bind(s);
    }
  }

  private bind(s: ast.Binding): void {
    if (s.op === ":=")
      fail("P0502", s.span, "`:=` rebinds a name of a model inside a method", { notes: ["at the top of a file names are set with `=`"] });
    const values =
      s.values.length === s.targets.length
        ? s.values.map((v) => betweenStages(this.e, v.span, () => evaluate(this.e, v, this.scope)))
        : this.e.elements(evaluate(this.e, s.values[0], this.scope), s.values[0].span);
    if (values.length !== s.targets.length) fail("P0213", s.span, `${values.length} values for ${s.targets.length} names`);
    s.targets.forEach((t, i) => {
      if (t.names.length !== 1) fail("P0502", t.span, "only a name can be set");
      this.e.objectives.name(values[i], t.names[0].text);
      this.set(t.names[0], values[i]);
    });
  }

  private attach(s: ast.Attach): Value {
    const to = selectionOf(this.e, s.to, this.scope);
    if (s.expect) {
      const n = evaluate(this.e, s.expect, this.scope);
      if (typeof n !== "number") fail("P0206", s.expect.span, `\`expect\` takes a number, this is ${describe(n)}`);
      if (n !== to.places.length)
        fail("P0313", s.to.span, `this selector matches ${to.places.length}, not ${n}`, {
          label: `${to.places.length} here`,
          related: [{ span: s.expect.span, label: "expected here" }],
        });
    }
    const value = evaluate(this.e, s.value, this.scope);
    const name = this.e.names.attachment(s.name.text);
    if (value instanceof Loaded) return this.e.attachLoaded(name, value, to, s.span);
    if (value instanceof Attachment) return copyAttachment(this.e, name, value, to, s);
    const applied = value instanceof MethodDecl ? new Applied(value, [], this.scope, s.value.span) : value;
    if (!(applied instanceof Applied))
      fail(
        "P0206",
        s.value.span,
        `a method is wanted here, this is ${describe(value)}`,
        value instanceof ModuleDecl ? { notes: [`${value.name} is a module`] } : {},
      );
    return attach(this.e, name, this.withOptions(applied, s.name.text, s.value.span), to, s.span);
  }

  /** Options of this attachment that are set from outside (`lora.rank=4`). */
  private withOptions(applied: Applied, name: string, span: Span): Applied {
    let out: Value = applied;
    for (const [key, v] of Object.entries(this.e.overrides.set ?? {})) {
      const [of, ...path] = key.split(".");
      if (of === name && path.length > 0) out = overridden(this.e, out, path, fromJson(v), span);
    }
    return out as Applied;
  }

  private stage(s: ast.Stage): void {
    const result = stage(this.e, s, this.scope, this.iterations);
    if (s.name && result !== undefined) this.set(s.name, result);
  }
}

/** `attach b = a to other.**`: a's method, options and values at places that correspond by path. */
function copyAttachment(e: Elaborator, name: string, a: Attachment, to: Selection, s: ast.Attach): Attachment {
  const values = new Map([...e.optionsGiven(a.applied)].map(([k, v]) => [k, v.value]));
  const places = to.places.filter((p): p is Place => p.kind === "module" || p.kind === "param");
  const made = attach(
    e,
    name,
    new Applied(a.applied.method, [], a.applied.scope, s.value.span, values),
    new Selection(places, to.text),
    s.span,
  );
  const copies: { from: string; to: string }[] = [];
  const tail = (site: Site) => site.path.split(".").slice(1).join(".");
  for (const site of made.sites) {
    const original = a.sites.find((x) => x.path === site.path) ?? a.sites.find((x) => tail(x) === tail(site));
    if (!original)
      fail("P0305", s.to.span, `\`${a.name}\` has no part at ${site.path}`, {
        notes: [
          `it is at: ${a.sites
            .slice(0, 4)
            .map((x) => x.path)
            .join(", ")}${a.sites.length > 4 ? ", …" : ""}`,
        ],
      });
    const others = new Map(site.parameters());
    for (const [n, from] of original.parameters()) {
      const t = others.get(n);
      if (!t) continue;
      t.source = { kind: "copy", of: from.name };
      copies.push({ from: from.name, to: t.name });
    }
  }
  e.actions.push({ kind: "copy", of: a.name, to: made.name, params: copies });
  return made;
}

const namesOf = (s: ast.Statement): string[] =>
  s.kind === "Model" || s.kind === "Attach"
    ? [s.name.text]
    : s.kind === "Binding"
      ? s.targets.map((t) => t.names[0].text)
      : s.kind === "Stage" && s.name
        ? [s.name.text]
        : s.kind === "For"
          ? s.body.flatMap(namesOf)
          : s.kind === "If"
            ? [...s.then, ...(s.else ?? [])].flatMap(namesOf)
            : [];
