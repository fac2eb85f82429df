/** `plan --on torch`: what each process takes, and what they send each other. */
import { printTorch } from "../../backends/torch/program.ts";
import type { TrainStage } from "../../compiler/project.ts";
import { type Across, acrossOf } from "../../train/across.ts";
import { showBytes } from "../../train/budget.ts";
import type { RunHost } from "../../train/host.ts";
import { layTrain } from "../../train/train.ts";
import { type Elsewhere, placeElsewhere } from "../context.ts";
import { grouped, table } from "../table.ts";

interface AcrossFacts extends Across {
  readonly stage: string;
  readonly processes: number;
  readonly shard: "ddp" | "fsdp";
  readonly recompute: boolean;
}

/** Needs no Python. */
export async function planAcross(stage: TrainStage, host: Pick<RunHost, "table">, options: Elsewhere): Promise<AcrossFacts> {
  const { processes, shard, recompute } = placeElsewhere(options);
  const laid = await layTrain(stage, { table: host.table, engine: { splits: processes > 1 } });
  const across = acrossOf(printTorch(laid.points), laid.points, { processes, shard, recompute, parts: laid.accumulate, rows: laid.batch });
  return { stage: stage.name, processes, shard, recompute, ...across };
}

export function acrossText({ stage, processes, shard, recompute, memory, collectives, sent }: AcrossFacts): string {
  const line = (name: string, bytes: number) => [name, showBytes(bytes), grouped(bytes)];
  return `${stage} on torch, ${processes} ${processes === 1 ? "process" : `processes, ${shard}`}${recompute ? ", layers recomputed" : ""}\nmemory of a process\n${table(
    [
      line("parameters", memory.parameters),
      line("gradients", memory.gradients),
      line("states", memory.states),
      ...(memory.gathered > 0 ? [line("layers put together", memory.gathered)] : []),
      line("activations, at most", memory.activations),
      line("in all, at most", memory.total),
    ],
  )}sent by a process in an update\n${table([
    line("given to gather", collectives.gathered),
    line("given to scatter", collectives.scattered),
    line("given to sum", collectives.summed),
    line("sent, by rings", sent),
  ])}`;
}
