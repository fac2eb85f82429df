/** Adapters and models in the layouts of other tools. */
import { bankOf, withoutBanks } from "../formats/adapters/bank.ts";
import type { Combination } from "../formats/adapters/combine.ts";
import { comparePaths } from "../formats/adapters/folder.ts";
import { encodeGguf } from "../formats/adapters/gguf.ts";
import { encodeMlx, writeMlx } from "../formats/adapters/mlx.ts";
import { openObjectives, writeObjectives } from "../formats/adapters/objectives.ts";
import { type OutAdapter, Unsayable } from "../formats/adapters/out.ts";
import { PROVENANCE_FILE, type Provenance, readProvenance, writeProvenance } from "../formats/adapters/provenance.ts";
import { isAdapter } from "../formats/adapters/read.ts";
import { writeStack } from "../formats/adapters/setup.ts";
import { notLibrary } from "../formats/adapters/verdicts.ts";
import { notPeft, writeAdapter } from "../formats/adapters/write.ts";
import { writeLibrary } from "../formats/adapters/write-library.ts";
import { asideOf, holdsResult, settle, written } from "../formats/aside.ts";
import { readConfig } from "../formats/config.ts";
import { type Files, joinPath } from "../formats/files.ts";
import { writeGguf } from "../formats/gguf.ts";
import type { GgufType } from "../formats/gguf-blocks.ts";
import { encodeGgufModel } from "../formats/gguf-model.ts";
import { InputError } from "../ir/errors.ts";
import { packageVersion } from "../node/package.ts";
import type { Workspace } from "../node/workspace.ts";
import { OwnPrograms } from "./base.ts";
import { combineCall } from "./combine.ts";
import { loadOnBase } from "./loaded.ts";
import { type ToLora, toLora } from "./to-lora.ts";

export interface ConvertOptions {
  /** Folder to write, for `gguf` also a file that ends so. It appears whole, or not at all. */
  readonly output: string;
  /** `peft`, unless told; `bank`: the adapters in a folder's folders as the rows of one LoRABank. */
  readonly to?: Layout | undefined;
  /** Folder of the adapter's base; where the adapter says, unless told. */
  readonly base?: string | undefined;
  /** Other adapters of the same base, and how all become one. */
  readonly with?: readonly string[] | undefined;
  readonly combination?: Combination | undefined;
  /** What it does to the base's weights as a LoRA of this rank, the nearest. */
  readonly toLora?: number | undefined;
  /** Of a whole model in GGUF: how its matrices are kept; `f16`, unless told. */
  readonly type?: GgufType | undefined;
  /** Write over what is there. */
  readonly force?: boolean | undefined;
}

export interface Conversion {
  /** What was written: a folder or a file. */
  readonly output: string;
  /** `model`: `tensors` of a whole one · `stack`, `bank`: of the adapters in `parts` · `lora`: a nearest one, with what is lost. */
  readonly kind: "adapter" | "combined" | "lora" | "bank" | "stack" | "model";
  readonly parts?: readonly string[];
  readonly tensors?: number;
  readonly lora?: Pick<ToLora, "places" | "error" | "whole">;
}

interface Converted {
  /** Folder or file. */
  readonly output: string;
  /** Adapters' folders that were written. */
  readonly folders: readonly string[];
}

/** A layout: writes the adapter and gives what was written, or says why it cannot hold it. */
type Writer = (adapter: OutAdapter, output: string, workspace: Workspace) => Converted | Unsayable;

