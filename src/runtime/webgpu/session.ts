/**
 * A program on a WebGPU device. A buffer a page; pipelines are made once for each different text, bind groups once for each dispatch of an entry; a run
 * is one pass and one submit (host steps and very long entries cut it), and its outputs come back through a ring while the next run is under way.
 */

import type { Density, Entry, HostStep, Placed, Program, Session, Values } from "../../ground/program.ts";
import type { Weights } from "../../ground/weights.ts";
import { Bug, InputError } from "../../ir/errors.ts";
import { OutOfMemory } from "../errors.ts";
import { arrayOf, hostScalars, runHostStep } from "../host.ts";
import { placeToRead, placeToWrite } from "../kept.ts";
import { type Device, type Due, Loads, runDue } from "../loads.ts";
import { Skipping } from "../skipping.ts";
import { isWeights, weightsOf, wholeOf } from "../weights.ts";
import type { WebGPUDevice } from "./device.ts";
import { BufferUsage } from "./flags.ts";
import { Mover } from "./mover.ts";
import { Prepared, type Work } from "./prepared.ts";
import { bytesOf, CHUNK, download, type Piece, Ring, upload, valuesOf } from "./staging.ts";

/** Dispatches of one submit: drivers reset devices whose work takes seconds. */
const SUBMIT = 1024;
/** Results that may be under way at once, and the bytes of each. */
const SLOTS = 4;
const SLOT = 256 * 1024;

export class WebGPUSession implements Session {
  readonly device: string;
  readonly memory: { readonly planned: number; readonly platform: number };
  private readonly prepared: Prepared;
  private readonly entries: ReadonlyMap<string, Entry>;
  private readonly ring: Ring;
  private readonly chunks: Ring;
  /** Ends when everything asked for so far has been submitted: calls reach the queue in the order they are made. */
  private tail: Promise<unknown> = Promise.resolve();
  private closed = false;
  private readonly loads: Loads;
  private readonly mover: Mover;
  private readonly skipping: Skipping;

  private constructor(
    private readonly program: Program,
    private readonly gpu: WebGPUDevice,
    private readonly pages: ReadonlyMap<string, readonly GPUBuffer[]>,
  ) {
    this.device = gpu.name;
    this.loads = new Loads(program);
    this.mover = new Mover(gpu.device, (placed) => this.pieces(placed));
    this.skipping = new Skipping(program);
    this.entries = new Map(program.entries.map((e) => [e.name, e]));
    this.prepared = new Prepared(program, gpu, pages);
    this.ring = new Ring(gpu.device, SLOT, SLOTS);
    this.chunks = new Ring(gpu.device, CHUNK, 1);
    const planned = program.arenas.reduce((sum, a) => sum + a.pages.reduce((x, y) => x + y, 0), 0);
    const allocated = [...pages.values()].flat().reduce((sum, b) => sum + b.size, 0);
    this.memory = { planned, platform: allocated - planned + this.ring.bytes + this.chunks.bytes };
  }

  /** Allocates the arenas and writes the constants. Throws `OutOfMemory`, `DeviceLost`, and `InputError` where the device is too small for the program. */
  static async open(program: Program, gpu: WebGPUDevice): Promise<WebGPUSession> {
    if (program.target !== "webgpu") throw new InputError("P0902", `this program is built for ${program.target}, not for webgpu`);
    const { device, limits } = gpu;
    gpu.check();
    const largest = Math.max(0, ...program.arenas.flatMap((a) => a.pages));
    if (largest > limits.bindingBytes) {
      throw new InputError("P0902", `this program has pages of ${largest} bytes, and this device binds at most ${limits.bindingBytes}`, [
        "build it again for this device",
      ]);
    }
    const bound = Math.max(0, ...program.kernels.map((k) => k.operands.length));
    if (bound > limits.bindings) {
      throw new InputError("P0902", `this program binds ${bound} buffers in one dispatch, and this device allows ${limits.bindings}`, [
        "build it again for this device",
      ]);
    }
    const pages = new Map<string, GPUBuffer[]>();
    device.pushErrorScope("out-of-memory");
    for (const arena of program.arenas) {
      pages.set(
        arena.name,
        arena.pages.map((bytes, i) =>
          device.createBuffer({
            label: `${arena.name} ${i}`,
            size: Math.max(16, Math.ceil(bytes / 16) * 16),
            usage: BufferUsage.STORAGE | BufferUsage.COPY_SRC | BufferUsage.COPY_DST,
          }),
        ),
      );
    }
    const refused = await device.popErrorScope();
    const free = () => {
      for (const buffer of [...pages.values()].flat()) buffer.destroy();
    };
    if (refused) {
      free();
      const total = program.arenas.reduce((sum, a) => sum + a.pages.reduce((x, y) => x + y, 0), 0);
      throw new OutOfMemory(`the device has no room for the ${(total / 2 ** 20).toFixed(1)} MiB of this plan`, [
        "a smaller `batch` or `sequence`, or `memory = ...` in the training section, needs less",
        `the device says: ${refused.message}`,
      ]);
    }
    const session = new WebGPUSession(program, gpu, pages);
    for (const c of program.constants) {
      const placed = program.tensors[c.tensor];
      await upload(device, session.pieces(placed), bytesOf(arrayOf(placed.dtype, c.data)));
    }
    gpu.check();
    return session;
  }

