/** Barriers, placeholders that the `grad` pass expands, and loops. */
import type { Node, Type } from "../graph.ts";
import type { AttrsFor, AttrsOf } from "./attributes.ts";
import { needCount, needDType, needSameShape, refuse } from "./mismatch.ts";
import type { Op, SpecialName } from "./op.ts";
import { elsewhere } from "./sources.ts";
import { tensor } from "./tensor.ts";

/** The type of the value that a `get` reads from a loop. */
function readType(types: readonly Type[], attrs: AttrsOf["get"], loopNode: Node | undefined): Type {
  const loop = loopNode?.loop;
  if (!loop) refuse("get", types, "its operand is not a loop");
  const { index, iteration = -1 } = attrs;
  if (attrs.output === "carried") {
    if (index < 0 || index >= loop.carried) refuse("get", types, `the loop carries ${loop.carried} values, there is no number ${index}`);
    return loopNode.inputs[index].type;
  }
  if (attrs.output === "joined") {
    const parts = loop.iterations.map((t) => loop.bodies[t.body].results[loop.carried + index]?.type);
    const [first] = parts;
    if (index < 0 || !first || first.shape.length === 0)
      refuse("get", types, `the iterations have no export ${index} with an axis to join along`);
    const rest = (t: Type | undefined) => t && `${t.dtype} ${t.shape.slice(1)}`;
    if (parts.some((t) => rest(t) !== rest(first))) refuse("get", types, `the exports ${index} of the iterations do not fit together`);
    return { ...first, shape: [parts.reduce((sum, t) => sum + Number(t!.shape[0]), 0), ...first.shape.slice(1)] };
  }
  if (attrs.output !== "export") refuse("get", types, `there is no output "${String(attrs.output)}"`);
  const body = loop.bodies[loop.iterations[iteration]?.body];
  if (!body) refuse("get", types, `the loop has ${loop.iterations.length} iterations, there is no number ${iteration}`);
  const result = body.results[loop.carried + index];
  if (index < 0 || !result)
    refuse("get", types, `iteration ${iteration} exports ${body.results.length - loop.carried} values, there is no number ${index}`);
  return result.type;
}

export const special: { readonly [K in SpecialName]: Op<AttrsFor<K>> } = {
  stop_gradient: {
    doc: "stop_gradient (x): x, which no gradient passes.",
    role: "barrier",
    shape: (types) => {
      needCount("stop_gradient", types, 1);
      return types[0];
    },
    eval: ([x]) => x,
    vjp: "zero",
    sparse: { any: [0] },
    examples: [{ inputs: [tensor("f32", [2], [1, 2])], attrs: {} }],
  },
  fence: {
    doc: "fence (x, other): x, at a time when the other has been computed.",
    role: "barrier",
    shape: (types) => {
      needCount("fence", types, 2);
      return types[0];
    },
    eval: ([x]) => x,
    vjp: "refused",
    examples: [{ inputs: [tensor("f32", [2], [1, 2]), tensor("i32", [], [3])], attrs: {} }],
  },
  grad: {
    doc: "grad (e scalar, x): the gradient of e by the node x. Expanded by the `grad` pass.",
    role: "placeholder",
    shape: (types) => {
      needCount("grad", types, 2);
      needDType("grad", types, 0, ["f32"]);
      needDType("grad", types, 1, ["f32"]);
      if (types[0].shape.length !== 0) refuse("grad", types, "only a scalar has a gradient");
      return types[1];
    },
    eval: elsewhere("grad"),
    vjp: "refused",
    examples: [],
  },
  jvp: {
    doc: "jvp (e, x, v): the derivative of e along v in the node x. Expanded by the `grad` pass.",
    role: "placeholder",
    shape: (types, _attrs, solver) => {
      needCount("jvp", types, 3);
      for (let i = 0; i < 3; i++) needDType("jvp", types, i, ["f32"]);
      needSameShape("jvp", types, solver, 1);
      return types[0];
    },
    eval: elsewhere("jvp"),
    vjp: "refused",
    examples: [],
  },
  loop: {
    doc: "loop (carried in, everything iterations use): iterations of bodies, see graph.ts. Its results are read by `get`; made by `loop` of build.ts.",
    role: "region",
    shape: elsewhere("loop"),
    eval: elsewhere("loop"),
    vjp: "refused",
    examples: [],
  },
  get: {
    doc: "get {output: carried, index} or {output: export, iteration, index} (loop): a result of a loop; {output: joined, index}: the exports of all iterations along the leading axis.",
    role: "region",
    shape: (types, attrs, _solver, nodes) => {
      needCount("get", types, 1);
      return readType(types, attrs, nodes[0]);
    },
    eval: elsewhere("get"),
    vjp: "refused",
    examples: [],
  },
};
