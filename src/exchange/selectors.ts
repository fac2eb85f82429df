/** Sets of module paths as selectors that people would write. */

/**
 * Selectors from `root` that pick just `sites` among `all` modules: by name wherever that says it (`m.**.{q_proj, v_proj}`), else by path with ranges of
 * layers (`m.h[0, 2..5].attn.c_attn`).
 */
export function selectorsFor(root: string, sites: readonly string[], all: readonly string[]): string[] {
  const wanted = new Set(sites);
  const names = [...new Set(sites.map(lastOf))];
  const everywhere = all.filter((path) => names.includes(lastOf(path)));
  const deep = sites.some((site) => site.includes("."));
  if (deep && everywhere.length === wanted.size && everywhere.every((path) => wanted.has(path)) && !names.some(isNumber))
    return [`${root}.**${oneOf(names)}`];
  const shapes = new Map<string, string[][]>();
  for (const site of wanted) {
    const tokens = site.split(".");
    const shape = tokens.map((t) => (isNumber(t) ? "#" : t)).join(".");
    shapes.set(shape, [...(shapes.get(shape) ?? []), tokens]);
  }
  const paths = [...shapes.values()].flatMap((group) => products(group)).map((sets) => written(sets, all));
  const ends = new Map<string, string[]>();
  for (const { front, end } of paths) ends.set(front, [...(ends.get(front) ?? []), end]);
  return [...ends].map(([front, last]) => `${root}${front}${oneOf(last)}`);
}

const isNumber = (token: string): boolean => /^\d+$/.test(token);
const lastOf = (path: string): string => path.slice(path.lastIndexOf(".") + 1);
/** Names behind a dot, indices without one. */
function oneOf(names: readonly string[]): string {
  if (names.length === 1) return names[0] === "" || names[0].startsWith("[") ? names[0] : `.${names[0]}`;
  return `.{${names.join(", ")}}`;
}

/** A path in which every number stands for a set of them. */
type Sets = readonly (string | readonly number[])[];

/** Paths of one shape as few paths with sets of numbers, each a product of its sets. */
function products(group: readonly (readonly string[])[]): Sets[] {
  const at = group[0].flatMap((token, i) => (isNumber(token) ? [i] : []));
  const sets = at.map((i) => [...new Set(group.map((tokens) => Number(tokens[i])))].sort((a, b) => a - b));
  if (sets.reduce((n, s) => n * s.length, 1) === group.length)
    return [group[0].map((token, i) => (at.includes(i) ? sets[at.indexOf(i)] : token))];
  const first = at.find((_, k) => sets[k].length > 1)!;
  return sets[at.indexOf(first)].flatMap((n) => products(group.filter((tokens) => Number(tokens[first]) === n)));
}

function written(sets: Sets, all: readonly string[]): { front: string; end: string } {
  let text = "";
  const last = sets.length - 1;
  let front = "";
  sets.forEach((set, i) => {
    if (typeof set === "string") {
      if (i === last) front = text;
      text = i === last ? set : `${text}.${set}`;
      return;
    }
    const there = numbersAt(sets.slice(0, i), all);
    const whole = there.length > 1 && there.every((n) => set.includes(n));
    const index = whole ? "[*]" : `[${ranges(set)}]`;
    if (i === last) {
      front = text;
      text = index;
    } else text += index;
  });
  return { front, end: text };
}

/** The numbers that modules have behind a path. */
function numbersAt(before: Sets, all: readonly string[]): number[] {
  const out = new Set<number>();
  for (const path of all) {
    const tokens = path.split(".");
    const fits = before.every((set, i) => (typeof set === "string" ? tokens[i] === set : set.includes(Number(tokens[i]))));
    if (fits && isNumber(tokens[before.length] ?? "")) out.add(Number(tokens[before.length]));
  }
  return [...out];
}

/** `0, 2, 5..8`: the end of a range is not in it. */
function ranges(numbers: readonly number[]): string {
  const out: string[] = [];
  for (let i = 0; i < numbers.length; ) {
    let end = i + 1;
    while (end < numbers.length && numbers[end] === numbers[end - 1] + 1) end++;
    if (end - i > 1) out.push(`${numbers[i]}..${numbers[end - 1] + 1}`);
    else out.push(String(numbers[i]));
    i = end;
  }
  return out.join(", ");
}
