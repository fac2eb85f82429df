/**
 * Structures that PyTorch has a function for: found by what nodes compute, whoever wrote them. Each gives the same function of the same operands, to rounding;
 * `test/torch/patterns.test.ts` holds every one to its nodes.
 */
import { sameShape } from "../../ir/dim.ts";
import { type Node, order } from "../../ir/graph.ts";
import {
  axesOfDot,
  iotaAxis,
  isExpand,
  isReshape,
  type MapName,
  permuteOrder,
  type ReduceName,
  reducedAxes,
  rowOf,
  splatOf,
} from "../../ir/ops/index.ts";
import { attrsKey } from "../../ir/rewrite.ts";
import { dropout, gelu, sigmoid, silu } from "./maps.ts";
import { atom, dim, type Expression, literal } from "./text.ts";

/** What a node is in one call. */
export interface Found {
  readonly operands: readonly Node[];
  /** Whether operands may be Python numbers, and a pair of words that is constant a tuple. */
  readonly numbers?: boolean;
  /** Nodes that the call stands for, the outermost left out. */
  readonly inside: ReadonlySet<Node>;
  spell(operands: readonly Expression[]): Expression;
}
export type Call = Omit<Found, "inside">;

/** A look at one structure: what it steps over is what the call will stand for. */
export class Look {
  readonly inside = new Set<Node>();

  private step<T>(n: Node, value: T): T {
    this.inside.add(n);
    return value;
  }
  /** The operands of an elementwise node. */
  map(n: Node, name: MapName): readonly Node[] | undefined {
    return rowOf(n).scalar === name ? this.step(n, n.inputs) : undefined;
  }
  /** One number as all elements. */
  number(n: Node): number | undefined {
    const splat = splatOf(n);
    return typeof splat === "number" ? splat : undefined;
  }
  /** `x` of `x · number` or `number · x`. */
  scaled(n: Node): readonly [Node, number] | undefined {
    const operands = this.map(n, "mul");
    if (!operands) return undefined;
    for (const i of [0, 1]) {
      const factor = this.number(operands[i]);
      if (factor !== undefined) return [operands[1 - i], factor];
    }
    return undefined;
  }
  /** What is repeated along axes, or stands beside axes of size 1. */
  below(n: Node): Node {
    let at = n;
    while (isExpand(at) || (isReshape(at) && onlyOnes(at))) at = this.step(at, at.inputs[0]);
    return at;
  }
  /** The operand of a reduction over the last axis that was put back along it. */
  along(n: Node, name: ReduceName): Node | undefined {
    const at = this.below(n);
    return this.reduced(at, name);
  }
  reduced(n: Node, name: ReduceName): Node | undefined {
    const last = n.inputs[0] && n.inputs[0].type.shape.length - 1;
    const axes = n.op === name ? reducedAxes(n) : undefined;
    return axes?.length === 1 && axes[0] === last ? this.step(n, n.inputs[0]) : undefined;
  }
  barrier(n: Node): Node | undefined {
    return rowOf(n).role === "barrier" && n.inputs.length === 1 ? this.step(n, n.inputs[0]) : undefined;
  }
  /** x without what adds nothing to it, a zero made of numbers. */
  added(n: Node): Node {
    if (rowOf(n).scalar !== "add") return n;
    for (const i of [0, 1]) if (isZero(n.inputs[i])) return this.added(this.step(n, n.inputs[1 - i]));
    return n;
  }
}

/** Zero, made of numbers alone. */
function isZero(n: Node): boolean {
  if (splatOf(n) === 0) return true;
  const { scalar } = rowOf(n);
  return (isExpand(n) || isReshape(n) || scalar === "cast") && isZero(n.inputs[0]);
}
const onlyOnes = (n: Node): boolean => {
  const others = (s: readonly unknown[]) => s.map(String).filter((d) => d !== "1");
  return others(n.type.shape).join() === others(n.inputs[0].type.shape).join();
};

/** Whether two nodes compute the same from the same. */
function same(a: Node, b: Node): boolean {
  if (a === b) return true;
  if (a.op !== b.op || a.inputs.length !== b.inputs.length || a.loop || rowOf(a).role === "placeholder") return false;
  if (rowOf(a).supply !== undefined && rowOf(a).supply === "arg") return false;
  return sameShape(a.type.shape, b.type.shape) && attrsKey(a.attrs) === attrsKey(b.attrs) && a.inputs.every((x, i) => same(x, b.inputs[i]));
}

const f = (name: string, ...args: readonly string[]): Expression => atom(`${name}(${args.join(", ")})`);

/** e of e / Σe. */
function softmax(n: Node, look: Look): Call | undefined {
  const parts = look.map(n, "div");
  if (!parts) return undefined;
  const [e, all] = parts;
  if (look.along(all, "reduce_sum") !== e) return undefined;
  const x = exponent(e, look);
  return x && { operands: [x], spell: ([t]) => f("torch.softmax", t.text, "dim=-1") };
}
/** x of exp(x − max x). */
function exponent(e: Node, look: Look): Node | undefined {
  const shifted = look.map(e, "exp")?.[0];
  return shifted && centred(shifted, look);
}
function centred(n: Node, look: Look): Node | undefined {
  const parts = look.map(n, "sub");
  if (!parts) return undefined;
  const barrier = look.below(parts[1]);
  const top = look.barrier(barrier);
  return top && look.along(top, "reduce_max") === parts[0] ? parts[0] : undefined;
}

