import type * as ast from "./ast.ts";

/** Plain names that a statement binds with `=`, in branches and loops too. */
export function boundNames(s: ast.Statement): string[] {
  if (s.kind === "Binding") return s.op === "=" ? s.targets.filter((t) => t.names.length === 1).map((t) => t.names[0].text) : [];
  if (s.kind === "If") return [...s.then, ...(s.else ?? [])].flatMap(boundNames);
  return s.kind === "For" ? s.body.flatMap(boundNames) : [];
}
