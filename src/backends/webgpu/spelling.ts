/**
 * How WGSL spells each scalar function, so that it is stable: the language lets an implementation assume that NaN and infinity do not occur, defines
 * `tanh` through quotients that overflow, and promises little of `sin` and `cos` outside ±π. One row a function; helpers are printed where used.
 */

import type { StorageType } from "../../ground/program.ts";
import { Bug } from "../../ir/errors.ts";
import type { ScalarFunction } from "../kernels/kernel.ts";

/** The WGSL type of a value; conditions are `bool` in values and `i32` in memory. */
export const valueType = (dtype: StorageType): string => dtype;
export const memoryType = (dtype: StorageType): string => (dtype === "bool" ? "i32" : dtype);
export const zeroOf = (dtype: StorageType): string => (dtype === "f32" ? "0.0" : dtype === "i32" ? "0" : "false");

/** The least finite f32: what masks and reductions use for −∞. */
const LOWEST = "-0x1.fffffep+127f";
const GREATEST = "0x1.fffffep+127f";
const LEAST_I32 = "i32(-2147483648)";
const GREATEST_I32 = "2147483647";

/** What a maximum (minimum) starts from. */
export const startOf = (fn: "max" | "min", dtype: StorageType): string =>
  dtype === "f32" ? (fn === "max" ? LOWEST : GREATEST) : fn === "max" ? LEAST_I32 : GREATEST_I32;

/** Functions printed before `main` where something uses them; each names those it needs itself. */
const helpers: Readonly<Record<string, { needs?: readonly string[]; text: string }>> = {
  not_a_number: {
    text: `var<private> nan_bits: u32 = 0x7fc00000u;
fn not_a_number() -> f32 { return bitcast<f32>(nan_bits); }`,
  },
  is_nan: { text: `fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }` },
  larger: { needs: ["is_nan"], text: `fn larger(x: f32, y: f32) -> f32 { return select(max(x, y), x + y, is_nan(x) || is_nan(y)); }` },
  smaller: { needs: ["is_nan"], text: `fn smaller(x: f32, y: f32) -> f32 { return select(min(x, y), x + y, is_nan(x) || is_nan(y)); }` },
  floor_div: { text: `fn floor_div(x: i32, by: i32) -> i32 { return ((x ^ (x >> 31u)) / by) ^ (x >> 31u); }` },
  // Near 0 the [5/4] Padé approximant (relative error below 1e-9 up to 0.6), elsewhere through e^(-2|x|), which cannot overflow.
  stable_tanh: {
    text: `fn stable_tanh(x: f32) -> f32 {
  let s = x * x;
  let near = x * (945.0 + s * (105.0 + s)) / (945.0 + s * (420.0 + s * 15.0));
  let t = exp(-2.0 * abs(x));
  let far = sign(x) * (1.0 - t) / (1.0 + t);
  return select(far, near, abs(x) < 0.6);
}`,
  },
  // Below 1 the Maclaurin series; above it 1 - e^(-x²)·p(1 / (1 + x/2)), p fitted at Chebyshev nodes over 0.9..4.2 (absolute error 4e-8); 1 beyond.
  stable_erf: {
    text: `fn stable_erf(x: f32) -> f32 {
  let a = min(abs(x), 4.2);
  let s = a * a;
  let near = a * (1.1283791671 + s * (-0.37612638903 + s * (0.11283791671 + s * (-0.026866170645 + s * (0.0052239776254
    + s * (-0.00085483270234 + s * (0.00012055332982 + s * (-0.000014925650358 + s * (0.0000016462114366 - s * 0.00000016365844692)))))))));
  let t = 1.0 / (1.0 + 0.5 * a);
  let far = 1.0 - exp(-s) * (0.00133144613 + t * (0.264385273 + t * (0.379114517 + t * (-0.0314139882 + t * (0.606115169 - t * 0.21960137)))));
  return sign(x) * select(far, near, a < 1.0);
}`,
  },
  // Sine and cosine of x - k·π/2, by Taylor series on ±π/4 (error below 2e-9); π/2 is subtracted in three parts (Cody and Waite).
  circular: {
    text: `fn circular(x: f32, quarter: i32) -> f32 {
  let k = round(x * 0.63661977237);
  let r = ((x - k * 1.5703125) - k * 0.00048351287841796875) - k * 0.00000031391647865;
  let s = r * r;
  let sine = r + r * s * (-0.16666666667 + s * (0.0083333333333 + s * (-0.00019841269841 + s * 0.0000027557319224)));
  let cosine = 1.0 + s * (-0.5 + s * (0.041666666667 + s * (-0.0013888888889 + s * (0.000024801587302 - s * 0.00000027557319224))));
  let iteration = i32(k) + quarter;
  let value = select(sine, cosine, (iteration & 1) == 1);
  return select(value, -value, (iteration & 2) == 2);
}`,
  },
  // For x < 0 the power exists where y is whole, and has x's sign where y is odd; 1 to any power and any number to the power 0 are 1.
  power: {
    needs: ["not_a_number"],
    text: `fn power(x: f32, y: f32) -> f32 {
  let size = pow(max(abs(x), 0x1p-126f), y);
  let at_zero = select(0.0, ${GREATEST}, y < 0.0);
  let whole = floor(y) == y;
  let odd = whole && (abs(y) < 16777216.0) && ((i32(y) & 1) == 1);
  let signed = select(select(not_a_number(), select(size, -size, odd), whole), size, x > 0.0);
  return select(select(signed, at_zero, x == 0.0), 1.0, y == 0.0 || x == 1.0);
}`,
  },
  floor_mod: {
    needs: ["not_a_number"],
    text: `fn floor_mod(x: f32, y: f32) -> f32 { return select(x - y * floor(x / y), not_a_number(), y == 0.0); }`,
  },
  floor_mod_i32: {
    text: `fn floor_mod_i32(x: i32, y: i32) -> i32 {
  let d = select(y, 1, y == 0 || y == -1);
  let r = x % d;
  return select(r, r + d, r != 0 && ((r < 0) != (d < 0)));
}`,
  },
  truncated: {
    needs: ["is_nan"],
    text: `fn truncated(x: f32) -> i32 { return select(i32(clamp(x, -2147483648.0, 2147483520.0)) + select(0, 127, x >= 2147483648.0), 0, is_nan(x)); }`,
  },
};

