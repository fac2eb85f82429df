/**
 * A `generate` stage. A prompt goes through `prefill` once, padded on the right to a bucket; then `decode` takes one token at a time. What earlier
 * positions leave is kept in states (caches) of a fixed capacity; how much of them counts is the scalar `past`. An encoder–decoder reads the prompt in
 * `prefill` and writes a text of its own, so its caches hold that. With beams every row is a text.
 */
import type { ColumnDecl, Entry, GenerateStage } from "../../compiler/project.ts";
import { type JsonRecord, joinPath, writeFile } from "../../formats/files.ts";
import { bind } from "../../ir/bind.ts";
import { Bug, InputError } from "../../ir/errors.ts";
import { sizes as sizesOf } from "../../ir/graph.ts";
import { indexBounds } from "../../ir/ops/bounds.ts";
import { placesOutside } from "../../ir/ops/ranges.ts";
import { bindSizes, type DataTable, fillBatch, longestThat, roundUp, tableAt } from "../data/columns.ts";
import { budgetOf, requireBudget, sourceOf } from "../engine/budget.ts";
import type { Built, EntryPoint } from "../engine/engine.ts";
import { openKept } from "../engine/kept.ts";
import type { RunHost } from "../host.ts";
import { zeros } from "../values.ts";
import { beamSearch, type Decoder, type Hypothesis } from "./beams.ts";
import { blameHeld } from "./nonfinite.ts";
import { chooseToken, samplingKey } from "./sample.ts";
import { scoreRules, unheeded } from "./score-rules.ts";

/** What generation asks of a tokenizer. */
export interface PromptTokenizer {
  readonly ids: Readonly<Record<string, number>>;
  readonly specials?: ReadonlySet<number>;
  /** Tokens that end a text; without them `eos`, or else `sep`. */
  readonly ends?: readonly number[];
  /** What the model's folder says of writing. */
  readonly generation?: JsonRecord;
  encode(text: string): number[];
  decode(ids: readonly number[]): string;
  /** A text's tokens with the special ones that a model reads around them. */
  frame?(ids: readonly number[], second?: undefined): { readonly ids: readonly number[] };
}

/** `ids`: instead of the text's tokens, where a table has them. `row`: where other columns are. */
export interface Prompt {
  readonly text: string;
  readonly ids?: readonly number[];
  readonly row?: { readonly table: DataTable; readonly index: number };
}

interface Sample {
  /** Number of the prompt. */
  readonly row: number;
  readonly prompt: string;
  readonly text: string;
  readonly tokens: readonly number[];
}

/** Positions are reserved in multiples of this, so that prompts of similar length share a program. */
const BUCKET = 16;

interface Lengths {
  readonly prompt: number;
  readonly vocabulary: number;
  /** Positions that an output of the prompt's has more than the prompt is long: of what a method puts in front. */
  readonly skipped: number;
  readonly sizes: ReadonlyMap<string, number>;
}

/** Columns of the data beside the text's. */
const others = (stage: GenerateStage): ColumnDecl[] =>
  stage.prefill.columns.filter(({ name }) => !["input_ids", "attention_mask", "decoder_input_ids"].includes(name));

/** The two entry points for prompts of up to `longest` tokens and `tokens` new ones. P0732: columns beside the text's, and no `table` that says how large they are. */
export function generationPoints(
  stage: GenerateStage,
  longest: number,
  tokens: number,
  table?: DataTable,
): { points: EntryPoint[]; lengths: Lengths } {
  const prompt = roundUp(Math.max(1, longest), BUCKET);
  const begun = stage.begin?.length ?? 0;
  const capacity = roundUp(stage.front + (stage.begin ? begun + tokens : Math.max(longest + tokens, prompt)), BUCKET);
  const more = others(stage);
  if (table === undefined)
    for (const column of more)
      if (column.fallback === undefined)
        throw new InputError("P0732", `generation has no column \`${column.name}\`, and it has no default`, [
          `give it with each prompt, \`{ text: "…", ${column.name}: 0 }\`, or give \`data\` in place of \`prompts\``,
        ]);
  const sizes = new Map<string, number>([
    ...(table === undefined ? [] : bindSizes(more, table, undefined)),
    ["B", stage.beams],
    ["S", prompt],
    ["T", begun],
    ["past", capacity - 1],
  ]);
  const { positions, vocabulary } = scoresOf(stage.prefill, sizes);
  return {
    points: [
      { name: "prefill", graph: stage.prefill.graph, sizes },
      { name: "decode", graph: stage.decode.graph, sizes, growing: ["past"] },
    ],
    lengths: { prompt, vocabulary, skipped: positions - (stage.begin ? begun : prompt), sizes },
  };
}

