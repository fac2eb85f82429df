import type { Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import { Attachment, rebindings, rebindTarget, Site } from "./attachment.ts";
import { chains } from "./chains.ts";
import { Context, within } from "./context.ts";
import type { Elaborator } from "./elaborator.ts";
import { Faults, fail } from "./fault.ts";
import { Instance } from "./instance.ts";
import { methodFrame } from "./method-frame.ts";
import { parametersOf, siteParameters } from "./parameters.ts";
import { type Filling, fillings, fillingsOf, isA, namesOfRole, roleFields } from "./roles.ts";
import { fixed, Names, type Read, type Scope, Seen } from "./scope.ts";
import { selectionOf } from "./select.ts";
import { coerceStatic, isTensorType, parameterShape } from "./signature.ts";
import { staticLines } from "./static-lines.ts";
import { parameterNames, Storage } from "./storage.ts";
import { roleSizes } from "./trace.ts";
import { Applied, Fit as Budget, describe, MethodDecl, ModuleDecl, type Place, RoleDecl, type Selection, type Value } from "./values.ts";

/** Attaches a method to all places of a selection, line by line over its sites. */
export function attach(
  e: Elaborator,
  name: string,
  applied: Applied,
  to: Selection,
  span: Span,
  maker?: Site,
  stamp?: { base: number; step: number },
): Attachment {
  const { method } = applied;
  const places = inModelOrder(fitting(e, method, to, span));
  if (places.length === 0)
    fail("P0312", span, `${method.name} is attached to nothing`, {
      notes: [`no place of \`${to.text}\` is something ${method.name} can be attached to`],
    });
  // what an attachment takes beside its expressions: sites, their blocks, their place in every graph
  e.work.spend(1000 + 200 * places.length, span);
  const fitted = fittedOptions(e, applied, to, span, maker);
  if (fitted) return attach(e, name, fitted, to, span, maker, stamp);
  const attachment = prepare(e, name, applied, places, to, span, maker, stamp);
  for (const member of method.decl.members) for (const site of attachment.sites) run(e, site, member);
  e.attachments.push(attachment);
  return attachment;
}

/** Modules as they come in their model, whatever order a selection names them in; other places as they are. */
function inModelOrder(fits: Fit[]): Fit[] {
  const at = new Map<Instance, number>();
  for (const { place } of fits) {
    if (place.kind !== "module") return fits;
    if (!at.has(place.instance.root)) for (const instance of place.instance.root.tree()) at.set(instance, at.size);
  }
  const order = ({ place }: Fit) => (place.kind === "module" ? at.get(place.instance)! : 0);
  return fits.sort((a, b) => order(a) - order(b));
}

/** Sites with their options, before any line of the method has run. */
function prepare(
  e: Elaborator,
  name: string,
  applied: Applied,
  places: readonly Fit[],
  to: Selection,
  span: Span,
  maker?: Site,
  stamp?: { base: number; step: number },
): Attachment {
  const { method } = applied;
  const stamps = stamp ?? e.names.takeStamps(Attachment.stampsNeeded(method, places.length));
  const attachment = new Attachment(name, applied, e, span, to.text, maker, stamps.base, stamps.step, places.length);
  // two roles of one module, or parameters of one path (of two attachments, of a model and its copy)
  const spots = places.map(({ place }) =>
    place.kind === "module" ? place.instance : place.kind === "param" ? place.storage.path : undefined,
  );
  const times = new Map<unknown, number>();
  for (const spot of spots) times.set(spot, (times.get(spot) ?? 0) + 1);
  places.forEach((p, i) => {
    const qualified = spots[i] !== undefined && times.get(spots[i])! > 1;
    const sizes =
      p.role instanceof RoleDecl && (p.place.kind === "module" || p.place.kind === "chain" || p.place.kind === "site")
        ? roleSizes(
            e,
            p.role,
            p.place.kind === "chain" ? p.place.blocks[0] : p.place.kind === "site" ? p.place.site : p.place.instance,
            p.place.kind === "chain" ? fillingsOf(p.place.blocks[0], p.role)[0].names : p.names,
            span,
          )
        : new Map<string, () => Value>();
    const options = siteOptions(e, applied, p, sizes, span);
    attachment.sites.push(
      new Site(attachment, i, p.place, p.role instanceof RoleDecl ? p.role : undefined, p.names, sizes, options, qualified, (site) =>
        staticLines(method, site, options),
      ),
    );
    if (i === 0) attachment.options = e.staticRecord(options);
  });
  return attachment;
}

/** Options given as `fit(params: n)` with the number they come to: the largest that keeps the attachment within n parameters. */
function fittedOptions(e: Elaborator, applied: Applied, to: Selection, span: Span, maker?: Site): Applied | undefined {
  const asked = [...e.optionsGiven(applied)].filter(([, v]) => v.value instanceof Budget);
  if (asked.length === 0) return undefined;
  if (asked.length > 1) fail("P0205", asked[1][1].span, "one option can be fitted to a budget at a time");
  const [[option, { value }]] = asked;
  const budget = (value as Budget).params;
  const at = (n: number) =>
    new Applied(applied.method, applied.args, applied.scope, applied.span, new Map([...applied.values, [option, n]]));
  const count = (n: number): number => {
    const trial = prepare(e, "(fit)", at(n), fitting(e, applied.method, to, span), to, span, maker);
    for (const m of applied.method.decl.members)
      for (const site of trial.sites)
        if (m.kind === "Parameter" || m.kind === "SharedChild") run(e, site, m);
        else if (m.kind === "Binding") site.settle(m);
    const all = new Set(trial.sites.flatMap((s) => [...siteParameters(s)]));
    return [...all].reduce((sum, s) => sum + s.shape.reduce((p, d) => p * d, 1), 0);
  };
  if (count(1) > budget)
    fail("P0312", (value as Budget).span, `even \`${option}: 1\` needs ${count(1)} parameters, the budget is ${budget}`);
  let high = 2;
  while (count(high) <= budget && high < 1 << 20) high *= 2;
  let low = high / 2;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (count(middle) <= budget) low = middle;
    else high = middle;
  }
  return at(low);
}

