import { describe, expect, test } from "@jest/globals";
import type { Entry, GenerateStage } from "../../src/compiler/project.ts";
import { Builder } from "../../src/ir/build.ts";
import { addDim, symbol } from "../../src/ir/dim.ts";
import type { Node } from "../../src/ir/graph.ts";
import { generate, type PromptTokenizer } from "../../src/train/stages/generate.ts";
import { chooseToken, samplingKey } from "../../src/train/stages/sample.ts";
import { tinyFiles, tinyHost, tinyProject } from "./support/tiny.ts";

const VOCAB = 11;
const span = { file: "tiny.peft", start: 0, end: 1 };

/**
 * A "model" whose next token is (sum of all tokens so far) mod VOCAB: it needs every earlier position, in `front` extra ones nothing. The cache holds
 * the tokens.
 */
function entries(front: number): { prefill: Entry; decode: Entry } {
  const b = new Builder({ path: "m", span });
  const [B, S] = [symbol("B"), symbol("S")];
  const capacity = addDim(symbol("past"), 1);
  const columns = [
    { name: "input_ids", dtype: "i32", shape: [B, S] },
    { name: "attention_mask", dtype: "bool", shape: [B, S], fallback: { kind: "constant", value: 1 } },
  ] as const;
  const ids = b.input("input_ids", { dtype: "i32", shape: [B, S] });
  const mask = b.input("attention_mask", { dtype: "bool", shape: [B, S] });
  const one = b.input("input_ids", { dtype: "i32", shape: [B, 1] });
  const decodes = columns.map((c) => ({ ...c, shape: [B, 1] }));
  const cache = b.state("cache", { dtype: "i32", shape: [B, capacity] });
  const scores = (sums: Node): Node => {
    const wanted = b.binary("mod", sums, VOCAB);
    const shape = [...sums.type.shape, VOCAB];
    return b.cast(b.eq(b.broadcastTo(b.reshape(wanted, [...sums.type.shape, 1]), shape), b.broadcastTo(b.iota([VOCAB], 0), shape)), "f32");
  };
  const real = b.padAxis(b.mul(ids, b.cast(mask, "i32")), 1, front, 0);
  const graphOf = (logits: Node, next: Node) => ({
    results: [
      { role: "output", name: "logits", node: logits },
      { role: "state", name: "cache", node: next },
    ] as const,
  });
  const write = (at: Node, rows: Node) => b.make("write", [cache, at, rows], { axis: 1 });
  const prefill = graphOf(scores(b.make("cumsum", [real], { axis: 1 })), write(b.constant(0, "i32"), real));
  const next = write(b.constant(symbol("past")), one);
  // positions after the one at hand hold what padding left there: they must not count
  const seen = b.compare("le", b.iota([capacity], 0), b.constant(symbol("past")));
  const total = b.reduce("sum", b.where(seen, next, 0), [1], true);
  return {
    prefill: { graph: prefill, columns, states: ["cache"] },
    decode: { graph: graphOf(scores(b.reshape(total, [B, 1])), next), columns: decodes, states: ["cache"] },
  };
}

const tokenizer: PromptTokenizer = {
  ids: { eos: 10 },
  encode: (text) => [...text].map(Number),
  decode: (ids) => ids.join(","),
};

function stage(over: Partial<GenerateStage> = {}, front = 0): GenerateStage {
  return {
    verb: "generate",
    name: "generate",
    span,
    folder: "tiny/generate",
    tokenizer: "m",
    separate: false,
    model: "m",
    ...entries(front),
    front,
    begin: undefined,
    lengthPenalty: 1,
    prompts: undefined,
    data: undefined,
    maxTokens: 6,
    temperature: 0,
    topP: 1,
    samples: 1,
    beams: 1,
    stop: undefined,
    memory: undefined,
    seed: 0,
    ...over,
  };
}

function expected(prompt: string, count: number): number[] {
  const all = [...prompt].map(Number);
  const out: number[] = [];
  while (out.length < count) {
    const next = all.reduce((a, c) => a + c, 0) % VOCAB;
    if (next === 10) break;
    out.push(next);
    all.push(next);
  }
  return out;
}

