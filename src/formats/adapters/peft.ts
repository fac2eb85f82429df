/** Reads adapters in the layout of Hugging Face PEFT. */
import type { AdapterPart } from "../../ground/adapter.ts";
import { InputError } from "../../ir/errors.ts";
import { describe, type Json, type JsonRecord } from "../files.ts";
import type { TensorStore } from "../safetensors/read.ts";
import { evaluate } from "./expression.ts";
import { AdapterFolder, checkTable, comparePaths, PartBuilder, type PartOfTensor } from "./folder.ts";
import { takeGrouped } from "./grouped.ts";
import { asInCheckpoints, type Mappings, type MethodMapping, type PeftMapping } from "./mapping.ts";
import { readOptions, regex } from "./options.ts";
import { apartIn, checkFields, isEmpty, same, unknownType } from "./peft-config.ts";
import { placesIn } from "./peft-places.ts";
import { fillThinned } from "./thinned.ts";
import { makeView } from "./view.ts";

/** `path`: of the configuration. `open`: the weights, which types that are not built may keep elsewhere. Errors as in `readAdapter`. */
export function readPeft(path: string, config: JsonRecord, open: () => TensorStore, mappings: Mappings): AdapterFolder {
  const type = String(config.peft_type).toUpperCase();
  const mapping = mappings.peft.get(type);
  if (mapping === undefined) throw unknownType(path, type, mappings);
  const { notes, unknownFields } = checkFields(path, config, mapping);
  const complete: JsonRecord = { ...mapping.fields, ...config };
  const store = open();
  const { parts, views, rest } =
    mapping.layout === "modules"
      ? readModules(path, complete, store, mapping, mappings, "r" in config)
      : readTable(path, complete, store, mapping);
  const { heads: named, copies } = readRest(new Map([...rest].map(([bare, key]) => [asInCheckpoints(mappings, bare), key])), mapping);
  const heads = onceEachTable(path, named, mappings, store);
  const along = new PartBuilder();
  const always = mappings.tasks.get(String(config.task_type));
  if (always !== undefined) along.add(always, {}, { path: `${always.at} #0${always.optional ? "?" : ""}`, params: {} });
  const made = [...along.done(), ...parts.done()];
  const drawn = made.filter((part) => part.drawn !== undefined);
  notes.push(
    ...mapping.methods.flatMap(({ method, drawn: said }) => (drawn.some((part) => part.method === method) ? (said?.note ?? []) : [])),
  );
  const base = config.base_model_name_or_path;
  return new AdapterFolder(
    {
      layout: "peft",
      base: typeof base === "string" ? base : undefined,
      taskType: typeof config.task_type === "string" ? config.task_type : undefined,
      parts: made,
      heads,
      apart: apartIn(complete, mapping, heads),
      elsewhere:
        mapping.layout === "modules" && mapping.last === undefined
          ? placesIn(path, complete, made, { ...named, ...heads }, mapping)
          : undefined,
      copies,
      config,
      unknownFields,
      notes,
    },
    store,
    views,
  );
}

interface Read {
  readonly parts: PartBuilder;
  readonly views: ReadonlyMap<string, PartOfTensor>;
  /** Keys that belong to no site, without their prefix, to the keys in the file. */
  readonly rest: ReadonlyMap<string, string>;
}

/** A key without what peft, or an older version of it, wraps around the module's path. */
function bareKey(key: string, aliases: Readonly<Record<string, string>>): string {
  let bare = key.replace(/^base_model\.model\./, "").replace(/\.modules_to_save(\.default)?\./, ".");
  bare = bare.replace(/\.default(?=\.weight$|\.bias$|$)/, "");
  for (const [alias, name] of Object.entries(aliases)) if (bare.endsWith(`.${alias}`)) bare = bare.slice(0, -alias.length) + name;
  return bare;
}