  async write(kind: "param" | "state", name: string, data: Values | Weights): Promise<void> {
    const { placed, format, pieces } = placeToWrite(this.program, this.loads, kind, name, data.length);
    if (format !== undefined)
      return this.inOrder(() => this.mover.feedWords(placed, isWeights(data) ? data : weightsOf(data as Float32Array), format));
    if (kind === "state" || !this.loads.takes(name)) {
      if (kind === "param") this.loads.written(name, data);
      return this.inOrder(() =>
        isWeights(data) ? this.mover.feed(placed, data, 0) : upload(this.gpu.device, this.pieces(placed), bytesOf(data)),
      );
    }
    const due = this.loads.written(name, pieces || !isWeights(data) ? data : await wholeOf(data));
    if (due) await this.load(due);
  }

  private load(due: Due): Promise<unknown> {
    if (due.load.pieces === undefined) return this.start(due.load.entry, due.inputs as Readonly<Record<string, Values>>, [], []);
    const run = async (entry: string, given: { placed: Placed; values: Values }[]) => {
      const work = await this.prepared.of(this.entries.get(entry)!);
      await this.send(given);
      await this.submit(entry, work, () => {});
    };
    const device: Device = {
      feed: (to, weights, at) => this.mover.feed(to, weights, at),
      execute: (entry) => run(entry, []),
      run: (entry, inputs) => run(entry, this.inputsOf(this.entries.get(entry)!, inputs)),
      copy: (from, to, at) => this.mover.copy(from, to, at),
      take: (from) => this.download(from),
      left: new Map(),
    };
    return this.inOrder(() => runDue(this.program, due, device));
  }

  async read(kind: "param" | "state", name: string): Promise<Values> {
    const placed = placeToRead(this.program, this.loads, kind, name);
    return this.inOrder(() => this.download(placed));
  }

  async run(name: string, inputs: Readonly<Record<string, Values | number>>, outputs?: readonly string[]): Promise<Record<string, Values>> {
    // Queued before this run, whose body waits for them: they have ended by then, or failed.
    const loads = this.loads.take().map((due) => this.load(due));
    return this.start(name, inputs, outputs, loads);
  }

