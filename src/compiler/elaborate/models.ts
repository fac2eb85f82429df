import type { Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import type { ModelReport } from "../project.ts";
import { attach } from "./attach.ts";
import { applyModule } from "./calls.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail, reading } from "./fault.ts";
import { forwardOf, Instance, inputsOf } from "./instance.ts";
import { fold } from "./merge.ts";
import { parametersOf } from "./parameters.ts";
import { recordOf } from "./records.ts";
import { fixed, Names, type Scope } from "./scope.ts";
import { asSelection, selectionOf } from "./select.ts";
import { Storage } from "./storage.ts";
import { separate } from "./untie.ts";
import { Applied, describe, Fields, ModuleDecl, type Place, Selection, TypeDecl, type Value } from "./values.ts";

/** `model m = M(…) from "folder" except …`, or a copy: `model b = a`. */
export function makeModel(e: Elaborator, s: ast.Model, scope: Scope): Instance {
  const name = s.name.text;
  if (!s.from) {
    const value = s.value.kind === "Call" ? undefined : e.evaluate(s.value, scope);
    if (value instanceof Instance) return copyModel(e, name, value, s.span);
    const instance =
      value === undefined
        ? e.evaluate(s.value, scope)
        : value instanceof ModuleDecl
          ? applyModule(e, value, [], scope, s.value.span)
          : value;
    if (!(instance instanceof Instance)) fail("P0206", s.value.span, `a model is a module, this is ${describe(instance)}`);
    const merge = e.merges.get(instance);
    const folder = merge && e.models.find((m) => m.instance === merge.source)?.report.folder;
    register(e, name, instance, folder, s.span, []);
    if (merge) {
      e.merges.delete(instance);
      fold(e, instance, merge.source, merge.span);
    }
    return instance;
  }
  const { from, excepted } = splitFrom(s.from);
  const source = e.evaluate(from, scope);
  const callee = s.value.kind === "Call" ? s.value.callee : s.value;
  const module = e.evaluate(callee, scope);
  if (!(module instanceof ModuleDecl)) fail("P0206", callee.span, `a model is made of a module, this is ${describe(module)}`);
  const args = s.value.kind === "Call" ? s.value.args : [];
  if (source instanceof Instance) {
    const config = [...source.args.values()].find((v): v is Fields => v instanceof Fields);
    const instance = makeFrom(e, module, config ? Object.fromEntries(config.entries) : {}, args, scope, s.value.span, []);
    // the words stay what they were
    register(e, name, instance, e.models.find((m) => m.instance === source.root)?.report.folder, s.span, []);
    instance.tokenizer ??= source.root.tokenizer;
    const skip = exceptions(e, instance, excepted, scope);
    takeFrom(e, instance, source, skip, s.span);
    return instance;
  }
  if (typeof source !== "string") fail("P0206", from.span, `\`from\` takes a folder or a model, this is ${describe(source)}`);
  const folder = e.resolvePath(source, from.span);
  const config = reading(from.span, () => e.host.readConfig(folder));
  if (!config)
    fail("P0601", from.span, `there is no model in ${source}`, { label: "no config.json there", notes: [`looked in ${folder}`] });
  e.configs.push({ folder: source, fields: config, span: from.span });
  const unknown: string[] = [];
  const rows = e.overrides.vocabulary?.[name];
  const instance = makeFrom(e, module, rows === undefined ? config : { ...config, vocab_size: rows }, args, scope, s.value.span, unknown);
  register(e, name, instance, folder, s.span, unknown);
  const skip = exceptions(e, instance, excepted, scope);
  fromFolder(e, name, instance, folder, source, skip, from.span);
  return instance;
}

function splitFrom(expr: ast.Expr): { from: ast.Expr; excepted: ast.Expr[] } {
  if (expr.kind !== "Except") return { from: expr, excepted: [] };
  const inner = splitFrom(expr.left);
  return { from: inner.from, excepted: [...inner.excepted, expr.right] };
}

/** Fields of the file that the record knows, then those given in the call. */
function makeFrom(
  e: Elaborator,
  module: ModuleDecl,
  config: Readonly<Record<string, unknown>>,
  args: readonly ast.Argument[],
  scope: Scope,
  span: Span,
  unknown: string[],
): Instance {
  const type = recordOf(module);
  if (!type) fail("P0602", span, `${module.name} takes no record, so a config.json cannot fill it`);
  return applyModule(e, module, args, scope, span, knownFields(type, config, "", unknown));
}

/** What a record has a field for, of a file; the same of records in it. What it has none for is `unknown`, by path. */
function knownFields(type: TypeDecl, config: Readonly<Record<string, unknown>>, path: string, unknown: string[]): Fields {
  const entries = new Map<string, Value>();
  const names = new Map(type.decl.fields.map((f) => [f.name.text, f]));
  for (const [k, v] of Object.entries(config)) {
    const field = names.get(k);
    if (!field) {
      unknown.push(path + k);
      continue;
    }
    const inner = field.type.kind === "NamedType" ? type.scope.find(field.type.name.text)?.(type.scope.here) : undefined;
    if (inner instanceof TypeDecl && isObject(v)) {
      entries.set(k, knownFields(inner, v, `${path}${k}.`, unknown));
      continue;
    }
    const value = fromJson(v);
    if (value === null && !(field.type.kind !== "ListType" && field.type.optional)) continue;
    entries.set(k, value);
  }
  return new Fields(entries);
}
const isObject = (v: unknown): v is Readonly<Record<string, unknown>> =>
  typeof v === "object" && v !== null && !Array.isArray(v) && !("kind" in v);

export function fromJson(v: unknown): Value {
  if (v === null || v === undefined) return null;
  if (typeof v === "number" || typeof v === "string" || typeof v === "boolean") return v;
  if (Array.isArray(v)) return v.map(fromJson);
  if (typeof v === "object" && "kind" in v) return v as Value;
  return new Fields(new Map(Object.entries(v as object).map(([k, x]) => [k, fromJson(x)])));
}

function register(e: Elaborator, name: string, instance: Instance, folder: string | undefined, span: Span, unknown: string[]): Instance {
  if (instance.holder) fail("P0218", span, `this module is already ${instance.fullPath}`);
  instance.holder = { kind: "root", owner: { kind: "model", name: e.names.model(name) } };
  const config = [...instance.args.values()].find((v): v is Fields => v instanceof Fields);
  const report: ModelReport = {
    name: instance.owner.name,
    module: instance.decl.name.text,
    folder,
    inputs: inputsOf(instance),
    outputs: forwardOf(instance.decl)?.results.map((p) => p.name.text) ?? [],
    config: config ? e.staticRecord(config.entries) : {},
    changed: config && folder !== undefined ? changedFields(e, config, folder, span) : [],
    floats:
      config?.type?.decl.fields.filter((f) => f.type.kind === "NamedType" && f.type.name.text === "float").map((f) => f.name.text) ?? [],
    unknownFields: unknown,
    leftOver: [],
    params: [],
    modules: {},
    shapes: {},
    ties: {},
    span,
  };
  e.models.push({ name: instance.owner.name, instance, report });
  return instance;
}

/** Fields that the program gave other values than the folder's file and the record's defaults. */
function changedFields(e: Elaborator, { entries, type }: Fields, folder: string, span: Span): string[] {
  const file = reading(span, () => e.host.readConfig(folder));
  if (type === undefined || file === undefined) return [...entries.keys()];
  const before = e.staticRecord(e.record(type, knownFields(type, file, "", []), span).entries);
  return Object.entries(e.staticRecord(entries)).flatMap(([name, value]) =>
    JSON.stringify(value) === JSON.stringify(before[name]) ? [] : [name],
  );
}

function exceptions(e: Elaborator, instance: Instance, excepted: readonly ast.Expr[], scope: Scope): Set<Storage> {
  const inner = new Names(new Map([["(root)", fixed([instance])]]), scope);
  return new Set(excepted.flatMap((x) => [...parametersOf(selectionOf(e, x, inner), x.span)]));
}

function fromFolder(
  e: Elaborator,
  name: string,
  instance: Instance,
  folder: string,
  written: string,
  skip: ReadonlySet<Storage>,
  span: Span,
): void {
  const params = [...instance.tree()].flatMap((i) => [...i.stored()].map(([, s]) => s));
  // all starts afresh: of the folder only config.json is wanted
  if (params.every((s) => skip.has(s))) return;
  const tensors = reading(span, () => e.host.readTensors(folder));
  const entry = e.models.find((m) => m.instance === instance)!;
  if (!tensors && e.host.sizesOnly) {
    for (const s of params) if (!skip.has(s)) s.source = { kind: "file", folder, tensor: s.path };
    entry.report = { ...entry.report, weightless: true };
    return;
  }
  if (!tensors)
    fail("P0603", span, `there are no weights in ${written}`, {
      notes: ["model.safetensors, or model.safetensors.index.json with its shards"],
    });
  // a program may ask for more words than the folder has
  const vocabulary = entry.report.changed.includes("vocab_size") ? entry.report.config.vocab_size : undefined;
  const wanted = params
    .filter((s) => !skip.has(s))
    .map((s): Wanted => ({ path: s.path, shape: s.shape, grows: s.shape[0] === vocabulary }));
  const found = reading(span, () => e.host.matchTensors([...wanted, ...ties(instance, new Set(params))], folder));
  const missing = found.missing;
  if (missing.length > 0)
    fail(
      "P0605",
      span,
      `${written} has no tensor for ${missing.length === 1 ? `\`${missing[0]}\`` : `${missing.length} parameters of ${name}`}`,
      {
        label: `made for ${instance.decl.name.text}`,
        notes: [
          `missing: ${missing.slice(0, 8).join(", ")}${missing.length > 8 ? ", …" : ""}`,
          ...(missing.length * 2 > wanted.length
            ? [`the tensors are called ${[...tensors.keys()].slice(0, 3).join(", ")}, …: is it another model, or another class of it?`]
            : ['`from "…" except **.name` starts parameters afresh']),
        ],
      },
    );
  if (found.wrongShape.length > 0) {
    const w = found.wrongShape[0];
    fail(
      "P0606",
      span,
      `\`${w.path}\` is [${w.wanted.join(", ")}] in ${instance.decl.name.text}, but [${w.seen.join(", ")}] in ${written}`,
      {
        notes: [
          ...found.wrongShape.slice(1, 6).map((x) => `${x.path}: [${x.wanted.join(", ")}] and [${x.seen.join(", ")}]`),
          ...(w.wanted[0] === vocabulary ? ["`vocab_size` can be larger than the folder's, not smaller"] : []),
        ],
      },
    );
  }
  for (const s of params) {
    const tensor = found.found.get(s.path);
    if (tensor !== undefined && !skip.has(s)) s.source = { kind: "file", folder, tensor };
  }
  entry.report = { ...entry.report, leftOver: found.leftOver };
}

