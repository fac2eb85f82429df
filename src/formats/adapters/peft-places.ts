/** What a configuration of PEFT's says of places, beside where the tensors are. */

import type { AdapterPart } from "../../ground/adapter.ts";
import type { JsonRecord } from "../files.ts";
import type { AdapterFolder } from "./folder.ts";
import type { PeftMapping } from "./mapping.ts";
import { savedModules } from "./peft-config.ts";
import { matchTargets } from "./targets.ts";

/** Compares the sites with what the configuration names. Names of another spelling of the model's modules meet none, and say nothing. */
export function placesIn(
  path: string,
  config: JsonRecord,
  parts: readonly AdapterPart[],
  heads: Readonly<Record<string, string>>,
  { methods }: PeftMapping,
): AdapterFolder["elsewhere"] {
  const target = config.target_modules;
  if (!Array.isArray(target) && typeof target !== "string") return undefined;
  const aside = (part: AdapterPart) => methods.some((m) => m.method === part.method && m.from === part.from && m.beside !== undefined);
  const sites = parts.filter((part) => !aside(part)).flatMap((part) => part.sites);
  const own = new Set(sites.flatMap((site) => [site.path, ...(site.also ?? [])]));
  if (sites.some((site) => /[*:#]/.test(site.path))) return undefined;
  const saved = savedModules(config.modules_to_save);
  return (modules, linear) => {
    const { modules: named } = matchTargets(config, [...new Set([...modules, ...own])], `\`${path}\``, () => linear);
    const unsaved = modules.filter(
      (module) => saved.some((fit) => fit.test(module)) && heads[`${module}.weight`] === undefined && !own.has(module),
    );
    if (named.length === 0) return { missing: [], extra: [], unsaved };
    const wanted = new Set(named);
    return {
      missing: named.filter((module) => modules.includes(module) && !own.has(module)),
      extra: [...own].filter((site) => !wanted.has(site)),
      unsaved,
    };
  };
}
