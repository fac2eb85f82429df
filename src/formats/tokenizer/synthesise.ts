/**
 * The tables of older repositories (`vocab.json` + `merges.txt`, `vocab.txt`) as the one `tokenizer.json` that newer ones carry: what transformers' slow-to-fast
 * conversion would make of them.
 */
import { InputError } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import { describe, type Files, isRecord, type Json, type JsonRecord, joinPath, readRecord, readText } from "../files.ts";

/** Special tokens by their role, and the settings of `tokenizer_config.json`. */
export interface Settings {
  readonly config: JsonRecord;
  /** `pad`, `mask`, `eos`, `bos`, `unk`, `cls`, `sep` to the token's text. */
  readonly special: Readonly<Record<string, string>>;
  /** Numbers of tokens that end a text beside `eos`, as `generation_config.json` or `config.json` has them. */
  readonly ends?: readonly number[];
  /** What the folder says of how its model writes. */
  readonly generation?: JsonRecord;
}

interface Added {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly lstrip: boolean;
  readonly normalized: boolean;
}

/** Byte-level BPE (GPT-2, RoBERTa, OPT, BART). P0650: the tables are malformed. */
export function fromBytePairs(files: Files, folder: string, settings: Settings): JsonRecord {
  const vocab = readVocabulary(files, joinPath(folder, "vocab.json"));
  const mergesPath = joinPath(folder, "merges.txt");
  const merges: string[] = [];
  readText(files, mergesPath)
    .split(/\r?\n/)
    .forEach((line, i) => {
      if (line === "" || (i === 0 && line.startsWith("#version"))) return;
      if (line.split(" ").length !== 2) {
        throw new InputError(
          "P0650",
          `\`${mergesPath}\`, line ${i + 1}: ${describe(line)} where two pieces with a space between are wanted`,
        );
      }
      merges.push(line);
    });
  const space = settings.config.add_prefix_space === true;
  return {
    version: "1.0",
    added_tokens: addedTokens(files, folder, vocab, settings),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: space, trim_offsets: true, use_regex: true },
    post_processor: framing(vocab, settings) ?? { type: "ByteLevel", add_prefix_space: space, trim_offsets: false },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: settings.special.unk ?? null,
      continuing_subword_prefix: "",
      end_of_word_suffix: "",
      fuse_unk: false,
      vocab,
      merges,
    },
  };
}

/** What classes of tokenizers take where no file says otherwise, by the type of model. */
const GPT2 = { bos: "<|endoftext|>", eos: "<|endoftext|>", unk: "<|endoftext|>" };
const ROBERTA = { bos: "<s>", eos: "</s>", unk: "<unk>", cls: "<s>", sep: "</s>", pad: "<pad>", mask: "<mask>" };
const OPT = { bos: "</s>", eos: "</s>", unk: "</s>", pad: "<pad>" };
const CLASSES: Readonly<Record<string, { readonly special: Readonly<Record<string, string>>; readonly config?: JsonRecord }>> = {
  gpt2: { special: GPT2 },
  gpt_neo: { special: GPT2 },
  gptj: { special: GPT2 },
  gpt_neox: { special: GPT2 },
  roberta: { special: ROBERTA },
  bart: { special: ROBERTA },
  opt: { special: OPT, config: { add_bos_token: true } },
};

/** Settings with the defaults of the tokenizer's class, for the special tokens that no file names and the vocabulary has. */
export function classDefaults(files: Files, folder: string, { config, special }: Settings): Settings {
  const path = joinPath(folder, "config.json");
  const type = files.stat(path) === undefined ? undefined : readRecord(files, path).model_type;
  const vocab = readVocabulary(files, joinPath(folder, "vocab.json"));
  const named = String(config.tokenizer_class ?? "")
    .replace(/Tokenizer(Fast)?$/, "")
    .toLowerCase();
  const known =
    own(CLASSES, String(type)) ??
    own(CLASSES, named) ??
    (vocab["<|endoftext|>"] === undefined ? (vocab["<mask>"] === undefined ? undefined : CLASSES.roberta) : CLASSES.gpt2);
  const usual = Object.entries(known?.special ?? {}).filter(([role, token]) => special[role] === undefined && vocab[token] !== undefined);
  return { config: { ...known?.config, ...config }, special: { ...Object.fromEntries(usual), ...special } };
}