function readModules(
  path: string,
  config: JsonRecord,
  store: TensorStore,
  mapping: PeftMapping,
  mappings: Mappings,
  ranked: boolean,
): Read {
  const methods = mapping.methods.filter((method) => !method.writeOnly);
  const ends = [...new Set(methods.flatMap((method) => Object.values(method.params ?? {})))].sort((a, b) => b.length - a.length);
  const shared = new Map(methods.flatMap((method) => Object.entries(method.shared ?? {}).map(([param, key]) => [key, param] as const)));
  const repeated = methods.flatMap((method) => Object.values(method.repeated ?? {}));
  const stems = [...new Set(methods.flatMap((method) => Object.values(method.numbered ?? {})))];
  const counted = new Map<string, string[]>();
  const sharedKeys: Record<string, string> = {};
  const sites = new Map<string, Map<string, string>>();
  const rest = new Map<string, string>();
  for (const key of store.tensors.keys()) {
    const param = shared.get(key);
    if (param !== undefined) {
      sharedKeys[param] = key;
      continue;
    }
    const stem = stems.find((candidate) => key.startsWith(candidate) && /^\d+$/.test(key.slice(candidate.length)));
    if (stem !== undefined) {
      counted.set(stem, [...(counted.get(stem) ?? []), key]);
      continue;
    }
    const bare = bareKey(key, mapping.aliases ?? {});
    // a bias that is trained alone and in a module that is trained whole is there twice
    if (/\.modules_to_save\./.test(key) && rest.has(bare)) continue;
    if (repeated.some((candidate) => bare.endsWith(`.${candidate}`))) continue;
    const end = ends.find((candidate) => bare.endsWith(`.${candidate}`));
    if (end === undefined) {
      rest.set(bare, key);
      continue;
    }
    const site = bare.slice(0, -end.length - 1);
    if (!sites.has(site)) sites.set(site, new Map());
    sites.get(site)!.set(end, key);
  }
  for (const [bare, key] of rest) {
    const site = [...sites.keys()].find((candidate) => bare.startsWith(`${candidate}.`));
    if (site !== undefined && !/^(base_layer\.)?(weight|bias)$/.test(bare.slice(site.length + 1))) {
      throw new InputError("P0664", `\`${path}\`: the tensor \`${key}\` fits no method of ${config.peft_type}`);
    }
  }
  const parts = new PartBuilder();
  const views = new Map<string, PartOfTensor>();
  const twins = mapping.tied ? repeats(sites, store, config.target_modules) : new Map<string, string[]>();
  const ordered = [...sites].sort(([a], [b]) => comparePaths(a, b));
  takeGrouped(
    path,
    config,
    sites,
    ordered.map(([site]) => site),
    methods,
    store,
  );
  for (const [site, keys] of ordered) {
    if ([...twins.values()].some((others) => others.includes(site))) continue;
    const [method, ...others] = methodsAt(path, config, site, keys, methods);
    const params = { ...paramKeys(method, keys)!, ...fillThinned(path, config, site, method, keys, store, views) };
    const shapeOf = (param: string): readonly number[] | undefined => {
      const part = views.get(params[param]);
      return params[param] === undefined ? undefined : (part?.thinned?.shape ?? store.info(params[param]).shape);
    };
    const optionsOf = (of: MethodMapping) => readOptions(of.options, config, site, shapeOf, `\`${path}\``, ranked);
    const wanted = Object.keys(method.shared ?? {});
    const drawn = drawnAt(method, config, (param) => params[param] ?? sharedKeys[param]);
    const lacking = wanted.find((param) => sharedKeys[param] === undefined && !drawn?.params.includes(param));
    if (lacking !== undefined) throw new InputError("P0664", `\`${path}\`: the weights lack the tensor \`${method.shared![lacking]}\``);
    const numbered = Object.entries(method.numbered ?? {}).map(([param, stem]) => {
      const keys = counted.get(stem) ?? [];
      if (keys.length === 0) throw new InputError("P0664", `\`${path}\`: the weights lack the tensor \`${stem}0\``);
      return [param, keys.sort((a, b) => Number(a.slice(stem.length)) - Number(b.slice(stem.length)))] as const;
    });
    const common = Object.fromEntries(wanted.flatMap((param) => (sharedKeys[param] === undefined ? [] : [[param, sharedKeys[param]]])));
    parts.add(
      method,
      optionsOf(method),
      { path: asInCheckpoints(mappings, site), params, also: twins.get(site)?.map((twin) => asInCheckpoints(mappings, twin)) },
      common,
      Object.fromEntries(numbered),
      others.map((other) => ({ method: other.method, from: other.from, options: optionsOf(other) })),
      drawn,
    );
  }
  for (const { beside, params = {} } of methods) {
    const [end] = Object.values(params);
    if (beside !== undefined && !isEmpty(config[beside]) && ![...sites.values()].some((keys) => keys.has(end)))
      throw new InputError("P0664", `\`${path}\`: ${beside} is set, and the weights have no tensor that ends in \`${end}\``);
  }
  return { parts, views, rest };
}

/** What is not in the file because the configuration says that it is drawn again. */
function drawnAt(
  { drawn, options }: MethodMapping,
  config: JsonRecord,
  keyOf: (param: string) => string | undefined,
): AdapterPart["drawn"] {
  if (drawn === undefined || config[options[drawn.saved].field!] !== false) return undefined;
  const params = drawn.params.filter((param) => keyOf(param) === undefined);
  return params.length === 0 ? undefined : { by: drawn.by, params };
}

