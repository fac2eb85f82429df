/** What is to be saved: trained attachments with their values, and what became of them on the way to a file. */

import type { Json, JsonRecord } from "../files.ts";
import type { StoredDType } from "../safetensors/dtype.ts";
import type { AdapterContents } from "./folder.ts";

/** Values of a parameter, asked for when it is written. */
export interface OutParam {
  /** As it is stored; none: F32. */
  readonly dtype?: StoredDType;
  readonly shape: readonly number[];
  readonly values: () => ArrayLike<number>;
}

/** An attachment as the compiler reports it, with values. */
export interface OutAttachment {
  readonly name: string;
  readonly method: string;
  /** File that declares the method, as in an import. */
  readonly from: string;
  /** All options, defaults too. */
  readonly options: Readonly<Record<string, unknown>>;
  /** In model order. `role`: which of the module's roles the method took, where it took one. */
  readonly sites: readonly {
    readonly path: string;
    readonly role?: string | undefined;
    readonly params: Readonly<Record<string, OutParam>>;
    /** Other modules with the same weight. */
    readonly also?: readonly string[] | undefined;
    /** The module stores its weight the other way round than what it fills has it: [in, out]. */
    readonly turned?: boolean;
    /** States that act when the model is used. */
    readonly states?: Readonly<Record<string, OutParam>>;
  }[];
  readonly shared: Readonly<Record<string, OutParam>>;
  /** What the parameters are those of, where that is another method: a prompt that a network made. */
  readonly outcome?: { readonly method: string; readonly from: string; readonly options: Readonly<Record<string, unknown>> };
}

/** The folder that all of an adapter was loaded from. */
export type Origin = Pick<AdapterContents, "config" | "parts" | "heads">;

export interface OutAdapter {
  readonly attachments: readonly OutAttachment[];
  /** Trained parameters of the base to save along, by path. */
  readonly heads: Readonly<Record<string, OutParam>>;
  readonly origin?: Origin | undefined;
  /** Copies of base weights that peft writes too where an embedding is adapted; they may be left out. */
  readonly copies?: Readonly<Record<string, OutParam>> | undefined;
  readonly base: {
    /** Folder or name that the model was loaded from. */
    readonly name: string | undefined;
    /** Class of the model: gives the task. */
    readonly module: string;
    readonly config: JsonRecord;
    /** Shapes of all its parameters, by path. */
    readonly shapes: ReadonlyMap<string, readonly number[]>;
    /** Other paths by which parameters go (a tied head), to their own. */
    readonly ties?: Readonly<Record<string, string>>;
    /** Parameters to the names of the modules in which transformers reads them, where these are others than the parameter's own (T5's embedding table). */
    readonly copied?: Readonly<Record<string, readonly string[]>>;
    /** What was not trained, by path: PEFT saves modules whole, and those of a task's head always. Left out: nothing but what was trained can be saved. */
    readonly param?: (path: string) => OutParam;
    /** Kinds of its modules, with the roles that they fill; left out: not known. */
    readonly kinds?: ReadonlySet<string>;
  };
}

/** What one folder is to hold. */
export interface Encoded {
  readonly config: Record<string, Json>;
  readonly floats: readonly string[];
  readonly tensors: ReadonlyMap<string, OutParam>;
}

/** Why a format cannot hold something; not an error. */
export class Unsayable {
  constructor(readonly why: string) {}
}
