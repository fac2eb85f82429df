/** Several low-rank adapters of one base as one: the weighted sums of PEFT's `add_weighted_adapter`. */
import type { AdapterCombination, AdapterPart } from "../../ground/adapter.ts";
import { InputError } from "../../ir/errors.ts";
import { Mt19937 } from "../../ir/mt19937.ts";
import { MemoryFiles } from "../memory.ts";
import { TensorStore } from "../safetensors/read.ts";
import { AdapterFolder, comparePaths, PartBuilder } from "./folder.ts";
import type { CombinedMapping, Mappings } from "./mapping.ts";
import { nearest, nearestOfProduct, product } from "./truncated.ts";

/** What becomes of the two matrices of each adapter, or, behind `_svd`, of their product. */
const PRUNED = ["ties", "dare_linear", "dare_ties", "magnitude_prune"] as const;
export const WAYS = ["linear", "cat", "svd", ...PRUNED, ...PRUNED.map((way) => `${way}_svd` as const)] as const;
export type Way = (typeof WAYS)[number];

export interface Combination extends AdapterCombination {
  readonly how: Way;
  /** By the sum, or by how many have it. */
  readonly sign?: "total" | "frequency" | undefined;
}

/** P0672: names, counts and ranges that no combination has. */
export function checkCombination({ how, weights, density, sign, rank }: Combination, count: number): void {
  const wrong = (message: string, notes: readonly string[] = []): never => {
    throw new InputError("P0672", message, notes);
  };
  if (!WAYS.includes(how)) wrong(`there is no combination \`${how}\``, [`there are: ${WAYS.join(", ")}`]);
  if (weights.length !== count) wrong(`${weights.length} weights for ${count} adapters`, ["one for each, in their order"]);
  const bad = weights.find((w) => !Number.isFinite(w));
  if (bad !== undefined) wrong(`a weight is ${bad}`);
  const prunes = PRUNED.some((way) => how.startsWith(way));
  if (prunes && density === undefined) wrong(`\`${how}\` wants a density: the share of elements that stay`, ["0.5, for example"]);
  if (!prunes && density !== undefined) wrong(`\`${how}\` prunes nothing, so it has no density`);
  if (density !== undefined && !(density > 0 && density <= 1)) wrong(`the density is ${density}, not above 0 and up to 1`);
  if (sign !== undefined && !how.includes("ties")) wrong(`\`${how}\` elects no signs`);
  if (sign !== undefined && !["total", "frequency"].includes(sign)) wrong(`signs are elected by total or frequency, not by \`${sign}\``);
  if (rank !== undefined && !how.endsWith("svd")) wrong(`\`${how}\` chooses no rank`, ["`svd` and what ends in `_svd` do"]);
  if (rank !== undefined && !(Number.isInteger(rank) && rank >= 1)) wrong(`a rank of ${rank}`);
}

/** A combination in one line: the name of what has no folder of its own. */
export function nameOfCombination(folders: readonly string[], { how, weights, density, sign, rank, seed }: Combination): string {
  const more = Object.entries({ density, sign, rank, seed }).flatMap(([k, v]) => (v === undefined ? [] : [`, ${k} ${v}`]));
  return `combine(${folders.map((folder, i) => `${weights[i]} × ${folder}`).join(", ")}, ${how}${more.join("")})`;
}

export const isCombination = (name: string): boolean => name.startsWith("combine(");

/** What one adapter has at a module. */
interface Thin {
  readonly of: number;
  readonly site: AdapterPart["sites"][number];
  readonly part: AdapterPart;
  readonly row: CombinedMapping;
  readonly scale: number;
  readonly rank: number;
  /** Shapes in the file, [rank, …] and [out, rank, …]. */
  readonly down: readonly number[];
  readonly up: readonly number[];
}

interface Pair {
  readonly down: Float64Array;
  readonly up: Float64Array;
  readonly rank: number;
}

const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/**
 * The adapters as one that acts with a scale of 1. P0672: they do not go together, or one of them is no pair of thin matrices; a place that only some of them adapt is combined
 * of those.
 */
