/** Did you mean: names of other tools first, then the nearest of the names that are valid at the place. */

/** Edits that turn a into b, with swaps of neighbours as one (optimal string alignment); `limit + 1` once it is past the limit. */
export function distance(a: string, b: string, limit = Number.POSITIVE_INFINITY): number {
  if (Math.abs(a.length - b.length) > limit) return limit + 1;
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    let least = i;
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      row[j] = Math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j], before[j - 2] + 1);
      least = Math.min(least, row[j]);
    }
    if (least > limit) return limit + 1;
    before = last;
    last = row;
  }
  return last[b.length];
}

/** The candidate nearest in spelling, if it is near: a third of the letters may differ, case and underscores hardly count. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const plain = (s: string) => s.toLowerCase().replaceAll("_", "");
  const of = plain(word);
  if (of === "") return undefined;
  let best: string | undefined;
  let score = Number.POSITIVE_INFINITY;
  for (const c of candidates) {
    const other = plain(c);
    const limit = Math.max(1, Math.floor(Math.max(of.length, other.length) / 3));
    // in a word of one or two letters every letter is the word
    if (other === "" || (Math.min(of.length, other.length) < 3 && of !== other)) continue;
    const d = distance(of, other, limit) + (c === word ? 0 : 0.01 * distance(word, c, limit));
    if (d < limit + 1 && d < score) {
      best = c;
      score = d;
    }
  }
  return best;
}
