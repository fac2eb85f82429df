/**
 * Names and where code runs. Statements are not executed: a name is looked for backwards from where it is read, and what it stands for is
 * computed then. So an `if` is decided only when a name it binds is wanted, and what nobody wants is never computed.
 */

import type { Iteration, Node, Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import type { AdapterCombination, AdapterFile, NumberSource, Static } from "../project.ts";
import type { Site } from "./attachment.ts";
import type { Frame } from "./frame.ts";
import type { MethodFrame } from "./method-frame.ts";
import type { Storage } from "./storage.ts";
import type { Fields, ModuleDecl, RoleDecl, Tokenizer, TypeDecl, Value } from "./values.ts";
import type { Reader } from "./versions.ts";
import type { Work } from "./work.ts";

/** Where code runs: what its nodes say about their origin, which modes hold, and as whom it reads names. */
export interface Here {
  /** Path of the module or site, for messages, kernels' names and draws. */
  readonly path: string;
  readonly iteration?: Iteration | undefined;
  readonly training: boolean;
  /** The call whose code this is. */
  readonly frame?: Frame | undefined;
  readonly methodFrame?: MethodFrame;
  readonly reader?: Reader | undefined;
  /** Which calls of functions led here, as places in their texts: tells two draws of one function apart. */
  readonly calls: string;
}

/** What a name stands for: its value for whom reads it. */
export type Read = (reader: Here) => Value;

export interface Scope {
  readonly here: Here;
  find(name: string): Read | undefined;
  /** All names that can be found, nearest first: for suggestions. */
  names(): string[];
}

/** Names in front of those of another scope. */
export class Names implements Scope {
  constructor(
    private readonly table: ReadonlyMap<string, Read>,
    private readonly outer: Scope,
    readonly here: Here = outer.here,
  ) {}
  find(name: string): Read | undefined {
    return this.table.get(name) ?? this.outer.find(name);
  }
  names(): string[] {
    return [...this.table.keys(), ...this.outer.names()];
  }
}

/** A scope seen from elsewhere: the same names, read as somebody else. */
export class Seen implements Scope {
  constructor(
    private readonly of: Scope,
    readonly here: Here,
  ) {}
  find(name: string): Read | undefined {
    return this.of.find(name);
  }
  names(): string[] {
    return this.of.names();
  }
}

export const fixed =
  (value: Value): Read =>
  () =>
    value;

/**
 * What evaluating needs of whoever evaluates; passed in so that the files of this folder need not import each other in circles. The one
 * implementation is `Elaborator`.
 */
export interface Evaluator {
  /** Counts what compiling takes. */
  readonly work: Work;
  evaluate(expr: ast.Expr, scope: Scope): Value;
  /** A static condition: a tensor is an error that names `where`. */
  condition(expr: ast.Expr, scope: Scope): boolean;
  /** The elements of a list, or of what stands for one. */
  elements(value: Value, span: Span, what?: string): readonly Value[];
  closure(fn: ast.Function, scope: Scope): Value;
  require(statement: ast.Require, scope: Scope, userSpan: Span): void;
  /** Whether a parameter's declared start says that it does not exist. */
  isStaticNone(start: ast.Expr, scope: Scope): boolean;
  /** Whether a parameter's start says that it stays as it is: `fixed(…)`, in a static branch perhaps. */
  isFixed(start: ast.Expr | undefined, scope: Scope): boolean;
  member(value: Value, name: string, span: Span, scope: Scope): Value;
  suggestions(name: string, valid: readonly string[]): string[];
  roleCapital(site: Site, name: string, frame: MethodFrame): Read | undefined;
  readStorage(storage: Storage, name: string, reader: Here, span: Span): Value;
  /** An input that nobody gave, as a column of the data. */
  askData(input: ast.Param, forward: ast.Forward, sizes: Scope): Value;
  node(v: Value, here: Here, span: Span): Node;
  ordinalOf(expr: ast.Expr): number;
  resolvePath(path: string, span: Span): string;
  /** Text of a file that a function of the host looks at while compiling. */
  readText(path: string): string | undefined;
  /** `merge(m, …)`: a plain model with the attachments folded in. */
  merge(model: Value, fields: Fields, tokenizer: Value | undefined, span: Span): Value;
  /** A number that a run makes between stages. */
  lateNumber(source: NumberSource, span: Span): Value;
  /** Work that a run cannot do yet: the file compiles, running it stops here and says so. */
  unbuilt(what: string, span: Span): void;
  tokenizerIn(folder: string, span: Span): Tokenizer;
  /** An adapter's folder; a malformed file is an error at `span`. */
  readAdapter(folder: string, span: Span): AdapterFile | undefined;
  combineAdapters(
    folders: readonly string[],
    combination: AdapterCombination,
    span: Span,
  ): { readonly folder: string; readonly file: AdapterFile };
  staticValue(v: Value, span: Span): Static;
  staticOptions(options: Readonly<Record<string, Value | undefined>>, span: Span): Record<string, Static>;
  drawKey(here: Here, call: ast.Expr, span: Span): [number, number];
  /** Whether a module fills a role, or is of a module type. */
  fills(instance: Value, role: RoleDecl | ModuleDecl): boolean;
  rolesOf(instance: Value): string[];
  record(type: TypeDecl, fields: Fields, span: Span): Value;
}
