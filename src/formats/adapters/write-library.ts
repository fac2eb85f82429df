/** Writes adapters in the layout of the adapters library (AdapterHub): the reverse of `library.ts`, by the same mappings. */
import { Bug, InputError } from "../../ir/errors.ts";
import { type Files, Float, isRecord, type Json, type JsonRecord, joinPath, writeJson } from "../files.ts";
import { type OutTensor, writeSafetensors } from "../safetensors/write.ts";
import { evaluate } from "./expression.ts";
import { comparePaths } from "./folder.ts";
import { endOf, FUSION_CONFIG, layerOf } from "./library.ts";
import type { LibraryMapping, Mappings, OptionMapping } from "./mapping.ts";
import type { OutAdapter, OutAttachment, OutParam } from "./out.ts";
import { makeView, writeView } from "./view.ts";

/** The version of the library whose layout this is. */
export const LIBRARY_VERSION = "adapters.1.2.0";

interface LibraryNames {
  /** The adapter's name, which is inside all keys; by default that of the first attachment. */
  readonly name?: string;
  /** For a fusion: the names of the adapters that it fuses, in order. */
  readonly sources?: readonly string[] | undefined;
}

/** One entry of what becomes the configuration: fields and places of one method, or of several that one entry can say. */
interface Entry {
  readonly architecture: string;
  readonly fields: Record<string, Json>;
  readonly mappings: Set<LibraryMapping>;
  /** Sizes of bottlenecks by layer, for the field that holds what divides the hidden size. */
  readonly sizes: Map<number, number>;
  readonly places: { readonly mapping: LibraryMapping; readonly place: string }[];
}

/**
 * Writes all attachments as one adapter: `adapter_config.json` and `adapter.safetensors`, trained heads as `head_config.json` and `model_head.safetensors`; a fusion
 * as `adapter_fusion_config.json` and `model_adapter_fusion.safetensors`. P0670: the library has no form for them, with the reason.
 */
export function writeLibrary(files: Files, folder: string, adapter: OutAdapter, mappings: Mappings, names: LibraryNames = {}): void {
  // a method of which something else is left when its training is over is that
  const attachments = adapter.attachments.map((attachment): OutAttachment => {
    const { method, from, options } = attachment.outcome ?? attachment;
    return { ...attachment, method, from: from.replace(/\.peft$/, ""), options };
  });
  if (attachments.length === 0) throw new Bug("no attachment to write");
  const writer = new LibraryWriter(adapter, mappings, names.name ?? attachments[0].name);
  const fusion = attachments.some((attachment) => writer.mappingOf(attachment).architecture === "fusion");
  if (fusion) {
    if (attachments.length > 1) refuse("a fusion lies in a folder of its own", attachments);
    if (names.sources === undefined) refuse("the names of the adapters that are fused are needed", attachments);
    const fused = new LibraryWriter(adapter, mappings, names.sources!.join(","));
    const [entry] = fused.entries(attachments);
    save(files, folder, "model_adapter_fusion.safetensors", fused.tensors);
    const { architecture: _, ...config } = fused.configOf(entry);
    writeJson(files, joinPath(folder, FUSION_CONFIG), { ...fused.about(config), adapter_names: [...names.sources!] });
    return;
  }
  const entries = writer.entries(attachments).map((entry) => writer.configOf(entry));
  const config = entries.length === 1 ? entries[0] : { architecture: "union", configs: entries };
  save(files, folder, "adapter.safetensors", writer.tensors);
  writeJson(files, joinPath(folder, "adapter_config.json"), writer.about(config));
  if (Object.keys(adapter.heads).length === 0) return;
  save(files, folder, "model_head.safetensors", new Map(Object.entries(adapter.heads)));
  const { label2id, num_labels } = adapter.base.config;
  writeJson(files, joinPath(folder, "head_config.json"), {
    ...writer.about(null),
    name: null,
    label2id: label2id ?? null,
    num_labels: num_labels ?? (isRecord(label2id) ? Object.keys(label2id).length : 2),
  });
}

function save(files: Files, folder: string, name: string, tensors: ReadonlyMap<string, OutParam>): void {
  const out = [...tensors].map(([key, { shape, values }]): OutTensor => ({ name: key, shape, dtype: "F32", values }));
  // the library writes no metadata
  writeSafetensors(files, joinPath(folder, name), out, {});
}

