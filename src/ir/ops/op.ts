/**
 * What a row of the op table says. Passes read these columns, never an op's name; the compiler refuses a row that lacks one.
 * The columns that differentiate come in five forms (`Differentiation`), so that a row gives exactly what its form needs.
 */
import type { Builder } from "../build.ts";
import type { Dim } from "../dim.ts";
import type { Attrs, DType, Node, Type } from "../graph.ts";
import type { MovementAttrs } from "./movement.ts";
import type { Reads } from "./reads.ts";
import type { Tensor } from "./tensor.ts";

export type FunctionName = "exp" | "log" | "sqrt" | "sin" | "cos" | "tanh" | "erf" | "abs" | "sign" | "floor" | "ceil" | "round";
/** Functions of one operand that the language writes as signs and words. */
export type OperatorName = "neg" | "not";
export type UnaryName = FunctionName | OperatorName;
export type ArithmeticName = "add" | "sub" | "mul" | "div" | "pow" | "max" | "min" | "mod";
export type CompareName = "eq" | "ne" | "lt" | "le" | "gt" | "ge";
export type LogicName = "and" | "or";
export type BinaryName = ArithmeticName | CompareName | LogicName;
export type MapName = UnaryName | BinaryName | "where" | "cast";
export type ReduceName = "reduce_sum" | "reduce_max" | "reduce_min";
export type ReductionName = ReduceName | "argmax";
export type ContractionName = "dot";
export type MovementName = keyof MovementAttrs;
export type IndexingName = "gather" | "scatter_add" | "write" | "dequantise" | "widen";
export type OrderName = "cumsum" | "kth";
export type SourceName = "const" | "iota" | "input" | "param" | "state" | "arg" | "draw";
export type HostName = "svd_u" | "svd_s" | "svd_v" | "qr_q" | "qr_r" | "quantise" | "narrow" | "solve";
export type CouplingName = "couple" | "uncouple" | "remainder" | "pack" | "unpack";
export type WideName = "couple_wide" | "uncouple_wide" | "remainder_wide" | "to_words" | "from_words";
export type SpecialName = "stop_gradient" | "fence" | "grad" | "jvp" | "loop" | "get";
export type OpName =
  | MapName
  | ReductionName
  | ContractionName
  | MovementName
  | IndexingName
  | OrderName
  | SourceName
  | HostName
  | CouplingName
  | WideName
  | SpecialName;

/**
 * product: `dot` · sum: elementwise, linear in all operands together · scale: elementwise, linear in the first operand for a fixed second ·
 * map: any other elementwise function · move: elements change place, none is computed · reduce: axes disappear · scan: order along an
 * axis matters · index: data chooses the place · source: no operands that carry data · host: computed on the host at loading ·
 * barrier: the identity, which no gradient passes · placeholder: expanded by the `grad` pass · region: loops and what reads them.
 * Elementwise are exactly the rows with a `scalar`.
 */
export type Role =
  | "product"
  | "sum"
  | "scale"
  | "map"
  | "move"
  | "reduce"
  | "scan"
  | "index"
  | "source"
  | "host"
  | "barrier"
  | "placeholder"
  | "region";

/** Decides whether two sizes are equal; the elaborator's also solves for symbols. */
export interface Solver {
  equal(a: Dim, b: Dim): boolean;
}

/** `cotangent` has the type of `node`. `b` is bound to where the gradient's nodes come from. */
interface VjpContext {
  readonly b: Builder;
  readonly node: Node;
  readonly inputs: readonly Node[];
  readonly cotangent: Node;
  /** Whether the cotangent of the i-th operand is used at all; a row may leave out what nobody wants. */
  wants(i: number): boolean;
}
interface JvpContext {
  readonly b: Builder;
  readonly node: Node;
  readonly inputs: readonly Node[];
  /** One an operand, of the operand's type; `undefined` is zero. At least one is given. */
  readonly tangents: readonly (Node | undefined)[];
}
/** One an operand, of the operand's type; `undefined` is zero, or not wanted. */
type Cotangents = readonly (Node | undefined)[];
/** ∂output/∂operand, elementwise, of the output's shape. */
export type PartialDerivative = (b: Builder, inputs: readonly Node[], output: Node) => Node;

