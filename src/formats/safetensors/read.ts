/** Tensors out of safetensors files by positioned reads: one file, or the shards that an index names. */

import type { Weights } from "../../ground/weights.ts";
import { InputError } from "../../ir/errors.ts";
import { narrowWords, widenWords } from "../../ir/ops/halves.ts";
import { describe, type Files, isRecord, joinPath, readRecord } from "../files.ts";
import { bitsOf, HALVES, type Values, widen } from "./dtype.ts";
import { readHeader, type TensorInfo } from "./header.ts";

/** Elements that one positioned read brings at most, so that a large tensor needs no second copy of itself. */
const PIECE = 1 << 24;
/** Files of fewer bytes are read in less than people notice. */
const LARGE = 1 << 26;

/** An open checkpoint: names and shapes are in memory, values are read when asked for. */
export class TensorStore {
  constructor(
    private readonly files: Files,
    readonly tensors: ReadonlyMap<string, TensorInfo>,
    readonly metadata: Readonly<Record<string, string>>,
    /** Tensors that are computed from others when they are asked for. */
    readonly made: ReadonlyMap<string, () => Float32Array> = new Map(),
  ) {}

  /** The tensors under other names (new to old); what is not named is left out. */
  renamed(names: ReadonlyMap<string, string>): TensorStore {
    const tensors = new Map([...names].map(([name, old]) => [name, this.info(old)] as const));
    const made = new Map([...names].flatMap(([name, old]) => (this.made.has(old) ? [[name, this.made.get(old)!] as const] : [])));
    return new TensorStore(this.files, tensors, this.metadata, made);
  }

  /** The store without `gone`, and with tensors that are computed: their shapes and their values, row-major. */
  withMade(
    gone: ReadonlySet<string>,
    more: ReadonlyMap<string, { readonly shape: readonly number[]; values(): Float32Array }>,
  ): TensorStore {
    const tensors = new Map([...this.tensors].filter(([name]) => !gone.has(name)));
    const made = new Map(this.made);
    for (const [name, { shape, values }] of more) {
      tensors.set(name, { name, dtype: "F32", shape, file: "", offset: 0, bytes: 4 * shape.reduce((a, b) => a * b, 1) });
      made.set(name, values);
    }
    return new TensorStore(this.files, tensors, this.metadata, made);
  }

  /** The bytes of a tensor as the file has them. */
  bytes(name: string): Uint8Array {
    const { file, offset, bytes } = this.info(name);
    return this.files.read(file, offset, bytes);
  }

  /** P0623: there is no such tensor. */
  info(name: string): TensorInfo {
    const info = this.tensors.get(name);
    if (info === undefined) throw new InputError("P0623", `there is no tensor \`${name}\` among ${this.tensors.size}`);
    return info;
  }

  /** All values, row-major: floats as f32, integers and booleans as i32. P0620, P0621 as in `widen`. */
  read(name: string): Values {
    const pieces = [...this.pieces(name)];
    if (pieces.length === 1) return pieces[0];
    const count = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const all = pieces[0] instanceof Int32Array ? new Int32Array(count) : new Float32Array(count);
    let at = 0;
    for (const piece of pieces) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }

  /**
   * Size and last change of a large file with the tensor's entry in its header: what tells these values from others without reading them. `undefined`: the
   * file is small, or nobody keeps when it was changed.
   */
  stamp(name: string): string | undefined {
    if (this.made.has(name)) return undefined;
    const { dtype, shape, file, offset } = this.info(name);
    const stat = this.files.stat(file);
    if (stat?.changed === undefined || stat.size < LARGE) return undefined;
    return `${name} ${dtype}[${shape.join(",")}] at ${offset} of ${stat.size} bytes of ${stat.changed}`;
  }

  /** Whether the values lie in a file, rather than being computed from what does. */
  inFile(name: string): boolean {
    return !this.made.has(name);
  }

