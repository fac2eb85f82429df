/** `target_modules` and its kin: which modules they mean, which names pick just the adapted modules, and exceptions by module. */
import { InputError } from "../../ir/errors.ts";
import { describe, type Json, type JsonRecord } from "../files.ts";
import { regex } from "./options.ts";

export interface Matched {
  readonly modules: readonly string[];
  /** Names of a list that meet no module: peft passes over them without a word. */
  readonly idle: readonly string[];
}

/**
 * The modules that peft would adapt. A text is a regular expression over whole paths, or `all-linear`; a list holds whole paths or ends of them
 * behind a dot. `exclude_modules` and `modules_to_save` win. `layers_to_transform` goes with lists only: by the first number behind a name, or behind
 * one of `layers_pattern`; a whole path in the list is adapted whatever its layer. `allLinear` gives what the shorthand means. P0661: a field of
 * the wrong kind.
 */
export function matchTargets(config: JsonRecord, paths: readonly string[], what: string, allLinear: () => readonly string[]): Matched {
  const target = config.target_modules;
  const excluded = isSet(config.exclude_modules) ? named(config.exclude_modules, "exclude_modules", what) : () => false;
  const saved = (isSet(config.modules_to_save) ? strings(config.modules_to_save, "modules_to_save", what) : []).map((name) =>
    regex(`^(?:.*\\.)?${name}(?:\\..*)?$`, what),
  );
  const free = paths.filter((path) => !excluded(path) && !saved.some((r) => r.test(path)));
  if (typeof target === "string") {
    const found = target.toLowerCase() === "all-linear" ? new Set(allLinear()) : undefined;
    const fits = found ? (path: string) => found.has(path) : named(target, "target_modules", what);
    return { modules: free.filter(fits), idle: [] };
  }
  const names = strings(target, "target_modules", what);
  const inLayers = layerFilter(config, what);
  const modules = free.filter((path) => names.includes(path) || (names.some((name) => path.endsWith(`.${name}`)) && inLayers(path)));
  return { modules, idle: names.filter((name) => !paths.some((path) => path === name || path.endsWith(`.${name}`))) };
}

const isSet = (value: Json | undefined): boolean =>
  value !== undefined && value !== null && value !== "" && !(Array.isArray(value) && value.length === 0);

function strings(value: Json | undefined, field: string, what: string): string[] {
  if (!Array.isArray(value) || !value.every((v) => typeof v === "string"))
    throw new InputError("P0661", `${what}: ${field} is ${describe(value)} where names are wanted`);
  return value as string[];
}

function named(value: Json | undefined, field: string, what: string): (path: string) => boolean {
  if (typeof value === "string") {
    const whole = regex(`^(?:${value})$`, `${what}: ${field}`);
    return (path) => whole.test(path);
  }
  const names = strings(value, field, what);
  return (path) => names.some((name) => picks(name, path));
}

function layerFilter(config: JsonRecord, what: string): (path: string) => boolean {
  const wanted = config.layers_to_transform;
  if (!isSet(wanted)) return () => true;
  const layers = Array.isArray(wanted) ? wanted : [wanted];
  const given = config.layers_pattern;
  const patterns = !isSet(given) ? ["[^.]*"] : typeof given === "string" ? [given] : strings(given, "layers_pattern", what);
  return (path) => {
    for (const pattern of patterns) {
      const found = regex(`^.*?\\.(?:${pattern})\\.(\\d+)\\.`, what).exec(path);
      if (found) return layers.includes(Number(found[1]));
    }
    return false;
  };
}

/** A choice of modules in peft's terms. */
interface Targets {
  readonly modules: readonly string[];
  /** Numbers of layers, where the names alone would pick more. */
  readonly layers?: readonly number[];
}

function ends(path: string): string[] {
  const parts = path.split(".");
  return parts.map((_, i) => parts.slice(parts.length - 1 - i).join("."));
}

function picks(name: string, path: string): boolean {
  return path === name || path.endsWith(`.${name}`);
}

/** The shortest end of the path that picks nothing but `wanted` among all modules; the whole path does at last. */
function shortest(path: string, wanted: ReadonlySet<string>, all: readonly string[]): string {
  return ends(path).find((end) => all.every((module) => wanted.has(module) || !picks(end, module))) ?? path;
}

/** First number in a path; peft counts layers so. */
function layerOf(path: string): number | undefined {
  const match = /\.(\d+)\./.exec(path);
  return match === null ? undefined : Number(match[1]);
}

/**
 * `sites` among `all` module paths. Names without layer numbers, with `layers_to_transform` where only some layers are meant, as people write it; otherwise longer
 * names down to whole paths.
 */
export function chooseTargets(sites: readonly string[], all: readonly string[]): Targets {
  const wanted = new Set(sites);
  const names = [...new Set(sites.map((site) => shortest(site, wanted, all)))].sort();
  if (names.every((name) => !/(^|\.)\d+(\.|$)/.test(name))) return { modules: names };
  const layers = [...new Set(sites.map(layerOf))].filter((layer) => layer !== undefined);
  if (sites.every((site) => layerOf(site) !== undefined)) {
    const inLayers = all.filter((module) => layers.includes(layerOf(module) ?? -1));
    const short = [...new Set(sites.map((site) => shortest(site, wanted, inLayers)))].sort();
    if (short.every((name) => !/(^|\.)\d+(\.|$)/.test(name))) return { modules: short, layers: layers.sort((a, b) => a - b) };
  }
  return { modules: names };
}

/** The commonest value, and the others by the shortest end of a path (as a regular expression) that no module of another value has. */
export function choosePattern<T>(values: ReadonlyMap<string, T>): { readonly common: T; readonly pattern: Readonly<Record<string, T>> } {
  const counts = new Map<T, number>();
  for (const value of values.values()) counts.set(value, (counts.get(value) ?? 0) + 1);
  const common = [...counts].reduce((best, entry) => (entry[1] > best[1] ? entry : best))[0];
  const pattern: Record<string, T> = {};
  for (const [path, value] of values) {
    if (value === common) continue;
    const same = new Set([...values].filter(([, other]) => other === value).map(([other]) => other));
    const end = shortest(path, same, [...values.keys()]);
    pattern[end.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")] = value;
  }
  return { common, pattern };
}

/** All module paths of a model, from the paths of its parameters. */
export function moduleTree(params: Iterable<string>): string[] {
  const modules = new Set<string>();
  for (const param of params) {
    const parts = param.split(".");
    for (let i = 1; i < parts.length; i++) modules.add(parts.slice(0, i).join("."));
  }
  return [...modules];
}
