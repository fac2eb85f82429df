import type { Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import { Attachment } from "./attachment.ts";
import { Block, type BlockOwner } from "./block.ts";
import { Call } from "./builtins/table.ts";
import { context } from "./context.ts";
import type { Elaborator } from "./elaborator.ts";
import { Faults, fail } from "./fault.ts";
import { Frame, type Passed } from "./frame.ts";
import { bindArguments, forwardOf, Instance } from "./instance.ts";
import { readMember } from "./members.ts";
import { MethodFrame } from "./method-frame.ts";
import { ordinalOf } from "./ordinals.ts";
import { recordOf } from "./records.ts";
import { fixed, type Here, Names, type Read, type Scope } from "./scope.ts";
import { selectionOf } from "./select.ts";
import { coerceStatic, Signature } from "./signature.ts";
import { Thunk } from "./thunk.ts";
import {
  Applied,
  Builtin,
  CallValue,
  Chain,
  Closure,
  describe,
  Evaluated,
  Fields,
  MethodDecl,
  ModuleDecl,
  SiteNames,
  Tokenizer,
  TypeDecl,
  type Value,
  WithGiven,
} from "./values.ts";

/** `f(x, n: 2)`, and `x.f(n: 2)` for `f(x, n: 2)` where x has no `f` of its own. */
export function call(e: Elaborator, expr: ast.Call, scope: Scope): Value {
  const { callee } = expr;
  if (callee.kind === "Member") {
    const object = e.evaluate(callee.object, scope);
    const own = e.tryMember(object, callee.name.text, callee.span, scope);
    if (own !== undefined) return apply(e, own, expr, scope);
    const read = scope.find(callee.name.text);
    if (read) return apply(e, read(scope.here), expr, scope, object);
    readMember(e, object, callee.name, scope, callee.span);
  }
  return apply(e, e.evaluate(callee, scope), expr, scope);
}

/** Arguments with spreads opened: values are computed when asked for, as `eager` says or later. */
interface Given {
  readonly name: string | undefined;
  readonly expr: ast.Expr | undefined;
  readonly value: () => Value;
  readonly span: Span;
}
function given(e: Elaborator, args: readonly ast.Argument[], scope: Scope, first?: Value): Given[] {
  const out: Given[] =
    first === undefined
      ? []
      : [{ name: undefined, expr: undefined, value: () => first, span: args[0]?.span ?? (undefined as unknown as Span) }];
  for (const a of args) {
    if (a.kind === "Positional") out.push({ name: undefined, expr: a.value, value: () => e.evaluate(a.value, scope), span: a.span });
    else if (a.kind === "Named") out.push({ name: a.name.text, expr: a.value, value: () => e.evaluate(a.value, scope), span: a.span });
    else {
      const v = e.evaluate(a.value, scope);
      if (v instanceof Fields) for (const [k, x] of v.entries) out.push({ name: k, expr: undefined, value: () => x, span: a.span });
      else for (const x of e.elements(v, a.span)) out.push({ name: undefined, expr: undefined, value: () => x, span: a.span });
    }
  }
  return out;
}

/**
 * Matches arguments with parameter names: positional first, then by name; `extra` takes names that are not parameters, `more` are those it would take. `beside`: takes what is wrong,
 * where more of the same call is looked at.
 */
function match(
  e: Elaborator,
  what: string,
  names: readonly string[],
  args: readonly Given[],
  span: Span,
  extra?: (g: Given) => boolean,
  more: readonly string[] = [],
  beside?: Faults,
): Map<string, Given> {
  const out = new Map<string, Given>();
  let position = 0;
  const one = (g: Given): void => {
    if (g.name === undefined) {
      const name = names[position++];
      if (name === undefined)
        fail("P0205", g.span ?? span, `${what} takes ${names.length} argument${names.length === 1 ? "" : "s"}, this is one more`, {
          notes: names.length ? [`they are: ${names.join(", ")}`] : [],
        });
      out.set(name, g);
    } else if (names.includes(g.name)) {
      if (out.has(g.name)) fail("P0205", g.span, `\`${g.name}\` is given twice`);
      out.set(g.name, g);
    } else if (!extra?.(g)) {
      fail("P0203", g.span, `${what} has no \`${g.name}\``, {
        label: "not one of its names",
        notes: [...e.suggestions(g.name, [...names, ...more]), ...(names.length ? [`it has: ${[...names, ...more].join(", ")}`] : [])],
      });
    }
  };
  const all = beside ?? new Faults();
  for (const g of args) all.try(() => one(g));
  if (beside === undefined) all.end();
  return out;
}

function apply(e: Elaborator, callee: Value, expr: ast.Call, scope: Scope, first?: Value): Value {
  const args = given(e, expr.args, scope, first);
  if (callee instanceof Builtin) return callBuiltin(e, callee, args, expr, scope);
  if (callee instanceof Closure) return callClosure(e, callee, args, expr, scope);
  if (callee instanceof ModuleDecl) return makeModule(e, callee, args, expr.span);
  if (callee instanceof Instance) return callInstance(e, callee, args, expr, scope, scope.here.training);
  if (callee instanceof WithGiven) return callInstance(e, callee.instance, args, expr, scope, scope.here.training, callee.given);
  if (callee instanceof Evaluated) return callInstance(e, callee.instance, args, expr, scope, false);
  if (callee instanceof MethodDecl) {
    checkOptions(e, callee, args, expr.span);
    return new Applied(callee, expr.args, scope, expr.span);
  }
  if (callee instanceof TypeDecl) {
    const fields = new Map(args.map((g) => [g.name ?? fail("P0205", g.span, "the fields of a record are given by name"), g.value()]));
    return e.record(callee, new Fields(fields), expr.span);
  }
  if (callee instanceof Attachment) return callAttachment(callee, args, expr, scope);
  if (callee instanceof Chain && callee.iterations.length === 1) {
    const named = args.filter((g) => g.name !== undefined).map((g) => [g.name!, new Thunk(g.value, g.name!, g.span)] as const);
    return callee.iterations[0](args.find((g) => g.name === undefined)?.value(), new Map(named), scope.here, expr.span);
  }
  fail("P0206", expr.callee.span, `${describe(callee)} cannot be called`);
}

/**
 * Names of what a method is given. Types are checked where it is attached, as values may depend on the place; where a name is wrong already that is not
 * reached, so those of literals are told along with it.
 */
function checkOptions(e: Elaborator, { name, decl, scope }: MethodDecl, args: readonly Given[], span: Span): void {
  matchOrTell(e, { name, shown: name, params: decl.params, scope }, args, span);
}
/** Arguments by name; where a name is wrong, that is told with literals that do not fit their types. */
function matchOrTell(
  e: Elaborator,
  of: { readonly name: string; readonly shown: string; readonly params: readonly ast.Param[]; readonly scope: Scope },
  args: readonly Given[],
  span: Span,
): Map<string, Given> {
  const faults = new Faults();
  const names = of.params.map((p) => p.name.text);
  const matched = match(e, of.shown, names, args, span, undefined, [], faults);
  if (faults.any)
    for (const { name, type } of of.params) {
      const g = matched.get(name.text);
      if (g === undefined || type === undefined || !LITERALS.has(g.expr?.kind)) continue;
      faults.try(() => coerceStatic(g.value(), type, of.scope, g.span, `\`${name.text}\` of ${of.name}`, e));
    }
  faults.end();
  return matched;
}
const LITERALS: ReadonlySet<ast.Expr["kind"] | undefined> = new Set<ast.Expr["kind"]>(["Number", "String", "Bool"]);

/** Everything that is wrong with a call is told: names, what is missing, and what the function itself says of what it was given. */
function callBuiltin(e: Elaborator, f: Builtin, args: readonly Given[], expr: ast.Call, scope: Scope): Value {
  const rest = f.params.find((p) => p.rest);
  const values: Record<string, Value | undefined> = {};
  const faults = new Faults();
  const named = rest ? args.filter((g) => g.name !== undefined) : args;
  const names = f.params.map((p) => p.name);
  const matched = match(e, `\`${f.name}\``, names, named, expr.span, undefined, [], faults);
  if (rest) values[rest.name] = args.filter((g) => g.name === undefined).map((g) => g.value());
  // a name that is no parameter's may stand for one that is missing
  const complete = !faults.any;
  let run = true;
  for (const p of f.params) {
    const g = matched.get(p.name);
    if (g) values[p.name] = faults.try(() => (p.selection && g.expr ? selectionOf(e, g.expr, scope) : g.value()));
    else if (!p.optional && !p.rest) {
      run = false;
      if (complete) faults.try(() => fail("P0204", expr.span, `\`${f.name}\` needs \`${p.name}\``));
    }
  }
  const valued = [...matched.keys()].every((name) => values[name] !== undefined);
  const made = run && valued ? faults.try(() => f.run(values, new Call(f.name, scope, expr.span, expr, e))) : undefined;
  faults.end();
  return made!;
}

function callClosure(e: Elaborator, f: Closure, args: readonly Given[], expr: ast.Call, scope: Scope): Value {
  const matched = matchOrTell(e, { name: f.name, shown: `\`${f.name}\``, params: f.params, scope: f.scope }, args, expr.span);
  // a function sees its caller's modes and place; which call led here tells its draws apart
  const here: Here = { ...scope.here, calls: `${scope.here.calls}/${ordinalOf(expr)}` };
  const table = new Map<string, Read>();
  const types = [...f.params, ...(f.results ?? [])].map((p) => p.type);
  // whole numbers among the parameters may be sizes: `bias: f32[s, t]`
  const signature: Signature = new Signature(types, new Names(table, f.scope, here), e, (symbol) => {
    for (const p of f.params) if (!signature.bound(symbol) && table.has(p.name.text)) table.get(p.name.text)!(here);
  });
  const outer: Scope = { here, find: (n) => signature.find(n) ?? f.scope.find(n), names: () => f.scope.names() };
  const inner = new Names(table, outer, here);
  for (const p of f.params) {
    const g = matched.get(p.name.text);
    const span = g?.span ?? expr.span;
    const raw = g
      ? g.value()
      : p.default
        ? e.evaluate(p.default, inner)
        : fail("P0204", expr.span, `\`${f.name}\` needs \`${p.name.text}\``);
    const checked = p.type ? signature.check(p.type, raw, span, `\`${p.name.text}\` of ${f.name}`, here) : raw;
    table.set(p.name.text, fixed(checked));
  }
  if (!Array.isArray(f.body)) {
    const v = e.evaluate(f.body as ast.Expr, inner);
    return v;
  }
  const owner: BlockOwner = { evaluator: e, hereFor: () => here, view: (_n, t) => () => t.force() };
  const block = new Block(f.body as readonly ast.Statement[], inner, owner, here);
  block.check(expr.span);
  const results = f.results!.map((p) => {
    const read = block.find(p.name.text);
    if (!read || !block.thunkBefore(p.name.text)) fail("P0211", p.span, `\`${f.name}\` never sets its result \`${p.name.text}\``);
    return signature.check(p.type, read(here), p.span, `\`${p.name.text}\` of ${f.name}`, here);
  });
  return results.length === 1 ? results[0] : results;
}

/** Makes a module: arguments of its own, and what its parameters are given. */
function makeModule(e: Elaborator, module: ModuleDecl, args: readonly Given[], span: Span): Instance {
  const { params, members } = module.decl;
  const declared = new Set(members.flatMap((m) => (m.kind === "Parameter" ? [m.field.name.text] : [])));
  const gifts = new Map<string, Value>();
  const fields = new Map<string, Value>();
  const faults = new Faults();
  const record = params.length > 0 ? recordOf(module) : undefined;
  const matched = match(
    e,
    module.name,
    params.map((p) => p.name.text),
    args,
    span,
    (g) => {
      if (declared.has(g.name!)) gifts.set(g.name!, g.value());
      else if (record?.decl.fields.some((f) => f.name.text === g.name)) fields.set(g.name!, g.value());
      else if (g.name === "tokenizer") fields.set("tokenizer", g.value());
      else return false;
      return true;
    },
    [...declared, ...(record?.decl.fields.map((f) => f.name.text) ?? [])],
    faults,
  );
  const values = new Map<string, Value>();
  for (const [n, g] of matched) faults.try(() => values.set(n, g.value()));
  if (record && (fields.size > 0 || !values.has(params[0].name.text)) && params.filter((p) => !p.default).length === 1) {
    const base = values.get(params[0].name.text);
    const merged = new Map(base instanceof Fields ? base.entries : []);
    for (const [k, v] of fields) if (k !== "tokenizer") merged.set(k, v);
    faults.try(() => values.set(params[0].name.text, e.record(record, new Fields(merged), span)));
  }
  faults.end();
  const made = new Instance(module, bindArguments(module, values, span, e), gifts, e, span);
  const tokenizer = fields.get("tokenizer");
  if (tokenizer !== undefined)
    made.tokenizer =
      tokenizer instanceof Tokenizer ? tokenizer : fail("P0206", span, `\`tokenizer\` must be a tokenizer, this is ${describe(tokenizer)}`);
  return made;
}

function callInstance(
  e: Elaborator,
  instance: Instance,
  args: readonly Given[],
  expr: ast.Call,
  scope: Scope,
  training: boolean,
  more: Passed = new Map(),
): CallValue {
  const forward = forwardOf(instance.decl);
  if (!forward) fail("P0209", expr.callee.span, `${instance.decl.name.text} has no \`forward\`, so it cannot be called`);
  const names = forward.params.map((p) => p.name.text);
  const passed = new Map<string, Thunk<Value>>();
  const gifts = new Map<string, Thunk<Value>>(more);
  const matched = match(e, instance.decl.name.text, names, args, expr.span, (g) => {
    gifts.set(g.name!, new Thunk(g.value, g.name!, g.span));
    return true;
  });
  for (const [n, g] of matched) passed.set(n, new Thunk(g.value, n, g.span));
  const caller = scope.here.frame;
  const key = caller && isObjective(caller) && isModel(instance) ? sharedKey(e, instance, passed, gifts, scope, training) : undefined;
  const known = key === undefined ? undefined : context().shared.get(key);
  if (known) return new CallValue(known);
  const frame = new Frame(instance, caller, passed as Passed, gifts, { training, iteration: scope.here.iteration }, expr.span);
  if (key !== undefined) context().shared.set(key, frame);
  return new CallValue(frame);
}
const isObjective = (f: Frame): boolean => f.instance.owner.kind === "objective";
const isModel = (i: Instance): boolean => i.owner.kind === "model";

/** Instances of one objective that call a model with the same inputs share the call. */
function sharedKey(e: Elaborator, instance: Instance, passed: Passed, gifts: Passed, scope: Scope, training: boolean): string | undefined {
  if (gifts.size > 0) return undefined;
  const parts = [...passed].map(([n, t]) => {
    const v = t.force();
    return `${n}=${v === null ? "none" : e.node(v, scope.here, scope.here.frame!.span).id}`;
  });
  return [instance.fullPath, training, ...parts].join(" ");
}

/** `s(z: z).delta`: an attachment's part at the site of the method that calls it, with some names given. */
function callAttachment(attachment: Attachment, args: readonly Given[], expr: ast.Call, scope: Scope): Value {
  const user = scope.here.methodFrame;
  if (!user) fail("P0206", expr.callee.span, `the attachment \`${attachment.name}\` can be called inside a method only`);
  const site = attachment.sites.find((s) => s.path === user.site.path);
  if (!site) fail("P0305", expr.callee.span, `\`${attachment.name}\` has no part at ${user.site.path}`);
  const gifts = new Map(
    args.map((g) => [g.name ?? fail("P0205", g.span, "values are given to an attachment by name"), new Thunk(g.value, g.name!, g.span)]),
  );
  // a method on an attachment calls the others where that one is, in the call of the module, and they see what that one sees
  let { subject } = user;
  let { reader } = scope.here;
  while (subject instanceof MethodFrame) {
    const host = subject.site;
    reader = subject.caller ?? (host.statements.length > 0 ? host.readerFor(host.statements[0]) : reader);
    subject = subject.subject;
  }
  const frame = new MethodFrame(site, subject, gifts, reader);
  return new SiteNames((name) => frame.read(name, { ...frame.here, reader }));
}

/** A module made by the compiler: arguments from a call's text, with a configuration under its fields. */
export function applyModule(
  e: Elaborator,
  module: ModuleDecl,
  args: readonly ast.Argument[],
  scope: Scope,
  span: Span,
  config?: Fields,
): Instance {
  const all = given(e, args, scope);
  if (!config) return makeModule(e, module, all, span);
  const first = module.decl.params[0].name.text;
  if (all.some((g) => g.name === undefined || g.name === first))
    fail("P0205", span, "the configuration comes from the folder: only its fields can be given here");
  return makeModule(e, module, [...all, { name: first, expr: undefined, value: () => config, span }], span);
}

/** Calls a function of the language with values, as the compiler itself does (schedules). */
export function callFunction(e: Elaborator, f: Closure, args: readonly Value[], here: Here, span: Span): Value {
  const table = new Map<string, Read>(f.params.map((p, i) => [p.name.text, fixed(args[i] ?? null)]));
  if (args.length !== f.params.length)
    fail("P0205", span, `this function takes ${f.params.length} arguments, ${args.length} are given: the step and how many there are`);
  return Array.isArray(f.body)
    ? fail("P0206", span, "this function must be one expression")
    : e.evaluate(f.body as ast.Expr, new Names(table, f.scope, here));
}
