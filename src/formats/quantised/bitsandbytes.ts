/**
 * bitsandbytes. 4 bits: two codes a byte, the first in the high half; the code's value in `quant_map` times the largest magnitude of its block, which may be
 * packed in 8 bits itself. 8 bits: one scale a row, value = code · scale / 127.
 */
import { isRecord, type JsonRecord } from "../files.ts";
import { parseJson } from "../json.ts";
import { lacks, type Packed, refused, shapeOf, stems, type Unpacked, type Weights, want } from "./scheme.ts";

const STATE = ".quant_state.bitsandbytes__";

export function readBitsandbytes(packed: Packed): Weights {
  const made = new Map<string, Unpacked>();
  const used = new Set<string>();
  const { store } = packed;
  for (const state of [...store.tensors.keys()].filter((name) => name.includes(STATE))) {
    const name = state.slice(0, state.indexOf(STATE));
    made.set(name, fourBit(packed, name, state));
    for (const other of store.tensors.keys()) if (other === name || other.startsWith(`${name}.`)) used.add(other);
  }
  for (const stem of stems(store, ".SCB")) {
    const name = `${stem}.weight`;
    made.set(name, eightBit(packed, stem));
    for (const other of [name, `${stem}.SCB`, `${stem}.weight_format`]) used.add(other);
  }
  return { made, used };
}

function fourBit(packed: Packed, name: string, stateName: string): Unpacked {
  const { store } = packed;
  const parsed = parseJson(new TextDecoder().decode(store.bytes(stateName)));
  if ("fault" in parsed || !isRecord(parsed.value)) throw lacks(packed, stateName, "holds no JSON object");
  const state: JsonRecord = parsed.value;
  const { shape } = state;
  if (!Array.isArray(shape) || !shape.every((n) => Number.isSafeInteger(n) && n >= 0)) throw lacks(packed, stateName, "says no shape");
  const count = (shape as number[]).reduce((a, b) => a * b, 1);
  const block = sizeIn(packed, state, "blocksize", stateName);
  const nested = store.tensors.has(`${name}.nested_absmax`);
  const offset = nested ? Number(state.nested_offset) : 0;
  if (!Number.isFinite(offset)) throw lacks(packed, stateName, "says no nested_offset");
  const outer = nested ? sizeIn(packed, state, "nested_blocksize", stateName) : 1;
  const blocks = Math.ceil(count / block);
  want(packed, `${name}.quant_map`, [16]);
  want(packed, `${name}.absmax`, [blocks]);
  if (nested) want(packed, `${name}.nested_quant_map`, [256]);
  if (nested) want(packed, `${name}.nested_absmax`, [Math.ceil(blocks / outer)]);
  const bytes = shapeOf(packed, name).reduce((a, b) => a * b, 1);
  if (store.info(name).dtype !== "U8" || bytes !== Math.ceil(count / 2))
    throw lacks(packed, name, `has ${bytes} elements of ${store.info(name).dtype} where ${Math.ceil(count / 2)} bytes are wanted`);
  return {
    shape: shape as number[],
    values() {
      const codes = store.bytes(name);
      const map = store.read(`${name}.quant_map`);
      const largest = Float32Array.from(store.read(`${name}.absmax`));
      if (nested) {
        const [inner, scale] = [store.read(`${name}.nested_quant_map`), store.read(`${name}.nested_absmax`)];
        for (let i = 0; i < largest.length; i++) largest[i] = Math.fround(inner[largest[i]] * scale[Math.floor(i / outer)]) + offset;
      }
      const out = new Float32Array(count);
      for (let i = 0; i < count; i++) {
        const byte = codes[i >> 1];
        out[i] = map[i & 1 ? byte & 15 : byte >> 4] * largest[Math.floor(i / block)];
      }
      return out;
    },
  };
}

function sizeIn(packed: Packed, state: JsonRecord, field: string, name: string): number {
  const size = state[field];
  if (typeof size !== "number" || !Number.isInteger(size) || size < 1)
    throw lacks(packed, name, `says ${field} = ${JSON.stringify(size ?? null)}`);
  return size;
}

function eightBit(packed: Packed, stem: string): Unpacked {
  const { store } = packed;
  const name = `${stem}.weight`;
  const shape = shapeOf(packed, name);
  if (store.info(name).dtype !== "I8" || shape.length !== 2) throw lacks(packed, name, "is no matrix of bytes with a sign");
  want(packed, `${stem}.SCB`, [shape[0]]);
  const format = store.tensors.has(`${stem}.weight_format`) ? Number(store.read(`${stem}.weight_format`)[0]) : 0;
  if (format !== 0)
    throw refused(packed, `\`${name}\` lies in the order of tiles that some GPUs want (weight_format ${format}), which is not read`);
  return {
    shape,
    values() {
      const codes = store.read(name);
      const scale = store.read(`${stem}.SCB`);
      return Float32Array.from(codes, (code, i) => (code * scale[Math.floor(i / shape[1])]) / 127);
    },
  };
}
