/**
 * How PyTorch spells each row of the op table: one entry a row, so that a row without one does not compile. Where eager PyTorch differs from a row's meaning
 * in ties, in what is out of range or in dtypes, the spelling says what the row says. `ops` is `python/peftc_ops.py`, which lies beside every
 * printed program.
 */

import type { Dim } from "../../ir/dim.ts";
import type { Node } from "../../ir/graph.ts";
import {
  attrsOf,
  axesOfDot,
  type CompareName,
  castTo,
  isConstant,
  type MapName,
  type OpName,
  permuteOrder,
  reducedAxes,
  type SpecialName,
} from "../../ir/ops/index.ts";
import { atom, BINDS, type Binds, dim, type Expression, infix, quoted, torchType, tuple, within } from "./text.ts";

/** A node being spelt. */
export interface Spelling {
  readonly node: Node;
  /** The i-th operand as a tensor of its own shape. */
  tensor(i: number): Expression;
  /** The i-th operand of an elementwise row: a number, or a tensor that broadcasting gives its shape. */
  operand(i: number): Expression;
  /** Whether `operand(i)` is a Python number. */
  isNumber(i: number): boolean;
}
type Spell = (s: Spelling) => Expression;

const call = (f: string, ...args: readonly string[]): Expression => atom(`${f}(${args.join(", ")})`);
const method = (x: Expression, name: string, ...args: readonly string[]): Expression =>
  atom(`${within(x, BINDS.atom)}.${name}(${args.join(", ")})`);
const list = (v: unknown): readonly Dim[] => v as readonly Dim[];

const unary =
  (f: string): Spell =>
  ({ operand }) =>
    call(f, operand(0).text);
const between =
  (op: string, binds: Binds): Spell =>
  ({ operand }) =>
    infix(operand(0), op, operand(1), binds);
/** Rows that leave whole numbers as they are. */
const rounding =
  (f: string): Spell =>
  ({ node, operand }) =>
    node.type.dtype === "i32" ? operand(0) : call(f, operand(0).text);

/** The same comparison the other way round: PyTorch takes a number on the right only. */
const turned: Readonly<Record<CompareName, string>> = { eq: "==", ne: "!=", lt: ">", le: ">=", gt: "<", ge: "<=" };
const compare =
  (name: CompareName, sign: string): Spell =>
  ({ operand, isNumber }) =>
    isNumber(0)
      ? infix(operand(1), turned[name], operand(0), BINDS.compare)
      : { text: `${within(operand(0), BINDS.or)} ${sign} ${within(operand(1), BINDS.or)}`, binds: BINDS.compare };

/** The larger of two: against a constant, a tie has no slope. */
const extreme =
  (f: "maximum" | "minimum"): Spell =>
  ({ node, operand, isNumber }) => {
    const [a, b] = isNumber(0) ? [1, 0] : [0, 1];
    if (isNumber(b)) {
      if (node.type.dtype === "i32") return method(operand(a), "clamp", `${f === "maximum" ? "min" : "max"}=${operand(b).text}`);
      if (f === "maximum" && Number(operand(b).text) === 0) return call("torch.relu", operand(a).text);
      const sign = f === "maximum" ? "<=" : ">=";
      return call(
        "torch.where",
        `${within(operand(a), BINDS.or)} ${sign} ${within(operand(b), BINDS.or)}`,
        operand(b).text,
        operand(a).text,
      );
    }
    const constant = node.inputs.findIndex(isConstant);
    if (constant >= 0 && node.type.dtype === "f32") {
      const [c, x] = [operand(constant), operand(1 - constant)];
      return call("torch.where", `${within(x, BINDS.or)} ${f === "maximum" ? "<=" : ">="} ${within(c, BINDS.or)}`, c.text, x.text);
    }
    return call(`torch.${f}`, operand(0).text, operand(1).text);
  };

