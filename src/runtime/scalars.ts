/**
 * Scalars of a step, computed on the host in f64: learning rates, bias corrections. The code is that of `HostScalar`; an op whose operands
 * are i32 and that must wrap or truncate says so in its name (`mul.i32`), a cast says to what (`cast.i32`).
 */

import type { HostScalar } from "../ground/program.ts";
import { Bug } from "../ir/errors.ts";
import { functions } from "../ir/ops/functions.ts";
import { operators, type Scalar } from "../ir/ops/scalar.ts";

const computed: { readonly [name: string]: Scalar["of"] | undefined } = {
  ...Object.fromEntries([...Object.entries(functions), ...Object.entries(operators)].map(([name, { of }]) => [name, of])),
  "cast.f32": (a) => a,
  "cast.i32": (a) => Math.trunc(a) | 0,
  "cast.bool": (a) => (a !== 0 ? 1 : 0),
  "mul.i32": Math.imul,
};
const WRAPPED = ".i32";

/** The value of one scalar. `named` gives what `"@name"` stands for. Throws `Bug` on a function that does not exist. */
export function evaluateScalar(code: HostScalar["code"], named: (name: string) => number): number {
  const values: number[] = [];
  const read = (a: string | number): number => {
    if (typeof a === "number") return a;
    return a[0] === "%" ? values[Number(a.slice(1))] : a[0] === "@" ? named(a.slice(1)) : Number(a);
  };
  for (const [op, ...args] of code) {
    const name = String(op);
    const wraps = !(name in computed) && name.endsWith(WRAPPED);
    const f = computed[wraps ? name.slice(0, -WRAPPED.length) : name];
    if (!f) throw new Bug(`the host computes no ${name}`);
    const [a, b, c] = args.map(read);
    const value = f(a, b, c);
    values.push(wraps ? value | 0 : value);
  }
  return values[values.length - 1];
}

/** All scalars by name; later ones may name earlier ones. `given`: the numbers of the step (`step`, `steps`). Throws `Bug` on a name without a value. */
export function evaluateScalars(scalars: readonly HostScalar[], given: Readonly<Record<string, number>>): Record<string, number> {
  const out: Record<string, number> = {};
  for (const scalar of scalars)
    out[scalar.name] = evaluateScalar(scalar.code, (name) => {
      const value = out[name] ?? given[name];
      if (value === undefined) throw new Bug(`the scalar ${scalar.name} needs the number ${name}`);
      return value;
    });
  return out;
}
