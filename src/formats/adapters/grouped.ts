/** Parameters that are one for a run of sites of one name and size, which PEFT's folders repeat at each of these sites (`MethodMapping.grouped`). */
import { InputError } from "../../ir/errors.ts";
import type { Json, JsonRecord } from "../files.ts";
import type { TensorStore } from "../safetensors/read.ts";
import type { MethodMapping } from "./mapping.ts";
import { type OutAttachment, type OutParam, Unsayable } from "./out.ts";

/** A module's name within its parent: what a group has in common, beside its size. */
const nameOf = (path: string): string => path.slice(path.lastIndexOf(".") + 1);

/** The name by which PEFT puts a site into a group: what of `target_modules` its path ends with, dot or not; `undefined`: several do, and PEFT takes any of them. */
function suffixOf(targets: Json | undefined, path: string): string | undefined {
  if (!Array.isArray(targets)) return "";
  const fits = targets.map(String).filter((name) => path.endsWith(name));
  return fits.length === 1 ? fits[0] : undefined;
}

/** Sites by group, in their order. `sizes`: what tells modules of one name apart. */
function groupsOf(sites: readonly string[], sizes: (site: string) => string): readonly (readonly string[])[] {
  const groups = new Map<string, string[]>();
  for (const site of sites) {
    const key = `${nameOf(site)} ${sizes(site)}`;
    groups.set(key, [...(groups.get(key) ?? []), site]);
  }
  return [...groups.values()];
}

/** Whether PEFT makes the same groups of these sites by the names in `target_modules`. */
function groupedAlike(groups: readonly (readonly string[])[], targets: Json | undefined, sizes: (site: string) => string): boolean {
  const keys = groups.map((group) => new Set(group.map((site) => `${suffixOf(targets, site)} ${sizes(site)}`)));
  return keys.every(
    (own, i) =>
      own.size === 1 && ![...own][0].startsWith("undefined ") && keys.every((other, j) => i === j || ![...own].some((k) => other.has(k))),
  );
}

/** Each site's leader: the first of its run. A field gives the length of runs; none: a run is all of the group. */
function leadersOf(groups: readonly (readonly string[])[], length: number | undefined): Map<string, string> {
  return new Map(groups.flatMap((group) => group.map((site, i) => [site, group[length === undefined ? 0 : i - (i % length)]] as const)));
}

const lengthOf = (field: string | null, config: JsonRecord): number | undefined =>
  field === null ? undefined : Math.max(1, Number(config[field]));

/**
 * Takes from the keys of each site those of parameters that another site holds. P0664: what should be one tensor has other values there. P0665: by the names in `target_modules`
 * other sites belong together.
 */
export function takeGrouped(
  path: string,
  config: JsonRecord,
  sites: ReadonlyMap<string, Map<string, string>>,
  order: readonly string[],
  methods: readonly MethodMapping[],
  store: TensorStore,
): void {
  for (const { grouped, params = {} } of methods) {
    if (grouped === undefined) continue;
    const ends = Object.keys(grouped).map((param) => params[`${param}?`]);
    const sizes = (site: string) =>
      ends.map((end) => (sites.get(site)!.has(end) ? store.info(sites.get(site)!.get(end)!).shape.join("x") : "")).join();
    const groups = groupsOf(order, sizes);
    if (!groupedAlike(groups, config.target_modules, sizes))
      throw new InputError(
        "P0665",
        `\`${path}\`: with these target_modules ${config.peft_type} shares tensors between modules of different names`,
        ["here modules share them that have one name (`q_proj`) and one size"],
      );
    for (const [param, field] of Object.entries(grouped))
      for (const [site, leader] of leadersOf(groups, lengthOf(field, config))) {
        const end = params[`${param}?`];
        const [own, first] = [sites.get(site)!.get(end), sites.get(leader)!.get(end)];
        if (site === leader || own === undefined) continue;
        if (first === undefined) throw new InputError("P0664", `\`${path}\`: the weights lack \`${end}\` at \`${leader}\``);
        const [x, y] = [store.read(own), store.read(first)];
        if (x.length !== y.length || x.some((v, i) => v !== y[i]))
          throw new InputError(
            "P0664",
            `\`${path}\`: \`${own}\` and \`${first}\` are one tensor in ${config.peft_type}, and have other values`,
          );
        sites.get(site)!.delete(end);
      }
  }
}

/** The parameters of each site with those that another site holds. `shapes`: of the base's weights. */
export function withGrouped(
  { grouped }: MethodMapping,
  { sites, options }: OutAttachment,
  fields: Readonly<Record<string, string>>,
  shapes: ReadonlyMap<string, readonly number[]>,
): ReadonlyMap<string, Readonly<Record<string, OutParam>>> {
  const out = new Map(sites.map(({ path, params }) => [path, params]));
  const groups = groupsOf([...out.keys()], (site) => String(shapes.get(`${site}.weight`)));
  for (const [param, field] of Object.entries(grouped ?? {})) {
    const length = field === null ? undefined : Number(options[fields[field]]);
    for (const [site, leader] of leadersOf(groups, length)) out.set(site, { ...out.get(site), [param]: out.get(leader)![param] });
  }
  return out;
}

/** Why PEFT would share otherwise, by the names that were chosen. */
export function sharedOtherwise(
  { grouped }: MethodMapping,
  { sites }: OutAttachment,
  targets: Json | undefined,
  shapes: ReadonlyMap<string, readonly number[]>,
): Unsayable | undefined {
  if (grouped === undefined) return undefined;
  const sizes = (site: string) => String(shapes.get(`${site}.weight`));
  const groups = groupsOf(
    sites.map(({ path }) => path),
    sizes,
  );
  return groupedAlike(groups, targets, sizes)
    ? undefined
    : new Unsayable("by the names that pick these modules, PEFT shares tensors between others");
}
