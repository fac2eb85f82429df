/** The engine over PyTorch: graphs are printed as a program, which a Python process holds and runs. */
import { printTorch, type TorchProgram } from "../../backends/torch/program.ts";
import type { Program, Session, Values } from "../../ground/program.ts";
import type { Weights } from "../../ground/weights.ts";
import { Bug, InputError, Limit } from "../../ir/errors.ts";
import { isWeights, PIECE } from "../../runtime/weights.ts";
import { type Hooks, valuesOf } from "../../train/engine/backend.ts";
import { bareProgram } from "../../train/engine/bare.ts";
import type { BuildOptions, Built, Engine, EntryPoint } from "../../train/engine/engine.ts";
import { fitAcross, requireForward, splitsOf } from "../../train/run/across.ts";
import { elements } from "../../train/values.ts";
import { type Python, requirePython, requireSeveral, requireShards } from "./python.ts";
import { PYTHON_FOLDER, Worker } from "./worker.ts";

interface TorchOptions {
  /** Threads of a process; PyTorch's own choice if left out. */
  readonly threads?: number | undefined;
  /** Processes on this machine, each with its rows of every batch. More than one are started by `torchrun`. */
  readonly processes?: number | undefined;
  /** Machines that each have as many; this is the first of them, where the run is driven. */
  readonly nodes?: NodesAsked | undefined;
  /** How several processes hold parameters: each all of them, or each a part, by `fully_shard`. */
  readonly shard?: "ddp" | "fsdp" | undefined;
  /** What products are computed in; values are kept in f32. */
  readonly dtype?: "f32" | "bf16" | undefined;
  /** Iterations of loops go through `torch.compile`. */
  readonly compile?: boolean | undefined;
  /** Iterations of loops are recomputed for the backward half. */
  readonly recompute?: boolean | undefined;
  /** To look at graphs between rewrites, or to leave one out. */
  readonly hooks?: Hooks;
}

/** How many machines there are, which this is, and where the first one is found. */
interface NodesAsked {
  readonly count: number;
  readonly node: number;
  readonly host: string;
  readonly port: number;
}

const programs = new WeakMap<Program, TorchProgram>();
/** Programs whose layers are recomputed for the backward half. */
const recomputed = new WeakSet<Program>();

export interface TorchEngine extends Engine {
  /** Numbers of the processes that hold a program, in the order of their ranks. */
  processes(): readonly number[];
  /** The same processes, told otherwise. */
  told(options: Omit<TorchOptions, "threads" | "processes" | "nodes">): TorchEngine;
}

/** Throws `NoDevice` where there is no Python with PyTorch. */
export async function torchEngine(options: TorchOptions = {}): Promise<TorchEngine> {
  const python = await requirePython();
  const processes = (options.processes ?? 1) * (options.nodes?.count ?? 1);
  if (processes > 1) requireSeveral(python);
  let worker: Promise<Worker> | undefined;
  const started = () => {
    worker ??= Worker.start({
      command: python.path,
      args: [...(processes > 1 ? torchrun(options) : []), `${PYTHON_FOLDER}/peftc_serve.py`],
      environment: threadsOf(options),
    });
    return worker;
  };
  const close = async () => (await worker)?.stop();
  return engineOver({ python, processes, started, close, opened: 0, pids: [] }, options);
}

/** Arguments of Python that start `torchrun`. */
function torchrun({ processes = 1, nodes }: TorchOptions): string[] {
  const where = nodes
    ? ["--nnodes", nodes.count, "--node-rank", nodes.node, "--master-addr", nodes.host, "--master-port", nodes.port].map(String)
    : ["--standalone"];
  return ["-m", "torch.distributed.run", ...where, "--nproc-per-node", String(processes)];
}
const threadsOf = ({ threads }: TorchOptions): Readonly<Record<string, string>> =>
  threads === undefined ? {} : { PEFTC_TORCH_THREADS: String(threads) };

/** Processes of another machine than the first, which drives them: ends when the run does. Throws `DeviceLost` where it ends otherwise. */
export async function helpElsewhere(options: TorchOptions & { readonly nodes: NodesAsked }): Promise<void> {
  const python = await requirePython();
  requireSeveral(python);
  await Worker.finish({
    command: python.path,
    args: [...torchrun(options), `${PYTHON_FOLDER}/peftc_serve.py`],
    environment: threadsOf(options),
  });
}

