/** What a model's `generation_config.json` (older ones: `config.json`) says of which tokens may come next: transformers' rules on scores, which a stage obeys. */
import { describe, type JsonRecord } from "../../formats/files.ts";
import { InputError } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";

/** Changes a text's scores of its next token. `tokens`: all of it, prompt or beginning and what was written. */
type ScoreRule = (scores: Float32Array, tokens: readonly number[]) => void;

/** What a text begins with, how long it may become in all, and which tokens end it. */
interface Bounds {
  readonly given: number;
  /** The same with what it is told to go on with. */
  readonly begun: number;
  readonly most: number;
  readonly ends: readonly number[];
}

const NEVER = Number.NEGATIVE_INFINITY;
type Make = (value: unknown, bounds: Bounds, wrong: (wanted: string) => InputError) => ScoreRule | undefined;

const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);
const isIds = (value: unknown): value is number[] => Array.isArray(value) && value.every((id) => Number.isInteger(id) && id >= 0);
const whole = (value: unknown, wrong: (wanted: string) => InputError): number => {
  if (isNumber(value) && Number.isInteger(value) && value >= 0) return value;
  throw wrong("a whole number");
};
const idsOf = (value: unknown, wrong: (wanted: string) => InputError): number[] => {
  const list = Array.isArray(value) ? value : [value];
  if (isIds(list)) return list;
  throw wrong("the number of a token, or a list of them,");
};
const forbid =
  (ids: Iterable<number>): ScoreRule =>
  (scores) => {
    for (const id of ids) if (id < scores.length) scores[id] = NEVER;
  };
const only =
  (ids: readonly number[]): ScoreRule =>
  (scores) => {
    const kept = ids.map((id) => [id, scores[id]] as const);
    scores.fill(NEVER);
    for (const [id] of kept) scores[id] = 0;
  };
const when =
  (holds: (length: number) => boolean, rule: ScoreRule): ScoreRule =>
  (scores, tokens) => {
    if (holds(tokens.length)) rule(scores, tokens);
  };

/** One row a field, in the order in which transformers applies them. */
const RULES: Readonly<Record<string, Make>> = {
  repetition_penalty: (value, _, wrong) => {
    if (!isNumber(value) || value <= 0) throw wrong("a number above 0");
    if (value === 1) return undefined;
    return (scores, tokens) => {
      for (const id of new Set(tokens)) if (id < scores.length) scores[id] *= scores[id] < 0 ? value : 1 / value;
    };
  },
  no_repeat_ngram_size: (value, _, wrong) => {
    const size = whole(value, wrong);
    if (size === 0) return undefined;
    return (scores, tokens) => {
      const last = tokens.slice(tokens.length - size + 1).join();
      for (let at = 0; at + size <= tokens.length; at++)
        if (size === 1 || tokens.slice(at, at + size - 1).join() === last) scores[tokens[at + size - 1]] = NEVER;
    };
  },
  bad_words_ids: (value, { ends }, wrong) => {
    if (!Array.isArray(value) || !value.every((word) => isIds(word) && word.length > 0)) throw wrong("a list of lists of tokens");
    // as in transformers, the end of a text is no bad word
    const words = (value as number[][]).filter((word) => !(word.length === 1 && ends.includes(word[0])));
    return (scores, tokens) => {
      for (const word of words)
        if (word.length - 1 <= tokens.length && word.slice(0, -1).every((id, i) => tokens[tokens.length - word.length + 1 + i] === id))
          scores[word[word.length - 1]] = NEVER;
    };
  },
  min_length: (value, { ends }, wrong) => {
    const least = whole(value, wrong);
    return least === 0 ? undefined : when((length) => length < least, forbid(ends));
  },
  min_new_tokens: (value, { given, ends }, wrong) => {
    const least = whole(value, wrong);
    return least === 0 ? undefined : when((length) => length - given < least, forbid(ends));
  },
  forced_bos_token_id: (value, _, wrong) => when((length) => length === 1, only(idsOf(value, wrong))),
  forced_eos_token_id: (value, { most }, wrong) => when((length) => length === most - 1, only(idsOf(value, wrong))),
  suppress_tokens: (value, _, wrong) => forbid(idsOf(value, wrong)),
  begin_suppress_tokens: (value, { begun }, wrong) => when((length) => length === begun, forbid(idsOf(value, wrong))),
};

/** Fields that act in transformers and not here, with the values that do nothing. */
const UNHEEDED: Readonly<Record<string, readonly unknown[]>> = {
  encoder_repetition_penalty: [1],
  encoder_no_repeat_ngram_size: [0],
  diversity_penalty: [0],
  penalty_alpha: [0],
  typical_p: [1],
  epsilon_cutoff: [0],
  eta_cutoff: [0],
  min_p: [0],
  exponential_decay_length_penalty: [],
  sequence_bias: [],
  guidance_scale: [1],
  force_words_ids: [],
  constraints: [],
};

/** The rules together; `undefined`: there are none. P0813: a field of the wrong kind. */
export function scoreRules(config: JsonRecord, bounds: Bounds): ScoreRule | undefined {
  const rules = Object.entries(RULES).flatMap(([name, make]): ScoreRule[] => {
    const value = own(config, name) ?? null;
    if (value === null || (Array.isArray(value) && value.length === 0)) return [];
    const wrong = (wanted: string) =>
      new InputError("P0813", `the model's generation settings have ${name} = ${describe(value)} where ${wanted} is wanted`, [
        "they lie in generation_config.json, or in config.json of older models",
      ]);
    const rule = make(value, bounds, wrong);
    return rule === undefined ? [] : [rule];
  });
  if (rules.length === 0) return undefined;
  return (scores, tokens) => {
    for (const rule of rules) rule(scores, tokens);
  };
}

/** What of the settings a stage does not do, for people. */
export function unheeded(config: JsonRecord, { temperature, beams }: { readonly temperature: number; readonly beams: number }): string[] {
  const said = (name: string) => `${name} = ${JSON.stringify(config[name])}`;
  const left = Object.entries(UNHEEDED).flatMap(([name, neutral]) => {
    const value = own(config, name) ?? null;
    return value === null || neutral.includes(value) ? [] : [said(name)];
  });
  const draws = config.do_sample === true && temperature === 0 ? ["do_sample", "temperature", "top_k", "top_p"] : [];
  const searches = isNumber(config.num_beams) && config.num_beams > 1 && beams === 1 ? ["num_beams"] : [];
  return [...left, ...[...draws, ...searches].filter((name) => (config[name] ?? null) !== null).map(said)];
}
