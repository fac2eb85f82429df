/**
 * A `generate` stage. A prompt goes through `prefill` once, padded on the right to a bucket; then `decode` takes one token at a time. What earlier
 * positions leave is kept in states (caches) of a fixed capacity; how much of them counts is the scalar `past`.
 */
import type { Entry, GenerateStage } from "../compiler/project.ts";
import { joinPath, writeFile } from "../formats/files.ts";
import { bind } from "../ir/bind.ts";
import { symbolsOf } from "../ir/dim.ts";
import { Bug, InputError, Limit } from "../ir/errors.ts";
import { sizes as sizesOf } from "../ir/graph.ts";
import { requireBudget } from "./budget.ts";
import { batchSymbol, roundUp } from "./columns.ts";
import type { EntryPoint } from "./engine.ts";
import type { RunHost } from "./host.ts";
import { chooseToken, type Sampling, samplingKey } from "./sample.ts";
import { zeros } from "./values.ts";

/** What generation asks of a tokenizer. */
export interface PromptTokenizer {
  readonly ids: Readonly<Record<string, number>>;
  encode(text: string): number[];
  decode(ids: readonly number[]): string;
}

/** `ids`: instead of the text's tokens, where a table has them. */
export interface Prompt {
  readonly text: string;
  readonly ids?: readonly number[];
}

export interface Sample {
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
  readonly capacity: number;
  /** Scores that come before those of the prompt: of positions that a method puts in front. */
  readonly skipped: number;
  readonly vocabulary: number;
}

/** The two entry points for prompts of up to `longest` tokens and `tokens` new ones. */
export function generationPoints(stage: GenerateStage, longest: number, tokens: number): { points: EntryPoint[]; lengths: Lengths } {
  const prompt = roundUp(Math.max(1, longest), BUCKET);
  const capacity = roundUp(stage.front + Math.max(longest + tokens, prompt), BUCKET);
  const sizes = promptSizes(stage.prefill, prompt, capacity);
  const { positions, vocabulary } = scoresOf(stage.prefill, sizes);
  return {
    points: [
      { name: "prefill", graph: stage.prefill.graph, sizes },
      { name: "decode", graph: stage.decode.graph, sizes: promptSizes(stage.decode, 1, capacity), growing: ["past"] },
    ],
    lengths: { prompt, capacity, skipped: positions - prompt, vocabulary },
  };
}

function promptSizes(entry: Entry, length: number, capacity: number): Map<string, number> {
  const sizes = new Map<string, number>();
  const batch = batchSymbol(entry.columns);
  for (const column of entry.columns) for (const dim of column.shape) for (const name of symbolsOf(dim)) sizes.set(name, length);
  if (batch !== undefined) sizes.set(batch, 1);
  sizes.set("past", capacity - 1);
  return sizes;
}

function scoresOf(entry: Entry, sizes: ReadonlyMap<string, number>): { positions: number; vocabulary: number } {
  const result = entry.graph.results.find((r) => r.role === "output" && r.name === "logits");
  if (result === undefined) throw new Bug("generation has no output `logits`");
  const shape = sizesOf(bind({ results: [result] }, sizes).results[0].node);
  if (shape.length !== 3) throw new Bug(`logits have the shape [${shape.join(", ")}]`);
  return { positions: shape[1], vocabulary: shape[2] };
}

export interface Generator {
  generate(prompt: Prompt, number: number, sample: number): Promise<Sample>;
  close(): Promise<void>;
}

