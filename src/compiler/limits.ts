/**
 * How much work one file may ask of the compiler. Everything that a text can make grow without an end is counted against one of these, and what
 * is beyond it is an error with its place (P0002): a file can be refused, but it cannot keep the machine. The figures are some hundred times
 * what the largest models of the library take.
 */
export interface Limits {
  /** Expressions evaluated, elements made and compared, places looked at. */
  readonly steps: number;
  /** Expressions that are being evaluated inside each other: calls of functions, and values that are waited for. */
  readonly depth: number;
  /** Elements of one list. */
  readonly items: number;
  /** Characters of one text that is put together. */
  readonly text: number;
  /** Characters of one source file. */
  readonly source: number;
  /** Files that a file imports, directly and through others. */
  readonly imports: number;
  /** Elements of a table that is written into a graph. */
  readonly constants: number;
}

export const limits: Limits = {
  steps: 20_000_000,
  depth: 500,
  items: 1_000_000,
  text: 16_777_216,
  source: 8_388_608,
  imports: 1_000,
  constants: 67_108_864,
};

/** Problems of one file that are told; of the rest, how many there are. */
export const mostProblems = 100;
/** Letters of a name that messages show, and that spellings are compared over. */
export const longestName = 100;
