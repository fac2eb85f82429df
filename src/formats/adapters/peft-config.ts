/** What `adapter_config.json` says, and what of it is not understood. */

import { InputError } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import { describe, isRecord, type Json, type JsonRecord } from "../files.ts";
import type { Mappings, OptionMapping, PeftMapping } from "./mapping.ts";
import { regex } from "./options.ts";

/** Fields that say where an adapter came from or how to load it, not what it computes. */
export const PROVENANCE: readonly string[] = [
  "peft_type",
  "peft_version",
  "base_model_name_or_path",
  "task_type",
  "auto_mapping",
  "revision",
  "inference_mode",
  "target_modules",
  "modules_to_save",
];

/** Paths of what a list of modules to save names, and of what is inside. */
export const savedModules = (names: unknown) =>
  (Array.isArray(names) ? names : []).map((name) => regex(`^(?:.*\\.)?${String(name)}(?:\\..*)?$`, "modules_to_save"));

/** Weights of modules that PEFT copies to train them whole: they are tensors of their own, unless it was told to keep ties. */
export function apartIn(config: JsonRecord, mapping: PeftMapping, heads: Readonly<Record<string, string>>): string[] {
  if (config.ensure_weight_tying === true) return [];
  const fits = [...savedModules(config.modules_to_save), ...savedModules(own(mapping.save, String(config.task_type)))];
  return Object.keys(heads).filter((head) => head.endsWith(".weight") && fits.some((fit) => fit.test(head.slice(0, -".weight".length))));
}

export function unknownType(path: string, type: string, mappings: Mappings): InputError {
  const known = [...mappings.peft.keys()].join(", ");
  const what = mappings.refused.get(type);
  if (what !== undefined) {
    return new InputError("P0663", `\`${path}\`: adapters of the type ${type} (${what}) are not built`, [`built are ${known}`]);
  }
  return new InputError("P0662", `\`${path}\`: ${type} is no type of adapter that is known`, [
    `built are ${known}`,
    "a method of your own is read in a program that imports it from a file with a .hf.json beside it, which maps this type",
  ]);
}

export function isEmpty(value: Json | undefined): boolean {
  return value === undefined || value === null || value === false || (typeof value === "object" && Object.keys(value).length === 0);
}

export function same(a: Json | undefined, b: Json | undefined): boolean {
  return (isEmpty(a) && isEmpty(b)) || JSON.stringify(a) === JSON.stringify(b);
}

/** P0661: a field that tells a method's option is of another kind than its default, such as a number in quotes. `what` names the file, `fields` are the defaults. */
export function checkKinds(
  what: string,
  config: JsonRecord,
  methods: readonly { readonly options: Readonly<Record<string, OptionMapping>> }[],
  fields: JsonRecord,
): void {
  const options = methods.flatMap((method) => Object.values(method.options)).flatMap((option) => [option, ...(option.first ?? [])]);
  for (const { field, pattern, named, numeric, equals, matches, reduces } of options) {
    const wanted = field === undefined ? undefined : own(fields, field);
    const kind = typeof wanted;
    if ((kind !== "number" && kind !== "boolean") || [numeric, equals, matches, reduces].some((form) => form !== undefined)) continue;
    const refuse = (place: string, value: Json) => {
      throw new InputError("P0661", `${what}: ${place} is ${describe(value)} where ${WANTED[kind]} is wanted`, [
        typeof value === "string" && value.trim() !== "" && !Number.isNaN(Number(value))
          ? `write ${value.trim()} without quotes`
          : `the default is ${JSON.stringify(wanted)}`,
      ]);
    };
    const value = own(config, field!);
    const exceptions = pattern === undefined ? undefined : own(config, pattern);
    // null is what Python has for false
    if (value !== undefined && typeof value !== kind && !(kind === "boolean" && value === null) && !(named && isRecord(value)))
      refuse(field!, value);
    for (const [path, other] of isRecord(exceptions) ? Object.entries(exceptions) : [])
      if (typeof other !== kind) refuse(`${pattern} for ${JSON.stringify(path)}`, other);
  }
}
const WANTED = { number: "a number", boolean: "true or false" } as const;

/** Every field is mapped, free, as peft's default, or refused. */
export function checkFields(path: string, config: JsonRecord, mapping: PeftMapping): { notes: string[]; unknownFields: string[] } {
  checkKinds(`\`${path}\``, config, mapping.methods, mapping.fields);
  const mapped = new Set(
    mapping.methods.flatMap((method) => [
      ...Object.values(method.options).flatMap((option) => [option.field, option.pattern]),
      method.listed,
    ]),
  );
  const chooses = (field: string, value: Json) =>
    mapping.methods.some(({ when }) => when?.[field] !== undefined && same(when[field], value));
  const notes: string[] = [];
  const unknownFields: string[] = [];
  for (const [field, value] of Object.entries(config)) {
    if (PROVENANCE.includes(field) || mapped.has(field) || mapping.free.includes(field) || chooses(field, value)) continue;
    if (!Object.hasOwn(mapping.fields, field)) {
      if (!isEmpty(value)) unknownFields.push(field);
    } else if (!same(value, mapping.fields[field]) && !own(mapping.accept, field)?.some((other) => same(value, other))) {
      if (mapping.training.includes(field)) notes.push(`${field} = ${JSON.stringify(value)} acts in training only and is not built`);
      else {
        const why = own(mapping.why, field);
        throw new InputError(
          "P0665",
          `\`${path}\`: ${field} = ${JSON.stringify(value)} is not built${why === undefined ? "" : `: ${why}`}`,
        );
      }
    }
  }
  return { notes, unknownFields };
}
