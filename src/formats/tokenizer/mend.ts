/**
 * Where `@huggingface/tokenizers` cuts texts otherwise than the Rust library of that name: its parts are given the rules of that one. Classes of characters are Unicode's (`\w` of an
 * `é`), pieces split off go where `behavior` says, and a charsmap is looked up rather than guessed.
 */
import type { Tokenizer as Engine } from "@huggingface/tokenizers";
import { Malformed } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import { type Piece, type Pieces, pipeline } from "./pipeline.ts";

const SPACE = "\\p{White_Space}";
const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";
/** ASCII's, symbols too, and Unicode's. */
const PUNCTUATION = "\\p{P}!-/:-@\\[-`{-~";

type Cut = (text: string) => string[];
interface Part {
  readonly config?: Readonly<Record<string, unknown>>;
  pattern?: unknown;
  unk_token?: unknown;
  unk_token_id?: unknown;
  readonly byte_decoder?: unknown;
  readonly decoders?: readonly (Part | null)[];
  decode_chain?: (tokens: readonly string[]) => string[];
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

/** Puts the rules into an engine, and gives what cuts texts by them. `json`: the description that it was made of. Throws `Malformed` for what is not built. */
export function mend(engine: Engine, json: Readonly<Record<string, unknown>>): ReturnType<typeof pipeline> {
  const { pre_tokenizer, normalizer, decoder, model } = engine as unknown as Record<string, Part | null>;
  mapper(normalizer, json.normalizer as Described);
  decode(decoder, json.decoder as Described);
  const described = json.model as Described;
  if (described?.type === "BPE" && described.continuing_subword_prefix)
    throw new Malformed(`BPE with continuing_subword_prefix ${JSON.stringify(described.continuing_subword_prefix)} is not built`);
  if (described?.type === "WordLevel" && model !== null) {
    model.unk_token = described.unk_token;
    model.unk_token_id = own((described.vocab ?? {}) as Record<string, unknown>, String(described.unk_token));
  }
  return pipeline(engine, json, cutter(pre_tokenizer, json.pre_tokenizer as Described));
}

type Described = (Readonly<Record<string, unknown>> & { readonly type?: string }) | null | undefined;

/** How a pre-tokenizer cuts a piece; `undefined`: there is none. */
function cutter(part: Part | null | undefined, described: Described): Pieces | undefined {
  if (part === null || part === undefined || described === null || described === undefined) return undefined;
  if (Array.isArray(described.pretokenizers)) {
    const inner = (described.pretokenizers as Described[]).flatMap((one, i) => cutter(part.tokenizers?.[i], one) ?? []);
    return (piece) => inner.reduce<Piece[]>((pieces, cut) => pieces.flatMap(cut), [piece]);
  }
  if (described.type === "Metaspace") return metaspace(described);
  if (described.type === "ByteLevel") part.pattern = BYTE_LEVEL;
  const cut = own(CUTS, String(described.type))?.(described, part) ?? part.pre_tokenize_text!.bind(part);
  return ({ text, first }) => {
    const pieces = cut(text);
    // what is cut off at the front does not begin the text
    return pieces.map((one, i) => ({ text: one, first: first && i === 0 && text.startsWith(one) }));
  };
}

/** GPT-2's expression with Unicode's spaces. */
const BYTE_LEVEL =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

const schemeOf = ({ prepend_scheme, add_prefix_space }: NonNullable<Described>): unknown =>
  prepend_scheme ?? (add_prefix_space === false ? "never" : "always");

/** Spaces become a mark, one stands in front of each text, or of the whole alone, and each begins a piece unless it is told not to. */
function metaspace(described: NonNullable<Described>): Pieces {
  const { replacement, split } = described;
  const mark = String(replacement ?? "\u2581");
  const scheme = schemeOf(described);
  const cut = cutBy(new RegExp(mark.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"), "gu"), "MergedWithNext", false);
  return ({ text, first }) => {
    const spaced = text.replaceAll(" ", mark);
    const front = !spaced.startsWith(mark) && (scheme === "always" || (scheme === "first" && first)) ? mark : "";
    const pieces = split === false ? [front + spaced] : cut(front + spaced);
    return pieces.map((one, i) => ({ text: one, first: first && i === 0 }));
  };
}

function mapper(part: Part | null | undefined, described: Described): void {
  if (part === null || part === undefined || described === null || described === undefined) return;
  (described.normalizers as Described[] | undefined)?.forEach((inner, i) => {
    mapper(part.normalizers?.[i], inner);
  });
  const map = own(MAPS, String(described.type))?.(described);
  if (map !== undefined) part.normalize = map;
  if (described.type === "Precompiled" && typeof described.precompiled_charsmap === "string")
    part.normalize = charsmap(described.precompiled_charsmap);
}

/** One letter at a time: the end of a word makes no other sigma. */
const lowered = (text: string): string => Array.from(text, (char) => char.toLowerCase()).join("");
const CHINESE =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/gu;

/** One row a kind of normaliser. */
const MAPS: Readonly<Record<string, (config: Readonly<Record<string, unknown>>) => (text: string) => string>> = {
  Lowercase: () => lowered,
  Prepend:
    ({ prepend }) =>
    (text) =>
      text === "" ? "" : String(prepend) + text,
  Strip: ({ strip_left, strip_right }) => {
    const front = strip_left ? /^\p{White_Space}+/u : undefined;
    const behind = strip_right ? /\p{White_Space}+$/u : undefined;
    return (text) => [front, behind].reduce((rest, end) => (end === undefined ? rest : rest.replace(end, "")), text);
  },
  BertNormalizer: ({ clean_text, handle_chinese_chars, strip_accents, lowercase }) => {
    const steps: ((text: string) => string)[] = [];
    if (clean_text)
      steps.push((text) => text.replace(/[\0\uFFFD]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu, "").replace(/\p{White_Space}/gu, " "));
    if (handle_chinese_chars) steps.push((text) => text.replace(CHINESE, " $& "));
    if (strip_accents ?? lowercase) steps.push((text) => text.normalize("NFD").replace(/\p{Mn}/gu, ""));
    if (lowercase) steps.push(lowered);
    return (text) => steps.reduce((rest, step) => step(rest), text);
  },
};

/** Of bytes: a token that holds a letter which stands for none is a text (an added one). Of marks for spaces: those of the first token stand for nothing. */
function decode(part: Part | null | undefined, described: Described): void {
  if (part === null || part === undefined || described === null || described === undefined) return;
  (described.decoders as Described[] | undefined)?.forEach((inner, i) => {
    decode(part.decoders?.[i], inner);
  });
  if (described.type === "Metaspace") {
    const mark = String(described.replacement ?? "\u2581");
    const marked = schemeOf(described) !== "never";
    part.decode_chain = (tokens) => tokens.map((token, i) => token.replaceAll(mark, i === 0 && marked ? "" : " "));
  }
  if (described.type !== "ByteLevel") return;
  const bytes = part.byte_decoder as Readonly<Record<string, number>>;
  const encoder = new TextEncoder();
  part.decode_chain = (tokens) => {
    const all = tokens.flatMap((token) => {
      const known = Array.from(token, (letter) => own(bytes, letter));
      return known.includes(undefined) ? Array.from(encoder.encode(token)) : (known as number[]);
    });
    return [new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(all, Number))];
  };
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