type Without<K extends string> = { readonly [key in K]?: undefined };
export type Differentiation =
  /** Constant wherever it is differentiable. */
  | ({ readonly vjp: "zero" } & Without<"partials" | "transpose" | "linear" | "expansion" | "jvp">)
  /** Not differentiable in this version: whoever meets it on the way to a wanted gradient throws `Limit`. */
  | ({ readonly vjp: "refused" } & Without<"partials" | "transpose" | "linear" | "expansion" | "jvp">)
  /** Elementwise: cotangent · partial, tangent · partial. `undefined`: zero. */
  | ({ readonly vjp: "by partials"; readonly partials: readonly (PartialDerivative | undefined)[] } & Without<
      "transpose" | "linear" | "expansion" | "jvp"
    >)
  /**
   * Linear, or linear in each of several groups of operands. `linear` lists the groups, `"all"` being one group of all operands: the
   * tangent is the sum over groups of the op itself with the group's operands replaced by their tangents.
   */
  | ({
      readonly vjp: "by transpose";
      readonly transpose: (context: VjpContext) => Cotangents;
      readonly linear: readonly (readonly number[])[] | "all";
    } & Without<"partials" | "expansion" | "jvp">)
  /** Its meaning is a composition of other ops; differentiate that. */
  | ({ readonly vjp: "by expansion"; readonly expansion: (b: Builder, node: Node) => Node } & Without<
      "partials" | "transpose" | "linear" | "jvp"
    >)
  | ({ readonly vjp: (context: VjpContext) => Cotangents; readonly jvp: (context: JvpContext) => Node | undefined } & Without<
      "partials" | "transpose" | "linear" | "expansion"
    >);

/** A call of the row that the laws walk: sizes are small, values lie where the op is smooth. */
export interface Example {
  readonly inputs: readonly Tensor[];
  readonly attrs: Attrs;
}

export interface Columns<A = Attrs> {
  /** One or two lines for the generated table: operands, attributes, meaning, source of conventions. */
  readonly doc: string;
  readonly role: Role;
  /**
   * The type of the result. Throws `TypeMismatch`. `nodes` are the operands themselves, for the few rows whose type is not a function of
   * the operands' types (`get`).
   */
  shape(inputs: readonly Type[], attrs: A, solver: Solver, nodes: readonly Node[]): Type;
  /** The meaning, in f64. `node` has bound sizes. Rows whose value comes from elsewhere (`supply`, regions, placeholders) throw `Bug`. */
  eval(inputs: readonly Tensor[], attrs: A, node: Node): Tensor;
  /** Elementwise rows: the scalar function that a kernel computes for each element. */
  readonly scalar?: MapName;
  /** Elementwise rows: the dtypes that operands may have (of `where`, its two choices). */
  readonly accepts?: readonly DType[];
  /**
   * Rows of the role `move`: which element of its operands each element of a result of that shape shows, for operands of these shapes. A move that
   * fills places up has the number as its attribute `value`.
   */
  reads?(shapes: readonly (readonly Dim[])[], attrs: A, shape: readonly Dim[]): Reads;
  /** Moves whose attributes name sizes: those of the same move where axes that it passes on have other sizes, so that its result has this shape. */
  resized?(attrs: A, shape: readonly number[]): Attrs;
  /** Moves that may be done to chosen rows: the attributes where the first `lead` axes, which it leaves as they are, have become `axes`. */
  leading?(attrs: A, lead: number, axes: number): Attrs;
  /** Facts that rewrites use. `identity`: e with f(x, e) = x (and f(e, x) = x where commutative). `absorbing`: z with f(x, z) = z. */
  readonly algebra?: { readonly commutative?: boolean; readonly identity?: number; readonly absorbing?: number } | undefined;
  /** Reductions: the value of no elements, and how two partial results merge. */
  readonly reduce?: { readonly identity: number; readonly merge: ArithmeticName };
  /** Sources whose value is handed in by name, or by the loop (`arg`). */
  readonly supply?: "input" | "param" | "state" | "arg";
  /**
   * Solves for an operand: given the result and the other operands, the i-th operand; `undefined` where that is not possible. Used to
   * run the body of a reversible loop backwards.
   */
  readonly invert?: (b: Builder, node: Node, i: number, result: Node) => Node | undefined;
  /**
   * Host rows: the same in ops that have kernels, for where the row is met in a step rather than at loading. A host row without it can
   * only be computed at loading.
   */
  readonly inStep?: (b: Builder, node: Node) => Node;
  /** Operands of whose row-major elements a run of the result's needs but the same run, in proportion, in whole blocks and words; others it needs whole. */
  readonly runs?: readonly number[];
  /** Host rows: the same on values as devices keep them, where nothing needs them in f64; `into`: where the result goes. */
  direct?(inputs: readonly (Float32Array | Int32Array)[], attrs: A, into: Int32Array): void;
  /** The operand that the result equals but for a part: what is computed lies over it. */
  readonly over?: number;
  /** Its operands are a packed form of its value: they are what is kept, and kernels compute the value where they read it. */
  readonly packed?: true;
  /**
   * How zeros spread, for the pass that lets products skip them. `any`: zero where any of these operands is · `all`: zero where all are ·
   * `makes`: makes zeros where none were: always, or where one of its choices (the operands of `all`) or its `value` is the number 0.
   */
  readonly sparse?:
    | { readonly any?: readonly number[]; readonly all?: readonly number[]; readonly makes?: "always" | "beside zero" }
    | undefined;
  readonly examples: readonly Example[];
}

export type Op<A = Attrs> = Columns<A> & Differentiation;
