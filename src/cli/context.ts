/** What every verb starts with: options, the file compiled and its problems shown, a device, a host to run on. */
import type { Command } from "commander";
import { compile } from "../compiler/compile.ts";
import type { Project, Static } from "../compiler/project.ts";
import { readNumber } from "../compiler/read/literals.ts";
import type { Device } from "../node/device.ts";
import type { DeviceChoice } from "../node/engine.ts";
import { openWorkspace, type Workspace } from "../node/workspace.ts";
import type { WasmOptions } from "../runtime/wasm.ts";
import type { Sources } from "../train/compiler-host.ts";
import type { Engine } from "../train/engine/engine.ts";
import { wholeModelOf } from "../train/run/held.ts";
import type { FileHost } from "../train/run/run.ts";
import { stagesOf } from "../train/stages/stages.ts";
import { Rejected, reportProblems, Usage } from "./errors.ts";
import { EXIT } from "./exit.ts";
import type { Io } from "./io.ts";
import { type Display, display } from "./progress.ts";

export interface CommonOptions {
  readonly json?: boolean;
  readonly set?: readonly string[];
  readonly seed?: string;
  readonly device?: string;
  readonly memory?: string;
}

/** Adds `--json`, and for verbs that compile `--set` and `--seed`. */
export function common(command: Command, { compiles = true, runs = true } = {}): Command {
  command.option("--json", "print one JSON object a line");
  if (compiles) {
    command.option(
      "--set <stage.field=value>",
      "override a field of a stage or an option of an attachment, as in train.steps=10, train.memory=256MB, lora.rank=4 (may be repeated)",
      collect,
      [],
    );
    command.option("--seed <number>", "override the seed of every stage");
  }
  if (runs) {
    command.option("--device <name>", "auto, webgpu, native, wasm or reference", "auto");
    command.option("--memory <bytes>", "the most that a run allocates, such as 256MB, where a stage's `memory` is not less");
  }
  return command;
}
/** Where a run goes that this process only drives. */
export interface Elsewhere {
  readonly on?: string;
  readonly processes?: string;
  readonly shard?: string;
  readonly dtype?: string;
  readonly compile?: boolean;
  readonly recompute?: boolean;
  readonly nodes?: string;
  readonly node?: string;
  readonly rendezvous?: string;
}
/** Options that mean nothing without `--on`. */
function refuseWithout(options: Elsewhere | undefined): void {
  for (const option of ONLY_ELSEWHERE)
    if (options?.[option] !== undefined) throw new Usage(`--${option} is for --on torch`, ["give --on torch as well"]);
}

/** `--on` and what belongs to it, read. */
export function placeElsewhere({ on, processes, shard = "ddp", dtype = "f32", compile = false, recompute = false, ...rest }: Elsewhere): {
  /** On a machine. */
  readonly processes: number;
  readonly nodes: Nodes;
  readonly shard: "ddp" | "fsdp";
  readonly dtype: "f32" | "bf16";
  readonly compile: boolean;
  readonly recompute: boolean;
} {
  if (on !== "torch") throw new Usage(`--on ${on}: there is no such place`, ["the one there is: torch"]);
  if (shard !== "ddp" && shard !== "fsdp") throw new Usage(`--shard ${shard}: there is no such way`, ["the ways are: ddp, fsdp"]);
  if (dtype !== "f32" && dtype !== "bf16")
    throw new Usage(`--dtype ${dtype}: there is no such type of numbers here`, ["the types are: f32, bf16"]);
  const count = processes === undefined ? 1 : wholeNumber("--processes", processes);
  if (count < 1) throw new Usage("--processes 0: at least one process is needed");
  return { processes: count, nodes: nodesOf(rest), shard, dtype, compile, recompute };
}
const ONLY_ELSEWHERE = ["processes", "shard", "dtype", "compile", "recompute", "nodes", "node", "rendezvous"] as const;

