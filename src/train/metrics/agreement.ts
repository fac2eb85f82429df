/** How far tables of predictions for the same rows agree, whatever is right: are several runs one result? */
import type { DatasetSpec, Static } from "../../compiler/project.ts";
import type { DataTable } from "../data/columns.ts";
import { share } from "./classes.ts";
import { type Metric, type Options, unfit } from "./metric.ts";

/**
 * `agreement`: the share of pairs of voters that say the same, over all rows. `krippendorff_alpha`: 1 − observed / expected disagreement of
 * classes (Krippendorff 2004), where what is expected is drawn from all votes together; 1 where all votes are one class.
 * A voter says the largest of its scores in `column`, or the whole number there; without it, in the one column it has.
 */
export const agreement: Metric = {
  wants: "tables",
  of: async (read, { voters, column }) => {
    if (!Array.isArray(voters) || voters.length < 2 || !voters.every(isTable))
      throw unfit("`agreement` is told of two tables that `predict` gave, or more");
    const votes: number[][] = [];
    for (const voter of voters as readonly DatasetSpec[]) {
      const name = columnOf(voter, column);
      const one: DatasetSpec = { ...voter, make: "column", args: [voter, name], options: {}, part: "main" };
      votes.push(votesOf(await read(voter.make === "column" ? voter : one), name));
    }
    const rows = votes[0].length;
    if (votes.some((own) => own.length !== rows))
      throw unfit(`\`agreement\` is of tables of the same rows, these have ${votes.map((own) => own.length).join(", ")}`);
    return agreementOf(Array.from({ length: rows }, (_, row) => votes.map((own) => own[row])));
  },
};

const isTable = (value: Static): boolean => typeof value === "object" && value !== null && "kind" in value && value.kind === "dataset";

/** `rows`: the votes on each. */
function agreementOf(rows: readonly (readonly number[])[]): Record<string, number> {
  const all = new Map<number, number>();
  let [same, pairs, apart] = [0, 0, 0];
  for (const votes of rows) {
    const counts = new Map<number, number>();
    for (const vote of votes) {
      counts.set(vote, (counts.get(vote) ?? 0) + 1);
      all.set(vote, (all.get(vote) ?? 0) + 1);
    }
    const alike = [...counts.values()].reduce((sum, n) => sum + n * (n - 1), 0);
    const possible = votes.length * (votes.length - 1);
    same += alike;
    pairs += possible;
    apart += (possible - alike) / (votes.length - 1);
  }
  const n = [...all.values()].reduce((sum, count) => sum + count, 0);
  const expected = [...all.values()].reduce((sum, count) => sum + count * (n - count), 0) / (n - 1);
  return { agreement: share(same, pairs), krippendorff_alpha: expected === 0 ? 1 : 1 - apart / expected };
}

/** The column that a voter's answers are in: what is said, or else the only one that its stage computed. */
function columnOf(voter: DatasetSpec, said: Options[string] | undefined): string {
  const computed = voter.make === "column" ? [voter.args[1]] : voter.options.columns;
  const name = said ?? (Array.isArray(computed) && computed.length === 1 ? computed[0] : undefined);
  if (typeof name === "string") return name;
  throw unfit("`agreement` does not know which column a voter's answers are in", [
    ...(Array.isArray(computed) ? [`it has: ${computed.join(", ")}`] : ["voters are what `predict` gives"]),
    'such as `agreement(voters, "scores")`',
  ]);
}

function votesOf(table: DataTable, name: string): number[] {
  const column = table.columns.get(name);
  if (column === undefined) throw unfit(`${table.name} has no column \`${name}\``, [`it has: ${[...table.columns.keys()].join(", ")}`]);
  return Array.from({ length: table.rows }, (_, i) => {
    const row = Array.from(column.row(i));
    if (column.rank === 1 && row.length > 0) return row.indexOf(row.reduce((a, b) => Math.max(a, b)));
    if (column.rank === 0 && Number.isInteger(row[0])) return row[0];
    throw unfit(`row ${i + 1} of ${table.name} has neither a class nor a score for each class in \`${name}\``);
  });
}
