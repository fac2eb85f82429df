/**
 * SentencePiece's own files (`tokenizer.model`, `spiece.model`) as a `tokenizer.json`: what transformers' conversion makes of them. Read are the pieces, the kind of model (unigram or
 * byte pairs) and how texts are made ready; fields as in `sentencepiece_model.proto`.
 */
import { InputError } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import { describe, type Json, type JsonRecord } from "../files.ts";
import type { Settings } from "./synthesise.ts";

interface Piece {
  readonly text: string;
  readonly score: number;
  /** 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. */
  readonly type: number;
}
interface Model {
  readonly pieces: readonly Piece[];
  /** 1 unigram, 2 byte pairs. */
  readonly kind: number;
  readonly byteFallback: boolean;
  readonly charsmap: Uint8Array;
  readonly prefix: boolean;
  readonly collapse: boolean;
}

type Field = { readonly number: number; readonly value: number; readonly bytes: Uint8Array | undefined };

/** Fields of a message: numbers, or bytes. Throws `RangeError` where the bytes are no message. */
function* fieldsOf(bytes: Uint8Array): Generator<Field> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = view.getUint8(at++);
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      if (scale > 2 ** 56) throw new RangeError("a number of too many bytes");
    }
  };
  const take = (length: number): Uint8Array => {
    if (at + length > bytes.length) throw new RangeError("it ends within a field");
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const tag = varint();
    const [number, kind] = [Math.floor(tag / 8), tag % 8];
    if (kind === 0) yield { number, value: varint(), bytes: undefined };
    else if (kind === 2) yield { number, value: 0, bytes: take(varint()) };
    else if (kind === 5) {
      const place = at;
      take(4);
      yield { number, value: view.getFloat32(place, true), bytes: undefined };
    } else if (kind === 1) take(8);
    else throw new RangeError(`a field of the kind ${kind}`);
  }
}

/** Characters of a piece. Trainers stop at 16 where nobody says otherwise. */
const LONGEST = 1000;
const NOTHING = new Uint8Array(0);
const utf8 = (bytes: Uint8Array | undefined): string => new TextDecoder("utf-8", { fatal: true }).decode(bytes ?? NOTHING);

function readModel(bytes: Uint8Array): Model {
  const pieces: Piece[] = [];
  let [kind, byteFallback, prefix, collapse] = [1, false, true, true];
  let charsmap: Uint8Array = NOTHING;
  for (const { number, bytes: inner } of fieldsOf(bytes)) {
    if (inner === undefined) continue;
    if (number === 1) {
      let [text, score, type] = ["", 0, 1];
      for (const field of fieldsOf(inner)) {
        if (field.number === 1) text = utf8(field.bytes);
        else if (field.number === 2) score = field.value;
        else if (field.number === 3) type = field.value;
      }
      pieces.push({ text, score, type });
    } else if (number === 2) {
      for (const field of fieldsOf(inner)) {
        if (field.number === 3) kind = field.value;
        else if (field.number === 35) byteFallback = field.value !== 0;
      }
    } else if (number === 3) {
      for (const field of fieldsOf(inner)) {
        if (field.number === 2) charsmap = field.bytes ?? NOTHING;
        else if (field.number === 3) prefix = field.value !== 0;
        else if (field.number === 4) collapse = field.value !== 0;
      }
    }
  }
  return { pieces, kind, byteFallback, charsmap, prefix, collapse };
}

/** P0650: no such file, or a model of words or characters. */
export function fromSentencePiece(bytes: Uint8Array, path: string, settings: Settings): JsonRecord {
  let model: Model;
  try {
    model = readModel(bytes);
  } catch (error) {
    throw new InputError("P0650", `\`${path}\` is no sound SentencePiece model: ${error instanceof Error ? error.message : String(error)}`);
  }
  const { pieces, kind, byteFallback, charsmap, prefix, collapse } = model;
  if (pieces.length === 0) throw new InputError("P0650", `\`${path}\` is no SentencePiece model: it has no pieces`);
  if (kind !== 1 && kind !== 2)
    throw new InputError(
      "P0654",
      `\`${path}\` is a SentencePiece model of ${kind === 3 ? "words" : "characters"}, and only unigram and byte pairs are read`,
    );
  const unk = pieces.findIndex(({ type }) => type === 2);
  const bad = (what: string) => new InputError("P0650", `\`${path}\` is no sound SentencePiece model: ${what}`);
  if (unk < 0) throw bad("it has no piece for what it does not know");
  const seen = new Set<string>();
  for (const { text, score } of pieces) {
    if (seen.has(text)) throw bad(`the piece ${describe(text)} is there twice`);
    if (!Number.isFinite(score)) throw bad(`the piece ${describe(text)} has the score ${score}`);
    // cutting a piece in two goes with the square of its length
    if (text.length > LONGEST) throw bad(`a piece has ${text.length} characters; up to ${LONGEST} are read`);
    seen.add(text);
  }
  const added = pieces.flatMap(({ text, type }, id): Json[] =>
    type === 2 || type === 3 || type === 4
      ? [{ id, content: text, special: type !== 4, normalized: false, lstrip: false, rstrip: false, single_word: false }]
      : [],
  );
  const front = prefix && settings.config.add_prefix_space !== false;
  // byte pairs go over the whole text, with a space in front of whatever it is; unigram pieces never cross a space
  const normalizers: Json[] =
    kind === 2
      ? [...(front ? [{ type: "Prepend", prepend: "▁" }] : []), { type: "Replace", pattern: { String: " " }, content: "▁" }]
      : [
          ...(charsmap.length > 0 ? [{ type: "Precompiled", precompiled_charsmap: base64(charsmap) }] : []),
          ...(collapse
            ? [
                { type: "Strip", strip_left: false, strip_right: true },
                { type: "Replace", pattern: { Regex: " {2,}" }, content: "▁" },
              ]
            : []),
        ];
  const vocab = Object.fromEntries(pieces.map(({ text }, id) => [text, id]));
  return {
    version: "1.0",
    added_tokens: added,
    normalizer: normalizers.length === 0 ? null : { type: "Sequence", normalizers },
    pre_tokenizer: kind === 2 ? null : { type: "Metaspace", replacement: "▁", prepend_scheme: front ? "always" : "never", split: true },
    post_processor: framing(vocab, settings),
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        ...(byteFallback ? [{ type: "ByteFallback" }] : []),
        { type: "Fuse" },
        ...(!front ? [] : [{ type: "Strip", content: " ", start: 1, stop: 0 }]),
      ],
    },
    model:
      kind === 1
        ? {
            type: "Unigram",
            unk_id: unk,
            vocab: pieces.map(({ text, score }) => [text, score]),
            byte_fallback: byteFallback,
          }
        : {
            type: "BPE",
            dropout: null,
            unk_token: pieces[unk].text,
            continuing_subword_prefix: null,
            end_of_word_suffix: null,
            fuse_unk: true,
            byte_fallback: byteFallback,
            vocab,
            merges: mergesOf(pieces),
          },
  };
}

