import type { Command } from "commander";
import { bankOf, withoutBanks } from "../../formats/adapters/bank.ts";
import { comparePaths } from "../../formats/adapters/folder.ts";
import { encodeGguf } from "../../formats/adapters/gguf.ts";
import { encodeMlx, writeMlx } from "../../formats/adapters/mlx.ts";
import { openObjectives, writeObjectives } from "../../formats/adapters/objectives.ts";
import { type OutAdapter, Unsayable } from "../../formats/adapters/out.ts";
import { PROVENANCE_FILE, type Provenance, readProvenance, writeProvenance } from "../../formats/adapters/provenance.ts";
import { isAdapter } from "../../formats/adapters/read.ts";
import { writeStack } from "../../formats/adapters/setup.ts";
import { notLibrary } from "../../formats/adapters/verdicts.ts";
import { notPeft, writeAdapter } from "../../formats/adapters/write.ts";
import { writeLibrary } from "../../formats/adapters/write-library.ts";
import { asideOf, holdsResult, settle, written } from "../../formats/aside.ts";
import { readConfig } from "../../formats/config.ts";
import { type Files, joinPath } from "../../formats/files.ts";
import { writeGguf } from "../../formats/gguf.ts";
import { GGUF_TYPES, type GgufType } from "../../formats/gguf-blocks.ts";
import { encodeGgufModel } from "../../formats/gguf-model.ts";
import { InputError } from "../../ir/errors.ts";
import { packageVersion } from "../../node/package.ts";
import type { Workspace } from "../../node/workspace.ts";
import { collect, common, Session } from "../context.ts";
import { line, Usage } from "../errors.ts";
import { OwnPrograms } from "../exchange/base.ts";
import { asksToCombine, type CombinationOptions, combinationOf, combineCall, combining } from "../exchange/combination.ts";
import { loadOnBase } from "../exchange/loaded.ts";
import { toLora } from "../exchange/to-lora.ts";
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

interface Converted {
  /** Folder or file. */
  readonly output: string;
  /** Adapters' folders that were written. */
  readonly folders: readonly string[];
}

/** A layout: writes the adapter and gives what was written, or says why it cannot hold it. */
type Writer = (adapter: OutAdapter, output: string, workspace: Workspace) => Converted | Unsayable;

const WRITERS: Readonly<Record<string, Writer>> = {
  peft: (adapter, output, { files, sources }) => {
    const apart = withoutBanks(adapter, sources.mappings);
    if (apart !== undefined) return { output, folders: writeAdapter(files, output, apart, sources.mappings).map(({ folder }) => folder) };
    const why = notPeft(adapter, sources.mappings);
    if (why !== undefined) return new Unsayable(why);
    return { output, folders: writeAdapter(files, output, adapter, sources.mappings).map(({ folder }) => folder) };
  },
  peftc: (adapter, output, { files, sources }) => {
    return { output, folders: writeAdapter(files, output, adapter, sources.mappings, "peftc").map(({ folder }) => folder) };
  },
  adapters: (adapter, output, { files, sources }) => {
    const why = notLibrary(adapter, sources.mappings);
    if (why !== undefined) return new Unsayable(why);
    writeLibrary(files, output, adapter, sources.mappings);
    return { output, folders: [output] };
  },
  mlx: (adapter, output, { files, sources }) => {
    const encoded = encodeMlx(adapter, sources.mappings);
    if (encoded instanceof Unsayable) return encoded;
    writeMlx(files, output, encoded);
    return { output, folders: [output] };
  },
  gguf: (adapter, output, { files, sources }) => {
    const encoded = encodeGguf(adapter, sources.mappings);
    if (encoded instanceof Unsayable) return encoded;
    const file = output.endsWith(".gguf") ? output : joinPath(output, "adapter.gguf");
    writeGguf(files, file, encoded.facts, encoded.tensors);
    return { output: file, folders: [] };
  },
};

/** Folders of adapters below a folder as one bank, in the order of their names. */
const BANK = "bank";

/** What objectives trained beside it is not a layout's. */
function carryObjectives(files: Files, folder: string, folders: readonly string[]): void {
  const along = openObjectives(files, folder);
  const params = [...(along?.tensors.values() ?? [])].map(({ name, shape, dtype }) => [
    name,
    { shape, dtype, values: () => along!.read(name) },
  ]);
  for (const other of folders) writeObjectives(files, other, Object.fromEntries(params));
}