function refuse(why: string, attachments: readonly OutAttachment[]): never {
  throw new InputError("P0670", `the adapters library cannot hold ${attachments.map((a) => a.method).join(", ")}`, [why]);
}

/** All places that a method took, as its mapping writes them before the infix. */
class LibraryWriter {
  readonly tensors = new Map<string, OutParam>();
  private readonly layers: ReadonlySet<number>;
  /** What the base calls its trunk; "": the model is its own. */
  private readonly trunk: string;
  /** The trunk's encoder, where it has a decoder as well; else the trunk. */
  private readonly encoder: string;
  private readonly model: JsonRecord;

  constructor(
    private readonly adapter: OutAdapter,
    private readonly mappings: Mappings,
    private readonly name: string,
  ) {
    const { config, shapes } = adapter.base;
    const found = [...shapes.keys()].map((path) => layerOf(path, config)).filter((layer) => layer !== undefined);
    this.layers = new Set(found);
    const first = [...shapes.keys()].find((path) => layerOf(path, config) !== undefined)?.split(".")[0] ?? "";
    this.trunk = ["encoder", "decoder"].includes(first) ? "" : first;
    this.encoder = config.is_encoder_decoder !== true ? this.trunk : this.trunk === "" ? "encoder" : `${this.trunk}.encoder`;
    this.model = { ...config, hidden_size: widthOf(config), model_class: adapter.base.module };
  }

  /** The kind of the library's that has an end for every parameter. */
  mappingOf(attachment: OutAttachment): LibraryMapping {
    const { method, from, sites, shared } = attachment;
    const all = this.mappings.library.filter((mapping) => mapping.method === method && mapping.from === from);
    if (all.length === 0) refuse(`it has no method like ${method} of ${from}`, [attachment]);
    const has = (table: Readonly<Record<string, unknown>> | undefined, param: string) =>
      table?.[param] !== undefined || table?.[`${param}?`] !== undefined;
    const found = all.find(
      (mapping) =>
        sites.every(({ params }) =>
          Object.keys(params).every((p) => has(mapping.params, p) || has(mapping.views, p) || has(mapping.sited?.params, p)),
        ) &&
        Object.keys(shared).every((p) => has(mapping.shared, p)) &&
        [...Object.keys(mapping.params ?? {}), ...Object.keys(mapping.views ?? {})].every(
          (p) => p.endsWith("?") || sites.every(({ params }) => params[p] !== undefined),
        ),
    );
    return found ?? refuse(`${method} has parameters here that the library's does not have`, [attachment]);
  }

  entries(attachments: readonly OutAttachment[]): Entry[] {
    const entries: Entry[] = [];
    for (const attachment of attachments) {
      const mapping = this.mappingOf(attachment);
      const fields = this.fieldsOf(mapping, attachment);
      const own = new Map<number, number>();
      const reduced = Object.entries(mapping.options).find(([, option]) => option.reduces !== undefined);
      const places = attachment.sites.map(({ path, role }) => {
        const place = this.placeOf(mapping, role === undefined || path.includes(":") ? path : `${path}:${role}`);
        const layer = layerOf(place, this.model);
        if (reduced !== undefined && layer !== undefined) own.set(layer, Number(attachment.options[reduced[0]]));
        return place;
      });
      const architecture = mapping.architecture ?? "";
      const fits = (entry: Entry): boolean =>
        entry.architecture === architecture &&
        Object.entries(fields).every(
          ([field, value]) => !(field in entry.fields) || JSON.stringify(entry.fields[field]) === JSON.stringify(value),
        ) &&
        [...own].every(([layer, size]) => (entry.sizes.get(layer) ?? size) === size);
      let entry = entries.find(fits);
      if (entry === undefined) {
        entry = { architecture, fields: {}, mappings: new Set(), sizes: new Map(), places: [] };
        entries.push(entry);
      }
      Object.assign(entry.fields, fields);
      entry.mappings.add(mapping);
      for (const [layer, size] of own) entry.sizes.set(layer, size);
      entry.places.push(...places.map((place) => ({ mapping, place })));
      if (mapping.views === undefined) this.putSites(mapping, attachment, places, fields);
      else this.putPool(mapping, attachment, places, fields);
    }
    return entries;
  }

