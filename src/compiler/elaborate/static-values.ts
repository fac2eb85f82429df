/** Static values as plain data, for stages and reports. */
import type { Span } from "../../ir/graph.ts";
import type { Static } from "../project.ts";
import { Builtin, Closure, Dataset, describe, Fields, MethodDecl, ModuleDecl, Size, Start, Tokenizer, type Value } from "./values.ts";
import type { Work } from "./work.ts";

/** Things without data are named. */
export function staticValue(work: Work, v: Value, span: Span): Static {
  work.spend(1, span);
  if (v === null || typeof v === "number" || typeof v === "string" || typeof v === "boolean") return v;
  if (Array.isArray(v)) return v.map((x) => staticValue(work, x as Value, span));
  if (v instanceof Fields) return Object.fromEntries([...v.entries].map(([k, x]) => [k, staticValue(work, x, span)]));
  if (v instanceof Dataset) return v.spec;
  if (v instanceof Size) return String(v.dim);
  if (v instanceof Start)
    return v.draw === "normal" ? `normal(${v.scale}, mean: ${v.offset})` : `uniform(${v.offset}, ${v.offset + v.scale})`;
  if (v instanceof Tokenizer) return { tokenizer: v.folder };
  if (v instanceof Closure || v instanceof Builtin || v instanceof ModuleDecl || v instanceof MethodDecl) return v.name;
  return describe(v);
}
