/**
 * `config.json` of a model's folder. transformers 5 spells some fields anew; readers see one spelling, that of version 4. What is
 * written keeps the base's file to the letter but for what changed.
 */
import { InputError } from "../ir/errors.ts";
import { describe, type Files, Float, isRecord, type Json, type JsonRecord, joinPath, readRecord, readText, writeFile } from "./files.ts";
import { editRecord } from "./json-edit.ts";

export type ModelConfig = Readonly<Record<string, Json>>;

/** Fields that are lists of words, which older files write as one text. */
const WORDS = ["pos_att_type"] as const;

/** The record with all spellings made one; `undefined`: no `config.json` there. P0686, P0687: not JSON, not an object; P0630, P0631 as in `normaliseConfig`. */
export function readConfig(files: Files, folder: string): ModelConfig | undefined {
  const path = joinPath(folder, "config.json");
  if (files.stat(path) === undefined) return undefined;
  return normaliseConfig(readRecord(files, path), path);
}

/**
 * One spelling for all versions:
 * - `rope_parameters { rope_theta, partial_rotary_factor, rope_type, … }` becomes `rope_theta`, `partial_rotary_factor` and `rope_scaling` (null where the type
 *   is `default`); parameters by kind of layer (Gemma) have no old spelling and stay. Inside `rope_scaling`, `type` becomes `rope_type`, and
 *   `original_max_position_embeddings`, where it stands beside it, is in it too.
 * - `dtype` becomes `torch_dtype`.
 * - a list of words written as one text with bars (`pos_att_type: "p2c|c2p"`) becomes a list.
 * - `num_labels`, where absent, is the length of `id2label`; where that is missing too it stays absent (`labelCount` says 2).
 *
 * P0630: both spellings, unequal. P0631: a field of the wrong kind. `path` is for messages.
 */
export function normaliseConfig(raw: JsonRecord, path: string): ModelConfig {
  const { rope_parameters: rope, dtype, ...config } = raw as Record<string, Json>;
  if (dtype !== undefined) settle(config, "torch_dtype", dtype, "dtype", path);
  if (rope !== undefined && rope !== null) {
    if (!isRecord(rope)) throw wrongKind(path, "rope_parameters", rope, "an object");
    if (Object.values(rope).some(isRecord)) config.rope_parameters = rope;
    else spreadRope(config, rope, path);
  }
  const scaling = config.rope_scaling;
  if (scaling !== undefined && scaling !== null) {
    if (!isRecord(scaling)) throw wrongKind(path, "rope_scaling", scaling, "an object or null");
    config.rope_scaling = plainScaling(scaling, config.original_max_position_embeddings);
  }
  for (const field of WORDS) {
    const words = config[field];
    if (typeof words === "string")
      config[field] = words
        .toLowerCase()
        .split("|")
        .map((word) => word.trim());
  }
  const labels = config.id2label;
  if (labels !== undefined && labels !== null) {
    if (!isRecord(labels)) throw wrongKind(path, "id2label", labels, "an object from numbers to names");
    config.num_labels ??= Object.keys(labels).length;
  }
  return config;
}

/** transformers' rule: `num_labels`, else the length of `id2label`, else 2. */
export function labelCount(config: ModelConfig): number {
  return typeof config.num_labels === "number" ? config.num_labels : 2;
}

/** What a head's numbers are: the field `problem_type`, or "regression" where there is one number and no field. `undefined`: its labels say. */
export function problemType(config: ModelConfig): string | undefined {
  if (typeof config.problem_type === "string") return config.problem_type;
  return labelCount(config) === 1 ? "regression" : undefined;
}

/**
 * Names of classes to their numbers; `undefined` where the file names none (or only `LABEL_0`, `LABEL_1`, …, which name nothing). P0631: malformed.
 */
export function labelIds(config: ModelConfig, path: string): ReadonlyMap<string, number> | undefined {
  const names = config.id2label;
  const ids = new Map<string, number>();
  if (isRecord(names)) {
    for (const [id, name] of Object.entries(names)) {
      if (!/^\d+$/.test(id) || typeof name !== "string") throw wrongKind(path, `id2label.${id}`, name, "a name for a whole number");
      ids.set(name, Number(id));
    }
  } else if (isRecord(config.label2id)) {
    for (const [name, id] of Object.entries(config.label2id)) {
      if (typeof id !== "number" || !Number.isInteger(id) || id < 0) throw wrongKind(path, `label2id.${name}`, id, "a whole number");
      ids.set(name, id);
    }
  }
  if (ids.size === 0 || [...ids].every(([name, id]) => name === `LABEL_${id}`)) return undefined;
  return ids;
}

function wrongKind(path: string, field: string, value: unknown, wanted: string): InputError {
  return new InputError("P0631", `\`${path}\`: ${field} is ${describe(value)} where ${wanted} is wanted`);
}

/** Gives `field` the value that a newer spelling has; both must agree. */
function settle(config: Record<string, Json>, field: string, value: Json, newer: string, path: string): void {
  const old = config[field];
  if (old !== undefined && old !== null && JSON.stringify(old) !== JSON.stringify(value)) {
    throw new InputError(
      "P0630",
      `\`${path}\` says ${newer} = ${JSON.stringify(value)} and, in the older spelling, ${field} = ${JSON.stringify(old)}`,
      ["keep one of them"],
    );
  }
  config[field] = value;
}

function spreadRope(config: Record<string, Json>, rope: JsonRecord, path: string): void {
  const { rope_theta: theta, partial_rotary_factor: part, ...scaling } = rope as Record<string, Json>;
  if (theta !== undefined) settle(config, "rope_theta", theta, "rope_parameters.rope_theta", path);
  if (part !== undefined) settle(config, "partial_rotary_factor", part, "rope_parameters.partial_rotary_factor", path);
  config.rope_scaling ??= Object.keys(scaling).length === 0 ? null : scaling;
}

