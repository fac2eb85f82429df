/** Packings in words of 32 bits: GPTQ, AWQ, compressed-tensors' `pack-quantized`, mlx. */
import {
  bitsAt,
  lacks,
  type Packed,
  recordIn,
  refused,
  shapeOf,
  stems,
  type Unpacked,
  type Weights,
  want,
  wholeIn,
  words,
} from "./scheme.ts";

/** Codes, zero points and scales of a packed weight. */
const partsOf = (packed: Packed, stem: string) =>
  [words(packed, `${stem}.qweight`), words(packed, `${stem}.qzeros`), packed.store.read(`${stem}.scales`)] as const;

/**
 * GPTQ: `qweight` [in·bits/32, out], `qzeros` [groups, out·bits/32], `scales` [groups, out], the group of each input in `g_idx`. The
 * format's first version keeps zeros less 1, `gptq_v2` as they are. Value = scale · (code − zero).
 */
export function readGptq(packed: Packed): Weights {
  const bits = wholeIn(packed, packed.config, "bits");
  if (![2, 3, 4, 8].includes(bits)) throw refused(packed, `${bits} bits are not read`);
  const format = packed.config.checkpoint_format ?? "gptq";
  if (format !== "gptq" && format !== "gptq_v2")
    throw refused(packed, `its checkpoint_format ${JSON.stringify(format)} is not read`, "read are gptq, gptq_v2");
  const more = format === "gptq" ? 1 : 0;
  const size = wholeIn(packed, packed.config, "group_size", 128);
  return byStem(packed, ".qweight", [".qweight", ".qzeros", ".scales", ".g_idx"], (stem) => {
    const [rows, out] = shapeOf(packed, `${stem}.qweight`);
    const inputs = (rows * 32) / bits;
    const [groups] = shapeOf(packed, `${stem}.scales`);
    want(packed, `${stem}.scales`, [groups, out]);
    want(packed, `${stem}.qzeros`, [groups, Math.ceil((out * bits) / 32)]);
    const indexed = packed.store.tensors.has(`${stem}.g_idx`);
    if (indexed) want(packed, `${stem}.g_idx`, [inputs]);
    else if (size > 0 && Math.ceil(inputs / size) !== groups)
      throw lacks(packed, `${stem}.scales`, `has ${groups} groups of ${size} for ${inputs} inputs`);
    return {
      shape: [out, inputs],
      values() {
        const [codes, zeros, scales] = partsOf(packed, stem);
        const index = indexed ? packed.store.read(`${stem}.g_idx`) : undefined;
        const across = Math.ceil((out * bits) / 32);
        const mask = 2 ** bits - 1;
        const values = new Float32Array(out * inputs);
        for (let i = 0; i < inputs; i++) {
          const group = index?.[i] ?? (size > 0 ? Math.floor(i / size) : 0);
          if (group < 0 || group >= groups) throw lacks(packed, `${stem}.g_idx`, `names the group ${group} of ${groups}`);
          for (let o = 0; o < out; o++) {
            const zero = (bitsAt((k) => zeros[group * across + k], o, bits) + more) & mask;
            const code = bitsAt((k) => codes[k * out + o], i, bits);
            values[o * inputs + i] = scales[group * out + o] * (code - zero);
          }
        }
        return values;
      },
    };
  });
}

/** Which part of a word of eight holds which column, by AWQ's kernels. */
const AWQ_PLACES = [0, 4, 1, 5, 2, 6, 3, 7];

/** AWQ ("gemm"): `qweight` [in, out/8], `qzeros` [groups, out/8], `scales` [groups, out], 4 bits. Value = scale · (code − zero). */
export function readAwq(packed: Packed): Weights {
  const { config } = packed;
  const version = String(config.version ?? "gemm").toLowerCase();
  if (wholeIn(packed, config, "bits", 4) !== 4) throw refused(packed, `${config.bits} bits are not read`);
  if (version !== "gemm") throw refused(packed, `its version ${JSON.stringify(config.version)} is not read`, "read is gemm");
  return byStem(packed, ".qweight", [".qweight", ".qzeros", ".scales"], (stem) => {
    const [inputs, columns] = shapeOf(packed, `${stem}.qweight`);
    const out = columns * 8;
    const [groups] = shapeOf(packed, `${stem}.scales`);
    want(packed, `${stem}.scales`, [groups, out]);
    want(packed, `${stem}.qzeros`, [groups, columns]);
    const size = Math.ceil(inputs / groups);
    return {
      shape: [out, inputs],
      values() {
        const [codes, zeros, scales] = partsOf(packed, stem);
        const values = new Float32Array(out * inputs);
        const at = (of: Uint32Array, row: number, o: number) => (of[row * columns + (o >> 3)] >>> (4 * AWQ_PLACES[o & 7])) & 15;
        for (let i = 0; i < inputs; i++) {
          const group = Math.floor(i / size);
          for (let o = 0; o < out; o++) values[o * inputs + i] = scales[group * out + o] * (at(codes, i, o) - at(zeros, group, o));
        }
        return values;
      },
    };
  });
}

