/** Rows without operands that carry data: constants, values handed in by name or by the loop, draws. */
import type { Dim } from "../dim.ts";
import { Bug } from "../errors.ts";
import type { DType, Type } from "../graph.ts";
import { drawInto } from "../random.ts";
import type { AttrsFor } from "./attributes.ts";
import { bounds } from "./bound.ts";
import { needAxis, needCount, needDType, refuse } from "./mismatch.ts";
import type { Op, SourceName } from "./op.ts";
import { count, empty, stridesOf, tensor } from "./tensor.ts";

/** `eval` of rows whose value does not follow from operands and attributes. */
export function elsewhere(op: string): () => never {
  return () => {
    throw new Bug(`the value of ${op} is not computed by its row`);
  };
}

/** The type of a source is the one its attributes declare. */
const declared =
  (op: SourceName, dtype?: DType) =>
  (types: readonly Type[], attrs: { readonly shape: readonly Dim[]; readonly dtype?: DType }): Type => {
    needCount(op, types, 0);
    return { dtype: attrs.dtype ?? dtype!, shape: attrs.shape };
  };

function supplied(op: "input" | "param" | "state", doc: string, dtype?: DType): Op {
  return { doc, role: "source", supply: op, shape: declared(op, dtype), eval: elsewhere(op), vjp: "zero", examples: [] };
}

const DRAW_KINDS = ["uniform", "normal", "bits"] as const;

export const sources: { readonly [K in SourceName]: Op<AttrsFor<K>> } = {
  const: {
    doc: "const {shape, dtype, data}: data is row-major, or one value that all elements have. Of shape [] the value may be a size.",
    role: "source",
    shape: (types, attrs) => {
      needCount("const", types, 0);
      const { shape, data } = attrs;
      if (data.length !== 1) {
        let n = 1;
        for (const d of shape) {
          if (typeof d !== "number") refuse("const", types, `${data.length} values for a size that is not known yet, ${d}`);
          n *= d;
        }
        if (n !== data.length) refuse("const", types, `${data.length} values for shape [${shape.join(", ")}]`);
      }
      if (shape.length > 0 && data.some((d) => typeof d !== "number")) refuse("const", types, "only a scalar can have a size as its value");
      return { dtype: attrs.dtype, shape };
    },
    eval: (_inputs, attrs) => {
      const data = bounds(attrs.data);
      const shape = bounds(attrs.shape);
      if (data.length !== 1) return tensor(attrs.dtype, shape, data);
      const out = empty(attrs.dtype, shape);
      out.data.fill(data[0]);
      return out;
    },
    vjp: "zero",
    examples: [
      { inputs: [], attrs: { shape: [2, 2], dtype: "f32", data: [1, 2, 3, 4.5] } },
      { inputs: [], attrs: { shape: [3], dtype: "i32", data: [7] } },
      { inputs: [], attrs: { shape: [], dtype: "bool", data: [1] } },
    ],
  },
  iota: {
    doc: "iota {shape, axis}: i32, each element its own index on the axis.",
    role: "source",
    shape: (types, attrs) => {
      needCount("iota", types, 0);
      const { shape } = attrs;
      needAxis("iota", types, attrs.axis, shape.length);
      return { dtype: "i32", shape };
    },
    eval: (_inputs, attrs) => {
      const out = empty("i32", bounds(attrs.shape));
      const { axis } = attrs;
      const stride = stridesOf(out.shape)[axis];
      for (let i = 0; i < out.data.length; i++) out.data[i] = Math.floor(i / stride) % out.shape[axis];
      return out;
    },
    vjp: "zero",
    examples: [
      { inputs: [], attrs: { shape: [3], axis: 0 } },
      { inputs: [], attrs: { shape: [2, 3], axis: 1 } },
    ],
  },
  input: supplied("input", "input {name, shape, dtype}: what the caller gives each time: columns of a batch, scalars of a step."),
  param: supplied("param", "param {name, shape, dtype}: a parameter, f32 but where `hoist` says otherwise.", "f32"),
  state: supplied("state", "state {name, shape, dtype}: a value kept from step to step: caches, moments."),
  arg: {
    doc: "arg {index}: a parameter of a loop's body. Its type is that of the value it stands for, so it is made with that type, not by inference.",
    role: "source",
    supply: "arg",
    shape: elsewhere("arg"),
    eval: elsewhere("arg"),
    vjp: "zero",
    examples: [],
  },
  draw: {
    doc: "draw {kind, shape} (key i32[2], step i32[], first i32[] if it is not 0): element e is a function of (key, step, first + e): `uniform` in [0, 1) and `normal` f32, `bits` i32. See random.ts.",
    role: "source",
    shape: (types, attrs) => {
      if (types.length !== 3) needCount("draw", types, 2);
      needDType("draw", types, 0, ["i32"]);
      needDType("draw", types, 1, ["i32"]);
      if (types.length === 3) {
        needDType("draw", types, 2, ["i32"]);
        if (types[2].shape.length !== 0) refuse("draw", types, "the number of the first element must be a scalar");
      }
      if (types[0].shape.length !== 1 || types[0].shape[0] !== 2) refuse("draw", types, "the key must be i32[2]");
      if (types[1].shape.length !== 0) refuse("draw", types, "the step must be a scalar");
      const { kind } = attrs;
      if (!DRAW_KINDS.some((k) => k === kind)) refuse("draw", types, `there is no draw of kind ${kind}`);
      return { dtype: kind === "bits" ? "i32" : "f32", shape: attrs.shape };
    },
    eval: ([key, step, first], attrs) => {
      const { kind } = attrs;
      const shape = bounds(attrs.shape);
      const data = new Float64Array(count(shape));
      drawInto(data, kind, [key.data[0], key.data[1]], step.data[0], first?.data[0] ?? 0);
      return { dtype: kind === "bits" ? "i32" : "f32", shape, data };
    },
    vjp: "zero",
    examples: DRAW_KINDS.flatMap((kind) => {
      const [key, step, first] = [tensor("i32", [2], [12, -34]), tensor("i32", [], [5]), tensor("i32", [], [3])];
      return [
        [key, step],
        [key, step, first],
      ].map((inputs) => ({ inputs, attrs: { kind, shape: [2, 3] } }));
    }),
  },
};
