import type { Command } from "commander";
import { type Conversion, type ConvertOptions, convertFolder, isModelForGguf, LAYOUTS, type Layout } from "../../exchange/convert.ts";
import { GGUF_TYPES, type GgufType } from "../../formats/gguf-blocks.ts";
import type { Workspace } from "../../node/workspace.ts";
import { asksToCombine, type CombinationOptions, combinationOf, combining } from "../combination.ts";
import { collect, common, Session } from "../context.ts";
import { line, Usage } from "../errors.ts";
import type { Io } from "../io.ts";
import { table } from "../table.ts";

interface ConvertCommand extends CombinationOptions {
  readonly json?: boolean;
  readonly to: string;
  readonly with: readonly string[];
  readonly toLora?: string;
  readonly type?: string;
  readonly output: string;
  readonly base?: string;
  readonly force?: boolean;
}

const layouts = LAYOUTS.join(", ");
const isLayout = (name: string): name is Layout => (LAYOUTS as readonly string[]).includes(name);

function rankOf(text: string): number {
  const [, digits] = /^(?:rank=)?(\d+)$/.exec(text) ?? [];
  if (digits === undefined || Number(digits) < 1) throw new Usage(`--to-lora ${text}: a rank is wanted`, ["--to-lora rank=16"]);
  return Number(digits);
}

/** The options as the library takes them. Throws `Usage` where they do not go together. */
function optionsOf(workspace: Workspace, folder: string, options: ConvertCommand): ConvertOptions {
  const { to, type, toLora: wanted, with: others, output, base, force } = options;
  if (!isLayout(to)) throw new Usage(`--to ${to}: there is no such layout`, [`the layouts are: ${layouts}`]);
  const combines = others.length > 0 || asksToCombine(options);
  if (wanted !== undefined || combines) {
    if (wanted !== undefined && combines)
      throw new Usage("--to-lora takes one adapter or model", ["combine first, then approximate what comes of it"]);
    if (wanted === undefined && others.length === 0) throw new Usage("nothing to combine it with", ["--with names another adapter"]);
    if (to === "bank") throw new Usage("--to bank takes a folder of adapters as they are");
    const more = wanted === undefined ? { combination: combinationOf(options, others.length + 1) } : { toLora: rankOf(wanted) };
    return { to, output, base, force, with: others, ...more };
  }
  if (isModelForGguf(workspace, folder, to)) {
    if (type !== undefined && !isGgufType(type))
      throw new Usage(`--type ${type}: there is no such type`, [`the types are: ${Object.keys(GGUF_TYPES).join(", ")}`]);
    return { to, output, force, type };
  }
  if (type !== undefined) throw new Usage("--type is that of a whole model's weights in GGUF");
  return { to, output, base, force };
}
const isGgufType = (name: string): name is GgufType => Object.hasOwn(GGUF_TYPES, name);

/** What is said of it, in JSON and to people. */
function told(folder: string, { to, type = "f16", with: others }: ConvertCommand, made: Conversion): { json: object; text: string } {
  const { output, parts = [] } = made;
  const json = { event: "convert", adapter: folder, to };
  const percent = (x: number) => `${(100 * x).toPrecision(3)} %`;
  switch (made.kind) {
    case "model":
      return {
        json: { event: "convert", model: folder, to, type, output, tensors: made.tensors },
        text: `wrote ${output}: ${made.tensors} tensors, matrices in ${type}\n`,
      };
    case "combined":
      return { json: { ...json, output, with: others }, text: `wrote ${output}\n` };
    case "lora": {
      const { places, error, whole } = made.lora!;
      return {
        json: { ...json, output, error, places, whole },
        text: [
          table([["weight", "change", "of it lost"], ...places.map((p) => [p.path, percent(p.change), percent(p.error)])]),
          `in all ${percent(error)} of the change is lost (the norm of what is left out over that of the change)\n`,
          ...whole.map((path) => `\`${path}\` is saved whole\n`),
          `wrote ${output}\n`,
        ].join(""),
      };
    }
    case "stack":
      return { json: { ...json, output }, text: `wrote ${output}: ${parts.join(", ")}, one on top of the other\n` };
    case "bank":
      return {
        json: { ...json, rows: parts, output },
        text: `${parts.map((part, i) => `${i} is ${part}\n`).join("")}wrote ${output}\n`,
      };
    case "adapter":
      return { json: { ...json, output }, text: `wrote ${output}\n` };
  }
}

/** `convert`: an adapter in another tool's layout. */
export function convert(program: Command, io: Io): void {
  const command = common(
    program
      .command("convert")
      .argument(
        "<adapter>",
        "an adapter's folder: PEFT's, adapters', mlx-lm's or our own layout; with --to gguf or --to-lora also a model's",
      ),
    {
      compiles: false,
      runs: false,
    },
  );
  combining(command)
    .description("write an adapter in the layout of another tool: peft, adapters, mlx, gguf (llama.cpp) or peftc")
    .option("--to <layout>", `one of ${layouts}; bank: the adapters in a folder's folders as the rows of one LoRABank`, "peft")
    .option("--with <dir>", "another adapter of the same base, to be combined with it (may be repeated)", collect, [])
    .option("--seed <number>", "of dare: draws others")
    .option(
      "--to-lora <rank=N>",
      "what it does to the base's weights as a LoRA of this rank, the nearest; also of a whole model, beside its --base",
    )
    .requiredOption("--output <dir>", "folder to write (for gguf also a file that ends so)")
    .option("--type <name>", `of a whole model in GGUF: ${Object.keys(GGUF_TYPES).join(", ")} (default: f16)`)
    .option("--base <dir>", "the adapter's base model (default: where the adapter says)")
    .option("--force", "put it in the place of what is there, when it is whole")
    .addHelpText(
      "after",
      "\nExample:\n  peftc convert my-adapter --to gguf --output my-adapter.gguf --base models/llama\n  peftc convert a --with b --combine ties --weights 0.7,0.3 --density 0.5 --output both\n  peftc convert my-oft --to-lora rank=16 --output my-lora\n",
    )
    .action((folder: string, options: ConvertCommand) => {
      const session = new Session(io, options, true);
      const made = convertFolder(session.workspace, folder, optionsOf(session.workspace, folder, options));
      const { json, text } = told(folder, options, made);
      io.out(session.json ? line(json) : text);
    });
}