/** Sites to others whose tensors are the same, number by number; those that the configuration names come first. */
function repeats(
  sites: ReadonlyMap<string, ReadonlyMap<string, string>>,
  store: TensorStore,
  targets: Json | undefined,
): Map<string, string[]> {
  const twins = new Map<string, string[]>();
  const names = (Array.isArray(targets) ? targets : [targets]).map(String);
  const unnamed = (site: string): number => Number(!names.some((name) => site === name || site.endsWith(`.${name}`)));
  const left = [...sites.keys()].sort((a, b) => unnamed(a) - unnamed(b) || comparePaths(a, b));
  const equal = (a: string, b: string): boolean => {
    const [x, y] = [store.read(a), store.read(b)];
    return x.length === y.length && x.every((v, i) => v === y[i]);
  };
  while (left.length > 0) {
    const first = left.shift()!;
    const own = sites.get(first)!;
    const others = left.filter((site) => {
      const keys = sites.get(site)!;
      return keys.size === own.size && [...own].every(([end, key]) => keys.has(end) && equal(key, keys.get(end)!));
    });
    if (others.length > 0) twins.set(first, others);
    for (const other of others) left.splice(left.indexOf(other), 1);
  }
  return twins;
}

/** Parameters to keys, if the site's keys are just the method's. */
function paramKeys(method: MethodMapping, keys: ReadonlyMap<string, string>): Record<string, string> | undefined {
  const params: Record<string, string> = {};
  for (const [param, end] of Object.entries(method.params ?? {})) {
    const key = keys.get(end);
    if (key !== undefined) params[param.replace(/\?$/, "")] = key;
    else if (!param.endsWith("?")) return undefined;
  }
  return Object.keys(params).length === keys.size ? params : undefined;
}

/** The method of a site's tensors, then those for modules of other kinds. */
function methodsAt(
  path: string,
  config: JsonRecord,
  site: string,
  keys: ReadonlyMap<string, string>,
  methods: readonly MethodMapping[],
): readonly MethodMapping[] {
  const found = methods.filter(
    (method) =>
      paramKeys(method, keys) !== undefined &&
      Object.entries(method.when ?? {}).every(([field, value]) => same(config[field], value)) &&
      (method.listed === undefined || isListed(config[method.listed], site, `\`${path}\`: ${method.listed}`)),
  );
  if (found.length > 0) return [found[0], ...found.slice(1).filter((method) => method.also && sameParams(method, found[0], keys))];
  const fields = [...new Set(methods.flatMap((method) => Object.keys(method.when ?? {})))].map(
    (field) => `${field} = ${JSON.stringify(config[field])}`,
  );
  throw new InputError(
    "P0664",
    `\`${path}\`: the tensors ${[...keys.keys()].join(", ")} of \`${site}\` fit no method of ${config.peft_type}`,
    [
      ...(fields.length === 0 ? [] : [`with ${fields.join(", ")}`]),
      ...methods.map((method) => `${method.method} has ${Object.values(method.params ?? {}).join(", ")}`),
    ],
  );
}

/** Whether two methods call a site's tensors by the same names. */
function sameParams(a: MethodMapping, b: MethodMapping, keys: ReadonlyMap<string, string>): boolean {
  const [of, other] = [paramKeys(a, keys)!, paramKeys(b, keys)!];
  return Object.entries(of).every(([param, key]) => other[param] === key);
}

/** peft's rule for (IA)³: a list by the end of the path, whether or not a name starts there; a string as a regular expression over all of it. */
function isListed(list: Json | undefined, site: string, what: string): boolean {
  if (list === null || list === undefined) return false;
  if (typeof list === "string") return regex(`^(?:${list})$`, what).test(site);
  if (!Array.isArray(list)) throw new InputError("P0661", `${what} is ${describe(list)} where a list or a string is wanted`);
  return list.some((name) => site.endsWith(String(name)));
}

