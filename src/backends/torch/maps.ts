/** Elementwise structures that PyTorch has a function for, and dropout by counters. */
import type { Node } from "../../ir/graph.ts";
import { isDraw } from "../../ir/ops/index.ts";
import type { Call, Look } from "./patterns.ts";
import { atom, literal } from "./text.ts";

/** The other operand of a commutative node, where one of them is a number. */
function beside(n: Node, name: "add" | "mul", number: number, look: Look): Node | undefined {
  const operands = look.map(n, name);
  const at = operands?.findIndex((i) => look.number(i) === number) ?? -1;
  return at < 0 ? undefined : operands![1 - at];
}
const near = (a: number | undefined, b: number): boolean => a !== undefined && Math.abs(a / b - 1) < 1e-7;

/** x of 1 / (1 + exp(−x)). */
function sigmoidOf(n: Node, look: Look): Node | undefined {
  const parts = look.map(n, "div");
  if (!parts || look.number(parts[0]) !== 1) return undefined;
  const e = beside(parts[1], "add", 1, look);
  const negative = e && look.map(e, "exp")?.[0];
  return negative && look.map(negative, "neg")?.[0];
}
export function sigmoid(n: Node, look: Look): Call | undefined {
  const x = sigmoidOf(n, look);
  return x && { operands: [x], spell: ([t]) => atom(`torch.sigmoid(${t.text})`) };
}
export function silu(n: Node, look: Look): Call | undefined {
  const parts = look.map(n, "mul");
  const at = parts?.findIndex((p, i) => sigmoidOf(p, look) === parts[1 - i]) ?? -1;
  return at < 0 ? undefined : { operands: [parts![1 - at]], spell: ([t]) => atom(`F.silu(${t.text})`) };
}

/** x / 2 · (1 + f(…)): by erf, or by tanh of a cubic. */
export function gelu(n: Node, look: Look): Call | undefined {
  const parts = look.map(n, "mul");
  const x = parts && beside(parts[0], "mul", 0.5, look);
  const curve = parts && beside(parts[1], "add", 1, look);
  if (!x || !curve) return undefined;
  const scaled = look.map(curve, "erf")?.[0];
  if (scaled) {
    const ratio = look.map(scaled, "div");
    if (!ratio || ratio[0] !== x || !near(look.number(ratio[1]), Math.SQRT2)) return undefined;
    return { operands: [x], spell: ([t]) => atom(`F.gelu(${t.text})`) };
  }
  const inner = look.map(curve, "tanh")?.[0];
  const [sum, factor] = (inner && look.scaled(inner)) ?? [];
  const terms = sum && look.map(sum, "add");
  const at = terms?.indexOf(x) ?? -1;
  if (!terms || at < 0 || !near(factor, Math.sqrt(2 / Math.PI))) return undefined;
  const [cube, third] = look.scaled(terms[1 - at]) ?? [];
  const power = cube && look.map(cube, "pow");
  if (!power || power[0] !== x || look.number(power[1]) !== 3 || !near(third, 0.044715)) return undefined;
  return { operands: [x], spell: ([t]) => atom(`F.gelu(${t.text}, approximate="tanh")`) };
}

/** x · (draw < keep) / keep. */
export function dropout(n: Node, look: Look): Call | undefined {
  const parts = look.map(n, "div");
  const keep = parts && look.number(parts[1]);
  const product = parts && look.map(parts[0], "mul");
  const mask = product && look.map(product[1], "cast")?.[0];
  const test = mask && look.map(mask, "lt");
  if (!test || keep === undefined || look.number(test[1]) !== keep) return undefined;
  const [draw] = test;
  if (!isDraw(draw) || draw.attrs.kind !== "uniform" || draw.inputs.length < 2) return undefined;
  look.inside.add(draw);
  return {
    operands: [product[0], ...draw.inputs],
    numbers: true,
    spell: ([x, ...counters]) => atom(`ops.dropout(${[x.text, literal(keep, "f32").text, ...counters.map((c) => c.text)].join(", ")})`),
  };
}
