import type { Json, JsonRecord } from "../files.ts";
import type { StoredDType } from "../safetensors/dtype.ts";

/** One option of a method. Which of the keys are there says how it is read and written. */
export interface OptionMapping {
  /** Field of the adapter's configuration that holds it. */
  readonly field?: string;
  /** Field with exceptions by module: regular expressions to values, the first that fits the end of the path counts. */
  readonly pattern?: string;
  /** The size of a parameter's axis; it outdoes the field when read. `triangle`: the size s for which the axis has s(s − 1)/2 entries. */
  readonly size?: readonly [param: string, axis: number, form?: "triangle"];
  /** The field says the opposite. */
  readonly negated?: boolean;
  /** The format knows only this value. */
  readonly given?: Json;
  /** The value follows from another field. */
  readonly by?: string;
  readonly values?: Readonly<Record<string, Json>>;
  readonly otherwise?: Json;
  /** Values of that field for which what is saved acts the same whatever the option is. */
  readonly either?: readonly string[];
  /** Names of functions in the file to names in `std/nn`, which stand for the functions; `start` is the method's own default, which is not given. */
  readonly functions?: Readonly<Record<string, string>>;
  readonly start?: string;
  /** Only if the field is a number. */
  readonly numeric?: boolean;
  /** Whether the field has this value. */
  readonly equals?: Json;
  /** Whether the field is a text that this regular expression fits. */
  readonly matches?: string;
  /** The first entry whose fields have these values gives the option's value, or how to read it. */
  readonly cases?: readonly (readonly [fields: JsonRecord, value: Json])[];
  /** The field may also be an object: ends of paths to values. It is written so. */
  readonly named?: boolean;
  /** The field is a list: its elements that are among these. */
  readonly among?: readonly Json[];
  /** The field holds the hidden size divided by this option; one number for all layers, or by layer. */
  readonly reduces?: string;
  /** The rank of a site's weight less that of a product of two parameters: rows of the first, columns of the second, and what they share. The field may be a share of it. */
  readonly complement?: readonly [left: string, right: string];
  /** With `pattern`: its expressions are searched for anywhere in a path. */
  readonly searched?: true;
  /** With `size`: the axis is shorter by this field. */
  readonly times?: string;
  /** An expression over the configuration's fields; `writes` says the other way. */
  readonly computed?: string;
  /** The first of these that gives a value. */
  readonly first?: readonly OptionMapping[];
}

/** A parameter as a part of a larger tensor of the file: reshape, take one entry of an axis, permute. Sizes are expressions over names. */
export interface ViewMapping {
  readonly of: string;
  readonly reshape: readonly string[];
  readonly axis?: number;
  readonly index?: string;
  readonly permute?: readonly number[];
  /** Sizes of the tensor in the file; none: two, a row for each entry of the first axis. */
  readonly as?: readonly string[];
}

/** Places that a format does not name: `at` is a selector, `#i` is put behind it, `count` an expression over the configuration's fields. */
export interface SitesMapping {
  readonly at: string;
  readonly count: string;
}

export interface CompanionMapping {
  readonly method: string;
  readonly from: string;
  /** Options as expressions over the sizes. */
  readonly options: Readonly<Record<string, string>>;
  readonly at: string;
  /** Models without such a place need it not. */
  readonly optional?: boolean;
  readonly why: string;
}

/** What PEFT does to every model of a task. */
export interface TaskMapping extends CompanionMapping {
  /** Parameters whose model is another by it, where they have several rows: a regular expression on their paths. */
  readonly params: string;
}

