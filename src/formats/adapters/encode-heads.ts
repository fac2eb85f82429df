/** Trained parameters of the base that are saved along with an adapter: heads whole, biases of adapted modules apart. */
import { own } from "../../ir/own.ts";
import type { Json } from "../files.ts";
import type { PeftMapping } from "./mapping.ts";
import { type OutAdapter, type OutParam, Unsayable } from "./out.ts";
import { moduleTree } from "./targets.ts";

/**
 * Puts heads into `tensors` and says them in `config`: `modules_to_save`, and `bias` where biases of `sites` are among them. Prompt adapters keep heads under
 * `base_model.`, others under `base_model.model.`.
 */
export function encodeHeads(
  mapping: PeftMapping,
  config: Record<string, Json>,
  adapter: OutAdapter,
  task: string | undefined,
  sites: ReadonlySet<string>,
  tensors: Map<string, OutParam>,
): Unsayable | undefined {
  if (mapping.heads === false) {
    const [path] = Object.keys(adapter.heads);
    return path === undefined ? undefined : new Unsayable(`PEFT's ${config.peft_type} cannot save \`${path}\` along`);
  }
  const modules = new Set<string>();
  let biases = false;
  const every = mapping.biases !== undefined && allBiases(adapter);
  for (const [path, param] of Object.entries(adapter.heads)) {
    const module = path.slice(0, path.lastIndexOf("."));
    if (sites.has(module)) {
      if (mapping.biases === undefined || path !== `${module}.bias`)
        return new Unsayable(`PEFT cannot save \`${path}\`, a parameter of an adapted module`);
      biases = true;
      tensors.set(`${mapping.headPrefix}${module}.base_layer.bias`, param);
    } else {
      if (!every || path !== `${module}.bias`) modules.add(module);
      tensors.set(mapping.headPrefix + path, param);
    }
  }
  const apart = splitCopied(mapping, adapter, modules, tensors);
  const tied = Object.entries(adapter.base.ties ?? {}).filter(
    ([path, of]) => adapter.heads[of] !== undefined && path.endsWith(".weight") && !apart.has(of),
  );
  for (const [path, of] of tied) {
    const [module, own] = [path, of].map((name) => name.slice(0, -".weight".length));
    if (!modules.has(own)) continue;
    // PEFT copies a module to train it, and the other would keep the old values: both are named, and kept as one where PEFT can
    modules.add(module);
    tensors.set(mapping.headPrefix + path, adapter.heads[of]);
    if ("ensure_weight_tying" in mapping.fields) config.ensure_weight_tying = true;
  }
  // biases of modules that are trained whole are trained alone as well, and PEFT writes them twice
  if (every)
    for (const module of modules) {
      const bias = adapter.heads[`${module}.bias`];
      if (bias !== undefined) tensors.set(`${mapping.headPrefix}${module}.modules_to_save.bias`, bias);
    }
  if (every) config.bias = "all";
  else if (biases) config.bias = mapping.biases!;
  const usual = task === undefined ? [] : (own(mapping.save, task) ?? []);
  const covered = (module: string) => usual.some((name) => module.split(".").includes(name));
  const named = [...modules].filter((module) => !covered(module));
  const all = moduleTree(adapter.base.shapes.keys());
  const others = new Set(named.map((module) => shortestName(module, all)));
  const saved = [...usual, ...others].sort();
  config.modules_to_save = saved.length === 0 ? null : saved;
  addUntrained(mapping, adapter, saved, sites, tensors);
  return undefined;
}

/** PEFT reads every parameter of the modules that it saves, trained or not, and ends with an error at one that is missing. */
function addUntrained(
  mapping: PeftMapping,
  { base }: OutAdapter,
  saved: readonly string[],
  sites: ReadonlySet<string>,
  tensors: Map<string, OutParam>,
): void {
  if (base.param === undefined) return;
  for (const path of base.shapes.keys()) {
    const modules = path.split(".").slice(0, -1);
    const above = modules.map((_, i) => modules.slice(0, i + 1).join("."));
    if (above.some((module) => sites.has(module)) || !above.some((module) => saved.some((name) => module.endsWith(name)))) continue;
    const key = mapping.headPrefix + path;
    if (!tensors.has(key)) tensors.set(key, base.param(path));
  }
}

/**
 * A table that transformers reads in other modules than its own: PEFT copies the modules it is told of, so that these are named, and a head that is tied to it, each with a copy.
 * Gives what was so written.
 */
function splitCopied(mapping: PeftMapping, adapter: OutAdapter, modules: Set<string>, tensors: Map<string, OutParam>): ReadonlySet<string> {
  const moduleOf = (path: string) => path.slice(0, path.lastIndexOf("."));
  const split = new Set<string>();
  for (const [own, names] of Object.entries(adapter.base.copied ?? {})) {
    const param = adapter.heads[own];
    if (param === undefined || !modules.has(moduleOf(own))) continue;
    split.add(own);
    modules.delete(moduleOf(own));
    tensors.delete(mapping.headPrefix + own);
    const heads = Object.entries(adapter.base.ties ?? {}).flatMap(([path, of]) => (of === own && path.endsWith(".weight") ? [path] : []));
    for (const name of [...names, ...heads]) {
      modules.add(moduleOf(name));
      tensors.set(mapping.headPrefix + name, param);
    }
  }
  return split;
}

/** Whether all biases of the model are trained, more than those of modules that are trained as a whole. */
function allBiases({ heads, base }: OutAdapter): boolean {
  const all = [...base.shapes.keys()].filter((path) => path.endsWith(".bias"));
  const alone = (path: string) => heads[`${path.slice(0, -".bias".length)}.weight`] === undefined;
  return all.some(alone) && all.every((path) => heads[path] !== undefined);
}

/** peft looks for modules whose path ends with a name. */
export function shortestName(module: string, all: readonly string[]): string {
  const parts = module.split(".");
  for (let i = parts.length - 1; i > 0; i--) {
    const end = parts.slice(i).join(".");
    if (all.filter((other) => other.endsWith(end)).length === 1) return end;
  }
  return module;
}
