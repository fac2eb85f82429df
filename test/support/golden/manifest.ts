/** `manifest.json` of a folder of golden vectors; what the fields mean is said in the README beside it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface Tolerance {
  /** max|a − b| ≤ rel · (max|b| + 0.01 · group_max). */
  readonly rel?: number;
  /** |a − b| ≤ abs. */
  readonly abs?: number;
  readonly group_max?: number;
  /** Allowed beside that. */
  readonly room?: number;
}

export interface Optimizer {
  readonly name: string;
  readonly lr: number;
  readonly betas?: readonly [number, number];
  readonly eps?: number;
  readonly weight_decay?: number;
  readonly momentum?: number;
  readonly nesterov?: boolean;
  readonly adjust?: string;
  readonly block?: number;
  readonly small?: number;
  readonly steps: number;
  readonly clip?: number | null;
  /** Kind, updates of warm-up, updates in all. */
  readonly schedule?: readonly [string, number, number] | null;
  readonly micro_batches?: number;
  readonly no_decay_on_bias_and_norm?: boolean;
}

/** One case. A harness may look at `kind`, `arch`, `method`, `task`, `config` and `optimizer`, never at `name` or `dir`. */
export interface Case {
  readonly name: string;
  readonly kind: "base" | "train" | "peft" | "adapters" | "module";
  readonly arch: string;
  readonly method: string;
  readonly task: string;
  readonly model_class?: string;
  /** Folder of the model, below the folder of the manifest. */
  readonly base?: string;
  readonly config?: Readonly<Record<string, unknown>>;
  readonly optimizer?: Optimizer | null;
  readonly trained?: "all" | readonly string[];
  readonly head_trained?: readonly string[];
  readonly reconstruct_gap?: number;
  readonly same_io_as?: string;
  readonly dir: string;
  readonly tolerances: Readonly<Record<string, Tolerance>>;
}

export interface Goldens {
  readonly folder: string;
  readonly cases: readonly Case[];
}

export function readManifest(folder: string): Goldens {
  const { cases } = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8")) as { cases: Case[] };
  return { folder, cases };
}

/** The case whose expected numbers a case shares, else itself. */
export function sourceOf(goldens: Goldens, test: Case): Case {
  if (test.same_io_as === undefined) return test;
  const source = goldens.cases.find((c) => c.dir === test.same_io_as);
  if (source === undefined) throw new Error(`no case of the manifest lies in ${test.same_io_as}`);
  return source;
}

/** The case of a case's model. */
export function baseOf(goldens: Goldens, test: Case): Case | undefined {
  const dir = test.base ?? test.dir;
  return goldens.cases.find((c) => c.dir === dir);
}

/** A case asks for something that the language, its library or a format does not have. */
export class Unsupported extends Error {}
