/** `groups`: the answers to each prompt against each other: how much better than they its score is. */
import { InputError } from "../../../ir/errors.ts";
import { numberOf } from "../../numeral.ts";
import { rowsOf } from "../source.ts";
import { boolOption, innerSpec, type Maker, stringOption, wrong } from "../spec.ts";
import { numberColumn, pickRows, type Table } from "../table.ts";

/** In what the deviation of a group is divided by, as in TRL: groups of equal scores have an advantage of 0. */
const LEAST = 1e-4;

/**
 * The inner table with a column `advantage`: the score less the mean of its prompt's answers, over their deviation (of a sample) unless `scale` is false. P0703: rows that no
 * `generate` stage made, a score that is missing, a prompt with one answer.
 */
export const groups: Maker = {
  table(spec, kitchen) {
    const inner = innerSpec(spec);
    const table = kitchen.table(inner);
    const source = kitchen.source(inner);
    if (table === undefined || source === undefined) return undefined;
    const by = stringOption(spec, "by");
    if (by === undefined) throw wrong(spec, "`by`", by, "the name of a column of scores");
    const rows = rowsOf(source);
    if (rows.length !== table.rows)
      throw new InputError(
        "P0703",
        `\`${source.file}\`: ${rows.length - table.rows} of ${rows.length} answers have nothing to learn, so groups would not be whole`,
        ["give `sequence` more room, or `generate` more tokens"],
      );
    const scores = rows.map((row) => {
      const score = numberOf(row.values[by]);
      if (score === undefined || !Number.isFinite(score))
        throw new InputError("P0703", `\`${source.file}\`, line ${row.line} has no number \`${by}\``, [
          `it has ${Object.keys(row.values).join(", ")}`,
        ]);
      return score;
    });
    const members = new Map<number, number[]>();
    for (const [i, row] of rows.entries()) {
      const asked = row.values.row;
      if (typeof asked !== "number")
        throw new InputError("P0703", `\`${source.file}\`, line ${row.line} does not say which prompt it answers`, [
          "`groups` takes what a `generate` stage wrote, with scores",
        ]);
      members.set(asked, [...(members.get(asked) ?? []), i]);
    }
    const scale = spec.options.scale === undefined ? true : boolOption(spec, "scale");
    const advantage = new Float32Array(rows.length);
    for (const group of members.values()) {
      if (group.length < 2)
        throw new InputError("P0703", `\`${source.file}\` has one answer to a prompt: there is nothing to compare it with`, [
          "`samples = 8` of `generate` writes eight",
        ]);
      const mean = group.reduce((sum, i) => sum + scores[i], 0) / group.length;
      const deviation = Math.sqrt(group.reduce((sum, i) => sum + (scores[i] - mean) ** 2, 0) / (group.length - 1));
      for (const i of group) advantage[i] = (scores[i] - mean) / (scale ? deviation + LEAST : 1);
    }
    const whole: Table = { ...table, columns: new Map([...table.columns, ["advantage", numberColumn(advantage)]]) };
    // an answer without a token of its own counts among the others, and has nothing that could be made likelier
    const spoken = rows.flatMap((_, i) => (whole.facts?.[i].labelled === 0 ? [] : [i]));
    const gone = rows.length - spoken.length;
    if (gone === 0) return whole;
    return {
      ...pickRows(whole, spoken),
      without: { rows: gone, why: "the answer is empty", notes: ["it counts among the answers to its prompt"] },
    };
  },
};
