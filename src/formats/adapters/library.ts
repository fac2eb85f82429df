/** Reads adapters in the layout of the adapters library (AdapterHub). The adapter's name is inside its keys; shared tensors are repeated under every layer. */

import { InputError } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import { readConfig } from "../config.ts";
import { describe, type Files, isRecord, type Json, type JsonRecord, joinPath } from "../files.ts";
import { openSafetensors, TensorStore } from "../safetensors/read.ts";
import { evaluate } from "./expression.ts";
import { AdapterFolder, checkTable, comparePaths, PartBuilder, type PartOfTensor } from "./folder.ts";
import type { LibraryMapping, Mappings } from "./mapping.ts";
import { readOptions } from "./options.ts";
import { checkKinds } from "./peft-config.ts";
import { makeView } from "./view.ts";

/** Errors as in `readAdapter`. */
export function readLibrary(files: Files, folder: string, config: JsonRecord, store: TensorStore, mappings: Mappings): AdapterFolder {
  const model = baseConfig(files, folder, config.model_name);
  const path = joinPath(folder, "adapter_config.json");
  const inner = config.config;
  if (!isRecord(inner)) throw new InputError("P0661", `\`${path}\`: config is ${describe(inner)} where an object is wanted`);
  const name = String(config.name);
  const outer: JsonRecord = { ...model, hidden_size: config.hidden_size, model_class: config.model_class };
  const union = inner.architecture === "union";
  const parts = new PartBuilder();
  const views = new Map<string, PartOfTensor>();
  const used = new Set<string>();
  for (const one of (union ? unionOf(inner, path) : [inner]).map((c) => completed(c, config.version, mappings))) {
    for (const mapping of chosen(one, mappings, path)) {
      checkKinds(`\`${path}\``, one, [mapping], mappings.architectures.get(mapping.architecture ?? "")?.fields ?? {});
      const kind = mapping.places === undefined ? undefined : new RegExp(mapping.places);
      const places = (place: string) => (kind?.test(place) ?? true) && (!union || isMeant(mapping, one, place, model));
      const reading: Reading = { mapping, config: one, outer, name, path, store, parts, views, used, places };
      if (mapping.views !== undefined) readPool({ ...reading, config: { ...outer, ...one } });
      else readSites(reading);
    }
  }
  const left = [...store.tensors.keys()].filter((key) => !used.has(key));
  if (left.length > 0) throw new InputError("P0664", `\`${path}\`: ${left.length} tensors fit no method, \`${left[0]}\` among them`);
  const base = config.model_name;
  const heads = headsOf(files, folder);
  return new AdapterFolder(
    {
      layout: "adapters",
      base: typeof base === "string" ? base : undefined,
      taskType: undefined,
      parts: parts.done(),
      heads: Object.fromEntries([...heads.keys()].map((key) => [key, key])),
      config,
    },
    new TensorStore(files, new Map([...store.tensors, ...heads]), store.metadata),
    views,
  );
}

export const FUSION_CONFIG = "adapter_fusion_config.json";

/** A fusion over adapters that lie elsewhere: the method wants them given. Its keys name them all, with commas. Errors as in `readAdapter`. */
export function readFusion(path: string, config: JsonRecord, store: TensorStore, mappings: Mappings): AdapterFolder {
  const inner = isRecord(config.config) ? { ...config.config, architecture: "fusion" } : undefined;
  if (inner === undefined) throw new InputError("P0661", `\`${path}\`: config is ${describe(config.config)} where an object is wanted`);
  const one = completed(inner, config.version, mappings);
  const parts = new PartBuilder();
  const used = new Set<string>();
  for (const mapping of chosen(one, mappings, path))
    readSites({
      mapping,
      config: one,
      outer: {},
      name: String(config.name),
      path,
      store,
      parts,
      views: new Map(),
      used,
      places: () => true,
    });
  const left = [...store.tensors.keys()].filter((key) => !used.has(key));
  if (left.length > 0) throw new InputError("P0664", `\`${path}\`: ${left.length} tensors fit no method, \`${left[0]}\` among them`);
  return new AdapterFolder(
    {
      layout: "adapters",
      base: typeof config.model_name === "string" ? config.model_name : undefined,
      taskType: undefined,
      parts: parts.done(),
      config,
    },
    store,
  );
}