  /** Fields that the method and its options ask for. */
  private fieldsOf(mapping: LibraryMapping, attachment: OutAttachment): Record<string, Json> {
    const fields: Record<string, Json> = { ...mapping.sets, ...mapping.config };
    for (const name of Object.keys(attachment.options)) {
      if (mapping.options[name] === undefined && !mapping.silent?.includes(name))
        refuse(`it has no field for the option ${name} of ${mapping.method}`, [attachment]);
    }
    for (const [name, option] of Object.entries(mapping.options)) {
      const value = attachment.options[name] as Json | undefined;
      const why = this.encode(option, value, fields);
      if (why !== undefined) refuse(`${mapping.method} with ${name}: ${JSON.stringify(value)}: ${why}`, [attachment]);
    }
    return fields;
  }

  /** Puts an option's fields; why it cannot, where it cannot. */
  private encode(option: OptionMapping, value: Json | undefined, fields: Record<string, Json>): string | undefined {
    if (option.given !== undefined)
      return value === undefined || value === option.given ? undefined : "the library knows another value only";
    if (option.matches !== undefined)
      return value === new RegExp(option.matches).test(String(this.model[option.field!]))
        ? undefined
        : `not for a ${this.adapter.base.module}`;
    if (option.cases !== undefined) {
      const found = option.cases.find(([, then]) => !isRecord(then) && JSON.stringify(then) === JSON.stringify(value ?? null));
      const [set, then] = found ?? option.cases.find(([, other]) => isRecord(other)) ?? [];
      if (set === undefined) return "the library has no such choice";
      Object.assign(fields, set);
      return isRecord(then) ? this.encode(then as OptionMapping, value, fields) : undefined;
    }
    if (option.reduces !== undefined || option.field === undefined) return undefined;
    if (option.functions !== undefined) {
      const wanted = value ?? option.start;
      const found = Object.entries(option.functions).find(([, own]) => own === wanted);
      if (found === undefined) return "the library has no such function";
      fields[option.field] = found[0];
      return undefined;
    }
    if (value === undefined) return undefined;
    if (option.numeric && fields[option.field] !== undefined && typeof fields[option.field] !== "number") return undefined;
    fields[option.field] = option.negated ? !value : value;
    return undefined;
  }

  private placeOf(mapping: LibraryMapping, site: string): string {
    for (const [pattern, place] of mapping.placed ?? [["^([^:]*)(:.*)?$", "$1"]]) {
      const expression = new RegExp(pattern);
      if (expression.test(site)) return site.replace(expression, place).replace("{trunk}", this.trunk).replace("{encoder}", this.encoder);
    }
    throw new Bug(`no place for the site ${site} of ${mapping.method}`);
  }

  private put(key: string, param: OutParam): void {
    if (this.tensors.has(key))
      throw new InputError("P0670", `the adapters library has one adapter of a name at a place; \`${key}\` would be there twice`);
    this.tensors.set(key, param);
  }

  private putSites(mapping: LibraryMapping, attachment: OutAttachment, places: readonly string[], fields: JsonRecord): void {
    for (const [i, { params }] of attachment.sites.entries()) {
      const prefix = `${places[i]}.${mapping.infix}.${this.name}.`;
      const ends = new Map<string, OutParam>();
      for (const [param, value] of Object.entries(params))
        ends.set(endOf(mapping, fields, mapping.params![param] ?? mapping.params![`${param}?`]), value);
      for (const [twin, of] of Object.entries(mapping.twins ?? {})) {
        const value = ends.get(of);
        if (value !== undefined) ends.set(twin, value);
      }
      for (const [end, value] of ends) this.put(prefix + end, value);
    }
    for (const [param, value] of Object.entries(attachment.shared)) {
      const end = mapping.shared![param] ?? mapping.shared![`${param}?`];
      this.put(`${this.trunk === "" ? "" : `${this.trunk}.`}shared_parameters.${this.name}.${end}`, value);
    }
  }

