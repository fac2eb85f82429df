/** mlx-lm's layout: `adapters.safetensors` with the matrices the other way round, and an `adapter_config.json` of its own. */
import { InputError } from "../../ir/errors.ts";
import { describe, type Files, isRecord, type JsonRecord, joinPath, writeJson } from "../files.ts";
import type { TensorStore } from "../safetensors/read.ts";
import { type OutTensor, writeSafetensors } from "../safetensors/write.ts";
import { AdapterFolder, comparePaths, PartBuilder, type PartOfTensor } from "./folder.ts";
import { lowRankOf, transposed } from "./low-rank.ts";
import type { Mappings } from "./mapping.ts";
import { type OutAdapter, type OutParam, Unsayable } from "./out.ts";
import { makeView } from "./view.ts";

export const MLX_WEIGHTS = "adapters.safetensors";

/** P0661: a field of the wrong kind · P0663: a kind that is not built · P0664: tensors that fit no method. */
export function readMlx(path: string, config: JsonRecord, store: TensorStore, mappings: Mappings): AdapterFolder {
  const kind = String(config.fine_tune_type);
  const mapping = mappings.lowRank.find((m) => m.mlx === kind);
  if (mapping === undefined)
    throw new InputError("P0663", `\`${path}\`: mlx-lm's \`${kind}\` is not built`, [
      `built are ${mappings.lowRank.flatMap((m) => m.mlx ?? []).join(", ")}`,
    ]);
  const given = config.lora_parameters;
  if (!isRecord(given))
    throw new InputError("P0661", `\`${path}\`: lora_parameters is ${describe(given)} where a rank and a scale are wanted`);
  if (typeof given.scale !== "number")
    throw new InputError("P0661", `\`${path}\`: lora_parameters.scale is ${describe(given.scale)} where a number is wanted`);
  const { scale, dropout } = given;
  if (dropout !== undefined && dropout !== null && typeof dropout !== "number")
    throw new InputError("P0661", `\`${path}\`: lora_parameters.dropout is ${describe(dropout)} where a number is wanted`);
  const sites = new Map<string, Map<string, string>>();
  for (const key of store.tensors.keys()) {
    const found = /^(.*)\.(lora_a|lora_b|m)$/.exec(key);
    if (found === null) throw new InputError("P0664", `\`${path}\`: the tensor \`${key}\` is no part of an adapter of mlx-lm's`);
    sites.set(found[1], (sites.get(found[1]) ?? new Map<string, string>()).set(found[2], key));
  }
  const parts = new PartBuilder();
  const views = new Map<string, PartOfTensor>();
  const turned = (key: string): string => {
    const { shape } = store.info(key);
    const view = `${key}[transposed]`;
    views.set(view, { of: key, view: makeView({ of: key, reshape: shape.map(String), permute: [1, 0] }, {}, path) });
    return view;
  };
  for (const [site, keys] of [...sites].sort(([a], [b]) => comparePaths(a, b))) {
    const [a, b, m] = ["lora_a", "lora_b", "m"].map((name) => keys.get(name));
    if (a === undefined || b === undefined || (m === undefined) !== (mapping.magnitude === undefined))
      throw new InputError("P0664", `\`${path}\`: \`${site}\` has not just the tensors of ${kind}: ${[...keys.keys()].join(", ")}`);
    const rank = store.info(a).shape[1];
    const options = { rank, [mapping.alpha]: scale * rank, ...(mapping.dropout === undefined ? {} : { [mapping.dropout]: dropout ?? 0 }) };
    const params = {
      [mapping.down]: turned(a),
      [mapping.up]: turned(b),
      ...(mapping.magnitude === undefined ? {} : { [mapping.magnitude]: m! }),
    };
    parts.add(mapping, options, { path: site, params });
  }
  const base = typeof config.model === "string" ? config.model : undefined;
  const contents = {
    layout: "mlx" as const,
    base,
    taskType: "CAUSAL_LM",
    parts: parts.done(),
    config,
  };
  return new AdapterFolder(contents, store, views);
}

/** What the folder would hold, or why mlx-lm cannot have it. It adapts the last layers of one list, all with one rank and scale: smaller ranks are filled up with zeros, other scales are worked into the matrices. */
export function encodeMlx(
  adapter: OutAdapter,
  mappings: Mappings,
): { readonly config: JsonRecord; readonly tensors: ReadonlyMap<string, OutParam> } | Unsayable {
  const found = lowRankOf(adapter, mappings);
  if (found instanceof Unsayable) return found;
  const kinds = [...new Set(found.map((f) => f.mapping.mlx))];
  const [kind] = kinds;
  if (kind === undefined || kinds.length > 1)
    return new Unsayable(kinds.length > 1 ? "mlx-lm has one kind of adapter at a time" : `mlx-lm has no ${found[0].mapping.method}`);
  const places = found.map((f) => /^model\.layers\.(\d+)\.(.+)$/.exec(f.path));
  const outside = found[places.indexOf(null)];
  if (outside !== undefined) return new Unsayable(`mlx-lm adapts what is in \`model.layers\`; \`${outside.path}\` is not`);
  const expert = found.find((f) => /\.experts\.\d+\./.test(f.path));
  if (expert !== undefined) return new Unsayable(`mlx-lm holds the experts of a layer in one tensor; \`${expert.path}\` is one of several`);
  const layers = places.map((p) => Number(p![1]));
  const count = 1 + Math.max(...[...adapter.base.shapes.keys()].map((path) => Number(/^model\.layers\.(\d+)\./.exec(path)?.[1] ?? -1)));
  const rank = Math.max(...found.map((f) => f.rank));
  const { scale } = found[0];
  const tensors = new Map<string, OutParam>();
  for (const f of found) {
    tensors.set(`${f.path}.lora_a`, transposed(f.down, f.down.shape[1], rank));
    tensors.set(`${f.path}.lora_b`, transposed(f.up, rank, f.up.shape[0], f.scale / scale));
    if (f.magnitude) tensors.set(`${f.path}.m`, f.magnitude);
  }
  const config = {
    fine_tune_type: kind,
    ...(adapter.base.name === undefined ? {} : { model: adapter.base.name }),
    num_layers: count - Math.min(...layers),
    lora_parameters: { rank, scale, dropout: found[0].dropout, keys: [...new Set(places.map((p) => p![2]))].sort() },
  };
  return { config, tensors };
}

export function writeMlx(
  files: Files,
  folder: string,
  encoded: { readonly config: JsonRecord; readonly tensors: ReadonlyMap<string, OutParam> },
): void {
  const out = [...encoded.tensors].map(([name, { shape, values }]): OutTensor => ({ name, shape, dtype: "F32", values }));
  writeSafetensors(files, joinPath(folder, MLX_WEIGHTS), out);
  writeJson(files, joinPath(folder, "adapter_config.json"), encoded.config);
}
