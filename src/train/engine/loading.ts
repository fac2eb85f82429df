/** Weights on their way to a device, with word of how far they are. */

import type { Program, Session } from "../../ground/program.ts";
import type { Weights } from "../../ground/weights.ts";
import { InputError } from "../../ir/errors.ts";
import type { Listen } from "../events.ts";
import type { ValueStore } from "../values.ts";

interface LoadingOptions {
  readonly values: ValueStore;
  readonly stage: string;
  readonly listen: Listen;
  /** Parameters that are not to be loaded: somebody else writes them. */
  readonly without?: (name: string) => boolean;
}

/** Models with fewer parameters are loaded before anyone could read how far they are. */
const MANY = 1 << 25;
/** How often it is told. */
const TIMES = 20;

/** Writes every parameter of a program from where it lies; what a file holds goes from there to its place a piece at a time. */
export async function loadParams(session: Session, program: Program, { values, stage, listen, without }: LoadingOptions): Promise<void> {
  const names = Object.keys(program.params).filter((name) => without?.(name) !== true);
  /** It stays in its file, and is read in each run. */
  const stays = (name: string) => program.tensors[program.params[name]].arena === "file";
  const total = names.reduce((sum, name) => sum + (stays(name) ? 0 : values.count(name)), 0);
  let done = 0;
  let told = 0;
  const passed = (count: number) => {
    done += count;
    if (total < MANY || (done - told) * TIMES < total) return;
    told = done;
    listen({ event: "loading", stage, parameters: done, of: total });
  };
  for (const name of names) {
    const weights = values.weights(name);
    await session.write("param", name, stays(name) ? unchanged(weights, name, values) : counted(weights, passed));
  }
}

/** Weights that are read while a run goes on: from a large file, only as long as it is the one that the run began with. */
function unchanged(weights: Weights, name: string, values: ValueStore): Weights {
  const before = values.stamp(name);
  const check = () => {
    if (values.stamp(name) === before) return;
    throw new InputError("P0684", `the file that holds \`${name}\` was changed while a run reads from it`, [
      "put it back and `--resume`: the checkpoints of the run are of the weights it had",
    ]);
  };
  return {
    length: weights.length,
    fill: async (into, at) => {
      check();
      await weights.fill(into, at);
    },
    fillWords: async (into, at, format) => {
      check();
      await weights.fillWords(into, at, format);
    },
  };
}

/** Numbers that are read a second time, since a last piece begins before the end of the one before, count once. */
function counted(weights: Weights, passed: (count: number) => void): Weights {
  let reached = 0;
  const upTo = (end: number) => {
    if (end > reached) passed(end - reached);
    reached = Math.max(reached, end);
  };
  return {
    length: weights.length,
    fill: async (into, at) => {
      await weights.fill(into, at);
      upTo(at + into.length);
    },
    fillWords: async (into, at, format) => {
      await weights.fillWords(into, at, format);
      upTo(at + into.length);
    },
  };
}
