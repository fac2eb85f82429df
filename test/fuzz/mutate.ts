/** Inputs made of other inputs: bits, pieces, numbers and names changed, all drawn from a seed. */
import { threefry } from "../../src/ir/random.ts";

/** Whole numbers from a stream of its own. */
export class Draws {
  private at = 0;
  constructor(
    private readonly seed: number,
    private readonly number: number,
  ) {}
  below(n: number): number {
    return (threefry(this.seed, this.number, this.at++, 0)[0] >>> 0) % n;
  }
  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }
}

const WORDS = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

/** One change of bytes. */
function bytesOnce(draws: Draws, bytes: Uint8Array, other: Uint8Array): Uint8Array {
  const at = draws.below(bytes.length + 1);
  const to = Math.min(bytes.length, at + draws.below(64));
  const joined = (...parts: readonly Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));
  switch (draws.below(7)) {
    case 0: {
      const out = bytes.slice();
      if (out.length > 0) out[Math.min(at, out.length - 1)] ^= 1 << draws.below(8);
      return out;
    }
    case 1: {
      const out = bytes.slice();
      if (out.length > 0) out[Math.min(at, out.length - 1)] = draws.below(256);
      return out;
    }
    case 2:
      return bytes.slice(0, at);
    case 3:
      return joined(bytes.subarray(0, at), bytes.subarray(to));
    case 4:
      return joined(bytes.subarray(0, to), bytes.subarray(at));
    case 5: {
      const out = bytes.slice();
      const word = draws.of(WORDS);
      const wide = draws.of([1, 2, 4, 8]);
      for (let i = 0; i < wide && at + i < out.length; i++) out[at + i] = i < 4 ? (word >>> (8 * i)) & 255 : 0;
      return out;
    }
    default: {
      const from = draws.below(other.length + 1);
      return joined(bytes.subarray(0, at), other.subarray(from, from + draws.below(64)), bytes.subarray(to));
    }
  }
}

/** What stands in texts where somebody wants to find out. */
const TOKENS = [
  "0",
  "-1",
  "0.5",
  "1e400",
  "1e15",
  "-0",
  "9007199254740993",
  "null",
  "true",
  "[]",
  "{}",
  '""',
  '"\\u0000"',
  '"__proto__"',
  '"constructor"',
  '"\\ud800"',
  "[[]]",
  "[[[[[[[[]]]]]]]]",
  "NaN",
  "Infinity",
  '"../../x"',
  '"(a+)+$"',
  ",",
  ":",
  "{",
  "}",
  "[",
  "]",
  '"',
  "\\",
  "\n",
  "(",
  ")",
  "*",
  "..",
  "=>",
  "for",
  "if",
  "{{",
  "}}",
  "{%",
  "%}",
  "|",
  "\u202e",
  "\ufeff",
  "😀",
  "a".repeat(300),
  "1".repeat(40),
];
const TOKEN = /"(?:[^"\\]|\\.)*"|[A-Za-z_]\w*|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\s+|[^\s]/g;

/** One change of a text, by its tokens. */
function textOnce(draws: Draws, text: string, other: string): string {
  const tokens = text.match(TOKEN) ?? [];
  if (tokens.length === 0) return draws.of(TOKENS);
  const at = draws.below(tokens.length);
  const to = Math.min(tokens.length, at + 1 + draws.below(12));
  const theirs = other.match(TOKEN) ?? [];
  switch (draws.below(7)) {
    case 0:
      tokens[at] = draws.of(TOKENS);
      break;
    case 1:
      tokens.splice(at, to - at);
      break;
    case 2:
      // a key twice, a rule twice
      tokens.splice(at, 0, ...tokens.slice(at, to));
      break;
    case 3: {
      const with_ = draws.below(tokens.length);
      [tokens[at], tokens[with_]] = [tokens[with_], tokens[at]];
      break;
    }
    case 4: {
      const from = draws.below(theirs.length + 1);
      tokens.splice(at, to - at, ...theirs.slice(from, from + 8));
      break;
    }
    case 5:
      tokens.splice(at, 0, draws.of(TOKENS));
      break;
    default: {
      // what is a number stays one
      const numbers = tokens.flatMap((t, i) => (/^-?\d/.test(t) ? [i] : []));
      if (numbers.length > 0)
        tokens[draws.of(numbers)] = draws.of(["0", "-1", "1", "3", "0.5", "1e400", "1e15", "9007199254740993", "4294967296", "null"]);
    }
  }
  return tokens.join("");
}

/** One input from two: up to four changes, mostly one. `text`: by tokens, and now and then by bytes. */
export function mutated(draws: Draws, bytes: Uint8Array, other: Uint8Array, text: boolean): Uint8Array {
  let out = bytes;
  for (let n = 1 + (draws.below(3) === 0 ? draws.below(4) : 0); n > 0; n--) {
    if (!text || draws.below(8) === 0) out = bytesOnce(draws, out, other);
    else {
      const read = (b: Uint8Array) => new TextDecoder().decode(b);
      out = new TextEncoder().encode(textOnce(draws, read(out), read(other)));
    }
  }
  return out;
}
