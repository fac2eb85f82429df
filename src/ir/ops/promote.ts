/** Which dtypes meet in which. */
import type { DType } from "../graph.ts";
import type { Op } from "./op.ts";

/** From what loses everything to what loses nothing. */
const LADDER: readonly DType[] = ["bool", "i32", "f32"];

/** The dtype two dtypes meet in: f32 over i32 over bool. */
export const promote = (a: DType, b: DType): DType => LADDER[Math.max(LADDER.indexOf(a), LADDER.indexOf(b))];

/** What operands of a dtype have to become for a row: the dtype itself or the next above that the row accepts, else the highest it does. */
export function acceptedDType(row: Op, dtype: DType): DType {
  const accepted = LADDER.filter((d) => row.accepts?.includes(d) ?? true);
  return accepted.find((d) => LADDER.indexOf(d) >= LADDER.indexOf(dtype)) ?? accepted[accepted.length - 1];
}
