/** What a program takes, and whether that is allowed. */

import type { ArenaName, Program } from "../../ground/program.ts";
import { InputError } from "../../ir/errors.ts";
import type { Built } from "./engine.ts";

interface MemoryTable {
  readonly arenas: Readonly<Record<ArenaName, number>>;
  /** Of all arenas: what a run allocates. */
  readonly total: number;
  /** Of that, what the last page of a WebAssembly memory has over. */
  readonly spare: number;
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
  const [, spare = 0] = program.arenas.find((a) => a.name === "scratch")?.pages ?? [];
  return { arenas, total: Object.values(arenas).reduce((a, b) => a + b, 0), spare };
}

export const arenaMeaning = (name: ArenaName): string => MEANING[name];

/** Bytes a stage may take: what it says, and no more than there are. */
export const budgetOf = ({ memory }: { readonly memory?: number | undefined }, engine: { readonly memory: number }): number =>
  Math.min(memory ?? Number.POSITIVE_INFINITY, engine.memory);
/** Whose budget it is. */
export const sourceOf = (memory: number | undefined, budget: number): string =>
  memory === budget ? "`memory`" : "the device (or `--memory`)";

/** P0901: the plan needs more than the budget; says where it goes, the smallest budget that fits, and `advice`. */
export async function requireBudget(
  { program, smallest: least }: Pick<Built, "program" | "smallest">,
  { bytes, source }: { readonly bytes: number; readonly source: string },
  advice: readonly string[] = [],
): Promise<MemoryTable> {
  const memory = memoryOf(program);
  if (memory.total <= bytes) return memory;
  const smallest = await least?.();
  const parts = Object.entries(memory.arenas)
    .filter(([, size]) => size > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([name, size]) => `${showBytes(size).padStart(10)}  ${MEANING[name as ArenaName]}`);
  throw new InputError(
    "P0901",
    `this needs ${showBytes(memory.total)}, ${showBytes(memory.total - bytes)} more than ${source} allows (${showBytes(bytes)})`,
    [
      ...parts,
      ...(smallest !== undefined && smallest <= memory.total
        ? [
            `with all that can be recomputed, in slices and row by row, it needs ${showBytes(smallest)} (${smallest} bytes): the smallest budget that fits`,
          ]
        : []),
      ...(advice.length > 0
        ? advice
        : ["a smaller `batch` or `sequence`, fewer trained parameters, weights in fewer bits, or more `memory`"]),
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
