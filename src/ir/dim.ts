/**
 * Sizes of tensors: whole numbers, or polynomials with integer coefficients over symbols (batch, sequence ...), kept in a normal
 * form so that equal sizes are equal strings. A polynomial without symbols is always a plain number.
 */
export type Dim = number | Poly;

/** A polynomial with at least one symbol. `terms` maps a monomial (sorted symbols joined by `*`, `""` for the constant) to its coefficient. */
export class Poly {
  #key: string | undefined;
  constructor(readonly terms: ReadonlyMap<string, number>) {}
  /** Equal for equal sizes. Most are never asked for it. */
  get key(): string {
    this.#key ??= [...this.terms]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([m, c]) => `${c}:${m}`)
      .join(",");
    return this.#key;
  }
  /** How people write it: `2*S + 3`. */
  toString(): string {
    const parts = [...this.terms].sort(([a], [b]) => b.length - a.length || (a < b ? -1 : 1));
    let out = "";
    for (const [m, c] of parts) {
      const abs = Math.abs(c);
      const body = m === "" ? `${abs}` : abs === 1 ? m : `${abs}*${m}`;
      out += out === "" ? (c < 0 ? `-${body}` : body) : c < 0 ? ` - ${body}` : ` + ${body}`;
    }
    return out.replaceAll("*", " * ");
  }
}

const termsOf = (d: Dim): ReadonlyMap<string, number> => (typeof d === "number" ? new Map([["", d]]) : d.terms);

function normal(terms: Map<string, number>): Dim {
  for (const [m, c] of terms) if (c === 0) terms.delete(m);
  if (terms.size === 0) return 0;
  if (terms.size === 1 && terms.has("")) return terms.get("")!;
  return new Poly(terms);
}

export const symbol = (name: string): Dim => new Poly(new Map([[name, 1]]));

export function addDim(a: Dim, b: Dim, factor = 1): Dim {
  if (typeof a === "number" && typeof b === "number") return a + factor * b;
  if (b === 0) return a;
  if (a === 0 && factor === 1) return b;
  const out = new Map(termsOf(a));
  for (const [m, c] of termsOf(b)) out.set(m, (out.get(m) ?? 0) + factor * c);
  return normal(out);
}
export const subDim = (a: Dim, b: Dim): Dim => addDim(a, b, -1);

export function mulDim(a: Dim, b: Dim): Dim {
  if (typeof a === "number") return typeof b === "number" ? a * b : scaled(b, a);
  if (typeof b === "number") return scaled(a, b);
  const out = new Map<string, number>();
  for (const [m, c] of a.terms)
    for (const [n, d] of b.terms) {
      const key = product(m, n);
      out.set(key, (out.get(key) ?? 0) + c * d);
    }
  return normal(out);
}
function scaled(a: Poly, by: number): Dim {
  if (by === 0) return 0;
  return by === 1 ? a : new Poly(new Map([...a.terms].map(([m, c]) => [m, c * by])));
}
/** Of two monomials. */
function product(m: string, n: string): string {
  if (m === "" || n === "") return m + n;
  return m.includes("*") || n.includes("*") ? [...m.split("*"), ...n.split("*")].sort().join("*") : m < n ? `${m}*${n}` : `${n}*${m}`;
}

/** Exact division; `undefined` where it does not come out even. */
export function divDim(a: Dim, b: Dim): Dim | undefined {
  if (sameDim(a, b)) return 1;
  if (typeof b === "number") {
    if (b === 0) return undefined;
    const out = new Map<string, number>();
    for (const [m, c] of termsOf(a)) {
      if (c % b !== 0) return undefined;
      out.set(m, c / b);
    }
    return normal(out);
  }
  if (b.terms.size !== 1) return longDivide(a, b);
  const [mono, coef] = [...b.terms][0];
  const out = new Map<string, number>();
  for (const [m, c] of termsOf(a)) {
    const rest = m ? m.split("*") : [];
    for (const s of mono.split("*")) {
      const at = rest.indexOf(s);
      if (at < 0) return undefined;
      rest.splice(at, 1);
    }
    if (c % coef !== 0) return undefined;
    const key = rest.join("*");
    out.set(key, (out.get(key) ?? 0) + c / coef);
  }
  return normal(out);
}