/** What an adapter was made on does not change with its layout. Nothing is claimed of one that did not say. */
function carryProvenance(files: Files, made: Provenance | undefined, folders: readonly string[]): void {
  for (const folder of folders) {
    if (made === undefined) files.remove(joinPath(folder, PROVENANCE_FILE));
    else writeProvenance(files, folder, { ...made, writtenBy: { name: "peftc", version: packageVersion() } });
  }
}

const layouts = [...Object.keys(WRITERS), BANK].join(", ");

const nameOf = (folder: string): string => folder.slice(folder.lastIndexOf("/") + 1);

/** Adapters' folders below one, `2` before `10`. */
const foldersBelow = (files: Files, folder: string): string[] =>
  (files.stat(folder)?.kind === "folder" ? files.list(folder) : [])
    .sort(comparePaths)
    .map((name) => joinPath(folder, name))
    .filter((path) => isAdapter(files, path));

/** `--to gguf` of a model's folder, a merged one for example. */
function wholeModel(session: Session, io: Io, folder: string, { output, type = "f16", force }: ConvertCommand): void {
  const { files, sources } = session.workspace;
  if (!Object.hasOwn(GGUF_TYPES, type))
    throw new Usage(`--type ${type}: there is no such type`, [`the types are: ${Object.keys(GGUF_TYPES).join(", ")}`]);
  settle(files, output);
  if (!force && (holdsResult(files, output) || files.stat(output)?.kind === "file"))
    throw new InputError("P0825", `\`${output}\` is there already`, ["--force writes over"]);
  const { facts, tensors } = encodeGgufModel(files, folder, type as GgufType, sources.mappings);
  const write = (to: string): string => {
    const file = to.endsWith(".gguf") ? to : joinPath(to, "model.gguf");
    writeGguf(files, file, facts, tensors);
    return file;
  };
  const at = output.endsWith(".gguf") ? write(output) : written(files, output, write).replace(asideOf(output), output);
  if (session.json) io.out(line({ event: "convert", model: folder, to: "gguf", type, output: at, tensors: tensors.length }));
  else io.out(`wrote ${at}: ${tensors.length} tensors, matrices in ${type}\n`);
}

/** `--with`: several adapters as one. `--to-lora`: a change of weights as a LoRA. Written in the layout that is asked for. */
function made(session: Session, io: Io, folder: string, options: ConvertCommand): void {
  const { files } = session.workspace;
  const { output, toLora: wanted, with: others } = options;
  const folders = [folder, ...others];
  const programs = new OwnPrograms(session, io, "converted.peft");
  if (wanted !== undefined && (others.length > 0 || asksToCombine(options)))
    throw new Usage("--to-lora takes one adapter or model", ["combine first, then approximate what comes of it"]);
  if (wanted === undefined && others.length === 0) throw new Usage("nothing to combine it with", ["--with names another adapter"]);
  if (options.to === BANK) throw new Usage(`--to ${BANK} takes a folder of adapters as they are`);
  settle(files, output);
  if (!options.force && (holdsResult(files, output) || files.stat(output)?.kind === "file"))
    throw new InputError("P0825", `\`${output}\` is there already`, ["--force writes over"]);
  const found = wanted === undefined ? undefined : toLora(session, programs, folder, options.base, rankOf(wanted));
  const adapter =
    found?.adapter ??
    loadOnBase(session, programs, folder, options.base, combineCall(files, programs.file, folders, combinationOf(options, folders.length)))
      .adapter;
  const write = (to: string): Converted => {
    const done = WRITERS[options.to](adapter, to, session.workspace);
    if (done instanceof Unsayable) throw new InputError("P0671", `\`${folder}\` cannot be had as ${options.to}`, [done.why]);
    const records = folders.map((one) => readProvenance(files, one));
    carryProvenance(files, records.every((r) => JSON.stringify(r) === JSON.stringify(records[0])) ? records[0] : undefined, done.folders);
    return done;
  };
  const intoFile = options.to === "gguf" && output.endsWith(".gguf");
  const at = intoFile ? write(output).output : written(files, output, write).output.replace(asideOf(output), output);
  if (session.json) {
    const { places, error, whole } = found ?? {};
    io.out(
      line({ event: "convert", adapter: folder, to: options.to, output: at, ...(found ? { error, places, whole } : { with: others }) }),
    );
    return;
  }
  if (found !== undefined) {
    const percent = (x: number) => `${(100 * x).toPrecision(3)} %`;
    io.out(table([["weight", "change", "of it lost"], ...found.places.map((p) => [p.path, percent(p.change), percent(p.error)])]));
    io.out(`in all ${percent(found.error)} of the change is lost (the norm of what is left out over that of the change)\n`);
    for (const path of found.whole) io.out(`\`${path}\` is saved whole\n`);
  }
  io.out(`wrote ${at}\n`);
}

