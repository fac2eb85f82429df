/**
 * Checkpoints: `checkpoint-N/` holds what a run needs to go on as if it had never stopped, and what users' scripts look for.
 *
 *     adapter_config.json, adapter_model.safetensors   (or a sub-folder an attachment): to use as it stands
 *     parameters.safetensors                           every trained parameter under its name, f32, bit for bit
 *     optimizer.safetensors                            every state (of the optimiser, of methods)
 *     best.safetensors                                 parameters of the best evaluation, where one is kept
 *     trainer_state.json                               as transformers writes it: epoch, global_step, log_history ...
 *     peftc_state.json                                 how far it is, and what it was: hashes of spec, data, arithmetic; size and CRC-32 of every file
 *
 * A folder is written under another name and renamed when all of it is on the disk, so a folder called `checkpoint-N` is whole.
 */
import { type Files, isRecord, type Json, type JsonRecord, joinPath, pythonJson, readRecord, writeJson } from "../../formats/files.ts";
import { openSafetensors } from "../../formats/safetensors/read.ts";
import { writeSafetensorsOf } from "../../formats/safetensors/write.ts";
import type { StorageType, Values } from "../../ground/program.ts";
import { InputError } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import type { LogEntry, Progress } from "../stages/loop.ts";
import { crc32, sumsIn } from "./checksum.ts";
import type { Identity } from "./identity.ts";

export interface Held {
  readonly shape: readonly number[];
  readonly dtype: StorageType;
  readonly values: Values;
}
type Tensors = ReadonlyMap<string, Held>;

/** A tensor that lies on a device, or in a file: it is asked for when its turn comes. */
export interface Lent extends Omit<Held, "values"> {
  read(): Promise<Values>;
}
const lent = (tensors: Tensors): ReadonlyMap<string, Lent> =>
  new Map([...tensors].map(([name, { shape, dtype, values }]) => [name, { shape, dtype, read: async () => values }]));

/** All of them at once. */
export async function readAll(tensors: ReadonlyMap<string, Lent>): Promise<Map<string, Held>> {
  const out = new Map<string, Held>();
  for (const [name, { shape, dtype, read }] of tensors) out.set(name, { shape, dtype, values: await read() });
  return out;
}

/** What a checkpoint is written from: one tensor at a time stands beside those of the device. */
export interface Source {
  readonly params: ReadonlyMap<string, Lent>;
  readonly states: ReadonlyMap<string, Lent>;
  readonly best?: Tensors;
}

export interface Snapshot {
  readonly params: Tensors;
  readonly states: Tensors;
  /** Parameters of the best evaluation; absent where none is kept. */
  readonly best?: Tensors;
}

const STORED = { f32: "F32", i32: "I32", bool: "BOOL" } as const;

function writeTensors(files: Files, path: string, tensors: ReadonlyMap<string, Lent>): Promise<void> {
  return writeSafetensorsOf(
    files,
    path,
    [...tensors].map(([name, { shape, dtype, read }]) => ({ name, shape, dtype: STORED[dtype], values: read })),
  );
}

export function readTensors(files: Files, path: string): Map<string, Held> {
  const store = openSafetensors(files, path);
  const out = new Map<string, Held>();
  for (const [name, info] of store.tensors) {
    const dtype = info.dtype === "BOOL" ? "bool" : info.dtype === "I32" ? "i32" : "f32";
    out.set(name, { shape: info.shape, dtype, values: store.read(name) });
  }
  return out;
}

interface CheckpointFacts {
  readonly progress: Progress;
  readonly identity: Identity;
  readonly total: number;
  readonly epochs: number;
  readonly stepsPerEpoch: number;
  readonly batch: number;
  readonly checkpointEvery: number;
  readonly evaluateEvery: number | undefined;
}

const PARTIAL = ".partial";
const OLD = ".old";
const NAME = /^checkpoint-(\d+)$/;

/**
 * Writes `checkpoint-N` below `folder`, then removes older ones beyond `keep`. `adapters` writes the usable form into the folder it is given.
 * Whatever fails leaves the earlier checkpoints as they were. Gives the folder's path.
 */