export interface MethodMapping {
  readonly method: string;
  readonly from: string;
  /** Values of fields that choose this method. */
  readonly when?: Readonly<Record<string, Json>>;
  /** It has the tensors of a method before it, for modules of another kind: the model says which of them a site takes. */
  readonly also?: boolean;
  /** Its sites are those that this field lists (by the end of their path). */
  readonly listed?: string;
  /** It goes along with the type's other methods, at places that are no targets: those that this field names (as an object), or the first that it fits. */
  readonly beside?: string;
  readonly options: Readonly<Record<string, OptionMapping>>;
  /** Options that act only while a parameter starts or trains, so that the format need not hold them. */
  readonly silent?: readonly string[];
  /** Path of a parameter below the site to the end of its key; `?` behind the path: it may be missing. */
  readonly params?: Readonly<Record<string, string>>;
  /** Shared parameters to their whole keys. */
  readonly shared?: Readonly<Record<string, string>>;
  /** Shared parameters that the format repeats at every site, to the end of their key there. */
  readonly repeated?: Readonly<Record<string, string>>;
  /** Frozen parameters that the file lacks where the option is false: they start as they are drawn for the option `by`. `note`: what a reader should mind then. */
  readonly drawn?: { readonly saved: string; readonly by: string; readonly params: readonly string[]; readonly note?: string };
  /**
   * Rows in which `of` is 0 are left out of a trained adapter, and the field says so: key of a site's `of` to a list of truths, those that are there. `axes`: which axis of which
   * parameter has the rows.
   */
  readonly thinned?: { readonly field: string; readonly of: string; readonly axes: Readonly<Record<string, number>> };
  /** Parameters that the format counts through, to what stands before the number: one for each equal run of sites in model order, at the first of the run. */
  readonly numbered?: Readonly<Record<string, string>>;
  /** Parameters (with `?` in `params`) that sites of one name and size share in runs, each repeated at every site: to the field with the length of a run; null: all of them. */
  readonly grouped?: Readonly<Record<string, string | null>>;
  /** Parameters that hold whole numbers, to the type they are stored in, or to a field: the smallest type that counts so far. */
  readonly integers?: Readonly<Record<string, StoredDType | { readonly to: string }>>;
  /** Ends of keys with copies of base weights, not needed. */
  readonly copies?: readonly string[];
  readonly readOnly?: boolean;
  readonly writeOnly?: boolean;
  /** Tasks it may be written for; none given: all. */
  readonly tasks?: readonly string[];
  /** Fields as expressions: over other fields, in the table layout over sizes. */
  readonly writes?: Readonly<Record<string, string>>;
  /** Table layout: sizes as expressions over fields; where; which part of which tensor each parameter is; sizes that no parameter's shape tells. */
  readonly sizes?: Readonly<Record<string, string>>;
  readonly sites?: SitesMapping;
  readonly views?: Readonly<Record<string, ViewMapping>>;
  readonly bind?: Readonly<Record<string, string>>;
  /** Table layout: names for the sizes of a shared parameter's axes. */
  readonly axes?: Readonly<Record<string, readonly string[]>>;
  /** Fields as expressions over the base's configuration. */
  readonly fromConfig?: Readonly<Record<string, string>>;
  /** The format has a part for every layer: how many there are, as an expression over the base's configuration. */
  readonly everywhere?: string;
  readonly companions?: readonly CompanionMapping[];
}

/** One `peft_type` of Hugging Face PEFT. */
export interface PeftMapping {
  /** `modules`: tensors by module; `table`: one table for the whole model. */
  readonly layout: "modules" | "table";
  /** Fields that peft writes for this type, with their defaults. */
  readonly fields: JsonRecord;
  /** Those that Python writes as floats. */
  readonly floats: readonly string[];
  /** Fields that do not change what a finished adapter computes, or that are looked at on their own. */
  readonly free: readonly string[];
  /** Fields that act in training only and have no counterpart: told, not refused. */
  readonly training: readonly string[];
  readonly accept: Readonly<Record<string, readonly Json[]>>;
  /** Why another value of a field is refused. */
  readonly why: Readonly<Record<string, string>>;
  /** `modules_to_save` that peft adds for a task. */
  readonly save: Readonly<Record<string, readonly string[]>>;
  /** What keys of trained heads start with. */
  readonly headPrefix: string;
  readonly methods: readonly MethodMapping[];
  readonly aliases?: Readonly<Record<string, string>>;
  /** Value of the field `bias` that stands for trained biases of the adapted modules. */
  readonly biases?: string;
  /** Modules with one weight (a tied output layer) are one site, whose tensors the file repeats. */
  readonly tied?: true;
  /** The sites are the last modules of one name, as many as this field says; `target_modules` is the name. */
  readonly last?: string;
  /** PEFT refuses modules whose weights lie the other way round (GPT-2's). */
  readonly upright?: true;
  /** `false`: the format cannot hold trained parameters of the base. */
  readonly heads?: false;
  /** Ends of keys that hold new values of base parameters, to the parameter's name. */
  readonly replaced?: Readonly<Record<string, string>>;
}

