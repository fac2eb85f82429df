import { leavesOf } from "../../ground/json.ts";
import type { Node, Span } from "../../ir/graph.ts";
import { InputError, Limit } from "../../ir/graph.ts";
import { keyOf } from "../../ir/random.ts";
import type * as ast from "../ast.ts";
import type { Limits } from "../limits.ts";
import type { Action, AdapterFile, Host, ModelReport, NumberSource, Static } from "../project.ts";
import type { Problem } from "../report/problem.ts";
import { didYouMean } from "../suggest.ts";
import { ambient } from "./ambient.ts";
import { Attachment, type Site } from "./attachment.ts";
import { type Context, context } from "./context.ts";
import { evaluate } from "./expressions.ts";
import { Fault, fail, reading } from "./fault.ts";
import { Files, joinPath, type Unit } from "./files.ts";
import { Instance } from "./instance.ts";
import { attachLoaded } from "./load.ts";
import { member } from "./members.ts";
import { mergeModel } from "./merge.ts";
import type { MethodFrame, MethodLine } from "./method-frame.ts";
import { modelOf } from "./model-of.ts";
import { lateNumber } from "./numbers.ts";
import { Objectives } from "./objectives.ts";
import { type OptionsGiven, optionsGiven } from "./options.ts";
import { ordinalOf } from "./ordinals.ts";
import { OwnNames } from "./own-names.ts";
import { readLoss, readStorage } from "./read-storage.ts";
import { recordFor } from "./records.ts";
import { roleCapital } from "./role-capital.ts";
import { fillings, fillingsOf } from "./roles.ts";
import type { Evaluator, Here, Read, Scope } from "./scope.ts";
import { staticValue } from "./static-values.ts";
import type { Storage } from "./storage.ts";
import { isTensor, toNode } from "./tensors.ts";
import {
  type Applied,
  Chain,
  Closure,
  describe,
  type Fields,
  type Loaded,
  type ModuleDecl,
  type Place,
  type RoleDecl,
  Selection,
  Tokenizer,
  type TypeDecl,
  type Value,
} from "./values.ts";
import { type Edit, Editable } from "./versions.ts";
import { Grow, Stopped, unexpected, Work } from "./work.ts";

/** Values set from outside (`--set train.steps=10`): they win over what the file says. */
export interface Overrides {
  /** Rows of a model's embedding tables, by its name: an adapter that is loaded has so many. */
  readonly vocabulary?: Readonly<Record<string, number>> | undefined;
  readonly seed?: number | undefined;
  readonly set?: Readonly<Record<string, Static>> | undefined;
  /** A model that is used as if nothing were attached to it. */
  readonly unattached?: string | undefined;
  /** Other bounds on the work than `limits.ts` has. */
  readonly limits?: Limits | undefined;
  /** Asked now and then while compiling: true calls it off (P0003). */
  readonly cancelled?: () => boolean;
}

/** Everything that elaborating one file knows. What to do with each piece of syntax stands in the files beside this one. */
export class Elaborator implements Evaluator {
  readonly problems: Problem[] = [];
  readonly attachments: Attachment[] = [];
  readonly models: { name: string; instance: Instance; report: ModelReport }[] = [];
  readonly actions: Action[] = [];
  /** Configurations of folders that models were made of. */
  readonly configs: { readonly folder: string; readonly fields: Readonly<Record<string, unknown>>; readonly span: Span }[] = [];
  /** The run's loss, as methods rebind it. */
  readonly loss = new Editable();
  readonly objectives = new Objectives(this);
  readonly names = new OwnNames(this);
  readonly files: Files;
  readonly work: Work;
  /** States that stages change, with the stage that one belongs to alone. */
  readonly stageStates = new Map<string, { storage: Storage; stage: string | undefined }>();
  /** Methods that say something of the update of a stage, where they say it. */
  readonly heard = new Set<ast.Method>();
  /** Parameters that any graph reads, by name. */
  readonly used = new Map<string, Storage>();
  /** Parameters that a stage so far trains. */
  readonly trained = new Set<Storage>();
  /** Merged models that no `model` statement has named yet. */
  readonly merges = new Map<Instance, { readonly source: Instance; readonly span: Span }>();
  private readonly tokenizers = new Map<string, Tokenizer>();
  /** Initial values of parameters that a graph asks for by `.init`. */
  readonly initials = new Map<string, Storage>();

