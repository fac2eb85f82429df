/** `average`: one column's mean over several tables of the same rows; everything else is the first table's, or that of `rows`. */
import { InputError } from "../../../ir/errors.ts";
import { given, innerSpec, innerSpecs, type Maker, wrong } from "../spec.ts";
import { arrayColumn } from "../table.ts";

export const average: Maker = {
  table(spec, kitchen) {
    const name = spec.args[1];
    if (typeof name !== "string") throw wrong(spec, "`column`", name, "a name");
    const tables = innerSpecs(spec)
      .map((inner) => kitchen.table(inner))
      .filter((table) => table !== undefined);
    if (tables.length === 0) return undefined;
    const [first] = tables;
    // the same texts told otherwise, such as in another pattern
    const beside = given(spec.args[2]) ? kitchen.table(innerSpec(spec, 2)) : first;
    if (beside === undefined) return undefined;
    if (beside.rows !== first.rows) throw new InputError("P0703", `\`rows\` has ${beside.rows} rows where ${first.name} has ${first.rows}`);
    const columns = tables.map((table) => {
      const column = table.columns.get(name);
      if (column === undefined)
        throw new InputError("P0703", `${table.name} has no column \`${name}\` to average`, [
          `it has ${[...table.columns.keys()].join(", ")}`,
        ]);
      if (table.rows !== first.rows)
        throw new InputError(
          "P0703",
          `tables of the same rows are averaged, but ${first.name} has ${first.rows} and ${table.name} ${table.rows}`,
        );
      return column;
    });
    const means = Array.from({ length: first.rows }, (_, i) => {
      const shape = columns[0].shape(i);
      const odd = columns.findIndex((column) => column.shape(i).join() !== shape.join());
      if (odd >= 0)
        throw new InputError(
          "P0703",
          `row ${i + 1} of \`${name}\` is [${shape.join(", ")}] in ${first.name} and [${columns[odd].shape(i).join(", ")}] in ${tables[odd].name}`,
        );
      const values = Array.from(columns[0].row(i), (_, j) => columns.reduce((sum, column) => sum + column.row(i)[j], 0) / columns.length);
      return { values, shape };
    });
    return {
      ...beside,
      name: "average",
      columns: new Map([...beside.columns, [name, arrayColumn(means, columns[0].rank, columns[0].pad)]]),
    };
  },
};
