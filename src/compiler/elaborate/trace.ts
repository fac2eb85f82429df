import { type Dim, symbol } from "../../ir/dim.ts";
import type { DType, Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import type { Site } from "./attachment.ts";
import { Context, within } from "./context.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { Frame } from "./frame.ts";
import { forwardOf, Instance } from "./instance.ts";
import { methodFrame } from "./method-frame.ts";
import { roleFields } from "./roles.ts";
import { isTensorType } from "./signature.ts";
import { builderAt } from "./tensors.ts";
import { Thunk } from "./thunk.ts";
import { type RoleDecl, Tensor, type Value } from "./values.ts";

const traces = new WeakMap<Instance, { ctx: Context }>();

/** The model without attachments, called once on symbolic inputs: where the sizes of roles come from. */
export function bareTrace(e: Elaborator, root: Instance, span: Span): Context {
  const known = traces.get(root);
  if (known) return known.ctx;
  const ctx = new Context("bare", 0, "trace", () => false);
  traces.set(root, { ctx });
  within(ctx, () => {
    const forward = forwardOf(root.decl);
    if (!forward) fail("P0209", span, `${root.decl.name.text} has no \`forward\`, so sizes of its roles cannot be found`);
    const args = new Map<string, Thunk<Value>>();
    for (const p of forward.params) {
      if (p.default || !isTensorType(p.type)) continue;
      const b = builderAt({ path: root.fullPath, training: false, calls: "" }, p.span);
      const shape = p.type.dims.map(
        (d): Dim =>
          d.kind === "Rest" ? 1 : d.kind === "Name" && /^[A-Z]/.test(d.text) ? symbol(d.text) : (e.evaluate(d, root.scope) as number),
      );
      args.set(p.name.text, Thunk.of<Value>(new Tensor(b.input(p.name.text, { dtype: p.type.name.text as DType, shape }))));
    }
    const frame = new Frame(root, undefined, args, new Map(), { training: false, iteration: undefined }, span);
    for (const p of forward.results) frame.read(p.name.text);
  });
  return ctx;
}

/** The lower-case sizes of a role at a module, from the traced model; computed when one is first asked for. */
export function roleSizes(
  e: Elaborator,
  role: RoleDecl,
  of: Instance | Site,
  names: ReadonlyMap<string, readonly string[] | null>,
  span: Span,
): Map<string, () => Value> {
  const wanted = new Set<string>();
  for (const { field } of roleFields(role))
    if (isTensorType(field.type)) for (const d of field.type.dims) if (d.kind !== "Rest") lowerCase(d, wanted);
  let found: Map<string, number> | undefined;
  const settle = (): Map<string, number> => {
    if (found) return found;
    // of an attachment: as its lines would be in the model without any
    const site = of instanceof Instance ? undefined : of;
    const instance = of instanceof Instance ? of : moduleOf(of, span);
    const ctx = bareTrace(e, instance.root, span);
    return within(ctx, () => {
      const frame = ctx.frames.get(instance)?.[0];
      if (!frame)
        fail(
          "P0309",
          span,
          `${instance.fullPath} is never called by ${instance.root.decl.name.text}, so the sizes of ${role.name} are not known there`,
        );
      const out = new Map<string, number>();
      for (const { field } of roleFields(role)) {
        const given = names.get(field.name.text);
        const path = given === undefined ? [field.name.text] : given;
        if (!path || !isTensorType(field.type) || field.type.dims.length === 0) continue;
        if (![...field.type.dims].some((d) => d.kind === "Name" && wanted.has(d.text) && !out.has(d.text))) continue;
        const value = site ? methodFrame(site, frame).read(path[0]) : frame.readPath(path, frame.here, span);
        if (value === null || value === undefined) continue;
        const { shape } = e.node(value, frame.here, span).type;
        const { dims } = field.type;
        dims.forEach((d, i) => {
          if (d.kind !== "Name" || !wanted.has(d.text)) return;
          const actual = shape[shape.length - dims.length + i];
          if (typeof actual !== "number")
            fail("P0309", span, `\`${d.text}\` of ${role.name} must be known when compiling; at ${instance.fullPath} it is ${actual}`, {
              related: [{ span: field.span, label: "declared here" }],
            });
          const known = out.get(d.text);
          if (known !== undefined && known !== actual)
            fail("P0401", span, `${instance.fullPath} does not fit ${role.name}: \`${d.text}\` is ${known} and ${actual}`, {
              related: [{ span: field.span, label: "declared here" }],
            });
          out.set(d.text, actual);
        });
      }
      found = out;
      return out;
    });
  };
  return new Map(
    [...wanted].map((n) => [
      n,
      () => settle().get(n) ?? fail("P0309", span, `the size \`${n}\` of ${role.name} is not settled at ${of.fullPath}`),
    ]),
  );
}

/** The module at whose call the lines of an attachment are computed. */
function moduleOf(site: Site, span: Span): Instance {
  if (site.place.kind === "module") return site.place.instance;
  if (site.place.kind === "site") return moduleOf(site.place.site, span);
  fail("P0309", span, `${site.fullPath} is at no module, so its sizes are not known`);
}

function lowerCase(d: ast.Expr, out: Set<string>): void {
  if (d.kind === "Name" && !/^[A-Z]/.test(d.text)) out.add(d.text);
  if (d.kind === "Binary") {
    lowerCase(d.left, out);
    lowerCase(d.right, out);
  }
}
