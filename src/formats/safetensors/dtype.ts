/**
 * Element types of safetensors files and their values in JavaScript. Floats of every width become `f32`, integers and booleans `i32`; bytes
 * are little-endian, as this host's typed arrays are.
 */

import type { HalfFormat } from "../../ground/weights.ts";
import { InputError } from "../../ir/errors.ts";
import { narrowWords, widenWords } from "../../ir/ops/halves.ts";

export type Values = Float32Array | Int32Array;

interface Row {
  readonly bits: number;
  /** From `count` elements' bytes at an address that is a multiple of 8. `undefined`: known by name, but its values cannot be read. */
  readonly widen: ((bytes: Uint8Array, count: number, what: string) => Values) | undefined;
}

function float(bits: number, read: (bytes: Uint8Array, count: number) => Float32Array): Row {
  return { bits, widen: read };
}
function integer(bits: number, read: (bytes: Uint8Array, count: number) => ArrayLike<number>): Row {
  return { bits, widen: (bytes, count) => Int32Array.from(read(bytes, count)) };
}

function table8(exponentBits: number, bias: number, infinite: boolean): (bytes: Uint8Array, count: number) => Float32Array {
  const mantissaBits = 7 - exponentBits;
  const top = (1 << exponentBits) - 1;
  const values = new Float32Array(256);
  for (let code = 0; code < 256; code++) {
    const sign = code & 0x80 ? -1 : 1;
    const exponent = (code >> mantissaBits) & top;
    const mantissa = code & ((1 << mantissaBits) - 1);
    const fraction = mantissa / (1 << mantissaBits);
    if (exponent === top && infinite) values[code] = mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    else if (exponent === top && mantissa === (1 << mantissaBits) - 1 && !infinite) values[code] = Number.NaN;
    else values[code] = sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias));
  }
  return (bytes, count) => {
    const out = new Float32Array(count);
    for (let i = 0; i < count; i++) out[i] = values[bytes[i]];
    return out;
  };
}

/** One row a type. F8_E4M3 is the "fn" kind: no infinities, NaN at all ones. */
const ROWS: Readonly<Record<string, Row>> = {
  F64: float(64, (b, n) => Float32Array.from(new Float64Array(b.buffer, b.byteOffset, n))),
  F32: float(32, (b, n) => new Float32Array(b.buffer, b.byteOffset, n)),
  F16: float(16, widened("f16")),
  BF16: float(16, widened("bf16")),
  F8_E4M3: float(8, table8(4, 7, false)),
  F8_E5M2: float(8, table8(5, 15, true)),
  F8_E8M0: { bits: 8, widen: undefined },
  F8_E4M3FNUZ: { bits: 8, widen: undefined },
  F8_E5M2FNUZ: { bits: 8, widen: undefined },
  F6_E2M3: { bits: 6, widen: undefined },
  F6_E3M2: { bits: 6, widen: undefined },
  F4: { bits: 4, widen: undefined },
  C64: { bits: 64, widen: undefined },
  I64: { bits: 64, widen: (b, n, what) => long(new BigInt64Array(b.buffer, b.byteOffset, n), what) },
  U64: { bits: 64, widen: (b, n, what) => long(new BigUint64Array(b.buffer, b.byteOffset, n), what) },
  I32: integer(32, (b, n) => new Int32Array(b.buffer, b.byteOffset, n)),
  U32: {
    bits: 32,
    widen: (b, n, what) =>
      long(
        Array.from(new Uint32Array(b.buffer, b.byteOffset, n), (v) => BigInt(v)),
        what,
      ),
  },
  I16: integer(16, (b, n) => new Int16Array(b.buffer, b.byteOffset, n)),
  U16: integer(16, (b, n) => new Uint16Array(b.buffer, b.byteOffset, n)),
  I8: integer(8, (b, n) => new Int8Array(b.buffer, b.byteOffset, n)),
  U8: integer(8, (b, n) => b.subarray(0, n)),
  BOOL: { bits: 8, widen: (b, n) => Int32Array.from(b.subarray(0, n), (v) => (v === 0 ? 0 : 1)) },
};

export const KNOWN_DTYPES: readonly string[] = Object.keys(ROWS);

/** Bits an element takes; `undefined`: no such type. */
export function bitsOf(dtype: string): number | undefined {
  return ROWS[dtype]?.bits;
}

/**
 * `count` values from their bytes. `what` names the tensor in messages. P0620: values of this type cannot be read; P0621: an integer does
 * not fit 32 bits.
 */
export function widen(dtype: string, bytes: Uint8Array, count: number, what: string): Values {
  const read = ROWS[dtype].widen;
  if (read === undefined) {
    throw new InputError("P0620", `${what} is of type ${dtype}, whose values cannot be read`, ["save the tensor as F32, F16 or BF16"]);
  }
  return read(bytes.byteOffset % 8 === 0 ? bytes : bytes.slice(), count, what);
}

function long(values: BigInt64Array | BigUint64Array | readonly bigint[], what: string): Int32Array {
  const out = new Int32Array(values.length);
  for (let i = 0; i < out.length; i++) {
    const value = values[i];
    if (value > 2147483647n || value < -2147483648n) {
      throw new InputError("P0621", `${what} holds ${value} (element ${i}), which does not fit 32 bits`);
    }
    out[i] = Number(value);
  }
  return out;
}

function widened(format: HalfFormat): (bytes: Uint8Array, count: number) => Float32Array {
  return (bytes, count) => {
    const out = new Float32Array(count);
    widenWords(format, new Uint16Array(bytes.buffer, bytes.byteOffset, count), out);
    return out;
  };
}

/** Types that are numbers of 16 bits as devices may keep them. */
export const HALVES: Readonly<Record<string, HalfFormat | undefined>> = { F16: "f16", BF16: "bf16" };

export type StoredDType = "F32" | "F16" | "BF16" | "I32" | "I64" | "I16" | "U8" | "BOOL";

/** Bytes of `values` as `dtype`. `what` names the tensor in messages; a value the type cannot hold is P0622. */
export function narrow(dtype: StoredDType, values: ArrayLike<number>, what: string): Uint8Array {
  const made = narrowed(dtype, values, what);
  return new Uint8Array(made.buffer, made.byteOffset, made.byteLength);
}

function narrowed(dtype: StoredDType, values: ArrayLike<number>, what: string): ArrayBufferView {
  switch (dtype) {
    case "F32":
      return values instanceof Float32Array ? values : Float32Array.from(values);
    case "F16":
    case "BF16": {
      const out = new Uint16Array(values.length);
      narrowWords(HALVES[dtype]!, values instanceof Float32Array ? values : Float32Array.from(values), out);
      return out;
    }
    case "I32":
      return Int32Array.from(values, (v) => whole(v, -2147483648, 2147483647, dtype, what));
    case "I64":
      return BigInt64Array.from(Array.from(values, (v) => BigInt(whole(v, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, dtype, what))));
    case "I16":
      return Int16Array.from(values, (v) => whole(v, -32768, 32767, dtype, what));
    case "U8":
      return Uint8Array.from(values, (v) => whole(v, 0, 255, dtype, what));
    case "BOOL":
      return Uint8Array.from(values, (v) => (v === 0 ? 0 : 1));
  }
}

function whole(value: number, low: number, high: number, dtype: string, what: string): number {
  if (Number.isInteger(value) && value >= low && value <= high) return value;
  throw new InputError("P0622", `${what} holds ${value}, which ${dtype} cannot store`);
}
