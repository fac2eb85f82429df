import { addDim, sameDim, symbol } from "../../../ir/dim.ts";
import type { Node } from "../../../ir/graph.ts";
import { rebuild } from "../../../ir/rebuild.ts";
import { context, type Remembered } from "../context.ts";
import { ROWS } from "../decode.ts";
import { parametersOf } from "../parameters.ts";
import { Storage } from "../storage.ts";
import { isTensor } from "../tensors.ts";
import { Selection, type Value } from "../values.ts";
import { BuiltinTable, type Call } from "./table.ts";

export const steps = new BuiltinTable("Gradients, and what decoding remembers");

/** Applies a function to every tensor of a parameter, tensor or selection, keeping its form. */
function each(v: Value, c: Call, f: (node: Node) => Value): Value {
  if (v instanceof Selection) return parametersOf(v, c.span).map((s) => f(c.node(s)));
  if (Array.isArray(v)) return v.map((x) => each(x as Value, c, f));
  if (v instanceof Storage || isTensor(v)) return f(c.node(v));
  return parametersOf(v, c.span).map((s) => f(c.node(s)));
}

steps.add(
  "grad",
  "The derivative of a scalar by a parameter, a tensor or a selection; of its form.",
  [{ name: "e" }, { name: "p", selection: false }],
  ({ e, p }, c) => {
    const loss = c.node(e!);
    if (loss.type.shape.length > 0)
      return c.fail("P0411", `\`grad\` differentiates a scalar, this has the shape [${loss.type.shape.join(", ")}]`, [
        "`jvp(e, p, v)` gives the derivative of any shape along v",
      ]);
    return each(p!, c, (x) => c.tensor(c.build((b) => b.grad(loss, x))));
  },
);
steps.add(
  "jvp",
  "The derivative of `e` by `p` along `v`: of any shape, without the whole Jacobian.",
  [{ name: "e" }, { name: "p" }, { name: "v" }],
  ({ e, p, v }, c) => {
    const value = c.node(e!);
    const along: Value[] = [];
    const collect = (x: Value): void => {
      if (Array.isArray(x)) for (const y of x) collect(y as Value);
      else along.push(x);
    };
    collect(v!);
    const at: Node[] = [];
    each(p!, c, (x) => {
      at.push(x);
      return 0;
    });
    if (at.length !== along.length) return c.fail("P0205", `\`jvp\` has ${along.length} directions for ${at.length} tensors`);
    return c.tensor(c.build((b) => at.map((x, i) => b.jvp(value, x, c.node(along[i]))).reduce((p1, q) => b.add(p1, q))));
  },
);

/** Tensors of a value, or of a list of them. */
const flat = (v: Value): Value[] => (Array.isArray(v) ? v.flatMap((x) => flat(x as Value)) : [v]);

// e where the tensors p, which it depends on, are larger by `by`: at another point, that is
steps.add(
  "moved",
  "`e` as it would be if the tensors `p`, which it depends on, were larger by `by`.",
  [{ name: "e" }, { name: "p" }, { name: "by" }],
  ({ e, p, by }, c) => {
    const value = c.node(e!);
    const at = flat(p!).map((x) => c.node(x));
    const steps = flat(by!).map((x) => c.node(x));
    if (at.length !== steps.length) return c.fail("P0205", `\`moved\` has ${steps.length} steps for ${at.length} tensors`);
    const ctx = context();
    const same = (a: readonly Node[], b: readonly Node[]) => a.length === b.length && a.every((x, i) => x === b[i]);
    const nodes = [value, ...at, ...steps];
    let known = ctx.moves.find((m) => same(m.nodes, nodes));
    if (!known) {
      const to = new Map(at.map((x, i) => [x, c.build((b) => b.add(x, steps[i]))]));
      known = { nodes, value: rebuild([value], to)[0] };
      ctx.moves.push(known);
    }
    return c.tensor(known.value);
  },
);

// While decoding: earlier positions along the axis, then these; without an axis: what it was for the text given, computed once. Elsewhere the identity.
steps.add(
  "remember",
  "While decoding: earlier positions along the axis, then these; without an axis what it was for the text given. Elsewhere x itself.",
  [{ name: "x" }, { name: "axis", optional: true }],
  ({ x, axis }, c) => {
    const ctx = context();
    if (ctx.mode !== "prefill" && ctx.mode !== "decode") return c.tensor(c.node(x!));
    const base = `cache/${c.here.path}/${c.here.calls}/${c.evaluator.ordinalOf(c.expr)}`;
    const known = ctx.remembered.get(base);
    if (known) return c.tensor(known.node);
    const keep = (made: Remembered) => {
      ctx.remembered.set(base, made);
      return c.tensor(made.node);
    };
    if (axis === undefined) {
      if (ctx.mode === "prefill") {
        const node = c.node(x!);
        return keep({ node, next: node, axis: undefined });
      }
      const { type } = ctx.kept!.get(base)!.node;
      return keep({ node: c.build((b) => b.state(base, type)), next: undefined, axis: undefined });
    }
    const node = c.node(x!);
    const rank = node.type.shape.length;
    let a = c.int(axis, "axis");
    if (a < 0) a += rank;
    // a cache holds as many positions as there will ever be: `past` and the one at hand
    const shape = node.type.shape.map((d, i) => (i === a ? addDim(symbol("past"), 1) : d));
    const state = c.build((b) => b.state(base, { dtype: node.type.dtype, shape }));
    if (ctx.mode === "prefill") return keep({ node, next: c.build((b) => b.write(state, b.constant(0, "i32"), node, a)), axis: a });
    const rows = shape.findIndex((d) => sameDim(d, ROWS));
    const own = ctx.parents !== undefined && rows >= 0 ? c.build((b) => b.take(state, ctx.parents!, rows)) : state;
    const next = c.build((b) => b.write(own, b.constant(symbol("past")), node, a));
    return keep({ node: next, next, axis: a });
  },
);
