import type { Command } from "commander";
import { useAdapter } from "../../train/run/restore.ts";
import { evaluateAll } from "../../train/stages/predict.ts";
import { type CommonOptions, common, Session } from "../context.ts";
import { Usage } from "../errors.ts";
import type { Io } from "../io.ts";

interface EvalCommand extends CommonOptions {
  readonly adapter?: string;
}

/** `eval`: the metrics of the file's `evaluate` stages, and of the held data of its `train` stages. */
export function evaluate(program: Command, io: Io): void {
  common(program.command("eval").argument("<file>", "a .peft file"))
    .description("evaluate on held data: with --adapter, else the newest result, else the base")
    .option("--adapter <dir>", "an adapter's folder, or a run's")
    .addHelpText("after", "\nExample:\n  peftc eval specs/examples/quickstart.peft --adapter my-adapter\n")
    .action(async (file: string, options: EvalCommand) => {
      const session = new Session(io, options);
      const project = session.open(file, undefined, options.adapter);
      const host = session.host(project, await session.engine());
      const results = await session.interruptible(async () => {
        session.display.listen({ event: "note", message: await useAdapter(host, session.workspace.sources, options.adapter) });
        return evaluateAll(host);
      });
      if (results.length === 0)
        throw new Usage(`${file} has nothing to evaluate`, ["add `evaluate { ... }`, or a `split:` to the data of `train`"]);
      for (const { stage, metrics } of results) {
        if (!session.json)
          io.out(
            `${stage}: ${Object.entries(metrics)
              .map(([name, value]) => `${name} ${Number(value.toPrecision(6))}`)
              .join("  ")}\n`,
          );
      }
    });
}