function headsOf(files: Files, folder: string): TensorStore["tensors"] {
  const head = joinPath(folder, "model_head.safetensors");
  return files.stat(head) === undefined ? new Map() : openSafetensors(files, head).tensors;
}

/** With the defaults of fields that the file, of an older version perhaps, does not have. */
function completed(config: JsonRecord, version: Json | undefined, mappings: Mappings): JsonRecord {
  const architecture = mappings.architectures.get(typeof config.architecture === "string" ? config.architecture : "");
  const full: Record<string, Json> = { ...architecture?.fields, ...architecture?.unsaved, ...config };
  const number = /^adapters\.(\d+)\.(\d+)/.exec(String(version));
  for (const { before, field, as } of architecture?.fixes ?? []) {
    const [major, minor] = before.split(".").map(Number);
    if (number !== null && (Number(number[1]) < major || (Number(number[1]) === major && Number(number[2]) < minor)))
      full[field] = full[as];
  }
  return full;
}

/** Whether one of several configurations in a folder is about a place. */
function isMeant(mapping: LibraryMapping, config: JsonRecord, place: string, model: JsonRecord): boolean {
  const layer = layerOf(place, model);
  if (layer !== undefined && Array.isArray(config.leave_out) && config.leave_out.includes(layer)) return false;
  const field = mapping.locations?.find(([pattern]) => new RegExp(pattern).test(place))?.[1];
  return field === undefined || config[field] === true;
}

/** The number of a place's layer as the library counts: a decoder's follow on an encoder's. */
export function layerOf(place: string, model: JsonRecord): number | undefined {
  const number = /\.(\d+)(\.|$)/.exec(place);
  if (number === null) return undefined;
  const encoder = model.is_encoder_decoder === true ? Number(model.encoder_layers ?? model.num_layers ?? 0) : 0;
  return Number(number[1]) + (/(^|\.)decoder\./.test(place) ? encoder : 0);
}

/** `config.json` of the base, where its name is that of a folder here: as it is, or from a folder above the adapter. Some sizes are only there. */
function baseConfig(files: Files, folder: string, name: unknown): JsonRecord {
  if (typeof name !== "string" || name === "") return {};
  const parts = folder.split("/");
  const above = parts.map((_, i) => joinPath(parts.slice(0, parts.length - i).join("/") || "/", name));
  for (const place of [name, ...above]) {
    const config = readConfig(files, place);
    if (config !== undefined) return config;
  }
  return {};
}

function unionOf(inner: JsonRecord, path: string): readonly JsonRecord[] {
  if (Array.isArray(inner.configs) && inner.configs.every(isRecord)) return inner.configs;
  throw new InputError("P0661", `\`${path}\`: config.configs is ${describe(inner.configs)} where a list of objects is wanted`);
}

/** The kind that a configuration is of, and what comes along with it. */
function chosen(config: JsonRecord, mappings: Mappings, path: string): LibraryMapping[] {
  const architecture = config.architecture;
  const same = mappings.library.filter((mapping) => (mapping.architecture ?? null) === (architecture ?? null));
  const differs = (mapping: LibraryMapping) =>
    Object.entries(mapping.config).filter(([field, value]) => JSON.stringify(config[field] ?? null) !== JSON.stringify(value));
  const main = same.filter((mapping) => !mapping.beside);
  const found = main.find((mapping) => differs(mapping).length === 0);
  const along = same.filter((mapping) => mapping.beside && differs(mapping).length === 0);
  if (found !== undefined) return [found, ...along];
  // the last is the most general
  const nearest = main
    .map((mapping) => ({ mapping, fields: differs(mapping) }))
    .reduce<{ mapping: LibraryMapping; fields: [string, Json][] } | undefined>(
      (best, one) => (best === undefined || one.fields.length <= best.fields.length ? one : best),
      undefined,
    );
  const kind =
    architecture === undefined || architecture === null ? "this kind of bottleneck" : `the architecture ${JSON.stringify(architecture)}`;
  throw new InputError(
    "P0663",
    `\`${path}\`: ${kind} of the adapters library is not read`,
    nearest === undefined
      ? []
      : nearest.fields.map(
          ([field, value]) =>
            `${nearest.mapping.method} would need ${field} = ${JSON.stringify(value)}, the file has ${JSON.stringify(config[field] ?? null)}`,
        ),
  );
}

