/**
 * A step that no budget of its size can be met for: the batch in smaller ones, whose sums are those of the batch. And where that does not help either: what
 * would fit.
 */
import { NotAdditive } from "../../ir/accumulate.ts";
import { InputError } from "../../ir/errors.ts";
import type { LaidTrain } from "../stages/train.ts";
import { memoryOf, showBytes } from "./budget.ts";
import type { Built } from "./engine.ts";
import { envelope, type FrontPoint } from "./fit.ts";

interface InParts extends LaidTrain {
  readonly built: Built;
  /** Where no part fits: the smallest budget that one could do with, and the smallest part. */
  readonly smallest?: number;
  readonly least?: LaidTrain;
  /** Whether the objective's batches add up. */
  readonly adds: boolean;
}

export type Lay = (other: { readonly batch?: number; readonly accumulate?: number; readonly sequence?: number }) => Promise<LaidTrain>;
/** `doubtful`: see `BuildOptions`. */
export type Build = (laid: LaidTrain, doubtful: boolean) => Promise<Built>;

/** Shorter sequences that are tried for a refusal: halves of halves. */
const HALVINGS = 3;
/** Bits of a weight in 4-bit blocks, with their scales. */
const FEW_BITS = 4.5;

/** Work repeated from which on parts of the batch may be cheaper. */
const DEAR = 0.03;
/** Whether parts of the batch may serve a budget better than what was built. */
const mayBeParted = ({ smallest, recomputed }: Built): boolean =>
  smallest !== undefined || Object.values(recomputed).some((added) => added > DEAR);

/**
 * The stage with as much of its batch at a time as costs least under the budget; where nothing fits, as it was. `built`: of `laid`. `lay` gives the stage with
 * other numbers.
 */
export async function inParts(laid: LaidTrain, built: Built, lay: Lay, build: Build): Promise<InParts> {
  const { batch, accumulate } = laid.stage;
  if (!mayBeParted(built)) return { ...laid, built, adds: true };
  const tried = new Map<number, InParts>();
  /** The batch so many rows at a time. */
  const inRows = async (rows: number): Promise<InParts> => {
    const known = tried.get(rows);
    if (known) return known;
    const part = await lay({ batch: rows, accumulate: (accumulate * batch) / rows });
    // the first is the one that most probably fits
    const made = { ...part, built: await build(part, tried.size > 0), adds: true };
    tried.set(rows, made);
    return made;
  };
  const whole: InParts = { ...laid, built, adds: true };
  const parts = divisors(batch);
  try {
    // where a single row does not fit, nothing does
    const least = built.smallest && parts.length > 0 ? await inRows(1) : undefined;
    if (least?.built.smallest) return { ...whole, smallest: Math.min(await least.built.smallest(), await built.smallest!()), least };
    let best = built.smallest ? undefined : whole;
    let [larger, large]: [InParts | undefined, InParts] = [undefined, whole];
    for (const rows of parts) {
      if (best !== undefined && larger !== undefined && unrepeated(rows, larger, large) >= secondsOf(best)) break;
      const part = await inRows(rows);
      [larger, large] = [large, part];
      if (part.built.smallest) continue;
      // smaller parts only read the weights more often from here on
      if (best !== undefined && secondsOf(part) >= secondsOf(best)) break;
      best = part;
    }
    if (best === undefined) return { ...whole, smallest: await built.smallest!() };
    if (best === whole) return whole;
    const seconds = secondsOf(whole) / (1 + (built.recomputed.step ?? built.recomputed.gradients ?? 0));
    const note = `a batch of ${batch} rows is computed ${best.batch} at a time, which the budget asks for; the sums are those of the batch`;
    const recomputed = { ...best.built.recomputed, gradients: secondsOf(best) / seconds - 1 };
    return { ...best, built: { ...best.built, recomputed, notes: [note, ...best.built.notes] } };
  } catch (error) {
    if (!(error instanceof NotAdditive)) throw error;
    return { ...whole, adds: false, ...(built.smallest && { smallest: await built.smallest() }) };
  }
}

