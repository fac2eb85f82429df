/** Packed weights of checkpoints: what the readers of the several packings have in common. */
import { InputError } from "../../ir/errors.ts";
import { isRecord, type JsonRecord } from "../files.ts";
import type { TensorStore } from "../safetensors/read.ts";

/** A weight made from packed tensors. */
export interface Unpacked {
  readonly shape: readonly number[];
  /** Row-major. */
  values(): Float32Array;
}

/** A checkpoint that is packed in some way. */
export interface Packed {
  readonly store: TensorStore;
  /** `quantization_config` (or mlx's `quantization`); empty where config.json has none. */
  readonly config: JsonRecord;
  /** The folder, for messages. */
  readonly where: string;
}

/** Weights by name, and the names of all tensors that they are made of. */
export interface Weights {
  readonly made: ReadonlyMap<string, Unpacked>;
  readonly used: ReadonlySet<string>;
}

/** P0643: packed in a way that is not read. */
export function refused(packed: Packed, what: string, ...notes: string[]): InputError {
  return new InputError("P0643", `${quantised(packed)}, and ${what}`, [...notes, INSTEAD]);
}
const INSTEAD = "use the unquantised base of the same name; `NF4` and `Int8` of the library pack it here";
const quantised = ({ where, config }: Packed): string =>
  `\`${where}\` is quantised (quantization_config: ${typeof config.quant_method === "string" ? config.quant_method : "mlx or bitsandbytes"})`;

/** Names that end so, without the end. */
export const stems = (store: TensorStore, end: string): string[] =>
  [...store.tensors.keys()].filter((name) => name.endsWith(end)).map((name) => name.slice(0, -end.length));

/** P0644: a tensor of a packed weight is missing, or its shape is not that of its neighbours. */
export function lacks(packed: Packed, name: string, why: string): InputError {
  return new InputError("P0644", `${quantised(packed)}, and its packed tensor \`${name}\` ${why}`, [INSTEAD]);
}

/** The shape of a tensor that must be there. P0644. */
export function shapeOf(packed: Packed, name: string): readonly number[] {
  const info = packed.store.tensors.get(name);
  if (info === undefined) throw lacks(packed, name, "is missing");
  return info.shape;
}

/** P0644 unless the shapes are equal. */
export function want(packed: Packed, name: string, shape: readonly number[]): void {
  const seen = shapeOf(packed, name);
  if (seen.join() !== shape.join()) throw lacks(packed, name, `has shape [${seen.join(", ")}] where [${shape.join(", ")}] is wanted`);
}

/** Words of 32 bits, unsigned, as the file has them. */
export function words(packed: Packed, name: string): Uint32Array {
  const { dtype } = packed.store.info(name);
  if (dtype !== "I32" && dtype !== "U32") throw lacks(packed, name, `is of type ${dtype} where words of 32 bits are wanted`);
  const bytes = packed.store.bytes(name);
  return new Uint32Array(
    bytes.byteOffset % 4 === 0 ? bytes.buffer : bytes.slice().buffer,
    bytes.byteOffset % 4 === 0 ? bytes.byteOffset : 0,
    bytes.length / 4,
  );
}

/** Element `i` of a stream of `bits`-wide numbers, the first in the lowest bits; `word(k)` is the stream's k-th word. */
export function bitsAt(word: (k: number) => number, i: number, bits: number): number {
  const at = i * bits;
  const k = at >>> 5;
  const shift = at & 31;
  const low = word(k) >>> shift;
  const all = shift + bits > 32 ? low | (word(k + 1) << (32 - shift)) : low;
  return bits === 32 ? all >>> 0 : all & ((1 << bits) - 1);
}

/** A whole number of the configuration. P0643 where it is none. */
export function wholeIn(packed: Packed, record: JsonRecord, field: string, otherwise?: number): number {
  const value = record[field] ?? otherwise;
  if (typeof value !== "number" || !Number.isInteger(value))
    throw refused(packed, `its ${field} is ${JSON.stringify(value ?? null)}, no whole number`);
  return value;
}

export const recordIn = (record: JsonRecord, field: string): JsonRecord | undefined => {
  const value = record[field];
  return isRecord(value) ? value : undefined;
};