  constructor(
    readonly host: Host,
    readonly main: string,
    readonly overrides: Overrides,
  ) {
    this.work = new Work(overrides.limits, overrides.cancelled);
    this.files = new Files(this, host, this.problems, ambient(this));
  }

  // ---- evaluating

  evaluate(expr: ast.Expr, scope: Scope): Value {
    return evaluate(this, expr, scope);
  }

  condition(expr: ast.Expr, scope: Scope): boolean {
    const v = this.evaluate(expr, scope);
    if (typeof v === "boolean") return v;
    if (v !== null && isTensor(v))
      fail("P0410", expr.span, "a condition must be known when compiling; this one is a tensor", {
        label: "computed by the step",
        notes: ["`where(c, x, y)` chooses element by element"],
      });
    fail("P0206", expr.span, `a condition must be true or false, this is ${describe(v)}`);
  }

  elements(value: Value, span: Span, what = "this"): readonly Value[] {
    if (Array.isArray(value)) return value as readonly Value[];
    if (value instanceof Selection) this.work.items(value.places.length, span);
    if (value instanceof Selection) return value.places.map((p) => this.placeValue(p, span));
    if (value instanceof Attachment) return value.sites;
    if (value !== null && typeof value === "object" && "kind" in value && value.kind === "chain")
      return value.iterations.map((t) => new Chain([t]));
    fail("P0206", span, `${what === "this" ? "a list is wanted here" : `\`${what}\` must be a list`}, this is ${describe(value)}`);
  }

  /** A place of a selection as the value it names. Values are those of the one call that the step makes, in training if there is such a one. */
  placeValue(p: Place, span: Span): Value {
    if (p.kind === "module") return p.instance;
    if (p.kind === "param") return p.storage;
    if (p.kind === "site") return p.site;
    if (p.kind === "list") return p.items;
    if (p.kind === "chain") return p.blocks;
    p.within?.first();
    const made = (context().frames.get(p.instance) ?? []).filter((f) => !p.within || f.isBelow(p.within));
    const training = made.filter((f) => f.here.training);
    const calls = training.length > 0 ? training : made;
    if (calls.length !== 1)
      fail(
        "P0505",
        span,
        `the step calls ${p.instance.fullPath} ${calls.length === 0 ? "not at all" : `${calls.length} times`}, so which \`${p.name}\` is meant is not clear`,
        {
          notes: ["write it inside a module, from the call: `lm(…).**`"],
        },
      );
    const filling = p.role ? fillingsOf(p.instance, p.role)[0] : undefined;
    return calls[0].readPath(filling?.names.get(p.name) ?? [p.name], { ...calls[0].here, reader: undefined }, span);
  }

  node(v: Value, here: Here, span: Span): Node {
    return toNode(v, here, span, this);
  }

  closure(fn: ast.Function, scope: Scope): Value {
    return new Closure(fn.name.text, fn.params, fn.results, fn.body, scope, fn.span);
  }

  require(statement: ast.Require, scope: Scope, userSpan: Span): void {
    if (this.condition(statement.condition, scope)) return;
    fail("P0217", userSpan, statement.reason ? statement.reason.value : "a requirement is not met", {
      label: "because of what is given here",
      related: [{ span: statement.span, label: "required here" }],
    });
  }

  isStaticNone(start: ast.Expr, scope: Scope): boolean {
    return this.chosen(start, scope).kind === "None";
  }
  isFixed(start: ast.Expr | undefined, scope: Scope): boolean {
    const found = start && this.chosen(start, scope);
    return found?.kind === "Call" && found.callee.kind === "Name" && found.callee.text === "fixed";
  }
  /** The branch of static conditions that is taken. */
  private chosen(e: ast.Expr, scope: Scope): ast.Expr {
    return e.kind === "Conditional" ? this.chosen(this.condition(e.condition, scope) ? e.then : e.else, scope) : e;
  }

  member(value: Value, name: string, span: Span, scope: Scope): Value {
    const v = member(this, value, name, span, scope);
    if (v === undefined) fail("P0202", span, `${describe(value)} has no \`${name}\``);
    return v;
  }
  tryMember(value: Value, name: string, span: Span, scope: Scope): Value | undefined {
    return member(this, value, name, span, scope);
  }

  suggestions(name: string, valid: readonly string[]): string[] {
    return didYouMean(name, valid);
  }

  readText(path: string): string | undefined {
    return this.host.readSource(path);
  }
  merge(model: Value, fields: Fields, tokenizer: Value | undefined, span: Span): Value {
    return mergeModel(this, model, fields, tokenizer, span);
  }
  lateNumber(source: NumberSource, span: Span): Value {
    return lateNumber(this, source, span);
  }
  unbuilt(what: string, span: Span): void {
    this.actions.push({ kind: "limit", what, span });
  }
  readAdapter(folder: string, span: Span): AdapterFile | undefined {
    return reading(span, () => this.host.readAdapter(folder));
  }
  combineAdapters: Evaluator["combineAdapters"] = (folders, combination, span) =>
    reading(span, () => this.host.combineAdapters!(folders, combination));

  /** Runs a statement; a user's mistake is collected, so that several come at once. */
  collect(work: () => void): boolean {
    try {
      work();
      return true;
    } catch (err) {
      if (err instanceof Fault) {
        for (const fault of [err, ...err.beside]) if (!fault.follows) this.problems.push(this.configured(fault));
      } else if (err instanceof Limit)
        this.problems.push({ code: "P0001", severity: "error", message: `${err.message}: not built yet`, span: err.span });
      else if (err instanceof InputError) {
        const { code, message, notes } = err;
        this.problems.push({ code, severity: "error", message, span: err.span ?? this.work.at, notes });
      } else if (err instanceof Stopped || err instanceof Grow) throw err;
      else this.problems.push(unexpected(err, this.work.at));
      return false;
    }
  }

  /** A problem found in the library's text, with the options of an attachment or the fields of a model's config.json that the expression there reads, or the one that led to it. */
  private configured({ problem, through }: Fault): Problem {
    if (problem.span?.file.startsWith("std/") !== true) return problem;
    for (const span of [problem.span, ...through]) {
      const words = new Set((this.files.units.get(span.file)?.text ?? "").slice(span.start, span.end).match(/[A-Za-z_]\w*/g));
      // the line of a method, which reads what the file gave it and no configuration
      const [given] = this.attachments.flatMap(({ applied, span: at, options }) =>
        applied.method.file === span.file.replace(/\.peft$/, "") && at.file !== span.file
          ? Object.entries(options).flatMap(([name, value]) => (words.has(name) ? [{ name, value, at }] : []))
          : [],
      );
      if (given !== undefined) {
        const related = [...(problem.related ?? []), { span: given.at, label: "attached here" }];
        return { ...problem, related, notes: [`\`${given.name}\` is ${JSON.stringify(given.value)} there`, ...(problem.notes ?? [])] };
      }
      const found = this.configs.flatMap(({ folder, fields, span: at }) =>
        leavesOf(fields)
          .filter(({ key }) => words.has(key))
          .map(({ path, value }) => ({ note: `\`${path}\` is ${JSON.stringify(value)} in ${folder}/config.json`, at })),
      );
      if (found.length === 0) continue;
      const related = [...(problem.related ?? []), { span: found[0].at, label: "made of this configuration" }];
      return { ...problem, related, notes: [...found.map((f) => f.note), ...(problem.notes ?? [])] };
    }
    return problem;
  }

  /** Runs what may find nothing; a user's mistake in it does not count. */
  attempt(work: () => void): void {
    try {
      work();
    } catch (err) {
      if (!(err instanceof Fault)) throw err;
    }
  }

  /** Whether the conditions around a line may lead to it: those that only a call can decide may. */
  reachedStatically(line: MethodLine, site: Site): boolean {
    return line.inside.every(({ statement, taken }) => {
      let held: boolean | undefined;
      this.attempt(() => {
        held = this.condition(statement.condition, site.scope);
      });
      return held === undefined || held === taken;
    });
  }

  // ---- names, texts, places

  ordinalOf(expr: ast.Expr): number {
    return ordinalOf(expr);
  }
  drawKey(here: Here, call: ast.Expr, _span: Span): [number, number] {
    const ctx = context();
    return keyOf(ctx.seed, ctx.stage, here.path, here.calls, ordinalOf(call));
  }

  textOf(span: Span): string {
    const text = this.files.units.get(span.file)?.text ?? "";
    return text.slice(span.start, span.end).replace(/\s+/g, " ");
  }
  resolvePath(path: string, span: Span): string {
    return joinPath(span.file, path);
  }

  /** Keeps what a finished graph reads, for the project's table of parameters. */
  note(ctx: Context): void {
    for (const [n, s] of ctx.params) {
      if (s.role === "parameter") this.used.set(n, s);
      else if (!this.stageStates.has(n)) this.stageStates.set(n, { storage: s, stage: undefined });
    }
  }

  libraryUnit(file: string, span: Span): Unit {
    return this.files.load(file.endsWith(".peft") ? file : `${file}.peft`, span)!;
  }
  /** A declaration of the library that a stage uses where the file names none. */
  library(file: string, name: string, span: Span): Value {
    const unit = this.libraryUnit(file, span);
    const read = unit.declared.get(name) ?? unit.scope.find(name);
    if (!read) fail("P0216", span, `${file} has no \`${name}\``);
    return read(unit.scope.here);
  }

  attachLoaded(name: string, loaded: Loaded, to: Selection, span: Span): Value {
    return attachLoaded(this, name, loaded, to, span);
  }

  /** Which edits count where nothing is trained: none of the loss, and none of a model that is used without attachments. */
  readonly inUse = (edit: Edit, name: string): boolean =>
    name !== "loss" && (this.overrides.unattached === undefined || modelOf(this, edit.site) !== this.overrides.unattached);

  // ---- roles

  fills(instance: Value, role: RoleDecl | ModuleDecl): boolean {
    return instance instanceof Instance && fillingsOf(instance, role).length > 0;
  }
  rolesOf(instance: Value): string[] {
    if (!(instance instanceof Instance)) return [];
    const names = fillings(instance.decl, instance.module.scope).map((f) => f.role.name);
    return [names.length > 0 ? `a ${instance.decl.name.text} is also: ${names.join(", ")}` : `a ${instance.decl.name.text} fills no role`];
  }

  roleCapital(site: Site, name: string, frame: MethodFrame): Read | undefined {
    return roleCapital(this, site, name, frame);
  }

  record(type: TypeDecl, fields: Fields, span: Span): Fields {
    return recordFor(this, type, fields, span);
  }

  // ---- values of a run

  readStorage(storage: Storage, name: string, here: Here, span: Span): Value {
    return readStorage(this, storage, name, here, span);
  }
  readLoss(reader: Here): Value {
    return readLoss(this, reader);
  }

  columnFor(field: ast.Field, site: Site): Value {
    return this.objectives.column(field.name.text, field.type, field.start, site.scope, field.span);
  }

  askData(input: ast.Param, forward: ast.Forward, sizes: Scope): Value {
    return this.objectives.column(input.name.text, input.type, input.default, sizes, input.span, forward, sizes);
  }

  // ---- static data

  optionsGiven(applied: Applied): OptionsGiven {
    return optionsGiven(this, applied);
  }

  staticValue(v: Value, span: Span): Static {
    return staticValue(this.work, v, span);
  }
  staticOptions(options: Readonly<Record<string, Value | undefined>>, span: Span): Record<string, Static> {
    return Object.fromEntries(Object.entries(options).flatMap(([k, v]) => (v === undefined ? [] : [[k, this.staticValue(v, span)]])));
  }
  staticRecord(options: ReadonlyMap<string, Value>): Record<string, Static> {
    return Object.fromEntries([...options].map(([k, v]) => [k, this.staticValue(v, undefined as never)]));
  }

  tokenizerOf(model: Instance): Tokenizer {
    const entry = this.models.find((m) => m.instance === model.root);
    const folder = entry?.report.folder;
    if (model.root.tokenizer) return model.root.tokenizer;
    if (!folder)
      fail("P0604", model.madeAt, `${model.fullPath} has no folder, so it has no tokenizer`, {
        notes: ['give one where it is made: `tokenizer: tokenizer("folder")`'],
      });
    return this.tokenizerIn(folder, model.madeAt);
  }
  tokenizerIn(folder: string, span: Span): Tokenizer {
    let t = this.tokenizers.get(folder);
    if (!t) {
      const info = reading(span, () => this.host.readTokenizer(folder));
      if (!info)
        fail("P0604", span, `there is no tokenizer in ${folder}`, { notes: ["tokenizer.json, vocab.json with merges.txt, or vocab.txt"] });
      t = new Tokenizer(folder, info);
      this.tokenizers.set(folder, t);
    }
    return t;
  }
}
