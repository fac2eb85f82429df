/** A table that stands in for data where only sizes are asked for: rows of zeros, as long as the stage says. */
import type { TrainStage } from "../../compiler/project.ts";
import type { Column } from "../../formats/data/table.ts";
import { substitute, symbolsOf } from "../../ir/dim.ts";
import { InputError } from "../../ir/errors.ts";
import { batchSymbol, type DataTable } from "./columns.ts";

/** As many rows as one step takes. P0739: nothing says how long rows are. */
export function standIn(stage: TrainStage, number: number): DataTable {
  const { columns } = stage.step[number];
  const batch = batchSymbol(columns);
  const made = new Map<string, Column>();
  for (const decl of columns) {
    const shape = decl.shape.slice(1).map((dim) => {
      const sizes = new Map<string, number>();
      for (const name of symbolsOf(dim)) {
        if (name === batch) continue;
        if (stage.sequence === undefined) {
          throw new InputError("P0739", `nothing says how long rows of \`${decl.name}\` are: there is no data to look at`, [
            "`sequence = 128` in the stage says it",
          ]);
        }
        sizes.set(name, stage.sequence);
      }
      return Number(substitute(dim, sizes));
    });
    // masks are true: rows are as long as the stage says
    const row = new Float32Array(shape.reduce((n, d) => n * d, 1)).fill(decl.dtype === "bool" ? 1 : 0);
    made.set(decl.name, { rank: shape.length, pad: 0, row: () => row, shape: () => shape });
  }
  return { name: `the data of ${stage.name}`, rows: stage.batch * stage.accumulate, columns: made };
}