function rankOf(text: string): number {
  const [, digits] = /^(?:rank=)?(\d+)$/.exec(text) ?? [];
  if (digits === undefined || Number(digits) < 1) throw new Usage(`--to-lora ${text}: a rank is wanted`, ["--to-lora rank=16"]);
  return Number(digits);
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
      const { files } = session.workspace;
      const writer = WRITERS[options.to];
      if (writer === undefined && options.to !== BANK)
        throw new Usage(`--to ${options.to}: there is no such layout`, [`the layouts are: ${layouts}`]);
      if (options.toLora !== undefined || options.with.length > 0 || asksToCombine(options)) return made(session, io, folder, options);
      if (options.to === "gguf" && !isAdapter(files, folder) && readConfig(files, folder) !== undefined)
        return wholeModel(session, io, folder, options);
      if (options.type !== undefined) throw new Usage("--type is that of a whole model's weights in GGUF");
      const stacked = options.to === "adapters" && files.stat(folder)?.kind === "folder" && !isAdapter(files, folder);
      const parts = options.to === BANK || stacked ? foldersBelow(files, folder) : [folder];
      if (!parts.every((part) => isAdapter(files, part)) || parts.length === 0)
        throw new InputError("P0660", `\`${folder}\` has no ${options.to === BANK ? "folders of adapters" : "adapter_config.json"}`);
      settle(files, options.output);
      if (!options.force && (holdsResult(files, options.output) || files.stat(options.output)?.kind === "file"))
        throw new InputError("P0825", `\`${options.output}\` is there already`, ["--force writes over"]);
      const programs = new OwnPrograms(session, io, "converted.peft");
      const adapters = parts.map((part) => loadOnBase(session, programs, part, options.base).adapter);
      const records = parts.map((part) => readProvenance(files, part));
      const record = records.every((record) => JSON.stringify(record) === JSON.stringify(records[0])) ? records[0] : undefined;
      if (stacked) {
        const mappings = session.workspace.sources.mappings;
        for (const [i, adapter] of adapters.entries()) {
          const why = notLibrary(adapter, mappings);
          if (why !== undefined) throw new InputError("P0671", `\`${parts[i]}\` cannot be had as ${options.to}`, [why]);
        }
        const named = adapters.map((adapter, i) => [nameOf(parts[i]), adapter] as const);
        written(files, options.output, (aside) => writeStack(files, aside, named, mappings));
        if (session.json) io.out(line({ event: "convert", adapter: folder, to: options.to, output: options.output }));
        else io.out(`wrote ${options.output}: ${parts.map(nameOf).join(", ")}, one on top of the other\n`);
        return;
      }
      const gathered = options.to === BANK ? bankOf(adapters, session.workspace.sources.mappings) : adapters[0];
      const write = (output: string): Converted => {
        const made = gathered instanceof Unsayable ? gathered : (writer ?? WRITERS.peftc)(gathered, output, session.workspace);
        if (made instanceof Unsayable) throw new InputError("P0671", `\`${folder}\` cannot be had as ${options.to}`, [made.why]);
        carryProvenance(files, record, made.folders);
        if (options.to !== BANK) carryObjectives(files, folder, made.folders);
        return made;
      };
      const { output } = options;
      const intoFile = options.to === "gguf" && output.endsWith(".gguf");
      const done = intoFile ? write(output).output : written(files, output, write).output.replace(asideOf(output), output);
      if (options.to === BANK && !session.json) for (const [i, part] of parts.entries()) io.out(`${i} is ${part}\n`);
      if (session.json)
        io.out(line({ event: "convert", adapter: folder, to: options.to, ...(options.to === BANK && { rows: parts }), output: done }));
      else io.out(`wrote ${done}\n`);
    });
}
