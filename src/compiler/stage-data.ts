import type { DatasetSpec, MetricSpec } from "../ground/table.ts";
import type { Span } from "../ir/graph.ts";
import type { Entry, TokenizerSource } from "./project.ts";

interface StageBase {
  readonly name: string;
  readonly span: Span;
  /** `<file>/<name>` below the folder of runs, with the iteration's number in a loop. */
  readonly folder: string;
  readonly tokenizer: TokenizerSource | undefined;
  /** Whether its model writes its answers apart from what it reads (an encoder–decoder): targets then are texts of their own. */
  readonly separate: boolean;
}

export interface TrainStage extends StageBase {
  readonly verb: "train";
  /** Outputs: `loss`, `grad_norm`, every scalar the objective names, `watch/...`; params and states: their next values. */
  readonly step: readonly Entry[];
  /**
   * The same objective with `training` false, no update; outputs as above, and where metrics are asked for that are none of them, `predicted` and
   * `expected` of one shape, the rows first. One for each table of data.
   */
  readonly evaluation: readonly Entry[];
  readonly trained: readonly string[];
  readonly data: readonly DatasetSpec[];
  readonly steps: number | undefined;
  readonly epochs: number | undefined;
  readonly batch: number;
  readonly accumulate: number;
  readonly sequence: number | undefined;
  readonly memory: number | undefined;
  /** Whether frozen weights stay in their files; `undefined`: where nothing else meets the budget. */
  readonly offload?: boolean | undefined;
  /** How loops that can be run backwards are: not at all (0), to the bit, or with rebuilt values off by at most so much, relatively. */
  readonly reverse: "exact" | number;
  readonly precision: string;
  readonly seed: number;
  readonly shuffle: boolean;
  readonly evaluate:
    | {
        readonly every: number | undefined;
        readonly data: DatasetSpec | undefined;
        readonly metrics: readonly MetricSpec[];
        readonly best: string | undefined;
        readonly stopAfter: number | undefined;
      }
    | undefined;
  readonly save: string | undefined;
  readonly checkpoint: { readonly every: number | undefined; readonly keep: number };
  /** What the stage's result consists of: attachments with trained parameters, models with trained base parameters. */
  readonly attachments: readonly string[];
  readonly models: readonly string[];
  /** Parameters in this stage's graphs that belong to no attachment but are trained while most of their model is not: fresh heads. */
  readonly heads: readonly string[];
  /** Parameters of objectives that this stage trained something of: they are saved along. */
  readonly objectives: readonly string[];
}

export interface EvaluateStage extends StageBase {
  readonly verb: "evaluate";
  readonly evaluation: Entry;
  readonly data: DatasetSpec;
  readonly metrics: readonly MetricSpec[];
  readonly batch: number;
  readonly sequence: number | undefined;
  readonly memory: number | undefined;
}

/** Of tables that earlier stages made: metrics of their rows, without a model. */
export interface ScoreStage extends StageBase {
  readonly verb: "score";
  readonly data: readonly DatasetSpec[];
  readonly metrics: readonly MetricSpec[];
}

export interface PredictStage extends StageBase {
  readonly verb: "predict";
  readonly entry: Entry;
  readonly data: DatasetSpec;
  readonly columns: readonly string[];
  readonly batch: number;
  readonly sequence: number | undefined;
  readonly memory: number | undefined;
}

/** A text, and numbers for columns that the model asks of the data (which adapter the text is for). */
export interface StagePrompt {
  readonly text: string;
  readonly columns?: Readonly<Record<string, number | readonly number[]>>;
}

export interface GenerateStage extends StageBase {
  readonly verb: "generate";
  readonly model: string;
  /** Inputs `input_ids` [B, S], `attention_mask` [B, S], of an encoder–decoder `decoder_input_ids` [B, T] too, and columns of the data that methods ask for; output `logits` [B, N, vocab]; states: caches. `past` is 0. */
  readonly prefill: Entry;
  /** Input of one token, scalar input `past`, with beams `beam` [B], the row whose positions each row goes on from; shapes contain the symbol `past`, bound to capacity − 1. */
  readonly decode: Entry;
  /** What an encoder–decoder's text begins with; none: generation goes on from the prompt. */
  readonly begin: readonly number[] | undefined;
  /** Positions that the model puts in front of the text (a prompt method's): `past` starts at these plus the prompt's length. */
  readonly front: number;
  readonly prompts: readonly StagePrompt[] | undefined;
  readonly data: DatasetSpec | undefined;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly samples: number;
  readonly beams: number;
  /** Beams are compared by their log-probability over their length to this power. */
  readonly lengthPenalty: number;
  readonly stop: string | readonly string[] | undefined;
  readonly memory: number | undefined;
  readonly seed: number;
}

/** What a cell of a report holds: a value, or the name of a parameter that a number between stages is put into. */
export type ReportCell = string | number | boolean | null | { readonly late: string };

/** Results of stages before it as a table. */
export interface ReportStage extends StageBase {
  readonly verb: "report";
  readonly title: string;
  /** Names of columns, in order; a row may lack some. */
  readonly columns: readonly string[];
  readonly rows: readonly Readonly<Record<string, ReportCell>>[];
  /** Folders of evaluations whose numbers are rows as well. */
  readonly of: readonly string[];
  /** Columns over which rows are averaged: the first is left out, numbers of the others are averaged too. */
  readonly over: readonly string[];
  readonly curve: { readonly x: string; readonly y: string; readonly by?: string | undefined } | undefined;
}

export type Stage = TrainStage | EvaluateStage | ScoreStage | PredictStage | GenerateStage | ReportStage;
