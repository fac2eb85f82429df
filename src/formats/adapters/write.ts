/** Writes trained attachments: in PEFT's layout where it can say them, else in ours. */
import { Bug, InputError } from "../../ir/errors.ts";
import { type Files, Float, isRecord, type Json, type JsonRecord, joinPath, writeJson } from "../files.ts";
import { MemoryFiles } from "../memory.ts";
import { TensorStore } from "../safetensors/read.ts";
import { type OutTensor, writeSafetensors } from "../safetensors/write.ts";
import { encodeModules } from "./encode-modules.ts";
import { encodeTable } from "./encode-table.ts";
import type { Mappings, TaskMapping } from "./mapping.ts";
import { type Encoded, type Origin, type OutAdapter, type OutAttachment, type OutParam, Unsayable } from "./out.ts";

export type { OutAdapter } from "./out.ts";

import { OWN_TYPE, OWN_VERSION } from "./own.ts";
import { readPeft } from "./peft.ts";
import { PROVENANCE } from "./peft-config.ts";

export interface Written {
  readonly folder: string;
  readonly layout: "peft" | "peftc";
  readonly attachments: readonly string[];
  /** `LORA`, ... or `PEFTC`. */
  readonly type: string;
  /** Why it is not in PEFT's layout. */
  readonly reasons: readonly string[];
}

/** peft's task by the class's ending; `undefined`: none of them. */
function taskOf(module: string): string | undefined {
  const endings: readonly (readonly [RegExp, string])[] = [
    [/(ForCausalLM|LMHeadModel)$/, "CAUSAL_LM"],
    [/ForSequenceClassification$/, "SEQ_CLS"],
    [/ForTokenClassification$/, "TOKEN_CLS"],
    [/ForQuestionAnswering$/, "QUESTION_ANS"],
    [/ForConditionalGeneration$/, "SEQ_2_SEQ_LM"],
    [/Model$/, "FEATURE_EXTRACTION"],
  ];
  return endings.find(([ending]) => ending.test(module))?.[1];
}

/**
 * Writes the attachments to `folder`: all that PEFT can hold in one configuration together; where they are several, each into a folder of its own below, named after
 * its first attachment. Trained heads go with the first. Gives what was written. P0681, P0682 as the machine refuses.
 */
export function writeAdapter(
  files: Files,
  folder: string,
  adapter: OutAdapter,
  mappings: Mappings,
  layout: "peft where it can" | "peftc" = "peft where it can",
): Written[] {
  const { attachments, along } = named(adapter, mappings);
  const own = { type: undefined, why: "", attachments };
  const units = layout === "peftc" ? [own] : unitsOf(attachments, mappings).flatMap(apart);
  return units.map((unit, i) => {
    const place = units.length === 1 ? folder : joinPath(folder, unit.attachments[0].name);
    const part: OutAdapter = {
      ...adapter,
      attachments: unit.attachments,
      heads: i === 0 ? adapter.heads : {},
      copies: i === 0 ? adapter.copies : {},
    };
    const encoded = unit.type === undefined ? new Unsayable(unit.why) : encodePeft(unit.type, part, along, mappings);
    const reasons = encoded instanceof Unsayable && layout !== "peftc" ? [encoded.why] : [];
    const { config, floats, tensors } =
      encoded instanceof Unsayable ? encodeOwn({ ...part, attachments: [...along, ...part.attachments] }) : encoded;
    writeFolder(files, place, config, floats, tensors);
    return {
      folder: place,
      layout: encoded instanceof Unsayable ? "peftc" : "peft",
      attachments: unit.attachments.map(({ name }) => name),
      type: String(config.peft_type),
      reasons,
    };
  });
}

interface Named {
  readonly attachments: OutAttachment[];
  /** What PEFT does by itself to every model of the task. */
  readonly along: OutAttachment[];
}

