/**
 * What compiling a file gives: graphs with symbolic sizes, the parameters they name, and the stages in order. Data only: no files are open,
 * nothing has run. The rooms that train, save and print read this and never the syntax tree.
 */
import type { Dim } from "../ir/dim.ts";
import type { DType, Graph, Span } from "../ir/graph.ts";
import type { Program } from "./ast.ts";
import type { Problem } from "./report/problem.ts";

export type { AdapterCombination, AdapterFile } from "../ground/adapter.ts";
export type { DatasetSpec, MetricSpec, Static } from "../ground/table.ts";
export type * from "./stage-data.ts";

import type { AdapterCombination, AdapterFile } from "../ground/adapter.ts";
import type { DatasetSpec, Static } from "../ground/table.ts";
import type { Stage } from "./stage-data.ts";

/** A tensor that lives across calls. `name` is unique in the file: the model's or attachment's name, a dot, and its path. */
export interface ParamDecl {
  readonly name: string;
  /** Path as in transformers and peft, without the name of the model or attachment. */
  readonly path: string;
  readonly owner: { readonly kind: "model" | "attachment" | "objective"; readonly name: string };
  readonly shape: readonly number[];
  /** Where its first value comes from. A start is a graph with the output `value`; it may read other parameters. */
  readonly source:
    | { readonly kind: "file"; readonly folder: string; readonly tensor: string }
    | { readonly kind: "start"; readonly graph: Graph }
    | { readonly kind: "copy"; readonly of: string }
    /** A number that the run makes between stages. */
    | { readonly kind: "number" };
  /** Declared `frozen`: drawn and saved, trained only if a stage names it. */
  readonly frozen: boolean;
  readonly span?: Span;
}

/** A state: a tensor across updates (`state s = e`). Its first value is the output `value` of `graph`. */
export interface StateDecl {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly Dim[];
  readonly graph: Graph;
  /** Where a loaded attachment's comes from; otherwise the graph's. */
  readonly source?: { readonly folder: string; readonly tensor: string };
  /** The stage's own (an optimiser's), or the attachment it lives as long as. */
  readonly owner: string;
  /** An attachment's, which outlives the stage. */
  readonly lasts: boolean;
}

/** A column that the data must have: shape symbols `B` (rows of the batch), `S`, ... as in the graph. */
export interface ColumnDecl {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly Dim[];
  /** What stands in where the data has no such column: a constant, or another column's values; none: an error. */
  readonly fallback?: { readonly kind: "constant"; readonly value: number } | { readonly kind: "column"; readonly name: string };
  readonly span?: Span;
}

/** One graph that calls a model or takes a step. Scalars `step` and `steps` (i32 inputs) are given by the runtime. */
export interface Entry {
  readonly graph: Graph;
  readonly columns: readonly ColumnDecl[];
  /** Names of states the graph reads or changes. */
  readonly states: readonly string[];
}

/**
 * In the order of the file. `limit`: work that compiles but is not built; a run stops there. `copy` gives parameters of a copied model the values
 * their originals have at that point. `merge` computes those of a merged model (output `value`) from what they are at that point; each of
 * `checks` gives the largest `difference` between a module with its attachments and the folded one on drawn rows, and the `size` of the values.
 */
export type Action =
  | { readonly kind: "limit"; readonly what: string; readonly span: Span }
  | { readonly kind: "stage"; readonly stage: Stage }
  | {
      readonly kind: "copy";
      readonly of: string;
      readonly to: string;
      readonly params: readonly { readonly from: string; readonly to: string }[];
    }
  | {
      readonly kind: "merge";
      readonly of: string;
      readonly to: string;
      readonly copies: readonly { readonly from: string; readonly to: string }[];
      /** `of`: the parameter that was changed. */
      readonly folds: readonly { readonly param: string; readonly of: string; readonly graph: Graph }[];
      readonly checks: readonly { readonly path: string; readonly graph: Graph }[];
      readonly span: Span;
    }
  /** A parameter gets a number, or numbers, known only then. */
  | { readonly kind: "number"; readonly into: string; readonly source: NumberSource; readonly span: Span };

/**
 * A metric of an evaluation that was made (`stage`: its folder), the cosine of the means of two columns, or the output `value` of a graph over parameters as
 * they then are.
 */
export type NumberSource =
  | { readonly kind: "metric"; readonly stage: string; readonly name: string }
  | { readonly kind: "similarity"; readonly tables: readonly [DatasetSpec, DatasetSpec] }
  | { readonly kind: "computed"; readonly graph: Graph };

