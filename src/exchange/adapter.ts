/** What an adapter's folder says is attached where, whether or not its weights are there. */

import type { ModelReport } from "../compiler/project.ts";
import { evaluate } from "../formats/adapters/expression.ts";
import { type AdapterFolder, rolesIn } from "../formats/adapters/folder.ts";
import type { Mappings, MethodMapping, PeftMapping } from "../formats/adapters/mapping.ts";
import { readOptions, regex } from "../formats/adapters/options.ts";
import { checkKinds } from "../formats/adapters/peft-config.ts";
import { type Matched, matchTargets } from "../formats/adapters/targets.ts";
import { isRecord, type Json, type JsonRecord } from "../formats/files.ts";
import type { Chosen } from "../ground/adapter.ts";
import { linearOf } from "../ground/misplaced.ts";
import { InputError } from "../ir/errors.ts";
import { own } from "../ir/own.ts";
import { methodOf, targetOf } from "./library.ts";

/** A method with its options at places: modules by path, or what a selector picks. */
export interface Placed {
  readonly method: string;
  readonly from: string;
  readonly options: Readonly<Record<string, Json>>;
  readonly modules: readonly string[];
  /** Selectors below the model, of formats that name no modules: `**: Attention`. */
  readonly selectors: readonly string[];
}

