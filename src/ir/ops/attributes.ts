/** The attributes of each op that has any: what `make` takes and `attrsOf` gives. */

import type { HalfFormat } from "../../ground/weights.ts";
import type { Dim } from "../dim.ts";
import { Bug } from "../errors.ts";
import type { Attrs, DType, Node } from "../graph.ts";
import type { MovementAttrs } from "./movement.ts";
import type { OpName } from "./op.ts";

type Axes = { readonly axes: readonly number[] };
type Axis = { readonly axis: number };
type Ratio = { readonly num: number; readonly den: number };
type Declared = { readonly name: string; readonly shape: readonly Dim[]; readonly dtype: DType };
type Block = { readonly block: number };
type Half = { readonly format: HalfFormat };
type Bits = { readonly bits: number };
type Shape = { readonly shape: readonly Dim[] };

export type AttrsOf = MovementAttrs & {
  cast: { readonly dtype: DType };
  reduce_sum: Axes;
  reduce_max: Axes;
  reduce_min: Axes;
  argmax: Axis;
  cumsum: Axis;
  /** `zeros`: of which side a third operand counts what is not 0. */
  dot: {
    readonly lhsBatch: readonly number[];
    readonly rhsBatch: readonly number[];
    readonly lhsContract: readonly number[];
    readonly rhsContract: readonly number[];
    readonly zeros?: "lhs" | "rhs";
  };
  scatter_add: { readonly rows: Dim };
  write: Axis;
  const: Shape & { readonly dtype: DType; readonly data: readonly Dim[] };
  iota: Shape & Axis;
  draw: Shape & { readonly kind: "uniform" | "normal" | "bits" };
  input: Declared;
  state: Declared;
  /** f32 without a `dtype`; words that are made of weights at loading have one. */
  param: Omit<Declared, "dtype"> & Partial<Pick<Declared, "dtype">>;
  arg: { readonly index: number };
  quantise: Block;
  dequantise: Block & Shape;
  narrow: Half;
  widen: Half & Shape;
  /** `segment`: see `ir/reverse/rounded.ts`. */
  couple: Ratio & { readonly segment?: number };
  uncouple: Ratio & { readonly segment?: number };
  remainder: Ratio;
  couple_wide: Ratio;
  uncouple_wide: Ratio;
  remainder_wide: Ratio;
  pack: Bits;
  unpack: Bits & Shape;
  /** `follows`: which iteration of another loop each iteration goes with; the others name iterations, see `ir/loops/names.ts`. */
  loop: {
    readonly id?: string;
    readonly of?: number;
    readonly iterations?: readonly number[];
    readonly paths?: readonly string[];
    readonly follows?: readonly number[];
  };
  get: { readonly output: "carried" | "export" | "joined"; readonly index: number; readonly iteration?: number };
};
export type AttrsFor<K extends OpName> = K extends keyof AttrsOf ? AttrsOf[K] : Readonly<Record<never, never>>;

/** What is given for them: nothing, where there are none. */
export type Given<K extends OpName> = object extends AttrsFor<K> ? [attrs?: AttrsFor<K>] : [attrs: AttrsFor<K>];

/** The attributes of a node of that op; of another it would be our mistake to ask. */
export function attrsOf<K extends keyof AttrsOf>(n: Pick<Node, "op" | "attrs">, ...ops: readonly K[]): AttrsOf[K] {
  if (!(ops as readonly string[]).includes(n.op)) throw new Bug(`asked for attributes of ${ops.join(" or ")}, this is ${n.op}`);
  return n.attrs as Attrs as AttrsOf[K];
}
