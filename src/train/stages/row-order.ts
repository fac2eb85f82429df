/**
 * Which rows a step sees. A pure function of (seed, stage, step), so that a resumed run reads the rows it would have read.
 *
 * An epoch is every row of every table once. Each table's rows are shuffled and cut into batches, its batches into steps of up to
 * `accumulate` batches; then the steps of all tables are shuffled together, which mixes the tables in proportion to their rows. The last
 * batch of a table may be short, and so may its last step.
 */
import { keyOf, threefry } from "../../ir/random.ts";

/** Version of how rows are put in order and cut into steps: a run begun with another one would go on with other batches. */
export const ORDER = 1;

/** One step: batches of row numbers, all of one table. */
interface StepRows {
  readonly epoch: number;
  readonly table: number;
  readonly batches: readonly (readonly number[])[];
}

interface RowOrderOptions {
  /** Rows of each table; none may be 0. */
  readonly rows: readonly number[];
  readonly batch: number;
  readonly accumulate: number;
  readonly shuffle: boolean;
  readonly seed: number;
  readonly stage: string;
}

export class RowOrder {
  readonly stepsPerEpoch: number;
  private cached: { epoch: number; steps: readonly StepRows[] } | undefined;

  constructor(private readonly options: RowOrderOptions) {
    const perStep = options.batch * options.accumulate;
    this.stepsPerEpoch = options.rows.reduce((sum, rows) => sum + Math.ceil(rows / perStep), 0);
  }

  /** Steps in all for a stage that gives either. */
  total(steps: number | undefined, epochs: number | undefined): number {
    return steps ?? Math.ceil((epochs ?? 1) * this.stepsPerEpoch);
  }

  step(step: number): StepRows {
    const epoch = Math.floor(step / this.stepsPerEpoch);
    if (this.cached?.epoch !== epoch) this.cached = { epoch, steps: this.epoch(epoch) };
    return this.cached.steps[step % this.stepsPerEpoch];
  }

  /** Sizes of batch that the first `total` steps use, by table, the full size first. */
  batchSizes(total: number): number[][] {
    const { rows, batch } = this.options;
    return rows.map((count, table) => {
      const sizes = new Set<number>();
      // later epochs have the batches of the first one
      for (let step = 0; step < Math.min(total, this.stepsPerEpoch); step++) {
        const { table: of, batches } = this.step(step);
        if (of === table) for (const rows of batches) sizes.add(rows.length);
      }
      if (total > this.stepsPerEpoch) {
        if (count >= batch) sizes.add(batch);
        if (count % batch > 0) sizes.add(count % batch);
      }
      return [...sizes].sort((a, b) => b - a);
    });
  }

  private epoch(epoch: number): StepRows[] {
    const { rows, batch, accumulate, shuffle, seed, stage } = this.options;
    const steps: StepRows[] = [];
    rows.forEach((count, table) => {
      const order = shuffle ? permutation(count, keyOf(seed, stage, "rows", table), epoch) : [...Array(count).keys()];
      const batches: number[][] = [];
      for (let at = 0; at < count; at += batch) batches.push(order.slice(at, at + batch));
      for (let at = 0; at < batches.length; at += accumulate) steps.push({ epoch, table, batches: batches.slice(at, at + accumulate) });
    });
    if (!shuffle || rows.length === 1) return steps;
    return permutation(steps.length, keyOf(seed, stage, "updates"), epoch).map((i) => steps[i]);
  }
}

/** Fisher–Yates with counter-based numbers. The bias of the remainder is below 2⁻³² times `count`. */
export function permutation(count: number, key: readonly [number, number], step: number): number[] {
  const order = [...Array(count).keys()];
  for (let i = count - 1; i > 0; i--) {
    const [x0, x1] = threefry(key[0], key[1], i, step);
    const j = Number(((BigInt(x1 >>> 0) << 32n) | BigInt(x0 >>> 0)) % BigInt(i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
