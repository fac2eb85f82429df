import type { Command } from "commander";
import type { GenerateStage } from "../../compiler/project.ts";
import { promptsOf } from "../../train/data/data.ts";
import { dropSessions } from "../../train/engine/kept.ts";
import { useAdapter } from "../../train/run/restore.ts";
import { tokenizerOf } from "../../train/run/run.ts";
import { generate as generateTexts, type Prompt } from "../../train/stages/generate.ts";
import { stagesOf } from "../../train/stages/stages.ts";
import { type CommonOptions, common, realNumber, Session, wholeNumber } from "../context.ts";
import { Usage } from "../errors.ts";
import type { Io } from "../io.ts";

interface GenerateCommand extends CommonOptions {
  readonly adapter?: string;
  readonly prompt?: readonly string[];
  readonly column?: readonly string[];
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
    .option("--prompt <text>", "a prompt, instead of the stage's (may be repeated)", listed)
    .option(
      "--column <name=n>",
      "a column that a method asks for, of every prompt; numbers with commas make a list (may be repeated)",
      listed,
    )
    .option("--max-tokens <n>", "tokens to write at most")
    .option("--temperature <t>", "0: always the likeliest token")
    .option("--top-p <p>", "choose among the likeliest tokens that make up this share")
    .option("--samples <n>", "texts for each prompt")
    .addHelpText("after", '\nExample:\n  peftc generate specs/examples/quickstart.peft --prompt "The " --temperature 0.8 --seed 3\n')
    .action(async (file: string, options: GenerateCommand) => {
      const session = new Session(io, options);
      const project = session.open(
        file,
        (project) => {
          const model = project.models.at(-1)?.name;
          const generates = stagesOf(project).some((s) => s.verb === "generate");
          return generates || model === undefined ? undefined : `generate { model = ${model}  prompts = [""] }`;
        },
        options.adapter,
      );
      const stage = withOptions(
        stagesOf(project)
          .filter((s) => s.verb === "generate")
          .at(-1)!,
        options,
      );
      const host = session.host(project, await session.engine());
      const samples = await session
        .interruptible(async () => {
          session.display.listen({ event: "note", message: await useAdapter(host, session.workspace.sources, options.adapter) });
          const prompts = await promptsFor(stage, options, (s) => host.prompts(s));
          return generateTexts(stage, host, tokenizerOf(stage, host), undefined, prompts);
        })
        .finally(() => dropSessions(host.values));
      if (!session.json) for (const { prompt, text } of samples) (io.asIs ?? io.out)(`${prompt}${text}\n`);
    });
}

const listed = (text: string, before: readonly string[] = []): string[] => [...before, text];

/** The stage's prompts, or those of the command line, which may bring columns for all of them. */
async function promptsFor(
  stage: GenerateStage,
  { prompt, column }: GenerateCommand,
  made: (stage: GenerateStage) => Promise<readonly Prompt[]>,
): Promise<readonly Prompt[]> {
  const columns = Object.fromEntries((column ?? []).map(columnOf));
  if (prompt !== undefined) return promptsOf(prompt.map((text) => ({ text, columns })));
  if (column === undefined) return made(stage);
  if (stage.prompts === undefined) throw new Usage("--column goes with --prompt, or with a stage that has `prompts`");
  return promptsOf(stage.prompts.map((own) => ({ ...own, columns: { ...own.columns, ...columns } })));
}
function columnOf(text: string): [string, number | number[]] {
  const [, name, values] = /^([A-Za-z_]\w*)=(.+)$/.exec(text) ?? [];
  const numbers = values?.split(",").map((x) => (x.trim() === "" ? Number.NaN : Number(x)));
  if (name === undefined || numbers === undefined || !numbers.every(Number.isFinite))
    throw new Usage(`--column ${text}: a name and a number are wanted`, ["such as --column adapter=1"]);
  return [name, numbers.length === 1 ? numbers[0] : numbers];
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
