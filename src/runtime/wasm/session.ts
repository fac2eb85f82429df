/**
 * A program on WebAssembly, or of native kernels: one memory of the plan's size. With one worker the caller's own thread computes; with more, threads do, and the
 * caller's never blocks. Results are the same bits for any number of workers.
 */

import { SLACK, WASM_PAGE } from "../../ground/memory.ts";
import type { Bring, Density, Entry, HostStep, Placed, Program, Session, Values } from "../../ground/program.ts";
import type { HalfFormat, Weights } from "../../ground/weights.ts";
import { Bug, InputError } from "../../ir/errors.ts";
import { DeviceLost, NoDevice, OutOfMemory } from "../errors.ts";
import { arrayOf, hostScalars, runHostStep } from "../host.ts";
import { placeToRead, placeToWrite } from "../kept.ts";
import { type Layout, layoutOf } from "../layout.ts";
import { type Device, type Due, Loads, runDue } from "../loads.ts";
import { Skipping } from "../skipping.ts";
import { inPieces, isWeights, weightsOf, wholeOf } from "../weights.ts";
import { type WasmOptions, workersOf } from "./options.ts";
import { type Prepared, prepare } from "./prepared.ts";
import { hasRelaxed, hasSimd, hasWasm } from "./probe.ts";
import { named, now, type Span, spansOf } from "./spans.ts";
import { Team } from "./team.ts";
import type { NativeCode } from "./worker.ts";

export class WasmSession implements Session {
  readonly device: string;
  readonly memory: { readonly planned: number; readonly platform: number };
  private readonly entries = new Map<string, Prepared>();
  private readonly buffer: ArrayBufferLike;
  private tail: Promise<unknown> = Promise.resolve();
  private closed = false;
  private readonly loads: Loads;
  private team: Team | undefined;
  private instance: WebAssembly.Instance | undefined;
  /** The engine compiles, and threads start, while weights are written. */
  private ready: Promise<void> = Promise.resolve();
  private readonly skipping: Skipping;
  /** What is brought in again in each run. */
  private readonly sources = new Map<string, Weights>();
  private readonly left = new Map<string, Values>();
  /** What is to be done before the first run; gone when it was. */
  private settle: WasmOptions["settle"];

  private constructor(
    private readonly program: Program,
    private readonly layout: Layout,
    memory: WebAssembly.Memory,
    private readonly scratch: number,
    private readonly workers: number,
    private readonly timed: WasmOptions["timed"],
  ) {
    this.buffer = memory.buffer;
    this.loads = new Loads(program);
    this.skipping = new Skipping(program);
    this.memory = { planned: layout.bytes, platform: memory.buffer.byteLength - layout.bytes };
    this.device = `${program.target}, ${workers} thread${workers === 1 ? "" : "s"}, ${program.arithmetic}`;
    for (const prepared of prepare(program, layout, this.skipping, workers)) this.entries.set(prepared.entry.name, prepared);
  }