/** Scores and mask of a softmax over the places where the mask is true. */
function maskedScores(n: Node, look: Look): { readonly x: Node; readonly mask: Node } | undefined {
  const parts = look.map(n, "div");
  if (!parts) return undefined;
  const [e, below] = parts;
  const divisor = look.below(below);
  const sums = look.map(divisor, "add");
  const kept = look.map(e, "where");
  if (!sums || !kept || look.number(kept[2]) !== 0) return undefined;
  if (look.along(sums[0], "reduce_sum") !== e || !none(sums[1], sums[0], look)) return undefined;
  const seen = exponent(kept[1], look);
  const chosen = seen && look.map(seen, "where");
  const lowest = chosen && look.number(chosen[2]);
  if (!chosen || lowest === undefined || lowest > -1e30 || !same(chosen[0], kept[0])) return undefined;
  for (const m of [chosen[0], kept[0]]) if (isExpand(m)) look.inside.add(m);
  return { x: chosen[1], mask: kept[0] };
}
/** 1 where a sum is 0, else 0. */
function none(n: Node, sum: Node, look: Look): boolean {
  const choice = rowOf(n).scalar === "cast" ? look.map(n, "cast")![0] : n;
  const parts = look.map(choice, "where");
  const test = parts && look.map(parts[0], "gt");
  return !!test && test[0] === sum && look.number(test[1]) === 0 && look.number(parts[1]) === 0 && look.number(parts[2]) === 1;
}
const maskText = (mask: Node, t: Expression): string => (splatOf(mask) === 1 ? "None" : t.text);

function maskedSoftmax(n: Node, look: Look): Call | undefined {
  const found = maskedScores(n, look);
  return found && { operands: [found.x, found.mask], spell: ([x, m]) => f("ops.masked_softmax", x.text, maskText(found.mask, m)) };
}

/** Scores are a scaled product of queries and keys; what comes out is their softmax times values. */
function attention(n: Node, look: Look): Call | undefined {
  const axes = axesOfDot(n);
  const batch = n.type.shape.length - 2;
  const matrices = (a: typeof axes, rhs: number) =>
    a !== undefined &&
    batch > 0 &&
    a.lhsBatch.length === batch &&
    a.lhsContract.length === 1 &&
    a.lhsContract[0] === batch + 1 &&
    a.rhsContract[0] === rhs;
  if (!matrices(axes, batch)) return undefined;
  look.inside.add(n);
  const found = maskedScores(n.inputs[0], look);
  if (!found) return undefined;
  const plain = look.added(found.x);
  const [product, scale] = look.scaled(plain) ?? [plain, 1];
  const inner = axesOfDot(product);
  if (product.type.shape.length !== batch + 2 || !inner) return undefined;
  look.inside.add(product);
  let keys: Node;
  if (matrices(inner, batch + 1)) keys = product.inputs[1];
  else if (matrices(inner, batch)) {
    const turned = permuteOrder(product.inputs[1]);
    if (!turned || turned[batch] !== batch + 1 || turned.slice(0, batch).some((a, i) => a !== i)) return undefined;
    look.inside.add(product.inputs[1]);
    keys = product.inputs[1].inputs[0];
  } else return undefined;
  return {
    operands: [product.inputs[0], keys, n.inputs[1], found.mask],
    spell: ([q, k, v, m]) => f("ops.attention", q.text, k.text, v.text, maskText(found.mask, m), `scale=${literal(scale, "f32").text}`),
  };
}

/** Mean over the last axis, put back along it. */
function mean(n: Node, look: Look): Node | undefined {
  const parts = look.map(look.below(n), "div");
  const size = parts && look.number(parts[1]);
  const x = parts && look.along(parts[0], "reduce_sum");
  return x && size === x.type.shape.at(-1) ? x : undefined;
}
/** x and ε of √(mean(x²) + ε). */
function root(n: Node, look: Look): { readonly x: Node; readonly eps: number } | undefined {
  const inside = look.map(look.below(n), "sqrt")?.[0];
  const parts = inside && look.map(inside, "add");
  const eps = parts && look.number(parts[1]);
  const squares = parts && mean(parts[0], look);
  if (!squares || eps === undefined) return undefined;
  const power = look.map(squares, "pow");
  return power && look.number(power[1]) === 2 ? { x: power[0], eps } : undefined;
}
/** A vector along the last axis. */
function vector(n: Node, look: Look): Node | undefined {
  const v = look.below(n);
  return v.type.shape.length === 1 && String(v.type.shape[0]) === String(n.type.shape.at(-1)) ? v : undefined;
}

