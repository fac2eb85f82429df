/**
 * Steps over integer streams: how many bits of a stream are its fraction, and what is done about a step whose streams left their range or were
 * not rebuilt as they were. Such a step has changed nothing, and is made again.
 */

import type { Program, Values } from "../../ground/program.ts";
import { InputError } from "../../ir/errors.ts";
import { REVERSE_CHECK, REVERSE_ERROR, REVERSE_RANGE } from "../../ir/reverse/exact.ts";
import { growthFrom, segmentFor } from "../../ir/reverse/rounded.ts";
import { REVERSE_SCALE, REVERSE_UNIT, REVERSE_WIDE_SCALE, REVERSE_WIDE_UNIT } from "../../ir/reverse/streams.ts";
import type { Built } from "./engine.ts";

type Outputs = Record<string, Values>;

/** Bits of the fraction to begin with: streams of magnitude below 256, as norms behind each layer leave them, to the precision of f32. */
export const FRACTION = 22;
/** So many more bits have integers of two words, of magnitude below 2²²: what streams that nothing holds grow to, outliers and all. */
const MORE = 10;
export const WIDE_FRACTION = FRACTION + MORE;
/** Bits beside the fraction: of one word, and of two. */
const [WHOLE, WIDE_WHOLE] = [30, 54];
/** By how many bits the fraction gets shorter where a stream leaves its range. */
export const SHORTER = 2;
/** A fraction shorter than this is none. */
export const LEAST_FRACTION = 4;

/** Runs an entry with further inputs; gives the outputs named, or all. */
export type StreamCall = (inputs: Readonly<Record<string, number>>, outputs: readonly string[]) => Promise<Outputs>;

/** What streams ask of a run. */
interface StreamHost {
  /** The program at hand. */
  readonly built: () => Built;
  readonly say: (message: string) => void;
  /** By how much rebuilt f32 streams may be off. */
  readonly most: number;
  /** Goes on with a program that keeps values at least every so many iterations; nothing is lost. */
  readonly reopen: (segment: number) => Promise<void>;
}

export class Streams {
  /** Bits of the fraction. */
  fraction = FRACTION;
  /** Iterations between kept f32 values, where they had to become fewer. */
  segment: number | undefined;
  /** Of f32 streams: by how much the first rebuilt values were off, by which factor an error grew with each iteration, and the bound that was known before the run. */
  rebuilt: { readonly rebuild_error: number; readonly rebuild_growth: number; readonly rebuild_bound: number } | undefined;

  constructor(private readonly host: StreamHost) {}

  private get program(): Program {
    return this.host.built().program;
  }

  /** Whether an entry has integer streams, of one word or, if so said, of two. */
  private has(entry: string, scales: readonly string[] = [REVERSE_SCALE, REVERSE_WIDE_SCALE]): boolean {
    return this.program.entries.some((e) => e.name === entry && e.inputs.some((name) => scales.includes(name)));
  }

  /** Whether an entry's f32 streams are rebuilt, and compared with those that are kept. */
  private rebuilds(entry: string): boolean {
    return this.program.entries.some((e) => e.name === entry && e.outputs.includes(REVERSE_ERROR));
  }

  /** Whether some entry has integer streams. */
  get integer(): boolean {
    return this.program.entries.some((e) => this.has(e.name));
  }
  /** Whether runs of some entry may not count. */
  get any(): boolean {
    return this.program.entries.some((e) => this.has(e.name) || this.rebuilds(e.name));
  }

  /**
   * Runs an entry until it counts. Throws `InputError` (P0912) where no
   * fraction is short enough, or streams are not rebuilt as they were a second time.
   */
  async run(entry: string, call: StreamCall): Promise<Outputs> {
    if (!this.has(entry)) return this.rounded(entry, call);
    for (let wrong = 0; ; ) {
      const wide = this.has(entry, [REVERSE_WIDE_SCALE]);
      const bits = this.fraction + (wide ? MORE : 0);
      const [scale, unit] = wide ? [REVERSE_WIDE_SCALE, REVERSE_WIDE_UNIT] : [REVERSE_SCALE, REVERSE_UNIT];
      const out = await call({ [scale]: 2 ** bits, [unit]: 2 ** -bits }, [REVERSE_RANGE, REVERSE_CHECK]);
      const { [REVERSE_RANGE]: range, [REVERSE_CHECK]: check, ...rest } = out;
      if (Number(range[0]) === 0 && Number(check[0]) === 0) return rest;
      if (Number(range[0]) !== 0) this.shorten(bits, (wide ? WIDE_WHOLE : WHOLE) - bits);
      else if (++wrong > 1)
        throw new InputError("P0912", "values that were rebuilt are not those that were there, twice in one step", [
          "the device does not compute the same twice: `reverse = 0` keeps values instead",
        ]);
      else this.host.say("a value that was rebuilt is not the one that was there: the step is made again");
    }
  }

  /** A run of an entry whose streams are f32, if it has any. Where what was rebuilt is off by too much, values are kept more often from there on. */
  private async rounded(entry: string, call: StreamCall): Promise<Outputs> {
    while (this.rebuilds(entry)) {
      const { [REVERSE_ERROR]: error, ...rest } = await call({}, [REVERSE_ERROR]);
      const off = Number(error[0]);
      // the loop in which errors grow most speaks for all
      const [worst] = [...this.host.built().rounded].sort((p, q) => q.growth - p.growth);
      const growth = growthFrom(off, worst.segment);
      if (this.rebuilt === undefined && off > 0 && Number.isFinite(growth)) {
        this.rebuilt = { rebuild_error: off, rebuild_growth: growth, rebuild_bound: worst.growth };
        this.host.say(
          `rebuilt values are off by ${off.toPrecision(2)} after ${worst.segment} iterations: an error grows by ${growth.toPrecision(3)} an iteration, as with Jacobians of norm ${worst.sensitivityFor(growth).toPrecision(2)}; the bound was ${worst.growth.toPrecision(3)}, for 1`,
        );
      }
      if (off <= this.host.most) return rest;
      const { segment } = worst;
      this.segment = Number.isFinite(growth) ? Math.max(1, Math.min(segment - 1, segmentFor(growth, this.host.most))) : 1;
      this.host.say(
        `rebuilt values are off by ${off.toPrecision(2)}, more than \`reverse\` allows: the step is made again, and values are kept every ${this.segment === 1 ? "iteration" : `${this.segment} iterations`} from here on`,
      );
      await this.host.reopen(this.segment);
    }
    return call({}, []);
  }

  /** `range`: of magnitudes, the exponent of 2. */
  private shorten(bits: number, range: number): void {
    this.fraction -= SHORTER;
    if (bits - SHORTER < LEAST_FRACTION)
      throw new InputError("P0912", `a stream of a layer holds values beyond ${2 ** range}, or no numbers`, [
        "such streams do not fit integers: `reverse = 0` keeps values instead",
      ]);
    this.host.say(
      `a stream left the range of ±${2 ** range}: the step is made again, and streams have ${bits - SHORTER} bits of fraction from here on`,
    );
  }
}
