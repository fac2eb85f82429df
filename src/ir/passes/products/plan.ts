/** The order in which the factors of one term are contracted, by dynamic programming over subsets; a subset is a bit mask. */
import type { Parts } from "./contract.ts";
import { highest, type Level, type Prices } from "./prices.ts";
import { factorsKey, type Index, type Term, UNIT } from "./terms.ts";

export interface Plan {
  /** The first of the two parts that a subset is joined of; 0 for single factors and for parts that exist. */
  readonly split: Int32Array;
  /** Indices that a subset's value has. */
  kept(subset: number): readonly Index[];
  size(subset: number): number;
  key(subset: number): { readonly key: string; readonly names: ReadonlyMap<Index, number> };
}

export function planOf(t: Term, out: readonly Index[], sizes: readonly number[], parts: Parts, prices: Prices): Plan {
  const n = t.factors.length;
  const count = 1 << n;
  const all = count - 1;
  // Indices as bits of this term.
  const indices = [...new Set(t.factors.flatMap((f) => f.axes))].filter((index) => index !== UNIT);
  const maskOf = (axes: readonly Index[]): number => {
    let mask = 0;
    for (const index of axes) if (index !== UNIT) mask |= 1 << indices.indexOf(index);
    return mask;
  };
  const products = new Map<number, number>([[0, 1]]);
  const sizeOf = (mask: number): number => {
    let size = products.get(mask);
    if (size === undefined) {
      const low = mask & -mask;
      size = sizes[indices[31 - Math.clz32(low)]] * sizeOf(mask ^ low);
      products.set(mask, size);
    }
    return size;
  };
  const list = (mask: number): Index[] => indices.filter((_, bit) => mask & (1 << bit));

  const own = t.factors.map((f) => maskOf(f.axes));
  const wanted = maskOf(out.filter((index) => indices.includes(index)));
  const union = new Int32Array(count);
  const level = new Uint8Array(count);
  for (let s = 1; s < count; s++) {
    const low = s & -s;
    const i = 31 - Math.clz32(low);
    union[s] = union[s ^ low] | own[i];
    level[s] = highest([level[s ^ low] as Level, prices.level(t.factors[i].node)]);
  }
  const kept = new Int32Array(count);
  for (let s = 1; s < count; s++) kept[s] = union[s] & (wanted | union[all ^ s]);

  const keys: { key: string; names: ReadonlyMap<Index, number> }[] = [];
  const key = (s: number) => {
    keys[s] ??= factorsKey(
      t.factors.filter((_, i) => s & (1 << i)),
      new Set(list(kept[s])),
    );
    return keys[s];
  };
  const weights = t.factors.flatMap((f, i) => {
    const axes = f.axes.filter((index) => index !== UNIT);
    return prices.level(f.node) === 0 && axes.length > 1 ? [{ factor: 1 << i, axes: own[i] }] : [];
  });
  /** Whether all factors of a subset have some of these axes, not all. */
  const scales = (s: number, axes: number) => own.every((mine, i) => !(s & (1 << i)) || (mine & axes) !== axes);
  const cost = new Float64Array(count);
  /** What storing a subset's value costs, if it is computed here. */
  const stored = new Float64Array(count);
  const split = new Int32Array(count);
  for (let s = 1; s < count; s++) {
    const single = (s & (s - 1)) === 0;
    if (single && kept[s] === union[s]) continue;
    if (parts.has(key(s).key)) continue;
    if (s !== all) stored[s] = prices.stored(sizeOf(kept[s]), level[s] as Level);
    // a second tensor of the size of a frozen weight; but one whose rows or columns are scaled is scaled where it is read
    const weight = s === all || single || level[s] === 2 ? undefined : weights.find((w) => s & w.factor && (kept[s] & w.axes) === w.axes);
    if (weight)
      stored[s] =
        union[s] === weight.axes && kept[s] === union[s] && scales(s ^ weight.factor, weight.axes) ? 0 : prices.weight(sizeOf(kept[s]));
    if (single) {
      cost[s] = prices.product(sizeOf(union[s]), level[s] as Level);
      continue;
    }
    let best = Number.POSITIVE_INFINITY;
    const low = s & -s;
    // Each pair of parts once: the first has the lowest factor.
    for (let a = (s - 1) & s; a > 0; a = (a - 1) & s) {
      if (!(a & low)) continue;
      const c = s ^ a;
      const arithmetic = sizeOf(kept[a] | kept[c]);
      let price = cost[a] + cost[c];
      if ((kept[a] | kept[c]) === kept[s])
        price += prices.map(arithmetic) + Math.min(stored[a], stored[c]); // elementwise: computed where one of the operands is made
      else if (kept[a] === kept[c])
        price += prices.product(arithmetic, level[s] as Level) + prices.map(arithmetic) + Math.min(stored[a], stored[c]); // multiplied and summed
      else price += prices.product(arithmetic, level[s] as Level) + stored[a] + stored[c]; // a contraction reads its operands from memory
      if (price < best) {
        best = price;
        split[s] = a;
      }
    }
    cost[s] = best;
  }
  return { split, kept: (s) => list(kept[s]), size: (s) => sizeOf(kept[s]), key };
}