const maps: Readonly<Record<MapName, Spell>> = {
  neg: ({ operand }) => ({ text: `-${within(operand(0), BINDS.sign)}`, binds: BINDS.sign }),
  exp: unary("torch.exp"),
  log: unary("torch.log"),
  sqrt: unary("torch.sqrt"),
  sin: unary("torch.sin"),
  cos: unary("torch.cos"),
  tanh: unary("torch.tanh"),
  erf: unary("torch.erf"),
  abs: unary("torch.abs"),
  sign: unary("torch.sign"),
  floor: rounding("torch.floor"),
  ceil: rounding("torch.ceil"),
  round: rounding("torch.round"),
  not: ({ operand }) => ({ text: `~${within(operand(0), BINDS.sign)}`, binds: BINDS.sign }),
  add: between("+", BINDS.sum),
  sub: between("-", BINDS.sum),
  mul: between("*", BINDS.product),
  div: between("/", BINDS.product),
  pow: ({ operand, isNumber }) =>
    isNumber(0)
      ? call("torch.pow", operand(0).text, operand(1).text)
      : { text: `${within(operand(0), BINDS.atom)} ** ${within(operand(1), BINDS.power)}`, binds: BINDS.power },
  max: extreme("maximum"),
  min: extreme("minimum"),
  mod: ({ node, operand, isNumber }) => {
    if (node.type.dtype === "i32" && !isNumber(1)) return call("ops.remainder_i32", operand(0).text, operand(1).text);
    return call("torch.remainder", operand(0).text, operand(1).text);
  },
  eq: compare("eq", "=="),
  ne: compare("ne", "!="),
  lt: compare("lt", "<"),
  le: compare("le", "<="),
  gt: compare("gt", ">"),
  ge: compare("ge", ">="),
  and: between("&", BINDS.and),
  or: between("|", BINDS.or),
  where: ({ operand }) => call("torch.where", operand(0).text, operand(1).text, operand(2).text),
  cast: ({ node, operand }) => {
    const from = node.inputs[0].type.dtype;
    if (castTo(node) === from) return operand(0);
    return castTo(node) === "bool"
      ? infix(operand(0), "!=", atom("0"), BINDS.compare)
      : method(operand(0), "to", torchType[node.type.dtype]);
  },
};

const reduction =
  (name: string): Spell =>
  ({ node, tensor }) => {
    const axes = reducedAxes(node)!;
    if (axes.length === 0) return tensor(0);
    if (axes.length === node.inputs[0].type.shape.length) return method(tensor(0), name);
    return method(tensor(0), name, `dim=${axes.length === 1 ? axes[0] : tuple(axes)}`);
  };

/** A product as `@` where axes allow it, else as `torch.einsum`. */
const dot: Spell = ({ node, tensor }) => {
  const a = axesOfDot(node)!;
  const [l, r] = node.inputs.map((i) => i.type.shape.length);
  const batch = a.lhsBatch.length;
  const inOrder = (axes: readonly number[]) => axes.every((x, i) => x === i);
  const single = a.lhsContract.length === 1 && a.lhsFree.length >= 1 && a.rhsFree.length >= 1;
  // [batch, m, k] @ [batch, k, n], with several rows m where there is no batch
  if (single && inOrder(a.lhsBatch) && inOrder(a.rhsBatch) && a.lhsContract[0] === l - 1 && a.rhsFree.length === 1) {
    const lhsFits = batch === 0 || a.lhsFree.length === 1;
    if (lhsFits && r === batch + 2) {
      const rhs = a.rhsContract[0] === batch ? tensor(1) : atom(`${within(tensor(1), BINDS.atom)}.mT`);
      return infix(tensor(0), "@", rhs, BINDS.product);
    }
  }
  const letters = "abcdefghijklmnopqrstuvwyz";
  let next = 0;
  const lhs: string[] = [];
  const rhs: string[] = [];
  const pair = (p: number, q: number) => {
    lhs[p] = rhs[q] = letters[next++];
  };
  a.lhsBatch.forEach((p, i) => {
    pair(p, a.rhsBatch[i]);
  });
  a.lhsContract.forEach((p, i) => {
    pair(p, a.rhsContract[i]);
  });
  for (const p of a.lhsFree) lhs[p] = letters[next++];
  for (const q of a.rhsFree) rhs[q] = letters[next++];
  const out = [...a.lhsBatch.map((p) => lhs[p]), ...a.lhsFree.map((p) => lhs[p]), ...a.rhsFree.map((q) => rhs[q])].join("");
  return call("torch.einsum", quoted(`${lhs.join("")},${rhs.join("")}->${out}`), tensor(0).text, tensor(1).text);
};

const slice: Spell = ({ node, tensor }) => {
  const [start, stop, step] = [list(node.attrs.start), list(node.attrs.stop), list(node.attrs.step)];
  const whole = node.inputs[0].type.shape;
  const parts = whole.map((size, i) => {
    const from = String(start[i]) === "0" ? "" : dim(start[i]).text;
    const to = String(stop[i]) === String(size) ? "" : dim(stop[i]).text;
    return `${from}:${to}${step[i] === 1 ? "" : `:${dim(step[i]).text}`}`;
  });
  while (parts.length > 1 && parts.at(-1) === ":") parts.pop();
  const first = parts.findIndex((p) => p !== ":");
  const shown = first > 1 && whole.length === parts.length ? ["...", ...parts.slice(first)] : parts;
  return atom(`${within(tensor(0), BINDS.atom)}[${shown.join(", ")}]`);
};

