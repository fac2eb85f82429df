/** Tensors of which a format leaves out the rows that do nothing (`MethodMapping.thinned`): which they are, and back. */
import { InputError } from "../../ir/errors.ts";
import { describe, isRecord, type JsonRecord } from "../files.ts";
import type { TensorStore } from "../safetensors/read.ts";
import type { PartOfTensor } from "./folder.ts";
import type { MethodMapping } from "./mapping.ts";
import type { OutAttachment, OutParam } from "./out.ts";
import { keepRows } from "./view.ts";

/** Parameters of a site whose rows are not all in the file, as whole ones. P0661, P0666: the field is no list of truths, or not that of these tensors. */
export function fillThinned(
  path: string,
  config: JsonRecord,
  site: string,
  { thinned, params = {} }: MethodMapping,
  keys: ReadonlyMap<string, string>,
  store: TensorStore,
  views: Map<string, PartOfTensor>,
): Record<string, string> {
  const lists = thinned && config[thinned.field];
  if (thinned === undefined || lists === null || lists === undefined) return {};
  if (!isRecord(lists)) throw new InputError("P0661", `\`${path}\`: ${thinned.field} is ${describe(lists)} where an object is wanted`);
  const end = params[thinned.of];
  const list = lists[`${site}.${end}`] ?? lists[`${site}.${end}.default`];
  if (list === undefined) return {};
  if (!Array.isArray(list) || list.some((one) => typeof one !== "boolean"))
    throw new InputError("P0661", `\`${path}\`: ${thinned.field} of \`${site}\` is ${describe(list)} where a list of truths is wanted`);
  const rows = list.flatMap((there, i) => (there === true ? [i] : []));
  const out: Record<string, string> = {};
  for (const [param, axis] of Object.entries(thinned.axes)) {
    const of = keys.get(params[param])!;
    const { shape } = store.info(of);
    if (shape[axis] === list.length) continue;
    if (shape[axis] !== rows.length)
      throw new InputError(
        "P0666",
        `\`${path}\`: tensor \`${of}\` has shape [${shape.join(", ")}], but by ${thinned.field} ${rows.length} of ${list.length} rows are there`,
      );
    out[param] = `${of} (${rows.length} of ${list.length} rows)`;
    views.set(out[param], { of, thinned: { shape: shape.map((size, i) => (i === axis ? list.length : size)), axis, rows } });
  }
  return out;
}

/** Rows that say something, by site; `undefined`: all do, or, before anything was learned, none anywhere. */
export function rowsThatCount({ thinned }: MethodMapping, { sites }: OutAttachment): Map<string, boolean[]> | undefined {
  if (thinned === undefined) return undefined;
  const { of, axes } = thinned;
  const bySite = new Map<string, boolean[]>();
  for (const { path, params } of sites) {
    const { shape } = params[of];
    const values = params[of].values();
    const counts = (row: number) => keepRows({ shape, axis: axes[of], rows: [row] }, values).some((v) => v !== 0);
    bySite.set(
      path,
      Array.from({ length: shape[axes[of]] }, (_, row) => counts(row)),
    );
  }
  const all = [...bySite.values()].flat();
  return all.every(Boolean) || !all.some(Boolean) ? undefined : bySite;
}

/** The parameters with only the rows that count. */
export function thin(
  { thinned }: MethodMapping,
  params: Readonly<Record<string, OutParam>>,
  counts: readonly boolean[],
): Record<string, OutParam> {
  const rows = counts.flatMap((is, row) => (is ? [row] : []));
  return Object.fromEntries(
    Object.entries(params).map(([name, param]) => {
      const axis = thinned!.axes[name];
      if (axis === undefined || rows.length === counts.length) return [name, param];
      const shape = param.shape.map((size, i) => (i === axis ? rows.length : size));
      return [name, { ...param, shape, values: () => keepRows({ shape: param.shape, axis, rows }, param.values()) }];
    }),
  );
}
