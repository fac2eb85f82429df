/**
 * Entries that compute once from weights (`Program.loads`), for sessions: which of them are due, and the weights that only they read, which a session
 * does not keep but hands in, a piece at a time where the entry takes pieces.
 */

import type { Load, Placed, Program, Values } from "../ground/program.ts";
import type { Weights } from "../ground/weights.ts";
import { Bug, InputError } from "../ir/errors.ts";
import { isWeights, weightsOf } from "./weights.ts";

export interface Due {
  readonly load: Load;
  readonly inputs: Readonly<Record<string, Values | Weights>>;
}

/** What a session does for an entry that takes pieces. */
export interface Device {
  /** Fills a tensor with numbers from the `at`-th on. */
  feed(to: Placed, weights: Weights, at: number): Promise<void>;
  /** Runs an entry whose inputs are written. */
  execute(entry: string): Promise<void>;
  /** Runs an entry. */
  run(entry: string, inputs: Readonly<Record<string, Values>>): Promise<void>;
  /** Copies a tensor into another, from a byte on. */
  copy(from: Placed, to: Placed, at: number): void;
  take(from: Placed): Promise<Values>;
  /** What pieces leave for the entry behind them, by name and size: the next weight's lies where that of the last one did. */
  readonly left: Map<string, Values>;
}

export class Loads {
  private readonly due = new Set<Load>();
  private readonly held = new Map<Load, Map<string, Values>>();
  private readonly handed = new Map<string, Load>();

  constructor(private readonly program: Pick<Program, "loads">) {
    const loads = program.loads ?? [];
    const later = new Set(loads.flatMap(({ pieces }) => pieces?.rest ?? []));
    for (const load of loads) {
      // what follows pieces is run with them
      if (later.has(load.entry)) continue;
      this.due.add(load);
      this.held.set(load, new Map());
      for (const name of load.handed) this.handed.set(name, load);
    }
  }

  has(entry: string): boolean {
    return (this.program.loads ?? []).some((load) => load.entry === entry);
  }
  /** Whether a parameter is handed to such an entry, and has no place of its own. */
  takes(param: string): boolean {
    return this.handed.has(param);
  }
  /** Whether it is handed in pieces, so that nobody needs it whole. */
  inPieces(param: string): boolean {
    return this.handed.get(param)?.pieces !== undefined;
  }

  /**
   * To be told of every parameter written. Gives the entry that can run now, where it needs nothing but what it is handed: the caller then
   * runs it, and none of its weights is kept. What cannot run yet is kept as a copy.
   */
  written(param: string, data: Values | Weights): Due | undefined {
    const load = this.handed.get(param);
    if (load === undefined) {
      for (const other of this.held.keys()) if (other.reads) this.due.add(other);
      return undefined;
    }
    const held = this.held.get(load)!;
    this.due.add(load);
    if (!load.reads && load.handed.every((name) => name === param || held.has(name))) {
      const inputs = Object.fromEntries([...held, [param, data]]);
      held.clear();
      this.due.delete(load);
      return { load, inputs };
    }
    if (isWeights(data)) throw new Bug(`${param} is held whole, and given in pieces`);
    held.set(param, data.slice());
    return undefined;
  }

  /** What must run before any other entry may; it is then taken as run. Throws `InputError` where a weight was never written. */
  take(): Due[] {
    const out = [...this.due].map((load): Due => {
      const held = this.held.get(load)!;
      const missing = load.handed.find((name) => !held.has(name));
      if (missing !== undefined) throw new InputError("P0801", `the parameter ${missing} has not been written`);
      return { load, inputs: Object.fromEntries(held) };
    });
    this.due.clear();
    return out;
  }
}

/** Runs an entry that is due. */
export async function runDue(program: Program, { load, inputs }: Due, device: Device): Promise<void> {
  if (load.pieces === undefined) return device.run(load.entry, inputs as Readonly<Record<string, Values>>);
  const { count, made, rest } = load.pieces;
  const [[name, data]] = Object.entries(inputs);
  const weights = isWeights(data) ? data : weightsOf(data as Float32Array);
  const input = program.tensors[program.inputs[`${load.entry}/${name}`]];
  const outputs = program.entries.find((e) => e.name === load.entry)!.outputs;
  const left = new Map<string, Values>();
  for (let next = 0; next < weights.length; next += count) {
    // the last piece begins earlier, rather than being shorter: what it computes again comes out the same
    const at = Math.min(next, weights.length - count);
    await device.feed(input, weights, at);
    await device.execute(load.entry);
    for (const output of outputs) {
      const from = program.tensors[program.outputs[`${load.entry}/${output}`]];
      const offset = (at / count) * from.bytes;
      if (made[output] !== undefined) device.copy(from, program.tensors[made[output]], offset);
      else {
        const to = program.tensors[program.inputs[`${rest}/${output}`]];
        const key = `${output} ${to.dtype} ${to.bytes}`;
        const whole = device.left.get(key) ?? emptyFor(to);
        device.left.set(key, whole);
        whole.set(await device.take(from), offset / 4);
        left.set(output, whole);
      }
    }
  }
  if (rest !== undefined) await device.run(rest, Object.fromEntries(left));
}

const emptyFor = ({ dtype, bytes }: Placed): Values => (dtype === "f32" ? new Float32Array(bytes / 4) : new Int32Array(bytes / 4));

/** P0801: a parameter or a state has another number of elements than what is given. `words`: it lies in words of 16 bits; `pieces`: its place is a piece's. */
export function requireLength(kind: string, name: string, placed: Placed, length: number, words: boolean, pieces: boolean): void {
  const wanted = placed.bytes / 4;
  const fits = words ? Math.ceil(length / 2) === wanted : pieces ? length >= wanted : length === wanted;
  if (!fits) throw new InputError("P0801", `${kind} ${name} has ${words ? 2 * wanted : wanted} elements, not ${length}`);
}
