/** Checkpoints whose weights are packed: config.json says how, the weights are made from codes and scales when they are asked for. */
import { InputError } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import { isRecord, type Json, type JsonRecord } from "../files.ts";
import type { TensorStore } from "../safetensors/read.ts";
import { readBitsandbytes } from "./bitsandbytes.ts";
import { readScaled } from "./scaled.ts";
import { type Packed, recordIn, refused, type Weights, wholeIn } from "./scheme.ts";
import { readAwq, readGptq, readMlxPacked, readPacked } from "./words.ts";

/** One row a `quant_method`. */
const METHODS: Readonly<Record<string, (packed: Packed) => Weights>> = {
  bitsandbytes: readBitsandbytes,
  gptq: readGptq,
  awq: readAwq,
  fp8: (packed) => readScaled(packed, packed.config.weight_block_size),
  fbgemm_fp8: (packed) => readScaled(packed, undefined),
  "compressed-tensors": readCompressed,
};

export const QUANT_METHODS: readonly string[] = Object.keys(METHODS);

/** compressed-tensors: one way for the weights of all groups of modules. */
function readCompressed(packed: Packed): Weights {
  const { config } = packed;
  const format = String(config.format);
  const groups = Object.values(recordIn(config, "config_groups") ?? {}).flatMap((group) => (isRecord(group) ? [group] : []));
  const formats = new Set([format, ...groups.flatMap((group) => (typeof group.format === "string" ? [group.format] : []))]);
  const sparse = recordIn(config, "sparsity_config");
  if (sparse !== undefined && sparse.format !== "dense" && sparse.format !== undefined)
    throw refused(packed, `its sparsity (${sparse.format}) is not read`);
  const transforms = recordIn(config, "transform_config");
  if (transforms !== undefined && Object.keys(transforms).length > 0)
    throw refused(packed, "its transform_config (rotations of weights) is not read");
  const ways = groups.map((group) => recordIn(group, "weights") ?? {});
  if (format === "pack-quantized" && formats.size === 1) {
    const bits = new Set(ways.map((way) => wholeIn(packed, way, "num_bits")));
    if (bits.size !== 1) throw refused(packed, `its groups have ${[...bits].join(" and ")} bits, which is not read`);
    return readPacked(packed, [...bits][0]);
  }
  if (["int-quantized", "float-quantized", "naive-quantized"].includes(format) && formats.size === 1)
    return readScaled(packed, ways.find((way) => Array.isArray(way.block_structure))?.block_structure);
  throw refused(
    packed,
    `its format ${[...formats].join(", ")} is not read`,
    "read are pack-quantized, int-quantized, float-quantized, naive-quantized",
  );
}

/** Ends of names that only packed checkpoints have. */
const MARKS = /\.(qweight|qzeros|SCB|weight_packed|weight_scale_inv|weight_scale)$|\.quant_state\.|\.absmax$/;
/** Conv1D keeps its weights the other way round than these packings do. */
const TURNED = ["gpt2"];

/**
 * The store with weights in the place of their packed forms; itself where nothing is packed. `config`: config.json as it is. P0643: packed in a way that is not
 * read, or config.json does not say in which; P0644: a packed weight lacks a part.
 */
export function unpacked(store: TensorStore, config: JsonRecord, where: string): TensorStore {
  const said: Json | undefined = config.quantization_config ?? recordIn(config, "text_config")?.quantization_config;
  const mlx = recordIn(config, "quantization");
  const marked = [...store.tensors.keys()].find((name) => MARKS.test(name));
  if (isRecord(said) && !(mlx !== undefined && said.quant_method === undefined)) {
    const packed: Packed = { store, config: said, where };
    const read = own(METHODS, String(said.quant_method));
    if (read === undefined) throw refused(packed, "this is not read", `read are ${QUANT_METHODS.join(", ")}, and mlx's`);
    return made(packed, read, config);
  }
  if (mlx !== undefined) return made({ store, config: mlx, where }, readMlxPacked, config);
  // bitsandbytes says in the tensors how
  if ([...store.tensors.keys()].some((name) => /\.SCB$|\.quant_state\.bitsandbytes__/.test(name)))
    return made({ store, config: {}, where }, readBitsandbytes, config);
  if (marked !== undefined)
    throw new InputError(
      "P0643",
      `\`${where}\` holds packed weights (\`${marked}\`), and its config.json has no quantization_config that says how`,
      ["take the config.json that came with the weights, or the unquantised base"],
    );
  return store;
}

function made(packed: Packed, read: (packed: Packed) => Weights, config: JsonRecord): TensorStore {
  if (TURNED.includes(String(config.model_type))) throw refused(packed, `packed weights of ${config.model_type} are not read`);
  const weights = read(packed);
  return weights.made.size === 0 ? packed.store : packed.store.withMade(weights.used, weights.made);
}