/** Collects the helpers that a kernel's text uses. */
export class Helpers {
  private readonly used = new Set<string>();
  /** The name of a helper, to be called; remembers that it is needed. */
  use(name: string): string {
    const helper = helpers[name];
    if (!helper) throw new Bug(`there is no WGSL helper ${name}`);
    for (const n of helper.needs ?? []) this.use(n);
    this.used.add(name);
    return name;
  }
  text(): string {
    return [...this.used].map((name) => helpers[name].text).join("\n");
  }
}

/** A literal of that type. Infinities become the greatest and the least finite number; NaN is read from a variable, as WGSL has no such literal. */
export function literal(value: number, dtype: StorageType, h: Helpers): string {
  if (dtype === "bool") return value === 0 ? "false" : "true";
  if (dtype === "i32") return value === -2147483648 ? LEAST_I32 : String(value | 0);
  if (Number.isNaN(value)) return `${h.use("not_a_number")}()`;
  const x = Math.fround(value);
  if (x === Number.POSITIVE_INFINITY) return GREATEST;
  if (x === Number.NEGATIVE_INFINITY) return LOWEST;
  if (Object.is(x, -0)) return "-0.0";
  if (x === Math.fround(-3.4028234663852886e38)) return LOWEST;
  if (x === Math.fround(3.4028234663852886e38)) return GREATEST;
  // The shortest text that rounds to the same f32, where there is one of seven or eight digits.
  let text = String(x);
  for (const digits of [7, 8, 9]) {
    const short = Number(x.toPrecision(digits));
    if (Math.fround(short) === x) {
      text = String(short);
      break;
    }
  }
  return /[.e]/.test(text) ? `${text}${text.includes("e") ? "f" : ""}` : `${text}.0`;
}