/** Whether a module fills what a method is `on`. */
export function goesOn(method: MethodDecl, place: Place): boolean {
  const { on } = method.decl;
  if (on.kind !== "NamedType" || place.kind !== "module") return true;
  const role = method.scope.find(on.name.text)?.(method.scope.here);
  return (role instanceof RoleDecl || role instanceof ModuleDecl) && fillingsOf(place.instance, role).length > 0;
}

export interface Fit {
  readonly place: Place;
  readonly role: RoleDecl | ModuleDecl | undefined;
  readonly names: ReadonlyMap<string, readonly string[] | null>;
}

/** The places of a selection that a method is `on`, with what each calls the role's names. */
function fitting(e: Elaborator, method: MethodDecl, to: Selection, span: Span): Fit[] {
  const { on } = method.decl;
  if (on.kind === "ListType") return chains(e, method, to, span);
  if (on.kind !== "NamedType") fail("P0301", on.span, "a method is `on` a role, a module, a method or `Parameter`");
  if (on.name.text === "Parameter" && !method.scope.find("Parameter")) {
    const names = new Map([...parameterNames].map((n) => [n, [n]] as const));
    return parametersOf(to, span).map((storage) => ({ place: { kind: "param", storage } as const, role: undefined, names }));
  }
  const role = method.scope.find(on.name.text)?.(method.scope.here);
  if (role instanceof MethodDecl)
    return to.places.flatMap((p): Fit[] =>
      p.kind === "site" && p.site.attachment.method.decl === role.decl
        ? [{ place: p, role: undefined, names: new Map(namesOfRole(role).map((n) => [n, [n]])) }]
        : [],
    );
  if (!(role instanceof RoleDecl) && !(role instanceof ModuleDecl))
    fail("P0301", on.name.span, `\`${on.name.text}\` is not a role, module or method`, {
      notes: e.suggestions(on.name.text, method.scope.names()),
    });
  return to.places.flatMap((p): Fit[] => {
    if (p.kind === "list")
      return fitting(e, method, { ...to, places: p.items.map((instance) => ({ kind: "module", instance }) as const) } as Selection, span);
    if (p.kind === "site") {
      const { method: of } = p.site.attachment;
      const found = fillings(of.decl, of.scope).find((f) => isA(f.role, role));
      if (!found)
        fail("P0307", span, `${of.name} is not a ${role.name}, so ${method.name} cannot be attached to \`${p.site.attachment.name}\``);
      return [{ place: p, role, names: siteRoleNames(role, found) }];
    }
    if (p.kind !== "module") return [];
    const all = fillingsOf(p.instance, role);
    // what is `on` a module takes it in whichever role it was selected
    const found = p.role && role instanceof RoleDecl ? all.filter((f) => isA(f.role, p.role!) || isA(p.role!, f.role)) : all;
    if (found.length === 0) {
      const is = `${p.instance.fullPath} is a ${p.instance.decl.name.text}`;
      const why = all.length === 0 ? `${is}, which is none` : `${is}, which is one, but it is taken as a ${p.role!.name} here`;
      fail("P0307", span, `${method.name} goes on a ${role.name}; ${why}`, { notes: e.rolesOf(p.instance) });
    }
    if (found.length > 1)
      fail("P0308", span, `${p.instance.fullPath} is a ${role.name} in ${found.length} ways`, {
        notes: [`say which: ${found.map((f) => `\`: ${f.role.name}\``).join(" or ")}`],
      });
    return [
      { place: p, role: found[0].role instanceof RoleDecl ? found[0].role : role, names: moduleRoleNames(role, found[0], p.instance) },
    ];
  });
}

function siteRoleNames(role: RoleDecl | ModuleDecl, filling: Filling): Map<string, readonly string[] | null> {
  return new Map(namesOfRole(role).map((n) => [n, filling.names.get(n) ?? [n]]));
}

/** What a module calls the names of a role; optional ones that it does not have are `null`. */
function moduleRoleNames(role: RoleDecl | ModuleDecl, filling: Filling, instance: Instance): Map<string, readonly string[] | null> {
  const has = new Set(namesOfRole(instance.module));
  const optional = new Set(
    role instanceof RoleDecl
      ? roleFields(role).flatMap((f) => (f.field.type.kind !== "ListType" && f.field.type.optional ? [f.field.name.text] : []))
      : [],
  );
  const out = new Map<string, readonly string[] | null>();
  for (const n of namesOfRole(filling.role)) {
    const path = filling.names.get(n) ?? [n];
    const absent = path.length === 1 && instance.slots.get(path[0])?.kind === "absent";
    const missing = path.length === 1 && !filling.names.has(n) && !has.has(n) && !instance.block.thunkBefore(n) && n !== "identity";
    if (absent) out.set(n, null);
    else if (missing && optional.has(n)) out.set(n, null);
    else if (!missing || filling.role === instance.module) out.set(n, path);
  }
  return out;
}

/** Options of the method at one site: what was given, then defaults, which may use the site's sizes. */
function siteOptions(e: Elaborator, applied: Applied, fit: Fit, sizes: ReadonlyMap<string, () => Value>, span: Span): Map<string, Value> {
  const { method } = applied;
  const given = e.optionsGiven(applied);
  const out = new Map<string, Value>();
  const roles: Scope = {
    here: method.scope.here,
    find: (n) => {
      const size = sizes.get(n);
      if (size) return () => size();
      const path = fit.names.get(n);
      if (path === undefined) return undefined;
      return () => (path === null ? null : nameWithoutCall(e, fit.place, path, n, span));
    },
    names: () => [...sizes.keys(), ...fit.names.keys()],
  };
  const faults = new Faults();
  for (const p of method.decl.params) {
    const n = p.name.text;
    faults.try(() => {
      const table = new Map<string, Read>([...out].map(([k, v]) => [k, fixed(v)]));
      const outer: Scope = {
        here: method.scope.here,
        find: (k) => roles.find(k) ?? method.scope.find(k),
        names: () => method.scope.names(),
      };
      const g = given.get(n);
      const value = g
        ? g.value
        : p.default
          ? e.evaluate(p.default, new Names(table, outer))
          : fail("P0204", applied.span, `${method.name} needs \`${n}\``);
      out.set(
        n,
        p.type && !(isTensorType(p.type) && !g)
          ? coerceStatic(value, p.type, outer, g?.span ?? p.span, `\`${n}\` of ${method.name}`, e)
          : value,
      );
    });
  }
  faults.end();
  return out;
}

