/** What is in an adapter's folder or in a checkpoint, and where an adapter will load. */
import type { AdapterFolder } from "../formats/adapters/folder.ts";
import { type Provenance, readProvenance } from "../formats/adapters/provenance.ts";
import { isAdapter, readAdapter } from "../formats/adapters/read.ts";
import { type Verdict, verdicts } from "../formats/adapters/verdicts.ts";
import { openCheckpoint } from "../formats/checkpoint.ts";
import { readConfig } from "../formats/config.ts";
import { openSafetensors, type TensorStore } from "../formats/safetensors/read.ts";
import { InputError } from "../ir/errors.ts";
import { packageVersion } from "../node/package.ts";
import type { Workspace } from "../node/workspace.ts";
import { type Comparison, Provenances } from "../train/run/provenance.ts";
import { ValueStore } from "../train/values.ts";
import { baseOf, OwnPrograms } from "./base.ts";
import { type LoadedAdapter, loadOnBase } from "./loaded.ts";

export interface InspectOptions {
  /** Folder of the adapter's base; where the adapter says, unless told. */
  readonly base?: string | undefined;
  /** Read the values too. */
  readonly norms?: boolean | undefined;
}

export type Inspected =
  | {
      readonly kind: "adapter";
      readonly adapter: AdapterFolder;
      readonly loads: Loads;
      /** What it says that it was made on; `undefined`: it says nothing. */
      readonly made: Made | undefined;
      readonly norms: readonly Norm[] | undefined;
    }
  | {
      readonly kind: "checkpoint";
      readonly store: TensorStore;
      readonly config: Readonly<Record<string, unknown>> | undefined;
      readonly norms: readonly Norm[] | undefined;
    };

/** `path`: a folder, or a file of tensors. Throws `InputError` where there is neither an adapter nor weights. */
export async function inspectPath(workspace: Workspace, path: string, options: InspectOptions = {}): Promise<Inspected> {
  const { files, sources } = workspace;
  const at = files.stat(path);
  if (at === undefined) throw new InputError("P0680", `\`${path}\` does not exist`);
  if (at.kind === "folder" && isAdapter(files, path)) {
    const adapter = readAdapter(files, path, sources.mappings)!;
    const loaded = onBase(workspace, path, adapter, options.base);
    const loads: Loads =
      typeof loaded === "string"
        ? { verdicts: undefined, why: loaded }
        : { verdicts: verdicts(loaded.adapter, sources.mappings), why: undefined };
    const made = await madeOn(workspace, path, typeof loaded === "string" ? undefined : loaded);
    const names = usedKeys(adapter);
    const norms = options.norms
      ? normsOf(
          Object.keys(adapter.shapes).filter((key) => names.has(key)),
          adapter,
        )
      : undefined;
    return { kind: "adapter", adapter, loads, made, norms };
  }
  const store = at.kind === "file" ? openSafetensors(files, path) : openCheckpoint(files, path);
  if (store === undefined)
    throw new InputError("P0603", `\`${path}\` holds neither an adapter nor weights`, [
      `it holds: ${files.list(path).slice(0, 12).join(", ") || "nothing"}`,
    ]);
  const config = at.kind === "folder" ? readConfig(files, path) : undefined;
  return { kind: "checkpoint", store, config, norms: options.norms ? normsOf([...store.tensors.keys()], store) : undefined };
}

/** The same as plain data, as `peftc inspect --json` prints it. */
export function inspectedFacts(found: Inspected): Record<string, unknown> {
  if (found.kind === "checkpoint") return { ...checkpointFacts(found.store, found.config), norms: found.norms ?? null };
  const { adapter, loads, made, norms } = found;
  return {
    ...adapterFacts(adapter),
    made: made === undefined ? null : madeFacts(made),
    loads: loads.verdicts ?? null,
    norms: norms ?? null,
  };
}

export interface Loads {
  readonly verdicts: readonly Verdict[] | undefined;
  /** Why there are none. */
  readonly why: string | undefined;
}

