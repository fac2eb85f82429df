/** Scalar functions in four lanes, branch-free, as instruction sequences. f32 throughout; the polynomials' coefficients are in ../series.ts. */
import { Bug } from "../../ir/errors.ts";
import type { ArithmeticName, CompareName, FunctionName, LogicName } from "../../ir/ops/index.ts";
import type { ScalarFunction } from "../kernels/kernel.ts";
import * as series from "../series.ts";
import { type Code, get, splatF, splatI } from "./text.ts";

/** A v128 expression in, a v128 expression out; expressions given are cheap to repeat (locals). */
type Lanes = (c: Code, ...args: string[]) => string;

const f = splatF;
const bin = (op: string) => (a: string, b: string) => `(f32x4.${op} ${a} ${b})`;
const add = bin("add");
const sub = bin("sub");
const mul = bin("mul");
const div = bin("div");
const abs = (a: string) => `(f32x4.abs ${a})`;
const select = (mask: string, a: string, b: string) => `(v128.bitselect ${a} ${b} ${mask})`;
const lt = bin("lt");
const let_ = (c: Code, value: string, hint = "t") => get(c.let("v128", hint, value));

/** a·b + d, fused where the module may. */
const fused = (c: Code, a: string, b: string, d: string): string => (c.relaxed ? `(f32x4.relaxed_madd ${a} ${b} ${d})` : add(mul(a, b), d));
/** d − a·b, likewise. */
const fusedNegative = (c: Code, a: string, b: string, d: string): string =>
  c.relaxed ? `(f32x4.relaxed_nmadd ${a} ${b} ${d})` : sub(d, mul(a, b));

/** Horner; coefficients from the highest degree. */
function polynomial(c: Code, x: string, coefficients: readonly number[]): string {
  let p = f(coefficients[0]);
  for (const a of coefficients.slice(1)) p = let_(c, fused(c, p, x, f(a)), "p");
  return p;
}

const { LN2_HIGH, LN2_LOW, ROUND } = series;

const exp: Lanes = (c, x) => {
  // pmax(a, b) is a < b ? b : a, one instruction on x86, and passes a NaN in a on.
  const clamped = let_(c, `(f32x4.pmin (f32x4.pmax ${x} ${f(series.EXP_RANGE[0])}) ${f(series.EXP_RANGE[1])})`, "x");
  const t = let_(c, fused(c, clamped, f(Math.LOG2E), f(ROUND)), "t");
  const n = let_(c, sub(t, f(ROUND)), "n");
  const r = let_(c, fusedNegative(c, n, f(LN2_LOW), let_(c, fusedNegative(c, n, f(LN2_HIGH), clamped), "r")), "r");
  const p = polynomial(c, r, series.EXP);
  const e = let_(c, add(fused(c, mul(r, r), p, r), f(1)), "e");
  // 2ⁿ⁻¹ from the low bits of t, then doubled: so that n may be 128.
  const power = `(i32x4.add (i32x4.shl ${t} (i32.const 23)) ${splatI(126 << 23)})`;
  return mul(add(e, e), power);
};

const log: Lanes = (c, x) => {
  const v = let_(c, x, "x");
  const small = let_(c, lt(v, f(1.17549435e-38)), "s");
  const scaled = let_(c, select(small, mul(v, f(8388608)), v), "x");
  // Take the exponent so that the mantissa lies in [√½, √2).
  const shifted = let_(c, `(i32x4.sub ${scaled} ${splatI(0x3f3504f3)})`, "i");
  const k = let_(c, `(i32x4.shr_s ${shifted} (i32.const 23))`, "k");
  const m = let_(c, `(i32x4.sub ${scaled} (i32x4.shl ${k} (i32.const 23)))`, "m");
  const n = let_(c, sub(`(f32x4.convert_i32x4_s ${k})`, `(v128.and ${small} ${f(23)})`), "n");
  const t = let_(c, sub(m, f(1)), "t");
  const s = let_(c, div(t, add(t, f(2))), "s");
  const z = let_(c, mul(s, s), "z");
  const q = polynomial(c, z, series.LOG);
  // log(1+t) = t − t²/2 + s·(t²/2 + z·q): the leading part is exact.
  const h = let_(c, mul(mul(t, t), f(0.5)), "h");
  const low = add(mul(s, add(h, mul(z, q))), mul(n, f(LN2_LOW)));
  const result = let_(c, add(add(sub(low, h), t), mul(n, f(LN2_HIGH))), "l");
  const positive = let_(c, select(`(f32x4.eq ${v} ${f(Infinity)})`, v, result), "l");
  const atZero = select(`(f32x4.eq ${v} ${f(0)})`, f(-Infinity), positive);
  // Negative or NaN.
  return select(`(v128.or ${lt(v, f(0))} (f32x4.ne ${v} ${v}))`, f(Number.NaN), let_(c, atZero, "l"));
};