/** What would fit where nothing of the stage does: fewer tokens or rows, fewer bits. */
export async function adviceFor({ smallest, least, ...laid }: InParts, budget: number, lay: Lay, build: Build): Promise<string[]> {
  const { stage, built, adds } = laid;
  const { frozen, trained, states } = memoryOf(built.program).arenas;
  return [
    ...(adds ? [] : ["the objective's batches do not add up (P0811), so the batch is not computed in parts"]),
    ...(frozen + trained + states < budget ? await shorter(least ?? laid, lay, build, adds) : []),
    ...fewerBits(stage, built, smallest!, budget),
  ];
}

/** A point of the front of a stage, with how many rows are computed at a time. */
export interface PartedPoint extends FrontPoint {
  readonly rows: number;
}

/** The front over all parts of the batch. `front`: that of a stage laid out with other numbers; none on engines that do not compile. */
export async function partedFront(
  { stage }: LaidTrain,
  lay: Lay,
  front: (laid: LaidTrain) => Promise<readonly FrontPoint[]> | undefined,
): Promise<PartedPoint[]> {
  const all: PartedPoint[] = [];
  let base = 0;
  for (const rows of [stage.batch, ...divisors(stage.batch)]) {
    const accumulate = (stage.accumulate * stage.batch) / rows;
    let part: LaidTrain;
    try {
      part = await lay({ batch: rows, accumulate });
    } catch (error) {
      if (error instanceof NotAdditive) break;
      throw error;
    }
    const points = (await front(part)) ?? [];
    if (base === 0 && points.length > 0) base = (points[0].seconds * accumulate) / (1 + points[0].added);
    for (const { bytes, seconds } of points) {
      const total = seconds * accumulate;
      all.push({ bytes, seconds: total, added: base > 0 ? total / base - 1 : 0, rows });
    }
  }
  return envelope(all);
}

/** Seconds of a step of the first table's full batches, by the cost model. */
const secondsOf = ({ accumulate, built: { seconds } }: InParts): number => (seconds.step ?? seconds.gradients ?? 0) * accumulate;

/**
 * Seconds of a step, so many rows at a time, if nothing were repeated: as two larger parts say how much of a run's time goes with its rows, and how much is the
 * same for any number of them.
 */
function unrepeated(rows: number, larger: InParts, large: InParts): number {
  const run = ({ built: { seconds, recomputed } }: InParts): number =>
    (seconds.step ?? seconds.gradients ?? 0) / (1 + (recomputed.step ?? recomputed.gradients ?? 0));
  const row = (run(larger) - run(large)) / (larger.batch - large.batch);
  return ((run(large) - row * (large.batch - rows)) * large.accumulate * large.batch) / rows;
}

/** Parts of a batch that it consists of, the largest first. */
const divisors = (n: number): number[] => Array.from({ length: n >> 1 }, (_, i) => (n >> 1) - i).filter((d) => n % d === 0);

/** The longest of some shorter sequences, or of smaller batches where they cannot be added up, that fits. */
async function shorter(laid: LaidTrain, lay: Lay, build: Build, adds: boolean): Promise<string[]> {
  const { stage, batch, accumulate } = laid;
  const fits = async (other: Parameters<Lay>[0]): Promise<boolean> => {
    try {
      return (await build(await lay(other), true)).smallest === undefined;
    } catch (error) {
      // rows so short have nothing to learn, or do not fit the model
      if (error instanceof InputError) return false;
      throw error;
    }
  };
  if (!adds) for (const rows of divisors(stage.batch)) if (await fits({ batch: rows })) return [`\`batch = ${rows}\` would fit`];
  const longest = stage.sequence ?? Math.max(0, ...laid.sizes.flatMap((s) => [...s.values()]));
  for (let i = 1, sequence = longest >> 1; i <= HALVINGS && sequence >= 8; i++, sequence >>= 1)
    if (await fits({ batch, accumulate, sequence })) return [`\`sequence = ${sequence}\` would fit`];
  return [];
}

/** What frozen weights in fewer bits would save, where that is enough. */
function fewerBits(stage: LaidTrain["stage"], { program }: Built, smallest: number, budget: number): string[] {
  const { frozen } = memoryOf(program).arenas;
  if (stage.precision !== "f32") return [];
  const saved = [
    ['`precision = "bf16"`', frozen / 2],
    ["frozen weights in 4 bits (NF4 attached in front)", frozen * (1 - FEW_BITS / 32)],
  ] as const;
  const enough = saved.find(([, bytes]) => smallest - bytes <= budget);
  return enough ? [`${enough[0]} would fit: it takes about ${showBytes(enough[1])} off the weights`] : [];
}
