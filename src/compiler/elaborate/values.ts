/**
 * What expressions evaluate to. Static values are plain JavaScript data where they can be; everything that has identity or is computed
 * when asked is a class. Tensors are graph nodes.
 */
import type { Dim, Poly } from "../../ir/dim.ts";
import type { Node, Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import type { AdapterFile, DatasetSpec, TokenizerFacts, TokenizerSource } from "../project.ts";
import type { Attachment, Site } from "./attachment.ts";
import type { Call } from "./builtins/table.ts";
import type { Frame } from "./frame.ts";
import type { Instance } from "./instance.ts";
import type { Here, Scope } from "./scope.ts";
import type { Storage } from "./storage.ts";
import type { Thunk } from "./thunk.ts";

export type Value =
  | number
  | boolean
  | string
  | null
  | readonly Value[]
  | Fields
  | Size
  | Tensor
  | Closure
  | Builtin
  | ModuleDecl
  | MethodDecl
  | RoleDecl
  | TypeDecl
  | Applied
  | Instance
  | Evaluated
  | Storage
  | SiteNames
  | CallValue
  | Attachment
  | Site
  | Selection
  | Chain
  | Start
  | Dataset
  | Tokenizer
  | Loaded
  | WithGiven
  | Fit;

/** A record. `type` is the declaration that checked its fields, if one did. */
export class Fields {
  readonly kind = "record";
  constructor(
    readonly entries: ReadonlyMap<string, Value>,
    readonly type?: TypeDecl,
  ) {}
  /** Entries that are there already: some are made when they are asked for. */
  own(): Iterable<[string, Value]> {
    return Map.prototype.entries.call(this.entries) as MapIterator<[string, Value]>;
  }
}

/** A whole number that the batch settles: a size as a value. */
export class Size {
  readonly kind = "size";
  constructor(readonly dim: Poly) {}
}

export class Tensor {
  readonly kind = "tensor";
  constructor(readonly node: Node) {}
}

export class Closure {
  readonly kind = "fn";
  constructor(
    readonly name: string,
    readonly params: readonly ast.Param[],
    readonly results: readonly ast.Param[] | undefined,
    readonly body: ast.Expr | readonly ast.Statement[],
    readonly scope: Scope,
    readonly span: Span,
  ) {}
}

/** A function of the compiler's: an op, or one of the host's. */
export class Builtin {
  readonly kind = "builtin";
  constructor(
    readonly name: string,
    readonly doc: string,
    readonly params: readonly BuiltinParam[],
    readonly run: (args: BuiltinArgs, call: Call) => Value,
  ) {}
}
export interface BuiltinParam {
  readonly name: string;
  readonly optional?: boolean;
  /** Takes all remaining positional arguments. */
  readonly rest?: boolean;
  /** Wants a selection: a path here is not evaluated as a value. */
  readonly selection?: boolean;
}
/** How people write a call: `topk(x, k)`, with `?` what may be left out. */
export const signature = ({ name, params }: Builtin): string =>
  `${name}(${params.map((p) => `${p.rest ? "..." : ""}${p.name}${p.optional ? "?" : ""}`).join(", ")})`;

type BuiltinArgs = Readonly<Record<string, Value | undefined>>;

export class ModuleDecl {
  readonly kind = "module";
  constructor(
    readonly decl: ast.Module,
    readonly scope: Scope,
  ) {}
  get name(): string {
    return this.decl.name.text;
  }
}
export class MethodDecl {
  readonly kind = "method";
  constructor(
    readonly decl: ast.Method,
    readonly scope: Scope,
    /** `std/methods/lora`: the file, as an import names it. */
    readonly file: string,
  ) {}
  get name(): string {
    return this.decl.name.text;
  }
}
export class RoleDecl {
  readonly kind = "role";
  constructor(
    readonly decl: ast.Role,
    readonly scope: Scope,
  ) {}
  get name(): string {
    return this.decl.name.text;
  }
}
export class TypeDecl {
  readonly kind = "type";
  constructor(
    readonly decl: ast.Type,
    readonly scope: Scope,
  ) {}
  get name(): string {
    return this.decl.name.text;
  }
}

/** A method with its options given, not yet attached. Options are expressions still: they may use the sizes of a site. */
export class Applied {
  readonly kind = "applied";
  constructor(
    readonly method: MethodDecl,
    readonly args: readonly ast.Argument[],
    readonly scope: Scope,
    readonly span: Span,
    /** Options given as values rather than text (an adapter read from disk, a copy). They win. */
    readonly values: ReadonlyMap<string, Value> = new Map(),
  ) {}
  /** Its options as they were when they were first asked for: names in them may stand for something else later. */
  given: ReadonlyMap<string, { readonly value: Value; readonly span: Span }> | undefined;
}

/** `eval(m)`: the same module with `training` false. */
export class Evaluated {
  readonly kind = "evaluated";
  constructor(readonly instance: Instance) {}
}

/** The result of calling a module: stands for its first output, answers to all its names. */
export class CallValue {
  readonly kind = "call";
  constructor(
    readonly frame: Frame,
    /** Names of a role that the module fills, to its own. */
    readonly roleNames?: ReadonlyMap<string, readonly string[]>,
  ) {}
}

/** A place a selector found. */
export type Place =
  | { readonly kind: "module"; readonly instance: Instance; readonly role?: RoleDecl | undefined }
  | { readonly kind: "param"; readonly storage: Storage }
  /** `within`: the value is that of the call of its module below this call. */
  | {
      readonly kind: "value";
      readonly instance: Instance;
      readonly role?: RoleDecl | undefined;
      readonly name: string;
      readonly within?: Frame;
    }
  | { readonly kind: "site"; readonly site: Site; readonly role?: RoleDecl | undefined }
  /** A list of children, on the way to its elements. */
  | { readonly kind: "list"; readonly items: readonly Instance[] }
  /** A run of a list of children that one loop of `parent` carries a value through; `first` is the iteration of the first of them. */
  | {
      readonly kind: "chain";
      readonly parent: Instance;
      readonly blocks: readonly Instance[];
      readonly loop: ast.For;
      /** What the loop calls the block, and what else it names, iteration by iteration. */
      readonly variable: string;
      readonly beside: readonly ReadonlyMap<string, Value>[];
      readonly first: number;
      readonly carried: string;
    };

export class Selection {
  readonly kind = "selection";
  constructor(
    readonly places: readonly Place[],
    readonly text: string,
    /** The call that the selector starts at, if it starts at one: values are those below it. */
    readonly call?: Frame,
  ) {}
}

/** `site`: what the site itself calls its names, where a method's own hide them. */
export class SiteNames {
  readonly kind = "names";
  constructor(readonly read: (name: string) => Value | undefined) {}
}

/** A run of blocks that one loop carries a value through, as a method on a list sees it. */
export class Chain {
  readonly kind = "chain";
  constructor(readonly iterations: readonly ChainIteration[]) {}
}
/** One iteration as a function of the carried value; other names of the block may be given instead. */
type ChainIteration = (x: Value | undefined, given: ReadonlyMap<string, Thunk<Value>>, here: Here, span: Span) => Value;

/** `fit(params: n)`: the largest whole number that keeps its attachment within n parameters. */
export class Fit {
  readonly kind = "fit";
  constructor(
    readonly params: number,
    readonly span: Span,
  ) {}
}

/** A module to be called with some of its values given: what an iteration of a chain puts in the place of its block. */
export class WithGiven {
  readonly kind = "given";
  constructor(
    readonly instance: Instance,
    readonly given: ReadonlyMap<string, Thunk<Value>>,
  ) {}
}

/** A start that takes its shape from where it stands: `normal(0.02)`, `uniform(a, b)`. */
export class Start {
  readonly kind = "start";
  constructor(
    readonly draw: "normal" | "uniform",
    /** A value is `offset + scale · draw`. */
    readonly offset: number,
    readonly scale: number,
    readonly span: Span,
  ) {}
}

export class Dataset {
  readonly kind = "dataset";
  constructor(readonly spec: DatasetSpec) {}
}

export class Tokenizer {
  readonly kind = "tokenizer";
  constructor(
    readonly folder: string,
    readonly facts: TokenizerFacts,
    /** Numbers of the folder's tokens that this one has, where it has not all of them. */
    readonly kept?: readonly number[],
  ) {}
  get size(): number {
    return this.facts.size;
  }
  get ids(): Readonly<Record<string, number>> {
    return this.facts.ids;
  }
  get source(): TokenizerSource {
    return this.kept === undefined ? this.folder : { folder: this.folder, kept: this.kept };
  }
}

/** An adapter on disk: `load("folder")`. Attached, it goes to the places that it names. */
export class Loaded {
  readonly kind = "loaded";
  constructor(
    readonly folder: string,
    readonly file: AdapterFile,
    /** Options that no file can hold, such as other attachments. */
    readonly given: ReadonlyMap<string, Value>,
    readonly span: Span,
    /** Those that it was read from: more than one of a combination. */
    readonly folders: readonly string[] = [folder],
  ) {}
}

export const sizeValue = (d: Dim): Value => (typeof d === "number" ? d : new Size(d));

/** What a value is, for messages. */
export function describe(v: Value): string {
  if (v === null) return "`none`";
  if (typeof v === "number") return Number.isInteger(v) ? `the int ${v}` : `the float ${v}`;
  if (typeof v === "boolean") return `the bool ${v}`;
  if (typeof v === "string") return `the string "${v.length > 30 ? `${v.slice(0, 29)}…` : v}"`;
  if (Array.isArray(v)) return `a list of ${v.length}`;
  const o = v as Exclude<Value, number | boolean | string | null | readonly Value[]>;
  switch (o.kind) {
    case "tensor":
      return `a tensor ${o.node.type.dtype}[${o.node.type.shape.join(", ")}]`;
    case "size":
      return `the size ${o.dim}`;
    case "record":
      return o.type ? `a ${o.type.name}` : "a record";
    case "fn":
    case "builtin":
      return `the function \`${o.name}\``;
    case "module":
    case "method":
    case "role":
    case "type":
      return `the ${o.kind} ${o.name}`;
    case "applied":
      return `${o.method.name}(…)`;
    case "instance":
      return `the module ${o.fullPath || o.decl.name.text} (${o.decl.name.text})`;
    case "storage":
      return `the ${o.role} ${o.name}`;
    case "call":
      return `a call of ${o.frame.instance.decl.name.text}`;
    case "attachment":
      return `the attachment \`${o.name}\``;
    case "selection":
      return `a selection of ${o.places.length}`;
    default:
      return {
        evaluated: "a module",
        names: "a site",
        site: "a site",
        chain: "a chain of blocks",
        start: "a start",
        dataset: "a table of data",
        tokenizer: "a tokenizer",
        loaded: "an adapter from disk",
        given: "a module",
        fit: "a size to be fitted",
      }[o.kind];
  }
}