const move: Readonly<Record<"reshape" | "permute" | "expand" | "slice" | "pad" | "concat", Spell>> = {
  reshape: ({ node, tensor }) => method(tensor(0), "reshape", tuple(list(node.attrs.shape))),
  permute: ({ node, tensor }) => {
    const order = permuteOrder(node)!;
    const moved = order.flatMap((a, i) => (a === i ? [] : [i]));
    if (moved.length === 2) {
      const last = moved[0] === order.length - 2 && moved[1] === order.length - 1;
      return last ? atom(`${within(tensor(0), BINDS.atom)}.mT`) : method(tensor(0), "transpose", ...moved.map(String));
    }
    return method(tensor(0), "permute", tuple(order));
  },
  expand: ({ node, tensor }) => method(tensor(0), "expand", tuple(list(node.attrs.shape))),
  slice,
  pad: ({ node, tensor }) => {
    const [low, high] = [list(node.attrs.low), list(node.attrs.high)];
    const pairs = low.flatMap((_, i) => [low[low.length - 1 - i], high[low.length - 1 - i]]).map(String);
    return call("F.pad", tensor(0).text, tuple(pairs), `value=${attrsOf(node, "pad").value}`);
  },
  concat: ({ node, tensor }) => {
    const parts = node.inputs.map((_, i) => tensor(i).text);
    return call("torch.cat", `(${parts.join(", ")}${parts.length === 1 ? "," : ""})`, `dim=${attrsOf(node, "concat").axis}`);
  },
};

const lastOf = (size: Dim): string => (typeof size === "number" ? String(size - 1) : `${dim(size).text} - 1`);

/** `ops.name(operands, attributes)`. */
const helper =
  (name: string, ...attrs: readonly string[]): Spell =>
  ({ node, tensor }) =>
    call(
      `ops.${name}`,
      ...node.inputs.map((_, i) => tensor(i).text),
      ...attrs.map((key) => {
        const v = node.attrs[key];
        return `${key}=${Array.isArray(v) ? tuple(list(v)) : typeof v === "string" ? quoted(v) : String(v)}`;
      }),
    );

/** Rows that are spelt where their value comes from: by the region around them. */
export type ElsewhereName = "input" | "param" | "state" | "arg" | Exclude<SpecialName, "stop_gradient" | "fence">;

