/** A model's checkpoint: its tensors, whichever files they are in, and which of them serves which parameter. */
import { InputError } from "../ir/errors.ts";
import { type Files, joinPath } from "./files.ts";
import { openSafetensors, openShards, type TensorStore } from "./safetensors/read.ts";

const WHOLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";
const has = (files: Files, folder: string, name: string): boolean => files.stat(joinPath(folder, name))?.kind === "file";

export const hasWeights = (files: Files, folder: string): boolean => has(files, folder, WHOLE) || has(files, folder, INDEX);

/**
 * Opens a model's folder. `undefined`: no such folder. P0640: a folder without safetensors weights; other errors are those of
 * `openSafetensors` and `openShards`.
 */
export function openCheckpoint(files: Files, folder: string): TensorStore | undefined {
  if (files.stat(folder)?.kind !== "folder") return undefined;
  if (has(files, folder, WHOLE)) return openSafetensors(files, joinPath(folder, WHOLE));
  if (has(files, folder, INDEX)) return openShards(files, folder, INDEX);
  const pickles = files.list(folder).filter((name) => /\.(bin|pt|pth|ckpt|h5|msgpack|gguf)$/.test(name));
  throw new InputError(
    "P0640",
    `\`${folder}\` has no \`${WHOLE}\` and no \`${INDEX}\``,
    pickles.length === 0
      ? [`it holds: ${files.list(folder).slice(0, 12).join(", ")}`]
      : [
          `it has ${pickles.slice(0, 3).join(", ")}, which is not read: such files can run code`,
          `in Python: \`AutoModel.from_pretrained("…").save_pretrained("…", safe_serialization=True)\` writes safetensors`,
        ],
  );
}

export interface WantedParam {
  readonly path: string;
  readonly shape: readonly number[];
  /** Path of the parameter whose storage it shares. */
  readonly tiedTo?: string;
}
export interface CheckpointMatch {
  /** Path of a parameter to the tensor that serves it. A tied one is absent unless only the file's copy under its own name exists; then that serves both. */
  readonly found: ReadonlyMap<string, string>;
  readonly missing: readonly string[];
  readonly wrongShape: readonly {
    readonly path: string;
    readonly tensor: string;
    readonly wanted: readonly number[];
    readonly seen: readonly number[];
  }[];
  /** Tensors that no parameter takes, without the buffers that are known to hold nothing trained. */
  readonly leftOver: readonly string[];
  /** Second copies of tied parameters in the file: the alias's path and its tensor, whose values should equal those of `of`, the parameter's. */
  readonly copies: readonly { readonly path: string; readonly tensor: string; readonly of: string }[];
  /** First name that the file's tensors lack, or have in addition. */
  readonly prefix: { readonly kind: "same" } | { readonly kind: "lacks" | "adds"; readonly name: string };
}

/**
 * Buffers that older versions saved and that hold nothing learnt: causal masks, rotary tables, position numbers, versions, counters; and T5's
 * table of relative positions for cross-attention, which no forward reads.
 */
const BUFFERS: readonly RegExp[] = [
  /(^|\.)(attn|attention)\.(bias|masked_bias)$/,
  /(^|\.)rotary_emb\.(inv_freq|cos_cached|sin_cached)$/,
  /(^|\.)embeddings\.(position_ids|token_type_ids)$/,
  /(^|\.)position_ids$/,
  /(^|\.)(encoder|decoder)\.version$/,
  /(^|\.)num_batches_tracked$/,
  /(^|\.)decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight$/,
];

/** Last names of TensorFlow's time for what is `weight` and `bias` now. */
const OLD_NAMES: readonly (readonly [RegExp, string])[] = [
  [/\.gamma$/, ".weight"],
  [/\.beta$/, ".bias"],
];

function modern(name: string): string {
  for (const [old, now] of OLD_NAMES) if (old.test(name)) return name.replace(old, now);
  return name;
}

type Prefix = CheckpointMatch["prefix"];

