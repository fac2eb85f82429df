/**
 * Functions of one number: a row is all that the graph, the language and the runtime know of one. `maps.ts` makes the op's row of it, `compiler` the
 * function of the language, `runtime` computes it for scalars of a step; a printer has one spelling more, which `tsc` asks for.
 */
import type { DType } from "../graph.ts";
import type { FunctionName, PartialDerivative } from "./op.ts";
import { COST, erf, roundEven, type Scalar } from "./scalar.ts";

export interface FunctionRow extends Scalar {
  /** What it is, as a sentence: for the pages of ops and of functions. */
  readonly doc: string;
  readonly of: (x: number) => number;
  /** ∂y/∂x of x and y; `"flat"`: 0 wherever there is one. */
  readonly slope: PartialDerivative | "flat";
  /** The dtypes that it has; the result has the operand's. */
  readonly takes: readonly DType[];
  /** The function that undoes it. */
  readonly inverse?: FunctionName;
  /** Its values are whole: in the language they are integers. */
  readonly whole?: true;
  /** Points for the laws, where it is smooth: of f32, and of i32. */
  readonly at: readonly number[];
  readonly atWhole?: readonly number[];
}

const float: readonly DType[] = ["f32"];
const number: readonly DType[] = ["f32", "i32"];

export const functions: Readonly<Record<FunctionName, FunctionRow>> = {
  exp: { doc: "eˣ.", of: Math.exp, cost: COST.series, slope: (_b, _x, y) => y, takes: float, inverse: "log", at: [0.3, -1, 2] },
  log: {
    doc: "The natural logarithm.",
    of: Math.log,
    cost: COST.series,
    slope: (b, [x]) => b.div(1, x),
    takes: float,
    inverse: "exp",
    at: [0.3, 1, 2],
  },
  sqrt: {
    doc: "The square root; its slope at 0 is infinite.",
    of: Math.sqrt,
    cost: COST.quotient,
    slope: (b, _x, y) => b.div(0.5, y),
    takes: float,
    at: [0.3, 1, 2],
  },
  sin: { doc: "Sine of radians.", of: Math.sin, cost: COST.wave, slope: (b, [x]) => b.unary("cos", x), takes: float, at: [0.3, -1, 2] },
  cos: {
    doc: "Cosine of radians.",
    of: Math.cos,
    cost: COST.wave,
    slope: (b, [x]) => b.neg(b.unary("sin", x)),
    takes: float,
    at: [0.3, -1, 2],
  },
  tanh: {
    doc: "Hyperbolic tangent.",
    of: Math.tanh,
    cost: COST.wave,
    slope: (b, _x, y) => b.sub(1, b.mul(y, y)),
    takes: float,
    at: [0.3, -1, 2],
  },
  erf: {
    doc: "The error function.",
    of: erf,
    cost: COST.wave,
    slope: (b, [x]) => b.mul(2 / Math.sqrt(Math.PI), b.unary("exp", b.neg(b.mul(x, x)))),
    takes: float,
    at: [0.3, -1, 2, 3.5],
  },
  abs: {
    doc: "|x|; its slope at 0 is 0.",
    of: Math.abs,
    cost: COST.sum,
    slope: (b, [x]) => b.unary("sign", x),
    takes: number,
    at: [1, -2, 0.5],
    atWhole: [3, -4],
  },
  sign: {
    doc: "−1, 0 or 1.",
    of: (x) => (x > 0 ? 1 : x < 0 ? -1 : x),
    cost: COST.sum,
    slope: "flat",
    takes: number,
    at: [1, -2, 0.5],
    atWhole: [3, -4, 0],
  },
  floor: {
    doc: "The largest whole number not above x.",
    of: Math.floor,
    cost: COST.sum,
    slope: "flat",
    takes: number,
    whole: true,
    at: [1.5, -2.5, 0.5],
  },
  ceil: {
    doc: "The smallest whole number not below x.",
    of: Math.ceil,
    cost: COST.sum,
    slope: "flat",
    takes: number,
    whole: true,
    at: [1.5, -2.5, 0.3],
  },
  round: {
    doc: "The nearest whole number, ties to even.",
    of: roundEven,
    cost: COST.sum,
    slope: "flat",
    takes: number,
    whole: true,
    at: [1.4, -2.6, 0.3],
  },
};
