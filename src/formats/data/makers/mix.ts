/** `mix`: rows of several tables, one after another; `weights`: how often each one's rows come. */
import { InputError } from "../../../ir/errors.ts";
import { describe } from "../../files.ts";
import { innerSpecs, type Maker } from "../spec.ts";
import { joinTables, pickRows } from "../table.ts";

export const mix: Maker = {
  table(spec, kitchen) {
    const [specs] = spec.args;
    const { weights } = spec.options;
    if (!Array.isArray(specs) || specs.length === 0)
      throw new InputError("P0703", `\`mix\` takes a list of tables, this is ${describe(specs)}`);
    const tables = innerSpecs(spec)
      .map((one) => kitchen.table(one))
      .filter((table) => table !== undefined);
    if (tables.length === 0) return undefined;
    if (weights === undefined || weights === null) return joinTables(tables, "mix");
    if (
      !Array.isArray(weights) ||
      weights.length !== tables.length ||
      !weights.every((weight) => typeof weight === "number" && weight > 0)
    ) {
      throw new InputError("P0703", `\`weights\` of mix is ${JSON.stringify(weights)} where ${tables.length} positive numbers are wanted`);
    }
    const weighted = tables.map((table, i) =>
      pickRows(
        table,
        Array.from({ length: Math.max(1, Math.round(table.rows * weights[i])) }, (_, row) => row % table.rows),
      ),
    );
    return joinTables(weighted, "mix");
  },
};
