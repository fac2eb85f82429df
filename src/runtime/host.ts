/** What the runtime computes on the host: the scalars of a step in f64, and decompositions at loading. */

import type { Entry, HostStep, Placed, StorageType, Values } from "../ground/program.ts";
import { Bug, InputError } from "../ir/errors.ts";
import type { DType, Node } from "../ir/graph.ts";
import { hosts } from "../ir/ops/host.ts";
import type { HostName, Op } from "../ir/ops/op.ts";
import { tensor } from "../ir/ops/tensor.ts";
import { evaluateScalar } from "./scalars.ts";

const nowhere: Node = {
  id: 0,
  met: 0,
  sound: undefined,
  seconds: undefined,
  op: "const",
  inputs: [],
  attrs: {},
  type: { dtype: "f32", shape: [] },
  origin: { path: "host" },
  backward: false,
};

function row(name: string) {
  if (!Object.hasOwn(hosts, name)) throw new Bug(`the program computes ${name} on the host, which no row does`);
  return hosts[name as HostName] as Op;
}

/**
 * The scalars of an entry by name, from the numbers the caller gave (`step`, ...). Entries of a scalar's code see earlier ones as `%n` and numbers of
 * the caller, or scalars before it, as `@name`. Throws `InputError` where one is missing.
 */
export function hostScalars(entry: Entry, given: Readonly<Record<string, Values | number>>): Map<string, number> {
  const out = new Map<string, number>();
  for (const scalar of entry.scalars) {
    const value = evaluateScalar(scalar.code, (name) => {
      const found = out.get(name) ?? given[name];
      if (typeof found !== "number")
        throw new InputError("P0801", `${entry.name} needs the number \`${name}\` to compute \`${scalar.name}\``);
      return found;
    });
    out.set(scalar.name, scalar.dtype === "f32" ? value : Math.trunc(value));
  }
  return out;
}

/**
 * Computes a host step. `values`: one an operand, with its place, and only looked at; gives one array a result, in the result's storage type. Rows that need
 * no f64 compute on the values as they lie there, into `places` (of the results), if there are any: what is given is then those.
 */
export function runHostStep(
  step: HostStep,
  operands: readonly { placed: Placed; values: Values }[],
  results: readonly Placed[],
  places?: readonly Values[],
): Values[] {
  const { direct } = row(step.host);
  if (direct !== undefined)
    return results.map(({ bytes }, i) => {
      const into = (places?.[i] as Int32Array | undefined) ?? new Int32Array(bytes / 4);
      direct(
        operands.map((o) => o.values),
        step.attrs as Node["attrs"],
        into,
      );
      return into;
    });
  const inputs = operands.map(({ placed, values }) => tensor(placed.dtype, placed.shape, Float64Array.from(values)));
  return results.map((result) => {
    const node: Node = {
      ...nowhere,
      op: step.host,
      attrs: step.attrs as Node["attrs"],
      type: { dtype: result.dtype as DType, shape: result.shape },
    };
    const value = row(step.host).eval(inputs, node.attrs, node);
    return arrayOf(result.dtype, value.data);
  });
}

/** Numbers in the array that memory holds them in: booleans and integers as i32. */
export const arrayOf = (dtype: StorageType, data: ArrayLike<number>): Values =>
  dtype === "f32" ? Float32Array.from(data) : Int32Array.from(data);