/** Machines that train one program together. */
interface Nodes {
  readonly count: number;
  /** Which of them this is, and where the first one is found; none: it is asked how to start them. */
  readonly here?: { readonly node: number; readonly host: string; readonly port: number };
}
function nodesOf({ nodes, node, rendezvous }: Pick<Elsewhere, "nodes" | "node" | "rendezvous">): Nodes {
  const count = nodes === undefined ? 1 : wholeNumber("--nodes", nodes);
  if (count < 1) throw new Usage("--nodes 0: at least one machine is needed");
  if (node === undefined && rendezvous === undefined) return { count };
  if (count === 1 || node === undefined || rendezvous === undefined)
    throw new Usage("--node and --rendezvous belong together, and to --nodes of at least 2");
  const number = wholeNumber("--node", node);
  if (number >= count) throw new Usage(`--node ${node}: machines are numbered from 0 to ${count - 1}`);
  const [, host, port] = /^(.+):(\d+)$/.exec(rendezvous) ?? [];
  if (host === undefined)
    throw new Usage(`--rendezvous ${rendezvous}: an address of machine 0 and a port that is free there are wanted, as in head:29500`);
  return { count, here: { node: number, host, port: Number(port) } };
}

/** Adds `--on` and what belongs to it. */
export function elsewhere(command: Command): Command {
  return command
    .option("--on <place>", "torch: PyTorch runs it, in Python processes that peftc starts (PEFTC_PYTHON, else python3)")
    .option("--processes <n>", "with --on torch: processes, each with its rows of every batch")
    .option("--shard <way>", "with --on torch: ddp, every process has all parameters; fsdp, each has a part of each")
    .option("--dtype <type>", "with --on torch: f32, or bf16 for products (parameters and sums stay f32)")
    .option("--compile", "with --on torch: iterations of loops go through torch.compile")
    .option("--recompute", "with --on torch: iterations of loops are recomputed for the backward half, to keep less")
    .option("--nodes <n>", "with --on torch: machines, each with so many processes; alone it prints the command that starts them")
    .option("--node <i>", "with --nodes: which of them this is, from 0")
    .option("--rendezvous <host:port>", "with --nodes: machine 0, and a port that is free there");
}
export const collect = (value: string, before: readonly string[]): string[] => [...before, value];

/** A verb at work. */
export class Session {
  readonly json: boolean;
  readonly workspace: Workspace;
  readonly display: Display;
  private stopping = false;

  /** `sizesOnly`: models without weights will do. */
  constructor(
    readonly io: Io,
    private readonly options: CommonOptions,
    sizesOnly = false,
  ) {
    this.json = options.json === true;
    this.workspace = openWorkspace(io.cwd, sizesOnly);
    this.sources = this.workspace.sources;
    this.display = display(io, this.json);
  }

  /** The sources that were compiled: a verb may have put statements behind a file's own. */
  private sources: Sources;
  readonly source = (file: string): string | undefined => this.sources.readSource(file);

  /**
   * Compiles and reports, as if the file ended with what `ending` gives for it. Throws `Rejected` if there are errors, `Usage` for overrides that
   * nothing takes. `adapter`: a folder whose values are to be used; a whole model in it takes the place of what the file attaches to.
   */
  open(file: string, ending: (project: Project) => string | undefined = () => undefined, adapter?: string): Project {
    const set = parseSettings(this.options.set ?? []);
    const seed = this.options.seed === undefined ? undefined : wholeNumber("--seed", this.options.seed);
    let project = compile(file, this.sources, { set, seed });
    const broken = project.problems.some((p) => p.severity === "error");
    const more = broken ? undefined : ending(project);
    if (more !== undefined) {
      this.sources = this.sources.with(file, `${this.source(file)}\n${more}\n`);
      project = compile(file, this.sources, { set, seed });
    }
    const unattached = wholeModelOf(project, this.workspace.files, adapter);
    if (unattached !== undefined) project = compile(file, this.sources, { set, seed, unattached });
    reportProblems(project.problems, this.io, this.json, this.source);
    if (project.problems.some((p) => p.code === "P0004")) throw new Rejected("the compiler failed", EXIT.bug);
    if (project.problems.some((p) => p.severity === "error")) throw new Rejected("the file has errors");
    const stages = stagesOf(project);
    for (const key of Object.keys(set)) {
      const [place] = key.split(".");
      const attached = project.attachments.map((a) => a.name);
      if (!stages.some((s) => s.name === place || s.verb === place) && !attached.includes(place)) {
        throw new Usage(`--set ${key}: there is no stage and no attachment \`${place}\``, [
          `the stages are: ${stages.map((s) => s.name).join(", ")}`,
          `the attachments are: ${attached.join(", ")}`,
        ]);
      }
    }
    this.io.listen?.();
    return project;
  }

