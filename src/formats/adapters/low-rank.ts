/** Adapters as pairs of thin matrices: the one form that mlx-lm and llama.cpp have. */
import type { LowRankMapping, Mappings } from "./mapping.ts";
import { type OutAdapter, type OutParam, Unsayable } from "./out.ts";

/** At one module: y += scale · x · downᵀ · upᵀ. */
export interface LowRank {
  readonly path: string;
  readonly mapping: LowRankMapping;
  readonly rank: number;
  /** [rank, in] and [out, rank]. */
  readonly down: OutParam;
  readonly up: OutParam;
  readonly magnitude: OutParam | undefined;
  readonly scale: number;
  readonly dropout: number;
}

export function lowRankOf(adapter: OutAdapter, mappings: Mappings): readonly LowRank[] | Unsayable {
  const out: LowRank[] = [];
  for (const attachment of adapter.attachments) {
    const from = attachment.from.replace(/\.peft$/, "");
    const mapping = mappings.lowRank.find((m) => m.method === attachment.method && m.from === from);
    if (mapping === undefined) return new Unsayable(`${attachment.method} is no pair of thin matrices beside a product`);
    const alpha = Number(attachment.options[mapping.alpha]);
    for (const { path, params } of attachment.sites) {
      const known = [mapping.down, mapping.up, mapping.magnitude];
      const odd = Object.keys(params).find((name) => !known.includes(name));
      if (odd !== undefined) return new Unsayable(`there is no place for \`${odd}\` of ${attachment.method}`);
      if (out.some((other) => other.path === path)) return new Unsayable(`\`${path}\` is adapted twice`);
      const down = params[mapping.down];
      const [rank] = down.shape;
      const root = mapping.root !== undefined && attachment.options[mapping.root] === true;
      out.push({
        path,
        mapping,
        rank,
        down,
        up: params[mapping.up],
        magnitude: mapping.magnitude === undefined ? undefined : params[mapping.magnitude],
        scale: alpha / (root ? Math.sqrt(rank) : rank),
        dropout: mapping.dropout === undefined ? 0 : Number(attachment.options[mapping.dropout] ?? 0),
      });
    }
  }
  const [head] = Object.keys(adapter.heads);
  if (head !== undefined) return new Unsayable(`a trained part of the base came along (\`${head}\`), and there is no place for it`);
  return out.length === 0 ? new Unsayable("it adapts no product") : out;
}

/** A matrix with rows and columns exchanged, padded with zeros to `rows` × `columns` of the result. */
export function transposed({ shape, values }: OutParam, rows: number, columns: number, factor = 1): OutParam {
  const [r, c] = shape;
  return {
    shape: [rows, columns],
    values: () => {
      const from = values();
      const out = new Float32Array(rows * columns);
      for (let i = 0; i < r; i++) for (let j = 0; j < c; j++) out[j * columns + i] = factor * from[i * c + j];
      return out;
    },
  };
}
