/**
 * Streams of integers: x as X·2⁻ᵠ. One word each where the wiring keeps the values near what layers add to it; two words where it lets them
 * grow from iteration to iteration.
 */
import type { Builder } from "../build.ts";
import type { Node, Type } from "../graph.ts";
import { attrsOf, isWideCouple, type Ratio, ratioAt, remainderBits } from "../ops/index.ts";
import { WORD } from "../ops/wide.ts";

/** Scalar inputs of a step with integer streams: 2ᵠ and 2⁻ᵠ, for those of one word and for those of two. */
export const REVERSE_SCALE = "reverse_scale";
export const REVERSE_UNIT = "reverse_unit";
export const REVERSE_WIDE_SCALE = "reverse_wide_scale";
export const REVERSE_WIDE_UNIT = "reverse_wide_unit";

/** Streams, and high words of streams of two, stay below this, so that the sum of two of them does not wrap. */
export const RANGE = 2 ** 30;

/** The shape of a stream's values. */
export const elementsShape = (couple: Node): Type["shape"] => (isWideCouple(couple) ? couple.type.shape.slice(1) : couple.type.shape);

/** Streams of so many words. */
export class Words {
  constructor(readonly wide: boolean) {}

  type(shape: Type["shape"]): Type {
    return { dtype: "i32", shape: this.wide ? [2, ...shape] : shape };
  }

  /** v·2ᵠ to the nearest integer, ties to even; what is out of range, or no number, becomes the least that is out of it. */
  quantised(b: Builder, v: Node, scale: Node): Node {
    const s = b.mul(v, scale);
    const most = this.wide ? RANGE * WORD : RANGE;
    const whole = b.where(b.compare("lt", b.unary("abs", s), most), b.unary("round", s), most);
    return this.wide ? b.make("to_words", [whole]) : b.cast(whole, "i32");
  }

  floated(b: Builder, x: Node, unit: Node): Node {
    return b.mul(this.wide ? b.make("from_words", [x]) : b.cast(x, "f32"), unit);
  }

  /** num/den·x + f, or num/den·(−x) + f. */
  coupled(b: Builder, x: Node, f: Node, negative: boolean, ratio: Ratio): Node {
    return b.make(this.wide ? "couple_wide" : "couple", [negative ? b.neg(x) : x, f], { ...ratio });
  }

  /** Whether each number is out of range, at `most` of its size: a bool of the values' shape. */
  outside(b: Builder, x: Node, most = RANGE): Node {
    const high = this.wide ? b.reshape(b.sliceAxis(x, 0, 0, 1), x.type.shape.slice(1)) : x;
    return b.compare("ge", b.unary("abs", high), most);
  }
}

/** What y = couple(x, f) loses of x, packed; absent where it is nothing. */
export function packedRemainder(b: Builder, couple: Node): Node | undefined {
  if (couple.type.dtype !== "i32") return undefined;
  const bits = remainderBits(ratioAt(couple));
  if (bits === 0) return undefined;
  const { num, den } = ratioAt(couple);
  const count = (elementsShape(couple) as readonly number[]).reduce((p, d) => p * d, 1);
  const places = b.make(isWideCouple(couple) ? "remainder_wide" : "remainder", [couple.inputs[0]], { num, den });
  return b.make("pack", [b.reshape(places, [count])], { bits });
}

/** The x of y = couple(x, f), from y, f, and what was packed of x. */
export function uncoupled(b: Builder, couple: Node, y: Node, f: Node, packed: Node | undefined, negative: boolean): Node {
  const signed = (x: Node): Node => (negative ? b.neg(x) : x);
  if (couple.type.dtype === "f32") return signed(b.make("uncouple", [y, f], attrsOf(couple, "couple")));
  const shape = elementsShape(couple);
  const bits = remainderBits(ratioAt(couple));
  const k = packed ? b.make("unpack", [packed], { bits, shape }) : b.constant(0, "i32", shape);
  if (!isWideCouple(couple)) return signed(b.make("uncouple", [y, f, k], attrsOf(couple, "couple")));
  const x = b.make("uncouple_wide", [y, f, k], attrsOf(couple, "couple_wide"));
  // the low words of −X are out of their range: a multiple by 1 puts them there
  return negative ? b.make("couple_wide", [b.neg(x), b.constant(0, "i32", x.type.shape)], { num: 1, den: 1 }) : x;
}