  /** The same values for a device, which asks for them piece by piece and has each read straight into its place. P0620, P0621. */
  weights(name: string): Weights {
    const info = this.info(name);
    const make = this.made.get(name);
    if (make !== undefined) return held(info.bytes / 4, make);
    const bits = bitsOf(info.dtype)!;
    const half = HALVES[info.dtype];
    const bytes = (at: number, into: Uint8Array) => this.files.readInto(info.file, info.offset + (at * bits) / 8, into);
    const fill = async (into: Float32Array, at: number): Promise<void> => {
      if (info.dtype === "F32") return bytes(at, bytesOf(into));
      if (half !== undefined) {
        // the words lie over the last half of the place of what they are widened to
        const words = new Uint16Array(into.buffer, into.byteOffset + 2 * into.length, into.length);
        await bytes(at, bytesOf(words));
        return widenWords(half, words, into);
      }
      const raw = new Uint8Array((into.length * bits) / 8);
      await bytes(at, raw);
      into.set(widen(info.dtype, raw, into.length, `tensor \`${name}\` of \`${info.file}\``));
    };
    return {
      length: (info.bytes * 8) / bits,
      fill,
      fillWords: async (into, at, format) => {
        if (half === format) return bytes(at, bytesOf(into));
        const wide = new Float32Array(into.length);
        await fill(wide, at);
        narrowWords(format, wide, into);
      },
    };
  }

  /** The same values in order, some at a time, for tensors that should not be in memory twice. At least one piece. */
  *pieces(name: string, most: number = PIECE): Generator<Values> {
    const info = this.info(name);
    const make = this.made.get(name);
    if (make !== undefined) {
      yield make();
      return;
    }
    const bits = bitsOf(info.dtype)!;
    const count = (info.bytes * 8) / bits;
    const what = `tensor \`${name}\` of \`${info.file}\``;
    // a multiple of 8 elements starts on a whole byte, whatever the width
    const step = Math.max(8, most - (most % 8));
    for (let at = 0; at < count || at === 0; at += step) {
      const some = Math.min(step, count - at);
      yield widen(info.dtype, this.files.read(info.file, info.offset + (at * bits) / 8, (some * bits) / 8), some, what);
    }
  }
}

/** Weights that are computed once, when the first of them are asked for. */
function held(length: number, make: () => Float32Array): Weights {
  let values: Float32Array | undefined;
  const some = (at: number, count: number): Float32Array => {
    values ??= make();
    return values.subarray(at, at + count);
  };
  return {
    length,
    fill: (into, at) => into.set(some(at, into.length)),
    fillWords: (into, at, format) => narrowWords(format, some(at, into.length), into),
  };
}

const bytesOf = (view: ArrayBufferView): Uint8Array => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** One file. Errors as in `readHeader`. */
export function openSafetensors(files: Files, file: string): TensorStore {
  const { tensors, metadata } = readHeader(files, file);
  return new TensorStore(files, tensors, metadata);
}

/**
 * All shards of an index, each as `open` opens it. Errors, beside those of the shards: P0687 not an object · P0618 no sound `weight_map` · P0680 a shard is missing ·
 * P0619 a tensor is not in the shard that the index gives, or in one that it does not.
 */
export function openShards(files: Files, folder: string, index: string, open = openSafetensors): TensorStore {
  const path = joinPath(folder, index);
  const map = readRecord(files, path).weight_map;
  if (!isRecord(map)) throw new InputError("P0618", `\`${path}\`: weight_map is ${describe(map)} where an object is wanted`);
  const shards = new Map<string, TensorStore>();
  const tensors = new Map<string, TensorInfo>();
  const made = new Map<string, () => Float32Array>();
  for (const [name, shard] of Object.entries(map)) {
    if (typeof shard !== "string" || shard.includes("/")) {
      throw new InputError(
        "P0618",
        `\`${path}\`: weight_map gives ${describe(shard)} for \`${name}\` where the name of a file beside it is wanted`,
      );
    }
    let store = shards.get(shard);
    if (store === undefined) {
      if (files.stat(joinPath(folder, shard)) === undefined) {
        throw new InputError("P0680", `shard \`${shard}\` is missing in \`${folder}\`, though \`${index}\` names it`, [
          "fetch all files of the model",
        ]);
      }
      store = open(files, joinPath(folder, shard));
      shards.set(shard, store);
    }
    const { tensors: own } = store;
    if (!own.has(name)) {
      throw new InputError("P0619", `tensor \`${name}\` is not in \`${joinPath(folder, shard)}\`, where \`${index}\` says it is`);
    }
    tensors.set(name, own.get(name)!);
    const make = store.made.get(name);
    if (make !== undefined) made.set(name, make);
  }
  for (const [shard, { tensors: own }] of shards) {
    for (const name of own.keys()) {
      if (map[name] !== shard)
        throw new InputError("P0619", `\`${joinPath(folder, shard)}\` holds tensor \`${name}\`, which \`${index}\` does not list there`);
    }
  }
  return new TensorStore(files, tensors, {}, made);
}
