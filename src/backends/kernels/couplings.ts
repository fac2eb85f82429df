/** Kernels' rules for reversible streams, of one word and of two. */

import { type Node, sizes as shapeOf } from "../../ir/graph.ts";
import { perWord } from "../../ir/ops/couplings.ts";
import { attrsOf, type Ratio, ratioAt } from "../../ir/ops/index.ts";
import { WORD } from "../../ir/ops/wide.ts";
import type { Emitter, Rule } from "./emit.ts";
import { constant, flatten, type Index, scale, shift, unflatten } from "./index.ts";
import { added, dividedBy, less, plusSmall, settled, timesSmall, type Wide } from "./wide.ts";

/** The elements of a stream of two words. */
const words = (e: Emitter, x: Node, coords: readonly Index[], guard: number | undefined): Wide => ({
  high: e.at(x, [constant(0), ...coords], guard),
  low: e.at(x, [constant(1), ...coords], guard),
});

/** A rule for a stream of two words: both are computed, and one is taken. */
const wideRule =
  (f: (e: Emitter, n: Node, coords: readonly Index[], guard: number | undefined) => Wide): Rule =>
  (e, n, [word, ...coords], guard) => {
    const { high, low } = f(e, n, coords, guard);
    if (word.terms.length === 0) return word.base === 0 ? high : low;
    return e.call("where", "i32", e.call("eq", "bool", e.index(word), e.literal(0, "i32")), high, low);
  };

/** Rows of reversible streams. */
export const coupled: Readonly<Record<string, Rule>> = {
  couple: (e, n, coords, guard) => {
    const [x, f] = n.inputs.map((i) => e.at(i, coords, guard));
    const r = ratioAt(n);
    if (n.type.dtype === "i32") return e.call("add", "i32", nearest(e, x, r), f);
    return e.call("add", "f32", e.call("mul", "f32", x, e.literal(r.num / r.den, "f32")), f);
  },
  uncouple: (e, n, coords, guard) => {
    const [y, f, k] = n.inputs.map((i) => e.at(i, coords, guard));
    const r = ratioAt(n);
    const difference = e.call("sub", n.type.dtype, y, f);
    if (n.type.dtype === "i32") return e.call("add", "i32", least(e, difference, r), k);
    return e.call("mul", "f32", difference, e.literal(r.den / r.num, "f32"));
  },
  remainder: (e, n, coords, guard) => {
    const x = e.at(n.inputs[0], coords, guard);
    const r = ratioAt(n);
    return e.call("sub", "i32", x, least(e, nearest(e, x, r), r));
  },
  couple_wide: wideRule((e, n, coords, guard) => {
    const [x, f] = n.inputs.map((i) => words(e, i, coords, guard));
    return settled(e, added(e, nearestWide(e, x, ratioAt(n)), f));
  }),
  uncouple_wide: wideRule((e, n, coords, guard) => {
    const [y, f] = n.inputs.slice(0, 2).map((i) => words(e, i, coords, guard));
    const k = e.at(n.inputs[2], coords, guard);
    return settled(e, plusSmall(e, leastWide(e, less(e, y, f), ratioAt(n)), k));
  }),
  remainder_wide: (e, n, coords, guard) => {
    const x = words(e, n.inputs[0], coords, guard);
    const r = ratioAt(n);
    const { high, low } = less(e, x, leastWide(e, nearestWide(e, x, r), r));
    // it is small, so the high words differ by 1 at most
    return e.call("add", "i32", times(e, high, WORD), low);
  },
  to_words: wideRule((e, n, coords, guard) => {
    // scaled by powers of two, and a difference of neighbours: nothing is rounded
    const x = e.at(n.inputs[0], coords, guard);
    const high = e.call("floor", "f32", e.call("mul", "f32", x, e.literal(1 / WORD, "f32")));
    const low = e.call("sub", "f32", x, e.call("mul", "f32", high, e.literal(WORD, "f32")));
    return { high: e.call("cast", "i32", high), low: e.call("cast", "i32", low) };
  }),
  from_words: (e, n, coords, guard) => {
    const { high, low } = words(e, n.inputs[0], coords, guard);
    const upper = e.call("mul", "f32", e.call("cast", "f32", high), e.literal(WORD, "f32"));
    return e.call("add", "f32", upper, e.call("cast", "f32", low));
  },
  pack: (e, n, [word], guard) => {
    const { bits } = attrsOf(n, "pack", "unpack");
    const [count] = shapeOf(n.inputs[0]);
    const [words] = shapeOf(n);
    let out: number | undefined;
    for (let place = 0; place < perWord(bits) && place * words < count; place++) {
      const at = shift(word, place * words);
      const inside = e.within(at, 0, count);
      if (inside === false) break;
      const x = e.at(n.inputs[0], [at], e.both(guard, inside));
      const digit = inside === undefined ? x : e.call("where", "i32", inside, x, e.literal(0, "i32"));
      const moved = place === 0 ? digit : e.call("shl", "i32", digit, e.literal(place * bits, "i32"));
      // the bits of the numbers do not meet, so that their sum is their union
      out = out === undefined ? moved : e.call("add", "i32", out, moved);
    }
    return out!;
  },
  unpack: (e, n, coords, guard) => {
    const { bits } = attrsOf(n, "pack", "unpack");
    const [words] = shapeOf(n.inputs[0]);
    const [place, word] = unflatten(flatten(coords, shapeOf(n)), [perWord(bits), words], e.sizes);
    const top = e.index(shift(scale(place, -bits), 32 - bits));
    return e.call("shr", "i32", e.call("shl", "i32", e.at(n.inputs[0], [word], guard), top), e.literal(32 - bits, "i32"));
  },
};