/** Attachments with their files as imports name them; one that PEFT has no type for, as what it is when its training is over. */
function named(adapter: OutAdapter, mappings: Mappings): Named {
  const all = adapter.attachments.map((attachment) => {
    const own = { ...attachment, from: attachment.from.replace(/\.peft$/, "") };
    return typeOf(own, mappings) === undefined ? finished(own) : own;
  });
  const always = mappings.tasks.get(taskOf(adapter.base.module) ?? "");
  const goesWithTask = ({ method, from }: OutAttachment) => method === always?.method && from === always.from;
  return { attachments: all.filter((a) => !goesWithTask(a)), along: all.filter(goesWithTask) };
}

/** An attachment whose parameters are another method's by now, as that. */
function finished(attachment: OutAttachment): OutAttachment {
  const { outcome, ...rest } = attachment;
  return outcome === undefined ? attachment : { ...rest, ...outcome, from: outcome.from.replace(/\.peft$/, "") };
}

/** Why PEFT cannot hold the attachments in one folder; `undefined`: it can. */
export function notPeft(adapter: OutAdapter, mappings: Mappings): string | undefined {
  const { attachments, along } = named(adapter, mappings);
  const units = unitsOf(attachments, mappings);
  if (units.length > 1)
    return `PEFT has one type of adapter in a folder; these are ${units.map((u) => u.type ?? u.attachments[0].method).join(", ")}`;
  const [unit] = units;
  const encoded = unit.type === undefined ? new Unsayable(unit.why) : encodePeft(unit.type, { ...adapter, attachments }, along, mappings);
  return encoded instanceof Unsayable ? encoded.why : undefined;
}

function writeFolder(
  files: Files,
  folder: string,
  config: Record<string, Json>,
  floats: readonly string[],
  tensors: ReadonlyMap<string, OutParam>,
): void {
  const out = [...tensors].map(([name, { shape, values, dtype = "F32" }]): OutTensor => ({ name, shape, dtype, values }));
  writeSafetensors(files, joinPath(folder, "adapter_model.safetensors"), out);
  const spelt = Object.fromEntries(
    Object.entries(config).map(([key, value]) => [key, floats.includes(key) && typeof value === "number" ? new Float(value) : value]),
  );
  writeJson(files, joinPath(folder, "adapter_config.json"), spelt as Record<string, Json>);
}

interface Unit {
  readonly type: string | undefined;
  readonly why: string;
  readonly attachments: OutAttachment[];
}

/** Attachments by the type that could hold them; those of no type each stand alone. */
function unitsOf(attachments: readonly OutAttachment[], mappings: Mappings): Unit[] {
  const units: Unit[] = [];
  for (const attachment of attachments) {
    const state = attachment.sites.flatMap(({ states }) => Object.keys(states ?? {}))[0];
    const type = state === undefined ? typeOf(attachment, mappings) : undefined;
    const unit = type === undefined ? undefined : units.find((candidate) => candidate.type === type);
    if (unit !== undefined) unit.attachments.push(attachment);
    else
      units.push({
        type,
        why:
          state === undefined
            ? `PEFT has no name for ${attachment.method} of ${attachment.from}`
            : `the state \`${state}\` of ${attachment.method} acts in use too, and PEFT has no place for it`,
        attachments: [attachment],
      });
  }
  return units.filter((unit) => !goesAlong(unit, units, mappings));
}

/** Puts a unit into another whose type has its methods beside its own, where their places are others; says whether there is one. */
function goesAlong(unit: Unit, units: readonly Unit[], mappings: Mappings): boolean {
  const into = units.find(
    (other) =>
      other !== unit &&
      other.type !== undefined &&
      unit.attachments.every((attachment) => isBeside(attachment, other.type!, mappings)) &&
      !unit.attachments.some((attachment) => meets(attachment, other.attachments)),
  );
  into?.attachments.push(...unit.attachments);
  return into !== undefined;
}
const isBeside = ({ method, from }: OutAttachment, type: string, mappings: Mappings): boolean =>
  mappings.peft
    .get(type)!
    .methods.flatMap((m) => [...(m.beside === undefined ? [] : [m]), ...(m.companions ?? [])])
    .some((m) => m.method === method && m.from === from);