/** Pairs of pieces that make a piece, the piece with the best score first, as the conversion orders them. */
function mergesOf(pieces: readonly Piece[]): [string, string][] {
  const ids = new Map(pieces.map(({ text }, id) => [text, id]));
  const merges: { pair: [string, string]; score: number; left: number; right: number }[] = [];
  for (const { text, score, type } of pieces) {
    if (type !== 1 && type !== 4) continue;
    const characters = Array.from(text);
    for (let cut = 1; cut < characters.length; cut++) {
      const pair: [string, string] = [characters.slice(0, cut).join(""), characters.slice(cut).join("")];
      const [left, right] = pair.map((half) => ids.get(half));
      if (left !== undefined && right !== undefined) merges.push({ pair, score, left, right });
    }
  }
  return merges.sort((a, b) => b.score - a.score || a.left - b.left || a.right - b.right).map(({ pair }) => pair);
}

/** The start and the end of a text, where the settings put them. */
function framing(vocab: Readonly<Record<string, number>>, { config, special }: Settings): Json {
  const has = (role: string, asked: unknown) =>
    asked === true && special[role] !== undefined && vocab[special[role]] !== undefined ? [special[role]] : [];
  const [front, back] = [has("bos", config.add_bos_token), has("eos", config.add_eos_token)];
  if (front.length + back.length === 0) return null;
  const around = (id: string, type: number): Json[] => [
    ...front.map((token) => ({ SpecialToken: { id: token, type_id: type } })),
    { Sequence: { id, type_id: type } },
    ...back.map((token) => ({ SpecialToken: { id: token, type_id: type } })),
  ];
  const tokens = [...front, ...back].map((token) => [token, { id: token, ids: [vocab[token]], tokens: [token] }] as const);
  return {
    type: "TemplateProcessing",
    single: around("A", 0),
    pair: [...around("A", 0), ...around("B", 1)],
    special_tokens: Object.fromEntries(tokens),
  };
}

function base64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/** What classes of tokenizers put around texts and call their special tokens, by the type of model. */
const LLAMA: Pick<Settings, "special" | "config"> = { special: { bos: "<s>", eos: "</s>", unk: "<unk>" }, config: { add_bos_token: true } };
const GEMMA: typeof LLAMA = { special: { bos: "<bos>", eos: "<eos>", unk: "<unk>", pad: "<pad>" }, config: { add_bos_token: true } };
const T5: typeof LLAMA = { special: { pad: "<pad>", eos: "</s>", unk: "<unk>" }, config: { add_eos_token: true } };
const TYPES: Readonly<Record<string, typeof LLAMA>> = {
  llama: LLAMA,
  mistral: LLAMA,
  mixtral: LLAMA,
  phi3: LLAMA,
  gemma: GEMMA,
  gemma2: GEMMA,
  t5: T5,
  mt5: T5,
  umt5: T5,
};

/** The settings with those of the model's type. P0654: a type whose conversion is another (XLM-R's numbers are shifted, ALBERT's texts framed otherwise). */
export function sentencePieceSettings(type: unknown, path: string, { config, special }: Settings): Settings {
  const known = own(TYPES, String(type));
  if (known === undefined)
    throw new InputError(
      "P0654",
      `\`${path}\` is a SentencePiece model of ${typeof type === "string" ? `a model of the type ${JSON.stringify(type)}` : "an unknown type of model"}, whose tokenizer is not made of it alone`,
      [
        `it is for ${Object.keys(TYPES).join(", ")}`,
        'in Python: `AutoTokenizer.from_pretrained("…").save_pretrained("…")` writes a tokenizer.json',
      ],
    );
  return { config: { ...known.config, ...config }, special: { ...known.special, ...special } };
}
