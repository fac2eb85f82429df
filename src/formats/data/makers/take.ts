/** `take`: the rows that a table begins with; what is held back from training stays as it is. */
import { InputError } from "../../../ir/errors.ts";
import { innerSpec, type Maker, wrong } from "../spec.ts";

export const take: Maker = {
  source(spec, kitchen) {
    const rows = Number(spec.args[1]);
    if (!Number.isInteger(rows) || rows < 1) throw wrong(spec, "`rows`", spec.args[1], "a whole number above 0");
    const source = kitchen.source(innerSpec(spec));
    if (source === undefined || spec.part === "held") return source;
    const [start, end] = source.part;
    if (rows > end - start)
      throw new InputError("P0703", `the first ${rows} rows of \`${source.file}\` are wanted, and there are ${end - start}`);
    return { ...source, part: [start, start + rows] };
  },
};