function nameWithoutCall(_e: Elaborator, place: Place, path: readonly string[], name: string, span: Span): Value {
  if (place.kind === "module" && path.length === 1) {
    const { instance } = place;
    if (instance.slots.has(path[0])) return instance.parameter(path[0]);
    if (instance.args.has(path[0])) return instance.args.get(path[0])!;
    const bound = instance.block.thunkBefore(path[0]);
    if (bound) return bound.force();
  }
  fail("P0505", span, `\`${name}\` has no value when options are set`);
}

/** One line of a method at one site. */
function run(e: Elaborator, site: Site, m: ast.Member): void {
  const { attachment } = site;
  switch (m.kind) {
    case "Parameter":
      return void makeParameter(e, site, m);
    case "SharedChild": {
      if (site.index > 0) return;
      const v = e.evaluate(m.value, site.scope);
      if (v instanceof Instance) v.holder ??= { kind: "site", site, name: m.name.text, shared: true };
      attachment.shared.set(m.name.text, v);
      return;
    }
    case "State":
      return void site.params.set(m.name.text, e.isStaticNone(m.start, site.scope) ? null : makeState(e, site, m));
    case "Input":
      return void site.inputs.set(m.field.name.text, () => e.columnFor(m.field, site));
    case "Require":
      return e.require(m, site.scope, attachment.applied.span);
    case "Attach":
      return void attachInside(e, site, m);
    case "Binding":
    case "If":
    case "For":
      if (m.kind === "If" && m.then.concat(m.else ?? []).some((s) => s.kind === "Attach")) {
        for (const s of e.condition(m.condition, site.scope) ? m.then : (m.else ?? [])) run(e, site, s);
        return;
      }
      site.block.check(attachment.applied.span, [m]);
      site.settle(m);
      for (const line of rebindings([m])) {
        const target = line.statement.targets[line.target];
        // an optional name that this place lacks: the `if` around the line must keep it away
        const [{ text }] = target.names;
        const lacking = target.names.length === 1 ? site.roleNames.get(text) === null : site.params.get(text) === null;
        if (lacking && line.inside.length > 0 && !e.reachedStatically(line, site)) continue;
        const { holder, name } = rebindTarget(site, target, e.loss);
        holder.rebind(name, { site, line, stamp: attachment.stamp(line.statement, site.index) });
      }
      return;
    case "Function":
    case "Forward":
      return;
    default:
      fail("P0113", m.span, "this statement cannot stand in a method");
  }
}