  /**
   * Allocates the plan and starts the workers. `module`: the bytes that came with the program. Throws `OutOfMemory`; `NoDevice` where the engine has no WebAssembly, no SIMD or no
   * shared memory; `InputError` where it lacks what the program was compiled for, where the number of workers is none, and where the bytes are no module.
   */
  static async open(program: Program, module: Uint8Array | undefined, options: WasmOptions): Promise<WasmSession> {
    const { native } = options;
    if (program.target !== (native ? "native" : "wasm"))
      throw new InputError("P0902", `this program is built for ${program.target}, not for ${native ? "native" : "wasm"}`);
    if (!native && !hasWasm())
      throw new NoDevice("this engine has no WebAssembly", [
        "some browsers switch it off in a mode for strict security",
        "or run on WebGPU",
      ]);
    if (!native && !hasSimd())
      throw new NoDevice("this engine's WebAssembly has no SIMD, which every kernel is made of", [
        "browsers since 2023 have it",
        "or run on WebGPU",
      ]);
    if (program.arithmetic === "relaxed" && !hasRelaxed())
      throw new InputError("P0902", "this program uses fused multiply-adds, which this engine lacks", ["compile it with plain arithmetic"]);
    const layout = layoutOf(program);
    const scratch = layout.arena("scratch");
    if (!scratch) throw new Bug("the program has no scratch");
    const workers = workersOf(options, program);
    const shared = workers > 1 || native !== undefined;
    const pages = Math.ceil(layout.bytes / WASM_PAGE);
    let memory: WebAssembly.Memory;
    try {
      memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared });
    } catch (e) {
      throw new OutOfMemory(`there is no room for the ${((pages * WASM_PAGE) / 2 ** 20).toFixed(1)} MiB of this plan`, [
        "a smaller `batch` or `sequence` needs less",
        `the engine says: ${String(e)}`,
      ]);
    }
    const compile = options.compile ?? WebAssembly.compile;
    const compiling: Promise<WebAssembly.Module | NativeCode> =
      native ??
      compile((shared ? module! : unshared(module!)) as BufferSource).catch((e: unknown) => {
        throw new InputError("P0902", `the bytes of the program are no module that this engine takes: ${String(e)}`, [
          "is it the `module.wasm` that came with this program, and whole?",
        ]);
      });
    const session = new WasmSession(program, layout, memory, scratch.at, workers, options.timed);
    session.settle = options.settle;
    for (const c of program.constants)
      session.put(program.tensors[c.tensor], arrayOf(program.tensors[c.tensor].dtype, expand(c.data, program.tensors[c.tensor])));
    session.ready = compiling.then(async (compiled) => {
      if (session.closed) return;
      if (!shared) {
        session.instance = await WebAssembly.instantiate(compiled as WebAssembly.Module, { env: { memory } });
        return;
      }
      const each = Math.floor((scratch.bytes - SLACK) / workers / 16) * 16;
      session.team = new Team({
        code: compiled,
        memory,
        workers,
        entries: program.entries.map((e) => session.entries.get(e.name)!.steps),
        startThread: options.startThread!,
        patience: options.patience ?? 300_000,
        timed: options.timed !== undefined,
        scratchOf: (index) => scratch.at + index * each,
      });
      await session.team.ready;
    });
    // whoever runs an entry is told
    session.ready.catch(() => {});
    return session;
  }

  async write(kind: "param" | "state", name: string, data: Values | Weights): Promise<void> {
    const { placed, format, pieces } = placeToWrite(this.program, this.loads, kind, name, data.length);
    return this.inOrder(async () => {
      if (placed.arena === "file") {
        this.sources.set(name, isWeights(data) ? data : weightsOf((data as Float32Array).slice()));
        return;
      }
      if (format !== undefined) return this.feedWords(placed, isWeights(data) ? data : weightsOf(data as Float32Array), format);
      if (kind === "state" || !this.loads.takes(name)) {
        if (kind === "param") this.loads.written(name, data);
        return isWeights(data) ? this.feed(placed, data, 0) : this.put(placed, data);
      }
      const due = this.loads.written(name, pieces ? data : await wholeOf(data));
      if (due) await this.load(due);
    });
  }

  async read(kind: "param" | "state", name: string): Promise<Values> {
    const placed = placeToRead(this.program, this.loads, kind, name);
    return this.inOrder(async () => (placed.arena === "file" ? wholeOf(this.source(name)) : this.take(placed)));
  }

  run(name: string, inputs: Readonly<Record<string, Values | number>>, outputs?: readonly string[]): Promise<Record<string, Values>> {
    return this.inOrder(async () => {
      const prepared = this.entries.get(name);
      if (!prepared) throw new InputError("P0801", `there is no entry ${name}`, [`there are: ${[...this.entries.keys()].join(", ")}`]);
      for (const due of this.loads.take()) await this.load(due);
      const settle = this.settle;
      this.settle = undefined;
      this.left.clear();
      await settle?.();
      this.supply(prepared.entry, inputs);
      await this.execute(prepared);
      const out: Record<string, Values> = {};
      for (const output of outputs ?? prepared.entry.outputs) {
        const t = this.program.outputs[`${name}/${output}`];
        if (t === undefined)
          throw new InputError("P0801", `${name} has no output ${output}`, [`there are: ${prepared.entry.outputs.join(", ")}`]);
        out[output] = this.take(this.program.tensors[t]);
      }
      return out;
    });
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.ready.catch(() => {});
    await this.team?.close();
  }

  private load(due: Due): Promise<void> {
    const device: Device = {
      feed: (to, weights, at) => this.feed(to, weights, at),
      execute: (entry) => this.execute(this.entries.get(entry)!),
      run: (entry, inputs) => {
        const prepared = this.entries.get(entry)!;
        this.supply(prepared.entry, inputs);
        return this.execute(prepared);
      },
      copy: (from, to, at) => {
        const start = this.layout.address(from);
        new Uint8Array(this.buffer).copyWithin(this.layout.address(to) + at, start, start + from.bytes);
      },
      take: async (from) => this.view(from),
      left: this.left,
    };
    return runDue(this.program, due, device);
  }

  /** Weights from the `at`-th on, straight into their place. */
  private feed(to: Placed, weights: Weights, at: number): Promise<void> {
    const place = new Float32Array(this.buffer, this.layout.address(to), to.bytes / 4);
    return inPieces(place.length, (i, count) => weights.fill(place.subarray(i, i + count), at + i));
  }
  /** A weight that is not kept, into the place that it has for some steps. */
  private async bring({ param, tensor }: Bring): Promise<void> {
    const placed = this.program.tensors[tensor];
    const format = this.program.halves?.[param];
    const source = this.source(param);
    await (format === undefined ? this.feed(placed, source, 0) : this.feedWords(placed, source, format));
  }
  private source(param: string): Weights {
    const source = this.sources.get(param);
    if (source === undefined) throw new InputError("P0801", `the parameter ${param} has not been written`);
    return source;
  }
  private feedWords(to: Placed, weights: Weights, format: HalfFormat): Promise<void> {
    const place = new Uint16Array(this.buffer, this.layout.address(to), weights.length);
    return inPieces(place.length, (i, count) => weights.fillWords(place.subarray(i, i + count), i, format));
  }

  private async execute(prepared: Prepared): Promise<void> {
    await this.ready;
    const coming = new Map<Bring, Promise<void>>();
    const spans: Span[] = [];
    try {
      for (const segment of prepared.segments) {
        if ("host" in segment) this.host(segment.host);
        else {
          for (const bring of segment.begins) {
            const reading = this.bring(bring);
            // it is told where it is needed
            reading.catch(() => {});
            coming.set(bring, reading);
          }
          for (const bring of segment.needs) await coming.get(bring);
          if (this.team) await this.team.run(prepared.number, segment.from, segment.to);
          else this.compute(prepared, segment.from, segment.to, spans);
          if (this.team?.times) spans.push(...spansOf(this.team.times, prepared.dispatches, segment.from, segment.to, this.workers));
        }
      }
    } finally {
      // nothing is written any more when a run is over, whatever became of it
      await Promise.allSettled(coming.values());
    }
    this.timed?.(prepared.entry.name, spans);
    for (const i of this.skipping.of(prepared.entry.name)) {
      const { counts, flag } = this.skipping.measure(i);
      const skips = this.skipping.counted(i, this.take(this.program.tensors[counts]) as Int32Array);
      this.put(this.program.tensors[flag], new Int32Array([skips ? 1 : 0]));
    }
  }

  densities(): readonly Density[] {
    return this.skipping.densities();
  }

  private compute({ steps, dispatches }: Prepared, from: number, to: number, spans: Span[]): void {
    const words = new Int32Array(this.buffer);
    for (let i = from; i < to; i++) {
      const [dense, all, operands, , other] = steps[i];
      const [name, units] = other && words[other[2] / 4] !== 0 ? other : [dense, all];
      const f = this.instance?.exports[name] as ((...args: number[]) => void) | undefined;
      if (!f) throw new Bug(`the module has no function ${name}`);
      const begin = this.timed && now();
      f(0, units, this.scratch, ...operands);
      if (begin !== undefined) spans.push({ ...named(dispatches[i]), step: i, worker: 0, begin, end: now() });
    }
  }

  private host(step: HostStep): void {
    const operands = step.operands.map((t) => ({ placed: this.program.tensors[t], values: this.view(this.program.tensors[t]) }));
    const results = step.results.map((t) => this.program.tensors[t]);
    const places = results.map((placed) => this.view(placed));
    runHostStep(step, operands, results, places).forEach((values, i) => {
      if (values !== places[i]) this.put(results[i], values);
    });
  }

  /** Writes the inputs and the scalars that are computed on the host. Throws `InputError` where one is missing or has another size. */
  private supply(entry: Entry, inputs: Readonly<Record<string, Values | number>>): void {
    const scalars = hostScalars(entry, inputs);
    for (const name of [...entry.inputs, ...scalars.keys()]) {
      const t = this.program.inputs[`${entry.name}/${name}`];
      if (t === undefined) continue;
      const placed = this.program.tensors[t];
      const value = scalars.get(name) ?? inputs[name];
      if (value === undefined) throw new InputError("P0801", `${entry.name} needs the input \`${name}\``);
      const data = typeof value === "number" ? arrayOf(placed.dtype, [value]) : value;
      if (data.byteLength !== placed.bytes)
        throw new InputError("P0801", `the input \`${name}\` of ${entry.name} has ${placed.bytes / 4} elements, not ${data.length}`);
      if ((placed.dtype === "f32") !== data instanceof Float32Array)
        throw new InputError("P0801", `the input \`${name}\` of ${entry.name} is ${placed.dtype}`, [`given: ${data.constructor.name}`]);
      this.put(placed, data);
    }
  }

  private put(placed: Placed, data: Values): void {
    const at = this.layout.address(placed);
    if (data instanceof Float32Array) new Float32Array(this.buffer, at, data.length).set(data);
    else new Int32Array(this.buffer, at, data.length).set(data);
  }
  private take(placed: Placed): Values {
    return this.view(placed).slice();
  }
  /** The values as they lie there. */
  private view(placed: Placed): Values {
    const at = this.layout.address(placed);
    return placed.dtype === "f32" ? new Float32Array(this.buffer, at, placed.bytes / 4) : new Int32Array(this.buffer, at, placed.bytes / 4);
  }
  /** One call after the other. */
  private inOrder<T>(f: () => Promise<T>): Promise<T> {
    const next = this.tail.then(() => {
      if (this.closed) throw new DeviceLost("the session is closed");
      return f();
    });
    this.tail = next.catch(() => {});
    return next;
  }
}

/** A table of one value stands for all elements. */
const expand = (data: readonly number[], placed: Placed): ArrayLike<number> =>
  data.length * 4 === placed.bytes ? data : new Array<number>(placed.bytes / 4).fill(data[0]);

/**
 * The same module for memory that is not shared: the printed module uses no atomic instruction, so that only the flag of the imported memory
 * differs.
 */
function unshared(module: Uint8Array): Uint8Array {
  const out = module.slice();
  let at = 8;
  const leb = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = out[at++];
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < out.length) {
    const id = out[at++];
    const size = leb();
    const next = at + size;
    if (id === 2) {
      leb();
      for (let names = 0; names < 2; names++) {
        const length = leb();
        at += length;
      }
      if (out[at] !== 2) throw new Bug("the module's first import is not its memory");
      if (out[at + 1] === 3) out[at + 1] = 1;
      return out;
    }
    at = next;
  }
  throw new Bug("the module imports no memory");
}