const floorDiv = (e: Emitter, x: number, by: number): number => (by === 1 ? x : e.call("floor_div", "i32", x, e.literal(by, "i32")));
const times = (e: Emitter, x: number, by: number): number => (by === 1 ? x : e.call("mul", "i32", x, e.literal(by, "i32")));
const plus = (e: Emitter, x: number, c: number): number => (c === 0 ? x : e.call("add", "i32", x, e.literal(c, "i32")));

/** num/den · x to the nearest integer, halves upward. The quotient by `den` is taken apart first, so that nothing wraps. */
function nearest(e: Emitter, x: number, { num, den }: Ratio): number {
  if (num === 1) return floorDiv(e, plus(e, x, Math.floor(den / 2)), den);
  const whole = floorDiv(e, x, den);
  const rest = e.call("sub", "i32", x, times(e, whole, den));
  return e.call("add", "i32", times(e, whole, num), floorDiv(e, plus(e, times(e, rest, 2 * num), den), 2 * den));
}

/** The least integer that `nearest` takes to `q`. */
function least(e: Emitter, q: number, { num, den }: Ratio): number {
  if (num === 1) return plus(e, times(e, q, den), -Math.floor(den / 2));
  const whole = floorDiv(e, q, num);
  const rest = e.call("sub", "i32", q, times(e, whole, num));
  const up = floorDiv(e, plus(e, times(e, rest, -2 * den), den), 2 * num);
  return e.call("sub", "i32", times(e, whole, den), up);
}

/** `nearest` of a number of two words; the low word of what comes out may be past its range. */
function nearestWide(e: Emitter, x: Wide, { num, den }: Ratio): Wide {
  const { quotient, rest } = dividedBy(e, x, den);
  return plusSmall(e, timesSmall(e, quotient, num), floorDiv(e, plus(e, times(e, rest, 2 * num), den), 2 * den));
}

/** `least` of a number of two words; the low word of what comes out may be past its range. */
function leastWide(e: Emitter, q: Wide, { num, den }: Ratio): Wide {
  const { quotient, rest } = dividedBy(e, q, num);
  const up = floorDiv(e, plus(e, times(e, rest, -2 * den), den), 2 * num);
  return plusSmall(e, timesSmall(e, quotient, den), e.call("neg", "i32", up));
}
