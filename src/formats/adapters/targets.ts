/** Which names in `target_modules` pick just the adapted modules, and exceptions by module. */

/** A choice of modules in peft's terms. */
export interface Targets {
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
