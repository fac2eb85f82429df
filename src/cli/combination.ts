/** Several adapters as one, as options of a verb and as the call in a program that says the same. */
import { type Command, Option } from "commander";
import { type Combination, checkCombination, WAYS, type Way } from "../formats/adapters/combine.ts";
import { wholeNumber } from "./context.ts";
import { Usage } from "./errors.ts";

export interface CombinationOptions {
  readonly weights?: string;
  readonly combine?: string;
  readonly density?: string;
  readonly sign?: string;
  readonly rank?: string;
  readonly seed?: string;
}

/** Adds the options; `--seed` is one of those that compile already. */
export function combining(command: Command): Command {
  return command
    .option("--combine <way>", `how several adapters become one: ${WAYS.join(", ")} (default: svd)`)
    .option("--weights <numbers>", "a weight for each adapter, with commas between: 0.7,0.3 (default: 1 for each)")
    .option("--density <share>", "of ties, dare and magnitude_prune: the share of elements that stays")
    .option("--sign <way>", "of ties: the sign is elected by the sum (total, the default) or by number (frequency)")
    .addOption(new Option("--rank <number>", "of svd: the rank of the result (default: the largest of theirs)"));
}

const number = (name: string, text: string): number => {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (!Number.isFinite(value)) throw new Usage(`${name} ${text}: this is no number`);
  return value;
};

/** What the options say of so many adapters. P0672 as in `checkCombination`. */
export function combinationOf(options: CombinationOptions, count: number): Combination {
  const { weights, combine, density, sign, rank, seed } = options;
  const combination: Combination = {
    how: (combine ?? "svd") as Way,
    weights: weights === undefined ? new Array(count).fill(1) : weights.split(",").map((w) => number("--weights", w)),
    ...(density !== undefined && { density: number("--density", density) }),
    ...(sign !== undefined && { sign: sign as "total" }),
    ...(rank !== undefined && { rank: wholeNumber("--rank", rank) }),
    ...(seed !== undefined && combine?.startsWith("dare") && { seed: wholeNumber("--seed", seed) }),
  };
  checkCombination(combination, count);
  return combination;
}

/** Options that only several adapters have a use for. */
export const asksToCombine = ({ weights, combine, density, sign }: CombinationOptions): boolean =>
  [weights, combine, density, sign].some((option) => option !== undefined);