/** One kind of adapter of the adapters library. */
export interface LibraryMapping {
  readonly method: string;
  readonly from: string;
  /** `architecture` of the configuration; absent: bottlenecks have none. */
  readonly architecture?: string;
  readonly config: JsonRecord;
  /** Fields that are written along, and not asked for when reading. */
  readonly sets?: JsonRecord;
  /** A part that comes along with what the other kinds read of the same configuration. */
  readonly beside?: boolean;
  /** Segment before the adapter's name in a key. */
  readonly infix: string;
  /** A regular expression on what stands before the infix: of others this is not the kind. */
  readonly places?: string;
  /** Regular expressions on what stands before the infix, and the site they give; the first that fits counts. */
  readonly sites?: readonly (readonly [string, string])[];
  /**
   * The other way: from a site, with `:Role`, to what is written before the infix; `{trunk}`: what the base calls its trunk, `{encoder}`: the
   * encoder in it, where there is a decoder as well. By default the site's module.
   */
  readonly placed?: readonly (readonly [string, string])[];
  /** Regular expressions on the same, and the field of the configuration that is true where such places are adapted; the first that fits counts. */
  readonly locations?: readonly (readonly [pattern: string, field: string, listed?: string])[];
  readonly options: Readonly<Record<string, OptionMapping>>;
  readonly silent?: readonly string[];
  readonly params?: Readonly<Record<string, string>>;
  /** Names that stand in braces in the ends of keys, each by a field of the configuration. */
  readonly ends?: Readonly<Record<string, { readonly by: string; readonly values: Readonly<Record<string, string>> }>>;
  /** Ends of keys under which a tensor is written once more. */
  readonly twins?: Readonly<Record<string, string>>;
  /** Axes that must be equally long, or the tensors are those of another form of the method. */
  readonly equal?: readonly (readonly (readonly [param: string, axis: number])[])[];
  readonly shared?: Readonly<Record<string, string>>;
  readonly sizes?: Readonly<Record<string, string>>;
  /** Parameters that are parts of tensors repeated under every layer. */
  readonly views?: Readonly<Record<string, ViewMapping>>;
  /** Regular expressions on a site, and the pool that serves it: its name stands for `{pool}` in `views` and `shared`. Third: only for models of this type. */
  readonly pools?: readonly (readonly [pattern: string, pool: string, type?: string])[];
  /** Pools are written under every module whose path this fits, adapted or not. */
  readonly repeated?: string;
  /** Field that lists the adapted layers, or is "all". */
  readonly layers?: string;
  /** Parameters of a site that are no part of a pool: behind the site's path and another infix. */
  readonly sited?: { readonly infix: string; readonly params: Readonly<Record<string, string>> };
}

/** What all kinds of one architecture of the adapters library have in common. */
export interface LibraryArchitecture {
  /** All fields with the library's defaults. */
  readonly fields: JsonRecord;
  /** Choices that the library makes and does not save, with what it takes them to be when it reads. */
  readonly unsaved?: JsonRecord;
  /** Those that Python writes as floats. */
  readonly floats?: readonly string[];
  /** A field that stood for something else in versions before `before`: it is read as the field `as`. */
  readonly fixes?: readonly { readonly before: string; readonly field: string; readonly as: string }[];
}