export async function writeCheckpoint(
  files: Files,
  folder: string,
  source: Source,
  facts: CheckpointFacts,
  adapters: (folder: string) => void,
  keep: number,
): Promise<string> {
  const final = joinPath(folder, `checkpoint-${facts.progress.step}`);
  const draft = `${final}${PARTIAL}`;
  files.remove(draft);
  try {
    adapters(draft);
    await writeTensors(files, joinPath(draft, "parameters.safetensors"), source.params);
    await writeTensors(files, joinPath(draft, "optimizer.safetensors"), source.states);
    if (source.best !== undefined) await writeTensors(files, joinPath(draft, "best.safetensors"), lent(source.best));
    writeJson(files, joinPath(draft, "trainer_state.json"), trainerState(facts), true);
    const state = { ...ownState(facts), files: sumsIn(files, draft) as unknown as Json };
    writeJson(files, joinPath(draft, "peftc_state.json"), { ...state, checksum: stateSum(state) }, true);
    if (files.stat(final) !== undefined) {
      // one of this step stands until the new one is whole beside it
      files.remove(`${final}${OLD}`);
      files.rename(final, `${final}${OLD}`);
    }
    files.rename(draft, final);
    files.remove(`${final}${OLD}`);
  } catch (error) {
    files.remove(draft);
    throw error;
  }
  for (const step of listCheckpoints(files, folder).slice(Math.max(1, keep))) files.remove(joinPath(folder, `checkpoint-${step}`));
  return final;
}

/** Steps of the whole checkpoints in a folder, the newest first. */
export function listCheckpoints(files: Files, folder: string): number[] {
  if (files.stat(folder)?.kind !== "folder") return [];
  return files
    .list(folder)
    .flatMap((name) => {
      const match = NAME.exec(name);
      return match === null ? [] : [Number(match[1])];
    })
    .sort((a, b) => b - a);
}

/** Removes what a run that was killed may have left of a checkpoint it was writing; one that was to give way to it comes back. */
export function sweepPartial(files: Files, folder: string): void {
  if (files.stat(folder)?.kind !== "folder") return;
  for (const name of files.list(folder)) {
    if (!name.startsWith("checkpoint-") || !name.endsWith(OLD)) continue;
    const path = joinPath(folder, name);
    const final = path.slice(0, -OLD.length);
    if (files.stat(final) === undefined) files.rename(path, final);
    else files.remove(path);
  }
  for (const name of files.list(folder)) if (name.startsWith("checkpoint-") && name.endsWith(PARTIAL)) files.remove(joinPath(folder, name));
}

export interface Checkpoint {
  readonly folder: string;
  readonly progress: Progress;
  readonly identity: Identity;
  /** Reads the values. */
  snapshot(): Snapshot;
}

/** P0824 where a checkpoint cannot be understood, or is not as it was written. */
export function readCheckpoint(files: Files, folder: string, step: number): Checkpoint {
  const path = joinPath(folder, `checkpoint-${step}`);
  const damaged = (what: string, ...notes: string[]) => new InputError("P0824", `\`${path}\` cannot be used: ${what}`, notes);
  let state: JsonRecord;
  try {
    state = readRecord(files, joinPath(path, "peftc_state.json"));
  } catch (error) {
    if (error instanceof InputError) throw damaged(`its \`peftc_state.json\` cannot be read: ${error.message}`);
    throw error;
  }
  const { progress, identity, checksum, files: sums } = state;
  if (state.format !== "peftc-checkpoint" || state.version !== VERSION || !isRecord(progress) || !isRecord(identity) || !isRecord(sums))
    throw damaged("it was not written by this version of peftc", "start afresh in another folder");
  if (checksum !== stateSum(Object.fromEntries(Object.entries(state).filter(([name]) => name !== "checksum"))))
    throw damaged("`peftc_state.json` is not as it was written");
  const found = sumsIn(files, path);
  for (const [name, sum] of Object.entries(sums)) {
    const now = own(found, name);
    const { bytes, crc32 } = sum as { bytes?: Json; crc32?: Json };
    if (now === undefined) throw damaged(`\`${name}\` is missing`);
    if (now.bytes !== bytes) throw damaged(`\`${name}\` has ${now.bytes} bytes, and was written with ${String(bytes)}`);
    if (now.crc32 !== crc32) throw damaged(`\`${name}\` is not as it was written`);
  }
  if (progress.step !== step) throw damaged(`it says that it is of step ${String(progress.step)}`);
  const wrong = malformed(progress) ?? (isIdentity(identity) ? undefined : "identity");
  if (wrong !== undefined) throw damaged(`its \`peftc_state.json\` says nothing sound as ${wrong}`);
  const best = joinPath(path, "best.safetensors");
  return {
    folder: path,
    progress: {
      step: progress.step as number,
      best: isRecord(progress.best) ? { step: progress.best.step as number, value: progress.best.value as number } : undefined,
      sinceBest: progress.sinceBest as number,
      ...(typeof progress.fraction === "number" ? { fraction: progress.fraction } : {}),
      ...(progress.owes === true ? { owes: true } : {}),
      ...(typeof progress.segment === "number" ? { segment: progress.segment } : {}),
      history: (progress.history as Json[]).map((entry) => entry as LogEntry),
    },
    identity: identity as unknown as Identity,
    snapshot: () => ({
      params: readTensors(files, joinPath(path, "parameters.safetensors")),
      states: readTensors(files, joinPath(path, "optimizer.safetensors")),
      ...(files.stat(best) === undefined ? {} : { best: readTensors(files, best) }),
    }),
  };
}