  /** `timed`: is told when kernels ran; only on WebAssembly, which is then what runs them unless something else is asked for. */
  async engine(elsewhere?: Elsewhere, timed?: WasmOptions["timed"]): Promise<Engine> {
    if (elsewhere?.on !== undefined) {
      if (timed !== undefined) throw new Usage("--profile times the kernels of this process, and --on has others compute");
      return this.torch(elsewhere);
    }
    refuseWithout(elsewhere);
    const asked = this.options.device ?? "auto";
    const choice = timed !== undefined && asked === "auto" ? "wasm" : asked;
    const { DEVICES, openEngine } = await import("../node/engine.ts");
    const here = Object.entries<Device>(DEVICES).flatMap(([name, { elsewhere }]) => (elsewhere ? [] : [name]));
    if (choice !== "auto" && !here.includes(choice))
      throw new Usage(`--device ${choice}: there is no such device`, [`the devices are: auto, ${here.join(", ")}`]);
    const engine = await openEngine(choice as DeviceChoice, {}, timed);
    this.display.listen({ event: "device", device: engine.device, reason: engine.reason });
    return this.bounded(engine);
  }
  /** The engine with what `--memory` allows. */
  private bounded(engine: Engine): Engine {
    const { memory } = this;
    return memory < engine.memory ? { ...engine, memory } : engine;
  }
  /** Bytes of `--memory`. */
  get memory(): number {
    return this.options.memory === undefined ? Number.POSITIVE_INFINITY : byteCount("--memory", this.options.memory);
  }

  private async torch(options: Elsewhere): Promise<Engine> {
    if ((this.options.device ?? "auto") !== "auto") throw new Usage("--device is for this process and --on for others: give one of them");
    const place = placeElsewhere(options);
    const { torchEngine } = await import("../node/torch/engine.ts");
    const { count, here } = place.nodes;
    if (count > 1 && here === undefined) throw new Usage("--nodes: which machine is this? give --node and --rendezvous");
    const engine = await torchEngine({ ...place, nodes: here && { count, ...here } });
    this.display.listen({ event: "device", device: engine.device, reason: engine.reason });
    this.started = engine;
    return this.bounded(engine);
  }
  private started: Engine | undefined;

  host(project: Project, engine: Engine): FileHost {
    return this.workspace.host(project, engine, {
      listen: (event) => {
        if (event.event !== "problem") return this.display.listen(event);
        this.display.end();
        reportProblems([event.problem], this.io, this.json, this.source);
      },
      interrupted: () => this.stopping,
      now: () => this.io.now(),
      plainly: this.io.plainly && ((work) => this.io.plainly!(work)),
    });
  }

  /** Runs `work` with interrupts turned into a request to save and stop. */
  async interruptible<T>(work: () => Promise<T>): Promise<T> {
    const undo = this.io.onInterrupt(() => {
      this.stopping = true;
      this.display.end();
      if (!this.json) this.io.err("stopping as soon as what is under way is done; once more ends at once\n");
    });
    try {
      return await work();
    } finally {
      undo();
      this.display.end();
      await this.started?.close?.();
    }
  }
}

/** `train.steps=10`, `train.memory=256MB`, `lora.rank=4`: the value is JSON, a number as in the language, or else text. */
function parseSettings(settings: readonly string[]): Record<string, Static> {
  const out: Record<string, Static> = {};
  for (const setting of settings) {
    const match = /^([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)=(.*)$/s.exec(setting);
    if (match === null) throw new Usage(`--set ${setting}: not of the form stage.field=value`, ["as in --set train.steps=10"]);
    out[match[1]] = settingValue(match[2]);
  }
  return out;
}

function settingValue(text: string): Static {
  try {
    return JSON.parse(text) as Static;
  } catch {
    const read = /^[0-9]/.test(text) ? readNumber(text) : undefined;
    return read === undefined || read.problem !== undefined ? text : read.value;
  }
}

export function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new Usage(`${option} ${text}: a whole number is wanted`);
  return value;
}

/** `256MB`, as in the language. */
function byteCount(option: string, text: string): number {
  const read = /^[0-9]/.test(text) ? readNumber(text) : undefined;
  if (read === undefined || read.problem !== undefined || !(read.value >= 1))
    throw new Usage(`${option} ${text}: a number of bytes is wanted, such as 256MB`);
  return read.value;
}

export function realNumber(option: string, text: string, least: number, most = Number.POSITIVE_INFINITY): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= least && value <= most)) {
    throw new Usage(
      `${option} ${text}: a number ${most === Number.POSITIVE_INFINITY ? `of at least ${least}` : `from ${least} to ${most}`} is wanted`,
    );
  }
  return value;
}