/** A method whose work is x · Aᵀ · Bᵀ times a scale: what formats that know only such adapters need to know of it. */
export interface LowRankMapping {
  readonly method: string;
  readonly from: string;
  /** Parameters [rank, in] and [out, rank]. */
  readonly down: string;
  readonly up: string;
  /** Length of each row of the weight that results. */
  readonly magnitude?: string;
  /** Option whose value over the rank, or over its root where the option `root` is true, is the scale. */
  readonly alpha: string;
  readonly root?: string;
  readonly dropout?: string;
  /** mlx-lm's name for it. */
  readonly mlx?: string;
}

/** A method whose change of a weight is up · down times alpha over the rank, or over its root where the option `root` is true: several of them have a weighted sum. */
export interface CombinedMapping {
  readonly method: string;
  readonly from: string;
  /** Parameters [rank, …] and [out, rank, …]. */
  readonly down: string;
  readonly up: string;
  /** Options. */
  readonly rank: string;
  readonly alpha: string;
  readonly root?: string;
}

/** A method that is many low-rank adapters, a row of its tensors each: the options that say how many and which, its tensors, and what each of them is by itself. */
export interface BankMapping {
  readonly method: string;
  readonly from: string;
  readonly count: string;
  readonly alpha: string;
  readonly dropout: string;
  /** [count, rank, in] and [count, out, rank]. */
  readonly down: string;
  readonly up: string;
  /** One of `low_rank`, with the options that it has then. */
  readonly one: { readonly method: string; readonly from: string; readonly options: JsonRecord };
}

/** How llama.cpp names the products of a type of model. */
export interface GgufMapping {
  readonly architecture: string;
  /** Path of the list of blocks. */
  readonly blocks: string;
  /** Path within a block to the name within `blk.i`. */
  readonly names: Readonly<Record<string, string>>;
  /** Names whose rows lie with the halves of each head interleaved, to the field that counts the heads. */
  readonly paired?: Readonly<Record<string, string>>;
  /** Paths outside the blocks to whole names. */
  readonly outside: Readonly<Record<string, string>>;
  /** What a whole model needs beside: more names, tensors that lie the other way round or are left out (regular expressions), facts by the configuration's fields, the first that is there. */
  readonly whole?: {
    readonly names: Readonly<Record<string, string>>;
    readonly outside: Readonly<Record<string, string>>;
    readonly turned: readonly string[];
    readonly without: readonly string[];
    readonly integers: Readonly<Record<string, readonly string[]>>;
    readonly floats: Readonly<Record<string, readonly string[]>>;
    /** Fields that must not be there, or be null or false: nothing is written for them. */
    readonly plain: readonly string[];
  };
}

export interface Mappings {
  readonly lowRank: readonly LowRankMapping[];
  readonly banks: readonly BankMapping[];
  readonly combined: readonly CombinedMapping[];
  /** By `model_type`. */
  readonly gguf: ReadonlyMap<string, GgufMapping>;
  readonly peft: ReadonlyMap<string, PeftMapping>;
  readonly library: readonly LibraryMapping[];
  /** By name; "": bottlenecks. */
  readonly architectures: ReadonlyMap<string, LibraryArchitecture>;
  /** What names of classes begin with, to transformers' `model_type`. */
  readonly modelTypes: ReadonlyMap<string, string>;
  /** Paths of modules that newer versions of transformers call otherwise than their own checkpoints do: what stands there, and what in checkpoints. */
  readonly renamed: readonly (readonly [RegExp, string])[];
  /** Paths of modules as checkpoints have them, and since which version a library calls them otherwise. */
  readonly newer: readonly (readonly [RegExp, string])[];
  /** Paths of parameters, and further names under which checkpoints hold them. */
  readonly copied: readonly (readonly [RegExp, string])[];
  /** Paths of parameters, and the tensor that serves each where a checkpoint has none of its own. */
  readonly otherwise: readonly (readonly [RegExp, string])[];
  /** By PEFT's name of the task. */
  readonly tasks: ReadonlyMap<string, TaskMapping>;
  /** Types known by name that are not built, and what they are. */
  readonly refused: ReadonlyMap<string, string>;
}