function scoresOf(entry: Entry, sizes: ReadonlyMap<string, number>): { positions: number; vocabulary: number } {
  const result = entry.graph.results.find((r) => r.role === "output" && r.name === "logits");
  if (result === undefined) throw new Bug("generation has no output `logits`");
  const shape = sizesOf(bind({ results: [result] }, sizes).results[0].node);
  if (shape.length !== 3) throw new Bug(`logits have the shape [${shape.join(", ")}]`);
  return { positions: shape[1], vocabulary: shape[2] };
}

export interface Generator {
  /** One text; with beams the `sample`th best. */
  generate(prompt: Prompt, number: number, sample: number): Promise<Sample>;
  close(): Promise<void>;
}

/** Compiles and opens a generator for these prompts, or takes up what is left of an earlier one. P0736: a prompt without tokens. P0812: beams that would draw, or end in too few texts. What it generates is refused with
 * P0910 where a score is no number. */
export async function openGenerator(
  stage: GenerateStage,
  host: RunHost,
  tokenizer: PromptTokenizer,
  prompts: readonly Prompt[],
): Promise<Generator> {
  if (stage.beams > 1 && (stage.temperature > 0 || stage.samples > stage.beams))
    throw new InputError("P0812", `${stage.beams} beams draw nothing, and end in ${stage.beams} texts at most`);
  const encoded = new Map(prompts.map((prompt) => [prompt, encode(stage, tokenizer, prompt)]));
  const longest = Math.max(1, ...[...encoded.values()].map((ids) => ids.length));
  checkPrompts(stage, encoded);
  const { points, lengths } = generationPoints(stage, longest, stage.maxTokens, prompts[0]?.row?.table);
  const bytes = budgetOf(stage, host.engine);
  const check = (made: Built) =>
    requireBudget(made, { bytes, source: sourceOf(stage.memory, bytes) }, [
      "shorter prompts, a smaller `max_tokens`, fewer `beams`, weights in fewer bits, or more `memory`",
    ]);
  const opened = await openKept(stage.name, points, host, bytes, check);
  const { built, session } = opened;
  const { clock } = host.values;
  const finite = (scores: Float32Array): Float32Array => {
    const value = scores.find((x) => !Number.isFinite(x));
    if (value === undefined) return scores;
    throw blameHeld({ stage, what: "a token's score", value, params: Object.keys(built.program.params) }, host);
  };
  const states = Object.entries(built.program.states).map(([name, index]) => ({ ...built.program.tensors[index], name }));
  const decoder = (ids: readonly number[], prompt: Prompt): Decoder => ({
    begin: async () => {
      // nothing of an earlier prompt may be seen; states that are no caches are attachments'
      for (const { name, dtype, shape } of states) {
        const held = host.project.states.has(name) ? host.values.state(name, lengths.sizes) : zeros({ dtype, shape });
        await session.write("state", name, held.values);
      }
      const { logits } = await session.run("prefill", { ...promptInputs(stage, ids, lengths, prompt), ...clock }, ["logits"]);
      const last = lengths.skipped + (stage.begin?.length ?? ids.length) - 1;
      const { vocabulary } = lengths;
      const positions = logits.length / (stage.beams * vocabulary);
      const scores = new Float32Array(stage.beams * vocabulary);
      for (let row = 0; row < stage.beams; row++) {
        const from = (row * positions + last) * vocabulary;
        scores.set((logits as Float32Array).subarray(from, from + vocabulary), row * vocabulary);
      }
      return finite(scores);
    },
    next: async (tokens, parents, length) => {
      const past = stage.front + (stage.begin?.length ?? ids.length) + length - 1;
      const given = { [stage.begin ? "decoder_input_ids" : "input_ids"]: tokens, attention_mask: tokens.map(() => 1), beam: parents };
      const { logits } = await session.run("decode", { ...inputsFor(stage.decode, given, tokens.length), past, ...clock }, ["logits"]);
      return finite(logits as Float32Array);
    },
  });
  const ending = endingOf(stage, tokenizer);
  const rulesFor = obeyed(stage, tokenizer, host);
  const sampled = async (ids: readonly number[], prompt: Prompt, key: readonly [number, number]): Promise<readonly number[]> => {
    const { begin, next } = decoder(ids, prompt);
    const out: number[] = [];
    const rule = rulesFor(ids);
    let scores = await begin();
    while (out.length < stage.maxTokens) {
      if (rule !== undefined) {
        scores = scores.slice();
        rule(scores, out);
      }
      out.push(chooseToken(scores, stage, key, out.length));
      const end = ending(out);
      if (end !== undefined) return end === "token" ? out.slice(0, -1) : out;
      if (out.length < stage.maxTokens) scores = await next(out.slice(-1), [0], out.length);
    }
    return out;
  };
  // the beams of a prompt give all its samples
  let latest: { readonly number: number; readonly best: readonly Hypothesis[] } | undefined;
  const searched = async (ids: readonly number[], prompt: Prompt, number: number): Promise<readonly Hypothesis[]> => {
    if (latest?.number !== number) {
      const { beams, maxTokens, lengthPenalty } = stage;
      const given = (stage.begin?.length ?? 1) - 1;
      const options = { beams, maxTokens, lengthPenalty, given, ends: ending, rule: rulesFor(ids) };
      latest = { number, best: await beamSearch(decoder(ids, prompt), options) };
    }
    return latest.best;
  };
  return {
    async generate(prompt, number, sample) {
      const ids = encoded.get(prompt) ?? encode(stage, tokenizer, prompt);
      if (ids.length > lengths.prompt) throw new Bug("the prompt is longer than those the generator was opened for");
      const tokens =
        stage.beams > 1
          ? ((await searched(ids, prompt, number))[sample]?.tokens ?? [])
          : await sampled(ids, prompt, samplingKey(stage.seed, number, sample));
      return { row: number, prompt: prompt.text, text: cutText(stage, written(tokens, tokenizer)), tokens };
    },
    close: () => opened.close(),
  };
}

