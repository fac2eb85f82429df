import type * as ast from "./ast.ts";

/** Plain names that a statement binds with `=`, in branches and loops too. */
export function boundNames(s: ast.Statement): string[] {
  if (s.kind === "Binding") return s.op === "=" ? s.targets.filter((t) => t.names.length === 1).map((t) => t.names[0].text) : [];
  if (s.kind === "If") return [...s.then, ...(s.else ?? [])].flatMap(boundNames);
  return s.kind === "For" ? s.body.flatMap(boundNames) : [];
}

/** Whether an expression uses one of these names, also behind a dot (`s.score` of another site). */
export function mentions(x: unknown, names: ReadonlySet<string>): boolean {
  if (Array.isArray(x)) return x.some((y) => mentions(y, names));
  if (x === null || typeof x !== "object") return false;
  const n = x as { kind?: string; text?: string };
  if (n.kind === "Name" && names.has(n.text!)) return true;
  return Object.entries(x).some(([k, v]) => k !== "span" && k !== "kind" && mentions(v, names));
}

/** The name, with a number behind it if somebody has it, and that number. Numbers up to `past` are known to be taken. */
export function unique(name: string, taken: (n: string) => boolean, past = 1): [name: string, number: number] {
  if (!taken(name)) return [name, past];
  for (let i = past + 1; ; i++) if (!taken(`${name}_${i}`)) return [`${name}_${i}`, i];
}
