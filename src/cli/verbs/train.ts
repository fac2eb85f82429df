import type { Command } from "commander";
import { writeFile } from "../../formats/files.ts";
import { Profile } from "../../train/engine/profile.ts";
import { runFile } from "../../train/run/run.ts";
import { stagesOf } from "../../train/stages/stages.ts";
import { type CommonOptions, common, type Elsewhere, elsewhere, placeElsewhere, Session } from "../context.ts";
import { line, Usage } from "../errors.ts";
import type { Io } from "../io.ts";

interface TrainCommand extends CommonOptions, Elsewhere {
  readonly output?: string;
  readonly force?: boolean;
  readonly resume?: boolean;
  readonly stage?: string;
  readonly reuse?: boolean;
  readonly profile?: string | true;
}

/** `train`: every stage of the file, in order. */
export function train(program: Command, io: Io): void {
  elsewhere(common(program.command("train").argument("<file>", "a .peft file")))
    .description("run every stage of a file, in order: train, evaluate, predict, generate, report")
    .option("--output <dir>", "folder for the result (default: runs/<file>/<stage>, numbered)")
    .option("--force", "put the new result in the place of what lies in --output or where `save` points, when it is whole")
    .option("--resume", "go on from the newest whole checkpoint")
    .option("--stage <name>", "run this stage alone and what it needs; what of that is unchanged comes from earlier runs")
    .option("--reuse", "take the results of stages that are unchanged, in settings, data, graph and weights, from earlier runs")
    .option("--profile [file]", "on WebAssembly: say where the time goes, and write a trace for Chrome or Perfetto (default: profile.json)")
    .addHelpText(
      "after",
      "\nExample:\n  peftc train specs/examples/quickstart.peft --output my-adapter --set train.steps=100\n  peftc train specs/examples/quickstart.peft --on torch --processes 2\n\nCtrl-C saves a checkpoint and ends with code 130; --resume goes on from it.\n",
    )
    .action(async (file: string, options: TrainCommand) => {
      if (options.on !== undefined && (await onNodes(file, options, io))) return;
      const session = new Session(io, options);
      if (options.force && options.resume) throw new Usage("--force starts over and --resume goes on: give one of them");
      const project = session.open(file);
      if (stagesOf(project).length === 0) throw new Usage(`${file} has no stage to run`, ["add `train { ... }`"]);
      const profile = options.profile === undefined ? undefined : new Profile();
      const host = session.host(project, await session.engine(options, profile?.take));
      await session.interruptible(() =>
        runFile(host, {
          output: options.output,
          force: options.force === true,
          resume: options.resume === true,
          reuse: options.reuse === true,
          stage: options.stage,
        }),
      );
      if (profile === undefined || options.profile === undefined) return;
      const to = options.profile === true ? "profile.json" : options.profile;
      writeFile(session.workspace.files, to, new TextEncoder().encode(profile.trace()));
      session.display.listen({ event: "profile", file: to, entries: profile.entries() });
    });
}

/** `--nodes`: what is done on other machines than the first one, and how they are started. Gives whether that is all. */
async function onNodes(file: string, options: TrainCommand, io: Io): Promise<boolean> {
  const { nodes, processes } = placeElsewhere(options);
  const { count, here } = nodes;
  if (count === 1 || here?.node === 0) return false;
  if (here === undefined) {
    const given = ["shard", "dtype", "output"] as const;
    const flags = [
      ...given.flatMap((name) => (options[name] === undefined ? [] : [`--${name} ${options[name]}`])),
      ...(["compile", "recompute", "force", "resume"] as const).flatMap((name) => (options[name] ? [`--${name}`] : [])),
      ...(options.set ?? []).map((text) => `--set '${text}'`),
    ];
    const command = (node: string, head: string) =>
      [
        `peftc train ${file} --on torch --nodes ${count} --processes ${processes}`,
        ...flags,
        `--node ${node} --rendezvous ${head}:29500`,
      ].join(" ");
    const slurm = `srun --nodes ${count} --ntasks-per-node 1 bash -c '${command("$SLURM_NODEID", "$(scontrol show hostnames $SLURM_JOB_NODELIST | head -n 1)").replaceAll("'", `'"'"'`)}'`;
    if (options.json) io.out(line({ event: "launch", command: command("N", "HOST"), slurm }));
    else
      io.out(
        `on each of ${count} machines, N being 0 to ${count - 1} and HOST machine 0:\n  ${command("N", "HOST")}\nwith SLURM:\n  ${slurm}\n`,
      );
    return true;
  }
  const { helpElsewhere } = await import("../../node/torch/engine.ts");
  if (!options.json) io.err(`machine ${here.node} of ${count}: machine 0 drives the run\n`);
  await helpElsewhere({ processes, nodes: { count, ...here } });
  return true;
}
