/** Which lines of a method are computed once at a site rather than in each call. */
import type * as ast from "../ast.ts";
import { boundNames, mentions } from "../names.ts";
import { Attachment, type Site } from "./attachment.ts";
import { isStatement } from "./instance.ts";
import { roleFields } from "./roles.ts";
import { capitalsOf } from "./signature.ts";
import { type MethodDecl, ModuleDecl, type Place, type Value } from "./values.ts";

/**
 * Lines that are the same for all calls of a site: those that make modules, and those that use nothing of a call, of a parameter or of the
 * step. Decided by what a line depends on, never by trying.
 */
export function staticLines(method: MethodDecl, site: Site, options: ReadonlyMap<string, Value>): Set<ast.Statement> {
  const live = new Set<string>(["training", "past", "step", "steps", "loss", "site", "params", "blocks"]);
  for (const [n, path] of site.roleNames) if (!isStaticName(site.place, path)) live.add(n);
  for (const f of site.role ? roleFields(site.role) : []) for (const c of capitalsOf([f.field.type])) live.add(c);
  for (const m of method.decl.members) {
    if (m.kind === "Parameter") live.add(m.field.name.text);
    if (m.kind === "State") live.add(m.name.text);
    if (m.kind === "Input") {
      live.add(m.field.name.text);
      for (const c of capitalsOf([m.field.type])) live.add(c);
    }
    if (m.kind === "Attach") live.add(m.name.text);
  }
  const makes = (x: ast.Expr | ast.Spread): boolean => {
    if (x.kind === "Spread") return makes(x.value);
    if (x.kind === "Call" && x.callee.kind === "Name") {
      const v = options.get(x.callee.text) ?? method.scope.find(x.callee.text)?.(method.scope.here);
      return v instanceof ModuleDecl;
    }
    if (x.kind === "List") return x.items.length > 0 && x.items.every(makes);
    if (x.kind === "Comprehension") return makes(x.element);
    if (x.kind === "Conditional") return [x.then, x.else].every((y) => y.kind === "None" || makes(y)) && [x.then, x.else].some(makes);
    return false;
  };
  const parts = new Set([...options].filter(([, v]) => holdsAttachment(v)).map(([n]) => n));
  const out = new Set<ast.Statement>();
  for (const s of method.decl.members.filter(isStatement)) {
    const targets = s.kind === "Binding" && s.op === "=" ? s.targets.filter((t) => t.names.length === 1).map((t) => t.names[0].text) : [];
    if (
      s.kind === "Binding" &&
      s.op === "=" &&
      targets.length === s.targets.length &&
      (s.values.every(makes) || !s.values.some((v) => mentions(v, live) || usesPart(v, parts)))
    )
      out.add(s);
    else for (const n of s.kind === "Binding" ? targets : boundNames(s)) live.add(n);
  }
  return out;
}

function isStaticName(place: Place, path: readonly string[] | null): boolean {
  if (path === null) return true;
  if (place.kind !== "module" || path.length !== 1) return false;
  return place.instance.args.has(path[0]) || place.instance.block.thunkBefore(path[0]) !== undefined;
}

const holdsAttachment = (v: Value): boolean => v instanceof Attachment || (Array.isArray(v) && v.some((x) => holdsAttachment(x as Value)));

/** Whether an expression calls an attachment that is an option (`sources[0]().z`) or reads what it says (`found.score`): its part at the site, as live as its lines. */
function usesPart(x: unknown, options: ReadonlySet<string>): boolean {
  if (options.size === 0) return false;
  if (Array.isArray(x)) return x.some((y) => usesPart(y, options));
  if (x === null || typeof x !== "object") return false;
  const n = x as { kind?: string; callee?: unknown; object?: { kind?: string; text?: string } };
  if (n.kind === "Call" && mentions(n.callee, options)) return true;
  if (n.kind === "Member" && n.object?.kind === "Name" && options.has(n.object.text!)) return true;
  return Object.entries(x).some(([k, v]) => k !== "span" && k !== "kind" && usesPart(v, options));
}