const SIGN = -0x80000000;
const withSign = (magnitude: string, x: string) => `(v128.or ${magnitude} (v128.and ${x} ${splatI(SIGN)}))`;

const tanh: Lanes = (c, x) => {
  const v = let_(c, `(f32x4.pmin (f32x4.pmax ${x} ${f(-series.TANH_END)}) ${f(series.TANH_END)})`, "x");
  const z = let_(c, mul(v, v), "z");
  const p = polynomial(c, z, series.TANH_OVER);
  const q = polynomial(c, z, series.TANH_UNDER);
  return div(mul(v, p), q);
};

const erf: Lanes = (c, x) => {
  const v = let_(c, x, "x");
  const t = let_(c, `(f32x4.pmin ${abs(v)} ${f(4)})`, "t");
  const s = let_(c, mul(t, t), "s");
  const near = mul(polynomial(c, s, series.ERF_NEAR), v);
  const power = polynomial(c, t, series.ERF_FAR);
  const far = sub(f(1), exp(c, let_(c, mul(power, t), "p")));
  return select(let_(c, lt(t, f(series.ERF_NEAR_END)), "m"), near, withSign(let_(c, far, "e"), v));
};

/** sin (quadrant 0) or cos (quadrant 1). */
const wave =
  (quadrant: 0 | 1): Lanes =>
  (c, x) => {
    const v = let_(c, x, "x");
    const n = let_(c, `(f32x4.nearest ${mul(v, f(2 / Math.PI))})`, "n");
    const [p0, p1, p2] = series.HALF_PI;
    const r = let_(c, sub(sub(sub(v, mul(n, f(p0))), mul(n, f(p1))), mul(n, f(p2))), "r");
    const k = let_(c, `(i32x4.add (i32x4.trunc_sat_f32x4_s ${n}) ${splatI(quadrant)})`, "k");
    const z = let_(c, mul(r, r), "z");
    const ps = polynomial(c, z, series.SIN);
    const sine = let_(c, add(mul(mul(ps, z), r), r), "sin");
    const pc = polynomial(c, z, series.COS);
    const cosine = let_(c, add(sub(mul(mul(pc, z), z), mul(z, f(0.5))), f(1)), "cos");
    const odd = `(i32x4.ne (v128.and ${k} ${splatI(1)}) ${splatI(0)})`;
    const flip = `(i32x4.shl (v128.and ${k} ${splatI(2)}) (i32.const 30))`;
    return `(v128.xor ${select(odd, cosine, sine)} ${flip})`;
  };

/**
 * |a|^b = e^(b·ln|a|), with ln|a| as a sum of two f32 so that large exponents do not lose digits; negative bases take the sign of an odd
 * whole exponent and are NaN for other exponents. 1^b = a^0 = 1.
 */
