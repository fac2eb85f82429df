/**
 * How other libraries' adapters correspond to methods of the language: data, in files `*.hf.json` beside the methods, so that a new method brings its own. This file says what
 * may stand in them.
 */
import { InputError } from "../../ir/errors.ts";
import { type Files, isRecord, type Json, type JsonRecord, joinPath, readRecord } from "../files.ts";
import { checkFile, PEFT_USUAL } from "./mapping-keys.ts";

export type * from "./mapping-types.ts";

import type {
  BankMapping,
  CombinedMapping,
  GgufMapping,
  LibraryArchitecture,
  LibraryMapping,
  LowRankMapping,
  Mappings,
  PeftMapping,
  TaskMapping,
} from "./mapping-types.ts";

/** Parameters to the modules in which transformers reads them, for those of a model that has these. */
export function copiedIn(paths: readonly string[], { copied }: Mappings): Readonly<Record<string, readonly string[]>> {
  const out: Record<string, string[]> = {};
  for (const path of paths)
    for (const [pattern, to] of copied) {
      if (!pattern.test(path)) continue;
      const name = path.replace(pattern, to);
      const parent = name.split(".").slice(0, -2).join(".");
      if (paths.some((other) => other.startsWith(`${parent}.`))) out[path] = [...(out[path] ?? []), name];
    }
  return out;
}

/** A path as checkpoints have it, whichever version of transformers wrote it. */
export const asInCheckpoints = ({ renamed }: Mappings, path: string): string =>
  renamed.reduce((now, [from, to]) => now.replace(from, to), path);

/** Reads all `*.hf.json` of folders. P0668: malformed, or a type said twice. */
export function readMappings(files: Files, ...folders: readonly string[]): Mappings {
  return withMappings(undefined, files, mappingFiles(files, folders));
}
/** The same of files that tests have looked at field by field, which takes longer than reading them. */
export function readShipped(files: Files, ...folders: readonly string[]): Mappings {
  return withMappings(undefined, files, mappingFiles(files, folders), false);
}
const mappingFiles = (files: Files, folders: readonly string[]): string[] =>
  folders.flatMap((folder) =>
    files
      .list(folder)
      .filter((entry) => entry.endsWith(".hf.json"))
      .map((name) => joinPath(folder, name)),
  );

/** Those of `known` and of more files. A later file may say anew what is `known` of a type; two of `paths` may not say one. */
export function withMappings(known: Mappings | undefined, files: Files, paths: readonly string[], checked = true): Mappings {
  const peft = new Map<string, PeftMapping>();
  const library: LibraryMapping[] = [...(known?.library ?? [])];
  const refused = new Map(known?.refused);
  const lowRank: LowRankMapping[] = [...(known?.lowRank ?? [])];
  const banks: BankMapping[] = [...(known?.banks ?? [])];
  const combined: CombinedMapping[] = [...(known?.combined ?? [])];
  const gguf = new Map(known?.gguf);
  const architectures = new Map(known?.architectures);
  const modelTypes = new Map(known?.modelTypes);
  const tasks = new Map(known?.tasks);
  const renamed = [...(known?.renamed ?? [])];
  const newer = [...(known?.newer ?? [])];
  const copied = [...(known?.copied ?? [])];
  const otherwise = [...(known?.otherwise ?? [])];
  for (const path of paths) {
    const file = readRecord(files, path);
    if (checked) checkFile(file, path);
    const own = placed(file, path);
    for (const [type, entry] of entries(own.peft)) {
      if (peft.has(type)) throw new InputError("P0668", `\`${path}\` maps ${type}, which another file maps too`);
      peft.set(type, { ...PEFT_USUAL, ...(entry as unknown as PeftMapping) });
    }
    library.push(...list<LibraryMapping>(own.adapters));
    for (const [name, entry] of entries(own.architectures)) architectures.set(name, entry as unknown as LibraryArchitecture);
    lowRank.push(...list<LowRankMapping>(own.low_rank));
    banks.push(...list<BankMapping>(own.banks));
    combined.push(...list<CombinedMapping>(own.combined));
    for (const [type, entry] of entries(own.gguf)) gguf.set(type, entry as unknown as GgufMapping);
    for (const [start, type] of entries(own.model_types)) modelTypes.set(start, String(type));
    for (const [from, to] of entries(own.renamed)) renamed.push([pattern(from, path), String(to)]);
    for (const [from, since] of entries(own.newer)) newer.push([pattern(from, path), String(since)]);
    for (const [from, to] of entries(own.copied)) for (const name of list<Json>(to)) copied.push([pattern(from, path), String(name)]);
    for (const [from, to] of entries(own.otherwise)) otherwise.push([pattern(from, path), String(to)]);
    for (const [task, entry] of entries(own.tasks)) tasks.set(task, entry as unknown as TaskMapping);
    for (const [type, what] of entries(own.refused)) refused.set(type, String(what));
  }
  const all = new Map([...(known?.peft ?? []), ...peft]);
  return {
    lowRank,
    banks,
    combined,
    gguf,
    peft: all,
    library,
    architectures,
    modelTypes,
    renamed,
    newer,
    copied,
    otherwise,
    tasks,
    refused,
  };
}

/**
 * The records with where their methods lie: `from` as imports of the main file name it. It is the file beside the mapping where it is left out, and beside it
 * where it begins with `./`.
 */
function placed(value: JsonRecord, path: string): JsonRecord {
  // the library's own files are imported by the library's name
  const module = path.replace(/\.hf\.json$/, "").replace(/^(?:.*\/)?specs\/(?=std\/)/, "");
  const folder = module.replace(/[^/]*$/, "");
  const put = (v: Json): Json => {
    if (Array.isArray(v)) return v.map((x) => put(x as Json));
    if (!isRecord(v)) return v;
    const inner = Object.fromEntries(Object.entries(v).map(([key, x]) => [key, FOREIGN.has(key) ? x : put(x)]));
    if (typeof v.method !== "string") return inner;
    return { ...inner, from: typeof v.from === "string" ? v.from.replace(/^\.\//, folder) : module };
  };
  return put(value) as JsonRecord;
}

/** Keys whose values are of the format that is mapped. */
const FOREIGN: ReadonlySet<string> = new Set(["fields", "config", "sets", "options", "accept", "why"]);

function pattern(source: string, path: string): RegExp {
  try {
    return new RegExp(source);
  } catch {
    throw new InputError("P0668", `\`${path}\`: \`${source}\` is no regular expression`);
  }
}

const list = <T>(value: Json | undefined): readonly T[] => (value ?? []) as readonly T[];
const entries = (value: Json | undefined): [string, Json][] => Object.entries((value ?? {}) as JsonRecord);

/** transformers' `model_type` of a class; none for one that is not transformers'. */
export function modelTypeOf({ modelTypes }: Mappings, module: string): string | undefined {
  const [start] = [...modelTypes.keys()].filter((key) => module.startsWith(key)).sort((a, b) => b.length - a.length);
  return start === undefined ? undefined : modelTypes.get(start);
}
