/** Adapters for llama.cpp: thin matrices under its own names, in a GGUF file. */
import type { GgufFact, GgufTensor } from "../gguf.ts";
import { lowRankOf } from "./low-rank.ts";
import type { GgufMapping, Mappings } from "./mapping.ts";
import { type OutAdapter, type OutParam, Unsayable } from "./out.ts";

interface GgufAdapter {
  readonly facts: Readonly<Record<string, GgufFact>>;
  readonly tensors: readonly GgufTensor[];
}

/**
 * What the file would hold, or why llama.cpp cannot have it. Its scale is one alpha over the rank of each pair, so other scales are worked into the
 * second matrices; rows of queries and keys lie as its base's do.
 */
export function encodeGguf(adapter: OutAdapter, mappings: Mappings): GgufAdapter | Unsayable {
  const found = lowRankOf(adapter, mappings);
  if (found instanceof Unsayable) return found;
  const sized = found.find((f) => f.magnitude !== undefined);
  if (sized !== undefined) return new Unsayable(`llama.cpp has no place for the magnitudes of ${sized.mapping.method}`);
  // configurations of models that no transformers made may lack it
  const type = String(adapter.base.config.model_type ?? adapter.base.module.replace(/(For[A-Z]\w*|LMHeadModel|Model)$/, "").toLowerCase());
  const mapping = mappings.gguf.get(type);
  if (mapping === undefined) return new Unsayable(`llama.cpp's names for models of the type ${type} are not known here`);
  const alpha = found[0].scale * found[0].rank;
  const tensors: GgufTensor[] = [];
  for (const f of found) {
    const name = nameOf(f.path, mapping);
    const tied = adapter.base.ties?.[`${f.path}.weight`];
    if (tied !== undefined)
      return new Unsayable(
        `\`${f.path}\` is tied to \`${tied}\`, so that a GGUF file of the base has no \`${name ?? f.path}\` for an adapter to act on`,
      );
    if (name === undefined) return new Unsayable(`llama.cpp has no adapter for \`${f.path}\``);
    const field = mapping.paired?.[name.replace(/^blk\.\d+\./, "")];
    const heads = field === undefined ? undefined : headCount(adapter.base.config, field);
    if (heads !== undefined && f.up.shape[0] % (2 * heads) !== 0)
      return new Unsayable(`${f.up.shape[0]} rows of \`${f.path}\` are no ${heads} heads of even size`);
    const factor = (f.scale * f.rank) / alpha;
    tensors.push(
      { name: `${name}.weight.lora_a`, shape: f.down.shape, values: f.down.values },
      {
        name: `${name}.weight.lora_b`,
        shape: f.up.shape,
        values: () => scaled(heads === undefined ? f.up.values() : paired(f.up, heads), factor),
      },
    );
  }
  const facts = {
    "general.architecture": mapping.architecture,
    "general.type": "adapter",
    "adapter.type": "lora",
    "adapter.lora.alpha": { f32: alpha },
  };
  return { facts, tensors };
}

function nameOf(path: string, mapping: GgufMapping): string | undefined {
  if (!path.startsWith(`${mapping.blocks}.`)) return mapping.outside[path];
  const [block, ...rest] = path.slice(mapping.blocks.length + 1).split(".");
  const name = mapping.names[rest.join(".")];
  return name === undefined ? undefined : `blk.${block}.${name}`;
}

const headCount = (config: Readonly<Record<string, unknown>>, field: string): number => Number(config[field] ?? config.num_attention_heads);

const scaled = (values: ArrayLike<number>, factor: number): ArrayLike<number> =>
  factor === 1 ? values : Float32Array.from(values, (v) => factor * v);

/** Rows of each head in llama.cpp's order: of the two halves one by one in turn. */
function paired({ shape, values }: OutParam, heads: number): Float32Array {
  const [rows, width] = shape;
  const half = rows / heads / 2;
  const from = values();
  const out = new Float32Array(rows * width);
  for (let head = 0; head < heads; head++)
    for (let part = 0; part < 2; part++)
      for (let i = 0; i < half; i++) {
        const source = ((head * 2 + part) * half + i) * width;
        const target = ((head * half + i) * 2 + part) * width;
        for (let j = 0; j < width; j++) out[target + j] = from[source + j];
      }
  return out;
}