export function combine(
  named: readonly { readonly folder: string; readonly adapter: AdapterFolder }[],
  combination: Combination,
  mappings: Mappings,
): AdapterFolder {
  checkCombination(combination, named.length);
  const places = new Map<string, Thin[]>();
  for (const [of, { folder, adapter }] of named.entries())
    for (const one of thinOf(of, folder, adapter, mappings)) {
      const there = places.get(one.site.path) ?? [];
      if (there.some((other) => other.of === of)) refuse(`\`${folder}\` adapts \`${one.site.path}\` twice`);
      places.set(one.site.path, [...there, one]);
    }
  const largest = Math.max(...[...places.values()].flat().map(({ rank }) => rank));
  const draws = new Draws(combination.seed ?? 0);
  const made = new Map<string, { shape: readonly number[]; values(): Float32Array }>();
  const parts = new PartBuilder();
  for (const path of [...places.keys()].sort(comparePaths)) {
    const here = places.get(path)!;
    const [{ row, part, site }] = here;
    agree(path, here, named, combination.how);
    const rank = rankOf(here, combination, largest);
    let pair: Pair | undefined;
    // what chance takes out is drawn for one place after the other
    const chance = draws.reserve(combination.how.startsWith("dare") ? elements(here, combination.how) : 0);
    const values = (): Pair => {
      pair ??= combined(
        here,
        here.map((one) => matrices(one, named[one.of].adapter)),
        combination,
        rank,
        chance,
      );
      return pair;
    };
    const [down, up] = [`${path} ${row.down}`, `${path} ${row.up}`];
    made.set(down, { shape: [rank, ...here[0].down.slice(1)], values: () => Float32Array.from(values().down) });
    made.set(up, { shape: [here[0].up[0], rank, ...here[0].up.slice(2)], values: () => Float32Array.from(values().up) });
    const options = { ...part.options, [row.rank]: rank, [row.alpha]: rank, ...(row.root !== undefined && { [row.root]: false }) };
    const also = part.or?.map((other) => ({ ...other, options: { ...other.options, ...options } }));
    parts.add(part, options, { ...site, params: { [row.down]: down, [row.up]: up } }, {}, {}, also);
  }
  const { heads, more, apart } = headsOf(named);
  for (const [key, head] of more) made.set(key, head);
  const store = new TensorStore(new MemoryFiles(), new Map(), {}).withMade(new Set(), made);
  const [{ adapter }] = named;
  return new AdapterFolder(
    { layout: "peftc", base: adapter.base, taskType: adapter.taskType, config: {}, parts: parts.done(), heads, apart },
    store,
  );
}

function refuse(message: string, notes: readonly string[] = []): never {
  throw new InputError("P0672", message, notes);
}

function* thinOf(of: number, folder: string, adapter: AdapterFolder, { combined: rows }: Mappings): Generator<Thin> {
  const [objective] = Object.keys(adapter.objectives);
  if (objective !== undefined) refuse(`\`${folder}\` holds \`${objective}\`, which an objective trained: such are not combined`);
  for (const part of adapter.parts) {
    const row = rows.find((m) => m.method === part.method && m.from === part.from.replace(/\.peft$/, ""));
    if (row === undefined)
      return refuse(`\`${folder}\` has ${part.method}, and only pairs of thin matrices are combined`, [
        `these are: ${[...new Set(rows.map(({ method }) => method))].join(", ")}`,
      ]);
    const alpha = Number(part.options[row.alpha]);
    for (const site of part.sites) {
      const odd = Object.keys(site.params).find((name) => ![row.down, row.up].includes(name));
      if (odd !== undefined) refuse(`\`${folder}\` has \`${odd}\` at \`${site.path}\`, and only pairs of thin matrices are combined`);
      const [down, up] = [row.down, row.up].map((name) => adapter.shapes[site.params[name]]);
      const rank = down[0];
      const root = row.root !== undefined && part.options[row.root] === true;
      const scale = alpha / (root ? Math.sqrt(rank) : rank);
      if (!Number.isFinite(scale)) refuse(`\`${folder}\` does not say how strongly it acts at \`${site.path}\``);
      yield { of, site, part, row, scale, rank, down, up };
    }
  }
}

/** Refuses what has no sum: matrices of other sizes. */
function agree(path: string, here: readonly Thin[], named: readonly { readonly folder: string }[], how: Way): void {
  const [first, ...others] = here;
  for (const one of others) {
    const folders = `\`${named[first.of].folder}\` and \`${named[one.of].folder}\``;
    const same = one.part.method === first.part.method && one.down.slice(1).join() === first.down.slice(1).join();
    if (!same || one.up[0] !== first.up[0]) refuse(`${folders} adapt \`${path}\` in different ways, or on different bases`);
    if (one.rank !== first.rank && how !== "cat" && !how.endsWith("svd"))
      refuse(`${folders} have the ranks ${first.rank} and ${one.rank} at \`${path}\`: \`${how}\` adds matrices of one rank`, [
        "`cat` and `svd` take any",
      ]);
  }
}

function rankOf(here: readonly Thin[], { how, rank }: Combination, largest: number): number {
  if (how === "cat") return here.reduce((sum, one) => sum + one.rank, 0);
  if (!how.endsWith("svd")) return here[0].rank;
  const [{ down, up }] = here;
  const most = how === "svd" ? here.reduce((sum, one) => sum + one.rank, 0) : Number.POSITIVE_INFINITY;
  return Math.min(rank ?? largest, up[0], size(down.slice(1)), most);
}

/** Trained parts of the base: those of one adapter go along, those of two are in each other's way. */
function headsOf(named: readonly { readonly folder: string; readonly adapter: AdapterFolder }[]) {
  const heads: Record<string, string> = {};
  const whose = new Map<string, string>();
  const more = new Map<string, { shape: readonly number[]; values(): Float32Array }>();
  for (const { folder, adapter } of named)
    for (const [path, key] of Object.entries(adapter.heads)) {
      const other = whose.get(path);
      if (other !== undefined)
        refuse(`\`${other}\` and \`${folder}\` both bring \`${path}\` of the base, and there is no sum of the two`, ["as in PEFT"]);
      whose.set(path, folder);
      heads[path] = `base ${path}`;
      more.set(heads[path], { shape: adapter.shapes[key], values: () => Float32Array.from(adapter.read(key)) });
    }
  return { heads, more, apart: [...new Set(named.flatMap(({ adapter }) => adapter.apart))] };
}

