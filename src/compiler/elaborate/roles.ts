import type * as ast from "../ast.ts";
import { boundNames } from "../names.ts";
import { fail } from "./fault.ts";
import type { Instance } from "./instance.ts";
import type { Scope } from "./scope.ts";
import { MethodDecl, ModuleDecl, RoleDecl } from "./values.ts";

/** What a module fills: a role, with the paths of the role's names in it. A module's own type is a role as well. */
export interface Filling {
  readonly role: RoleDecl | ModuleDecl;
  readonly names: ReadonlyMap<string, readonly string[]>;
}

const pathOf = (p: ast.Path): string[] => p.names.map((n) => n.text);

/** The roles a declaration fills by its `as` clause; unlisted names are the same in both. */
export function fillings(decl: ast.Module | ast.Method, scope: Scope): Filling[] {
  return decl.fills.flatMap((f) => {
    const role = scope.find(f.role.text)?.(scope.here);
    // a method that says what it is when its training is over
    if (role instanceof MethodDecl && decl.kind === "Method") return [];
    if (!(role instanceof RoleDecl) && !(role instanceof ModuleDecl)) fail("P0301", f.role.span, `\`${f.role.text}\` is not a role`);
    const known = new Set(namesOfRole(role));
    for (const n of f.names)
      if (!known.has(n.name.text))
        fail("P0302", n.name.span, `${role.name} has no name \`${n.name.text}\``, { notes: [`it has: ${[...known].join(", ")}`] });
    return { role, names: new Map(f.names.map((n) => [n.name.text, pathOf(n.path)])) };
  });
}

/** The method that a method says it is when its training is over, with which of its values are the other's parameters. */
export function isSaid(
  method: MethodDecl,
): { readonly method: MethodDecl; readonly names: ReadonlyMap<string, readonly string[]> } | undefined {
  for (const f of method.decl.fills) {
    const other = method.scope.find(f.role.text)?.(method.scope.here);
    if (!(other instanceof MethodDecl)) continue;
    const known = other.decl.members.flatMap((m) => (m.kind === "Parameter" ? [m.field.name.text] : []));
    for (const n of f.names)
      if (!known.includes(n.name.text))
        fail("P0302", n.name.span, `${other.name} has no parameter \`${n.name.text}\``, { notes: [`it has: ${known.join(", ")}`] });
    return { method: other, names: new Map(f.names.map((n) => [n.name.text, pathOf(n.path)])) };
  }
  return undefined;
}

/** All fields of a role, those of the roles it is a kind of first. */
export function roleFields(role: RoleDecl): { field: ast.Field; scope: Scope }[] {
  const parent = role.decl.parent;
  const outer = parent ? role.scope.find(parent.text)?.(role.scope.here) : undefined;
  if (parent && !(outer instanceof RoleDecl)) fail("P0301", parent.span, `\`${parent.text}\` is not a role`);
  return [...(outer instanceof RoleDecl ? roleFields(outer) : []), ...role.decl.fields.map((field) => ({ field, scope: role.scope }))];
}

/** Whether `role` is `wanted`, or a kind of it. */
export function isA(role: RoleDecl | ModuleDecl, wanted: RoleDecl | ModuleDecl): boolean {
  if (role === wanted || (role instanceof RoleDecl && wanted instanceof RoleDecl && role.decl === wanted.decl)) return true;
  if (role instanceof ModuleDecl) return wanted instanceof ModuleDecl && role.decl === wanted.decl;
  const parent = role.decl.parent;
  const outer = parent ? role.scope.find(parent.text)?.(role.scope.here) : undefined;
  return outer instanceof RoleDecl && isA(outer, wanted);
}

/** Names that a role gives: its fields; for a module its arguments, parameters, inputs and outputs. */
export function namesOfRole(role: RoleDecl | ModuleDecl | MethodDecl): string[] {
  if (role instanceof RoleDecl) return roleFields(role).map((f) => f.field.name.text);
  const out = role.decl.params.map((p) => p.name.text);
  for (const m of role.decl.members) {
    if (m.kind === "Parameter") out.push(m.field.name.text);
    if (m.kind === "Forward")
      out.push(...m.params.map((p) => p.name.text), ...m.results.map((p) => p.name.text), ...m.body.flatMap(boundNames));
    if (m.kind === "Binding") out.push(...boundNames(m));
    if (m.kind === "State") out.push(m.name.text);
  }
  return [...new Set(out)];
}

/** What a module fills that is `wanted` or a kind of it. */
export function fillingsOf(instance: Instance, wanted: RoleDecl | ModuleDecl): Filling[] {
  const own: Filling[] = instance.module.decl === (wanted as ModuleDecl).decl ? [{ role: instance.module, names: new Map() }] : [];
  return [...own, ...fillings(instance.decl, instance.module.scope).filter((f) => isA(f.role, wanted))];
}

/** What a module may be called: its own name, then the roles it fills and those that they are kinds of. */
export function kindsOf(instance: Instance): string[] {
  const out = new Set([instance.decl.name.text]);
  for (const { role } of fillings(instance.decl, instance.module.scope)) {
    out.add(role.name);
    for (let r = role; r instanceof RoleDecl && r.decl.parent; ) {
      const outer = r.scope.find(r.decl.parent.text)?.(r.scope.here);
      if (!(outer instanceof RoleDecl)) break;
      out.add(outer.name);
      r = outer;
    }
  }
  return [...out];
}
