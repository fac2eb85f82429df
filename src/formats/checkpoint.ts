/** A model's checkpoint: its tensors, whichever files they are in, and which of them serves which parameter. */
import { InputError } from "../ir/errors.ts";
import { type Files, joinPath, readRecord } from "./files.ts";
import { withoutWrappers } from "./names.ts";
import { openTorch } from "./pickle/torch.ts";
import { unpacked } from "./quantised/read.ts";
import { openSafetensors, openShards, type TensorStore } from "./safetensors/read.ts";

/** Files with all weights, and indices of files with some of them; the first that is there counts, as in transformers. */
const WHOLE: readonly (readonly [name: string, open: (files: Files, path: string) => TensorStore])[] = [
  ["model.safetensors", openSafetensors],
  ["pytorch_model.bin", openTorch],
];
const INDEX = ".index.json";
const has = (files: Files, folder: string, name: string): boolean => files.stat(joinPath(folder, name))?.kind === "file";

export const hasWeights = (files: Files, folder: string): boolean =>
  WHOLE.some(([name]) => has(files, folder, name) || has(files, folder, name + INDEX));

/**
 * Opens a model's folder: safetensors or torch's files, whole or in shards; names without what wrapped the model, packed weights as what they stand for. `undefined`:
 * no such folder. P0640: a folder without weights; P0645: an adapter that is not merged is among them; other errors are those of `openSafetensors`, `openShards`,
 * `openTorch`, `withoutWrappers` and `unpacked`.
 */
export function openCheckpoint(files: Files, folder: string): TensorStore | undefined {
  if (files.stat(folder)?.kind !== "folder") return undefined;
  const store = openFiles(files, folder);
  const config = has(files, folder, "config.json") ? readRecord(files, joinPath(folder, "config.json")) : {};
  const bare = withoutWrappers(store, folder);
  const adapter = [...bare.tensors.keys()].find((name) => UNMERGED.test(name));
  if (adapter !== undefined) {
    throw new InputError("P0645", `\`${folder}\` is a model that still holds an adapter beside its weights: \`${adapter}\``, [
      "in Python: `model.merge_and_unload()` before `save_pretrained`, or save the adapter apart and read it with `load`",
    ]);
  }
  return unpacked(bare, config, folder);
}

/** What PEFT's wrappers put into a path. */
const UNMERGED = /\.(base_layer|original_module|modules_to_save)\.|\.lora_(A|B|embedding_A|embedding_B)(\.|$)/;

function openFiles(files: Files, folder: string): TensorStore {
  for (const [name, open] of WHOLE) {
    if (has(files, folder, name)) return open(files, joinPath(folder, name));
    if (has(files, folder, name + INDEX)) return openShards(files, folder, name + INDEX, open);
  }
  const others = files.list(folder).filter((name) => /\.(pt|pth|ckpt|h5|msgpack|gguf|bin)$/.test(name));
  throw new InputError(
    "P0640",
    `\`${folder}\` has none of ${WHOLE.map(([name]) => `\`${name}\``).join(", ")}, nor an index of shards of these`,
    others.length === 0
      ? [`it holds: ${files.list(folder).slice(0, 12).join(", ")}`]
      : [
          `it has ${others.slice(0, 3).join(", ")}, which is not read`,
          `in Python: \`AutoModel.from_pretrained("…").save_pretrained("…")\` writes safetensors`,
        ],
  );
}

export interface WantedParam {
  readonly path: string;
  readonly shape: readonly number[];
  /** Path of the parameter whose storage it shares. */
  readonly tiedTo?: string;
  /** It may have more rows than its tensor: those of a larger vocabulary. */
  readonly grows?: boolean;
  /** Path of the tensor that serves it where the file has none of its own: older versions of transformers wrote one where newer ones write two. */
  readonly otherwise?: string;
}
interface CheckpointMatch {
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
    ...longer(names).map((name): Prefix => ({ kind: "adds", name })),
  ];
}

