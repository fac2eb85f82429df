/** A scalar that the runtime computes on the host in f64 from named scalars; the same shape as `HostScalar` of the program. */
export interface HostScalar {
  readonly name: string;
  /** Each entry is [op, ...arguments]; an argument is a number, `"%3"` (an earlier entry) or `"@step"` (a named scalar). The last entry is the value. */
  readonly code: readonly (readonly (string | number)[])[];
  readonly dtype: "f32" | "i32" | "bool";
}
