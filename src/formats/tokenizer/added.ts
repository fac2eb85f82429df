/** Tokens that files beside `tokenizer.json` add to it, as transformers does: `added_tokens_decoder`, `added_tokens.json`, special tokens that the vocabulary lacks. */
import { InputError } from "../../ir/errors.ts";
import { describe, isRecord, type Json, type JsonRecord } from "../files.ts";

/** What says so: `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`, and the special tokens by role. */
export interface Beside {
  readonly config: JsonRecord;
  readonly map: JsonRecord;
  readonly added: JsonRecord;
  readonly special: Readonly<Record<string, string>>;
}

interface Added {
  readonly content: string;
  readonly id: number | undefined;
  readonly special: boolean;
  readonly flags: JsonRecord;
}
const PLAIN = { lstrip: false, rstrip: false, single_word: false };

/** The description with those tokens. P0650: a number that another token has. */
export function withAdded(json: JsonRecord, beside: Beside, folder: string): JsonRecord {
  const listed = (Array.isArray(json.added_tokens) ? json.added_tokens : []).filter(isRecord);
  const ids = vocabularyOf(json);
  for (const { content, id } of listed) if (typeof content === "string" && typeof id === "number") ids.set(content, id);
  const known = new Set(listed.map(({ content }) => content));
  const taken = new Map([...ids].map(([content, id]) => [id, content]));
  let next = [...taken.keys()].reduce((most, id) => Math.max(most, id), -1) + 1;
  const more: Json[] = [];
  for (const { content, id, special, flags } of [...declared(beside, folder), ...specials(beside)]) {
    if (known.has(content)) continue;
    known.add(content);
    const own = ids.get(content) ?? id ?? next;
    const other = taken.get(own);
    if (other !== undefined && other !== content)
      throw new InputError("P0650", `\`${folder}\` adds the token ${describe(content)} as number ${own}, which ${describe(other)} has`);
    taken.set(own, content);
    next = Math.max(next, own + 1);
    more.push({ ...PLAIN, normalized: !special, ...flags, id: own, content, special });
  }
  return more.length === 0 ? json : { ...json, added_tokens: [...listed, ...more] };
}

function vocabularyOf({ model }: JsonRecord): Map<string, number> {
  const vocab = isRecord(model) ? model.vocab : undefined;
  if (Array.isArray(vocab)) return new Map(vocab.map((piece: Json, i: number) => [String(Array.isArray(piece) ? piece[0] : piece), i]));
  return new Map(isRecord(vocab) ? Object.entries(vocab).map(([content, id]) => [content, Number(id)]) : []);
}

/** Tokens with numbers: those of the configuration, in order; without them those of the older file. */
function declared(beside: Beside, folder: string): Added[] {
  const { config, added } = beside;
  const named = new Set(specials(beside).map(({ content }) => content));
  const decoder = config.added_tokens_decoder;
  if (isRecord(decoder) && Object.keys(decoder).length > 0) {
    return Object.entries(decoder).flatMap(([id, token]): Added[] => {
      if (!isRecord(token) || typeof token.content !== "string") return [];
      const { content, special, ...flags } = token;
      return [{ content, id: Number(id), special: special === true || named.has(content), flags: flagsOf(flags) }];
    });
  }
  return Object.entries(added)
    .map(([content, id]): Added => {
      if (typeof id !== "number" || !Number.isInteger(id) || id < 0)
        throw new InputError(
          "P0650",
          `\`${folder}/added_tokens.json\`: token ${describe(content)} has ${describe(id)} where a whole number is wanted`,
        );
      return { content, id, special: named.has(content), flags: {} };
    })
    .sort((a, b) => a.id! - b.id!);
}

const flagsOf = (token: JsonRecord): JsonRecord =>
  Object.fromEntries(
    ["lstrip", "rstrip", "single_word", "normalized"].flatMap((name) => (typeof token[name] === "boolean" ? [[name, token[name]]] : [])),
  );

const ROLES = ["bos", "eos", "unk", "sep", "pad", "cls", "mask"];

/** Special tokens by name: those with a role, and the lists and records of others. */
function specials({ config, map, special }: Beside): Added[] {
  const more = [config, map].flatMap((source) =>
    ["additional_special_tokens", "extra_special_tokens"].flatMap((name) => {
      const tokens = source[name];
      return Array.isArray(tokens) ? tokens : isRecord(tokens) ? Object.values(tokens) : [];
    }),
  );
  const roles = ROLES.flatMap((role) => {
    const token = config[`${role}_token`] ?? map[`${role}_token`];
    return special[role] === undefined ? [] : [isRecord(token) ? token : special[role]];
  });
  return [...roles, ...more].flatMap((token: Json): Added[] => {
    const content = isRecord(token) ? token.content : token;
    if (typeof content !== "string" || content === "") return [];
    return [{ content, id: undefined, special: true, flags: isRecord(token) ? flagsOf(token) : {} }];
  });
}