/** What of two or three names stands in front of at least half of the tensors, as PEFT's `base_model.model`. */
function longer(names: readonly string[]): string[] {
  return [2, 3].flatMap((length) => {
    const counts = new Map<string, number>();
    for (const name of names) {
      const parts = name.split(".");
      if (parts.length <= length) continue;
      const front = parts.slice(0, length).join(".");
      counts.set(front, (counts.get(front) ?? 0) + 1);
    }
    return [...counts].filter(([, count]) => 2 * count >= names.length).map(([front]) => front);
  });
}

/**
 * Which tensor serves which parameter. Names are compared as they are, in old spellings (`LayerNorm.gamma`), and with one common first name more or
 * less, whichever finds most; among equals the plain names win.
 */
export function matchCheckpoint(
  paths: readonly WantedParam[],
  tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly dtype?: string }>,
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
  for (const { path, tiedTo, otherwise } of paths) {
    const tensor = otherwise === undefined || tiedTo !== undefined || found.has(path) ? undefined : lookup(otherwise);
    if (tensor === undefined) continue;
    found.set(path, tensor);
    taken.add(tensor);
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

/**
 * Tensors with fewer rows than the parameters that may grow: in their place stand larger ones, whose new rows are the mean of the others, as transformers starts words that
 * are added. Gives the store that has them, and what then serves which parameter.
 */
export function grown(
  store: TensorStore,
  params: readonly WantedParam[],
  match: CheckpointMatch,
): { store: TensorStore; match: CheckpointMatch } {
  const growing = new Set(params.filter((p) => p.grows).map(({ path }) => path));
  const made = new Map<string, { shape: readonly number[]; values(): Float32Array }>();
  const found = new Map(match.found);
  const wrongShape = match.wrongShape.filter(({ path, tensor, wanted, seen }) => {
    const fits =
      seen.length === wanted.length && seen[0] > 0 && wanted[0] > seen[0] && seen.slice(1).every((size, i) => size === wanted[i + 1]);
    if (!growing.has(path) || !fits) return true;
    const name = `${tensor} (with ${wanted[0]} rows)`;
    made.set(name, { shape: wanted, values: () => moreRows(store.read(tensor), seen[0], wanted[0]) });
    found.set(path, name);
    return false;
  });
  return made.size === 0 ? { store, match } : { store: store.withMade(new Set(), made), match: { ...match, found, wrongShape } };
}

function moreRows(values: ArrayLike<number>, rows: number, wanted: number): Float32Array {
  const width = values.length / rows;
  const out = new Float32Array(wanted * width);
  for (let j = 0; j < width; j++) {
    let sum = 0;
    for (let i = 0; i < rows; i++) sum += values[i * width + j];
    for (let i = 0; i < wanted; i++) out[i * width + j] = i < rows ? values[i * width + j] : sum / rows;
  }
  return out;
}

/** P0643: a parameter is served by whole numbers, which are codes for something. P0646: by nothing, since a save did not gather its pieces. `folder` is for the message. */
export function checkServed(store: TensorStore, { found }: Pick<CheckpointMatch, "found">, folder: string): void {
  for (const name of found.values()) {
    const { dtype, shape } = store.info(name);
    if (/^(I|U|BOOL)/.test(dtype))
      throw new InputError(
        "P0643",
        `\`${folder}\` holds \`${name}\` as whole numbers (${dtype}), and its config.json has no quantization_config that says for what`,
        ["take the config.json that came with the weights, or the unquantised base"],
      );
    if (shape.includes(0)) throw emptyTensor(folder, name);
  }
}

/** P0646. */
export const emptyTensor = (place: string, name: string): InputError =>
  new InputError("P0646", `the tensor \`${name}\` of \`${place}\` is empty`, [
    "DeepSpeed ZeRO-3 and FSDP save empty tensors where the pieces of a parameter were not gathered: gather them (`zero_to_fp32.py`, `FULL_STATE_DICT`) and save again",
  ]);

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
