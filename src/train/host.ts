/** What a run needs from outside: files, a device, data, somebody to tell. Handed in, so that a page and a test can run the same code. */
import type { DatasetSpec, Entry, GenerateStage, PredictStage, Project, TokenizerSource } from "../compiler/project.ts";
import type { Provenance } from "../formats/adapters/provenance.ts";
import type { FloatDType } from "../formats/config.ts";
import type { Files } from "../formats/files.ts";
import type { Span } from "../ir/graph.ts";
import type { DataTable } from "./data/columns.ts";
import type { Engine } from "./engine/engine.ts";
import type { Listen } from "./events.ts";
import type { Provenances } from "./run/provenance.ts";
import type { ValueStore } from "./values.ts";

/** What a dataset is made with. */
export interface TableRequest {
  readonly spec: DatasetSpec;
  readonly tokenizer: TokenizerSource | undefined;
  /** Whether targets are texts of their own, beside what is read. */
  readonly separate?: boolean;
  /** Tokens a row, for tables that are packed. */
  readonly sequence: number | undefined;
  /** Graphs that read the table: whose parameters learnt classes numbers their names. */
  readonly entries?: readonly Entry[];
}

export interface RunHost {
  readonly project: Project;
  readonly files: Files;
  readonly engine: Engine;
  readonly values: ValueStore;
  /** `undefined`: the dataset has no such part (`held` without a split). */
  table(request: TableRequest): Promise<DataTable | undefined>;
  /** Says where a stage wrote its table, for later stages that name the stage as data. */
  predicted(stage: PredictStage | GenerateStage, folder: string): void;
  /** Makes a folder this run's alone until what it gives is called. P0829: another run has it. */
  readonly claim?: ((folder: string) => () => void) | undefined;
  readonly artefacts: Artefacts;
  readonly provenances: Provenances;
  readonly listen: Listen;
  /** File and line of a place in the sources. */
  readonly place?: ((span: Span) => string | undefined) | undefined;
  interrupted(): boolean;
  /** Seconds on a monotonic clock. */
  now(): number;
  /** Version of this package, which checkpoints name. */
  readonly version: string;
}

/** Writes what a stage made in the layouts of other tools. `value` gives the parameters as they are at that point. */
export interface Artefacts {
  /** An adapter folder, or one sub-folder an attachment. Gives what was written, or nothing where the stage has no attachments. `made`: what is recorded of each model. */
  adapter(folder: string, parts: Parts, value: (name: string) => Float32Array, made?: ReadonlyMap<string, Provenance>): readonly string[];
  /** Where what `adapter` writes will load, a line each; none where the stage has no attachments. */
  verdicts(parts: Parts, value: (name: string) => Float32Array): readonly string[];
  /** A transformers folder for each model with trained base parameters (a sub-folder each, if several). */
  models(folder: string, parts: Parts, value: (name: string) => Float32Array, dtype?: FloatDType): readonly string[];
}
export interface Parts {
  /** What a stage was trained on. */
  readonly data?: readonly DatasetSpec[];
  readonly attachments: readonly string[];
  readonly models: readonly string[];
  readonly heads: readonly string[];
  /** Parameters of objectives: they go along with each folder that is written, or stand alone. */
  readonly objectives: readonly string[];
}
