/** Where a run goes on: the newest checkpoint that is whole and of this run, and what is said about it. */
import type { TrainStage } from "../../compiler/project.ts";
import { InputError } from "../../ir/errors.ts";
import type { RunHost } from "../host.ts";
import { type Checkpoint, listCheckpoints, readCheckpoint } from "./checkpoint.ts";
import { isFinished } from "./folders.ts";
import { changesHands, type Identity, requireSame } from "./identity.ts";

/**
 * The newest whole checkpoint in a folder; `undefined` where there is none at all. Damaged ones are named and passed over. P0824: all are damaged.
 */
export function newestWhole(host: Pick<RunHost, "files" | "listen">, folder: string): Checkpoint | undefined {
  const steps = listCheckpoints(host.files, folder);
  const damaged: InputError[] = [];
  for (const step of steps) {
    try {
      const found = readCheckpoint(host.files, folder, step);
      for (const { code, message, notes } of damaged)
        host.listen({
          event: "problem",
          problem: { code, severity: "warning", message, span: undefined, notes: [...notes, `\`${found.folder}\` is used in its place`] },
        });
      return found;
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      damaged.push(error);
    }
  }
  if (damaged.length === 0) return undefined;
  const [first] = damaged;
  throw new InputError("P0824", first.message, [
    ...(damaged.length > 1 ? [`nor can the ${damaged.length - 1} older ones be used`] : []),
    "start afresh in another folder, or put the checkpoint back from a copy",
  ]);
}

/** The checkpoint that a stage goes on from; `total`: the steps it is to make in all. P0823: it is another run's. */
export function findCheckpoint(
  stage: TrainStage,
  host: RunHost,
  folder: string,
  identity: Identity,
  total: number,
): Checkpoint | undefined {
  const checkpoint = newestWhole(host, folder);
  if (checkpoint === undefined) {
    host.listen({ event: "resume", stage: stage.name, step: 0, from: null });
    return undefined;
  }
  const before = Number(checkpoint.identity.settings.steps);
  const longer = total > before && (checkpoint.progress.step >= before || isFinished(host.files, folder));
  const mine = longer ? withSteps(identity, before) : identity;
  const moved = changesHands(checkpoint.identity, mine);
  requireSame(checkpoint.folder, checkpoint.identity, moved ? { ...mine, arithmetic: checkpoint.identity.arithmetic } : mine);
  if (moved)
    host.listen({
      event: "note",
      message: `the checkpoint was made by ${checkpoint.identity.arithmetic}, and ${mine.arithmetic} goes on: numbers are rounded otherwise from here on`,
    });
  if (longer)
    host.listen({
      event: "note",
      message: `stage \`${stage.name}\` was finished after ${before} steps and goes on to ${total}: its schedule is now that of ${total} steps, from step ${checkpoint.progress.step + 1} on`,
    });
  host.listen({ event: "resume", stage: stage.name, step: checkpoint.progress.step, from: checkpoint.folder });
  return checkpoint;
}

const withSteps = (identity: Identity, steps: number): Identity => ({
  ...identity,
  settings: { ...identity.settings, steps: String(steps) },
});
