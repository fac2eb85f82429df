/** A tokenizer's description (`tokenizer.json`) with some of its tokens alone, numbered anew: texts are cut into what is left. */
import { InputError } from "../../ir/errors.ts";
import { isRecord, type Json, type JsonRecord } from "../files.ts";

/**
 * `kept`: numbers of the tokens that stay, in the order of their new numbers. Merges of byte pairs stay where both halves and what they make do. What a
 * post-processor puts around texts must be kept, or the tokenizer that is made of the description says so. P0653: numbers that the kind of model cannot have.
 */
export function reduceDescription(json: JsonRecord, kept: readonly number[], folder: string): JsonRecord {
  const order = new Map(kept.map((id, i) => [id, i]));
  const { model, added_tokens, post_processor, padding } = json;
  return {
    ...json,
    model: isRecord(model) ? reduceModel(model, kept, order, folder) : model,
    ...(Array.isArray(added_tokens) && { added_tokens: added_tokens.flatMap((token) => moved(token, order)) }),
    ...(post_processor !== undefined && { post_processor: reduceProcessor(post_processor, order) }),
    ...(isRecord(padding) && { padding: { ...padding, pad_id: order.get(Number(padding.pad_id)) ?? 0 } }),
  };
}

/** `tokenizer_config.json` beside it: its list of added tokens by number. */
export function reduceSettings(config: JsonRecord, kept: readonly number[]): JsonRecord {
  const added = config.added_tokens_decoder;
  if (!isRecord(added)) return config;
  const order = new Map(kept.map((id, i) => [String(id), String(i)]));
  const left = Object.entries(added).flatMap(([id, token]) => (order.has(id) ? [[order.get(id)!, token] as const] : []));
  return { ...config, added_tokens_decoder: Object.fromEntries(left) };
}

function reduceModel(model: JsonRecord, kept: readonly number[], order: ReadonlyMap<number, number>, folder: string): JsonRecord {
  const { vocab, merges, unk_id } = model;
  if (Array.isArray(vocab)) {
    // a token's number is its place in the list, so what is no piece of the model comes last
    const pieces = kept.filter((id) => id < vocab.length);
    if (pieces.some((id, i) => kept[i] !== id))
      throw new InputError(
        "P0653",
        `the tokenizer of \`${folder}\` counts its pieces in their order: added tokens must be kept behind them`,
      );
    return { ...model, vocab: pieces.map((id) => vocab[id]), ...(typeof unk_id === "number" && { unk_id: order.get(unk_id) ?? null }) };
  }
  if (!isRecord(vocab)) return model;
  const left = Object.entries(vocab).flatMap(([piece, id]) => (order.has(Number(id)) ? [[piece, order.get(Number(id))!] as const] : []));
  const words = new Set(left.map(([piece]) => piece));
  return {
    ...model,
    vocab: Object.fromEntries(left),
    ...(Array.isArray(merges) && {
      merges: merges.filter((merge) => {
        const halves = (typeof merge === "string" ? merge.split(" ") : merge) as readonly string[];
        return words.has(halves.join("")) && halves.every((half) => words.has(half));
      }),
    }),
  };
}

/** A record with an `id`, under its new number; none where it is gone. */
function moved(token: Json, order: ReadonlyMap<number, number>): Json[] {
  if (!isRecord(token)) return [token];
  const id = order.get(Number(token.id));
  return id === undefined ? [] : [{ ...token, id }];
}

function reduceProcessor(processor: Json, order: ReadonlyMap<number, number>): Json {
  if (!isRecord(processor)) return processor;
  const out: Record<string, Json> = { ...processor };
  if (Array.isArray(processor.processors)) out.processors = processor.processors.map((inner) => reduceProcessor(inner, order));
  for (const end of ["sep", "cls"]) {
    const pair = processor[end];
    if (Array.isArray(pair)) out[end] = [pair[0], order.get(Number(pair[1])) ?? pair[1]];
  }
  const { special_tokens } = processor;
  if (isRecord(special_tokens)) {
    const renumbered = Object.entries(special_tokens).map(([name, token]): [string, Json] => {
      if (!isRecord(token) || !Array.isArray(token.ids)) return [name, token];
      return [name, { ...token, ids: token.ids.map((id) => order.get(Number(id)) ?? id) }];
    });
    out.special_tokens = Object.fromEntries(renumbered);
  }
  return out;
}