/** On its base, whose modules' names and shapes decide where it loads; or why there is none. */
function onBase(workspace: Workspace, path: string, adapter: AdapterFolder, given: string | undefined): LoadedAdapter | string {
  const { files } = workspace;
  let base: string;
  try {
    base = given ?? baseOf(files, path, adapter.base);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return `${error.message}: ${error.notes.join(", ")}`;
  }
  return loadOnBase(workspace, new OwnPrograms(workspace, "inspected.peft"), path, base);
}

/** What an adapter's folder says it was made on, and whether the base here is that. */
export interface Made {
  readonly record: Provenance;
  readonly base: string | undefined;
  readonly comparison: Comparison | undefined;
}

async function madeOn(workspace: Workspace, path: string, loaded: LoadedAdapter | undefined): Promise<Made | undefined> {
  const { files, sources } = workspace;
  const record = readProvenance(files, path);
  if (record === undefined || loaded === undefined) return record && { record, base: undefined, comparison: undefined };
  const { project, base } = loaded;
  const provenances = new Provenances(project, sources, new ValueStore(project, sources.open), packageVersion());
  return { record, base: base.folder, comparison: await provenances.compare(record, base.name) };
}

function madeFacts({ record: { writtenBy, base, tokenizer }, comparison }: Made): Record<string, unknown> {
  return {
    written_by: writtenBy,
    base,
    tokenizer,
    compared: comparison?.compared ?? null,
    differing: comparison?.differing ?? null,
    tokenizer_differing: comparison?.tokenizer ?? null,
  };
}

export const count = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

/** Keys that parts and heads name, and copies. */
export function usedKeys(adapter: AdapterFolder): Set<string> {
  const sites = adapter.parts.flatMap((p) => [...p.sites.flatMap((s) => Object.values(s.params)), ...Object.values(p.shared)]);
  return new Set([...sites, ...Object.values(adapter.heads), ...Object.values(adapter.copies), ...Object.values(adapter.objectives)]);
}

function adapterFacts(adapter: AdapterFolder): Record<string, unknown> {
  return {
    kind: "adapter",
    layout: adapter.layout,
    base: adapter.base ?? null,
    task: adapter.taskType ?? null,
    parameters: [...usedKeys(adapter)].reduce((n, key) => n + count(adapter.shapes[key] ?? []), 0),
    parts: adapter.parts.map((p) => ({
      method: p.method,
      from: p.from,
      options: p.options,
      sites: p.sites.map((s) => ({
        path: s.path,
        parameters: Object.fromEntries(Object.entries(s.params).map(([name, key]) => [name, adapter.shapes[key]])),
      })),
      shared: Object.fromEntries(Object.entries(p.shared).map(([name, key]) => [name, adapter.shapes[key]])),
    })),
    heads: Object.fromEntries(Object.entries(adapter.heads).map(([path, key]) => [path, adapter.shapes[key]])),
    objectives: Object.fromEntries(Object.entries(adapter.objectives).map(([name, key]) => [name, adapter.shapes[key]])),
    unknown_fields: adapter.unknownFields,
    notes: adapter.notes,
  };
}

function checkpointFacts(store: TensorStore, config: Readonly<Record<string, unknown>> | undefined): Record<string, unknown> {
  const tensors = [...store.tensors.values()];
  return {
    kind: "checkpoint",
    architectures: config?.architectures ?? null,
    parameters: tensors.reduce((n, t) => n + count(t.shape), 0),
    bytes: tensors.reduce((n, t) => n + t.bytes, 0),
    files: [...new Set(tensors.map((t) => t.file))],
    tensors: Object.fromEntries(tensors.map((t) => [t.name, { dtype: t.dtype, shape: t.shape }])),
  };
}

export interface Norm {
  readonly name: string;
  readonly norm: number;
  readonly largest: number;
  readonly not_finite: number;
}

function normsOf(names: readonly string[], from: { read(name: string): ArrayLike<number> }): Norm[] {
  return names.map((name) => {
    const values = from.read(name);
    let [square, largest, odd] = [0, 0, 0];
    for (let i = 0; i < values.length; i++) {
      const v = values[i];
      if (!Number.isFinite(v)) odd++;
      else {
        square += v * v;
        largest = Math.max(largest, Math.abs(v));
      }
    }
    return { name, norm: Math.sqrt(square), largest, not_finite: odd };
  });
}
