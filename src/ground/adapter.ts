/** An adapter on disk, in the language's terms: what readers of its layouts find, and what the compiler asks for. */
import type { Json } from "./json.ts";

/** A method of a file, as in an import, and its options. */
export interface Chosen {
  readonly method: string;
  readonly from: string;
  readonly options: Readonly<Record<string, Json>>;
}

/** A method at its sites, with equal options. */
export interface AdapterPart extends Chosen {
  /** Methods with the same tensors for modules of other kinds. Which of them a site takes is up to the model: the first that goes on such a module. */
  readonly or?: readonly Chosen[];
  /**
   * A path is that of the module, with `:Role` behind it where the module fills several. Formats that keep one table for a whole model name no places; theirs are selectors with
   * the place among its matches in model order, `**: Attention #3`; a `?` at the end: it may be missing.
   */
  readonly sites: readonly {
    readonly path: string;
    readonly params: Readonly<Record<string, string>>;
    /** Other modules that share what is adapted, and under which the file repeats its tensors. */
    readonly also?: readonly string[] | undefined;
    readonly states?: Readonly<Record<string, string>>;
  }[];
  readonly shared: Readonly<Record<string, string>>;
  /** Parameters that no file holds: they are drawn anew, for the option `by`. */
  readonly drawn?: { readonly by: string; readonly params: readonly string[] } | undefined;
  /** Parameters that are counted through rather than named by place: keys in order, each for an equal run of sites in model order, whose first has it. */
  readonly numbered?: Readonly<Record<string, readonly string[]>>;
}

/** A tensor is named by its key in the file. */
export interface AdapterFile {
  readonly base: string | undefined;
  readonly parts: readonly AdapterPart[];
  /** Trained parameters of the base that came along (`modules_to_save`): path in the model to key. */
  readonly heads: Readonly<Record<string, string>>;
  /** Those of the heads that are tensors of their own, though the base may have them tied to another. */
  readonly apart: readonly string[];
  /**
   * What the configuration names and the tensors lack among modules with weights, the other way round, and what is to be saved whole and is not there; `undefined`: the layout
   * names no modules. `linear`: those that are products and do not give the words.
   */
  readonly elsewhere?:
    | ((
        modules: readonly string[],
        linear: readonly string[],
      ) => {
        readonly missing: readonly string[];
        readonly extra: readonly string[];
        readonly unsaved: readonly string[];
      })
    | undefined;
  /** What objectives trained of their own: name of the parameter (`goal.crf.transitions`) to key. */
  readonly objectives: Readonly<Record<string, string>>;
  /** By key, of whole tensors and of parts. */
  readonly shapes: Readonly<Record<string, readonly number[]>>;
}

/** How adapters are added up. */
export interface AdapterCombination {
  readonly how: string;
  /** One for each adapter; below 0 it is taken away. */
  readonly weights: readonly number[];
  /** The share of elements that pruning leaves. */
  readonly density?: number | undefined;
  /** How the sign of an element is elected, by `ties` and `dare_ties`. */
  readonly sign?: string | undefined;
  /** Of the result, by `svd`: the largest of the ranks where it is left out. */
  readonly rank?: number | undefined;
  /** Of what `dare` leaves to chance, as torch's generator draws it. */
  readonly seed?: number | undefined;
}