const isCount = (value: Json | undefined): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

/** The field of how far a run is that holds what no run writes there. */
function malformed({ step, best, sinceBest, history }: JsonRecord): string | undefined {
  if (!isCount(step)) return "step";
  if (best !== null && !(isRecord(best) && isCount(best.step) && typeof best.value === "number")) return "best";
  if (!isCount(sinceBest)) return "sinceBest";
  return Array.isArray(history) && history.every(isRecord) ? undefined : "history";
}

function isIdentity({ settings, graph, data, weights, arithmetic }: JsonRecord): boolean {
  const texts = (value: Json | undefined) => isRecord(value) && Object.values(value).every((text) => typeof text === "string");
  return [settings, data, weights].every(texts) && typeof graph === "string" && typeof arithmetic === "string";
}

/** What is not finite has no number in JSON, and would make the whole of it unreadable. */
const finite = (entry: LogEntry): JsonRecord =>
  Object.fromEntries(Object.entries(entry).map(([name, x]) => [name, typeof x === "number" && !Number.isFinite(x) ? null : (x as Json)]));

const VERSION = 2;
const stateSum = (state: JsonRecord): number => crc32(new TextEncoder().encode(pythonJson(state)));

function ownState({ progress, identity, total }: CheckpointFacts): JsonRecord {
  return {
    format: "peftc-checkpoint",
    version: VERSION,
    total,
    identity: identity as unknown as Json,
    progress: {
      step: progress.step,
      best: progress.best === undefined ? null : { step: progress.best.step, value: progress.best.value },
      sinceBest: progress.sinceBest,
      ...(progress.fraction === undefined ? {} : { fraction: progress.fraction }),
      ...(progress.owes ? { owes: true } : {}),
      ...(progress.segment === undefined ? {} : { segment: progress.segment }),
      history: progress.history.map(finite),
    },
  };
}

/** The fields and names of transformers' `TrainerState`, so that scripts that read it find what they look for. */
function trainerState(facts: CheckpointFacts): Json {
  const { progress, total, stepsPerEpoch } = facts;
  return {
    best_global_step: progress.best?.step ?? null,
    best_metric: progress.best?.value ?? null,
    best_model_checkpoint: null,
    epoch: progress.step / stepsPerEpoch,
    eval_steps: facts.evaluateEvery ?? total,
    global_step: progress.step,
    is_hyper_param_search: false,
    is_local_process_zero: true,
    is_world_process_zero: true,
    log_history: progress.history.map(finite),
    logging_steps: 1,
    max_steps: total,
    num_input_tokens_seen: 0,
    num_train_epochs: facts.epochs,
    save_steps: facts.checkpointEvery,
    stateful_callbacks: {},
    total_flos: 0,
    train_batch_size: facts.batch,
    trial_name: null,
    trial_params: null,
  };
}
