/** Values that templates compute with, and what Python does with two of them. */

import { Environment } from "@huggingface/jinja";
import { Malformed } from "../../ir/errors.ts";

/** Values as the library computes with them. */
export interface Runtime {
  readonly type: string;
  readonly value: unknown;
  /** Of a whole number that JavaScript cannot hold. */
  written?: string;
}
type Make = new (value: unknown) => Runtime;

/** The library's classes, which it does not export. */
export const KINDS = (() => {
  const scratch = new Environment();
  const of = (name: string, value: unknown) => (scratch.set(name, value) as object).constructor as unknown as Make;
  return {
    Integer: of("a", 1),
    Float: of("b", 0.5),
    String: of("c", ""),
    Boolean: of("d", true),
    Null: of("e", null),
    Array: of("f", []),
    Object: of("g", {}),
    Function: of("h", () => 0),
  };
})();

const NUMBERS = ["IntegerValue", "FloatValue", "BooleanValue"];
const LISTS = ["ArrayValue", "TupleValue"];
/** What Python calls them. */
const NAMES: Readonly<Record<string, string>> = {
  StringValue: "str",
  IntegerValue: "int",
  FloatValue: "float",
  BooleanValue: "bool",
  NullValue: "NoneType",
  ArrayValue: "list",
  TupleValue: "tuple",
  ObjectValue: "dict",
  UndefinedValue: "Undefined",
};

/** Python's `==`. */
export function equal(a: Runtime, b: Runtime): boolean {
  if (NUMBERS.includes(a.type) && NUMBERS.includes(b.type)) {
    if (a.written !== undefined && b.written !== undefined) return a.written === b.written;
    return Number(a.value) === Number(b.value);
  }
  if (a.type !== b.type) return false;
  if (LISTS.includes(a.type)) {
    const [x, y] = [a.value as readonly Runtime[], b.value as readonly Runtime[]];
    return x.length === y.length && x.every((item, i) => equal(item, y[i]));
  }
  if (a.type === "ObjectValue") {
    const [x, y] = [a.value as ReadonlyMap<string, Runtime>, b.value as ReadonlyMap<string, Runtime>];
    return x.size === y.size && [...x].every(([name, inner]) => y.has(name) && equal(inner, y.get(name)!));
  }
  return a.value === b.value;
}

/** Python's `+`. Throws `Malformed` for two that it has no sum of. */
export function added(a: Runtime, b: Runtime): Runtime {
  if (a.type === "StringValue" && b.type === "StringValue") return new KINDS.String(`${a.value}${b.value}`);
  if (NUMBERS.includes(a.type) && NUMBERS.includes(b.type)) {
    const sum = Number(a.value) + Number(b.value);
    return [a, b].some(({ type }) => type === "FloatValue") ? new KINDS.Float(sum) : new KINDS.Integer(sum);
  }
  if (a.type === "ArrayValue" && b.type === "ArrayValue")
    return new KINDS.Array([...(a.value as readonly Runtime[]), ...(b.value as readonly Runtime[])]);
  const name = ({ type }: Runtime) => NAMES[type] ?? type;
  throw new Malformed(`\`+\` of ${name(a)} and ${name(b)}`);
}
