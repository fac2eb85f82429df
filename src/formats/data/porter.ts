/** Porter's stemmer (M. F. Porter, "An algorithm for suffix stripping", 1980), for lower-case English words. */

/** Consonants and vowels as `c` and `v`; a `y` behind a consonant is a vowel. */
function shapeOf(word: string): string {
  let shape = "";
  for (const [i, letter] of [...word].entries()) {
    const vowel = "aeiou".includes(letter) || (letter === "y" && i > 0 && shape[i - 1] === "c");
    shape += vowel ? "v" : "c";
  }
  return shape;
}

/** How often a vowel is followed by a consonant: m in [C](VC)ᵐ[V]. */
const measure = (stem: string): number => shapeOf(stem).match(/v+c+/g)?.length ?? 0;
const hasVowel = (stem: string): boolean => shapeOf(stem).includes("v");
const endsDouble = (word: string): boolean => /([a-z])\1$/.test(word) && shapeOf(word).endsWith("c");
/** Consonant, vowel, consonant, the last of them not w, x or y. */
const endsShort = (word: string): boolean => shapeOf(word).endsWith("cvc") && !/[wxy]$/.test(word);

type Suffixes = readonly (readonly [suffix: string, by: string])[];

const STEP_2: Suffixes = [
  ["ational", "ate"],
  ["tional", "tion"],
  ["enci", "ence"],
  ["anci", "ance"],
  ["izer", "ize"],
  ["abli", "able"],
  ["alli", "al"],
  ["entli", "ent"],
  ["eli", "e"],
  ["ousli", "ous"],
  ["ization", "ize"],
  ["ation", "ate"],
  ["ator", "ate"],
  ["alism", "al"],
  ["iveness", "ive"],
  ["fulness", "ful"],
  ["ousness", "ous"],
  ["aliti", "al"],
  ["iviti", "ive"],
  ["biliti", "ble"],
];
const STEP_3: Suffixes = [
  ["icate", "ic"],
  ["ative", ""],
  ["alize", "al"],
  ["iciti", "ic"],
  ["ical", "ic"],
  ["ful", ""],
  ["ness", ""],
];
const STEP_4: Suffixes = [
  ...["al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ou", "ism", "ate", "iti", "ous", "ive", "ize"],
].map((suffix) => [suffix, ""] as const);

/** The longest suffix that fits is the one that counts, whether or not its stem is long enough. */
function replaced(word: string, suffixes: Suffixes, least: number): string {
  const fits = suffixes.filter(([suffix]) => word.endsWith(suffix)).sort(([a], [b]) => b.length - a.length)[0];
  if (fits === undefined) return word;
  const stem = word.slice(0, -fits[0].length);
  return measure(stem) > least ? stem + fits[1] : word;
}

function step1(given: string): string {
  let word = given;
  if (word.endsWith("sses") || word.endsWith("ies")) word = word.slice(0, -2);
  else if (word.endsWith("s") && !word.endsWith("ss")) word = word.slice(0, -1);

  if (word.endsWith("eed")) {
    if (measure(word.slice(0, -3)) > 0) word = word.slice(0, -1);
  } else {
    const stem = /^(.*?)(?:ed|ing)$/.exec(word)?.[1];
    if (stem !== undefined && hasVowel(stem)) word = restored(stem);
  }
  return word.endsWith("y") && hasVowel(word.slice(0, -1)) ? `${word.slice(0, -1)}i` : word;
}

/** What `ed` and `ing` took along. */
function restored(stem: string): string {
  if (/(?:at|bl|iz)$/.test(stem)) return `${stem}e`;
  if (endsDouble(stem) && !/[lsz]$/.test(stem)) return stem.slice(0, -1);
  return measure(stem) === 1 && endsShort(stem) ? `${stem}e` : stem;
}

function step4(word: string): string {
  const ion = /^(.*[st])ion$/.exec(word)?.[1];
  return ion === undefined ? replaced(word, STEP_4, 1) : measure(ion) > 1 ? ion : word;
}

function step5(given: string): string {
  let word = given;
  if (word.endsWith("e")) {
    const stem = word.slice(0, -1);
    const m = measure(stem);
    if (m > 1 || (m === 1 && !endsShort(stem))) word = stem;
  }
  return measure(word) > 1 && word.endsWith("ll") ? word.slice(0, -1) : word;
}

export function porterStem(word: string): string {
  if (word.length < 3 || !/^[a-z]+$/.test(word)) return word;
  return step5(step4(replaced(replaced(step1(word), STEP_2, 0), STEP_3, 0)));
}
