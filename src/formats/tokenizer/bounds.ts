/**
 * What a tokenizer's description may ask for. It comes with other people's folders: its numbers are those of an embedding table, its regular expressions are matched in bounded
 * time, and what it puts into texts has an end.
 */
import type { Tokenizer as Engine } from "@huggingface/tokenizers";
import { InputError } from "../../ir/errors.ts";
import { describe, isRecord, type JsonRecord } from "../files.ts";
import { Pattern } from "../pattern.ts";

/** One more than the largest number that a token may have. */
const MOST_TOKENS = 1 << 24;
/** Characters that rules may make of a text. */
const LONGEST = 32_000_000;
/** Steps for one text, of an expression that engines may take for ever for. */
const STEPS = 2e8;
/** Unbounded repetitions in a row from which on an engine's own way is not trusted. */
const ROW = 4;

/** P0651: numbers that no table has, a length that does not get on. Before an engine is made of it. */
export function checkDescription(json: JsonRecord, folder: string): void {
  const bad = (what: string) => new InputError("P0651", `the tokenizer of \`${folder}\` cannot be read: ${what}`);
  const check = (token: string, id: unknown): void => {
    if (!Number.isSafeInteger(id) || (id as number) < 0 || (id as number) >= MOST_TOKENS)
      throw bad(
        `token ${JSON.stringify(token).slice(0, 100)} has the number ${describe(id).replace(/^the number /, "")}; from 0 to ${MOST_TOKENS - 1} are read`,
      );
  };
  const { model, added_tokens: added, pre_tokenizer } = json;
  if (isRecord(model) && isRecord(model.vocab)) for (const [token, id] of Object.entries(model.vocab)) if (!isRecord(id)) check(token, id);
  if (isRecord(model) && Array.isArray(model.vocab)) {
    const wrong = model.vocab.find(
      (piece) => !(Array.isArray(piece) && typeof piece[0] === "string" && piece.length === 2 && Number.isFinite(Number(piece[1]))),
    );
    if (wrong !== undefined) throw bad(`a piece is ${describe(wrong)} where a text and a score are wanted`);
    const { unk_id: unknown = null } = model;
    if (unknown !== null && !(Number.isInteger(unknown) && (unknown as number) >= 0 && (unknown as number) < model.vocab.length))
      throw bad(`unk_id is ${describe(unknown)}, which is none of its ${model.vocab.length} pieces`);
  }
  if (Array.isArray(added))
    for (const token of added) {
      if (!isRecord(token) || typeof token.content !== "string") throw bad(`an added token is ${describe(token)}`);
      check(token.content, token.id);
    }
  const lengths = (part: unknown): void => {
    if (!isRecord(part)) return;
    if (Array.isArray(part.pretokenizers)) part.pretokenizers.forEach(lengths);
    if (part.type === "FixedLength" && !(Number.isSafeInteger(part.length) && (part.length as number) > 0))
      throw bad(`FixedLength has the length ${describe(part.length)}`);
  };
  lengths(pre_tokenizer);
}

/** Whether engines that go back may take longer for an expression than its text allows: repetitions inside repetitions, many in a row, references. */
export function isRisky(source: string): boolean {
  interface Level {
    /** Something in it repeats without a bound, or there is a choice. */
    loose: boolean;
    row: number;
  }
  const levels: Level[] = [{ loose: false, row: 0 }];
  let before: Level | undefined;
  for (let i = 0; i < source.length; i++) {
    const c = source[i];
    const level = levels[levels.length - 1];
    const repeats = /^(?:[*+]|\{\d+,(?:\d{2,})?\}|\{\d{2,}\})/.exec(source.slice(i, i + 16))?.[0];
    if (repeats !== undefined && i > 0) {
      if (before?.loose) return true;
      level.loose = true;
      if (++level.row >= ROW) return true;
      i += repeats.length - 1;
      before = undefined;
      continue;
    }
    before = undefined;
    if (c === "\\") {
      if (/[1-9k]/.test(source[i + 1] ?? "")) return true;
      i += /^\\[pP]\{[^}]*\}/.exec(source.slice(i, i + 64))?.[0].length ?? 2;
      i--;
    } else if (c === "[") {
      // to the end of the class; classes within classes are another mode's
      for (i++; i < source.length && source[i] !== "]"; i++) if (source[i] === "\\") i++;
    } else if (c === "(") levels.push({ loose: false, row: 0 });
    else if (c === ")") {
      before = levels.length > 1 ? levels.pop() : undefined;
      const outer = levels[levels.length - 1];
      if (before?.loose) outer.loose = true;
      outer.row += before?.row ?? 0;
      if (outer.row >= ROW) return true;
    } else if (c === "|") {
      level.row = 0;
      if (levels.length > 1) level.loose = true;
    }
  }
  return false;
}