/** Processes that several engines may share. */
interface Held {
  readonly python: Python;
  readonly processes: number;
  started(): Promise<Worker>;
  close(): Promise<void>;
  /** Programs so far. */
  opened: number;
  pids: readonly number[];
}

function engineOver(held: Held, options: TorchOptions): TorchEngine {
  const { python, processes } = held;
  const device = `torch ${python.torch}${processes > 1 ? `, ${processes} processes` : ""}`;
  return {
    close: held.close,
    processes: () => held.pids,
    told: (other) => engineOver(held, { ...options, ...other }),
    device,
    reason: "asked for",
    splits: splitsOf(processes),
    memory: Number.POSITIVE_INFINITY,
    // requests wait in the socket, so that Python goes on while a result is on its way
    depth: 2,
    build: async (entries, asked) => {
      const { shard = "ddp", recompute = false, hooks = {} } = options;
      if (shard === "fsdp" && processes > 1) requireShards(python);
      return build(entries, asked, { processes, shard, recompute, hooks });
    },
    open: async ({ program }) => {
      const printed = programs.get(program);
      if (printed === undefined) throw new Bug("the torch engine runs only what it printed itself");
      const at = await held.started();
      const id = held.opened++;
      const recompute = recomputed.has(program);
      const files = Object.fromEntries(printed.files);
      const { hooks: _, ...told } = options;
      const answer = await at.ask({ do: "open", program: id, spec: specOf(printed), files, options: { ...told, recompute } });
      held.pids = answer.pids as readonly number[];
      return new TorchSession(at, id, printed, program, device);
    },
  };
}

/** What `program.json` says. */
export function specOf(printed: TorchProgram): Record<string, unknown> {
  return {
    params: Object.fromEntries(printed.params),
    states: Object.fromEntries(printed.states),
    differentiated: printed.differentiated,
    blocks: printed.blocks,
    sources: Object.fromEntries(printed.sources),
    prepare: printed.prepare ?? null,
    numbers: printed.tables?.call ?? null,
    entries: printed.entries,
  };
}

interface Way {
  readonly processes: number;
  readonly shard: "ddp" | "fsdp";
  readonly recompute: boolean;
  readonly hooks: Hooks;
}

function build(entries: readonly EntryPoint[], { trained, memory, reverse }: BuildOptions, way: Way): Built {
  requireForward(reverse);
  const points = entries.map(({ name, graph, sizes, growing, batch }) => ({ name, graph, sizes, batch, values: valuesOf(growing) }));
  const printed = printTorch(points, { hooks: way.hooks });
  if (way.shard === "fsdp" && way.processes > 1) requireSharded(printed);
  const { across, recompute, smallest } = fitAcross(printed, points, { ...way, parts: 1 }, memory);
  const tensors: Program["tensors"][number][] = [];
  const table = (slots: TorchProgram["params"], arena: (name: string) => "trained" | "frozen") =>
    Object.fromEntries(
      [...slots].map(([name, { dtype, shape }]) => {
        tensors.push({ arena: arena(name), page: 0, offset: 0, bytes: 4 * elements(shape), dtype, shape });
        return [name, tensors.length - 1];
      }),
    );
  // what is made of others is not written; what others are made of is
  const made = new Set(printed.prepare?.made);
  const written = new Map([...[...printed.params].filter(([name]) => !made.has(name)), ...printed.sources]);
  const params = table(written, (name) => (trained.includes(name) ? "trained" : "frozen"));
  const states = table(printed.states, () => "trained");
  const { parameters, gradients, states: kept, gathered, activations } = across.memory;
  const whole = tensors.filter((t) => t.arena === "frozen").reduce((sum, t) => sum + t.bytes, 0);
  const all = [...printed.params.values()].reduce((sum, { shape }) => sum + 4 * elements(shape), 0);
  const frozen = all === 0 ? 0 : Math.round((parameters * whole) / all);
  const program = bareProgram({
    target: "torch",
    arithmetic: "f32",
    // of one process; what it has of all parameters is what it has of each, to a row
    arenas: [
      { name: "frozen", pages: [frozen] },
      { name: "trained", pages: [parameters - frozen + gradients + kept] },
      { name: "activations", pages: [gathered + activations] },
    ],
    tensors,
    entries: printed.entries.map(({ name, inputs, outputs }) => ({ name, inputs: inputs.map((i) => i.name), outputs })),
    params,
    states,
  });
  programs.set(program, printed);
  if (recompute) recomputed.add(program);
  const notes = recompute && !way.recompute ? ["layers are recomputed for the backward half, which the budget asks for"] : [];
  return {
    program,
    notes,
    rounded: [],
    flops: {},
    recomputed: {},
    seconds: {},
    ...(smallest !== undefined && { smallest: async () => smallest }),
  };
}

