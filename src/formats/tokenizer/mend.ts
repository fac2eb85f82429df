/**
 * Where `@huggingface/tokenizers` cuts texts otherwise than the Rust library of that name: its parts are given the rules of that one. Classes of characters are Unicode's (`\w` of an
 * `é`), pieces split off go where `behavior` says, and a charsmap is looked up rather than guessed.
 */
import type { Tokenizer as Engine } from "@huggingface/tokenizers";
import { own } from "../../ir/own.ts";

const SPACE = "\\p{White_Space}";
const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";
/** ASCII's, symbols too, and Unicode's. */
const PUNCTUATION = "\\p{P}!-/:-@\\[-`{-~";

type Cut = (text: string) => string[];
interface Part {
  readonly config?: Readonly<Record<string, unknown>>;
  readonly pattern?: unknown;
  readonly tokenizers?: readonly Part[];
  readonly normalizers?: readonly (Part | null)[];
  pre_tokenize_text?: Cut;
  normalize?: (text: string) => string;
}

const matches =
  (pattern: string): Cut =>
  (text) =>
    text.match(new RegExp(pattern, "gu")) ?? [];

/** One row a kind of pre-tokenizer. `undefined`: as the library has it. */
const CUTS: Readonly<Record<string, (config: Readonly<Record<string, unknown>>, part: Part) => Cut | undefined>> = {
  Whitespace: () => matches(`[${WORD}]+|[^${WORD}${SPACE}]+`),
  WhitespaceSplit: () => matches(`[^${SPACE}]+`),
  BertPreTokenizer: () => matches(`[^${SPACE}${PUNCTUATION}]+|[${PUNCTUATION}]`),
  Punctuation: ({ behavior }) => cutBy(new RegExp(`[${PUNCTUATION}]`, "gu"), String(behavior ?? "Isolated"), false),
  Digits: ({ individual_digits }) => cutBy(/\p{N}/gu, individual_digits === true ? "Isolated" : "Contiguous", false),
  Split: ({ behavior, invert }, { pattern }) =>
    pattern !== null && pattern !== undefined ? cutBy(pattern as RegExp, String(behavior ?? "Isolated"), invert === true) : undefined,
};

/** The text at the pattern's matches (`invert`: at what lies between them), which go where `behavior` says: away, on their own, to a neighbour, or together. */
export function cutBy(pattern: RegExp, behavior: string, invert: boolean): Cut {
  return (text) => {
    const parts: { text: string; match: boolean }[] = [];
    let at = 0;
    for (const found of text.matchAll(pattern)) {
      if (found[0] === "") continue;
      if (found.index > at) parts.push({ text: text.slice(at, found.index), match: invert });
      parts.push({ text: found[0], match: !invert });
      at = found.index + found[0].length;
    }
    if (at < text.length) parts.push({ text: text.slice(at), match: invert });
    return own(JOINS, behavior.toLowerCase().replaceAll("_", ""))?.(parts) ?? parts.map((part) => part.text);
  };
}

type Joined = (parts: readonly { readonly text: string; readonly match: boolean }[]) => string[];
const JOINS: Readonly<Record<string, Joined>> = {
  removed: (parts) => parts.flatMap(({ text, match }) => (match ? [] : [text])),
  isolated: (parts) => parts.map(({ text }) => text),
  contiguous: (parts) => {
    const out: string[] = [];
    for (const [i, { text, match }] of parts.entries())
      if (i > 0 && parts[i - 1].match === match) out[out.length - 1] += text;
      else out.push(text);
    return out;
  },
  mergedwithprevious: (parts) => {
    const out: string[] = [];
    for (const [i, { text, match }] of parts.entries())
      if (match && i > 0 && !parts[i - 1].match) out[out.length - 1] += text;
      else out.push(text);
    return out;
  },
  mergedwithnext: (parts) => {
    const out: string[] = [];
    for (let i = parts.length - 1; i >= 0; i--)
      if (parts[i].match && i + 1 < parts.length && !parts[i + 1].match) out[0] = parts[i].text + out[0];
      else out.unshift(parts[i].text);
    return out;
  },
};

/** Puts the rules into an engine. `json`: the description that it was made of. */
export function mend(engine: Engine, json: Readonly<Record<string, unknown>>): void {
  const { pre_tokenizer, normalizer } = engine as unknown as { pre_tokenizer: Part | null; normalizer: Part | null };
  cutter(pre_tokenizer, json.pre_tokenizer as Described);
  mapper(normalizer, json.normalizer as Described);
}

type Described = (Readonly<Record<string, unknown>> & { readonly type?: string }) | null | undefined;

function cutter(part: Part | null | undefined, described: Described): void {
  if (part === null || part === undefined || described === null || described === undefined) return;
  (described.pretokenizers as Described[] | undefined)?.forEach((inner, i) => {
    cutter(part.tokenizers?.[i], inner);
  });
  const cut = own(CUTS, String(described.type))?.(described, part);
  if (cut !== undefined) part.pre_tokenize_text = cut;
}

function mapper(part: Part | null | undefined, described: Described): void {
  if (part === null || part === undefined || described === null || described === undefined) return;
  (described.normalizers as Described[] | undefined)?.forEach((inner, i) => {
    mapper(part.normalizers?.[i], inner);
  });
  if (described.type === "Precompiled" && typeof described.precompiled_charsmap === "string")
    part.normalize = charsmap(described.precompiled_charsmap);
}

const GRAPHEMES = new Intl.Segmenter("en", { granularity: "grapheme" });
/** Bytes of a grapheme from which on its characters are looked up one by one. */
const WHOLE = 6;

/** SentencePiece's table of replacements, in base64: the size of a double array, the array, and the texts that it leads to, each with a zero behind it. */
export function charsmap(base64: string): (text: string) => string {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  if (bytes.length < 4) return (text) => text;
  const view = new DataView(bytes.buffer);
  const size = view.getUint32(0, true);
  const unit = (at: number) => (at * 4 < size ? view.getUint32(4 + at * 4, true) : 0);
  const offset = (value: number) => (value >>> 10) << ((value & (1 << 9)) >>> 6);
  const texts = bytes.subarray(4 + size);
  /** What the shortest beginning that the table has is replaced by. */
  const lookUp = (key: Uint8Array): string | undefined => {
    let at = offset(unit(0));
    for (const byte of key) {
      if (byte === 0) return undefined;
      at ^= byte;
      const value = unit(at);
      if ((value & 0x800000ff) >>> 0 !== byte) return undefined;
      at ^= offset(value);
      if (((value >>> 8) & 1) === 1) {
        const from = unit(at) & 0x7fffffff;
        return new TextDecoder().decode(texts.subarray(from, texts.indexOf(0, from)));
      }
    }
    return undefined;
  };
  const encoder = new TextEncoder();
  return (text) => {
    let out = "";
    for (const { segment } of GRAPHEMES.segment(text)) {
      const key = encoder.encode(segment);
      const whole = key.length < WHOLE ? lookUp(key) : undefined;
      if (whole !== undefined) out += whole;
      else for (const char of segment) out += lookUp(encoder.encode(char)) ?? char;
    }
    return out;
  };
}