/** The text as an operand: in parentheses unless it is a name, a number, or one call or element. */
export function atom(text: string): string {
  if (/^[\w.]+$/.test(text)) return text;
  const open = text.search(/[([]/);
  if (open <= 0 || !/^\w+$/.test(text.slice(0, open))) return `(${text})`;
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    if ("([".includes(text[i])) depth++;
    else if (")]".includes(text[i]) && --depth === 0) return i === text.length - 1 ? text : `(${text})`;
  }
  return `(${text})`;
}

/** Arguments as text (an expression each), their type, and whether two arguments are the same value. */
export interface Call {
  readonly args: readonly string[];
  readonly from: StorageType;
  readonly to: StorageType;
  /** Whether the first two arguments are one and the same value: `x != x` asks for NaN. */
  readonly same: boolean;
  /** The last argument, where it is a literal. */
  readonly constant?: number | undefined;
}
type Spelling = (c: Call, h: Helpers) => string;

const infix =
  (operator: string): Spelling =>
  ({ args: [a, b] }) =>
    `${atom(a)} ${operator} ${atom(b)}`;
const named =
  (name: string): Spelling =>
  ({ args }) =>
    `${name}(${args.join(", ")})`;
const helper =
  (name: string, ...extra: string[]): Spelling =>
  ({ args }, h) =>
    `${h.use(name)}(${[...args, ...extra].join(", ")})`;
/** In f32 one spelling, in i32 another. */
const byType =
  (f32: Spelling, i32: Spelling): Spelling =>
  (c, h) =>
    (c.from === "f32" ? f32 : i32)(c, h);

/** Whole and half powers are products and roots; `pow` itself is exp2(y·log2 x), with the errors of both. */
const smallPowers = new Map<number, (x: string) => string>([
  [1, (x) => x],
  [2, (x) => `${x} * ${x}`],
  [3, (x) => `${x} * ${x} * ${x}`],
  [4, (x) => `(${x} * ${x}) * (${x} * ${x})`],
  [0.5, (x) => `sqrt(${x})`],
  [-0.5, (x) => `inverseSqrt(${x})`],
  [-1, (x) => `1.0 / ${x}`],
  [-2, (x) => `1.0 / (${x} * ${x})`],
]);

const spellings: Readonly<Record<ScalarFunction, Spelling>> = {
  neg: ({ args: [x] }) => `-${atom(x)}`,
  exp: named("exp"),
  log: named("log"),
  sqrt: named("sqrt"),
  sin: helper("circular", "0"),
  cos: helper("circular", "1"),
  tanh: helper("stable_tanh"),
  erf: helper("stable_erf"),
  abs: named("abs"),
  sign: named("sign"),
  floor: byType(named("floor"), ({ args: [x] }) => x),
  ceil: byType(named("ceil"), ({ args: [x] }) => x),
  round: byType(named("round"), ({ args: [x] }) => x),
  not: ({ args: [x] }) => `!${atom(x)}`,
  add: infix("+"),
  sub: infix("-"),
  mul: infix("*"),
  div: infix("/"),
  pow: (c, h) => {
    const small = c.constant === undefined ? undefined : smallPowers.get(c.constant);
    return small ? small(c.args[0]) : `${h.use("power")}(${c.args.join(", ")})`;
  },
  max: byType(helper("larger"), named("max")),
  min: byType(helper("smaller"), named("min")),
  mod: byType(helper("floor_mod"), helper("floor_mod_i32")),
  eq: (c, h) => (c.same && c.from === "f32" ? `!${h.use("is_nan")}(${c.args[0]})` : infix("==")(c, h)),
  ne: (c, h) => (c.same && c.from === "f32" ? `${h.use("is_nan")}(${c.args[0]})` : infix("!=")(c, h)),
  lt: infix("<"),
  le: infix("<="),
  gt: infix(">"),
  ge: infix(">="),
  and: infix("&&"),
  or: infix("||"),
  where: ({ args: [c, a, b] }) => `select(${b}, ${a}, ${c})`,
  cast: ({ args: [x], from, to }, h) => {
    if (from === to) return x;
    if (to === "bool") return `${atom(x)} != ${zeroOf(from)}`;
    if (to === "i32" && from === "f32") return `${h.use("truncated")}(${x})`;
    return `${to}(${x})`;
  },
  bits: ({ args: [x] }) => `bitcast<f32>(${x})`,
  xor: infix("^"),
  // of x < 0 the quotient of −1 − x, which is not negative: its complement is the quotient of x, rounded downward
  floor_div: ({ args: [x, by] }, h) => `${h.use("floor_div")}(${x}, ${by})`,
  shl: ({ args: [x, by] }) => `${atom(x)} << u32(${by})`,
  shr: ({ args: [x, by] }) => `bitcast<i32>(bitcast<u32>(${x}) >> u32(${by}))`,
};

/** The text of a call: an expression that may need parentheses. */
export const spell = (fn: ScalarFunction, call: Call, h: Helpers): string => spellings[fn](call, h);