/** Kinds that ask for the length of the texts that a model was trained on before it was stretched. */
const STRETCHED = ["llama3", "yarn", "longrope"];

/** `trained`: the field `original_max_position_embeddings` of the configuration itself, which some models have and which wins. */
function plainScaling(scaling: JsonRecord, trained: Json | undefined): Json {
  const { type, ...rest } = scaling as Record<string, Json>;
  const kind = rest.rope_type ?? type ?? "default";
  if (kind === "default") return null;
  if (typeof trained === "number" && STRETCHED.includes(String(kind))) rest.original_max_position_embeddings = trained;
  return { ...rest, rope_type: kind };
}

/** What of a model's folder changes when it is saved under new weights. */
export interface ConfigChanges {
  /** Fields that are not what the base's file says, in the spelling that `readConfig` gives. */
  readonly fields?: Readonly<Record<string, Json>>;
  /** Fields that Python keeps as floats. */
  readonly floats?: readonly string[];
  /** Name of the class: `architectures` becomes a list of it. */
  readonly module?: string;
  /** What weights are written as; none: F32. */
  readonly dtype?: FloatDType;
}

/** Types that weights may be written as, and what `torch_dtype` calls them. */
export type FloatDType = "F32" | "BF16" | "F16";
const TORCH_DTYPES: Readonly<Record<FloatDType, string>> = { F32: "float32", BF16: "bfloat16", F16: "float16" };

/** How packed weights of a base were packed: those that are written are not. */
const PACKING = ["quantization_config", "quantization", "compression_config"];

/**
 * `config.json` in `folder`: that of the folder `base` to the letter, but for what changed; or `base` itself, for a model without a folder, of which nothing is written that
 * says nothing (null, an empty list). A changed `num_labels` renames the classes `LABEL_i` unless `id2label` is given too; `torch_dtype` (`dtype`, where the file has that
 * spelling) says what weights are written as.
 */
export function writeConfig(
  files: Files,
  folder: string,
  base: ModelConfig | { readonly folder: string },
  changes: ConfigChanges = {},
): void {
  const from = typeof base.folder === "string" ? joinPath(base.folder, "config.json") : undefined;
  const text = from === undefined ? "{\n}\n" : readText(files, from);
  const raw: JsonRecord = from === undefined ? {} : readRecord(files, from);
  const fresh =
    from === undefined ? Object.fromEntries(Object.entries(base as ModelConfig).filter(([, value]) => !saysNothing(value))) : {};
  const fields: Record<string, Json> = { ...fresh, ...changes.fields };
  const labels = fields.num_labels;
  if (typeof labels === "number") {
    const names = "id2label" in fields ? fields.id2label : raw.id2label;
    if (!isRecord(names) || Object.keys(names).length !== labels) {
      fields.id2label = Object.fromEntries(Array.from({ length: labels }, (_, i) => [String(i), `LABEL_${i}`]));
      fields.label2id = Object.fromEntries(Array.from({ length: labels }, (_, i) => [`LABEL_${i}`, i]));
    }
    delete fields.num_labels; // transformers derives it from id2label and writes only that
  }
  const floats = new Set(changes.floats);
  const out = new Map<string, Json | Float | undefined>(
    Object.entries(asInFile(fields, raw)).map(([key, value]) => [
      key,
      floats.has(key) && typeof value === "number" ? new Float(value) : value,
    ]),
  );
  if (typeof labels === "number" && "num_labels" in raw) out.set("num_labels", undefined);
  for (const field of PACKING) if (field in raw) out.set(field, undefined);
  const dtype = TORCH_DTYPES[changes.dtype ?? "F32"];
  for (const field of ["dtype" in raw ? "dtype" : "torch_dtype", ...("dtype" in raw && "torch_dtype" in raw ? ["torch_dtype"] : [])])
    if (raw[field] !== dtype) out.set(field, dtype);
  const { module } = changes;
  if (module !== undefined && JSON.stringify(raw.architectures) !== JSON.stringify([module])) out.set("architectures", [module]);
  if (from === undefined)
    writeFile(
      files,
      joinPath(folder, "config.json"),
      new TextEncoder().encode(editRecord(text, new Map([...out].sort(([a], [b]) => (a < b ? -1 : 1))))),
    );
  else writeFile(files, joinPath(folder, "config.json"), new TextEncoder().encode(editRecord(text, out)));
}

const saysNothing = (value: Json): boolean => value === null || (Array.isArray(value) && value.length === 0);

/** Fields in the spelling of the file: where it has `rope_parameters`, what belongs there goes there. */
function asInFile(fields: Record<string, Json>, raw: JsonRecord): Record<string, Json> {
  const { rope_theta: theta, rope_scaling: scaling, partial_rotary_factor: part, ...others } = fields;
  const rope = raw.rope_parameters;
  if (!isRecord(rope) || (theta === undefined && scaling === undefined && part === undefined)) return fields;
  const { rope_theta: oldTheta, partial_rotary_factor: oldPart, ...old } = rope as Record<string, Json>;
  const kinds = scaling === undefined ? old : isRecord(scaling) ? scaling : { rope_type: "default" };
  const [t, p] = [theta ?? oldTheta, part ?? oldPart];
  return {
    ...others,
    rope_parameters: { ...kinds, ...(t !== undefined && { rope_theta: t }), ...(p !== undefined && { partial_rotary_factor: p }) },
  };
}