const WRITERS = {
  peft: (adapter: OutAdapter, output: string, { files, sources }: Workspace): Converted | Unsayable => {
    const apart = withoutBanks(adapter, sources.mappings);
    if (apart !== undefined) return { output, folders: writeAdapter(files, output, apart, sources.mappings).map(({ folder }) => folder) };
    const why = notPeft(adapter, sources.mappings);
    if (why !== undefined) return new Unsayable(why);
    return { output, folders: writeAdapter(files, output, adapter, sources.mappings).map(({ folder }) => folder) };
  },
  peftc: (adapter: OutAdapter, output: string, { files, sources }: Workspace): Converted | Unsayable => {
    return { output, folders: writeAdapter(files, output, adapter, sources.mappings, "peftc").map(({ folder }) => folder) };
  },
  adapters: (adapter: OutAdapter, output: string, { files, sources }: Workspace): Converted | Unsayable => {
    const why = notLibrary(adapter, sources.mappings);
    if (why !== undefined) return new Unsayable(why);
    writeLibrary(files, output, adapter, sources.mappings);
    return { output, folders: [output] };
  },
  mlx: (adapter: OutAdapter, output: string, { files, sources }: Workspace): Converted | Unsayable => {
    const encoded = encodeMlx(adapter, sources.mappings);
    if (encoded instanceof Unsayable) return encoded;
    writeMlx(files, output, encoded);
    return { output, folders: [output] };
  },
  gguf: (adapter: OutAdapter, output: string, { files, sources }: Workspace): Converted | Unsayable => {
    const encoded = encodeGguf(adapter, sources.mappings);
    if (encoded instanceof Unsayable) return encoded;
    const file = output.endsWith(".gguf") ? output : joinPath(output, "adapter.gguf");
    writeGguf(files, file, encoded.facts, encoded.tensors);
    return { output: file, folders: [] };
  },
} satisfies Readonly<Record<string, Writer>>;

/** `bank`: folders of adapters below a folder as one bank, in the order of their names. */
export type Layout = keyof typeof WRITERS | "bank";
export const LAYOUTS: readonly Layout[] = [...(Object.keys(WRITERS) as (keyof typeof WRITERS)[]), "bank"];
const writerOf = (to: Layout): Writer => (to === "bank" ? WRITERS.peftc : WRITERS[to]);

/** What objectives trained beside it is not a layout's. */
function carryObjectives(files: Files, folder: string, folders: readonly string[]): void {
  const along = openObjectives(files, folder);
  const params = [...(along?.tensors.values() ?? [])].map(({ name, shape, dtype }) => [
    name,
    { shape, dtype, values: () => along!.read(name) },
  ]);
  for (const other of folders) writeObjectives(files, other, Object.fromEntries(params));
}

/** What an adapter was made on does not change with its layout. Nothing is claimed of one that did not say. */
function carryProvenance(files: Files, made: Provenance | undefined, folders: readonly string[]): void {
  for (const folder of folders) {
    if (made === undefined) files.remove(joinPath(folder, PROVENANCE_FILE));
    else writeProvenance(files, folder, { ...made, writtenBy: { name: "peftc", version: packageVersion() } });
  }
}

const nameOf = (folder: string): string => folder.slice(folder.lastIndexOf("/") + 1);

/** Adapters' folders below one, `2` before `10`. */
const foldersBelow = (files: Files, folder: string): string[] =>
  (files.stat(folder)?.kind === "folder" ? files.list(folder) : [])
    .sort(comparePaths)
    .map((name) => joinPath(folder, name))
    .filter((path) => isAdapter(files, path));

/** Whether what is converted is a model and no adapter. */
export const isModelForGguf = ({ files }: Workspace, folder: string, to: Layout): boolean =>
  to === "gguf" && !isAdapter(files, folder) && readConfig(files, folder) !== undefined;

/**
 * Writes an adapter in another layout; also several as one, a change of weights as a LoRA, and a whole model as GGUF. Throws `InputError`: nothing to
 * convert (P0660), something in the way (P0825), or what the layout cannot say (P0671).
 */
export function convertFolder(workspace: Workspace, folder: string, options: ConvertOptions): Conversion {
  const { to = "peft" } = options;
  if (options.toLora !== undefined || options.combination !== undefined) return madeOne(workspace, folder, options);
  if (isModelForGguf(workspace, folder, to)) return wholeModel(workspace, folder, options);
  return relaid(workspace, folder, options);
}

/** Settles what an earlier run left at the output. P0825: something is there. */
function requireRoom(files: Files, { output, force }: ConvertOptions): void {
  settle(files, output);
  if (!force && (holdsResult(files, output) || files.stat(output)?.kind === "file"))
    throw new InputError("P0825", `\`${output}\` is there already`, ["--force writes over"]);
}