/** Compiles and opens a generator for these prompts. P0736: a prompt without tokens. */
export async function openGenerator(
  stage: GenerateStage,
  host: RunHost,
  tokenizer: PromptTokenizer,
  prompts: readonly Prompt[],
): Promise<Generator> {
  if (stage.beams > 1) throw new Limit("beam search is not built yet: `beams` must be 1", stage.span);
  const encoded = new Map(prompts.map((prompt) => [prompt, encode(tokenizer, prompt)]));
  const longest = Math.max(1, ...[...encoded.values()].map((ids) => ids.length));
  const { points, lengths } = generationPoints(stage, longest, stage.maxTokens);
  const built = await host.engine.build(points, { trained: [] });
  requireBudget(built.program, host.engine.memory, "the device");
  const session = await host.engine.open(built);
  for (const name of Object.keys(built.program.params)) await session.write("param", name, host.values.param(name));
  const states = Object.entries(built.program.states).map(([name, index]) => ({ name, ...built.program.tensors[index] }));
  const sampling: Sampling = { temperature: stage.temperature, topP: stage.topP, seed: stage.seed };
  const stop = stopsOf(stage, tokenizer);

  const prefill = async (ids: readonly number[]): Promise<Float32Array> => {
    // nothing of an earlier prompt may be seen
    for (const { name, dtype, shape } of states) {
      await session.write("state", name, zeros({ dtype, shape }).values);
    }
    const row = new Int32Array(lengths.prompt);
    row.set(ids);
    const mask = new Int32Array(lengths.prompt).fill(1, 0, ids.length);
    const { logits } = await session.run("prefill", inputsFor(stage.prefill, row, mask, { past: 0 }), ["logits"]);
    const { vocabulary, skipped } = lengths;
    const last = skipped + ids.length - 1;
    return (logits as Float32Array).subarray(last * vocabulary, (last + 1) * vocabulary);
  };
  const decode = async (token: number, past: number): Promise<Float32Array> => {
    const { logits } = await session.run("decode", inputsFor(stage.decode, Int32Array.of(token), Int32Array.of(1), { past }), ["logits"]);
    return logits as Float32Array;
  };

  return {
    async generate(prompt, number, sample) {
      const ids = encoded.get(prompt) ?? encode(tokenizer, prompt);
      const { text: given } = prompt;
      if (ids.length > lengths.prompt) throw new Bug("the prompt is longer than those the generator was opened for");
      const key = samplingKey(sampling.seed, number, sample);
      const out: number[] = [];
      let scores = await prefill(ids);
      while (out.length < stage.maxTokens) {
        const token = chooseToken(scores, sampling, key, out.length);
        if (stop.tokens.has(token)) break;
        out.push(token);
        const text = stop.texts.length === 0 ? "" : tokenizer.decode(out);
        const cut = stop.texts.map((s) => text.indexOf(s)).filter((at) => at >= 0);
        if (cut.length > 0) return { row: number, prompt: given, text: text.slice(0, Math.min(...cut)), tokens: out };
        if (out.length < stage.maxTokens) scores = await decode(token, stage.front + ids.length + out.length - 1);
      }
      return { row: number, prompt: given, text: tokenizer.decode(out), tokens: out };
    },
    close: () => session.close(),
  };
}

function encode(tokenizer: PromptTokenizer, prompt: Prompt): readonly number[] {
  const ids = prompt.ids ?? tokenizer.encode(prompt.text);
  if (ids.length > 0) return ids;
  const start = tokenizer.ids.bos ?? tokenizer.ids.cls ?? tokenizer.ids.eos;
  if (start === undefined) throw new InputError("P0736", "an empty prompt has no tokens, and the tokenizer has none to start with");
  return [start];
}

function stopsOf(stage: GenerateStage, tokenizer: PromptTokenizer): { tokens: Set<number>; texts: string[] } {
  if (stage.stop === undefined) {
    const end = [tokenizer.ids.eos, tokenizer.ids.sep].find((id) => id !== undefined);
    return { tokens: new Set(end === undefined ? [] : [end]), texts: [] };
  }
  return { tokens: new Set(), texts: (typeof stage.stop === "string" ? [stage.stop] : stage.stop).filter((text) => text !== "") };
}

/** The columns of one row: token numbers, which of them are real, and defaults. */
function inputsFor(
  entry: Entry,
  ids: Int32Array,
  mask: Int32Array,
  scalars: Readonly<Record<string, number>>,
): Record<string, Int32Array | Float32Array | number> {
  const inputs: Record<string, Int32Array | Float32Array | number> = { ...scalars, step: 0, steps: 0 };
  for (const column of entry.columns) {
    if (column.name === "input_ids") inputs[column.name] = ids;
    else if (column.name === "attention_mask") inputs[column.name] = mask;
    else if (column.fallback?.kind === "constant") {
      const values = column.dtype === "f32" ? new Float32Array(ids.length) : new Int32Array(ids.length);
      inputs[column.name] = values.fill(column.fallback.value);
    } else throw new InputError("P0732", `generation has no column \`${column.name}\`, and it has no default`);
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
