/**
 * Entries that compute once from weights (`Program.loads`), for sessions: which of them are due, and the weights that only they read, which a session
 * does not keep but hands in.
 */
import { InputError } from "../ir/errors.ts";
import type { Load, Program, Values } from "./program.ts";

export interface Due {
  readonly entry: string;
  readonly inputs: Readonly<Record<string, Values>>;
}

export class Loads {
  private readonly due = new Set<Load>();
  private readonly held = new Map<Load, Map<string, Values>>();
  private readonly handed = new Map<string, Load>();

  constructor(private readonly program: Pick<Program, "loads">) {
    for (const load of program.loads ?? []) {
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

  /**
   * To be told of every parameter written. Gives the entry that can run now, where it needs nothing but what it is handed: the caller then
   * runs it, and none of its weights is kept. What cannot run yet is kept as a copy.
   */
  written(param: string, data: Values): Due | undefined {
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
      return { entry: load.entry, inputs };
    }
    held.set(param, data.slice());
    return undefined;
  }

  /** What must run before any other entry may; it is then taken as run. Throws `InputError` where a weight was never written. */
  take(): Due[] {
    const out = [...this.due].map((load): Due => {
      const held = this.held.get(load)!;
      const missing = load.handed.find((name) => !held.has(name));
      if (missing !== undefined) throw new InputError("P0801", `the parameter ${missing} has not been written`);
      return { entry: load.entry, inputs: Object.fromEntries(held) };
    });
    this.due.clear();
    return out;
  }
}
