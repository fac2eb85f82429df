/**
 * What a run tells whoever watches it, as it happens: one object an event, which `--json` prints a line each and the terminal draws. Numbers
 * are plain; a scalar that is not finite is `null` in JSON, so consumers should expect that.
 */

import type { Problem } from "../compiler/report/problem.ts";
import type { EntryProfile } from "./engine/profile.ts";
import type { ReportTable } from "./report/report.ts";

export type Scalars = Readonly<Record<string, number>>;

export type RunEvent =
  /** A stage begins. `folder`: where its artefacts go. */
  | { readonly event: "stage"; readonly stage: string; readonly verb: string; readonly folder: string }
  /** What runs it, in words, and why that was chosen. */
  | { readonly event: "device"; readonly device: string; readonly reason: string }
  /** Compiled: bytes planned in all, trained numbers, steps to come. */
  | {
      readonly event: "plan";
      readonly stage: string;
      readonly peak_bytes: number;
      readonly trained: number;
      readonly parameters: number;
      readonly steps: number;
    }
  /** So many parameters of a large model have been brought in. */
  | { readonly event: "loading"; readonly stage: string; readonly parameters: number; readonly of: number }
  | { readonly event: "resume"; readonly stage: string; readonly step: number; readonly from: string | null }
  | {
      readonly event: "step";
      readonly stage: string;
      /** Steps made, this one included. */
      readonly step: number;
      readonly steps: number;
      /** Epochs seen, with a fraction. */
      readonly epoch: number;
      readonly loss: number;
      /** `grad_norm`, what the objective names, `watch/...`. */
      readonly scalars: Scalars;
      readonly tokens_per_second: number;
      readonly eta_seconds: number;
      readonly peak_bytes: number;
    }
  | { readonly event: "evaluation"; readonly stage: string; readonly step: number; readonly metrics: Scalars; readonly best: boolean }
  | { readonly event: "checkpoint"; readonly stage: string; readonly step: number; readonly folder: string }
  /** Something final was written. */
  | { readonly event: "saved"; readonly stage: string; readonly kind: "adapter" | "model" | "table"; readonly folder: string }
  /** Where the adapter that was saved will load, or why not: one event a tool. */
  | { readonly event: "loads"; readonly stage: string; readonly message: string }
  /** A `report` stage's table. */
  | ({ readonly event: "report"; readonly stage: string; readonly folder: string } & ReportTable)
  | { readonly event: "sample"; readonly stage: string; readonly prompt: string; readonly text: string; readonly tokens: number }
  /** Attachments were folded into parameters. `difference`: the largest, relative, of a module's output before and after. */
  | {
      readonly event: "merged";
      readonly of: string;
      readonly to: string;
      readonly folded: number;
      readonly difference: number;
      readonly at: string | null;
    }
  /** Where the time of a run went. `file`: the trace. */
  | { readonly event: "profile"; readonly file: string; readonly entries: readonly EntryProfile[] }
  | { readonly event: "note"; readonly message: string }
  /** Something about the data that does not stop the run. */
  | { readonly event: "problem"; readonly problem: Problem }
  /** A stage ended. `seconds`: of this process. */
  | { readonly event: "done"; readonly stage: string; readonly folder: string; readonly seconds: number; readonly stopped_early: boolean };

export type Listen = (event: RunEvent) => void;

/** Thrown when somebody asked to stop; the checkpoint that was saved, if any. Exit code 130. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  constructor(
    readonly step: number,
    readonly checkpoint: string | undefined,
  ) {
    super(
      checkpoint === undefined
        ? "interrupted: nothing was saved, and nothing that was there is lost"
        : `interrupted after step ${step}; saved ${checkpoint}`,
    );
  }
}
