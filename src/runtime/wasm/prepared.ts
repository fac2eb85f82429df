/** Entries as workers take them: steps with addresses and ranges, in segments between what the host does. */

import type { Bring, Dispatch, Entry, HostStep, Program } from "../../ground/program.ts";
import type { Layout } from "../layout.ts";
import type { Skipping } from "../skipping.ts";
import { rangesOf } from "./team.ts";
import type { WorkerStep } from "./worker.ts";

/** A step whose operands are no more than this is done by one worker: to share it takes longer. */
const LITTLE = 32 * 1024;

/** A run of dispatches between host steps: which of the entry's dispatches. */
type Segment = Run | { readonly host: HostStep };
interface Run {
  readonly from: number;
  readonly to: number;
  /** Weights that may be brought in from now on, and those that must be there. */
  readonly begins: readonly Bring[];
  readonly needs: readonly Bring[];
}

export interface Prepared {
  readonly entry: Entry;
  readonly number: number;
  readonly steps: readonly WorkerStep[];
  /** What the steps are of. */
  readonly dispatches: readonly Dispatch[];
  readonly segments: readonly Segment[];
}

export function prepare(program: Program, layout: Layout, skipping: Skipping, workers: number): Prepared[] {
  return program.entries.map((entry, number) => {
    const steps: WorkerStep[] = [];
    const dispatches: Dispatch[] = [];
    const segments: Segment[] = [];
    const brings = program.brings?.[entry.name] ?? [];
    const borders = new Set(brings.flatMap((b) => [b.begin, b.before]));
    let begins: Bring[] = [];
    let needs: Bring[] = [];
    for (const [i, s] of entry.steps.entries()) {
      if (borders.has(i)) {
        begins.push(...brings.filter((b) => b.begin === i));
        needs.push(...brings.filter((b) => b.before === i));
      }
      if ("host" in s) segments.push({ host: s });
      else if (s.units !== 0) {
        const last = segments[segments.length - 1];
        if (last && "to" in last && begins.length + needs.length === 0) segments[segments.length - 1] = { ...last, to: last.to + 1 };
        else segments.push({ from: steps.length, to: steps.length + 1, begins, needs });
        [begins, needs] = [[], []];
        dispatches.push(s);
        const operands = s.operands.map((t) => program.tensors[t]);
        const little = operands.reduce((sum, { bytes }) => sum + bytes, 0) <= LITTLE;
        const units = s.units ?? 1;
        const ranges = (count: number) => rangesOf(count, little, workers);
        const addresses = operands.map((placed) => layout.address(placed));
        const { kernel = "", units: others = 1, measure = 0 } = s.skips ?? {};
        const flag = s.skips && layout.address(program.tensors[skipping.measure(measure).flag]);
        const other = flag === undefined ? undefined : ([kernel, others, flag, ranges(others)] as const);
        steps.push(other ? [s.kernel, units, addresses, ranges(units), other] : [s.kernel, units, addresses, ranges(units)]);
      }
    }
    return { entry, number, steps, dispatches, segments };
  });
}
