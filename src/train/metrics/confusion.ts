import { type Metric, requireClasses, unfit } from "./metric.ts";

/** How many rows of each class were taken for each: `confusion/<the class>/<what it was taken for>`. `classes`: names by number. */
export const confusion: Metric = {
  wants: "labels",
  counts: true,
  of: (rows, { classes }) => {
    requireClasses("confusion", rows);
    const { predicted, expected } = rows;
    const most = [...expected, ...predicted].reduce((a, b) => Math.max(a, b), -1);
    if (classes !== undefined && !(Array.isArray(classes) && classes.every((name) => typeof name === "string")))
      throw unfit("`classes` of `confusion` are names, one for each class");
    const names = (classes as readonly string[] | undefined) ?? Array.from({ length: most + 1 }, (_, i) => String(i));
    if (most >= names.length) throw unfit(`\`confusion\` is told of ${names.length} classes, and a row has the class ${most}`);
    if (new Set(names).size < names.length) throw unfit("two `classes` of `confusion` have one name");
    const out: Record<string, number> = {};
    for (const label of names) for (const taken of names) out[`confusion/${label}/${taken}`] = 0;
    expected.forEach((label, i) => {
      out[`confusion/${names[label]}/${names[predicted[i]]}`]++;
    });
    return out;
  },
};
