/** How C spells each scalar function over a vector; what is more than an operator is in the prelude. One row a function. */

import type { StorageType } from "../../ground/program.ts";
import { Bug } from "../../ir/errors.ts";
import type { ScalarFunction } from "../kernels/kernel.ts";
import { atom, f32, i32 } from "./text.ts";

export interface Call {
  readonly args: readonly string[];
  /** The dtype of the last argument, and that of the result. */
  readonly from: StorageType;
  readonly to: StorageType;
  readonly width: number;
  /** The last argument, where it is a literal. */
  readonly constant: number | undefined;
}
type Spelling = (c: Call) => string;

/** The C type of a value; conditions are masks. */
export const vectorType = (dtype: StorageType, width: number): string => `${dtype === "f32" ? "vf" : "vi"}${width}`;
/** f or i: the end of a helper's name. */
export const letterOf = (dtype: StorageType): string => (dtype === "f32" ? "f" : "i");

export function literal(value: number, dtype: StorageType, width: number): string {
  if (dtype === "f32") return `splat_f${width}(${f32(value)})`;
  return `splat_i${width}(${dtype === "bool" ? (value ? "-1" : "0") : i32(value)})`;
}

const infix =
  (operator: string): Spelling =>
  ({ args: [a, b] }) =>
    `${atom(a)} ${operator} ${atom(b)}`;
const prefix =
  (operator: string): Spelling =>
  ({ args: [a] }) =>
    `${operator}${atom(a)}`;
/** A helper of that name, for the type of the arguments. */
const helper =
  (name: string, ...more: string[]): Spelling =>
  ({ args, from, width }) =>
    `${name}_${letterOf(from)}${width}(${[...args, ...more].join(", ")})`;
const inFloat =
  (spelling: Spelling): Spelling =>
  (c) =>
    c.from === "f32" ? spelling(c) : c.args[0];

/** Whole and half powers are products and roots. */
const smallPowers = new Map<number, (x: string, width: number) => string>([
  [1, (x) => x],
  [2, (x) => `${x} * ${x}`],
  [3, (x) => `${x} * ${x} * ${x}`],
  [4, (x) => `(${x} * ${x}) * (${x} * ${x})`],
  [0.5, (x, w) => `sqrt_f${w}(${x})`],
  [-0.5, (x, w) => `1.0f / sqrt_f${w}(${x})`],
  [-1, (x) => `1.0f / ${x}`],
  [-2, (x) => `1.0f / (${x} * ${x})`],
]);

/** Of a mask or of numbers. */
const compared =
  (operator: string): Spelling =>
  (c) =>
    infix(operator)(c);

const spellings: Readonly<Record<ScalarFunction, Spelling>> = {
  neg: prefix("-"),
  exp: helper("exp"),
  log: helper("log"),
  sqrt: helper("sqrt"),
  sin: helper("wave", "0"),
  cos: helper("wave", "1"),
  tanh: helper("tanh"),
  erf: helper("erf"),
  abs: helper("abs"),
  sign: helper("sign"),
  floor: inFloat(helper("floor")),
  ceil: inFloat(helper("ceil")),
  round: inFloat(helper("round")),
  not: prefix("~"),
  add: infix("+"),
  sub: infix("-"),
  mul: infix("*"),
  div: infix("/"),
  pow: (c) => {
    const small = c.constant === undefined ? undefined : smallPowers.get(c.constant);
    return small ? small(c.args[0], c.width) : helper("pow")(c);
  },
  max: helper("max"),
  min: helper("min"),
  mod: (c) => (c.from === "f32" ? `${c.args[0]} - ${c.args[1]} * floor_f${c.width}(${c.args[0]} / ${c.args[1]})` : helper("mod")(c)),
  eq: compared("=="),
  ne: compared("!="),
  lt: compared("<"),
  le: compared("<="),
  gt: compared(">"),
  ge: compared(">="),
  and: infix("&"),
  or: infix("|"),
  where: ({ args: [m, a, b], to, width }) => `sel_${letterOf(to)}${width}(${m}, ${a}, ${b})`,
  cast: ({ args: [x], from, to, width }) => {
    if (from === to) return x;
    if (to === "bool") return `${atom(x)} != ${from === "f32" ? "0.0f" : "0"}`;
    if (from === "bool") return to === "i32" ? `-${atom(x)}` : `(vf${width})((vi${width})splat_f${width}(1.0f) & ${atom(x)})`;
    return to === "i32" ? `whole${width}(${x})` : `number${width}(${x})`;
  },
  bits: ({ args: [x], width }) => `(vf${width})${atom(x)}`,
  xor: infix("^"),
  // of x < 0 the quotient of −1 − x, which is not negative: its complement is the quotient of x, rounded downward
  floor_div: ({ args: [x], constant, width }) => {
    if (constant === undefined) throw new Bug("a divisor is no literal");
    return `((vi${width})((vu${width})(${x} ^ (${x} >> 31)) / ${constant}u)) ^ (${x} >> 31)`;
  },
  shl: infix("<<"),
  shr: ({ args: [x, by], width }) => `(vi${width})((vu${width})${atom(x)} >> (vu${width})${atom(by)})`,
};

/** The text of a call, over the names of its arguments. */
export const spell = (fn: ScalarFunction, call: Call): string => spellings[fn](call);
