import type { Command } from "commander";
import type { Project } from "../../compiler/project.ts";
import { type Difference, DTYPES, type MergeOptions, mergingText, requirePlace, type Stored, writeMerged } from "../../exchange/merge.ts";
import type { FloatDType } from "../../formats/config.ts";
import { useAdapter } from "../../train/run/restore.ts";
import type { Loss } from "../../train/run/rounding.ts";
import { asksToCombine, type CombinationOptions, combinationOf, combining } from "../combination.ts";
import { type CommonOptions, collect, common, Session, wholeNumber } from "../context.ts";
import { line, Usage } from "../errors.ts";
import type { Io } from "../io.ts";
import { table } from "../table.ts";

interface MergeCommand extends CommonOptions, CombinationOptions {
  readonly seed?: string;
  readonly adapter: readonly string[];
  readonly output: string;
  readonly model?: string;
  readonly dtype?: string;
  readonly rounding: string;
  readonly force?: boolean;
}

/** `merge`: a model with its adapter in its weights, as a folder that transformers reads. */
export function merge(program: Command, io: Io): void {
  combining(common(program.command("merge").argument("<file>", "a .peft file that attaches something to a model")))
    .description("fold an adapter into its model's weights, say what rounding loses of it, and write a transformers folder")
    .requiredOption("--output <dir>", "folder for the merged model")
    .option("--adapter <dir>", "an adapter's folder, or a run's (default: the newest result); several are combined", collect, [])
    .option("--model <name>", "which model of the file (default: the last one with attachments)")
    .option("--dtype <type>", "f32, bf16 or f16 (default: as the model's folder says)")
    .option("--rounding <way>", "nearest, or stochastic: keeps small changes on average; --seed draws others", "nearest")
    .option("--force", "put it in the place of a model that is there, when it is whole")
    .addHelpText(
      "after",
      "\nExample:\n  peftc merge specs/examples/quickstart.peft --adapter my-adapter --output merged --dtype bf16\n  peftc merge my.peft --adapter a --adapter b --combine ties --density 0.5 --weights 0.7,0.3 --output merged\n",
    )
    .action(async (file: string, options: MergeCommand) => {
      const session = new Session(io, options);
      const { files } = session.workspace;
      if (!["nearest", "stochastic"].includes(options.rounding))
        throw new Usage(`--rounding ${options.rounding}: there is no such way`, ["the ways are: nearest, stochastic"]);
      const dtype = options.dtype;
      if (dtype !== undefined && !isDType(dtype))
        throw new Usage(`--dtype ${dtype}: there is no such type`, [`the types are: ${Object.keys(DTYPES).join(", ")}`]);
      requirePlace(files, options);
      const several = options.adapter.length > 1 || asksToCombine(options);
      if (several && options.adapter.length === 0) throw new Usage("nothing to combine", ["name the adapters: --adapter a --adapter b"]);
      if (!several && options.rank !== undefined) throw new Usage("--rank is that of several adapters together");
      const wanted: MergeOptions = {
        output: options.output,
        adapters: options.adapter,
        combination: several ? combinationOf(options, options.adapter.length) : undefined,
        model: options.model,
        dtype,
        rounding: options.rounding === "stochastic" ? "stochastic" : "nearest",
        seed: options.seed === undefined ? 0 : wholeNumber("--seed", options.seed),
      };
      let names: { of: string; to: string } | undefined;
      const project = session.open(file, (p) => {
        const merging = mergingText(p, files, session.source(file)!, wanted) ?? nothing(p, file, options.model, several);
        names = merging.names;
        return merging.text;
      });
      const host = session.host(project, await session.engine());
      if (!several)
        session.display.listen({ event: "note", message: await useAdapter(host, session.workspace.sources, options.adapter[0]) });
      const {
        dtype: type,
        logits,
        ...losses
      } = await writeMerged(host, files, names!, wanted, (merged) => session.display.listen({ event: "merged", ...merged }));
      if (session.json)
        io.out(line({ event: "merge", file, output: options.output, dtype: type, rounding: options.rounding, ...losses, logits }));
      else io.out(text(options, type, losses, logits));
    });
}

const isDType = (name: string): name is keyof typeof DTYPES => Object.hasOwn(DTYPES, name);

/** Why there is nothing to merge. */
function nothing(project: Project, file: string, model: string | undefined, several: boolean): never {
  if (several)
    throw new Usage(`${file} loads no ${model === undefined ? "model" : `model \`${model}\``} from a folder for the adapters to go on`);
  if (model !== undefined)
    throw new Usage(`--model ${model}: ${file} has no such model`, [`it has: ${project.models.map((m) => m.name).join(", ")}`]);
  throw new Usage(`${file} attaches nothing to a model, so there is nothing to merge`);
}

const percent = (x: number): string => `${(100 * x).toPrecision(2)} %`;
/** Shown of many parameters: those that lose most. */
const SHOWN = 12;
/** A share of the change that is worth a warning. */
const MUCH = 0.1;

function text(options: MergeCommand, dtype: FloatDType, { parameters, all }: Stored, logits: Difference): string {
  const type = dtype.toLowerCase();
  const most = [...parameters].sort((a, b) => b.lost - a.lost).slice(0, SHOWN);
  const row = ({ change, lost, unchanged }: Loss) => [percent(change), percent(lost), percent(unchanged)];
  const rows = [
    ["parameter", "change", `lost in ${type}`, "unchanged"],
    ...most.map((p) => [p.path, ...row(p)]),
    ...(parameters.length > most.length ? [[`… ${parameters.length - most.length} more`, "", "", ""]] : []),
    ["all", ...row(all)],
  ];
  const notes: string[] = [];
  if (all.lost > MUCH)
    notes.push(
      `${type} loses ${percent(all.lost)} of what was learned: ${options.rounding === "nearest" ? "--rounding stochastic keeps it on average, " : ""}--dtype f32 keeps it all`,
    );
  notes.push(
    `the first output on drawn inputs differs by ${logits.difference.toPrecision(2)} at most, of values up to ${logits.of.toPrecision(2)}`,
  );
  return `${options.output}: ${type}, rounded ${options.rounding === "nearest" ? "to the nearest" : "stochastically"}\n${table(rows)}${notes.map((n) => `note: ${n}\n`).join("")}`;
}