/** Writes at the output: into a file at once, into a folder that appears whole. */
function place(files: Files, { output, to }: ConvertOptions, write: (to: string) => string): string {
  if (to === "gguf" && output.endsWith(".gguf")) return write(output);
  return written(files, output, write).replace(asideOf(output), output);
}

/** A model's folder, a merged one for example, as GGUF. */
function wholeModel({ files, sources }: Workspace, folder: string, options: ConvertOptions): Conversion {
  requireRoom(files, options);
  const { facts, tensors } = encodeGgufModel(files, folder, options.type ?? "f16", sources.mappings);
  const output = place(files, options, (to) => {
    const file = to.endsWith(".gguf") ? to : joinPath(to, "model.gguf");
    writeGguf(files, file, facts, tensors);
    return file;
  });
  return { kind: "model", output, tensors: tensors.length };
}

const sameRecord = (records: readonly (Provenance | undefined)[]): Provenance | undefined =>
  records.every((r) => JSON.stringify(r) === JSON.stringify(records[0])) ? records[0] : undefined;

/** Several adapters as one, or a change of weights as a LoRA. */
function madeOne(workspace: Workspace, folder: string, options: ConvertOptions): Conversion {
  const { files } = workspace;
  const { to = "peft", toLora: rank, combination } = options;
  const folders = [folder, ...(options.with ?? [])];
  const programs = new OwnPrograms(workspace, "converted.peft");
  requireRoom(files, options);
  const lora = rank === undefined ? undefined : toLora(workspace, programs, folder, options.base, rank);
  const adapter =
    lora?.adapter ??
    loadOnBase(workspace, programs, folder, options.base, combineCall(files, programs.file, folders, combination!)).adapter;
  const output = place(files, options, (at) => {
    const done = writerOf(to)(adapter, at, workspace);
    if (done instanceof Unsayable) throw new InputError("P0671", `\`${folder}\` cannot be had as ${to}`, [done.why]);
    carryProvenance(files, sameRecord(folders.map((one) => readProvenance(files, one))), done.folders);
    return done.output;
  });
  return lora === undefined ? { kind: "combined", output } : { kind: "lora", output, lora };
}

/** An adapter as it is in another layout, or those in a folder's folders together. */
function relaid(workspace: Workspace, folder: string, options: ConvertOptions): Conversion {
  const { files, sources } = workspace;
  const { to = "peft", output } = options;
  const stacked = to === "adapters" && files.stat(folder)?.kind === "folder" && !isAdapter(files, folder);
  const parts = to === "bank" || stacked ? foldersBelow(files, folder) : [folder];
  if (!parts.every((part) => isAdapter(files, part)) || parts.length === 0)
    throw new InputError("P0660", `\`${folder}\` has no ${to === "bank" ? "folders of adapters" : "adapter_config.json"}`);
  requireRoom(files, options);
  const programs = new OwnPrograms(workspace, "converted.peft");
  const adapters = parts.map((part) => loadOnBase(workspace, programs, part, options.base).adapter);
  if (stacked) {
    for (const [i, adapter] of adapters.entries()) {
      const why = notLibrary(adapter, sources.mappings);
      if (why !== undefined) throw new InputError("P0671", `\`${parts[i]}\` cannot be had as ${to}`, [why]);
    }
    const named = adapters.map((adapter, i) => [nameOf(parts[i]), adapter] as const);
    written(files, output, (aside) => writeStack(files, aside, named, sources.mappings));
    return { kind: "stack", output, parts: parts.map(nameOf) };
  }
  const record = sameRecord(parts.map((part) => readProvenance(files, part)));
  const gathered = to === "bank" ? bankOf(adapters, sources.mappings) : adapters[0];
  const done = place(files, options, (at) => {
    const made = gathered instanceof Unsayable ? gathered : writerOf(to)(gathered, at, workspace);
    if (made instanceof Unsayable) throw new InputError("P0671", `\`${folder}\` cannot be had as ${to}`, [made.why]);
    carryProvenance(files, record, made.folders);
    if (to !== "bank") carryObjectives(files, folder, made.folders);
    return made.output;
  });
  return to === "bank" ? { kind: "bank", output: done, parts } : { kind: "adapter", output: done };
}