function attachInside(e: Elaborator, site: Site, s: ast.Attach): void {
  const { attachment } = site;
  const value = e.evaluate(s.value, site.scope);
  const applied = value instanceof MethodDecl ? new Applied(value, [], site.scope, s.value.span) : value;
  if (!(applied instanceof Applied)) fail("P0206", s.value.span, `a method is wanted here, this is ${describe(value)}`);
  const to = selectionOf(e, s.to, site.scope);
  const need = Attachment.stampsNeeded(applied.method, Math.max(to.places.length, 1));
  const base = attachment.stamp(s, site.index);
  const name = `${attachment.name}.${[site.path, s.name.text].filter((x) => x !== "").join(".")}`;
  site.attach(s, attach(e, name, applied, to, s.span, site, { base, step: attachment.step / (need + 1) }));
}

function makeParameter(e: Elaborator, site: Site, m: ast.Parameter): void {
  const { attachment } = site;
  const name = m.field.name.text;
  if (m.shared && site.index > 0) {
    site.params.set(name, attachment.shared.get(name) as Storage);
    return;
  }
  if (m.field.start && e.isStaticNone(m.field.start, site.scope)) {
    site.params.set(name, null);
    return;
  }
  const { dtype, shape } = parameterShape(m.field, site.scope, e);
  const storage = new Storage(
    "parameter",
    () => ({ owner: { kind: "attachment", name: attachment.name }, path: m.shared || site.path === "" ? name : `${site.path}.${name}` }),
    dtype,
    shape,
    () => {
      if (!m.field.start) return 0;
      const frame = methodFrame(site, undefined);
      // what the attachment does to a weight comes later than a start that looks at it
      return e.evaluate(m.field.start, new Seen(frame.block, { ...frame.here, reader: { attachment, stamp: attachment.first } }));
    },
    m.frozen || e.isFixed(m.field.start, site.scope),
    m.span,
  );
  site.params.set(name, storage);
  if (m.shared) attachment.shared.set(name, storage);
}

function makeState(e: Elaborator, site: Site, m: ast.State): Storage {
  const { attachment } = site;
  const start = () => e.evaluate(m.start, methodFrame(site, undefined).block);
  const declared =
    m.type && isTensorType(m.type)
      ? parameterShape({ kind: "Field", name: m.name, type: m.type, start: m.start, span: m.span }, site.scope, e)
      : undefined;
  const traced =
    declared ??
    within(
      new Context("start", 0, "start", () => true),
      () => e.node(start(), site.scope.here, m.span).type as { dtype: "f32"; shape: number[] },
    );
  return new Storage(
    "state",
    () => ({ owner: { kind: "attachment", name: attachment.name }, path: site.path === "" ? m.name.text : `${site.path}.${m.name.text}` }),
    traced.dtype,
    traced.shape,
    start,
    false,
    m.span,
  );
}