/** WordPiece (BERT, DistilBERT): one token a line, its number the line's. P0650: a token twice, or none at all. */
export function fromWordPieces(files: Files, folder: string, settings: Settings): JsonRecord {
  const path = joinPath(folder, "vocab.txt");
  const lines = readText(files, path).split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  const vocab: Record<string, number> = Object.create(null);
  lines.forEach((line, i) => {
    if (vocab[line] !== undefined)
      throw new InputError("P0650", `\`${path}\`, line ${i + 1}: the token ${describe(line)} is on line ${vocab[line] + 1} too`);
    vocab[line] = i;
  });
  const unk = settings.special.unk ?? "[UNK]";
  if (vocab[unk] === undefined) throw new InputError("P0650", `\`${path}\` lacks the token ${unk} for what it does not know`);
  const lower = settings.config.do_lower_case !== false;
  const named = { unk, cls: "[CLS]", sep: "[SEP]", pad: "[PAD]", mask: "[MASK]", ...settings.special };
  const special = Object.fromEntries(Object.entries(named).filter(([, token]) => vocab[token] !== undefined));
  return {
    version: "1.0",
    added_tokens: addedTokens(files, folder, vocab, { ...settings, special }),
    normalizer: {
      type: "BertNormalizer",
      clean_text: true,
      handle_chinese_chars: settings.config.tokenize_chinese_chars !== false,
      strip_accents: settings.config.strip_accents ?? null,
      lowercase: lower,
    },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: framing(vocab, { ...settings, special }),
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: { type: "WordPiece", unk_token: unk, continuing_subword_prefix: "##", max_input_chars_per_word: 100, vocab },
  };
}

function readVocabulary(files: Files, path: string): Record<string, number> {
  const raw = readRecord(files, path);
  for (const [token, id] of Object.entries(raw)) {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0) {
      throw new InputError("P0650", `\`${path}\`: token ${describe(token)} has ${describe(id)} where a whole number is wanted`);
    }
  }
  return { ...raw } as Record<string, number>;
}

/** What stands before and behind a text: `cls … sep` where there are such tokens, else a `bos` or `eos` that the settings ask for. */
function framing(vocab: Readonly<Record<string, number>>, { config, special }: Settings): Json {
  const has = (role: string) => special[role] !== undefined && vocab[special[role]] !== undefined;
  const item = (role: string, type: number): Json => ({ SpecialToken: { id: special[role], type_id: type } });
  const text = (id: string, type: number): Json => ({ Sequence: { id, type_id: type } });
  if (has("cls") && has("sep")) {
    // RoBERTa's kind separates two texts twice and has one type for both
    const twice = special.cls === special.bos && special.sep === special.eos;
    const pair = twice
      ? [item("cls", 0), text("A", 0), item("sep", 0), item("sep", 0), text("B", 0), item("sep", 0)]
      : [item("cls", 0), text("A", 0), item("sep", 0), text("B", 1), item("sep", 1)];
    return template([item("cls", 0), text("A", 0), item("sep", 0)], pair, ["cls", "sep"], vocab, special);
  }
  const front = config.add_bos_token === true && has("bos") ? ["bos"] : [];
  const back = config.add_eos_token === true && has("eos") ? ["eos"] : [];
  if (front.length + back.length === 0) return null;
  const around = (id: string, type: number) => [...front.map((r) => item(r, type)), text(id, type), ...back.map((r) => item(r, type))];
  return template(around("A", 0), [...around("A", 0), ...around("B", 1)], [...front, ...back], vocab, special);
}

function template(
  single: Json,
  pair: Json,
  roles: readonly string[],
  vocab: Readonly<Record<string, number>>,
  special: Readonly<Record<string, string>>,
): Json {
  const entries = roles.map(
    (role) => [special[role], { id: special[role], ids: [vocab[special[role]]], tokens: [special[role]] }] as const,
  );
  return { type: "TemplateProcessing", single, pair, special_tokens: Object.fromEntries(entries) };
}

/** The special tokens that the vocabulary has, then those of `added_tokens.json`. */
function addedTokens(files: Files, folder: string, vocab: Readonly<Record<string, number>>, { special }: Settings): Json {
  const tokens = new Map<string, Added>();
  for (const [role, content] of Object.entries(special)) {
    const id = vocab[content];
    if (id !== undefined) tokens.set(content, { id, content, special: true, lstrip: role === "mask", normalized: false });
  }
  const path = joinPath(folder, "added_tokens.json");
  if (files.stat(path) !== undefined) {
    for (const [content, id] of Object.entries(readVocabulary(files, path))) {
      const isSpecial = Object.values(special).includes(content);
      tokens.set(content, { id, content, special: isSpecial, lstrip: false, normalized: !isSpecial });
    }
  }
  return [...tokens.values()].sort((a, b) => a.id - b.id).map((token) => ({ ...token, rstrip: false, single_word: false }));
}

/** Texts of special tokens, from `tokenizer_config.json` and `special_tokens_map.json`: a string, or an object with `content`. */
export function specialTokens(...sources: readonly JsonRecord[]): Record<string, string> {
  const special: Record<string, string> = {};
  for (const role of ["pad", "mask", "eos", "bos", "unk", "cls", "sep"]) {
    for (const source of sources) {
      const value = source[`${role}_token`];
      const text = isRecord(value) ? value.content : value;
      if (typeof text === "string") special[role] ??= text;
    }
  }
  return special;
}
