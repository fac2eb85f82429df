/** `plan --on torch`: what each process takes, and what they send each other. */
import { printTorch } from "../../backends/torch/program.ts";
import type { TrainStage } from "../../compiler/project.ts";
import { budgetOf, showBytes } from "../../train/engine/budget.ts";
import type { RunHost } from "../../train/host.ts";
import { type Across, fitAcross, requireForward, splitsOf } from "../../train/run/across.ts";
import { layTrain } from "../../train/stages/train.ts";
import { type Elsewhere, placeElsewhere } from "../context.ts";
import { grouped, table } from "../table.ts";

interface AcrossFacts extends Across {
  readonly stage: string;
  readonly processes: number;
  readonly shard: "ddp" | "fsdp";
  readonly recompute: boolean;
  /** Where the stage's `memory` is not enough: what it takes at least. */
  readonly smallest?: number;
}

/** Needs no Python. */
export async function planAcross(
  stage: TrainStage,
  host: Pick<RunHost, "table">,
  options: Elsewhere,
  memory: number,
): Promise<AcrossFacts> {
  const { processes: each, nodes, shard, recompute: asked } = placeElsewhere(options);
  const processes = each * nodes.count;
  requireForward(stage.reverse);
  const laid = await layTrain(stage, { table: host.table, engine: { splits: splitsOf(processes) } });
  const way = { processes, shard, recompute: asked, parts: laid.accumulate };
  const { across, recompute, smallest } = fitAcross(printTorch(laid.points), laid.points, way, budgetOf(stage, { memory }));
  return { stage: stage.name, processes, shard, recompute, ...(smallest !== undefined && { smallest }), ...across };
}

export function acrossText({ stage, processes, shard, recompute, smallest, memory, collectives, sent }: AcrossFacts): string {
  const line = (name: string, bytes: number) => [name, showBytes(bytes), grouped(bytes)];
  return `${stage} on torch, ${processes} ${processes === 1 ? "process" : `processes, ${shard}`}${recompute ? ", layers recomputed" : ""}\nmemory of a process\n${table(
    [
      line("parameters", memory.parameters),
      line("gradients", memory.gradients),
      line("states", memory.states),
      ...(memory.gathered > 0 ? [line("layers put together", memory.gathered)] : []),
      line("activations, at most", memory.activations),
      line("in all, at most", memory.total),
      ...(smallest !== undefined ? [line("more than `memory`; the least with layers recomputed", smallest)] : []),
    ],
  )}sent by a process in a step\n${table([
    line("given to gather", collectives.gathered),
    line("given to scatter", collectives.scattered),
    line("given to sum", collectives.summed),
    line("sent, by rings", sent),
  ])}`;
}
