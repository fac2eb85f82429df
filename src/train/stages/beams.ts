/**
 * Beam search: the texts with the highest log-probability, divided by their length to the power of `lengthPenalty`, among those that grow from the likeliest beginnings.
 * The rules are those of transformers' `generate` without early stopping: of twice as many continuations as there are beams, those that end go to the finished texts if
 * they are among the first, the others go on; it is over when no text going on can still be better than the worst of the finished ones.
 */

/** Rows of scores, one a text, after the prompt; then after a token for each text, which goes on from the text of the row `parents[i]`. */
export interface Decoder {
  begin(): Promise<Float32Array>;
  next(tokens: readonly number[], parents: readonly number[], length: number): Promise<Float32Array>;
}

interface BeamOptions {
  readonly beams: number;
  readonly maxTokens: number;
  readonly lengthPenalty: number;
  /** Tokens that count for the length though nobody chose them. */
  readonly given: number;
  /** How the text ends with its last token; none: it goes on. `token`: the last token is no part of it. */
  readonly ends: (tokens: readonly number[]) => "token" | "text" | undefined;
  /** Changes the log-probabilities of what follows `tokens`. */
  readonly rule?: ((scores: Float32Array, tokens: readonly number[]) => void) | undefined;
}

export interface Hypothesis {
  readonly tokens: readonly number[];
  /** Sum of log-probabilities over the length to the power of the penalty. */
  readonly score: number;
}

interface Beam {
  readonly tokens: readonly number[];
  readonly sum: number;
}

/** The best texts, as many as there are beams, the best first. */
export async function beamSearch(decoder: Decoder, options: BeamOptions): Promise<Hypothesis[]> {
  const { beams, maxTokens, lengthPenalty, given, ends, rule } = options;
  const finished: Hypothesis[] = [];
  const finish = (tokens: readonly number[], sum: number, length: number) => {
    finished.push({ tokens, score: sum / (given + length) ** lengthPenalty });
    finished.sort((a, b) => b.score - a.score);
    finished.length = Math.min(finished.length, beams);
  };
  // all rows are the same text at first: one of them counts
  let going: Beam[] = [{ tokens: [], sum: 0 }];
  let scores = await decoder.begin();
  for (let length = 1; length <= maxTokens; length++) {
    const best = continuations(going, scores, scores.length / beams, 2 * beams, rule);
    const next: (Beam & { readonly parent: number })[] = [];
    for (const [rank, { parent, token, sum }] of best.entries()) {
      if (next.length === beams) break;
      const tokens = [...going[parent].tokens, token];
      const end = ends(tokens);
      if (end === undefined) next.push({ tokens, sum, parent });
      else if (rank < beams) finish(end === "token" ? tokens.slice(0, -1) : tokens, sum, length);
    }
    going = next;
    const reachable = best.length === 0 ? Number.NEGATIVE_INFINITY : best[0].sum / (given + length) ** lengthPenalty;
    if (going.length === 0 || (finished.length === beams && finished[beams - 1].score >= reachable)) return finished;
    if (length === maxTokens) break;
    // rows that are not in use repeat the first
    const rows = Array.from({ length: beams }, (_, i) => next[i] ?? next[0]);
    scores = await decoder.next(
      rows.map(({ tokens }) => tokens[length - 1]),
      rows.map(({ parent }) => parent),
      length,
    );
  }
  for (const { tokens, sum } of going) finish(tokens, sum, tokens.length);
  return finished;
}

interface Continuation {
  readonly parent: number;
  readonly token: number;
  readonly sum: number;
}

/** The `count` likeliest next tokens of all texts; of equal ones that of the earlier text, the lower number. */
function continuations(
  going: readonly Beam[],
  scores: Float32Array,
  vocabulary: number,
  count: number,
  rule: BeamOptions["rule"],
): Continuation[] {
  const best: Continuation[] = [];
  for (const [parent, { sum, tokens }] of going.entries()) {
    let row = scores.subarray(parent * vocabulary, (parent + 1) * vocabulary);
    let top = Number.NEGATIVE_INFINITY;
    for (const s of row) top = Math.max(top, s);
    let total = 0;
    for (const s of row) total += Math.exp(s - top);
    let shift = sum - top - Math.log(total);
    if (rule !== undefined) {
      row = row.map((s) => s - top - Math.log(total));
      rule(row, tokens);
      shift = sum;
    }
    for (let token = 0; token < vocabulary; token++) {
      const score = row[token] + shift;
      if (score === Number.NEGATIVE_INFINITY) continue;
      if (best.length === count && !(score > best[count - 1].sum)) continue;
      let at = best.length;
      while (at > 0 && score > best[at - 1].sum) at--;
      best.splice(at, 0, { parent, token, sum: score });
      if (best.length > count) best.pop();
    }
  }
  return best;
}
