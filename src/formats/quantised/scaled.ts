/**
 * Weights of one byte each with scales beside them: FP8 with blocks (`weight_scale_inv`), with one scale for all or one a row (`weight_scale`), and whole numbers of 8 bits
 * of compressed-tensors. Value = (code − zero) · scale of its block. Scales for activations act on inputs alone and are left out.
 */
import type { Json } from "../files.ts";
import { lacks, type Packed, refused, shapeOf, stems, type Unpacked, type Weights, want } from "./scheme.ts";

const ENDS = [".weight_scale_inv", ".weight_scale"] as const;
/** Of inputs, caches and outputs. */
const ASIDE = [".input_scale", ".input_scale_ub", ".activation_scale", ".input_zero_point", ".output_scale", ".k_scale", ".v_scale"];
const CODES = ["I8", "F8_E4M3", "F8_E5M2"];

export function readScaled(packed: Packed, blocks: Json | undefined): Weights {
  const made = new Map<string, Unpacked>();
  const used = new Set<string>();
  const { store } = packed;
  for (const end of ENDS)
    for (const stem of stems(store, end)) {
      const [name, scaleName, zeroName] = [`${stem}.weight`, stem + end, `${stem}.weight_zero_point`];
      const shape = shapeOf(packed, name);
      if (!CODES.includes(store.info(name).dtype))
        throw lacks(packed, name, `is of type ${store.info(name).dtype} where ${CODES.join(", ")} is wanted`);
      const scaleShape = shapeOf(packed, scaleName);
      const shifted = store.tensors.has(zeroName);
      if (shifted) want(packed, zeroName, scaleShape);
      const block = blockOf(packed, shape, scaleShape, scaleName, blocks);
      made.set(name, {
        shape,
        values() {
          const [codes, scales] = [store.read(name), store.read(scaleName)];
          const zeros = shifted ? store.read(zeroName) : undefined;
          const columns = shape.at(-1) ?? 1;
          const across = scaleShape.length > 1 ? scaleShape[1] : 1;
          return Float32Array.from(codes, (code, i) => {
            const at = Math.floor(Math.floor(i / columns) / block[0]) * across + Math.floor((i % columns) / block[1]);
            return (code - (zeros?.[at] ?? 0)) * scales[at];
          });
        },
      });
      for (const other of [name, scaleName, zeroName]) used.add(other);
    }
  for (const name of store.tensors.keys()) if (ASIDE.some((end) => name.endsWith(end))) used.add(name);
  return { made, used };
}

/** Rows and columns that share a scale. */
function blockOf(
  packed: Packed,
  shape: readonly number[],
  scale: readonly number[],
  name: string,
  blocks: Json | undefined,
): readonly [number, number] {
  const count = scale.reduce((a, b) => a * b, 1);
  if (count === 1) return [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  if (shape.length !== 2) throw refused(packed, `\`${name}\` scales parts of a tensor that is no matrix, which is not read`);
  const [rows, columns] = shape;
  const [down, across] = [scale[0], scale[1] ?? 1];
  if (scale.length <= 2 && down === rows && columns % across === 0) return [1, columns / across];
  const [r, c] = Array.isArray(blocks) ? blocks.map(Number) : [];
  if (scale.length === 2 && r > 0 && c > 0 && Math.ceil(rows / r) === down && Math.ceil(columns / c) === across) return [r, c];
  throw lacks(
    packed,
    name,
    `has shape [${scale.join(", ")}], which divides no [${rows}, ${columns}] into blocks${blocks === undefined ? "" : ` of ${JSON.stringify(blocks)}`}`,
  );
}