/** Polynomial long division by a divisor of several terms, for sizes such as `(B*S + B) / (S + 1)`. */
function longDivide(a: Dim, b: Poly): Dim | undefined {
  const lead = (d: Dim) => [...termsOf(d)].sort(([m], [n]) => n.split("*").length - m.split("*").length || (m < n ? 1 : -1))[0];
  const [lm, lc] = lead(b);
  let rest: Dim = a;
  let quotient: Dim = 0;
  for (let i = 0; i < 32 && !sameDim(rest, 0); i++) {
    const [m, c] = lead(rest);
    const q = divDim(new Poly(new Map([[m, c]])), new Poly(new Map([[lm, lc]])));
    if (q === undefined) return undefined;
    quotient = addDim(quotient, q);
    rest = subDim(rest, mulDim(q, b));
  }
  return sameDim(rest, 0) ? quotient : undefined;
}

export function sameDim(a: Dim, b: Dim): boolean {
  return a === b || (typeof a === "object" && typeof b === "object" && a.key === b.key);
}
export const sameShape = (a: readonly Dim[], b: readonly Dim[]): boolean => a.length === b.length && a.every((d, i) => sameDim(d, b[i]));

export function symbolsOf(d: Dim): string[] {
  return typeof d === "number" ? [] : [...new Set([...d.terms.keys()].flatMap((m) => (m ? m.split("*") : [])))];
}

/** Puts sizes in the place of symbols; symbols not in `sizes` stay. */
export function substitute(d: Dim, sizes: ReadonlyMap<string, Dim>): Dim {
  if (typeof d === "number") return d;
  let out: Dim = 0;
  for (const [m, c] of d.terms) {
    let term: Dim = c;
    for (const s of m ? m.split("*") : []) term = mulDim(term, sizes.get(s) ?? symbol(s));
    out = addDim(out, term);
  }
  return out;
}

/** Solves `a == b` for a symbol that occurs linearly and alone; `undefined` if there is none with an integral solution. */
export function solve(a: Dim, b: Dim, solvable: (symbol: string) => boolean): { symbol: string; value: Dim } | undefined {
  const diff = subDim(a, b);
  if (typeof diff === "number") return undefined;
  for (const s of symbolsOf(diff)) {
    if (!solvable(s)) continue;
    const holding = [...diff.terms].filter(([m]) => m.split("*").includes(s));
    if (holding.length !== 1 || holding[0][0] !== s) continue;
    const rest = new Map(diff.terms);
    rest.delete(s);
    const value = divDim(mulDim(normal(rest), -1), holding[0][1]);
    if (value !== undefined) return { symbol: s, value };
  }
  return undefined;
}

/** The least value a size can have when every symbol is at least 1; `undefined` where it is not bounded below. */
export function least(d: Dim): number | undefined {
  if (typeof d === "number") return d;
  let out = 0;
  for (const [m, c] of d.terms) {
    if (m !== "" && c < 0) return undefined;
    out += c;
  }
  return out;
}

/** Whether two sizes are equal for all batches (`true`), for none (`false`), or it depends (`undefined`). */
export function decideEqual(a: Dim, b: Dim): boolean | undefined {
  const diff = subDim(a, b);
  if (typeof diff === "number") return diff === 0;
  const low = least(diff);
  if (low !== undefined && low > 0) return false;
  const high = least(mulDim(diff, -1));
  if (high !== undefined && high > 0) return false;
  return undefined;
}

export const showShape = (shape: readonly Dim[]): string => `[${shape.map(String).join(", ")}]`;