export interface SiteReport {
  readonly path: string;
  /** Other modules with the same weight, as a file that it was loaded from names them. */
  readonly also?: readonly string[] | undefined;
  readonly role: string | undefined;
  /** What the place's role has under the name of one of the module's parameters is made of that: a weight stored the other way round. */
  readonly turned: boolean;
  /** Path of a parameter below the site (`lora_A.weight`) to its name. */
  readonly params: Readonly<Record<string, string>>;
  /** States that act when the model is used, and so are saved along: name in the method to name. */
  readonly states: Readonly<Record<string, string>>;
}
export interface AttachmentReport {
  readonly name: string;
  /** Name of the method and the file that declares it (`std/methods/lora`). */
  readonly method: string;
  readonly declaredIn: string;
  readonly options: Readonly<Record<string, Static>>;
  readonly model: string;
  readonly selector: string;
  readonly sites: readonly SiteReport[];
  readonly shared: Readonly<Record<string, string>>;
  /** Another method that it is when its training is over, and is saved as: parameters there, site by site, as graphs with the output `value`, or as they are. */
  readonly outcome?:
    | {
        readonly method: string;
        readonly declaredIn: string;
        readonly options: Readonly<Record<string, Static>>;
        readonly sites: readonly {
          readonly values: Readonly<Record<string, Graph>>;
          readonly params: Readonly<Record<string, string>>;
        }[];
        /** Shared parameters: graphs, and those that it has too, by name. */
        readonly common: Readonly<Record<string, Graph>>;
        readonly shared: Readonly<Record<string, string>>;
      }
    | undefined;
  /** Folders that it was loaded from: none, one, or those of a combination. */
  readonly folders: readonly string[];
  readonly span: Span;
}
export interface ModelReport {
  readonly name: string;
  readonly module: string;
  readonly folder: string | undefined;
  /** Its tokenizer: its folder's, or the one that it was made with. */
  readonly tokenizer?: TokenizerSource | undefined;
  /** Names of what its call is given. */
  readonly inputs: readonly string[];
  /** Names of what its call gives, the first standing for the call. */
  readonly outputs: readonly string[];
  readonly config: Readonly<Record<string, Static>>;
  /** Fields that are not what the folder's config.json says; those that are floats. */
  readonly changed: readonly string[];
  readonly floats: readonly string[];
  /** Fields of config.json that the record does not have; tensors of the checkpoint that no parameter takes. */
  readonly unknownFields: readonly string[];
  readonly leftOver: readonly string[];
  /** The folder has a configuration and no weights; only where the host asks for sizes alone. */
  readonly weightless?: boolean;
  readonly params: readonly string[];
  /** Path of each module to what it may be called: its own name first, then the roles it fills. */
  readonly modules: Readonly<Record<string, readonly string[]>>;
  /** Path of each parameter to its shape. */
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  /** Other paths by which a parameter goes (a tied head), to its own. */
  readonly ties: Readonly<Record<string, string>>;
  readonly span: Span;
}

export interface Project {
  readonly file: string;
  readonly actions: readonly Action[];
  readonly params: ReadonlyMap<string, ParamDecl>;
  readonly states: ReadonlyMap<string, StateDecl>;
  readonly models: readonly ModelReport[];
  readonly attachments: readonly AttachmentReport[];
  /** A model whose attachments do not act where nothing is trained: its weights are to come from a folder that has them in already. */
  readonly unattached?: string | undefined;
  readonly problems: readonly Problem[];
}

export type { Program };

/** Files, as the compiler sees them. Paths arrive resolved against the file that names them. */
export interface Host {
  /** Only sizes are asked for: a model's folder may hold its configuration alone, and its parameters count as found there. */
  readonly sizesOnly?: boolean;
  /** Text of a source file; `std/...` names the library's. `undefined`: there is none. */
  readSource(path: string): string | undefined;
  /** The tree of a source that was read when the program was built; `undefined`: there is none of this text. */
  readTree?(path: string, text: string): Program | undefined;
  /** A name for a source file that all paths to it share, links followed. */
  identity?(path: string): string;
  /** `config.json` of a model's folder with spellings of all versions made one; `undefined`: no such folder. */
  readConfig(folder: string): Readonly<Record<string, unknown>> | undefined;
  /** Names and shapes of a checkpoint's tensors (all shards). Throws `InputError` where a file is malformed. */
  readTensors(folder: string): ReadonlyMap<string, { readonly dtype: string; readonly shape: readonly number[] }> | undefined;
  /** Which tensor of a checkpoint serves which parameter; a trunk's names with one first name too few or too many fit as well. */
  matchTensors(
    params: readonly { readonly path: string; readonly shape: readonly number[]; readonly tiedTo?: string; readonly grows?: boolean }[],
    folder: string,
  ): {
    readonly found: ReadonlyMap<string, string>;
    readonly missing: readonly string[];
    readonly wrongShape: readonly { readonly path: string; readonly wanted: readonly number[]; readonly seen: readonly number[] }[];
    readonly leftOver: readonly string[];
  };
  readTokenizer(folder: string): TokenizerFacts | undefined;
  /** An adapter's folder: which methods, at which places, with which options and tensors. */
  readAdapter(folder: string): AdapterFile | undefined;
  /** Adapters of these folders as one; it goes by a name that stands for its folder. Throws `InputError`. */
  combineAdapters?(folders: readonly string[], combination: AdapterCombination): { readonly folder: string; readonly file: AdapterFile };
}

/** What programs may ask of a folder's tokenizer. */
export interface TokenizerFacts {
  readonly size: number;
  readonly ids: Readonly<Record<string, number>>;
  encode(text: string): number[];
  /** The same with these tokens alone, numbered in their order. */
  reduced(kept: readonly number[]): TokenizerFacts;
}
/** The tokenizer of a folder, or those of its tokens that are kept, numbered in their order. */
export type TokenizerSource = string | { readonly folder: string; readonly kept: readonly number[] };
