/** A whole model in transformers' layout: `config.json`, `model.safetensors` (or shards), the tokenizer's files. */
import { type ConfigChanges, type ModelConfig, writeConfig } from "./config.ts";
import { type Files, type JsonRecord, joinPath, readBytes, writeFile, writeJson } from "./files.ts";
import { type OutTensor, SHARD_BYTES, writeWeights } from "./safetensors/write.ts";
import { TOKENIZER_FILES } from "./tokenizer/tokenizer.ts";

/** Files beside the weights that are the same for a model and its tuned descendants, but for the tokenizer's: templates, processors, code of its own, licences. */
const ALONG =
  /^((generation|preprocessor|processor|image_processor|video_preprocessor|feature_extractor)_config\.json|[^/]*\.(jinja|py)|additional_chat_templates\/[^/]+\.jinja|(LICENSE|NOTICE|USE_POLICY)[^/]*)$/i;
const isWords = (name: string): boolean =>
  TOKENIZER_FILES.includes(name) || /\.(model|tiktoken|jinja)$/.test(name) || /^(vocab|chat_template)\.[a-z]+$/.test(name);

/** Names in a folder that go along with a model. */
function companionsIn(files: Files, folder: string): string[] {
  const inner = "additional_chat_templates";
  const below =
    files.stat(joinPath(folder, inner))?.kind === "folder" ? files.list(joinPath(folder, inner)).map((name) => `${inner}/${name}`) : [];
  return [...files.list(folder), ...below].filter(
    (name) => files.stat(joinPath(folder, name))?.kind === "file" && (ALONG.test(name) || isWords(name)),
  );
}

export interface ModelFolder {
  /** The configuration of a model made afresh, or the folder whose file it keeps. */
  readonly config: ModelConfig | { readonly folder: string };
  readonly changes?: ConfigChanges;
  readonly tensors: readonly OutTensor[];
  /** Where files are copied from that stay the same when a model is tuned; none: a model made afresh. */
  readonly companions?: string | undefined;
  /** The tokenizer's files, if not those there: a folder to copy them from, or what is to stand in them. None: a model without text. */
  readonly tokenizer?: string | Readonly<Record<string, JsonRecord>> | undefined;
  readonly shardBytes?: number;
}

/** Writes the folder; weights last, so that a folder with weights is complete. Gives the names written. */
export function writeModel(files: Files, folder: string, model: ModelFolder): string[] {
  writeConfig(files, folder, model.config, model.changes);
  const { companions, tokenizer } = model;
  const own = tokenizer === undefined || tokenizer === companions ? [] : wordsInto(files, folder, tokenizer);
  const along = companions === undefined ? [] : companionsIn(files, companions).filter((name) => own.length === 0 || !isWords(name));
  const copied = [...own, ...(companions === undefined ? [] : copy(files, along, companions, folder))];
  return ["config.json", ...copied, ...writeWeights(files, folder, model.tensors, model.shardBytes ?? SHARD_BYTES)];
}

function wordsInto(files: Files, folder: string, tokenizer: string | Readonly<Record<string, JsonRecord>>): string[] {
  if (typeof tokenizer === "string") return copy(files, companionsIn(files, tokenizer).filter(isWords), tokenizer, folder);
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
