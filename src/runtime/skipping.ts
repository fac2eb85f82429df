/**
 * Dense or sparse, by what was counted. A product whose one side may hold zeros has two kernels with the same results; which one runs is set
 * between runs by the share of that side that was not zero in the run before. Between the two thresholds a product stays as it is, so that a
 * density that wavers about the break-even does not switch it to and fro. The first run is dense.
 */
import type { Density, Measure, Program } from "../ground/program.ts";

/** Below the first, zeros are skipped; above the second, no longer. Measured: see docs/performance.md. */
const THRESHOLDS: Readonly<Record<Program["target"], readonly [number, number]>> = {
  wasm: [0.25, 0.33],
  native: [0, 0],
  webgpu: [0.1, 0.15],
  reference: [0, 0],
  torch: [0, 0],
};

export class Skipping {
  private readonly states: { density: number | undefined; skipping: boolean }[];
  private readonly measures: readonly Measure[];

  constructor(private readonly program: Program) {
    this.measures = program.measures ?? [];
    this.states = this.measures.map(() => ({ density: undefined, skipping: false }));
  }

  /** The measures that a run of an entry counts. */
  of(entry: string): number[] {
    return this.measures.flatMap((m, i) => (m.entry === entry ? [i] : []));
  }
  measure(i: number): Measure {
    return this.measures[i];
  }
  skips(i: number): boolean {
    return this.states[i].skipping;
  }

  /** Takes what a run counted; whether products now skip zeros. */
  counted(i: number, counts: Int32Array): boolean {
    const state = this.states[i];
    let total = 0;
    for (const n of counts) total += n;
    state.density = total / this.measures[i].elements;
    const [below, above] = THRESHOLDS[this.program.target];
    state.skipping = state.density < (state.skipping ? above : below);
    return state.skipping;
  }

  densities(): Density[] {
    return this.measures.flatMap(({ entry, label }, i) => {
      const { density, skipping } = this.states[i];
      return density === undefined ? [] : [{ entry, label, density, skipping }];
    });
  }
}