export const spellings: Readonly<Record<Exclude<OpName, ElsewhereName>, Spell>> = {
  ...maps,
  ...move,
  reduce_sum: (s) => {
    const { node, tensor } = s;
    if (node.type.dtype === "f32") return reduction("sum")(s);
    const axes = reducedAxes(node)!;
    const given = axes.length === node.inputs[0].type.shape.length ? [] : [`dim=${axes.length === 1 ? axes[0] : tuple(axes)}`];
    if (axes.length === 0) return method(tensor(0), "to", "torch.int32");
    return method(tensor(0), "sum", ...given, "dtype=torch.int32");
  },
  reduce_max: reduction("amax"),
  reduce_min: reduction("amin"),
  argmax: ({ node, tensor }) => method(method(tensor(0), "argmax", `dim=${attrsOf(node, "argmax").axis}`), "to", "torch.int32"),
  dot,
  const: ({ node }) => {
    const data = node.attrs.data as readonly number[];
    const values = node.type.dtype === "bool" ? data.map((v) => (v ? "True" : "False")) : data.map((v) => pythonNumber(v));
    const flat = call("torch.tensor", `[${values.join(", ")}]`, `dtype=${torchType[node.type.dtype]}`, "device=device");
    return node.type.shape.length === 1 ? flat : method(flat, "reshape", tuple(node.type.shape));
  },
  iota: ({ node }) => {
    const { axis } = attrsOf(node, "iota");
    const { shape } = node.type;
    const line = call("torch.arange", dim(shape[axis]).text, "dtype=torch.int32", "device=device");
    if (shape.length === 1) return line;
    const behind = shape.length - 1 - axis;
    const stood = behind === 0 ? line : method(line, "reshape", tuple([-1, ...Array.from({ length: behind }, () => 1)]));
    return method(stood, "expand", tuple(shape));
  },
  draw: ({ node, tensor, operand }) => {
    const more = node.inputs.slice(1).map((_, i) => operand(i + 1).text);
    return call("ops.draw", quoted(String(node.attrs.kind)), tuple(node.type.shape), tensor(0).text, ...more, "device=device");
  },
  gather: ({ node, tensor }) => {
    const at = method(tensor(1), "clamp", "0", lastOf(node.inputs[0].type.shape[0]));
    const plain = node.type.dtype === "f32" && node.inputs[0].type.shape.length === 2;
    return plain ? call("F.embedding", at.text, tensor(0).text) : atom(`${within(tensor(0), BINDS.atom)}[${at.text}]`);
  },
  scatter_add: helper("scatter_add", "rows"),
  write: helper("write", "axis"),
  dequantise: helper("dequantise", "shape", "block"),
  widen: helper("widen", "shape", "format"),
  cumsum: ({ node, tensor }) =>
    method(tensor(0), "cumsum", `dim=${attrsOf(node, "cumsum").axis}`, ...(node.type.dtype === "f32" ? [] : ["dtype=torch.int32"])),
  kth: helper("kth"),
  svd_u: helper("svd_u"),
  svd_s: helper("svd_s"),
  svd_v: helper("svd_v"),
  qr_q: helper("qr_q"),
  qr_r: helper("qr_r"),
  quantise: helper("quantise", "block"),
  narrow: helper("narrow", "format"),
  solve: helper("solve"),
  couple: helper("couple", "num", "den"),
  uncouple: helper("uncouple", "num", "den"),
  remainder: helper("remainder", "num", "den"),
  pack: helper("pack", "bits"),
  unpack: helper("unpack", "shape", "bits"),
  couple_wide: helper("couple_wide", "num", "den"),
  uncouple_wide: helper("uncouple_wide", "num", "den"),
  remainder_wide: helper("remainder_wide", "num", "den"),
  to_words: helper("to_words"),
  from_words: helper("from_words"),
  stop_gradient: ({ tensor }) => method(tensor(0), "detach"),
  fence: ({ tensor }) => tensor(0),
};

const pythonNumber = (v: number): string =>
  Number.isFinite(v) ? (Object.is(v, -0) ? "-0.0" : String(v)) : Number.isNaN(v) ? "math.nan" : v > 0 ? "math.inf" : "-math.inf";

/** The same functions of Python numbers, for what depends on nothing but the numbers of a step: it is computed in f64, as the other backends' hosts do. */
const python = (f: string, binds: Binds = BINDS.atom): ((...a: readonly Expression[]) => Expression) =>
  binds === BINDS.atom ? (...a) => call(f, ...a.map((x) => x.text)) : (a, b) => infix(a, f, b, binds);
const order =
  (sign: string) =>
  (a: Expression, b: Expression): Expression => ({
    text: `${within(a, BINDS.or)} ${sign} ${within(b, BINDS.or)}`,
    binds: BINDS.compare,
  });
export const numbers: Readonly<Record<MapName, (...a: readonly Expression[]) => Expression>> = {
  neg: (a) => ({ text: `-${within(a, BINDS.sign)}`, binds: BINDS.sign }),
  exp: python("ops.exp"),
  log: python("ops.log"),
  sqrt: python("ops.sqrt"),
  sin: python("math.sin"),
  cos: python("math.cos"),
  tanh: python("math.tanh"),
  erf: python("math.erf"),
  abs: python("abs"),
  sign: python("ops.sign"),
  floor: python("math.floor"),
  ceil: python("math.ceil"),
  round: python("round"),
  not: (a) => atom(`(not ${within(a, BINDS.atom)})`),
  add: python("+", BINDS.sum),
  sub: python("-", BINDS.sum),
  mul: python("*", BINDS.product),
  div: python("ops.divide"),
  pow: python("ops.power"),
  max: python("max"),
  min: python("min"),
  mod: python("ops.modulo"),
  eq: order("=="),
  ne: order("!="),
  lt: order("<"),
  le: order("<="),
  gt: order(">"),
  ge: order(">="),
  and: (a, b) => atom(`(${within(a, BINDS.compare)} and ${within(b, BINDS.compare)})`),
  or: (a, b) => atom(`(${within(a, BINDS.compare)} or ${within(b, BINDS.compare)})`),
  where: (c, a, b) => atom(`(${within(a, BINDS.compare)} if ${within(c, BINDS.compare)} else ${within(b, BINDS.compare)})`),
  cast: (a) => a,
};