function readTable(path: string, config: JsonRecord, store: TensorStore, mapping: PeftMapping): Read {
  const what = `\`${path}\``;
  const method = mapping.methods.find(
    (m) => !m.writeOnly && Object.entries(m.when ?? {}).every(([field, value]) => same(config[field], value)),
  );
  if (method === undefined) {
    const fields = Object.keys(mapping.methods[0].when ?? {}).map((field) => `${field} = ${JSON.stringify(config[field])}`);
    throw new InputError("P0665", `${what}: ${config.peft_type} with ${fields.join(", ")} is not built`);
  }
  const scope: Record<string, unknown> = { ...config };
  for (const [name, expression] of Object.entries(method.sizes ?? {})) scope[name] = evaluate(expression, scope, what);
  const count = evaluate(method.sites!.count, scope, what);
  const parts = new PartBuilder();
  const views = new Map<string, PartOfTensor>();
  for (const companion of method.companions ?? []) {
    const options = Object.fromEntries(
      Object.entries(companion.options).map(([name, expression]) => [name, evaluate(expression, scope, what)]),
    );
    parts.add(companion, options, { path: `${companion.at} #0${companion.optional ? "?" : ""}`, params: {} });
  }
  const options = readOptions(method.options, config, "", () => undefined, what);
  const shared = method.shared ?? {};
  const used = new Set<string>(Object.values(shared));
  for (const key of used) if (!store.tensors.has(key)) throw new InputError("P0664", `${what}: the weights lack the tensor \`${key}\``);
  for (let index = 0; index < count; index++) {
    const params: Record<string, string> = {};
    for (const [param, mapped] of Object.entries(method.views ?? {})) {
      const view = makeView(mapped, { ...scope, index }, what);
      if (!store.tensors.has(mapped.of)) throw new InputError("P0664", `${what}: the weights lack the tensor \`${mapped.of}\``);
      checkTable(store, mapped.of, view, path);
      // places that read the same part have one key
      const like = [...views].find(
        ([, other]) => other.of === mapped.of && JSON.stringify(other.thinned ?? other.view) === JSON.stringify(view),
      )?.[0];
      params[param] = like ?? `${mapped.of}[${param} ${index}]`;
      views.set(params[param], { of: mapped.of, view });
      used.add(mapped.of);
    }
    parts.add(method, options, { path: `${method.sites!.at} #${index}`, params }, shared);
  }
  const rest = new Map<string, string>();
  for (const key of store.tensors.keys()) {
    if (!used.has(key))
      rest.set(key.startsWith(mapping.headPrefix) ? key.slice(mapping.headPrefix.length).replace(/^model\./, "") : key, key);
  }
  return { parts, views, rest };
}

/**
 * A table that transformers reads in several modules is one here: PEFT's copies of it, which must be equal (P0664), become one, and so does a head with its values. `named`: paths
 * to keys.
 */
function onceEachTable(
  path: string,
  named: Readonly<Record<string, string>>,
  { otherwise, copied }: Mappings,
  store: TensorStore,
): Record<string, string> {
  const copies = new Map<string, string[]>();
  for (const head of Object.keys(named)) {
    const rule = otherwise.find(([pattern]) => pattern.test(head));
    const table = rule && head.replace(...rule);
    if (table === undefined || !copied.some(([pattern]) => pattern.test(table))) continue;
    copies.set(table, [...(copies.get(table) ?? []), head]);
  }
  if (copies.size === 0) return { ...named };
  const heads: Record<string, string> = { ...named };
  for (const [table, places] of copies) {
    const [first, ...others] = places.map((place) => heads[place]);
    const values = store.read(first);
    const equal = (key: string) => {
      const found = store.read(key);
      return found.length === values.length && found.every((v, i) => v === values[i]);
    };
    const other = others.find((key) => !equal(key));
    if (other !== undefined)
      throw new InputError("P0664", `\`${path}\`: \`${first}\` and \`${other}\` are one embedding table here, and have other values`, [
        "they were trained apart; there is no such model here",
      ]);
    for (const place of places) delete heads[place];
    const head = Object.keys(heads).find((name) => /(^|\.)lm_head\.weight$/.test(name) && equal(heads[name]));
    if (head !== undefined) delete heads[head];
    heads[table] = first;
  }
  return heads;
}

/** What is no site's: trained heads and biases, new values of norms, and copies of base weights that only came along. */
function readRest(
  rest: ReadonlyMap<string, string>,
  mapping: PeftMapping,
): { heads: Record<string, string>; copies: Record<string, string> } {
  const heads: Record<string, string> = {};
  const copies: Record<string, string> = {};
  const copied = mapping.methods.flatMap((method) => method.copies ?? []);
  for (const [bare, key] of rest) {
    // the base's own, beside what is trained in its place
    if (bare.includes(".original_module.")) {
      copies[bare.replace(".original_module.", ".")] = key;
      continue;
    }
    const end = copied.find((candidate) => bare.endsWith(`.${candidate}`));
    if (end !== undefined) {
      copies[bare.replace(/\.base_layer\./, ".")] = key;
      continue;
    }
    let path = bare.replace(/\.base_layer\./, ".");
    for (const [ending, name] of Object.entries(mapping.replaced ?? {}))
      if (path.endsWith(`.${ending}`)) path = path.slice(0, -ending.length) + name;
    heads[path] = key;
  }
  return { heads, copies };
}
