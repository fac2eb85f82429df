/** When threads computed what, for whoever asks where the time goes. */
import type { Dispatch } from "../../ground/program.ts";

/** What a thread did of a kernel's run, in milliseconds of the clock; with the time in between in which it had nothing to do of it. */
export interface Span extends Pick<Dispatch, "kernel" | "label" | "part"> {
  /** Its number among the entry's. */
  readonly step: number;
  readonly worker: number;
  readonly begin: number;
  readonly end: number;
}

export const now = (): number => performance.timeOrigin + performance.now();
export const named = ({ kernel, label, part }: Dispatch): Pick<Span, "kernel" | "label" | "part"> => ({ kernel, label, part });

/** Of the steps `from` to `to` of an entry, what each worker did of them, if anything. `times`: see `WorkerStart`. */
export function spansOf(times: Float64Array, dispatches: readonly Dispatch[], from: number, to: number, workers: number): Span[] {
  return dispatches.slice(from, to).flatMap((dispatch, i) =>
    Array.from({ length: workers }, (_, worker) => {
      const at = 2 * (i * workers + worker);
      return { ...named(dispatch), step: from + i, worker, begin: times[at], end: times[at + 1] };
    }).filter((span) => span.begin > 0),
  );
}