interface Reading {
  readonly mapping: LibraryMapping;
  readonly config: JsonRecord;
  /** The base's configuration, with the adapter's `hidden_size`. */
  readonly outer: JsonRecord;
  /** The adapter's. */
  readonly name: string;
  readonly path: string;
  readonly store: TensorStore;
  readonly parts: PartBuilder;
  readonly views: Map<string, PartOfTensor>;
  readonly used: Set<string>;
  /** Whether a place (what stands before the infix) is this configuration's. */
  readonly places: (place: string) => boolean;
}

/** The end of a key with the names in braces replaced. */
export function endOf(mapping: LibraryMapping, config: JsonRecord, end: string): string {
  return Object.entries(mapping.ends ?? {}).reduce(
    (text, [name, { by, values }]) => text.replace(`{${name}}`, own(values, String(config[by])) ?? ""),
    end,
  );
}

/** Tensors of their own at every site. */
function readSites({ mapping, config, outer, name, path, store, parts, used, places }: Reading): void {
  const marker = `.${mapping.infix}.${name}.`;
  const ends = Object.entries(mapping.params ?? {}).map(([param, end]) => [endOf(mapping, config, end), param] as const);
  const wanted = new Map(ends);
  const twins = new Set(Object.entries(mapping.twins ?? {}).map(([end]) => endOf(mapping, config, end)));
  const sites = new Map<string, Record<string, string>>();
  for (const key of store.tensors.keys()) {
    const at = key.indexOf(marker);
    if (at < 0) continue;
    const place = key.slice(0, at);
    const end = key.slice(at + marker.length);
    const param = wanted.get(end);
    if (!places(place) || (param === undefined && !twins.has(end))) continue;
    used.add(key);
    if (param === undefined) continue;
    if (!sites.has(place)) sites.set(place, {});
    sites.get(place)![param.replace(/\?$/, "")] = key;
  }
  const shared: Record<string, string> = {};
  for (const [param, end] of Object.entries(mapping.shared ?? {})) {
    const key = [...store.tensors.keys()].find((candidate) => `.${candidate}`.endsWith(`.shared_parameters.${name}.${end}`));
    if (key === undefined) {
      if (param.endsWith("?")) continue;
      throw new InputError("P0664", `\`${path}\`: the weights lack the shared tensor \`${end}\``);
    }
    shared[param.replace(/\?$/, "")] = key;
    used.add(key);
  }
  for (const [place, params] of [...sites].sort(([a], [b]) => comparePaths(a, b))) {
    const lacking = [...wanted.values()].find((param) => !param.endsWith("?") && params[param] === undefined);
    if (lacking !== undefined) throw new InputError("P0664", `\`${path}\`: \`${place}\` lacks the tensor of ${lacking}`);
    checkEqual(mapping, place, (param) => store.info(params[param]).shape, path);
    const options = readOptions(
      mapping.options,
      { ...outer, ...config },
      place,
      (param) => (params[param] === undefined ? undefined : store.info(params[param]).shape),
      `\`${path}\``,
    );
    parts.add(mapping, options, { path: siteOf(mapping, place), params }, shared);
  }
}

function checkEqual(mapping: LibraryMapping, place: string, shapeOf: (param: string) => readonly number[], path: string): void {
  for (const axes of mapping.equal ?? []) {
    const sizes = axes.map(([param, axis]) => shapeOf(param)[axis]);
    if (sizes.some((size) => size !== sizes[0])) {
      throw new InputError(
        "P0663",
        `\`${path}\`: the tensors of \`${place}\` are those of another form of ${mapping.method} (one for parts of a fused projection), which is not read`,
      );
    }
  }
}

