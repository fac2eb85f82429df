/** Attachments with tensors at every module, as PEFT writes them. */
import { Bug } from "../../ir/errors.ts";
import type { Json } from "../files.ts";
import type { StoredDType } from "../safetensors/dtype.ts";
import { encodeHeads, shortestName } from "./encode-heads.ts";
import { evaluate } from "./expression.ts";
import { sharedOtherwise, withGrouped } from "./grouped.ts";
import type { MethodMapping, OptionMapping, PeftMapping } from "./mapping.ts";
import { type Encoded, type OutAdapter, type OutAttachment, type OutParam, Unsayable } from "./out.ts";
import { choosePattern, chooseTargets, moduleTree } from "./targets.ts";
import { rowsThatCount, thin } from "./thinned.ts";

/** Values that a field should have, by site; all equal, or the field has a pattern. */
type FieldValues = Map<string, { values: Map<string, Json>; pattern: string | undefined; searched?: true | undefined }>;

export function encodeModules(
  mapping: PeftMapping,
  config: Record<string, Json>,
  adapter: OutAdapter,
  task: string | undefined,
): Encoded | Unsayable {
  const tensors = new Map<string, OutParam>();
  const fields: FieldValues = new Map();
  const sites: string[] = [];
  /** Places that are no targets. */
  const aside: string[] = [];
  const listed = new Map<string, string[]>();
  const thinned = new Map<string, Record<string, Json>>();
  /** Values by the path they are for. */
  const named = new Map<string, Map<string, Json>>();
  for (const attachment of adapter.attachments) {
    const method = mapping.methods.find((candidate) => candidate.method === attachment.method && candidate.from === attachment.from)!;
    const odd = collectOptions(method, attachment, fields, named);
    if (odd !== undefined) return odd;
    for (const [field, value] of Object.entries(method.when ?? {})) note(fields, field, {}, attachment.name, value);
    if (method.listed !== undefined)
      listed.set(method.listed, [...(listed.get(method.listed) ?? []), ...attachment.sites.map(({ path }) => path)]);
    const counts = rowsThatCount(method, attachment);
    const upright = attachment.sites.find(({ turned }) => turned === true);
    if (upright !== undefined && mapping.upright)
      return new Unsayable(`PEFT has no ${config.peft_type} for a weight that lies the other way round (\`${upright.path}\`)`);
    const whole = withGrouped(method, attachment, optionsByField(method), adapter.base.shapes);
    /** What is drawn again. */
    const left = method.drawn !== undefined && attachment.options[method.drawn.saved] === false ? method.drawn.params : [];
    for (const { path, also } of attachment.sites) {
      const params = whole.get(path)!;
      if (path.includes(":")) return new Unsayable(`PEFT has no two places in one module (\`${path}\`)`);
      if (sites.includes(path) || aside.includes(path)) return new Unsayable(`PEFT adapts a module once; \`${path}\` is adapted twice`);
      (method.beside === undefined ? sites : aside).push(path);
      const rows = counts?.get(path);
      const held = Object.fromEntries(Object.entries(params).filter(([param]) => !left.includes(param)));
      const kept = rows === undefined ? held : thin(method, held, rows);
      if (rows !== undefined)
        thinned.set(method.thinned!.field, {
          ...thinned.get(method.thinned!.field),
          [`${path}.${method.params![method.thinned!.of]}`]: rows,
        });
      for (const place of [path, ...(mapping.tied ? (also ?? []) : [])]) putParams(method, place, kept, mapping, tensors);
    }
    for (const [param, stem] of Object.entries(method.numbered ?? {})) {
      const own = attachment.sites.flatMap(({ params }) => params[param] ?? []);
      if (tensors.has(`${stem}0`))
        return new Unsayable(`PEFT counts ${param} through once; ${attachment.name} brings a second row of them`);
      own.forEach((value, i) => {
        tensors.set(`${stem}${i}`, value);
      });
    }
    for (const [param, value] of Object.entries(attachment.shared)) {
      if (left.includes(param)) continue;
      const key = method.shared?.[param];
      if (key === undefined) throw new Bug(`no key for the shared parameter ${param} of ${attachment.method}`);
      if (tensors.has(key)) return new Unsayable(`PEFT has one set of shared tensors; ${attachment.name} brings a second`);
      tensors.set(key, value);
      const again = method.repeated?.[param];
      if (again !== undefined) for (const { path } of attachment.sites) tensors.set(`${mapping.headPrefix}${path}.${again}`, value);
    }
  }
  const unequal = settleFields(fields, config);
  if (unequal !== undefined) return unequal;
  for (const [field, rows] of thinned) config[field] = rows;
  for (const method of mapping.methods) {
    for (const [field, expression] of Object.entries(method.writes ?? {}))
      config[field] = evaluate(expression, config, "the adapter's configuration");
  }
  storeIntegers(mapping, config, tensors);
  const all = moduleTree(adapter.base.shapes.keys());
  const unplaced = placeTargets(mapping, config, sites, all);
  if (unplaced !== undefined) return unplaced;
  for (const attachment of adapter.attachments) {
    const method = mapping.methods.find((candidate) => candidate.method === attachment.method && candidate.from === attachment.from)!;
    const otherwise = sharedOtherwise(method, attachment, config.target_modules, adapter.base.shapes);
    if (otherwise !== undefined) return otherwise;
  }
  for (const [field, values] of named)
    config[field] = Object.fromEntries([...values].map(([path, value]) => [shortestName(path, all), value]));
  for (const method of mapping.methods)
    if (method.listed !== undefined) config[method.listed] = listNames(listed.get(method.listed) ?? [], all);
  if ("fan_in_fan_out" in mapping.fields)
    config.fan_in_fan_out = adapter.attachments.some((a) => a.sites.some(({ turned }) => turned === true));
  const unsaid = encodeHeads(mapping, config, adapter, task, new Set(sites), tensors);
  if (unsaid !== undefined) return unsaid;
  for (const [path, param] of Object.entries(adapter.copies ?? {})) {
    const at = path.lastIndexOf(".");
    tensors.set(`${mapping.headPrefix}${path.slice(0, at)}.base_layer.${path.slice(at + 1)}`, param);
  }
  return { config, floats: mapping.floats, tensors };
}

