/** The one door to new nodes: types are inferred from the op table, loops are checked. */
import { sameDim, sameShape } from "./dim.ts";
import { Bug } from "./errors.ts";
import { type Attrs, type Loop, type Node, node, type Origin, type Type } from "./graph.ts";
import { type AttrsFor, type Op, type OpName, ops, rowOf, type Solver } from "./ops/index.ts";

/** Sizes are equal if they are the same polynomial. */
export const strict: Solver = { equal: sameDim };

/** Makes a node of the inferred type. Throws `TypeMismatch` (see its `detail`) when operands do not fit. */
export function make<K extends OpName>(op: K, inputs: readonly Node[], attrs: AttrsFor<K>, origin: Origin, solver: Solver = strict): Node {
  const types = inputs.map((n) => n.type);
  const row: Op = ops[op];
  return node(op, inputs, attrs as Attrs, row.shape(types, attrs as Attrs, solver, inputs), origin);
}

/** The same op on other operands, or with other attributes: how passes rebuild a node. The type is inferred anew; loops keep their bodies. */
export function remake(n: Node, inputs: readonly Node[], attrs: Attrs = n.attrs): Node {
  if (n.loop) return makeLoop(inputs, n.loop, n.origin, attrs);
  if (rowOf(n).supply === "arg") return node(n.op, inputs, attrs, n.type, n.origin);
  return make(n.op as OpName, inputs, attrs, n.origin);
}

/** A parameter of a loop's body, for values of the type given. */
export const makeArg = (index: number, type: Type, origin: Origin): Node => node("arg", [], { index }, type, origin);

/** The type of every loop node: it has no value of its own, `get` reads its results. */
export const LOOP_TYPE: Type = { dtype: "i32", shape: [0] };

/** A loop over `inputs` (see `Loop` in graph.ts), after checking that what each iteration gets has its body's types. */
export function makeLoop(inputs: readonly Node[], loop: Loop, origin: Origin, attrs: Attrs = {}): Node {
  checkLoop(inputs, loop);
  return node("loop", inputs, attrs, LOOP_TYPE, origin, loop);
}

/** Throws `Bug` where a loop's iterations, arguments, types or results do not fit together. */
export function checkLoop(inputs: readonly Node[], loop: Loop): void {
  const wrong = (why: string): never => {
    throw new Bug(`loop: ${why}`);
  };
  const same = (a: Type, b: Type) => a.dtype === b.dtype && sameShape(a.shape, b.shape);
  if (loop.carried > inputs.length) wrong(`carries ${loop.carried} values, but has ${inputs.length} operands`);
  loop.bodies.forEach((body, b) => {
    body.params.forEach((p, i) => {
      if (rowOf(p).supply !== "arg") wrong(`parameter ${i} of body ${b} is ${p.op}`);
      if (p.attrs.index !== i) wrong(`parameter ${i} of body ${b} has index ${String(p.attrs.index)}`);
    });
    if (body.params.length < loop.carried) wrong(`body ${b} has no parameter for a carried value`);
    if (body.results.length < loop.carried) wrong(`body ${b} does not give back all carried values`);
    for (let i = 0; i < loop.carried; i++) {
      if (!same(body.params[i].type, inputs[i].type)) wrong(`carried value ${i} goes into body ${b} with another type`);
      if (!same(body.results[i].type, inputs[i].type)) wrong(`carried value ${i} comes out of body ${b} with another type`);
    }
  });
  const sliced = new Map((loop.sliced ?? []).map((k) => [k, 0]));
  loop.iterations.forEach((iteration, t) => {
    const body = loop.bodies[iteration.body] ?? wrong(`iteration ${t} runs body ${iteration.body}, which does not exist`);
    if (iteration.args.length !== body.params.length - loop.carried)
      wrong(`iteration ${t} gives ${iteration.args.length} arguments to a body of ${body.params.length - loop.carried}`);
    iteration.args.forEach((k, i) => {
      const value = inputs[loop.carried + k] ?? wrong(`iteration ${t} uses operand ${k}, which does not exist`);
      const part = sliced.get(k);
      const { type } = body.params[loop.carried + i];
      const got = part === undefined ? value.type : { ...value.type, shape: [type.shape[0], ...value.type.shape.slice(1)] };
      if (part !== undefined) sliced.set(k, part + Number(type.shape[0]));
      if (!same(got, type)) wrong(`argument ${i} of iteration ${t} has another type than its parameter`);
    });
  });
  for (const [k, rows] of sliced)
    if (rows !== inputs[loop.carried + k]?.type.shape[0]) wrong(`operand ${k} is cut into ${rows} rows, which are not all of it`);
}