  private async start(
    name: string,
    inputs: Readonly<Record<string, Values | number>>,
    outputs: readonly string[] | undefined,
    before: readonly Promise<unknown>[],
  ): Promise<Record<string, Values>> {
    const entry = this.entries.get(name);
    if (!entry) throw new InputError("P0801", `there is no entry ${name}`, [`there are: ${[...this.entries.keys()].join(", ")}`]);
    const wanted = outputs ?? entry.outputs;
    const places = wanted.map((output) => this.placeOf(this.program.outputs, `${name}/${output}`));
    const given = this.inputsOf(entry, inputs);
    // what is counted comes back behind the outputs
    const measured = this.skipping.of(name);
    places.push(...measured.map((i) => this.program.tensors[this.skipping.measure(i).counts]));
    const bytes = places.reduce((sum, p) => sum + p.bytes, 0);
    // Small outputs are copied by the run itself and read once the next may begin; large ones are read before anything can overwrite them.
    const small = bytes <= this.ring.slotBytes;
    const slot = await this.inOrder(async () => {
      await Promise.all(before);
      const work = await this.prepared.of(entry);
      await this.send(given);
      await this.clear(measured);
      const slot = small && bytes > 0 ? await this.ring.take() : undefined;
      await this.submit(name, work, (encoder) => {
        let at = 0;
        for (const placed of slot ? places : [])
          for (const p of this.pieces(placed)) {
            encoder.copyBufferToBuffer(p.buffer, p.offset, slot!, at, p.bytes);
            at += p.bytes;
          }
      });
      if (small) return slot;
      const results: Values[] = [];
      for (const placed of places) results.push(await this.download(placed));
      return results;
    });
    if (Array.isArray(slot)) {
      measured.forEach((m, i) => {
        this.skipping.counted(m, slot[wanted.length + i] as Int32Array);
      });
      return Object.fromEntries(wanted.map((output, i) => [output, slot[i]]));
    }
    if (slot === undefined) return {};
    const data = await this.guarded(() => this.ring.read(slot, bytes));
    let at = 0;
    const results = places.map(({ bytes: size, dtype }) => {
      at += size;
      return valuesOf(dtype, data.slice(at - size, at));
    });
    measured.forEach((m, i) => {
      this.skipping.counted(m, results[wanted.length + i] as Int32Array);
    });
    return Object.fromEntries(wanted.map((output, i) => [output, results[i]]));
  }

  densities(): readonly Density[] {
    return this.skipping.densities();
  }

  /** Counting adds to what is there. */
  private async clear(measured: readonly number[]): Promise<void> {
    if (measured.length === 0) return;
    const encoder = this.gpu.device.createCommandEncoder({ label: "counts" });
    for (const i of measured)
      for (const p of this.pieces(this.program.tensors[this.skipping.measure(i).counts])) encoder.clearBuffer(p.buffer, p.offset, p.bytes);
    this.gpu.device.queue.submit([encoder.finish()]);
  }

  /** Waits for what was asked for, frees the buffers. The device itself is the caller's. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.tail;
    this.ring.destroy();
    this.chunks.destroy();
    for (const buffer of [...this.pages.values()].flat()) buffer.destroy();
  }

  /** Runs `work` after everything asked for before, and says what the device did where it fails. */
  private inOrder<T>(work: () => Promise<T>): Promise<T> {
    if (this.closed) return Promise.reject(new Bug("this session is closed"));
    const result = this.tail.then(() => this.guarded(work));
    this.tail = result.catch(() => undefined);
    return result;
  }

  private async guarded<T>(work: () => Promise<T>): Promise<T> {
    this.gpu.check();
    try {
      const result = await work();
      this.gpu.check();
      return result;
    } catch (error) {
      // A lost device makes every call fail in its own way; its loss is what there is to say.
      await Promise.race([this.gpu.device.lost, new Promise((resolve) => setTimeout(resolve, 0))]);
      this.gpu.check();
      throw error;
    }
  }

  private placeOf(names: Readonly<Record<string, number>>, name: string): Placed {
    if (!Object.hasOwn(names, name)) throw new InputError("P0801", `the program has no ${name}`);
    return this.program.tensors[names[name]];
  }

  /** The ranges of buffers that hold a tensor; one larger than its page goes on in the pages after it. */
  private pieces(placed: Placed): Piece[] {
    const out: Piece[] = [];
    const pages = this.pages.get(placed.arena) ?? [];
    const sizes = this.program.arenas.find((a) => a.name === placed.arena)?.pages ?? [];
    let offset = placed.offset;
    for (let page = placed.page, at = 0; at < placed.bytes; page++, offset = 0) {
      const bytes = Math.min(placed.bytes - at, sizes[page] - offset);
      if (!(bytes > 0)) throw new Bug(`a tensor of ${placed.bytes} bytes does not lie in the pages of ${placed.arena}`);
      out.push({ buffer: pages[page], offset, at, bytes });
      at += bytes;
    }
    return out;
  }

  private async download(placed: Placed): Promise<Values> {
    return valuesOf(placed.dtype, await download(this.gpu.device, this.chunks, this.pieces(placed), placed.bytes));
  }

