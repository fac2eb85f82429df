/**
 * From keeping all to recomputing most, in small steps: each saves memory and costs work. What is dear for the bytes it saves comes last:
 * first ever dearer values, level by level; then separators of levels, in ever longer segments.
 */
import type { Node } from "../../graph.ts";
import { bytesOf } from "./choose.ts";
import { chooseFlat, type FlatChoice, type Recompute } from "./flat.ts";
import type { Halves } from "./halves.ts";
import type { Levels } from "./levels.ts";

/** Bytes that must be saved for a second of recomputing, from the dearest price, at which elementwise work alone is repeated, down. */
const PRICES = Array.from({ length: 14 }, (_, i) => 2e10 / 2 ** i);
const LOWEST = PRICES[PRICES.length - 1];

/** Work that is repeated although no budget asks for it, as a share of the step's. */
const UNASKED = 0.02;

/** Levels that may not be treated unlike the others without a budget that asks for it, as a share of all: they have kernels of their own. */
const FEW = 1 / 8;

/** Prices are tried as far as somebody asks: without a budget the first few are enough. */
export class Scale {
  private readonly steps: (Recompute | undefined)[];
  private readonly choices = new Map<number, FlatChoice>();
  private readonly sums = new Map<number, number>();
  private readonly ends = [0];
  /** The price that is tried next, the one before it, and how much was kept for that. */
  private price = 0;
  private higher = Number.POSITIVE_INFINITY;
  private kept = -1;
  private whole = false;
  private last = 0;
  /** The step taken where no budget is given. */
  readonly usual: number;

  constructor(
    private readonly halves: Halves,
    private readonly levels: Levels,
    private readonly seconds: (n: Node) => number,
    /** Levels of which all that costs less than it saves is recomputed at every step of the scale. */
    private readonly always: ReadonlySet<number> = new Set(),
  ) {
    this.steps = [always.size > 0 ? { price: this.priced(() => Number.POSITIVE_INFINITY), dropped: new Set() } : undefined];
    const total = halves.nodes.reduce((sum, n) => sum + seconds(n), 0);
    const most = this.asked() + UNASKED * total;
    let usual = 0;
    while (this.price < PRICES.length) {
      const step = this.goOn();
      if (step === undefined) continue;
      // lower prices repeat more
      if (this.added(step) > most) {
        usual = this.between(usual, step, most);
        break;
      }
      usual = step;
    }
    this.usual = usual;
  }

  /**
   * The last step from `low` on, before `high`, that repeats at most so many seconds; `low`, where few levels would differ from the others. In both, all levels are
   * treated alike, and a step between them treats some as the one does and some as the other: so what it repeats is known without looking at it.
   */
  private between(low: number, high: number, seconds: number): number {
    const count = this.levels.count;
    const byLevel = (step: number): Float64Array => {
      const sums = new Float64Array(count);
      for (const n of this.at(step).recomputed) sums[this.levels.of(n)] += this.seconds(n);
      return sums;
    };
    const [few, many] = [byLevel(low), byLevel(high)];
    let repeated = few.reduce((sum, s) => sum + s, 0);
    let at = low;
    while (at + 1 < high) {
      repeated += many[at - low] - few[at - low];
      if (repeated > seconds) break;
      at++;
    }
    while (at > low && this.added(at) > seconds) at--;
    return at - low >= FEW * (high - low) ? at : low;
  }

  /** Seconds of the levels that are recomputed at every step. */
  private asked(): number {
    if (this.always.size === 0) return 0;
    const { recomputed, walked } = this.at(0);
    return [...recomputed, ...walked].reduce((sum, n) => sum + (this.always.has(this.levels.of(n)) ? this.seconds(n) : 0), 0);
  }

  private priced(price: (level: number) => number): (level: number) => number {
    return (level) => (this.always.has(level) ? LOWEST : price(level));
  }

  /** Adds the steps of the next price, and gives the last of them; `undefined`: it changes nothing. */
  private goOn(): number | undefined {
    const { halves, levels, higher: above } = this;
    const lower = PRICES[this.price++];
    const choice = chooseFlat(halves, levels, { price: this.priced(() => lower), dropped: new Set() }, this.seconds);
    const size = choice.kept.size + choice.recomputed.size * 1e6;
    if (size === this.kept) return undefined;
    this.kept = size;
    for (let k = 1; k <= levels.count; k++)
      this.steps.push({ price: this.priced((level) => (level < k ? lower : above)), dropped: new Set() });
    const last = this.steps.length - 1;
    this.choices.set(last, choice);
    this.ends.push(last);
    this.higher = lower;
    return last;
  }

  /** All steps. */
  private complete(): void {
    if (this.whole) return;
    this.whole = true;
    while (this.price < PRICES.length) this.goOn();
    const lowest = this.higher;
    this.last = this.steps.length - 1;
    const borders = this.levels.count - 2;
    for (let length = 2; borders >= length && length <= Math.ceil(Math.sqrt(borders)) + 1; length++) {
      for (let long = length; long <= borders + 1; long += length) {
        const every = (t: number) => (t < long ? length : length - 1);
        const dropped = new Set(Array.from({ length: borders }, (_, t) => t).filter((t) => (t + 1) % every(t) !== 0));
        this.steps.push({ price: this.priced(() => lowest), dropped });
      }
      this.ends.push(this.steps.length - 1);
    }
  }

  get length(): number {
    this.complete();
    return this.steps.length;
  }

  /** Steps at which a kind of recomputing is complete: the least memory is at one of them. */
  get corners(): readonly number[] {
    this.complete();
    return [...new Set(this.ends)];
  }

  /** The last step at which all separators are kept. */
  get borders(): number {
    this.complete();
    return this.last;
  }

  /** Bytes that a step keeps. */
  bytes(step: number): number {
    let sum = this.sums.get(step);
    if (sum === undefined) {
      sum = [...this.at(step).kept].reduce((all, n) => all + bytesOf(n), 0);
      this.sums.set(step, sum);
    }
    return sum;
  }

  at(step: number): FlatChoice {
    let choice = this.choices.get(step);
    if (!choice) {
      if (step >= this.steps.length) this.complete();
      const how = this.steps[step];
      choice = how
        ? chooseFlat(this.halves, this.levels, how, this.seconds)
        : chooseFlat(
            this.halves,
            { ...this.levels, separators: [] },
            { price: () => Number.POSITIVE_INFINITY, dropped: new Set() },
            this.seconds,
          );
      this.choices.set(step, choice);
    }
    return choice;
  }

  /** Seconds of work that a step repeats. */
  added(step: number): number {
    const { recomputed, walked } = this.at(step);
    return [...recomputed, ...walked].reduce((sum, n) => sum + this.seconds(n), 0);
  }
}
