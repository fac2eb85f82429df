/**
 * The syntax tree: what `read` makes of a text, and all that later rooms know of syntax. Every node has a `kind` and the `span` of its
 * first to last character; names are nodes of their own, so that a message can point at one. Trees are plain data and never changed.
 *
 * Names of productions and their order are those of `grammar/grammar.ebnf`. What the grammar says in several levels (sums of products of
 * powers) is one kind here, `Binary`.
 */
import type { Span } from "../ir/graph.ts";

interface Node {
  readonly span: Span;
}

/** A name, where it is declared, mentioned or used as an expression. After a dot it may be a whole number: `mlp.0`. */
export interface Name extends Node {
  readonly kind: "Name";
  readonly text: string;
}

/** `a.b.c`, from the left. */
export interface Path extends Node {
  readonly kind: "Path";
  readonly names: readonly Name[];
}

// ── a file ───────────────────────────────────────────────────────────────────────────────────────

export interface Program extends Node {
  readonly kind: "Program";
  /** The imports among `items`. */
  readonly imports: readonly Import[];
  /** Everything, in the order of the file. */
  readonly items: readonly Item[];
}

export type Item = Import | Type | Role | Module | Method | Function | Statement;

export interface Import extends Node {
  readonly kind: "Import";
  readonly names: readonly ImportName[];
  readonly from: StringLiteral;
}
export interface ImportName extends Node {
  readonly kind: "ImportName";
  /** As the other file declares it. */
  readonly name: Name;
  /** As this file calls it: `norm as frobenius`. */
  readonly as: Name | undefined;
}

export interface Type extends Node {
  readonly kind: "Type";
  readonly name: Name;
  readonly fields: readonly Field[];
}
export interface Role extends Node {
  readonly kind: "Role";
  readonly name: Name;
  /** `role A as B`: an A is a B. */
  readonly parent: Name | undefined;
  readonly fields: readonly Field[];
}
/** `name: type = start`: a field of a record or role, an input, a parameter. */
export interface Field extends Node {
  readonly kind: "Field";
  readonly name: Name;
  readonly type: TypeRef;
  readonly start: Expr | undefined;
}

export interface Module extends Node {
  readonly kind: "Module";
  readonly name: Name;
  readonly params: readonly Param[];
  readonly fills: readonly Fills[];
  readonly members: readonly Member[];
}
export interface Method extends Node {
  readonly kind: "Method";
  readonly name: Name;
  readonly params: readonly Param[];
  /** What it is attached to: a role, module or method, or a list of one. */
  readonly on: TypeRef;
  readonly fills: readonly Fills[];
  readonly members: readonly Member[];
}
/** `as Role(name: path, ...)`. */
export interface Fills extends Node {
  readonly kind: "Fills";
  readonly role: Name;
  readonly names: readonly Filled[];
}
export interface Filled extends Node {
  readonly kind: "Filled";
  /** The role's name, and what has it here. */
  readonly name: Name;
  readonly path: Path;
}
/** An argument, input or output as it is declared. */
export interface Param extends Node {
  readonly kind: "Param";
  readonly name: Name;
  readonly type: TypeRef | undefined;
  readonly default: Expr | undefined;
}

// ── members ──────────────────────────────────────────────────────────────────────────────────────

export type Member = Parameter | SharedChild | State | Input | Forward | Function | Statement;

export interface Parameter extends Node {
  readonly kind: "Parameter";
  readonly shared: boolean;
  readonly frozen: boolean;
  readonly field: Field;
}
/** `shared name = e`: one child for all sites. */
export interface SharedChild extends Node {
  readonly kind: "SharedChild";
  readonly name: Name;
  readonly value: Expr;
}
export interface State extends Node {
  readonly kind: "State";
  readonly name: Name;
  readonly type: TypeRef | undefined;
  readonly start: Expr;
}
/** A column asked of the data. */
export interface Input extends Node {
  readonly kind: "Input";
  readonly field: Field;
}
export interface Forward extends Node {
  readonly kind: "Forward";
  readonly params: readonly Param[];
  readonly results: readonly Param[];
  readonly body: readonly Statement[];
}
export interface Function extends Node {
  readonly kind: "Function";
  readonly name: Name;
  readonly params: readonly Param[];
  /** Given with a body of statements, and only then. */
  readonly results: readonly Param[] | undefined;
  readonly body: Expr | readonly Statement[];
}