const pow: Lanes = (c, x, y) => {
  const a = let_(c, abs(x), "a");
  const b = let_(c, y, "b");
  // ln a = k·ln2 + ln m, in double-float: high part exact to 12 bits, low part the rest.
  const shifted = let_(c, `(i32x4.sub ${a} ${splatI(0x3f3504f3)})`, "i");
  const k = let_(c, `(f32x4.convert_i32x4_s (i32x4.shr_s ${shifted} (i32.const 23)))`, "k");
  const m = let_(c, `(i32x4.sub ${a} (i32x4.shl (i32x4.shr_s ${shifted} (i32.const 23)) (i32.const 23)))`, "m");
  const t = let_(c, sub(m, f(1)), "t");
  const d = let_(c, add(m, f(1)), "d");
  const s = let_(c, div(t, d), "s");
  // s = t/d with its remainder, for the low part of 2s. t and m are exact, d = m + 1 rounds: account for that.
  const upper = (e: string) => `(v128.and ${e} ${splatI(-4096)})`;
  const sh = let_(c, upper(s), "sh");
  const dh = let_(c, upper(d), "dh");
  const dl = let_(c, sub(m, sub(dh, f(1))), "dl");
  const sl = let_(c, div(sub(sub(t, mul(sh, dh)), mul(sh, dl)), d), "sl");
  const z = let_(c, mul(s, s), "z");
  const q = let_(c, mul(mul(z, s), polynomial(c, z, series.POW)), "q");
  // high = k·ln2_high + 2·sh is exact enough; the rest goes to low.
  const h1 = let_(c, mul(k, f(LN2_HIGH)), "h");
  const h2 = let_(c, mul(sh, f(2)), "h");
  const sum = let_(c, add(h1, h2), "sum");
  const bb = let_(c, sub(sum, h1), "bb");
  const lost = let_(c, add(sub(h1, sub(sum, bb)), sub(h2, bb)), "lost");
  const low = let_(c, add(add(lost, add(mul(sl, f(2)), q)), mul(k, f(LN2_LOW))), "low");
  // b · (sum + low), again in two parts.
  const bh = let_(c, upper(b), "bh");
  const uh = let_(c, upper(sum), "uh");
  const p1 = let_(c, mul(bh, uh), "p");
  const p2 = let_(c, add(add(mul(bh, sub(sum, uh)), mul(sub(b, bh), sum)), mul(b, low)), "p");
  const magnitude = let_(c, mul(exp(c, p1), exp(c, p2)), "e");
  const zero = let_(c, `(f32x4.eq ${a} ${f(0)})`, "z");
  const atZero = select(lt(b, f(0)), f(Infinity), f(0));
  const safe = let_(c, select(zero, atZero, magnitude), "e");
  const whole = let_(c, `(f32x4.eq ${b} (f32x4.floor ${b}))`, "w");
  const halfB = let_(c, mul(b, f(0.5)), "hb");
  const odd = let_(c, `(v128.andnot ${whole} (f32x4.eq ${halfB} (f32x4.floor ${halfB})))`, "odd");
  const signed = let_(c, `(v128.xor ${safe} (v128.and (v128.and ${x} ${splatI(SIGN)}) ${odd}))`, "e");
  const negative = let_(c, `(v128.andnot ${lt(x, f(0))} ${whole})`, "n");
  const proper = let_(c, select(negative, f(Number.NaN), signed), "e");
  const one = `(v128.or (f32x4.eq ${b} ${f(0)}) (f32x4.eq ${x} ${f(1)}))`;
  const nan = `(v128.or (f32x4.ne ${x} ${x}) (f32x4.ne ${b} ${b}))`;
  return select(one, f(1), let_(c, select(nan, f(Number.NaN), proper), "e"));
};

/** Per lane, for what has no vector instruction. */
function perLane(c: Code, a: string, b: string, g: (x: string, y: string) => string): string {
  const out = c.let("v128", "m", splatI(0));
  for (let l = 0; l < 4; l++)
    c.set(out, `(i32x4.replace_lane ${l} ${get(out)} ${g(`(i32x4.extract_lane ${l} ${a})`, `(i32x4.extract_lane ${l} ${b})`)})`);
  return get(out);
}

const FLOAT: Readonly<Record<FunctionName | "neg" | ArithmeticName | CompareName, Lanes>> = {
  neg: (_c, x) => `(f32x4.neg ${x})`,
  abs: (_c, x) => abs(x),
  sqrt: (_c, x) => `(f32x4.sqrt ${x})`,
  floor: (_c, x) => `(f32x4.floor ${x})`,
  ceil: (_c, x) => `(f32x4.ceil ${x})`,
  round: (_c, x) => `(f32x4.nearest ${x})`,
  sign: (_c, x) => select(`(v128.or (f32x4.eq ${x} ${f(0)}) (f32x4.ne ${x} ${x}))`, x, withSign(f(1), x)),
  exp,
  log,
  tanh,
  erf,
  sin: wave(0),
  cos: wave(1),
  add: (_c, a, b) => add(a, b),
  sub: (_c, a, b) => sub(a, b),
  mul: (_c, a, b) => mul(a, b),
  div: (_c, a, b) => div(a, b),
  max: (_c, a, b) => `(f32x4.max ${a} ${b})`,
  min: (_c, a, b) => `(f32x4.min ${a} ${b})`,
  mod: (_c, a, b) => sub(a, mul(b, `(f32x4.floor ${div(a, b)})`)),
  pow,
  eq: (_c, a, b) => `(f32x4.eq ${a} ${b})`,
  ne: (_c, a, b) => `(f32x4.ne ${a} ${b})`,
  lt: (_c, a, b) => lt(a, b),
  le: (_c, a, b) => `(f32x4.le ${a} ${b})`,
  gt: (_c, a, b) => `(f32x4.gt ${a} ${b})`,
  ge: (_c, a, b) => `(f32x4.ge ${a} ${b})`,
};

