/** Choosing the next token from its scores. */
import { keyOf, threefry } from "../../ir/random.ts";

interface Sampling {
  /** 0: the best one. */
  readonly temperature: number;
  /** Only the smallest set of best tokens whose probabilities reach this. */
  readonly topP: number;
  readonly seed: number;
}

/** The key of one text's choices: of the seed, the prompt's number and the sample's. */
export const samplingKey = (seed: number, prompt: number, sample: number): [number, number] => keyOf(seed, "generate", prompt, sample);

/** The token chosen at `position`. Equal scores: the lower number wins, so that a choice is a function of the scores alone. */
export function chooseToken(scores: ArrayLike<number>, sampling: Sampling, key: readonly [number, number], position: number): number {
  const { temperature, topP } = sampling;
  if (temperature === 0) return best(scores);
  const top = scores[best(scores)];
  const tokens = Array.from({ length: scores.length }, (_, token) => ({ token, weight: Math.exp((scores[token] - top) / temperature) }));
  tokens.sort((a, b) => b.weight - a.weight || a.token - b.token);
  const total = tokens.reduce((sum, t) => sum + t.weight, 0);
  let kept = 0;
  let count = 0;
  while (count < tokens.length && (count === 0 || kept < topP * total)) kept += tokens[count++].weight;
  const [x0] = threefry(key[0], key[1], position, 0);
  let left = (x0 >>> 0) * 2 ** -32 * kept;
  for (let i = 0; i < count; i++) {
    left -= tokens[i].weight;
    if (left < 0) return tokens[i].token;
  }
  return tokens[count - 1].token;
}

function best(scores: ArrayLike<number>): number {
  let at = 0;
  for (let i = 1; i < scores.length; i++) if (scores[i] > scores[at]) at = i;
  return at;
}
