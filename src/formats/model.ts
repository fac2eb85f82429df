/** A whole model in transformers' layout: `config.json`, `model.safetensors` (or shards), the tokenizer's files. */
import { type ConfigChanges, type ModelConfig, writeConfig } from "./config.ts";
import { type Files, type JsonRecord, joinPath, readBytes, writeFile, writeJson } from "./files.ts";
import { type OutTensor, SHARD_BYTES, writeWeights } from "./safetensors/write.ts";
import { TOKENIZER_FILES } from "./tokenizer/tokenizer.ts";

/** Files beside the weights that are the same for a model and its tuned descendants. */
const COMPANIONS: readonly string[] = [...TOKENIZER_FILES, "generation_config.json", "preprocessor_config.json"];

export interface ModelFolder {
  readonly config: ModelConfig;
  readonly changes?: ConfigChanges;
  readonly tensors: readonly OutTensor[];
  /** Where files are copied from that stay the same when a model is tuned; none: a model made afresh. */
  readonly companions?: string;
  /** The tokenizer's files, if not those there: a folder to copy them from, or what is to stand in them. None: a model without text. */
  readonly tokenizer?: string | Readonly<Record<string, JsonRecord>>;
  readonly shardBytes?: number;
}

/** Writes the folder; weights last, so that a folder with weights is complete. Gives the names written. */
export function writeModel(files: Files, folder: string, model: ModelFolder): string[] {
  writeConfig(files, folder, model.config, model.changes);
  const { companions, tokenizer } = model;
  const own = tokenizer === undefined || tokenizer === companions ? [] : wordsInto(files, folder, tokenizer);
  const along = own.length > 0 ? COMPANIONS.filter((name) => !TOKENIZER_FILES.includes(name)) : COMPANIONS;
  const copied = [...own, ...(companions === undefined ? [] : copy(files, along, companions, folder))];
  return ["config.json", ...copied, ...writeWeights(files, folder, model.tensors, model.shardBytes ?? SHARD_BYTES)];
}

function wordsInto(files: Files, folder: string, tokenizer: string | Readonly<Record<string, JsonRecord>>): string[] {
  if (typeof tokenizer === "string") return copy(files, TOKENIZER_FILES, tokenizer, folder);
  for (const [name, json] of Object.entries(tokenizer)) writeJson(files, joinPath(folder, name), json);
  return Object.keys(tokenizer);
}

/** Copies those of the files that are there. Gives their names. */
function copy(files: Files, names: readonly string[], from: string, to: string): string[] {
  const present = names.filter((name) => files.stat(joinPath(from, name))?.kind === "file");
  if (joinPath(from, "") !== joinPath(to, "")) {
    for (const name of present) writeFile(files, joinPath(to, name), readBytes(files, joinPath(from, name)));
  }
  return present;
}
