/** Text to token numbers and back, over `@huggingface/tokenizers`, with what that leaves out: special numbers by role, frames that survive cutting, streams. */
import { Tokenizer as Engine } from "@huggingface/tokenizers";
import { InputError } from "../../ir/errors.ts";
import { type Files, isRecord, type JsonRecord, joinPath, readBytes, readRecord } from "../files.ts";
import { withAdded } from "./added.ts";
import { bound, checkDescription } from "./bounds.ts";
import { mend } from "./mend.ts";
import { reduceDescription, reduceSettings } from "./reduce.ts";
import { fromSentencePiece, sentencePieceSettings } from "./sentencepiece.ts";
import { TextStream } from "./stream.ts";
import { classDefaults, fromBytePairs, fromWordPieces, type Settings, specialTokens } from "./synthesise.ts";

/** A row of tokens: numbers, which text each is of (0, 1), and which were put around the text or are special themselves. */
export interface Framed {
  readonly ids: readonly number[];
  readonly types: readonly number[];
  readonly special: readonly boolean[];
  /** Tokens of the texts that did not fit. */
  readonly cut: number;
}

interface FramePart {
  readonly id: number | "first" | "second";
  readonly type: number;
}

const FIRST = "\u0000first";
const SECOND = "\u0000second";

export class TextTokenizer {
  /** One more than the largest number. */
  readonly size: number;
  /** Roles (`pad`, `mask`, `eos`, `bos`, `unk`, `cls`, `sep`) the tokenizer has, to their numbers. */
  readonly ids: Readonly<Record<string, number>>;
  /** Numbers of all special tokens. */
  readonly specials: ReadonlySet<number>;
  private readonly engine: Engine;
  private readonly cut: ReturnType<typeof mend>;
  private readonly single: readonly FramePart[];
  private readonly pair: readonly FramePart[];
  private readonly cleanUp: boolean;
  private readonly joins: boolean;
  /** Whether a text's first piece is another than the same piece within a text. */
  private readonly marksBeginnings: boolean;