/** The rules of the model's folder on what follows a prompt's tokens and those written. Says what of its settings the stage does not do. */
function obeyed(
  stage: GenerateStage,
  tokenizer: PromptTokenizer,
  { listen }: Pick<RunHost, "listen">,
): (ids: readonly number[]) => ((scores: Float32Array, written: readonly number[]) => void) | undefined {
  const { generation = {} } = tokenizer;
  const left = unheeded(generation, stage);
  if (left.length > 0)
    listen({
      event: "note",
      message: `the model's generation settings say ${left.join(", ")}, and \`${stage.name}\` does as its fields say`,
    });
  return (ids) => {
    const front = stage.begin ?? ids;
    const given = stage.begin === undefined ? ids.length : 1;
    const rule = scoreRules(generation, { given, begun: front.length, most: front.length + stage.maxTokens, ends: endsOf(tokenizer) });
    return rule && ((scores, written) => rule(scores, [...front, ...written]));
  };
}

/** P0733: a token that the model has no row for, or a prompt that leaves the places of its text no room for `max_tokens` more. */
function checkPrompts(stage: GenerateStage, encoded: ReadonlyMap<Prompt, readonly number[]>): void {
  const bound = indexBounds(stage.prefill.graph).get("input_ids");
  const shown = ({ text }: Prompt) => `the prompt ${JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text)}`;
  let longest: Prompt | undefined;
  for (const [prompt, ids] of encoded) {
    const odd = ids.find((id) => bound !== undefined && (id < 0 || id >= bound.below));
    if (odd !== undefined)
      throw new InputError(
        "P0733",
        `${shown(prompt)} holds the token ${odd}, but only 0 .. ${bound!.below - 1} exist in ${bound!.at.origin.path}`,
        ["check that the tokenizer is the model's"],
      );
    if (longest === undefined || ids.length > encoded.get(longest)!.length) longest = prompt;
  }
  if (longest === undefined) return;
  const { begin, front, maxTokens } = stage;
  const length = encoded.get(longest)!.length;
  const begun = begin?.length ?? 0;
  const fits = (tokens: number, prompt = length) => {
    const sizes = new Map([
      ["B", 1],
      ["S", prompt],
      ["T", begun],
      ["past", front + (begin ? begun : prompt) + tokens - 2],
    ]);
    return placesOutside(stage.prefill.graph, sizes) ?? (tokens > 1 ? placesOutside(stage.decode.graph, sizes) : undefined);
  };
  const found = fits(maxTokens);
  if (found === undefined) return;
  const most = longestThat((tokens) => fits(tokens) === undefined, maxTokens);
  const room = most ?? longestThat((prompt) => fits(1, prompt) === undefined, length) ?? 0;
  throw new InputError(
    "P0733",
    `${shown(longest)} has ${length} tokens and max_tokens = ${maxTokens}, but ${tableAt(found)} has ${found.rows} rows for places of a text`,
    [most === undefined ? `prompts may have at most ${room} tokens` : `with this prompt max_tokens may be at most ${room}`],
  );
}