/** Stands where a `RegExp` does, for what texts do with one. */
class Bounded {
  private readonly pattern: Pattern;
  /** P0651: what only engines read that have no bound. */
  constructor(
    private readonly source: string,
    private readonly folder: string,
  ) {
    try {
      this.pattern = new Pattern(source);
    } catch (error) {
      throw new InputError(
        "P0651",
        `the tokenizer of \`${folder}\` has a pattern that may take for ever, ${JSON.stringify(source).slice(0, 200)}, and that cannot be matched within a bound: ${error instanceof Error ? error.message : String(error)}`,
        ["repetitions inside repetitions are what takes long: write it without"],
      );
    }
  }
  /** P0652: the text is too long for it. */
  *[Symbol.matchAll](text: string): Generator<[string] & { index: number }> {
    if (text.length ** 2 * this.pattern.size > STEPS)
      throw new InputError(
        "P0652",
        `the tokenizer of \`${this.folder}\` has a pattern, ${JSON.stringify(this.source).slice(0, 200)}, that takes too long for a text of ${text.length} characters`,
      );
    for (let at = 0; at <= text.length; ) {
      const found = this.pattern.find(text, at);
      if (found === undefined) return;
      yield Object.assign([text.slice(found.start, found.end)] as [string], { index: found.start });
      at = found.end > found.start ? found.end : found.end + 1;
    }
  }
  [Symbol.replace](text: string, content: string): string {
    let out = "";
    let at = 0;
    for (const found of this[Symbol.matchAll](text)) {
      out += text.slice(at, found.index) + content;
      at = found.index + found[0].length;
    }
    return out + text.slice(at);
  }
}

interface Part {
  pattern?: unknown;
  readonly tokenizers?: readonly (Part | null)[];
  readonly normalizers?: readonly (Part | null)[];
  readonly decoders?: readonly (Part | null)[];
  normalize?: (text: string) => string;
}

/** Puts the bounds into an engine. P0651: a pattern that cannot have one. */
export function bound(engine: Engine, folder: string): void {
  const visit = (part: Part | null | undefined): void => {
    if (part === null || part === undefined) return;
    for (const inner of [...(part.tokenizers ?? []), ...(part.normalizers ?? []), ...(part.decoders ?? [])]) visit(inner);
    const { pattern } = part;
    if (isExpression(pattern) && isRisky(pattern.source)) part.pattern = new Bounded(pattern.source, folder);
    const normalize = part.normalize?.bind(part);
    if (normalize === undefined) return;
    part.normalize = (text) => {
      const out = normalize(text);
      if (out.length <= LONGEST || out.length <= text.length) return out;
      throw new InputError("P0652", `the tokenizer of \`${folder}\` makes more than ${LONGEST} characters of a text of ${text.length}`);
    };
  };
  const { pre_tokenizer, normalizer, decoder } = engine as unknown as Record<string, Part | null>;
  visit(pre_tokenizer);
  visit(normalizer);
  visit(decoder);
}

const isExpression = (pattern: unknown): pattern is RegExp => Object.prototype.toString.call(pattern) === "[object RegExp]";