describe("generation", () => {
  const host = () => tinyHost(tinyProject(), tinyFiles());
  test("decoding continues what the prompt left in the caches, whatever the padding", async () => {
    const prompts = ["1", "123", "4".repeat(17), "3"];
    for (const front of [0, 5]) {
      const samples = await generate(
        stage({}, front),
        host(),
        tokenizer,
        undefined,
        prompts.map((text) => ({ text })),
      );
      expect(samples.map((s) => s.tokens)).toEqual(prompts.map((p) => expected(p, 6)));
    }
  });

  test("ends at the end token, at a stop text, and at the limit", async () => {
    const [ended] = await generate(stage({ maxTokens: 30 }), host(), tokenizer, undefined, [{ text: "55" }]);
    expect(ended.tokens).toEqual([]);
    const [stopped] = await generate(stage({ stop: "4," }), host(), tokenizer, undefined, [{ text: "1" }]);
    expect(stopped.text).toBe("1,2,");
    const [one] = await generate(stage({ maxTokens: 1 }), host(), tokenizer, undefined, [{ text: "1" }]);
    expect(one.tokens).toEqual([1]);
  });

  test("texts to stop at are one more end; every token that ends texts ends them, and is written where it is a piece of text", async () => {
    const run = async (over: object, words: object, text: string) =>
      (await generate(stage({ maxTokens: 30, ...over }), host(), { ...tokenizer, ...words }, undefined, [{ text }]))[0];
    // "55" goes on with the end token at once, "1" with 1, 2, 4, 8, …
    expect((await run({ stop: "zzz" }, {}, "55")).tokens).toEqual([]);
    expect((await run({}, { ends: [10, 4], specials: new Set([10, 4]) }, "1")).tokens).toEqual([1, 2]);
    expect((await run({}, { ends: [10, 4], specials: new Set([10]) }, "1")).tokens).toEqual([1, 2, 4]);
  });

  test("writes samples and says them", async () => {
    const h = host();
    const files = tinyFiles();
    await generate(stage({ samples: 2 }), { ...h, files }, tokenizer, "runs/x", [{ text: "1" }, { text: "2" }]);
    expect(h.events.filter((e) => e.event === "sample")).toHaveLength(4);
    expect(new TextDecoder().decode(files.content.get("runs/x/samples.jsonl")).trim().split("\n")).toHaveLength(4);
  });
});

describe("choosing a token", () => {
  const scores = [0, Math.log(2), Math.log(5), Math.log(2)];
  const count = (temperature: number, topP: number, n = 4000) => {
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < n; i++) counts[chooseToken(scores, { temperature, topP, seed: 0 }, samplingKey(0, 0, 0), i)]++;
    return counts.map((c) => c / n);
  };
  test("greedy takes the best, the lower number among equals", () => {
    expect(chooseToken([1, 3, 3, 2], { temperature: 0, topP: 1, seed: 0 }, [0, 0], 0)).toBe(1);
  });
  test("temperature one draws by probability; lower ones sharpen", () => {
    const plain = count(1, 1);
    for (const [i, p] of [0.1, 0.2, 0.5, 0.2].entries()) expect(Math.abs(plain[i] - p)).toBeLessThan(0.03);
    expect(count(0.5, 1)[2]).toBeGreaterThan(0.65);
  });
  test("top-p leaves out the tail", () => {
    const kept = count(1, 0.6);
    expect(kept[0]).toBe(0);
    expect(kept[3]).toBe(0);
    expect(Math.abs(kept[1] - 2 / 7)).toBeLessThan(0.03);
  });
  test("a draw is a function of seed, prompt, sample and position", () => {
    const at = (seed: number, prompt: number, position: number) =>
      Array.from({ length: 8 }, (_, i) =>
        chooseToken([0, 0, 0, 0], { temperature: 1, topP: 1, seed }, samplingKey(seed, prompt, 0), position + i),
      );
    expect(at(1, 0, 0)).toEqual(at(1, 0, 0));
    expect(at(1, 0, 0)).not.toEqual(at(2, 0, 0));
    expect(at(1, 0, 0)).not.toEqual(at(1, 1, 0));
  });
});
