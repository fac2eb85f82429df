/**
 * Our own layout, for what PEFT has no name for: the same two files, `peft_type: "PEFTC"`, and in the configuration the methods, options, places and keys as they are.
 */
import type { AdapterPart } from "../../ground/adapter.ts";
import { InputError } from "../../ir/errors.ts";
import { describe, isRecord, type Json, type JsonRecord } from "../files.ts";
import type { TensorStore } from "../safetensors/read.ts";
import { AdapterFolder } from "./folder.ts";

export const OWN_TYPE = "PEFTC";
export const OWN_VERSION = 1;

/** P0661: malformed · P0664: a key that the weights lack · P0665: a version that is not known. */
export function readOwn(path: string, config: JsonRecord, store: TensorStore): AdapterFolder {
  const bad = (where: string, value: unknown, wanted: string) =>
    new InputError("P0661", `\`${path}\`: ${where} is ${describe(value)} where ${wanted} is wanted`);
  if (config.peftc_version !== OWN_VERSION)
    throw new InputError("P0665", `\`${path}\`: peftc_version ${JSON.stringify(config.peftc_version)} is not known`, ["update peftc"]);
  const text = (value: Json | undefined, where: string): string => {
    if (typeof value !== "string") throw bad(where, value, "a string");
    return value;
  };
  const record = (value: Json | undefined, where: string): JsonRecord => {
    if (!isRecord(value)) throw bad(where, value, "an object");
    return value;
  };
  const list = (value: Json | undefined, where: string): readonly Json[] => {
    if (!Array.isArray(value)) throw bad(where, value, "a list");
    return value;
  };
  const keys = (value: Json | undefined, where: string): Record<string, string> => {
    const result: Record<string, string> = {};
    for (const [param, key] of Object.entries(record(value, where))) {
      const name = text(key, `${where}.${param}`);
      if (!store.tensors.has(name))
        throw new InputError("P0664", `\`${path}\`: ${where}.${param} names the tensor \`${name}\`, which the weights lack`);
      result[param] = name;
    }
    return result;
  };
  const parts = list(config.parts, "parts").map((entry, i): AdapterPart => {
    const part = record(entry, `parts[${i}]`);
    return {
      method: text(part.method, `parts[${i}].method`),
      from: text(part.from, `parts[${i}].from`),
      options: record(part.options, `parts[${i}].options`),
      sites: list(part.sites, `parts[${i}].sites`).map((item, j) => {
        const where = `parts[${i}].sites[${j}]`;
        const site = record(item, where);
        const states = site.states === undefined ? {} : { states: keys(site.states, `${where}.states`) };
        return { path: text(site.path, `${where}.path`), params: keys(site.params, `${where}.params`), ...states };
      }),
      shared: keys(part.shared, `parts[${i}].shared`),
    };
  });
  return new AdapterFolder(
    {
      layout: "peftc",
      base: typeof config.base_model_name_or_path === "string" ? config.base_model_name_or_path : undefined,
      taskType: typeof config.task_type === "string" ? config.task_type : undefined,
      parts,
      heads: keys(config.heads, "heads"),
      config,
    },
    store,
  );
}
