/** The settings of a stage as they are written, checked against its fields. */
import type { Code } from "../../ground/codes.ts";
import type { Span } from "../../ir/graph.ts";
import { own } from "../../ir/own.ts";
import type * as ast from "../ast.ts";
import type { DatasetSpec, MetricSpec } from "../project.ts";
import { unknownNames } from "../resolve.ts";
import type { Elaborator } from "./elaborator.ts";
import { Fault, Faults, fail, failTogether } from "./fault.ts";
import { type Field, type FieldName, type Given, misfit, type Verb } from "./fields.ts";
import { Instance } from "./instance.ts";
import { fromJson } from "./models.ts";
import { betweenStages } from "./numbers.ts";
import type { Scope } from "./scope.ts";
import { Thunk } from "./thunk.ts";
import { Applied, Dataset, describe, Fields, MethodDecl, type Value } from "./values.ts";

/** What calls say of their arguments. */
const OF_CALLS: ReadonlySet<Code> = new Set<Code>(["P0203", "P0204", "P0205", "P0206"]);

/** The settings of a stage: expressions are kept, since some (`objective`, `params`) are evaluated inside the graph they make. */
export class Settings<V extends Verb = Verb> {
  readonly exprs = new Map<string, { value: () => Value; expr: ast.Expr | undefined; span: Span }>();

  constructor(
    readonly e: Elaborator,
    readonly statement: ast.Stage,
    readonly scope: Scope,
    readonly fields: Readonly<Record<string, Field>>,
    overrides: Readonly<Record<string, unknown>>,
  ) {
    for (const s of statement.settings) {
      if (s.kind === "Setting") {
        const read = () => e.evaluate(s.value, scope);
        // a report's are of the file itself, and computed once
        const settled =
          statement.verb.text === "report" ? new Thunk(() => betweenStages(e, s.value.span, read), s.name.text, s.span) : undefined;
        this.exprs.set(s.name.text, { value: settled === undefined ? read : () => settled.force(), expr: s.value, span: s.name.span });
      } else {
        const v = e.evaluate(s.value, scope);
        if (!(v instanceof Fields)) fail("P0206", s.span, `a record is spread into a stage, this is ${describe(v)}`);
        for (const [k, x] of v.entries) this.exprs.set(k, { value: () => x, expr: undefined, span: s.span });
      }
    }
    const { span } = statement.verb;
    for (const [path, v] of Object.entries(overrides)) {
      const [k, ...inner] = path.split(".");
      const before = this.exprs.get(k);
      const value = inner.length === 0 ? () => fromJson(v) : () => overridden(e, before?.value(), inner, fromJson(v), span);
      this.exprs.set(k, { value, expr: undefined, span });
    }
    const faults = new Faults();
    for (const [k, { span, value }] of this.exprs) faults.try(() => this.check(k, value, span));
    // the graph is not made where something is wrong already: what is called in its fields is looked at all the same
    if (faults.any)
      for (const [k, { value, expr }] of this.exprs)
        if (expr !== undefined && own(this.fields, k)?.kind.fits === "late") faults.try(value, OF_CALLS);
    faults.end();
  }
  private check(name: string, value: () => Value, span: Span): void {
    const verb = this.statement.verb.text;
    const field = own(this.fields, name) ?? this.unknown(name, `\`${verb}\``, this.fields, span, "unknown field");
    if (field.kind.fits === "late") return this.checkNames(name);
    const v = value();
    if (v === null) return;
    const wrong = misfit(field.kind, v, `\`${name}\``);
    if (wrong !== undefined) fail("P0206", span, wrong, { notes: field.kind.notes });
    const inner = field.kind.fields;
    if (inner === undefined || !(v instanceof Fields)) return;
    failTogether(
      [...v.entries].map(([key, value]) => () => {
        const { kind } = own(inner, key) ?? this.unknown(key, `\`${name}\``, inner, span);
        const wrong = value === null ? undefined : misfit(kind, value, `\`${key}\` of \`${name}\``);
        if (wrong !== undefined) fail("P0206", span, wrong, { notes: kind.notes });
      }),
    );
  }
  /** Of what is evaluated inside a graph only: the names in it. `watch` knows those of its objective. */
  private checkNames(name: string): void {
    const { expr } = this.exprs.get(name)!;
    if (expr === undefined || name === "watch") return;
    failTogether(
      unknownNames(expr, this.scope, ["new"]).map((problem) => () => {
        throw new Fault(problem);
      }),
    );
  }
  private unknown(name: string, of: string, fields: object, span: Span, label?: string): never {
    const known = Object.keys(fields);
    fail("P0203", span, `${of} has no field \`${name}\``, {
      label,
      notes: [...this.e.suggestions(name, known), `it has: ${known.join(", ")}`],
    });
  }
  get span(): Span {
    return this.statement.span;
  }
  has(name: string): boolean {
    return this.exprs.has(name);
  }
  spanOf(name: string): Span {
    return this.exprs.get(name)?.span ?? this.statement.span;
  }
  value(name: string): Value | undefined {
    return this.exprs.get(name)?.value();
  }
  need(name: string): Value {
    const v = this.value(name);
    if (v === undefined) fail("P0204", this.statement.verb.span, `\`${this.statement.verb.text}\` needs \`${name}\``);
    return v;
  }
  /** A field that was checked against its row; left out or `none`, what the row says. */
  private given<N extends FieldName<V>, T extends Value>(name: N): Given<V, N, T> {
    return (this.value(name) ?? own(this.fields, name)?.otherwise) as Given<V, N, T>;
  }
  number<N extends FieldName<V>>(name: N): Given<V, N, number> {
    return this.given<N, number>(name);
  }
  bool<N extends FieldName<V>>(name: N): Given<V, N, boolean> {
    return this.given<N, boolean>(name);
  }
  string<N extends FieldName<V>>(name: N): Given<V, N, string> {
    return this.given<N, string>(name);
  }
  strings(name: FieldName<V>): readonly string[] | undefined {
    const v = this.value(name) as string | readonly string[] | null | undefined;
    return typeof v === "string" ? [v] : (v ?? undefined);
  }
  /** A record that is a field: its own fields by name, with what the table says of those left out. */
  record(name: FieldName<V>): Readonly<Record<string, Value | undefined>> {
    const v = this.value(name) as Fields | null | undefined;
    const inner = own(this.fields, name)?.kind.fields ?? {};
    return Object.fromEntries(Object.entries(inner).map(([key, field]) => [key, v?.entries.get(key) ?? field.otherwise]));
  }
  dataset(name: string): DatasetSpec {
    const v = this.need(name);
    if (v instanceof Dataset) return v.spec;
    return fail("P0206", this.spanOf(name), `\`${name}\` must be one table of data here, this is ${describe(v)}`);
  }
  datasets(name: string): DatasetSpec[] {
    const v = this.need(name);
    return (Array.isArray(v) ? (v as readonly Dataset[]) : [v as Dataset]).map((table) => table.spec);
  }
  model(name: string): Instance {
    const v = this.need(name);
    if (!(v instanceof Instance) || v.owner.kind !== "model")
      fail("P0206", this.spanOf(name), `\`${name}\` must be a model, this is ${describe(v)}`);
    return v;
  }
}