  /** `folder`: for messages. P0651: a part of the description that the engine does not know. */
  constructor(
    private readonly json: JsonRecord,
    private readonly settings: Settings,
    readonly folder: string,
  ) {
    checkDescription(json, folder);
    try {
      this.engine = new Engine({ added_tokens: [], ...json }, settings.config);
      bound(this.engine, folder);
      this.cut = mend(this.engine, json);
    } catch (error) {
      if (error instanceof InputError) throw error;
      throw new InputError(
        "P0651",
        `the tokenizer of \`${folder}\` cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
    this.size = Math.max(-1, ...chunkMaxima([...this.engine.get_vocab(true).values()])) + 1;
    const ids: Record<string, number> = {};
    for (const [role, token] of Object.entries(settings.special)) {
      const id = this.engine.token_to_id(token);
      if (id !== undefined) ids[role] = id;
    }
    this.ids = ids;
    const marked = [...this.engine.get_added_tokens_decoder()].filter(([, token]) => token.special).map(([id]) => id);
    this.specials = new Set([...marked, ...Object.values(ids)]);
    const roberta = usesProcessor(json.post_processor, "RobertaProcessing");
    this.single = this.frameOf(false, roberta);
    this.pair = this.frameOf(true, roberta);
    this.marksBeginnings = marks(json.normalizer) || marks(json.pre_tokenizer);
    this.cleanUp = settings.config.clean_up_tokenization_spaces === true;
    this.joins = this.cleanUp || (isRecord(json.decoder) && json.decoder.cleanup === true);
  }

  /** The same with some of its tokens alone, `kept` in the order of their new numbers. P0653: an order that it cannot have. */
  reduced(kept: readonly number[]): TextTokenizer {
    const config = reduceSettings(this.settings.config, kept);
    const ends = this.ends.map((id) => kept.indexOf(id)).filter((id) => id >= 0);
    return new TextTokenizer(reduceDescription(this.json, kept, this.folder), { ...this.settings, config, ends }, this.folder);
  }

  /** Numbers of the tokens that end what a model writes: `eos`, or else `sep`, and those that its folder names. */
  get ends(): readonly number[] {
    const own = this.ids.eos ?? this.ids.sep;
    return [...new Set([...(own === undefined ? [] : [own]), ...(this.settings.ends ?? [])])];
  }

  get generation(): JsonRecord {
    return this.settings.generation ?? {};
  }

  /** What describes it, in files: a folder of its own needs no others. */
  get description(): Readonly<Record<string, JsonRecord>> {
    return { "tokenizer.json": this.json, "tokenizer_config.json": this.settings.config };
  }

  /** Where the post-processor puts its tokens around one text, or two, learnt by giving it two that no vocabulary has. */
  private frameOf(two: boolean, oneType: boolean): FramePart[] {
    const processor = this.engine.post_processor;
    const plain = two ? [FIRST, SECOND] : [FIRST];
    const made: { tokens: string[]; token_type_ids?: number[] } =
      processor === null ? { tokens: plain } : processor.post_process([FIRST], two ? [SECOND] : null, true);
    const tokens = two && !made.tokens.includes(SECOND) ? [...made.tokens, SECOND] : made.tokens;
    return tokens.map((token, i): FramePart => {
      const type = oneType ? 0 : (made.token_type_ids?.[i] ?? 0);
      if (token === FIRST) return { id: "first", type };
      if (token === SECOND) return { id: "second", type };
      const id = this.engine.token_to_id(token);
      if (id === undefined)
        throw new InputError(
          "P0651",
          `the tokenizer of \`${this.folder}\` puts ${JSON.stringify(token)} around texts, which its vocabulary lacks`,
        );
      return { id, type };
    });
  }

  /** Numbers of the text alone. P0652: a piece that the vocabulary lacks, where there is no token for the unknown. */
  encode(text: string): number[] {
    return this.cut(text).map(([token, id]) => {
      if (id !== undefined && Number.isInteger(id)) return id;
      throw new InputError(
        "P0652",
        `the tokenizer of \`${this.folder}\` has no token for ${JSON.stringify(token)}, and none for what it does not know`,
      );
    });
  }

  /**
   * Numbers of a text and of one that follows it. A tokenizer that marks beginnings (a space in front of whatever it is given, as Llama 2's) would take the second for a beginning,
   * so both are cut as one text, and the second begins behind what the first has in common with the whole. `merged`: within a token that also holds the first's end.
   */
  encodeBehind(first: string, second: string): { readonly first: number[]; readonly second: number[]; readonly merged: boolean } {
    const before = this.encode(first);
    if (!this.marksBeginnings || first === "") return { first: before, second: this.encode(second), merged: false };
    const whole = this.encode(first + second);
    let shared = 0;
    while (shared < before.length && before[shared] === whole[shared]) shared++;
    return { first: whole.slice(0, shared), second: whole.slice(shared), merged: shared < before.length };
  }

  /** The token's text, if there is such a number. */
  tokenOf(id: number): string | undefined {
    return this.engine.id_to_token(id);
  }

  /** How many tokens are put around one text, or two. */
  overhead(two: boolean): number {
    return (two ? this.pair : this.single).filter(({ id }) => typeof id === "number").length;
  }

  /**
   * Puts the model's special tokens around one text or two. Where they are more than `most` tokens, the texts lose their ends, the longer first (transformers'
   * `longest_first`); the special tokens stay.
   */
  frame(first: readonly number[], second: readonly number[] | undefined, most = Number.POSITIVE_INFINITY): Framed {
    const parts = second === undefined ? this.single : this.pair;
    const room = Math.max(0, most - this.overhead(second !== undefined));
    let keep = first.length;
    let keepSecond = second?.length ?? 0;
    const over = Math.max(0, keep + keepSecond - room);
    // the longer one gives until both are equal, then they take turns, the second first
    for (let rest = over; rest > 0; ) {
      const gap = Math.abs(keep - keepSecond);
      const step = gap === 0 ? 1 : Math.min(rest, gap);
      if (keep > keepSecond) keep -= step;
      else keepSecond -= step;
      rest -= step;
    }
    const ids: number[] = [];
    const types: number[] = [];
    const special: boolean[] = [];
    for (const part of parts) {
      const text = part.id === "first" ? first.slice(0, keep) : part.id === "second" ? second!.slice(0, keepSecond) : [part.id];
      for (const id of text) {
        ids.push(id);
        types.push(part.type);
        special.push(typeof part.id === "number" || this.specials.has(id));
      }
    }
    return { ids, types, special, cut: over };
  }

  decode(ids: readonly number[], options: { readonly skipSpecial?: boolean } = {}): string {
    const kept = options.skipSpecial ? ids.filter((id) => !this.specials.has(id)) : [...ids];
    if (kept.length === 0) return "";
    return this.engine.decode(kept, { clean_up_tokenization_spaces: this.cleanUp });
  }

  /** Text as its tokens arrive, special ones left out. */
  stream(): TextStream {
    return new TextStream((ids) => this.decode(ids, { skipSpecial: true }), this.joins);
  }
}

/** `Math.max(...)` over long lists overflows the stack. */
function chunkMaxima(values: readonly number[]): number[] {
  const maxima: number[] = [];
  for (let at = 0; at < values.length; at += 10000) maxima.push(Math.max(...values.slice(at, at + 10000)));
  return maxima;
}

/** Whether a normaliser or a pre-tokenizer puts something in front of a text. */
function marks(part: unknown): boolean {
  if (!isRecord(part)) return false;
  const inner = part.normalizers ?? part.pretokenizers;
  if (Array.isArray(inner)) return inner.some(marks);
  if (part.type === "Prepend") return part.prepend !== "";
  if (part.type === "Metaspace")
    return part.prepend_scheme === undefined ? part.add_prefix_space !== false : part.prepend_scheme !== "never";
  return part.type === "ByteLevel" && part.add_prefix_space === true;
}