const placesOf = ({ sites }: OutAttachment): string[] => sites.map(({ path, role }) => placeOf(path, role));
const meets = (attachment: OutAttachment, others: readonly OutAttachment[]): boolean => {
  const own = new Set(placesOf(attachment));
  return others.some((other) => placesOf(other).some((place) => own.has(place)));
};

/** Attachments of a unit that meet at a place are adapters of their own: each goes to the first folder that has none there yet. */
function apart(unit: Unit): Unit[] {
  const units: Unit[] = [];
  for (const attachment of unit.attachments) {
    const free = units.find(({ attachments }) => !meets(attachment, attachments));
    if (free !== undefined) free.attachments.push(attachment);
    else units.push({ ...unit, attachments: [attachment] });
  }
  return units;
}

function typeOf(attachment: OutAttachment, mappings: Mappings): string | undefined {
  for (const [type, mapping] of mappings.peft) {
    const methods = mapping.methods
      .filter((method) => !method.readOnly && method.beside === undefined)
      .flatMap((method) => [method, ...(method.companions ?? [])]);
    if (methods.some((method) => method.method === attachment.method && method.from === attachment.from)) return type;
  }
  return undefined;
}

/** `along`: what PEFT does by itself to every model of the task, where it is done here too. */
function encodePeft(type: string, adapter: OutAdapter, along: readonly OutAttachment[], mappings: Mappings): Encoded | Unsayable {
  const mapping = mappings.peft.get(type)!;
  const own = taskOf(adapter.base.module);
  const always = mappings.tasks.get(own ?? "");
  const differs = always !== undefined && along.length === 0 && isConcerned(always, adapter);
  if (differs && mapping.layout === "table")
    return new Unsayable(`${always.why}: that is ${adapter.attachments[0].method} together with ${always.method}`);
  // to a model of no task PEFT does nothing
  const task = differs ? undefined : own;
  const config: Record<string, Json> = {
    ...mapping.fields,
    peft_type: type,
    peft_version: "0.21.0",
    base_model_name_or_path: adapter.base.name ?? null,
    task_type: task ?? null,
    auto_mapping: task === undefined ? { base_model_class: adapter.base.module, parent_library: libraryOf(adapter.base.config) } : null,
    revision: null,
    inference_mode: true,
  };
  const encoded =
    mapping.layout === "modules" ? encodeModules(mapping, config, adapter, task) : encodeTable(mapping, config, adapter, task);
  return encoded instanceof Unsayable || adapter.origin === undefined ? encoded : asItWas(encoded, adapter.origin, mappings);
}

/** Whether what PEFT does to a task makes this model another. */
const isConcerned = ({ params }: TaskMapping, { base }: OutAdapter): boolean =>
  [...base.shapes].some(([path, shape]) => shape[0] > 1 && new RegExp(params).test(path));

/** Fields that every writer says anew. */
const OWN_FIELDS: readonly string[] = ["peft_version", "inference_mode"];

/**
 * What was loaded and is still the same keeps the words of its file: names of modules, patterns, starts. It is the same if what is to be written reads as what was read: equal
 * methods, places, options and heads.
 */