  /** One tensor for all layers that a pool serves, repeated under each layer's name and the trunk's. */
  private putPool(mapping: LibraryMapping, attachment: OutAttachment, places: readonly string[], fields: JsonRecord): void {
    const pools = new Map<string, OutAttachment["sites"][number][]>();
    for (const site of attachment.sites) {
      const pool = this.poolOf(mapping, site.path);
      pools.set(pool, [...(pools.get(pool) ?? []), site]);
    }
    const repeated = mapping.repeated === undefined ? places : this.repetitions(mapping, places);
    for (const [pool, sites] of pools)
      for (const [end, value] of this.pooled(mapping, { ...attachment, sites }, pool, fields))
        for (const place of repeated) this.put(`${place}.${mapping.infix}.${this.name}.${end}`, value);
    for (const [i, { params }] of attachment.sites.entries())
      for (const [param, end] of Object.entries(mapping.sited?.params ?? {})) {
        const value = params[param.replace(/\?$/, "")];
        if (value !== undefined) this.put(`${places[i].replace(/\.pool$/, "")}.${mapping.sited!.infix}.${this.name}.${end}`, value);
      }
  }

  /** The tensors of one pool by the ends of their keys. */
  private pooled(mapping: LibraryMapping, { sites, shared, name }: OutAttachment, pool: string, fields: JsonRecord): Map<string, OutParam> {
    const tensors = new Map<string, OutParam>();
    const scope: Record<string, unknown> = { ...this.model, ...fields, sites: sites.length };
    for (const [size, expression] of Object.entries(mapping.sizes ?? {})) scope[size] = evaluate(expression, scope, name);
    for (const of of new Set(Object.values(mapping.views ?? {}).map((view) => view.of))) {
      const parts = Object.entries(mapping.views!).filter(([, view]) => view.of === of);
      const [, first] = parts[0];
      tensors.set(of.replace("{pool}", pool), {
        shape: (first.as ?? [first.reshape.join(" * ")]).map((size) => evaluate(size, scope, name)),
        values: () => {
          const whole = new Float32Array(first.reshape.reduce((n, size) => n * evaluate(size, scope, name), 1));
          for (const [index, { params }] of sites.entries())
            for (const [param, view] of parts) writeView(makeView(view, { ...scope, index }, name), params[param].values(), whole);
          return whole;
        },
      });
    }
    for (const [param, value] of Object.entries(shared)) tensors.set(mapping.shared![param].replace("{pool}", pool), value);
    return tensors;
  }

  private poolOf(mapping: LibraryMapping, path: string): string {
    const fits = ([pattern, , type]: readonly [string, string, string?]) =>
      new RegExp(pattern).test(path) && (type === undefined || type === this.model.model_type);
    return mapping.pools?.find(fits)?.[1] ?? "";
  }

  /** Where the library's state has the pool: at every module of the kind in the model, and at the trunk. */
  private repetitions(mapping: LibraryMapping, places: readonly string[]): string[] {
    const modules = new Set<string>();
    const kind = new RegExp(mapping.repeated!);
    for (const path of this.adapter.base.shapes.keys()) {
      const parts = path.split(".");
      for (let i = 1; i < parts.length; i++) if (kind.test(parts.slice(0, i).join("."))) modules.add(parts.slice(0, i).join("."));
    }
    const end = /(\.[^.]+)*$/.exec(places[0].slice(places[0].lastIndexOf(".prefix_tuning")))![0];
    const all = new Set([...places, ...[...modules].map((module) => module + end)]);
    return [...all].sort(comparePaths).concat(this.trunk === "" ? "prefix_tuning" : `${this.trunk}.prefix_tuning`);
  }

