/** `column`: a table's column by itself, as `table["name"]` gives it. */
import { InputError } from "../../../ir/errors.ts";
import { innerSpec, type Maker, wrong } from "../spec.ts";

export const column: Maker = {
  table(spec, kitchen) {
    const name = spec.args[1];
    if (typeof name !== "string") throw wrong(spec, "the column", name, "a name");
    const inner = innerSpec(spec);
    // what a stage wrote has it without the table that the stage went over
    const alone = inner.make === "predicted" ? kitchen.table({ ...inner, args: inner.args.slice(0, 1) }) : undefined;
    const table = alone?.columns.has(name) ? alone : kitchen.table(inner);
    if (table === undefined) return undefined;
    const values = table.columns.get(name);
    if (values === undefined)
      throw new InputError("P0703", `${table.name} has no column \`${name}\``, [`it has ${[...table.columns.keys()].join(", ")}`]);
    return { ...table, columns: new Map([[name, values]]) };
  },
};