// ── statements ───────────────────────────────────────────────────────────────────────────────────

export type Statement = Model | Attach | Detach | Require | For | If | Stage | Binding;

/** `model m = M(...) from "folder" except **.classifier`: the `except` is part of `from`. */
export interface Model extends Node {
  readonly kind: "Model";
  readonly name: Name;
  readonly value: Expr;
  readonly from: Expr | undefined;
}
export interface Attach extends Node {
  readonly kind: "Attach";
  readonly name: Name;
  readonly value: Expr;
  readonly to: Expr;
  readonly expect: Expr | undefined;
}
export interface Detach extends Node {
  readonly kind: "Detach";
  readonly selection: Expr;
}
export interface Require extends Node {
  readonly kind: "Require";
  readonly condition: Expr;
  readonly reason: StringLiteral | undefined;
}
export interface For extends Node {
  readonly kind: "For";
  readonly names: readonly Name[];
  readonly list: Expr;
  readonly body: readonly Statement[];
}
export interface If extends Node {
  readonly kind: "If";
  readonly condition: Expr;
  readonly then: readonly Statement[];
  /** `else if` is a list of one `If`. */
  readonly else: readonly Statement[] | undefined;
}
/** `verb name { field = e ...e }`. */
export interface Stage extends Node {
  readonly kind: "Stage";
  readonly verb: Name;
  readonly name: Name | undefined;
  readonly settings: readonly (Setting | Spread)[];
}
export interface Setting extends Node {
  readonly kind: "Setting";
  readonly name: Name;
  readonly value: Expr;
}
/** `=` names values, `:=` rebinds. There are as many values as targets, or one value that is taken apart. */
export interface Binding extends Node {
  readonly kind: "Binding";
  readonly targets: readonly Path[];
  readonly op: "=" | ":=";
  readonly values: readonly Expr[];
}

// ── types ────────────────────────────────────────────────────────────────────────────────────────

export type TypeRef = NamedType | ListType | FnType;

/** `int`, `LoRA`, `f32[B, S]`, with `?` where it may be `none`. */
export interface NamedType extends Node {
  readonly kind: "NamedType";
  readonly name: Name;
  /** `[]` for a scalar tensor `f32[]`, `undefined` where no bracket is written. */
  readonly dims: readonly Dim[] | undefined;
  readonly optional: boolean;
}
export interface ListType extends Node {
  readonly kind: "ListType";
  readonly element: TypeRef;
  readonly optional: boolean;
}
export interface FnType extends Node {
  readonly kind: "FnType";
  readonly optional: boolean;
}
export type Dim = Expr | Rest;

/** `...` among sizes or indices: any leading sizes, all axes in between. */
export interface Rest extends Node {
  readonly kind: "Rest";
}

// ── expressions ──────────────────────────────────────────────────────────────────────────────────

export type Expr =
  | NumberLiteral
  | StringLiteral
  | BoolLiteral
  | NoneLiteral
  | Name
  | List
  | Comprehension
  | RecordLiteral
  | Unary
  | Binary
  | Compare
  | Logic
  | Default
  | Conditional
  | Lambda
  | Call
  | Index
  | MemberAccess
  | Select
  | Range
  | Except;

export interface NumberLiteral extends Node {
  readonly kind: "Number";
  /** With the unit multiplied in: `256MB` is 256 000 000, `2min` is 120. */
  readonly value: number;
  readonly unit: string | undefined;
  /** Written without a dot or exponent. */
  readonly isInt: boolean;
}
export interface StringLiteral extends Node {
  readonly kind: "String";
  /** Escapes resolved. */
  readonly value: string;
}
interface BoolLiteral extends Node {
  readonly kind: "Bool";
  readonly value: boolean;
}
interface NoneLiteral extends Node {
  readonly kind: "None";
}