/** Which modules are adapted, in the words of the configuration. */
function placeTargets(
  mapping: PeftMapping,
  config: Record<string, Json>,
  sites: readonly string[],
  all: readonly string[],
): Unsayable | undefined {
  if (mapping.last !== undefined) {
    const name = sites[0].slice(sites[0].lastIndexOf(".") + 1);
    const named = all.filter((module) => module.endsWith(`.${name}`)).slice(-sites.length);
    if (named.length !== sites.length || named.some((module) => !sites.includes(module)))
      return new Unsayable(`PEFT has ${config.peft_type} in the last modules of one name only`);
    config.target_modules = name;
    config[mapping.last] = sites.length;
  } else {
    const targets = chooseTargets(sites, all);
    config.target_modules = [...targets.modules];
    if (targets.layers !== undefined) {
      if (!("layers_to_transform" in mapping.fields)) config.target_modules = [...sites].sort();
      else config.layers_to_transform = [...targets.layers];
    }
  }
  return undefined;
}

/** Fields to the options that they hold. */
const optionsByField = ({ options }: MethodMapping): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(options).flatMap(([name, { field }]) => (field === undefined ? [] : [[field, name]])));

function note(fields: FieldValues, field: string, { pattern, searched }: OptionMapping, place: string, value: Json): void {
  const entry = fields.get(field) ?? { values: new Map<string, Json>(), pattern };
  entry.pattern ??= pattern;
  entry.searched ??= searched;
  entry.values.set(place, value);
  fields.set(field, entry);
}

function collectOptions(
  method: MethodMapping,
  attachment: OutAttachment,
  fields: FieldValues,
  named: Map<string, Map<string, Json>>,
): Unsayable | undefined {
  for (const name of Object.keys(attachment.options)) {
    if (method.options[name] === undefined && !method.silent?.includes(name)) {
      return new Unsayable(`PEFT has no field for the option ${name} of ${method.method}`);
    }
  }
  for (const [name, option] of Object.entries(method.options)) {
    const value = attachment.options[name];
    if (value === undefined) throw new Bug(`option ${name} of attachment ${attachment.name} is not reported`);
    if (option.given !== undefined && !method.silent?.includes(name) && JSON.stringify(value) !== JSON.stringify(option.given))
      return new Unsayable(
        `PEFT's ${method.method} always has ${name} = ${JSON.stringify(option.given)}; here it is ${JSON.stringify(value)}`,
      );
    // the shapes say it
    if (option.field === undefined) continue;
    for (const { path } of attachment.sites) {
      if (option.named) named.set(option.field, new Map([...(named.get(option.field) ?? []), [path, value as Json]]));
      else note(fields, option.field, option, path, encodeOption(option, value as Json));
    }
  }
  return undefined;
}

function encodeOption(option: OptionMapping, value: Json): Json {
  return option.negated ? !value : value;
}

function settleFields(fields: FieldValues, config: Record<string, Json>): Unsayable | undefined {
  for (const [field, { values, pattern, searched }] of fields) {
    const distinct = new Set([...values.values()].map((value) => JSON.stringify(value)));
    if (distinct.size <= 1) {
      const [value] = values.values();
      if (value !== undefined) config[field] = value;
    } else if (pattern === undefined) {
      return new Unsayable(`PEFT has one value of ${field} for all modules; here are ${[...distinct].join(", ")}`);
    } else {
      const chosen = choosePattern(values);
      config[field] = chosen.common;
      config[pattern] = Object.fromEntries(
        Object.entries(chosen.pattern).map(([key, value]) => [searched ? `(^|\\.)${key}$` : key, value]),
      );
    }
  }
  return undefined;
}

function putParams(
  method: MethodMapping,
  path: string,
  params: Readonly<Record<string, OutParam>>,
  mapping: PeftMapping,
  tensors: Map<string, OutParam>,
): void {
  for (const [param, value] of Object.entries(params)) {
    const end = method.params?.[param] ?? method.params?.[`${param}?`];
    if (end === undefined) {
      if (method.numbered?.[param] !== undefined) continue;
      throw new Bug(`no key for the parameter ${param} of ${method.method}`);
    }
    tensors.set(`${mapping.headPrefix}${path}.${end}`, value);
  }
}

/** Whole numbers in their types. */
function storeIntegers(mapping: PeftMapping, config: Readonly<Record<string, Json>>, tensors: Map<string, OutParam>): void {
  for (const method of mapping.methods)
    for (const [param, type] of Object.entries(method.integers ?? {})) {
      const dtype = typeof type === "string" ? type : smallest(Number(config[type.to]));
      for (const [key, value] of tensors) if (key.endsWith(`.${method.params![param]}`)) tensors.set(key, { ...value, dtype });
    }
}

/** The smallest type of whole numbers that counts below `n`, as peft chooses it. */
function smallest(n: number): StoredDType {
  return n < 2 ** 8 ? "U8" : n < 2 ** 15 ? "I16" : n < 2 ** 31 ? "I32" : "I64";
}

/** Names that pick the sites by the end of their path, dot or not, as peft does for (IA)³; an empty list where there are none. */
function listNames(sites: readonly string[], all: readonly string[]): Json {
  return sites.length === 0 ? [] : [...chooseTargets(sites, all).modules];
}
