/** The one way to lay out a file. */
import { layout } from "./format/layout.ts";
import { pieces } from "./format/pieces.ts";
import { parseConcrete } from "./read/parse.ts";
import type { Problem } from "./report/problem.ts";

interface Formatted {
  /** The file laid out; with errors among the problems, as it was. */
  readonly text: string;
  readonly problems: readonly Problem[];
}

/** Columns are found in what is there, and may move when words have moved to other lines: seldom more than once. */
const ROUNDS = 4;

/**
 * Lays a file out. Words, their order and comments stay; what reads without errors reads as the same tree afterwards, and laying it out
 * once more changes nothing.
 */
export function format(text: string, file: string): Formatted {
  const { problems, concrete } = parseConcrete(text, file);
  if (problems.some((p) => p.severity === "error")) return { text, problems };
  let laid = layout(pieces(concrete));
  for (let round = 0; round < ROUNDS; round++) {
    const again = layout(pieces(parseConcrete(laid, file).concrete));
    if (again === laid) break;
    laid = again;
  }
  return { text: laid, problems };
}
