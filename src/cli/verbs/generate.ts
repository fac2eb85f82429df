import type { Command } from "commander";
import type { GenerateStage } from "../../compiler/project.ts";
import { generate as generateTexts } from "../../train/generate.ts";
import { useAdapter } from "../../train/restore.ts";
import { stagesOf, tokenizerOf } from "../../train/run.ts";
import { type CommonOptions, common, realNumber, Session, wholeNumber } from "../context.ts";
import type { Io } from "../io.ts";

interface GenerateCommand extends CommonOptions {
  readonly adapter?: string;
  readonly prompt?: readonly string[];
  readonly maxTokens?: string;
  readonly temperature?: string;
  readonly topP?: string;
  readonly samples?: string;
}

/** `generate`: texts from the file's last `generate` stage; a file without one gets one for its last model. */
export function generate(program: Command, io: Io): void {
  common(program.command("generate").argument("<file>", "a .peft file"))
    .description("write text: with --adapter, else the newest result, else the base")
    .option("--adapter <dir>", "an adapter's folder, or a run's")
    .option("--prompt <text>", "a prompt, instead of the stage's (may be repeated)", (text: string, before: readonly string[] = []) => [
      ...before,
      text,
    ])
    .option("--max-tokens <n>", "tokens to write at most")
    .option("--temperature <t>", "0: always the likeliest token")
    .option("--top-p <p>", "choose among the likeliest tokens that make up this share")
    .option("--samples <n>", "texts for each prompt")
    .addHelpText("after", '\nExample:\n  peftc generate specs/examples/quickstart.peft --prompt "The " --temperature 0.8 --seed 3\n')
    .action(async (file: string, options: GenerateCommand) => {
      const session = new Session(io, options);
      const project = session.open(file, (project) => {
        const model = project.models.at(-1)?.name;
        const generates = stagesOf(project).some((s) => s.verb === "generate");
        return generates || model === undefined ? undefined : `generate { model = ${model}  prompts = [""] }`;
      });
      const stage = withOptions(
        stagesOf(project)
          .filter((s) => s.verb === "generate")
          .at(-1)!,
        options,
      );
      const host = session.host(project, await session.engine());
      session.display.listen({ event: "note", message: useAdapter(host, session.workspace.sources, options.adapter) });
      const prompts = options.prompt === undefined ? await host.prompts(stage) : options.prompt.map((text) => ({ text }));
      const samples = await session.interruptible(() => generateTexts(stage, host, tokenizerOf(stage, host), undefined, prompts));
      if (!session.json) for (const { prompt, text } of samples) io.out(`${prompt}${text}\n`);
    });
}

function withOptions(stage: GenerateStage, options: GenerateCommand): GenerateStage {
  return {
    ...stage,
    maxTokens: options.maxTokens === undefined ? stage.maxTokens : wholeNumber("--max-tokens", options.maxTokens),
    temperature: options.temperature === undefined ? stage.temperature : realNumber("--temperature", options.temperature, 0),
    topP: options.topP === undefined ? stage.topP : realNumber("--top-p", options.topP, 0, 1),
    samples: options.samples === undefined ? stage.samples : wholeNumber("--samples", options.samples),
  };
}