function asItWas(encoded: Encoded, origin: Origin, mappings: Mappings): Encoded {
  const type = String(origin.config.peft_type);
  const mapping = mappings.peft.get(type);
  if (mapping === undefined) return encoded;
  const infos = [...encoded.tensors].map(
    ([name, { shape }]) => [name, { name, dtype: "F32", shape, file: "", offset: 0, bytes: 0 }] as const,
  );
  const store = new Unwritten(new Map(infos), encoded.tensors);
  let read: Pick<Origin, "parts" | "heads">;
  try {
    read = readPeft("what is written", encoded.config, () => store, mappings);
  } catch (error) {
    // what cannot be read back is not the same
    if (error instanceof InputError) return encoded;
    throw error;
  }
  const said = (of: Pick<Origin, "parts" | "heads">) => JSON.stringify([of.parts, Object.entries(of.heads).sort()]);
  if (said(read) !== said(origin)) return encoded;
  const kept: Record<string, Json> = { ...(encoded.config.peft_type === type ? encoded.config : mapping.fields) };
  for (const [field, value] of Object.entries(origin.config))
    if (field in mapping.fields || PROVENANCE.includes(field)) kept[field] = value;
  for (const field of OWN_FIELDS) kept[field] = encoded.config[field];
  return { ...encoded, config: kept, floats: mapping.floats };
}

/** What is to be written, as a store. */
class Unwritten extends TensorStore {
  constructor(
    infos: TensorStore["tensors"],
    private readonly values: Encoded["tensors"],
  ) {
    super(new MemoryFiles(), infos, {});
  }
  override read(name: string): Float32Array {
    return Float32Array.from(this.values.get(name)!.values());
  }
}

/** The Python module that declares a model's class: `transformers.models.vit.modeling_vit`. */
function libraryOf(config: JsonRecord): string {
  const type = config.model_type;
  if (typeof type !== "string") return "transformers";
  const name = type.replaceAll("-", "_");
  return `transformers.models.${name}.modeling_${name}`;
}

/** Our own layout: methods, options, places and keys as they are. */
function encodeOwn(adapter: OutAdapter): Encoded {
  const tensors = new Map<string, OutParam>();
  const put = (key: string, param: OutParam): string => {
    if (tensors.has(key)) throw new Bug(`two parameters would be saved as \`${key}\``);
    tensors.set(key, param);
    return key;
  };
  const putAll = (prefix: string, params: Readonly<Record<string, OutParam>>) =>
    Object.fromEntries(Object.entries(params).map(([name, param]) => [name, put(`${prefix}.${name}`, param)]));
  const parts = adapter.attachments.map(finished).map(({ name, method, from, options, sites, shared }) => ({
    method,
    from,
    options: Object.fromEntries(Object.entries(options).map(([option, value]) => [option, asJson(value, `${name}.${option}`)])),
    sites: sites.map(({ path, role, params, states }) => ({
      path: placeOf(path, role),
      params: putAll(`${name}.${path}`, params),
      ...(Object.keys(states ?? {}).length > 0 && { states: putAll(`${name}.${path}`, states!) }),
    })),
    shared: putAll(name, shared),
  }));
  const heads = Object.fromEntries(Object.entries(adapter.heads).map(([path, param]) => [path, put(`base.${path}`, param)]));
  return {
    config: {
      peft_type: OWN_TYPE,
      peftc_version: OWN_VERSION,
      base_model_name_or_path: adapter.base.name ?? null,
      task_type: taskOf(adapter.base.module) ?? null,
      inference_mode: true,
      parts,
      heads,
    },
    floats: [],
    tensors,
  };
}

/** A module may fill several roles that a method could take: the one it took is said. */
const placeOf = (path: string, role: string | undefined): string => (role === undefined || path.includes(":") ? path : `${path}:${role}`);

/** Options are numbers, texts, truths, lists and records of these; what else a method was given cannot be saved and is for the caller to replace. */
function asJson(value: unknown, where: string): Json {
  if (value === null || typeof value === "number" || typeof value === "string" || typeof value === "boolean") return value;
  if (Array.isArray(value)) return value.map((item, i) => asJson(item, `${where}[${i}]`));
  if (isRecord(value)) return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, asJson(item, `${where}.${key}`)]));
  throw new Bug(`option ${where} is ${typeof value}, which no file can hold`);
}