type Wanted = Parameters<Elaborator["host"]["matchTensors"]>[0][number];

/** Names under which a checkpoint may hold a tied parameter once more. */
export function* ties(
  instance: Instance,
  own: ReadonlySet<Storage>,
): IterableIterator<{ path: string; shape: readonly number[]; tiedTo: string }> {
  for (const i of instance.tree())
    for (const [n, slot] of i.slots) {
      if (slot.kind !== "stored" || !own.has(slot.storage)) continue;
      const path = i.path === "" ? n : `${i.path}.${n}`;
      if (path !== slot.storage.path) yield { path, shape: slot.storage.shape, tiedTo: slot.storage.path };
    }
}

/** Values of the same paths from another model; a name more or less in front (a trunk under a head) is found too. */
function takeFrom(e: Elaborator, instance: Instance, source: Instance, skip: ReadonlySet<Storage>, span: Span): void {
  const from = new Map([...source.tree()].flatMap((i) => [...i.stored()].map(([, s]) => [s.path, s] as const)));
  const copies: { from: string; to: string }[] = [];
  const missing: string[] = [];
  for (const i of instance.tree())
    for (const [, s] of i.stored()) {
      if (skip.has(s)) continue;
      const other = from.get(s.path);
      if (!other) missing.push(s.path);
      else if (other.shape.join() !== s.shape.join())
        fail("P0606", span, `\`${s.path}\` is [${s.shape.join(", ")}] here, but [${other.shape.join(", ")}] in ${source.fullPath}`);
      else {
        copyOf(e, other, s);
        copies.push({ from: other.name, to: s.name });
      }
    }
  if (missing.length > 0)
    fail("P0605", span, `${source.fullPath} has no \`${missing[0]}\``, {
      notes: [`missing: ${missing.slice(0, 8).join(", ")}`, "`from m except **.name` starts parameters afresh"],
    });
  e.actions.push({ kind: "copy", of: source.owner.name, to: instance.owner.name, params: copies });
}

