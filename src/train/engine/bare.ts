/** Programs of engines that print no kernels: what runs them is held beside them. */
import type { Program } from "../../ground/program.ts";

interface Bare extends Pick<Program, "target" | "arithmetic" | "arenas" | "tensors" | "params" | "states"> {
  readonly entries: readonly { readonly name: string; readonly inputs: readonly string[]; readonly outputs: readonly string[] }[];
}

export const bareProgram = ({ entries, ...rest }: Bare): Program => ({
  format: "peftc-program",
  version: 1,
  ...rest,
  kernels: [],
  entries: entries.map((entry) => ({ ...entry, steps: [], scalars: [] })),
  inputs: {},
  outputs: {},
  constants: [],
});