/** The parts of a folder with weights. */
export function placedParts(adapter: AdapterFolder, model: ModelReport): Placed[] {
  const out = new Gathered();
  const kinds = new Set(Object.values(model.modules).flat());
  for (const part of adapter.parts)
    for (const site of part.sites) {
      const path = site.path.replace(/\s*\?$/, "");
      // places of other models, which may be missing, are named by kinds that this one does not have
      if (rolesIn(path).some((role) => !kinds.has(role))) continue;
      if (path.includes("*")) out.add(part, undefined, path.replace(/\s*#\s*\d+$/, ""));
      else out.add(chosenAt([part, ...(part.or ?? [])], path.replace(/:.*$/, ""), model), path, undefined);
    }
  return out.done();
}

/** The method, of several with the same tensors, that goes on a module. */
function chosenAt(candidates: readonly Chosen[], path: string, model: ModelReport): Chosen {
  return candidates.find((c) => fits(c, path, model)) ?? candidates[0];
}

function fits({ method, from }: { readonly method: string; readonly from: string }, path: string, model: ModelReport): boolean {
  const decl = methodOf(method, from);
  const target = decl && targetOf(decl);
  return target !== undefined && (model.modules[path]?.includes(target) ?? false);
}

interface FromConfig {
  readonly parts: readonly Placed[];
  /** Modules of the base that are trained along. */
  readonly heads: readonly string[];
  /** Names in `target_modules` that meet nothing. */
  readonly idle: readonly string[];
}

/** What peft would attach for a configuration without weights. `what` names the file. P0661 to P0665 as in reading an adapter; P0693 where a module is of no kind that the type goes on. */
export function placedByConfig(given: JsonRecord, mappings: Mappings, model: ModelReport, what: string): FromConfig {
  const type = String(given.peft_type).toUpperCase();
  const mapping = mappings.peft.get(type);
  if (mapping === undefined)
    throw new InputError("P0662", `${what}: ${type} is no type of adapter that is built`, [
      `built are ${[...mappings.peft.keys()].join(", ")}`,
    ]);
  checkKinds(what, given, mapping.methods, mapping.fields);
  const config: JsonRecord = { ...mapping.fields, ...given };
  const all = mapping.methods.filter((m) => !m.writeOnly && (mapping.layout === "table" || said(m, config)));
  const methods = all.filter((m) => m.beside === undefined);
  const out = new Gathered();
  if (mapping.layout === "table") {
    // peft fills these in from the model
    const submodules =
      typeof config.num_transformer_submodules === "number"
        ? config.num_transformer_submodules
        : config.task_type === "SEQ_2_SEQ_LM"
          ? 2
          : 1;
    const filled: JsonRecord = { ...config, num_transformer_submodules: submodules };
    const method = methods.find((m) => said(m, filled));
    if (method === undefined) throw new InputError("P0665", `${what}: no method of ${type} is built for these fields`);
    const kinds = new Set(Object.values(model.modules).flat());
    const sizes = sizesOf(method, filled, what);
    for (const companion of method.companions ?? []) {
      if (rolesIn(companion.at).some((role) => !kinds.has(role))) continue;
      const options = Object.fromEntries(Object.entries(companion.options).map(([name, text]) => [name, evaluate(text, sizes, what)]));
      out.add({ method: companion.method, from: companion.from, options }, undefined, companion.at);
    }
    const options = readOptions(method.options, filled, "", () => undefined, what);
    out.add({ method: method.method, from: method.from, options }, undefined, method.sites!.at);
    return { parts: out.done(), heads: headsOf(config, mapping, model), idle: [] };
  }
  const paths = Object.keys(model.modules).filter((path) => path !== "");
  const { modules, idle } = targets(config, mapping, paths, model, what);
  if (modules.length === 0)
    throw new InputError("P0661", `${what}: target_modules meets no module of ${model.module}`, [shown(config.target_modules)]);
  // a type without a method of its own trains the modules themselves
  if (mapping.methods.length === 0) return { parts: [], heads: [...new Set([...modules, ...headsOf(config, mapping, model)])], idle };
  for (const path of modules) {
    const method = methods.filter((m) => m.listed === undefined || isListed(config[m.listed], path)).find((m) => fits(m, path, model));
    if (method === undefined)
      throw new InputError(
        "P0665",
        `${what}: target_modules meets \`${path}\`, which is a ${model.modules[path][0]}: ${type} does not go on those`,
        [shown(config.target_modules)],
      );
    out.add(
      { method: method.method, from: method.from, options: readOptions(method.options, config, path, () => undefined, what) },
      path,
      undefined,
    );
  }
  for (const method of all)
    for (const path of besides(method, config, model))
      out.add(
        { method: method.method, from: method.from, options: readOptions(method.options, config, path, () => undefined, what) },
        path,
        undefined,
      );
  return { parts: out.done(), heads: headsOf(config, mapping, model), idle };
}

/** Places that a field names apart from the targets. */
function besides(method: MethodMapping, config: JsonRecord, model: ModelReport): string[] {
  const value = method.beside === undefined ? null : (config[method.beside] ?? null);
  const paths = Object.keys(model.modules).filter((path) => fits(method, path, model));
  if (value === null) return [];
  return isRecord(value) ? paths.filter((path) => Object.keys(value).some((name) => path.endsWith(name))) : paths.slice(0, 1);
}

/** `modules_to_save`, with those that peft adds for the task. */
function headsOf(config: JsonRecord, mapping: PeftMapping, model: ModelReport): string[] {
  const named = savedNames(config, mapping);
  return Object.keys(model.modules).filter((path) => named.some((name) => path === name || path.endsWith(`.${name}`)));
}
const savedNames = (config: JsonRecord, mapping: PeftMapping): string[] => [
  ...new Set([
    ...(own(mapping.save, String(config.task_type)) ?? []),
    ...(Array.isArray(config.modules_to_save) ? config.modules_to_save.map(String) : []),
  ]),
];

/** Sizes that the fields tell. */
function sizesOf(method: MethodMapping, config: JsonRecord, what: string): Record<string, unknown> {
  const scope: Record<string, unknown> = { ...config };
  for (const [name, text] of Object.entries(method.sizes ?? {})) {
    try {
      scope[name] = evaluate(text, scope, what);
    } catch (error) {
      // a field that peft fills in from the model
      if (!(error instanceof InputError)) throw error;
    }
  }
  return scope;
}

const shown = (target: Json | undefined): string => `it is ${JSON.stringify(target)}`;

/** peft's rule for its lists of feed-forward modules has no dot: an end of the path will do. */
const isListed = (names: Json | undefined, path: string): boolean =>
  Array.isArray(names)
    ? names.some((name) => path.endsWith(String(name)))
    : typeof names === "string" && regex(`^(?:${names})$`, "target_modules").test(path);

const said = (m: MethodMapping, config: JsonRecord): boolean =>
  Object.entries(m.when ?? {}).every(([field, value]) => JSON.stringify(config[field] ?? null) === JSON.stringify(value));

function targets(config: JsonRecord, mapping: PeftMapping, paths: readonly string[], model: ModelReport, what: string): Matched {
  if (mapping.last !== undefined) {
    const named = paths.filter((path) => path.endsWith(`.${String(config.target_modules)}`));
    const last = config[mapping.last];
    return { modules: typeof last === "number" ? named.slice(-last) : named, idle: [] };
  }
  const withHeads = { ...config, modules_to_save: savedNames(config, mapping) };
  return matchTargets(withHeads, paths, what, () => allLinear(paths, model, String(config.task_type)));
}

/** Every product but the one to the vocabulary, and of classifiers but the head. */
function allLinear(paths: readonly string[], model: ModelReport, task: string): string[] {
  const heads = ["score", "classifier"];
  const modules = paths.map((path) => ({ path, kinds: model.modules[path], shape: model.shapes[`${path}.weight`] ?? [] }));
  return linearOf(modules, model.config.vocab_size).filter((path) => task !== "SEQ_CLS" || !heads.includes(path));
}

/** Sites gathered by equal methods and options. */
class Gathered {
  private readonly parts = new Map<
    string,
    { method: string; from: string; options: Readonly<Record<string, Json>>; modules: string[]; selectors: Set<string> }
  >();

  add({ method, from, options }: Chosen, module: string | undefined, selector: string | undefined): void {
    const key = JSON.stringify([method, from, options]);
    let part = this.parts.get(key);
    if (part === undefined) {
      part = { method, from, options, modules: [], selectors: new Set() };
      this.parts.set(key, part);
    }
    if (module !== undefined) part.modules.push(module);
    if (selector !== undefined) part.selectors.add(selector);
  }
  done(): Placed[] {
    return [...this.parts.values()].map((p) => ({ ...p, selectors: [...p.selectors] }));
  }
}