const matrices = ({ site, row, rank }: Thin, adapter: AdapterFolder): Pair => {
  const [down, up] = [row.down, row.up].map((name) => Float64Array.from(adapter.read(site.params[name])));
  return { down, up, rank };
};

/** Elements that a place leaves to chance. */
function elements(here: readonly Thin[], how: Way): number {
  return here.reduce((sum, { down, up }) => sum + (how.endsWith("svd") ? up[0] * size(down.slice(1)) : size(down) + size(up)), 0);
}

/** Numbers in [0, 1) as `torch.bernoulli` compares with, one after the other over all places. */
class Draws {
  private taken = 0;
  constructor(private readonly seed: number) {}
  reserve(count: number): () => number {
    const first = this.taken;
    this.taken += count;
    let random: Mt19937 | undefined;
    return () => {
      if (random === undefined) {
        random = new Mt19937(this.seed);
        for (let i = 0; i < first; i++) random.next();
      }
      return (random.next() & 0xffffff) / 2 ** 24;
    };
  }
}

function combined(here: readonly Thin[], pairs: readonly Pair[], combination: Combination, rank: number, chance: () => number): Pair {
  const { how, weights } = combination;
  const factors = here.map(({ of, scale }) => weights[of] * scale);
  const [rows, columns] = [here[0].up[0], size(here[0].down.slice(1))];
  if (how === "cat" || how === "svd") {
    const inner = pairs.reduce((sum, one) => sum + one.rank, 0);
    const down = new Float64Array(inner * columns);
    const up = new Float64Array(rows * inner);
    let at = 0;
    for (const [n, one] of pairs.entries()) {
      for (let i = 0; i < one.down.length; i++) down[at * columns + i] = factors[n] * one.down[i];
      for (let i = 0; i < rows; i++) for (let j = 0; j < one.rank; j++) up[i * inner + at + j] = one.up[i * one.rank + j];
      at += one.rank;
    }
    return how === "cat" ? { down, up, rank: inner } : nearestOfProduct(up, down, rows, columns, inner, rank);
  }
  if (how.endsWith("_svd")) {
    const updates = pairs.map((one, n) => product(one.up, one.down, rows, one.rank, columns).map((v) => v * here[n].scale));
    const sum = added(
      updates,
      here.map(({ of }) => weights[of]),
      combination,
      chance,
    );
    return nearest(sum, rows, columns, rank);
  }
  // each of the two takes the root; the sign goes with one of them
  const roots = factors.map((f) => Math.sqrt(Math.abs(f)));
  const down = added(
    pairs.map((one) => one.down),
    roots.map((r, i) => (factors[i] >= 0 ? r : -r)),
    combination,
    chance,
  );
  const up = added(
    pairs.map((one) => one.up),
    roots,
    combination,
    chance,
  );
  return { down, up, rank };
}

/**
 * Σ weightᵢ · xᵢ after pruning: of the smallest (magnitude_prune; TIES, Yadav et al. 2023, where of each element only those count, and are averaged, whose sign was elected), or by
 * chance with what stays made larger (DARE, Yu et al. 2024).
 */
function added(
  xs: readonly Float64Array[],
  weights: readonly number[],
  { how, density, sign }: Combination,
  chance: () => number,
): Float64Array {
  const kept = density === undefined ? xs : xs.map((x) => (how.startsWith("dare") ? byChance(x, density, chance) : largestOf(x, density)));
  const out = new Float64Array(xs[0].length);
  const elects = how.includes("ties");
  for (let i = 0; i < out.length; i++) {
    const total = kept.reduce((sum, x) => sum + (sign === "frequency" ? Math.sign(x[i]) : x[i]), 0);
    const elected = total >= 0 ? 1 : -1;
    let count = 0;
    for (const [n, x] of kept.entries()) {
      if (elects && Math.sign(x[i]) !== elected) continue;
      out[i] += weights[n] * x[i];
      count++;
    }
    if (elects) out[i] /= Math.max(count, 1);
  }
  return out;
}

function largestOf(x: Float64Array, density: number): Float64Array {
  if (density >= 1) return x;
  const order = Array.from(x, (_, i) => i).sort((a, b) => Math.abs(x[b]) - Math.abs(x[a]) || a - b);
  const out = new Float64Array(x.length);
  for (const i of order.slice(0, Math.floor(density * x.length))) out[i] = x[i];
  return out;
}

const byChance = (x: Float64Array, density: number, chance: () => number): Float64Array =>
  density >= 1 ? x : x.map((v) => (chance() < Math.fround(density) ? v / density : 0));