function encode(stage: GenerateStage, tokenizer: PromptTokenizer, prompt: Prompt): readonly number[] {
  const own = prompt.ids ?? tokenizer.encode(prompt.text);
  const ids = prompt.ids === undefined && stage.begin && tokenizer.frame ? tokenizer.frame(own).ids : own;
  if (ids.length > 0) return ids;
  const start = tokenizer.ids.bos ?? tokenizer.ids.cls ?? tokenizer.ids.eos;
  if (start === undefined) throw new InputError("P0736", "an empty prompt has no tokens, and the tokenizer has none to start with");
  return [start];
}

const stopTexts = ({ stop }: GenerateStage): readonly string[] =>
  stop === undefined ? [] : (typeof stop === "string" ? [stop] : stop).filter((text) => text !== "");

function endsOf({ ids, ends }: PromptTokenizer): readonly number[] {
  const end = ids.eos ?? ids.sep;
  return ends ?? (end === undefined ? [] : [end]);
}

/** A text ends with a token that ends texts, and with the texts to stop at too, where they are given. */
function endingOf(stage: GenerateStage, tokenizer: PromptTokenizer): (tokens: readonly number[]) => "token" | "text" | undefined {
  const ends = new Set(endsOf(tokenizer));
  const texts = stopTexts(stage);
  return (tokens) => {
    const last = tokens[tokens.length - 1];
    // a piece of text that ends texts is written, a special token is not
    if (ends.has(last)) return tokenizer.specials?.has(last) === false ? "text" : "token";
    if (texts.length === 0) return undefined;
    const text = written(tokens, tokenizer);
    return texts.some((stop) => text.includes(stop)) ? "text" : undefined;
  };
}

/** What stands around texts, and is no part of what they say. Unknown words and marks of a conversation are. */
const AROUND = ["bos", "eos", "cls", "sep", "pad"];

function written(tokens: readonly number[], tokenizer: PromptTokenizer): string {
  const around = new Set(AROUND.map((role) => tokenizer.ids[role]).filter((id) => tokenizer.specials?.has(id)));
  return tokenizer.decode(tokens.filter((id) => !around.has(id)));
}

function cutText(stage: GenerateStage, text: string): string {
  const at = stopTexts(stage)
    .map((stop) => text.indexOf(stop))
    .filter((i) => i >= 0);
  return at.length === 0 ? text : text.slice(0, Math.min(...at));
}

/** The prompt in every row, padded on the right. */
function promptInputs(stage: GenerateStage, ids: readonly number[], { prompt: length, sizes }: Lengths, { row }: Prompt): Inputs {
  const rows = (one: readonly number[], width: number) => Array.from({ length: stage.beams * width }, (_, i) => one[i % width] ?? 0);
  const given = {
    input_ids: rows(ids, length),
    attention_mask: rows(
      ids.map(() => 1),
      length,
    ),
    ...(stage.begin && { decoder_input_ids: rows(stage.begin, stage.begin.length) }),
  };
  const more = row && fillBatch(others(stage), row.table, new Array<number>(stage.beams).fill(row.index), sizes);
  return { ...inputsFor(stage.prefill, given, stage.beams * length), ...more, past: 0 };
}

type Inputs = Record<string, Int32Array | Float32Array | number>;

/** An entry's columns: those given, and defaults, of `count` numbers. */
function inputsFor(entry: Entry, given: Readonly<Record<string, readonly number[]>>, count: number): Inputs {
  const inputs: Inputs = {};
  for (const column of entry.columns) {
    const values = given[column.name];
    if (values !== undefined) inputs[column.name] = Int32Array.from(values);
    else if (column.fallback?.kind === "constant") {
      const all = column.dtype === "f32" ? new Float32Array(count) : new Int32Array(count);
      inputs[column.name] = all.fill(column.fallback.value);
    }
  }
  return inputs;
}

/** Runs the stage: prints samples as events and writes `samples.jsonl`. `prompts`: instead of the stage's. */
export async function generate(
  stage: GenerateStage,
  host: RunHost,
  tokenizer: PromptTokenizer,
  folder: string | undefined,
  prompts: readonly Prompt[],
): Promise<Sample[]> {
  const generator = await openGenerator(stage, host, tokenizer, prompts);
  const samples: Sample[] = [];
  try {
    for (const [number, prompt] of prompts.entries()) {
      for (let i = 0; i < stage.samples; i++) {
        const sample = await generator.generate(prompt, number, i);
        samples.push(sample);
        host.listen({ event: "sample", stage: stage.name, prompt: prompt.text, text: sample.text, tokens: sample.tokens.length });
      }
    }
  } finally {
    await generator.close();
  }
  if (folder !== undefined) {
    const lines = samples.map(({ row, prompt, text, tokens }) => `${JSON.stringify({ row, prompt, text, tokens })}\n`).join("");
    writeFile(host.files, joinPath(folder, "samples.jsonl"), new TextEncoder().encode(lines));
  }
  return samples;
}
