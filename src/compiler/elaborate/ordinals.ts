/** Where a draw stands in the text of its declaration: the number of its call there. */
import type * as ast from "../ast.ts";

/** Of calls by the trees they are in, which files that are read once share among all that import them. */
const ordinals = new WeakMap<object, number>();
const numbered = new WeakSet<object>();

/** Numbers the calls of a declaration, once. */
export function numberCalls(item: ast.Item): void {
  if (numbered.has(item)) return;
  numbered.add(item);
  let n = 0;
  const walk = (x: unknown): void => {
    if (Array.isArray(x)) return x.forEach(walk);
    if (x === null || typeof x !== "object") return;
    if ((x as { kind?: string }).kind === "Call") ordinals.set(x, n++);
    for (const [k, v] of Object.entries(x)) if (k !== "span") walk(v);
  };
  walk(item);
}

export const ordinalOf = (expr: ast.Expr): number => ordinals.get(expr) ?? 0;
