/**
 * The way of a text through an engine's parts, in the order and by the rules of the Rust library: added tokens that stand in the text as it is, the normaliser, added tokens in what
 * that makes, the pre-tokenizer, the model, a piece at a time.
 */
import type { Tokenizer as Engine } from "@huggingface/tokenizers";
import { isRecord } from "../files.ts";

const WORD_AT_END = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const WORD_AT_START = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const SPACE_AT_END = /\p{White_Space}*$/u;
const SPACE_AT_START = /^\p{White_Space}*/u;

interface Added {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
}
interface Dictionary {
  split(text: string): string[];
}
/** What of an engine is used, which its types do not all say. */
interface Inside {
  readonly added_tokens: readonly Added[];
  readonly splitter_unnormalized: Dictionary;
  readonly splitter_normalized: Dictionary;
  readonly added_tokens_map: ReadonlyMap<string, Added>;
  readonly normalizer: ((text: string) => string) | null;
  readonly model: ((pieces: readonly string[]) => string[]) & {
    readonly tokens_to_ids: Map<string, number>;
    readonly unk_token_id?: number;
  };
  token_to_id: (token: string) => number | undefined;
}

/** A piece of a text, and whether the text begins with it. */
export interface Piece {
  readonly text: string;
  readonly first: boolean;
}
export type Pieces = (piece: Piece) => Piece[];

/** A stretch of text, or an added token in it. `at`: where it begins. */
type Section = { readonly text: string; readonly at: number; readonly token?: Added };

/** A token with its number; `undefined`: neither it nor one for the unknown has any. */
type Numbered = readonly [token: string, id: number | undefined];

/** What cuts texts into tokens. `cut`: the pre-tokenizer, if there is one; `json`: the description that the engine was made of. */
export function pipeline(engine: Engine, json: Readonly<Record<string, unknown>>, cut: Pieces | undefined): (text: string) => Numbered[] {
  const inside = engine as unknown as Inside;
  apart(inside, json);
  const numbered = (token: string): Numbered => [token, inside.model.tokens_to_ids.get(token) ?? inside.model.unk_token_id];
  const model = isRecord(json.model) ? json.model : {};
  if (model.type === "Unigram") likeliest(inside.model as unknown as Unigram);
  const words = model.type === "Unigram" && model.byte_fallback === true ? withBytes(inside) : (text: string) => inside.model([text]);
  const sections = (dictionary: Dictionary, text: string): Section[] => sectionsOf(dictionary.split(text), inside.added_tokens_map);
  return (text) =>
    sections(inside.splitter_unnormalized, text).flatMap((section): Numbered[] => {
      if (section.token !== undefined) return [[section.token.content, section.token.id]];
      if (section.text === "") return [];
      const normal = inside.normalizer === null ? section.text : inside.normalizer(section.text);
      return sections(inside.splitter_normalized, normal).flatMap((inner): Numbered[] => {
        if (inner.token !== undefined) return [[inner.token.content, inner.token.id]];
        if (inner.text === "") return [];
        const piece = { text: inner.text, first: section.at === 0 && inner.at === 0 };
        return (cut === undefined ? [piece] : cut(piece)).flatMap(({ text: one }) => (one === "" ? [] : words(one).map(numbered)));
      });
    });
}

/** The engine gives added tokens to the model too, which would then find them within words: they are taken out where its own vocabulary lacks them. */
function apart(inside: Inside, { model }: Readonly<Record<string, unknown>>): void {
  const vocabulary = isRecord(model) ? model.vocab : undefined;
  const all = new Map(inside.model.tokens_to_ids);
  inside.token_to_id = (token) => all.get(token);
  if (!isRecord(vocabulary)) return;
  for (const { content } of inside.added_tokens) if (!Object.hasOwn(vocabulary, content)) inside.model.tokens_to_ids.delete(content);
}

/** Texts between added tokens, which take the spaces beside them where they say so, and stand for themselves within a word where they must not. */
function sectionsOf(found: readonly string[], tokens: ReadonlyMap<string, Added>): Section[] {
  const text = found.join("");
  const out: Section[] = [];
  let begin = 0;
  let place = 0;
  for (const part of found) {
    let start = place;
    place += part.length;
    let end = place;
    const token = tokens.get(part);
    if (token === undefined) continue;
    if (token.single_word && (WORD_AT_END.test(text.slice(0, start)) || WORD_AT_START.test(text.slice(end)))) continue;
    if (token.lstrip) start = Math.max(begin, start - SPACE_AT_END.exec(text.slice(begin, start))![0].length);
    if (token.rstrip) end += SPACE_AT_START.exec(text.slice(end))![0].length;
    start = Math.max(start, begin);
    if (start > begin) out.push({ text: text.slice(begin, start), at: begin });
    out.push({ text: text.slice(start, end), at: start, token });
    begin = Math.max(begin, end);
  }
  if (begin < text.length) out.push({ text: text.slice(begin), at: begin });
  return out;
}

interface Unigram {
  readonly trie: { common_prefix_search(chars: readonly string[], start: number): Iterable<string> };
  readonly tokens_to_ids: ReadonlyMap<string, number>;
  readonly scores: readonly number[];
  readonly unk_score: number;
  tokenize: (text: string) => string[];
}

/** The likeliest row of pieces. Of rows that are as likely, up to a rounding, the one that the sums up to each place say, in the order of places: what follows has no part in it. */
function likeliest(model: Unigram): void {
  model.tokenize = (text) => {
    const chars = Array.from(text);
    const score = new Float64Array(chars.length + 1);
    const from = new Int32Array(chars.length + 1).fill(-1);
    const known = new Uint8Array(chars.length + 1);
    const reach = (end: number, start: number, more: number, piece: boolean) => {
      const sum = more + score[start];
      if (from[end] >= 0 && sum <= score[end]) return;
      score[end] = sum;
      from[end] = start;
      known[end] = Number(piece);
    };
    for (let start = 0; start < chars.length; start++) {
      let single = false;
      for (const piece of model.trie.common_prefix_search(chars, start)) {
        const length = Array.from(piece).length;
        reach(start + length, start, model.scores[model.tokens_to_ids.get(piece)!], true);
        single ||= length === 1;
      }
      if (!single) reach(start + 1, start, model.unk_score, false);
    }
    const out: string[] = [];
    let unknown = "";
    const flush = () => {
      if (unknown !== "") out.push(unknown);
      unknown = "";
    };
    for (let end = chars.length; end > 0; end = from[end]) {
      const piece = chars.slice(from[end], end).join("");
      if (known[end] === 0) {
        unknown = piece + unknown;
        continue;
      }
      flush();
      out.push(piece);
    }
    flush();
    return out.reverse();
  };
}

/** What a unigram model does not know, as tokens of bytes where it has all of them. */
function withBytes({ model }: Inside): (text: string) => string[] {
  const encoder = new TextEncoder();
  return (text) =>
    model([text]).flatMap((token) => {
      if (model.tokens_to_ids.has(token)) return [token];
      const bytes = Array.from(encoder.encode(token), (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
      return bytes.every((byte) => model.tokens_to_ids.has(byte)) ? bytes : [token];
    });
}