  /** One entry as the library writes it, with all fields. */
  configOf(entry: Entry): Record<string, Json> {
    const { architecture, fields, mappings, sizes, places } = entry;
    const known = this.mappings.architectures.get(architecture);
    if (known === undefined) throw new Bug(`nothing is said of the architecture ${architecture}`);
    const config: Record<string, Json> = { ...known.fields, ...fields };
    for (const [field, value] of Object.entries(known.unsaved ?? {})) {
      // the library does not save it: another value would be lost
      if (field in config && JSON.stringify(config[field]) !== JSON.stringify(value))
        throw new InputError("P0670", `the adapters library does not save ${field} = ${JSON.stringify(config[field])}`, [
          `it would read the adapter as one with ${field} = ${JSON.stringify(value)}`,
        ]);
      delete config[field];
    }
    this.locate(config, mappings, places);
    const reduction = [...mappings].flatMap((mapping) => Object.values(mapping.options)).find((option) => option.reduces !== undefined);
    if (reduction !== undefined && sizes.size > 0) config[reduction.reduces!] = this.reductions(sizes);
    const layered = places.filter(({ mapping }) => !mapping.beside);
    const used = new Set(
      (layered.length > 0 ? layered : places).map(({ place }) => layerOf(place, this.model)).filter((layer) => layer !== undefined),
    );
    const every = [...mappings].find((mapping) => mapping.layers !== undefined)?.layers;
    if (used.size > 0) {
      if (every !== undefined) config[every] = used.size === this.layers.size ? "all" : [...used].sort((a, b) => a - b);
      else if ("leave_out" in config) config.leave_out = [...this.layers].filter((layer) => !used.has(layer)).sort((a, b) => a - b);
    }
    const floats = known.floats ?? [];
    return Object.fromEntries(
      Object.entries(config).map(([key, value]) => [key, floats.includes(key) && typeof value === "number" ? new Float(value) : value]),
    ) as Record<string, Json>;
  }

  /** Fields that say where: true for what has places, false for what has none. */
  private locate(config: Record<string, Json>, mappings: ReadonlySet<LibraryMapping>, places: Entry["places"]): void {
    const seen = new Map<number | undefined, Set<string>>();
    const listed = new Set<string>();
    for (const mapping of mappings) for (const [, field] of mapping.locations ?? []) config[field] = false;
    for (const { mapping, place } of places) {
      const found = mapping.locations?.find(([pattern]) => new RegExp(pattern).test(place));
      if (found === undefined) continue;
      config[found[1]] = true;
      if (found[2] !== undefined) listed.add(found[2]);
      const layer = layerOf(place, this.model);
      seen.set(layer, (seen.get(layer) ?? new Set()).add(found.slice(1).join(" ")));
    }
    if (listed.size > 0) config.attn_matrices = ["q", "k", "v"].filter((part) => listed.has(part));
    // an encoder's layers may lack what a decoder's have
    const kinds = new Set([...seen.values()].map((set) => [...set].sort().join()));
    if (kinds.size > (this.model.is_encoder_decoder === true ? 2 : 1))
      throw new InputError("P0670", "the adapters library adapts the same places in every layer that it does not leave out", [
        `here are ${[...kinds].map((kind) => `[${kind}]`).join(" and ")}`,
      ]);
    for (const mapping of mappings) {
      if (mapping.pools === undefined || this.model.is_encoder_decoder !== true) continue;
      const pools = new Set(places.map(({ place }) => this.poolOf(mapping, place.replace(/\.prefix_tuning(\.pool)?$/, ""))));
      for (const pool of ["encoder_prefix", "cross_prefix"]) config[pool] = pools.has(pool);
    }
  }

  /** What divides the hidden size, by layer where sizes differ: the library cuts the quotient to a whole number. */
  private reductions(sizes: ReadonlyMap<number, number>): Json {
    const width = Number(this.model.hidden_size);
    const divisor = (size: number): number => {
      if (Number.isInteger(width / size)) return width / size;
      const whole = Math.floor(width / size);
      return whole > 0 && Math.floor(width / whole) === size ? whole : width / (size + 0.5);
    };
    const distinct = new Set(sizes.values());
    if (distinct.size === 1) return divisor([...distinct][0]);
    const common = [...distinct].sort((a, b) => count(sizes, b) - count(sizes, a))[0];
    return {
      ...Object.fromEntries([...sizes].filter(([, size]) => size !== common).map(([layer, size]) => [String(layer), divisor(size)])),
      default: divisor(common),
    };
  }

  /** The file around a configuration. */
  about(config: Json): Record<string, Json> {
    const { base } = this.adapter;
    return {
      config,
      hidden_size: this.model.hidden_size ?? null,
      model_class: base.module,
      model_name: base.name ?? null,
      model_type: base.config.model_type ?? null,
      name: this.name,
      version: LIBRARY_VERSION,
    };
  }
}

const count = (sizes: ReadonlyMap<number, number>, size: number): number => [...sizes.values()].filter((other) => other === size).length;

/** Configurations call the width differently. */
function widthOf(config: JsonRecord): Json {
  return config.hidden_size ?? config.n_embd ?? config.d_model ?? config.dim ?? null;
}
