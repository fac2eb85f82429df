/**
 * Which keys the records of a `*.hf.json` have: what is missing and what is misspelt is refused with its place. Each table has every key of its type, or this
 * file does not compile. `from` may be left out: the method's own file, which lies beside. What a type of PEFT leaves out is `PEFT_USUAL`'s.
 */
import { InputError } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import { describe, isRecord, type Json } from "../files.ts";
import type {
  BankMapping,
  CombinedMapping,
  CompanionMapping,
  GgufMapping,
  LibraryArchitecture,
  LibraryMapping,
  LowRankMapping,
  MethodMapping,
  OptionMapping,
  PeftMapping,
  SitesMapping,
  TaskMapping,
  ViewMapping,
} from "./mapping.ts";

type Shape = Keys | { readonly list: Shape } | { readonly each: Shape } | "any";
interface Key {
  readonly needed: boolean;
  readonly shape: Shape;
}
type Keys = { readonly keys: Readonly<Record<string, Key>> };

const needed: Key = { needed: true, shape: "any" };
const may: Key = { needed: false, shape: "any" };
const of = <T>(keys: Readonly<Record<keyof T, Key>>): Keys => ({ keys });
const each = (shape: Shape): Shape => ({ each: shape });
const list = (shape: Shape): Shape => ({ list: shape });

const OPTION: Keys = of<OptionMapping>({
  field: may,
  pattern: may,
  size: may,
  negated: may,
  given: may,
  by: may,
  values: may,
  otherwise: may,
  either: may,
  functions: may,
  start: may,
  numeric: may,
  equals: may,
  matches: may,
  cases: may,
  named: may,
  among: may,
  reduces: may,
  times: may,
  complement: may,
  searched: may,
  computed: may,
  // made of the same
  first: {
    needed: false,
    get shape() {
      return list(OPTION);
    },
  },
});
const VIEW = of<ViewMapping>({
  of: needed,
  reshape: needed,
  axis: may,
  index: may,
  permute: may,
  as: may,
});
const SITES = of<SitesMapping>({
  at: needed,
  count: needed,
});
const BESIDE = { method: needed, from: may, options: needed, at: needed, optional: may, why: needed } as const;
const COMPANION = of<CompanionMapping>(BESIDE);
const TASK = of<TaskMapping>({ ...BESIDE, params: needed });
const METHOD = of<MethodMapping>({
  method: needed,
  from: may,
  when: may,
  also: may,
  listed: may,
  beside: may,
  options: { needed: true, shape: each(OPTION) },
  silent: may,
  params: may,
  shared: may,
  repeated: may,
  drawn: may,
  thinned: may,
  numbered: may,
  grouped: may,
  integers: may,
  copies: may,
  readOnly: may,
  writeOnly: may,
  tasks: may,
  writes: may,
  sizes: may,
  sites: { needed: false, shape: SITES },
  views: { needed: false, shape: each(VIEW) },
  bind: may,
  axes: may,
  fromConfig: may,
  everywhere: may,
  companions: { needed: false, shape: list(COMPANION) },
});
const PEFT = of<PeftMapping>({
  layout: may,
  fields: may,
  floats: may,
  free: may,
  training: may,
  accept: may,
  why: may,
  save: may,
  headPrefix: may,
  methods: { needed: true, shape: list(METHOD) },
  aliases: may,
  biases: may,
  tied: may,
  last: may,
  upright: may,
  heads: may,
  replaced: may,
});
const LIBRARY = of<LibraryMapping>({
  method: needed,
  from: may,
  architecture: may,
  config: needed,
  sets: may,
  beside: may,
  infix: needed,
  places: may,
  sites: may,
  placed: may,
  locations: may,
  options: { needed: true, shape: each(OPTION) },
  silent: may,
  params: may,
  ends: may,
  twins: may,
  equal: may,
  shared: may,
  sizes: may,
  views: { needed: false, shape: each(VIEW) },
  pools: may,
  repeated: may,
  layers: may,
  sited: may,
});
const ARCHITECTURE = of<LibraryArchitecture>({
  fields: needed,
  unsaved: may,
  floats: may,
  fixes: may,
});
const LOW_RANK = of<LowRankMapping>({
  method: needed,
  from: may,
  down: needed,
  up: needed,
  magnitude: may,
  alpha: needed,
  root: may,
  dropout: may,
  mlx: may,
});
const COMBINED = of<CombinedMapping>({
  method: needed,
  from: may,
  down: needed,
  up: needed,
  rank: needed,
  alpha: needed,
  root: may,
});
const BANK = of<BankMapping>({
  method: needed,
  from: may,
  count: needed,
  alpha: needed,
  dropout: needed,
  down: needed,
  up: needed,
  one: needed,
});
const GGUF = of<GgufMapping>({
  architecture: needed,
  blocks: needed,
  names: needed,
  paired: may,
  outside: needed,
  whole: may,
});

/** What most types of PEFT have, and one that leaves it out. */
export const PEFT_USUAL: Omit<PeftMapping, "methods"> = {
  layout: "modules",
  fields: {},
  floats: [],
  free: [],
  training: [],
  accept: {},
  why: {},
  save: { SEQ_CLS: ["classifier", "score"], TOKEN_CLS: ["classifier", "score"], QUESTION_ANS: ["qa_outputs"] },
  headPrefix: "base_model.model.",
};

/** A file, by what its keys hold. */
const FILE = {
  peft: each(PEFT),
  adapters: list(LIBRARY),
  architectures: each(ARCHITECTURE),
  low_rank: list(LOW_RANK),
  combined: list(COMBINED),
  banks: list(BANK),
  gguf: each(GGUF),
  tasks: each(TASK),
  model_types: each("any"),
  renamed: each("any"),
  newer: each("any"),
  copied: each("any"),
  otherwise: each("any"),
  refused: each("any"),
} as const;

/** P0668: `value`, at `where` in the file `path`, is not of this shape. */
function checkShape(value: Json, shape: Shape, path: string, where: string): void {
  const wrong = (what: string): never => {
    throw new InputError("P0668", `\`${path}\`: ${what}`);
  };
  if (shape === "any") return;
  if ("list" in shape) {
    if (!Array.isArray(value)) return wrong(`${where} is ${describe(value)} where a list is wanted`);
    for (const [i, entry] of value.entries()) checkShape(entry as Json, shape.list, path, `${where}[${i}]`);
    return;
  }
  if (!isRecord(value)) return wrong(`${where} is ${describe(value)} where an object is wanted`);
  const inner = (key: string) => (where === "" ? key : `${where}.${key}`);
  if ("each" in shape) {
    for (const [key, entry] of Object.entries(value)) checkShape(entry, shape.each, path, inner(key));
    return;
  }
  for (const [key, { needed: must }] of Object.entries(shape.keys))
    if (must && value[key] === undefined) wrong(`${where} lacks \`${key}\``);
  for (const [key, entry] of Object.entries(value)) {
    const known =
      own(shape.keys, key) ?? wrong(`${where} has \`${key}\`, which nothing reads; it may have ${Object.keys(shape.keys).join(", ")}`);
    checkShape(entry, known.shape, path, inner(key));
  }
}

/** The same of a whole file. */
export function checkFile(file: Readonly<Record<string, Json>>, path: string): void {
  for (const [key, entry] of Object.entries(file)) {
    const shape = own(FILE, key);
    if (shape === undefined)
      throw new InputError("P0668", `\`${path}\` has \`${key}\`, which nothing reads; it may have ${Object.keys(FILE).join(", ")}`);
    checkShape(entry, shape, path, key);
  }
}