function usesProcessor(processor: unknown, type: string): boolean {
  if (!isRecord(processor)) return false;
  if (processor.type === type) return true;
  return Array.isArray(processor.processors) && processor.processors.some((inner) => usesProcessor(inner, type));
}

/** Files that a tokenizer may consist of. */
export const TOKENIZER_FILES: readonly string[] = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "vocab.txt",
  "spiece.model",
  "sentencepiece.bpe.model",
  "tokenizer.model",
  "chat_template.jinja",
];

/**
 * The tokenizer of a model's folder; `undefined`: it has none. P0654: only a SentencePiece model, of a type that is not read; P0650, P0651 as above; P0685 to P0687 for files that are not
 * what they should be.
 */
export function loadTokenizer(files: Files, folder: string): TextTokenizer | undefined {
  const has = (name: string) => files.stat(joinPath(folder, name))?.kind === "file";
  const optional = (name: string) => (has(name) ? readRecord(files, joinPath(folder, name)) : {});
  const config = optional("tokenizer_config.json");
  const special = specialTokens(config, optional("special_tokens_map.json"));
  const made = (json: JsonRecord, roles: Readonly<Record<string, string>>): TextTokenizer => {
    const whole = withAdded(
      json,
      { config, special: roles, map: optional("special_tokens_map.json"), added: optional("added_tokens.json") },
      folder,
    );
    return new TextTokenizer(whole, { config, special: roles, ends: endsIn(optional), generation: generationIn(optional) }, folder);
  };
  if (has("tokenizer.json")) {
    const json = readRecord(files, joinPath(folder, "tokenizer.json"));
    return made(json, { ...guessRoles(json), ...special });
  }
  if (has("vocab.json") && has("merges.txt")) {
    const settings = classDefaults(files, folder, { config, special });
    return made(fromBytePairs(files, folder, settings), settings.special);
  }
  if (has("vocab.txt")) return made(fromWordPieces(files, folder, { config, special }), { ...BERT_TOKENS, ...special });
  const pieces = ["spiece.model", "sentencepiece.bpe.model", "tokenizer.model"].find(has);
  if (pieces !== undefined) {
    const path = joinPath(folder, pieces);
    const settings = sentencePieceSettings(optional("config.json").model_type, path, { config, special });
    return made(fromSentencePiece(readBytes(files, path), path, settings), settings.special);
  }
  return undefined;
}

/** Tokens that end what a model writes: of the file that says how it generates, or else of its configuration. */
function endsIn(optional: (name: string) => JsonRecord): number[] {
  const ends = optional("generation_config.json").eos_token_id ?? optional("config.json").eos_token_id;
  return (Array.isArray(ends) ? ends : [ends]).filter((id): id is number => typeof id === "number" && id >= 0);
}

/** How a model writes: a file of its own, or else its configuration, as older models have it. */
const generationIn = (optional: (name: string) => JsonRecord): JsonRecord => {
  const own = optional("generation_config.json");
  return Object.keys(own).length > 0 ? own : optional("config.json");
};

/** The tokenizer of a folder; with `kept`, those of its tokens alone. Errors as of `loadTokenizer`, and P0653. */
export function tokenizerOf(
  files: Files,
  source: string | { readonly folder: string; readonly kept: readonly number[] },
): TextTokenizer | undefined {
  return typeof source === "string" ? loadTokenizer(files, source) : loadTokenizer(files, source.folder)?.reduced(source.kept);
}

const BERT_TOKENS: Readonly<Record<string, string>> = { unk: "[UNK]", cls: "[CLS]", sep: "[SEP]", pad: "[PAD]", mask: "[MASK]" };

/** Usual texts of special tokens, for a `tokenizer.json` that comes alone: those it marks as special. */
const USUAL: Readonly<Record<string, readonly string[]>> = {
  pad: ["[PAD]", "<pad>", "<|pad|>"],
  mask: ["[MASK]", "<mask>"],
  unk: ["[UNK]", "<unk>"],
  cls: ["[CLS]"],
  sep: ["[SEP]"],
  bos: ["<s>", "<bos>", "<|begin_of_text|>", "<|endoftext|>"],
  eos: ["</s>", "<eos>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>"],
};

function guessRoles(json: JsonRecord): Record<string, string> {
  const added = Array.isArray(json.added_tokens) ? json.added_tokens : [];
  const marked = new Set(
    added.filter(isRecord).flatMap((token) => (token.special === true && typeof token.content === "string" ? [token.content] : [])),
  );
  const roles: Record<string, string> = {};
  for (const [role, texts] of Object.entries(USUAL)) {
    const text = texts.find((candidate) => marked.has(candidate));
    if (text !== undefined) roles[role] = text;
  }
  return roles;
}
