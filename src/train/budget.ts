/** What a program takes, and whether that is allowed. */
import { InputError } from "../ir/errors.ts";
import type { ArenaName, Program } from "../runtime/program.ts";
import type { Built } from "./engine.ts";

export interface MemoryTable {
  readonly arenas: Readonly<Record<ArenaName, number>>;
  /** Of all arenas: what a run allocates. */
  readonly total: number;
}

const MEANING: Readonly<Record<ArenaName, string>> = {
  frozen: "frozen weights",
  streamed: "frozen weights on their way from their files",
  file: "frozen weights in their files",
  trained: "trained parameters, their gradients and optimizer state",
  states: "states",
  activations: "activations",
  io: "inputs, outputs, staging",
  constants: "tables",
  measures: "counts of zeros",
  scratch: "scratch of the workers",
};

export function memoryOf(program: Program): MemoryTable {
  const arenas: Record<ArenaName, number> = {
    frozen: 0,
    streamed: 0,
    file: 0,
    trained: 0,
    states: 0,
    activations: 0,
    io: 0,
    constants: 0,
    measures: 0,
    scratch: 0,
  };
  for (const { name, pages } of program.arenas) arenas[name] += pages.reduce((sum, bytes) => sum + bytes, 0);
  return { arenas, total: Object.values(arenas).reduce((a, b) => a + b, 0) };
}

export const arenaMeaning = (name: ArenaName): string => MEANING[name];

/** P0901: the plan needs more than the budget; says where it goes. */
export function requireBudget({ program, smallest }: Pick<Built, "program" | "smallest">, budget: number, source: string): MemoryTable {
  const memory = memoryOf(program);
  if (memory.total <= budget) return memory;
  const parts = Object.entries(memory.arenas)
    .filter(([, bytes]) => bytes > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([name, bytes]) => `${showBytes(bytes).padStart(10)}  ${MEANING[name as ArenaName]}`);
  throw new InputError(
    "P0901",
    `this needs ${showBytes(memory.total)}, ${showBytes(memory.total - budget)} more than ${source} allows (${showBytes(budget)})`,
    [
      ...parts,
      ...(smallest !== undefined && smallest < memory.total
        ? [`with all that can be recomputed it needs ${showBytes(smallest)} (${smallest} bytes): the smallest budget that fits`]
        : []),
      "a smaller `batch` or `sequence` (with `accumulate` the update stays the same), fewer trained parameters, or more `memory`",
    ],
  );
}

/** `12.3 MB`: powers of ten, as in the language. */
export function showBytes(bytes: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let n = bytes;
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) {
    n /= 1000;
    unit++;
  }
  return `${unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(n >= 10 ? 1 : 2)} ${units[unit]}`;
}