export interface List extends Node {
  readonly kind: "List";
  readonly items: readonly (Expr | Spread)[];
}
/** `[element for names in list if condition]`. */
export interface Comprehension extends Node {
  readonly kind: "Comprehension";
  readonly element: Expr | Spread;
  readonly names: readonly Name[];
  readonly list: Expr;
  readonly condition: Expr | undefined;
}
export interface RecordLiteral extends Node {
  readonly kind: "Record";
  readonly entries: readonly (Entry | Spread)[];
}
export interface Entry extends Node {
  readonly kind: "Entry";
  /** A string key is a name whose text is the string's value. */
  readonly key: Name;
  readonly value: Expr;
}
/** `...e` in a list, call, record or stage. */
export interface Spread extends Node {
  readonly kind: "Spread";
  readonly value: Expr;
}

export interface Unary extends Node {
  readonly kind: "Unary";
  readonly op: "-" | "not";
  readonly operand: Expr;
}
export type BinaryOp = "+" | "-" | "*" | "/" | "%" | "@" | "**";
export interface Binary extends Node {
  readonly kind: "Binary";
  readonly op: BinaryOp;
  readonly left: Expr;
  readonly right: Expr;
}
export type CompareOp = "==" | "!=" | "<" | "<=" | ">" | ">=";
export interface Compare extends Node {
  readonly kind: "Compare";
  readonly op: CompareOp;
  readonly left: Expr;
  readonly right: Expr;
}
export interface Logic extends Node {
  readonly kind: "Logic";
  readonly op: "and" | "or";
  readonly left: Expr;
  readonly right: Expr;
}
/** `left ?? right`. */
export interface Default extends Node {
  readonly kind: "Default";
  readonly left: Expr;
  readonly right: Expr;
}
export interface Conditional extends Node {
  readonly kind: "Conditional";
  readonly condition: Expr;
  readonly then: Expr;
  readonly else: Expr;
}
export interface Lambda extends Node {
  readonly kind: "Lambda";
  readonly params: readonly Param[];
  readonly body: Expr;
}
/** `start..end`, without its end. `end` may be missing inside `[ ]` of an index only. */
export interface Range extends Node {
  readonly kind: "Range";
  readonly start: Expr;
  readonly end: Expr | undefined;
}
export interface Except extends Node {
  readonly kind: "Except";
  readonly left: Expr;
  readonly right: Expr;
}

export interface Call extends Node {
  readonly kind: "Call";
  readonly callee: Expr;
  readonly args: readonly Argument[];
}
export type Argument = Positional | Named | Spread;
export interface Positional extends Node {
  readonly kind: "Positional";
  readonly value: Expr;
}
export interface Named extends Node {
  readonly kind: "Named";
  readonly name: Name;
  readonly value: Expr;
}

export interface Index extends Node {
  readonly kind: "Index";
  readonly object: Expr;
  readonly items: readonly IndexItem[];
}
export type IndexItem = At | Slice | Star | Rest;
/** One index; a `Range` picks several of a list. */
export interface At extends Node {
  readonly kind: "At";
  readonly value: Expr;
}
/** `start:stop:step`. */
export interface Slice extends Node {
  readonly kind: "Slice";
  readonly start: Expr | undefined;
  readonly stop: Expr | undefined;
  readonly step: Expr | undefined;
}
/** `[*]`: every element. */
export interface Star extends Node {
  readonly kind: "Star";
}

/** `object.name`. The name may be any word, or digits. */
interface MemberAccess extends Node {
  readonly kind: "Member";
  readonly object: Expr;
  readonly name: Name;
}
/** `object.**`, `object.**: Role`, `object.*`, `object.{a.b, c}`; without an object a path from the root of what it is said of. */
export interface Select extends Node {
  readonly kind: "Select";
  readonly object: Expr | undefined;
  readonly step: Deep | Any | Alternatives;
}
export type Step = Child | Deep | Any | Alternatives;
export interface Child extends Node {
  readonly kind: "Child";
  readonly name: Name;
}
/** `**`: any number of levels, none too; with a role those below that fill it. */
export interface Deep extends Node {
  readonly kind: "Deep";
  readonly role: Name | undefined;
}
/** `*`: any one child. */
export interface Any extends Node {
  readonly kind: "Any";
}
/** `{a.b, c.{d, e}}`: each path is a list of steps. */
export interface Alternatives extends Node {
  readonly kind: "Alternatives";
  readonly paths: readonly (readonly Step[])[];
}
