import type { Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import { Attachment, Site } from "./attachment.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import type { Frame } from "./frame.ts";
import { forwardOf, Instance } from "./instance.ts";
import { fillingsOf, namesOfRole } from "./roles.ts";
import { fixed, Names, type Scope } from "./scope.ts";
import { Storage } from "./storage.ts";
import { CallValue, describe, Evaluated, ModuleDecl, type Place, RoleDecl, Selection, type Value } from "./values.ts";

/** The name under which a path that begins with `**` finds what it is said of. */
const ROOT = "(root)";

/** A value as a selection: modules, parameters, attachments, lists of them; nothing else. */
export function asSelection(v: Value, span: Span, text = ""): Selection {
  if (v instanceof Selection) return v;
  if (v instanceof Instance) return new Selection([{ kind: "module", instance: v }], text);
  if (v instanceof Evaluated) return asSelection(v.instance, span, text);
  if (v instanceof CallValue) return new Selection([{ kind: "module", instance: v.frame.instance }], text, v.frame);
  if (v instanceof Storage) return new Selection([{ kind: "param", storage: v }], text);
  if (v instanceof Attachment)
    return new Selection(
      v.sites.filter((s) => !s.detached).map((site) => ({ kind: "site", site }) as const),
      text,
    );
  if (v instanceof Site) return new Selection([{ kind: "site", site: v }], text);
  if (Array.isArray(v))
    return unite(
      v.map((x) => asSelection(x as Value, span)),
      text,
    );
  fail("P0304", span, `a selection is wanted here, this is ${describe(v)}`, {
    notes: ["it starts at a model, an attachment or a name for one: `m.**: Linear`"],
  });
}

/** A path where a selection is wanted: `to`, `params`, `draw` … */
export function selectionOf(e: Elaborator, expr: ast.Expr, scope: Scope): Selection {
  const text = e.textOf(expr.span);
  if (expr.kind === "List")
    return unite(
      expr.items.map((i) => (i.kind === "Spread" ? asSelection(e.evaluate(i.value, scope), i.span) : selectionOf(e, i, scope))),
      text,
    );
  return asSelection(e.evaluate(expr, scope), expr.span, text);
}

export function unite(selections: readonly Selection[], text: string): Selection {
  const out = new Map<string, Place>();
  for (const s of selections) for (const p of s.places) out.set(keyOf(p), out.get(keyOf(p)) ?? p);
  return new Selection([...out.values()], text || selections.map((s) => s.text).join(", "));
}

const ids = new WeakMap<object, number>();
let nextId = 0;
const idOf = (o: object): number => {
  let id = ids.get(o);
  if (id === undefined) {
    id = nextId++;
    ids.set(o, id);
  }
  return id;
};
function keyOf(p: Place): string {
  switch (p.kind) {
    case "module":
      return `m${idOf(p.instance)}:${p.role?.name ?? ""}`;
    case "param":
      return `p${idOf(p.storage)}`;
    case "value":
      return `v${idOf(p.instance)}.${p.name}:${p.role?.name ?? ""}${p.within ? `@${idOf(p.within)}` : ""}`;
    case "site":
      return `s${idOf(p.site)}:${p.role?.name ?? ""}`;
    case "list":
      return `l${p.items.map(idOf).join()}`;
    case "chain":
      return `c${p.blocks.map(idOf).join()}`;
  }
}

/** `a except b`: a path that begins with `**` starts where the left side does. */
export function except(e: Elaborator, left: Value, expr: ast.Except, scope: Scope): Selection {
  const from = asSelection(left, expr.left.span, e.textOf(expr.left.span));
  const roots = new Set(from.places.flatMap((p) => (p.kind === "module" || p.kind === "value" ? [p.instance.root] : [])));
  const inner = new Names(new Map([[ROOT, fixed([...roots])]]), scope);
  const removed = new Set(selectionOf(e, expr.right, inner).places.map(keyOf));
  const matched = from.places.filter(
    (p) => removed.has(keyOf(p)) || (p.kind === "module" && removed.has(keyOf({ kind: "module", instance: p.instance }))),
  );
  if (matched.length === 0 && !(from.places.length === 0))
    fail("P0312", expr.right.span, "this `except` takes nothing away", { label: "matches nothing on its left" });
  return new Selection(
    from.places.filter((p) => !matched.includes(p)),
    e.textOf(expr.span),
  );
}

/** `.**`, `.** : R`, `.*`, `.{…}`, and the same at the start of a path. */
export function select(e: Elaborator, expr: ast.Select, scope: Scope): Selection {
  let from: Value;
  if (expr.object) from = e.evaluate(expr.object, scope);
  else {
    const root = scope.find(ROOT);
    if (!root)
      fail("P0304", expr.span, "a path that begins with `**` needs something it is said of", {
        notes: ["as in `m.**: Linear except **.lm_head`"],
      });
    from = root(scope.here);
  }
  const text = e.textOf(expr.span);
  const { places: roots, call } = asSelection(from, expr.object?.span ?? expr.span);
  const places = step(e, roots, expr.step, expr.span, scope);
  if (places.length === 0) fail("P0312", expr.span, "this selector matches nothing", { notes: deepNotes(e, from, expr) });
  return selected(places, text, call);
}

/** Places, each once. What a selector finds that starts at a call is of that call. */
function selected(places: readonly Place[], text: string, call: Frame | undefined): Selection {
  return new Selection(dedupe(call ? places.map((p) => (p.kind === "value" ? { ...p, within: call } : p)) : places), text, call);
}

function deepNotes(e: Elaborator, from: Value, expr: ast.Select): string[] {
  if (expr.step.kind !== "Deep" || !expr.step.role || !(from instanceof Instance)) return [];
  const roles = new Set<string>();
  for (const i of from.tree()) {
    roles.add(i.decl.name.text);
    for (const f of i.decl.fills) roles.add(f.role.text);
  }
  return [`below ${from.decl.name.text} there are: ${[...roles].sort().join(", ")}`, ...e.suggestions(expr.step.role.text, [...roles])];
}

function dedupe(places: readonly Place[]): Place[] {
  return [...new Map(places.map((p) => [keyOf(p), p])).values()];
}

function step(e: Elaborator, places: readonly Place[], s: ast.Step, span: Span, scope: Scope): Place[] {
  switch (s.kind) {
    case "Child":
      return stepChild(e, places, s.name.text);
    case "Any":
      return places.flatMap((p): Place[] => {
        if (p.kind === "list") return p.items.map((instance) => ({ kind: "module", instance }));
        const top = p.kind === "module" ? p.instance.children() : p.kind === "site" ? p.site.children() : [];
        return [...top].map(([, instance]) => ({ kind: "module", instance }) as const);
      });
    case "Deep": {
      const all = places.flatMap((p): Instance[] => (p.kind === "list" ? p.items.flatMap((i) => [...i.tree()]) : below(p)));
      if (!s.role) return [...all.map((instance) => ({ kind: "module", instance }) as const), ...places.filter((p) => p.kind === "site")];
      const role = scope.find(s.role.text)?.(scope.here);
      if (!(role instanceof RoleDecl) && !(role instanceof ModuleDecl))
        fail("P0301", s.role.span, `\`${s.role.text}\` is not a role or module`, { notes: e.suggestions(s.role.text, scope.names()) });
      return all.flatMap((instance) => filled(instance, role));
    }
    case "Alternatives":
      return s.paths.flatMap((path) => {
        let at = places;
        for (const st of path) {
          const found = step(e, at, st, span, scope);
          if (found.length === 0) failChild(e, at, [st], s.span);
          at = found;
        }
        return at;
      });
  }
}

function below(p: Place): Instance[] {
  if (p.kind === "module") return [...p.instance.tree()];
  if (p.kind === "site") return [...p.site.children()].flatMap(([, i]) => [...i.tree()]);
  return [];
}

/** A module once for each role of the kind that it fills (a block is two kinds of sublayer). */
function filled(instance: Instance, role: RoleDecl | ModuleDecl): Place[] {
  return fillingsOf(instance, role).length > 0 ? [{ kind: "module", instance, role: role instanceof RoleDecl ? role : undefined }] : [];
}

/** `.name` of every place: a child, a parameter, a value; after `: R` a name of the role. */
export function childPlaces(e: Elaborator, from: Selection, name: string, span: Span): Selection {
  const places = stepChild(e, from.places, name);
  if (places.length === 0) failChild(e, from.places, [{ kind: "Child", name: { kind: "Name", text: name, span }, span }], span);
  return selected(places, from.text === "" ? name : `${from.text}.${name}`, from.call);
}

function stepChild(e: Elaborator, places: readonly Place[], name: string): Place[] {
  return places.flatMap((p): Place[] => {
    if (p.kind === "list")
      return /^\d+$/.test(name)
        ? p.items[+name]
          ? [{ kind: "module", instance: p.items[+name] }]
          : []
        : stepChild(
            e,
            p.items.map((instance) => ({ kind: "module", instance })),
            name,
          );
    if (p.kind === "site") {
      const s = p.site.params.get(name);
      if (s) return [{ kind: "param", storage: s }];
      const child = [...p.site.children()].find(([n]) => n === name);
      return child ? [{ kind: "module", instance: child[1] }] : [];
    }
    if (p.kind !== "module") return [];
    const { instance, role } = p;
    if (role && namesOfRole(role).includes(name)) {
      const path = fillingsOf(instance, role)[0]?.names.get(name) ?? [name];
      if (path.length === 1) {
        const slot = instance.slots.get(path[0]);
        if (slot) return slot.kind === "stored" ? [{ kind: "param", storage: slot.storage }] : [];
        if (instance.block.thunkBefore(path[0])) return placesOf(instance.block.thunkBefore(path[0])!.force());
      }
      return [{ kind: "value", instance, role, name }];
    }
    const slot = instance.slots.get(name);
    if (slot) return slot.kind === "stored" ? [{ kind: "param", storage: slot.storage }] : [];
    const bound = instance.block.thunkBefore(name);
    if (bound) return placesOf(bound.force());
    const forward = forwardOf(instance.decl);
    const values = forward ? [...forward.params, ...forward.results].map((q) => q.name.text) : [];
    if (values.includes(name) || (forward && namesOfRole(instance.module).includes(name) && !instance.args.has(name)))
      return [{ kind: "value", instance, name }];
    return [];
  });
}
function placesOf(v: Value): Place[] {
  if (v instanceof Instance) return [{ kind: "module", instance: v }];
  if (v instanceof Storage) return [{ kind: "param", storage: v }];
  if (Array.isArray(v) && v.length > 0 && v.every((x) => x instanceof Instance)) return [{ kind: "list", items: v as readonly Instance[] }];
  return [];
}

function failChild(e: Elaborator, places: readonly Place[], path: readonly ast.Step[], span: Span): never {
  const first = path[0];
  const name = first.kind === "Child" ? first.name.text : "…";
  const at = places.find((p) => p.kind === "module" || p.kind === "site" || p.kind === "list");
  const instance = at?.kind === "module" ? at.instance : at?.kind === "list" ? at.items[0] : undefined;
  const what = instance ? instance.decl.name.text : at?.kind === "site" ? at.site.attachment.method.name : "what is selected";
  const valid = instance
    ? [...new Set([...[...instance.children()].map(([n]) => n.replace(/\.\d+$/, "")), ...instance.slots.keys()])]
    : at?.kind === "site"
      ? [...at.site.params.keys(), ...[...at.site.children()].map(([n]) => n)]
      : [];
  fail("P0312", first.kind === "Child" ? first.name.span : span, "this selector matches nothing", {
    label: `no child \`${name}\` in ${what}`,
    notes: [...(valid.length > 0 ? [`${what} has: ${valid.join(", ")}`] : []), ...e.suggestions(name, valid)],
  });
}

/** `[*]`, indices and runs of a list of children. */
export function indexPlaces(e: Elaborator, object: Value, expr: ast.Index, scope: Scope): Selection {
  const from = object instanceof Selection ? object.places : ([{ kind: "list", items: object as readonly Instance[] }] as const);
  const text = e.textOf(expr.span);
  const lists = from.map((p) => {
    if (p.kind !== "list")
      fail("P0303", expr.span, `${p.kind === "module" ? p.instance.decl.name.text : "this"} is not a list of children`, {
        label: "an index needs a list",
      });
    return p.items;
  });
  const places = lists.flatMap((items) =>
    expr.items.flatMap((item): Instance[] => {
      if (item.kind === "Star") return [...items];
      if (item.kind !== "At") fail("P0303", item.span, "children are picked by `*`, whole numbers and runs `a..b`");
      const number = (x: ast.Expr) => {
        const v = e.evaluate(x, scope);
        if (typeof v !== "number" || !Number.isInteger(v)) fail("P0403", x.span, `an index must be a whole number, this is ${describe(v)}`);
        return v < 0 ? v + items.length : v;
      };
      if (item.value.kind === "Range") {
        const start = number(item.value.start);
        const end = item.value.end ? number(item.value.end) : items.length;
        if (end > items.length || start >= end)
          fail("P0312", item.span, `the run ${start}..${end} of ${items.length} children`, { label: "out of range" });
        return items.slice(start, end);
      }
      const v = e.evaluate(item.value, scope);
      const wanted = Array.isArray(v) ? (v as number[]) : [number(item.value)];
      return wanted.map(
        (i) => items[i] ?? fail("P0312", item.span, `there is no child ${i}: the list has ${items.length}`, { label: "out of range" }),
      );
    }),
  );
  return selected(
    places.map((instance) => ({ kind: "module", instance }) as const),
    text,
    object instanceof Selection ? object.call : undefined,
  );
}

/** Where the places of a selection lie, for reports. */
export function placePath(p: Place): string {
  switch (p.kind) {
    case "module":
      return p.role ? `${p.instance.fullPath}:${p.role.name}` : p.instance.fullPath;
    case "param":
      return p.storage.name;
    case "value":
      return `${p.instance.fullPath}.${p.name}`;
    case "site":
      return p.site.fullPath;
    case "list":
      return p.items[0]?.fullPath ?? "";
    case "chain":
      return p.parent.fullPath;
  }
}