/** A value with something inside it set from outside: a field of a record, an option of a method (`train.optimizer.lr`). */
export function overridden(e: Elaborator, value: Value | undefined, path: readonly string[], to: Value, span: Span): Value {
  const [name, ...inner] = path;
  const within = (v: Value | undefined): Value => (inner.length === 0 ? to : overridden(e, v, inner, to, span));
  const unknown = (of: string, names: readonly string[]) =>
    fail("P0203", span, `${of} has no \`${name}\`, which is set from outside`, {
      notes: [...e.suggestions(name, names), `it has: ${names.join(", ")}`],
    });
  // records that the file leaves out
  if (value === undefined) return new Fields(new Map([[name, within(undefined)]]));
  if (value instanceof Fields) {
    if (value.type && !value.entries.has(name)) unknown(value.type.name, [...value.entries.keys()]);
    return new Fields(new Map([...value.entries, [name, within(value.entries.get(name))]]), value.type);
  }
  const applied = value instanceof MethodDecl ? new Applied(value, [], value.scope, span) : value;
  if (applied instanceof Applied) {
    const names = applied.method.decl.params.map((p) => p.name.text);
    if (!names.includes(name)) unknown(applied.method.name, names);
    const given = e.optionsGiven(applied).get(name)?.value;
    return new Applied(applied.method, applied.args, applied.scope, applied.span, new Map([...applied.values, [name, within(given)]]));
  }
  fail("P0203", span, `\`${name}\` cannot be set from outside: it would lie in ${describe(value)}`, {
    notes: ["a field of a record and an option of a method can, as in `train.optimizer.lr=1e-3`"],
  });
}

/** Metrics by name, or called with options; the default where there are none. */
export function metricSpecs(e: Elaborator, v: Value | undefined, span: Span): MetricSpec[] {
  if (v === undefined || v === null) return [{ name: "loss", options: {} }];
  return (Array.isArray(v) ? (v as readonly Value[]) : [v]).map((m): MetricSpec => {
    if (typeof m === "string") return { name: m, options: {} };
    const name = m instanceof Fields ? m.entries.get("metric") : undefined;
    if (!(m instanceof Fields) || typeof name !== "string")
      return fail("P0206", span, `a metric is a name, or a call such as \`keyphrase_f1(at: [5])\`, this is ${describe(m)}`);
    const options = new Map([...m.entries].filter(([key]) => key !== "metric"));
    return { name, options: e.staticRecord(options) };
  });
}