/** compressed-tensors' `pack-quantized`: `weight_packed` [out, in·bits/32], codes from 0, of which the middle is 0; `weight_scale` [out, groups]. */
export function readPacked(packed: Packed, bits: number): Weights {
  if (bits !== 4 && bits !== 8) throw refused(packed, `${bits} bits in words are not read`, "read are 4 and 8");
  const ends = [".weight_packed", ".weight_scale", ".weight_shape", ".weight_zero_point", ".weight_g_idx"];
  return byStem(packed, ".weight_packed", ends, (stem) => {
    const [out, columns] = shapeOf(packed, `${stem}.weight_packed`);
    want(packed, `${stem}.weight_shape`, [2]);
    const [rows, inputs] = packed.store.read(`${stem}.weight_shape`);
    if (rows !== out || Math.ceil((inputs * bits) / 32) !== columns)
      throw lacks(packed, `${stem}.weight_packed`, `is no [${rows}, ${inputs}] of ${bits} bits`);
    const groups = shapeOf(packed, `${stem}.weight_scale`)[1] ?? 1;
    want(packed, `${stem}.weight_scale`, [out, groups]);
    const [shifted, indexed] = [".weight_zero_point", ".weight_g_idx"].map((end) => packed.store.tensors.has(stem + end));
    if (shifted) want(packed, `${stem}.weight_zero_point`, [Math.ceil((out * bits) / 32), groups]);
    if (indexed) want(packed, `${stem}.weight_g_idx`, [inputs]);
    const middle = 2 ** (bits - 1);
    return {
      shape: [out, inputs],
      values() {
        const [codes, scales] = [words(packed, `${stem}.weight_packed`), packed.store.read(`${stem}.weight_scale`)];
        const zeros = shifted ? words(packed, `${stem}.weight_zero_point`) : undefined;
        const index = indexed ? packed.store.read(`${stem}.weight_g_idx`) : undefined;
        const size = Math.ceil(inputs / groups);
        const values = new Float32Array(out * inputs);
        for (let o = 0; o < out; o++)
          for (let i = 0; i < inputs; i++) {
            const group = index?.[i] ?? Math.floor(i / size);
            const zero = zeros === undefined ? middle : bitsAt((k) => zeros[k * groups + group], o, bits);
            values[o * inputs + i] = scales[o * groups + group] * (bitsAt((k) => codes[o * columns + k], i, bits) - zero);
          }
        return values;
      },
    };
  });
}

/** mlx: `weight` [out, in·bits/32], `scales` and `biases` [out, groups], embedding tables too. Value = scale · code + bias. */
export function readMlxPacked(packed: Packed): Weights {
  const { config } = packed;
  if (config.mode !== undefined && config.mode !== "affine")
    throw refused(packed, `mlx's mode ${JSON.stringify(config.mode)} is not read`, "read is affine");
  return byStem(packed, ".scales", [".weight", ".scales", ".biases"], (stem) => {
    // a module may have numbers of its own
    const own = recordIn(config, stem) ?? config;
    const bits = wholeIn(packed, own, "bits");
    const size = wholeIn(packed, own, "group_size");
    const [out, columns] = shapeOf(packed, `${stem}.weight`);
    const inputs = (columns * 32) / bits;
    const groups = inputs / size;
    if (![2, 3, 4, 5, 6, 8].includes(bits) || !Number.isInteger(groups))
      throw refused(packed, `\`${stem}\` is no table of ${bits} bits in groups of ${size}`);
    want(packed, `${stem}.scales`, [out, groups]);
    want(packed, `${stem}.biases`, [out, groups]);
    return {
      shape: [out, inputs],
      values() {
        const codes = words(packed, `${stem}.weight`);
        const [scales, biases] = [packed.store.read(`${stem}.scales`), packed.store.read(`${stem}.biases`)];
        const values = new Float32Array(out * inputs);
        for (let o = 0; o < out; o++)
          for (let i = 0; i < inputs; i++) {
            const at = o * groups + Math.floor(i / size);
            values[o * inputs + i] = scales[at] * bitsAt((k) => codes[o * columns + k], i, bits) + biases[at];
          }
        return values;
      },
    };
  });
}

/** A weight for each name that ends in `mark`; `ends` are the tensors that it may be made of. */
function byStem(packed: Packed, mark: string, ends: readonly string[], make: (stem: string) => Unpacked): Weights {
  const made = new Map<string, Unpacked>();
  const used = new Set<string>();
  for (const stem of stems(packed.store, mark)) {
    made.set(`${stem}.weight`, make(stem));
    for (const other of ends) used.add(stem + other);
  }
  return { made, used };
}