/** `model b = a`: the same structure, attachments and values as they now are; what pointed into a points into b. */
function copyModel(e: Elaborator, name: string, source: Instance, span: Span): Instance {
  const report = e.models.find((m) => m.instance === source.root)?.report;
  if (!report || source.root !== source) fail("P0206", span, `${describe(source)} is not a model: only a whole model can be copied`);
  const remap = new Map<object, Value>();
  const copy = new Instance(source.module, source.args, copyGifts(source), e, span);
  register(e, name, copy, report.folder, span, [...report.unknownFields]);
  copy.origin = source;
  copy.tokenizer = source.tokenizer;
  const pairs: { from: string; to: string }[] = [];
  const twin = (a: Instance, b: Instance) => {
    remap.set(a, b);
    const others = new Map(b.stored());
    for (const [n, s] of a.stored()) {
      const t = others.get(n) ?? separate(e, b, n);
      copyOf(e, s, t);
      pairs.push({ from: s.name, to: t.name });
      remap.set(s, t);
    }
    const children = new Map(b.children());
    for (const [n, c] of a.children()) twin(c, children.get(n)!);
  };
  twin(source, copy);
  e.actions.push({ kind: "copy", of: source.owner.name, to: copy.owner.name, params: pairs });
  for (const a of [...e.attachments]) {
    if (a.maker || a.name.startsWith("(")) continue;
    const places = a.sites.filter((s) => !s.detached).flatMap((s): Place[] => mapped(s.place, remap));
    if (places.length === 0) continue;
    const values = new Map([...e.optionsGiven(a.applied)].map(([k, v]) => [k, translate(v.value, remap)]));
    const applied = new Applied(a.applied.method, [], a.applied.scope, a.applied.span, values);
    const made = attach(e, e.names.attachment(a.name, copy.owner.name), applied, new Selection(places, a.selector), span);
    made.loaded = a.loaded;
    const copies: { from: string; to: string }[] = [];
    made.sites.forEach((site) => {
      const original = a.sites.find((s) => s.path === site.path)!;
      remap.set(original, site);
      const others = new Map(site.parameters());
      for (const [n, s] of original.parameters()) {
        const t = others.get(n);
        if (!t) continue;
        copyOf(e, s, t);
        copies.push({ from: s.name, to: t.name });
      }
    });
    for (const [n, s] of a.shared) {
      const t = made.shared.get(n);
      if (s instanceof Storage && t instanceof Storage) {
        copyOf(e, s, t);
        copies.push({ from: s.name, to: t.name });
      }
    }
    remap.set(a, made);
    e.actions.push({ kind: "copy", of: a.name, to: made.name, params: copies });
  }
  return copy;
}
/** A copy of something new that no stage has trained is new. */
function copyOf(e: Elaborator, from: Storage, to: Storage): void {
  to.source = { kind: "copy", of: from.name };
  to.copiedNew = from.isNew && !e.trained.has(from);
}
const copyGifts = (_source: Instance): ReadonlyMap<string, Value> => new Map();

function mapped(p: Place, remap: ReadonlyMap<object, Value>): Place[] {
  if (p.kind === "module") {
    const to = remap.get(p.instance);
    return to instanceof Instance ? [{ ...p, instance: to }] : [];
  }
  if (p.kind === "param") {
    const to = remap.get(p.storage);
    return to instanceof Storage ? [{ ...p, storage: to }] : [];
  }
  if (p.kind === "site") {
    const to = remap.get(p.site);
    return to !== undefined ? asSelection(to, undefined as never).places.slice() : [];
  }
  return [];
}
function translate(v: Value, remap: ReadonlyMap<object, Value>): Value {
  if (Array.isArray(v)) return v.map((x) => translate(x as Value, remap));
  return v !== null && typeof v === "object" && remap.has(v) ? remap.get(v)! : v;
}
