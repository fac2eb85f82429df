/** Parameters and states of a program, for sessions: where each lies, and whether it may be written and read. */
import type { Placed, Program } from "../ground/program.ts";
import type { HalfFormat } from "../ground/weights.ts";
import { InputError } from "../ir/errors.ts";
import { type Loads, requireLength } from "./loads.ts";

type Kind = "param" | "state";

/** P0801: there is none of that name. */
function placeOf(program: Program, kind: Kind, name: string): Placed {
  const table = kind === "param" ? program.params : program.states;
  if (!Object.hasOwn(table, name)) throw new InputError("P0801", `the program has no ${kind} ${name}`);
  return program.tensors[table[name]];
}

/** Where `length` numbers go, in which format where that is one of 16 bits, and whether that is the place of a piece. P0801: there is none of that name, or it has another size. */
export function placeToWrite(
  program: Program,
  loads: Loads,
  kind: Kind,
  name: string,
  length: number,
): { readonly placed: Placed; readonly format: HalfFormat | undefined; readonly pieces: boolean } {
  const placed = placeOf(program, kind, name);
  const format = kind === "param" ? program.halves?.[name] : undefined;
  const pieces = kind === "param" && loads.inPieces(name);
  requireLength(kind, name, placed, length, format !== undefined, pieces);
  return { placed, format, pieces };
}

/** P0801: there is none of that name, or it is not kept as it was written. */
export function placeToRead(program: Program, loads: Loads, kind: Kind, name: string): Placed {
  const placed = placeOf(program, kind, name);
  if (kind === "param" && (loads.takes(name) || program.halves?.[name] !== undefined))
    throw new InputError("P0801", `the parameter ${name} is not kept, only what is computed from it`);
  return placed;
}