  /** What the entry's inputs are written with: the caller's values, and scalars computed from them. */
  private inputsOf(entry: Entry, inputs: Readonly<Record<string, Values | number>>): { placed: Placed; values: Values }[] {
    const scalars = hostScalars(entry, inputs);
    const names = new Set([...entry.inputs, ...scalars.keys()]);
    return [...names].map((name) => {
      const placed = this.placeOf(this.program.inputs, `${entry.name}/${name}`);
      const value = scalars.get(name) ?? inputs[name];
      if (value === undefined) throw new InputError("P0801", `${entry.name} needs the input \`${name}\``);
      const values = typeof value === "number" ? arrayOf(placed.dtype, [value]) : value;
      if (values.byteLength !== placed.bytes) {
        throw new InputError(
          "P0801",
          `the input \`${name}\` of ${entry.name} has ${placed.bytes / 4} elements ([${placed.shape.join(", ")}]), not ${values.length}`,
        );
      }
      if ((placed.dtype === "f32") !== values instanceof Float32Array) {
        throw new InputError(
          "P0801",
          `the input \`${name}\` of ${entry.name} is ${placed.dtype}: pass ${placed.dtype === "f32" ? "a Float32Array" : "an Int32Array"}`,
        );
      }
      return { placed, values };
    });
  }

  /** Writes inputs; small ones that lie next to each other, but for padding, in one transfer. */
  private async send(given: readonly { placed: Placed; values: Values }[]): Promise<void> {
    const { device } = this.gpu;
    const whole = (p: Placed) => p.bytes <= 4096 && p.offset + p.bytes <= (this.pages.get(p.arena)?.[p.page]?.size ?? 0);
    const small = given
      .filter(({ placed }) => whole(placed))
      .sort((a, b) => a.placed.page - b.placed.page || a.placed.offset - b.placed.offset);
    for (let i = 0; i < small.length; ) {
      const first = small[i].placed;
      let end = first.offset + first.bytes;
      let j = i + 1;
      // Offsets are aligned: a gap shorter than the alignment holds nothing.
      for (; j < small.length; j++) {
        const next = small[j].placed;
        if (next.arena !== first.arena || next.page !== first.page || next.offset - end >= this.gpu.limits.alignment) break;
        end = next.offset + next.bytes;
      }
      const bytes = new Uint8Array(end - first.offset);
      for (; i < j; i++) bytes.set(bytesOf(small[i].values), small[i].placed.offset - first.offset);
      device.queue.writeBuffer(this.pieces(first)[0].buffer, first.offset, bytes);
    }
    for (const { placed, values } of given) if (!whole(placed)) await upload(device, this.pieces(placed), bytesOf(values));
  }

  /** Encodes the steps; `after` adds copies to the last submit. */
  private async submit(name: string, work: readonly Work[], after: (encoder: GPUCommandEncoder) => void): Promise<void> {
    const { device } = this.gpu;
    for (let i = 0; i < work.length || i === 0; ) {
      const encoder = device.createCommandEncoder({ label: name });
      const end = i + SUBMIT;
      let pass: GPUComputePassEncoder | undefined;
      for (; i < work.length && i < end; i++) {
        const next = work[i];
        if (!("group" in next)) break;
        const step = next.skips && this.skipping.skips(next.skips.measure) ? next.skips.ready : next;
        pass ??= encoder.beginComputePass({ label: name });
        pass.setPipeline(step.pipeline);
        pass.setBindGroup(0, step.group);
        pass.dispatchWorkgroups(...step.grid);
      }
      pass?.end();
      if (i >= work.length) after(encoder);
      device.queue.submit([encoder.finish()]);
      if (i >= work.length) return;
      const step = work[i];
      if (!("group" in step)) {
        await this.onHost(step);
        i++;
        if (i >= work.length) {
          const last = device.createCommandEncoder({ label: name });
          after(last);
          device.queue.submit([last.finish()]);
          return;
        }
      }
    }
  }

  private async onHost(step: HostStep): Promise<void> {
    const placed = (i: number) => this.program.tensors[i];
    const operands: { placed: Placed; values: Values }[] = [];
    for (const i of step.operands) operands.push({ placed: placed(i), values: await this.download(placed(i)) });
    const results = step.results.map(placed);
    const values = runHostStep(step, operands, results);
    for (const [i, result] of results.entries()) await upload(this.gpu.device, this.pieces(result), bytesOf(values[i]));
  }
}