/** The name under which the file would hold `path`. */
function inFile(path: string, prefix: Prefix): string {
  if (prefix.kind === "same") return path;
  if (prefix.kind === "adds") return `${prefix.name}.${path}`;
  return path.startsWith(`${prefix.name}.`) ? path.slice(prefix.name.length + 1) : path;
}

/** First names that could be missing (of the paths) or too many (of the tensors): few, so each is tried. */
function candidates(paths: readonly string[], names: readonly string[]): Prefix[] {
  const firsts = (all: readonly string[]) =>
    [...new Set(all.filter((name) => name.includes(".")).map((name) => name.slice(0, name.indexOf("."))))].sort();
  return [
    { kind: "same" },
    ...firsts(paths).map((name): Prefix => ({ kind: "lacks", name })),
    ...firsts(names).map((name): Prefix => ({ kind: "adds", name })),
  ];
}

/**
 * Which tensor serves which parameter. Names are compared as they are, in old spellings (`LayerNorm.gamma`), and with one common first name more or
 * less, whichever finds most; among equals the plain names win.
 */
export function matchCheckpoint(
  paths: readonly WantedParam[],
  tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>,
): CheckpointMatch {
  const byName = new Map<string, string>();
  for (const name of tensors.keys()) byName.set(modern(name), name);
  for (const name of tensors.keys()) byName.set(name, name); // a modern spelling beats an old one
  const own = paths.map(({ path }) => path);
  let prefix: Prefix = { kind: "same" };
  let most = -1;
  for (const candidate of candidates(own, [...byName.keys()])) {
    const hits = own.reduce((sum, path) => sum + (byName.has(inFile(path, candidate)) ? 1 : 0), 0);
    if (hits > most) {
      most = hits;
      prefix = candidate;
    }
  }
  const lookup = (path: string) => byName.get(inFile(path, prefix));

  const found = new Map<string, string>();
  const copies: { path: string; tensor: string; of: string }[] = [];
  const taken = new Set<string>();
  for (const { path, tiedTo } of paths) {
    const tensor = lookup(path);
    if (tiedTo !== undefined || tensor === undefined) continue;
    found.set(path, tensor);
    taken.add(tensor);
  }
  for (const { path, tiedTo } of paths) {
    const tensor = lookup(path);
    if (tiedTo === undefined || tensor === undefined || taken.has(tensor)) continue;
    taken.add(tensor);
    const of = found.get(tiedTo);
    if (of !== undefined) copies.push({ path, tensor, of });
    else found.set(tiedTo, tensor).set(path, tensor);
  }
  const missing: string[] = [];
  const wrongShape: { path: string; tensor: string; wanted: readonly number[]; seen: readonly number[] }[] = [];
  for (const { path, shape, tiedTo } of paths) {
    const tensor = found.get(path);
    if (tensor === undefined) {
      if (tiedTo === undefined) missing.push(path);
      continue;
    }
    const seen = tensors.get(tensor)!.shape;
    if (seen.length !== shape.length || seen.some((size, i) => size !== shape[i])) wrongShape.push({ path, tensor, wanted: shape, seen });
  }
  const leftOver = [...tensors.keys()].filter((name) => !taken.has(name) && !BUFFERS.some((buffer) => buffer.test(name)));
  return { found, missing, wrongShape, leftOver, copies, prefix };
}

/** P0641: a tied parameter's second copy in `store` has other values than the parameter, so that it is not tied. `folder` is for the message. */
export function checkCopies(store: TensorStore, { copies }: Pick<CheckpointMatch, "copies">, folder: string): void {
  for (const { tensor, of } of copies) {
    const others = store.pieces(of);
    for (const piece of store.pieces(tensor)) {
      const other = others.next().value;
      if (other !== undefined && same(piece, other)) continue;
      throw new InputError(
        "P0641",
        `\`${folder}\` holds \`${tensor}\` with other values than \`${of}\`, to which its configuration ties it`,
        ["where the model has the field, `tie_word_embeddings: false` keeps both"],
      );
    }
  }
}

function same(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