function siteOf(mapping: LibraryMapping, place: string): string {
  for (const [pattern, site] of mapping.sites ?? []) {
    const expression = new RegExp(pattern);
    if (expression.test(place)) return place.replace(expression, site);
  }
  return place;
}

/** Pools of tensors for all layers, repeated under each layer's name: sites are the places of the repetitions, each served by one pool. */
function readPool({ mapping, config, name, path, store, parts, views, used, places: meant }: Reading): void {
  const what = `\`${path}\``;
  const marker = `.${mapping.infix}.${name}.`;
  const places = new Set<string>();
  /** What stands before the infix, without the pool's own segment, by site. */
  const placed = new Map<string, string[]>();
  const pool = new Map<string, string>();
  for (const key of store.tensors.keys()) {
    const at = key.indexOf(marker);
    if (at < 0 || !meant(key.slice(0, at))) continue;
    const place = siteOf(mapping, key.slice(0, at));
    const layer = layerOf(place, config);
    if (place !== "" && !(Array.isArray(config.leave_out) && config.leave_out.includes(layer ?? null))) {
      places.add(place);
      placed.set(place, [...(placed.get(place) ?? []), key.slice(0, at).replace(/\.pool$/, "")]);
    }
    pool.set(key.slice(at + marker.length), key);
  }
  const ends = [...Object.values(mapping.views ?? {}).map((view) => view.of), ...Object.values(mapping.shared ?? {})];
  for (const [chosen, sites] of placesByPool(mapping, [...places].sort(comparePaths), pool)) {
    const inPool = (end: string) => end.replace("{pool}", chosen);
    const served = new Set(ends.map(inPool));
    for (const key of store.tensors.keys()) {
      const at = key.indexOf(marker);
      if (at >= 0 && served.has(key.slice(at + marker.length))) used.add(key);
    }
    const scope: Record<string, unknown> = { ...config, sites: sites.length };
    for (const [size, expression] of Object.entries(mapping.sizes ?? {})) scope[size] = evaluate(expression, scope, what);
    const shared = Object.fromEntries(
      Object.entries(mapping.shared ?? {}).map(([param, end]) => [param, poolKey(pool, inPool(end), path)]),
    );
    const options = readOptions(mapping.options, config, "", () => undefined, what);
    for (const [index, site] of sites.entries()) {
      const params: Record<string, string> = {};
      for (const [param, part] of Object.entries(mapping.views ?? {})) {
        const of = poolKey(pool, inPool(part.of), path);
        const view = makeView(part, { ...scope, index }, what);
        checkTable(store, of, view, path);
        params[param] = `${of}[${param} ${index}]`;
        views.set(params[param], { of, view });
      }
      if (mapping.sited !== undefined) {
        for (const [param, end] of Object.entries(mapping.sited.params)) {
          const key = placed
            .get(site)!
            .map((place) => `${place}.${mapping.sited!.infix}.${name}.${end}`)
            .find((k) => store.tensors.has(k));
          if (key === undefined) continue;
          params[param.replace(/\?$/, "")] = key;
          used.add(key);
        }
      }
      parts.add(mapping, options, { path: site, params }, shared);
    }
  }
}

/** Which pool serves which places: those of the first pattern that fits the place; none where they are not there. */
function placesByPool(mapping: LibraryMapping, places: readonly string[], pool: ReadonlyMap<string, string>): Map<string, string[]> {
  if (mapping.pools === undefined) return new Map([["", [...places]]]);
  const byPool = new Map<string, string[]>();
  for (const place of places) {
    const first = mapping.pools.find(([pattern]) => new RegExp(pattern).test(place))?.[0];
    const chosen = mapping.pools.find(([pattern, name]) => pattern === first && [...pool.keys()].some((end) => end.startsWith(`${name}.`)));
    if (chosen === undefined) continue;
    byPool.set(chosen[1], [...(byPool.get(chosen[1]) ?? []), place]);
  }
  return byPool;
}

function poolKey(pool: ReadonlyMap<string, string>, end: string, path: string): string {
  const key = pool.get(end);
  if (key === undefined) throw new InputError("P0664", `\`${path}\`: the weights lack the shared tensor \`${end}\``);
  return key;
}
