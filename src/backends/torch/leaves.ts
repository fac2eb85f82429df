/** What an entry reads, as `program.json` says it. */
import { symbolsOf } from "../../ir/dim.ts";
import type { Node } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { HOST_INPUTS } from "./around.ts";

export interface InputSlot {
  readonly name: string;
  readonly dtype: string;
  /** Whether its leading axis is that of the rows of a batch. */
  readonly rows: boolean;
  /** Whether it is a Python number. */
  readonly number: boolean;
  /** −1: known when it runs. */
  readonly shape: readonly number[];
}

export function inputOf(n: Node, batch?: string): InputSlot {
  const { dtype, shape } = n.type;
  return {
    name: String(n.attrs.name),
    dtype,
    rows: batch !== undefined && shape.length > 0 && symbolsOf(shape[0]).includes(batch),
    number: HOST_INPUTS.has(String(n.attrs.name)) && shape.length === 0,
    shape: shape.map((d) => (typeof d === "number" ? d : -1)),
  };
}
/** `param:...` or `state:...`. */
export function slotOf(n: Node): string | undefined {
  const { supply } = rowOf(n);
  return supply === "param" || supply === "state" ? `${supply}:${String(n.attrs.name)}` : undefined;
}