/** What `fully_shard` cannot do. */
function requireSharded({ entries, params }: TorchProgram): void {
  for (const [name, { shape }] of params)
    if (shape.length === 0)
      throw new Limit(`\`${name}\` is a single number, which \`--shard fsdp\` cannot cut in parts; \`--shard ddp\` can`);
  for (const { name, additive, backward } of entries) {
    if (additive && backward === undefined && name.startsWith("gradients"))
      throw new Limit(`\`--shard fsdp\` takes the gradients of one loss by parameters; ${name} takes others; \`--shard ddp\` can`);
  }
}

class TorchSession implements Session {
  private peak = 0;

  constructor(
    private readonly worker: Worker,
    private readonly id: number,
    private readonly printed: TorchProgram,
    private readonly program: Program,
    readonly device: string,
  ) {}

  /** What lasts is known; what PyTorch allocates beside it is what its process had at most. */
  get memory(): { readonly planned: number; readonly platform: number } {
    const planned = this.program.arenas.reduce((sum, a) => sum + a.pages[0], 0);
    return { planned, platform: Math.max(0, this.peak - planned) };
  }

  async write(kind: "param" | "state", name: string, data: Values | Weights): Promise<void> {
    const slot = this.find(kind, name);
    const count = elements(slot.shape);
    if (data.length !== count) throw new InputError("P0801", `${kind} ${name} has ${count} elements, not ${data.length}`);
    for (let at = 0; at < count; at += PIECE) {
      const size = Math.min(PIECE, count - at);
      let piece: Values;
      if (isWeights(data)) {
        piece = new Float32Array(size);
        await data.fill(piece, at);
      } else piece = data.subarray(at, at + size);
      if (slot.dtype !== "f32" && piece instanceof Float32Array) piece = Int32Array.from(piece);
      await this.worker.ask({ do: "write", program: this.id, kind, name, at }, [["values", piece]]);
    }
  }

  async read(kind: "param" | "state", name: string): Promise<Values> {
    this.find(kind, name);
    const { values } = await this.worker.ask({ do: "read", program: this.id, kind, name });
    return values.get("values")!;
  }

  async run(name: string, inputs: Readonly<Record<string, Values | number>>, outputs?: readonly string[]): Promise<Record<string, Values>> {
    const entry = this.printed.entries.find((e) => e.name === name);
    if (!entry)
      throw new InputError("P0801", `there is no entry ${name}`, [`there are: ${this.printed.entries.map((e) => e.name).join(", ")}`]);
    const numbers: Record<string, number> = {};
    const tensors: [string, Values][] = [];
    // which part of an update it is matters beside what the entry reads
    for (const [key, value] of Object.entries(inputs)) if (typeof value === "number") numbers[key] = value;
    for (const { name: input, dtype } of entry.inputs) {
      const value = inputs[input];
      if (value === undefined) throw new InputError("P0801", `${name} needs the input \`${input}\``);
      if (typeof value !== "number") tensors.push([input, dtype === "f32" || value instanceof Int32Array ? value : Int32Array.from(value)]);
    }
    const answer = await this.worker.ask({ do: "run", program: this.id, entry: name, numbers, ...(outputs && { outputs }) }, tensors);
    this.peak = Math.max(this.peak, Number(answer.peak ?? 0));
    return Object.fromEntries(answer.values);
  }

  async close(): Promise<void> {
    await this.worker.ask({ do: "close", program: this.id }).catch(() => {});
  }

  private find(kind: "param" | "state", name: string): { readonly dtype: string; readonly shape: readonly number[] } {
    const { params, sources, states } = this.printed;
    const slot = kind === "param" ? (params.get(name) ?? sources.get(name)) : states.get(name);
    if (!slot) throw new InputError("P0801", `the program has no ${kind} ${name}`);
    return slot;
  }
}