const INTEGER: Readonly<Record<"neg" | "abs" | "sign" | Exclude<ArithmeticName, "div" | "pow"> | CompareName | "xor", Lanes>> = {
  neg: (_c, x) => `(i32x4.neg ${x})`,
  abs: (_c, x) => `(i32x4.abs ${x})`,
  sign: (_c, x) => `(i32x4.sub (i32x4.lt_s ${x} ${splatI(0)}) (i32x4.gt_s ${x} ${splatI(0)}))`,
  add: (_c, a, b) => `(i32x4.add ${a} ${b})`,
  sub: (_c, a, b) => `(i32x4.sub ${a} ${b})`,
  mul: (_c, a, b) => `(i32x4.mul ${a} ${b})`,
  max: (_c, a, b) => `(i32x4.max_s ${a} ${b})`,
  min: (_c, a, b) => `(i32x4.min_s ${a} ${b})`,
  mod: (c, a, b) =>
    // ((a rem b) + b) rem b has the divisor's sign; a divisor of 0 gives 0, −1 (whose quotient may overflow) gives 0 as well.
    perLane(c, a, b, (x, y) => {
      const d = get(c.let("i32", "d", y));
      const trivial = `(i32.or (i32.eqz ${d}) (i32.eq ${d} (i32.const -1)))`;
      const safe = get(c.let("i32", "d", `(select (i32.const 1) ${d} ${trivial})`));
      const r = get(c.let("i32", "r", `(i32.rem_s ${x} ${safe})`));
      const fix = `(i32.and (i32.ne ${r} (i32.const 0)) (i32.lt_s (i32.xor ${r} ${safe}) (i32.const 0)))`;
      return `(select (i32.add ${r} ${safe}) ${r} ${fix})`;
    }),
  xor: (_c, a, b) => `(v128.xor ${a} ${b})`,
  eq: (_c, a, b) => `(i32x4.eq ${a} ${b})`,
  ne: (_c, a, b) => `(i32x4.ne ${a} ${b})`,
  lt: (_c, a, b) => `(i32x4.lt_s ${a} ${b})`,
  le: (_c, a, b) => `(i32x4.le_s ${a} ${b})`,
  gt: (_c, a, b) => `(i32x4.gt_s ${a} ${b})`,
  ge: (_c, a, b) => `(i32x4.ge_s ${a} ${b})`,
};

/**
 * An i32 over a positive number d, rounded downward, in four lanes: the upper part of a product by 2^(31 + s)/d, rounded up, with
 * 2^s ≥ d. Below 0, where that would round to the wrong side, the quotient of −1 − x is taken, and its complement.
 */
export function floorDiv(c: Code, x: string, d: number): string {
  const s = Math.ceil(Math.log2(d));
  if (2 ** s === d) return `(i32x4.shr_s ${x} (i32.const ${s}))`;
  const factor = Math.ceil(2 ** (31 + s) / d);
  const value = let_(c, x, "x");
  const sign = let_(c, `(i32x4.shr_s ${value} (i32.const 31))`, "s");
  const size = let_(c, `(v128.xor ${value} ${sign})`, "x");
  const by = splatI(factor | 0);
  const half = (part: string) => `(i64x2.shr_u (i64x2.extmul_${part}_i32x4_u ${size} ${by}) (i32.const ${31 + s}))`;
  const lanes = [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27];
  return `(v128.xor (i8x16.shuffle ${lanes.join(" ")} ${half("low")} ${half("high")}) ${sign})`;
}

/** Booleans are masks of all ones or zeros. */
const MASK: Readonly<Record<"not" | LogicName | "eq" | "ne", Lanes>> = {
  not: (_c, a) => `(v128.not ${a})`,
  and: (_c, a, b) => `(v128.and ${a} ${b})`,
  or: (_c, a, b) => `(v128.or ${a} ${b})`,
  eq: (_c, a, b) => `(v128.not (v128.xor ${a} ${b}))`,
  ne: (_c, a, b) => `(v128.xor ${a} ${b})`,
};

const CASTS: Readonly<Record<string, (x: string) => string>> = {
  "f32 i32": (x) => `(i32x4.trunc_sat_f32x4_s ${x})`,
  "f32 bool": (x) => `(f32x4.ne ${x} ${splatF(0)})`,
  "i32 f32": (x) => `(f32x4.convert_i32x4_s ${x})`,
  "i32 bool": (x) => `(i32x4.ne ${x} ${splatI(0)})`,
  "bool f32": (x) => `(v128.and ${x} ${splatF(1)})`,
  "bool i32": (x) => `(v128.and ${x} ${splatI(1)})`,
};

/** A scalar function in four lanes. `from` is the dtype of the (last) arguments, `to` that of the result. */
export function call(c: Code, fn: ScalarFunction, from: string, to: string, args: readonly string[]): string {
  if (fn === "cast") return from === to ? args[0] : CASTS[`${from} ${to}`](args[0]);
  if (fn === "where") return select(args[0], args[1], args[2]);
  const table: Readonly<Partial<Record<ScalarFunction, Lanes>>> = from === "f32" ? FLOAT : from === "i32" ? INTEGER : MASK;
  const lanes = table[fn];
  if (!lanes) throw new Bug(`WebAssembly has no spelling of ${fn} for ${from}`);
  return lanes(c, ...args);
}