function layerNorm(n: Node, look: Look): Call | undefined {
  const shifted = look.map(n, "add");
  const bias = shifted && vector(shifted[1], look);
  const stretched = shifted && look.map(shifted[0], "mul");
  const weight = stretched && vector(stretched[1], look);
  const parts = stretched && look.map(stretched[0], "div");
  if (!parts || !bias || !weight) return undefined;
  const found = root(parts[1], look);
  const difference = found?.x === parts[0] ? look.map(parts[0], "sub") : undefined;
  if (!found || !difference || mean(difference[1], look) !== difference[0]) return undefined;
  const [x] = difference;
  return {
    operands: [x, weight, bias],
    spell: ([t, w, b]) => f("F.layer_norm", t.text, `(${dim(x.type.shape.at(-1)!).text},)`, w.text, b.text, literal(found.eps, "f32").text),
  };
}

function rmsNorm(n: Node, look: Look): Call | undefined {
  const parts = look.map(n, "div");
  const product = parts && look.map(parts[0], "mul");
  const found = product && root(parts[1], look);
  if (!product || !found || found.x !== product[1]) return undefined;
  const weight = vector(product[0], look);
  return (
    weight && {
      operands: [found.x, weight],
      spell: ([t, w]) => f("F.rms_norm", t.text, `(${dim(found.x.type.shape.at(-1)!).text},)`, w.text, literal(found.eps, "f32").text),
    }
  );
}

/** x − max x − log Σ exp. */
function logSoftmaxOf(n: Node, look: Look): Node | undefined {
  const parts = look.map(n, "sub");
  const x = parts && centred(parts[0], look);
  const logs = x && look.map(look.below(parts[1]), "log");
  const e = logs && look.along(logs[0], "reduce_sum");
  return e && look.map(e, "exp")?.[0] === parts[0] ? x : undefined;
}
function logSoftmax(n: Node, look: Look): Call | undefined {
  const x = logSoftmaxOf(n, look);
  return x && { operands: [x], spell: ([t]) => f("F.log_softmax", t.text, "dim=-1") };
}

/** The negative logarithm of a label's probability; 0 where there is no label. */
function crossEntropy(n: Node, look: Look): Call | undefined {
  const outer = look.map(n, "where");
  const known = outer && look.map(outer[0], "ne");
  const ignored = known && look.number(known[1]);
  const negative = outer && look.map(outer[1], "neg");
  const picked = negative && look.reduced(negative[0], "reduce_sum");
  const hit = picked && look.map(picked, "where");
  const test = hit && look.map(hit[0], "eq");
  if (!known || ignored === undefined || !outer || look.number(outer[2]) !== 0 || !hit || look.number(hit[2]) !== 0 || !test)
    return undefined;
  if (iotaAxis(test[0]) !== test[0].type.shape.length - 1) return undefined;
  look.inside.add(test[0]);
  const place = look.below(test[1]);
  const chosen = look.map(place, "where");
  const again = chosen && look.map(chosen[0], "ne");
  const [labels] = known;
  if (!again || again[0] !== labels || look.number(again[1]) !== ignored || look.number(chosen[2]) !== 0 || chosen[1] !== labels)
    return undefined;
  const x = logSoftmaxOf(hit[1], look);
  return x && { operands: [x, labels], spell: ([t, l]) => f("ops.cross_entropy", t.text, l.text, `ignore=${ignored}`) };
}

const patterns: readonly ((n: Node, look: Look) => Call | undefined)[] = [
  attention,
  maskedSoftmax,
  softmax,
  layerNorm,
  rmsNorm,
  dropout,
  gelu,
  silu,
  sigmoid,
  crossEntropy,
  logSoftmax,
];

/**
 * Of a region: the nodes that are calls. A call is taken only where nothing outside of it reads what it stands for. `fixed`: nodes that must
 * stay, such as those by which a gradient is asked for. `twice`: gradients are differentiated again, which PyTorch's attention cannot be.
 */
export function findCalls(roots: readonly Node[], fixed: ReadonlySet<Node>, twice: boolean): Map<Node, Found> {
  const nodes = order(roots);
  const users = new Map<Node, Node[]>();
  for (const n of nodes) for (const i of n.inputs) users.set(i, [...(users.get(i) ?? []), n]);
  const out = new Map<Node, Found>();
  const taken = new Set<Node>();
  for (const n of [...nodes].reverse()) {
    if (taken.has(n)) continue;
    for (const pattern of patterns) {
      if (twice && pattern === attention) continue;
      const look = new Look();
      const call = pattern(n, look);
      if (!call) continue;
      look.inside.delete(n);
      for (const operand of call.operands) look.inside.delete(operand);
      const inside = new Set([...look.inside].filter((m) => !isFree(m)));
      const closed = [...inside].every(
        (m) => !fixed.has(m) && !roots.includes(m) && (users.get(m) ?? []).every((u) => u === n || look.inside.has(u)),
      );
      if (!closed || [...inside].some((m) => taken.has(m))) continue;
      for (const m of inside) taken.add(m);
      out.set(n, { ...call, inside });
      break;
    }
  }
  return out;
}
/** A number, which may be read elsewhere too. */
const isFree = (n: Node): boolean => splatOf(n) !== undefined;
