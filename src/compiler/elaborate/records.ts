/** Records: named fields of a declared type. */
import type { Span } from "../../ir/graph.ts";
import type { Elaborator } from "./elaborator.ts";
import { Faults, fail } from "./fault.ts";
import { coerceStatic } from "./signature.ts";
import { Fields, type ModuleDecl, TypeDecl, type Value } from "./values.ts";

/** The record type of a module's first parameter. */
export function recordOf(module: ModuleDecl): TypeDecl | undefined {
  const t = module.decl.params[0]?.type;
  if (!t || t.kind !== "NamedType" || t.dims) return undefined;
  const decl = module.scope.find(t.name.text)?.(module.scope.here);
  return decl instanceof TypeDecl ? decl : undefined;
}

/** Checks the fields of a record against its type and fills in defaults. */
export function recordFor(e: Elaborator, type: TypeDecl, fields: Fields, span: Span): Fields {
  if (fields.type?.decl === type.decl) return fields;
  const out = new Map<string, Value>();
  const names = type.decl.fields.map((f) => f.name.text);
  const faults = new Faults();
  for (const k of fields.entries.keys())
    faults.try(() => {
      if (!names.includes(k))
        fail("P0203", span, `${type.name} has no field \`${k}\``, {
          notes: [...e.suggestions(k, names), `it has: ${names.join(", ")}`],
        });
    });
  for (const f of type.decl.fields)
    faults.try(() => {
      const v = fields.entries.get(f.name.text);
      if (v !== undefined) out.set(f.name.text, coerceStatic(v, f.type, type.scope, span, `\`${f.name.text}\` of ${type.name}`, e));
      else if (f.start) out.set(f.name.text, e.evaluate(f.start, type.scope));
      else if (f.type.optional) out.set(f.name.text, null);
      else fail("P0204", span, `${type.name} needs \`${f.name.text}\``);
    });
  faults.end();
  return new Fields(out, type);
}
