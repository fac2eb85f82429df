/** Did you mean: what other tools call it first, then the nearest in spelling; only ever names that are valid at the place. */
import { alias } from "./aliases.ts";
import { longestName } from "./limits.ts";

/** Edits that turn a into b, a swap of neighbours being one (optimal string alignment); `limit + 1` once it is past the limit. */
export function distance(a: string, b: string, limit = Number.POSITIVE_INFINITY): number {
  if (Math.abs(a.length - b.length) > limit) return limit + 1;
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    let least = i;
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j], before[j - 2] + 1);
      least = Math.min(least, row[j]);
    }
    // a swap reaches back two rows
    if (least > limit && Math.min(...last) > limit) return limit + 1;
    before = last;
    last = row;
  }
  return Math.min(last[b.length], limit + 1);
}

/**
 * The candidate nearest to a word, or `undefined` if none is near: what another tool calls it, where that is a candidate; otherwise in
 * spelling, where a third of the letters may differ and case and underscores hardly count.
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const list = [...new Set(candidates)].filter((c) => c !== word);
  return alias(word)?.names?.find((n) => list.includes(n)) ?? nearestSpelling(word, list);
}

function nearestSpelling(word: string, candidates: readonly string[]): string | undefined {
  const plain = (s: string) => s.toLowerCase().replaceAll("_", "");
  const of = plain(word);
  if (of === "" || word.length > longestName) return undefined;
  let best: string | undefined;
  let score = Number.POSITIVE_INFINITY;
  for (const c of candidates) {
    if (c.length > longestName) continue;
    const other = plain(c);
    const limit = Math.max(1, Math.floor(Math.max(of.length, other.length) / 3));
    // in a word of one or two letters every letter is the word
    if (other === "" || (Math.min(of.length, other.length) < 3 && of !== other)) continue;
    const d = distance(of, other, limit);
    if (d > limit) continue;
    // of equally near ones the one with the same case and underscores
    const exact = d + Math.min(distance(word, c), 50) / 100;
    if (exact < score) {
      best = c;
      score = exact;
    }
  }
  return best;
}

/**
 * Lines for a problem's notes about a name that is not known: the name that may be meant, or what is done here instead. Empty where there
 * is nothing good to say.
 */
export function didYouMean(word: string, candidates: Iterable<string>): string[] {
  const list = [...candidates];
  const row = alias(word);
  const known = row?.names?.find((n) => n !== word && list.includes(n));
  if (known !== undefined) return [`did you mean \`${known}\`? It is what \`${word}\` is called here`];
  const near = nearestSpelling(
    word,
    list.filter((c) => c !== word),
  );
  // a name that is all but right beats the words of other tools
  if (near !== undefined && (row?.advice === undefined || distance(word.toLowerCase(), near.toLowerCase(), 1) <= 1))
    return [`did you mean \`${near}\`?`];
  return row?.advice === undefined ? [] : [row.advice];
}
