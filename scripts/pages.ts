/**
 * Writes the pages of `docs/reference/` from the tables that hold the facts: `npx tsx scripts/pages.ts`. A test sees that they are up to
 * date.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { type Field, stageFields } from "../src/compiler/elaborate/fields.ts";
import { codes, families } from "../src/compiler/report/codes.ts";
import { ops } from "../src/ir/ops/index.ts";
import { pipeline } from "../src/ir/pipeline.ts";

const page = (title: string, intro: string, body: string): string =>
  `# ${title}\n\n<!-- Made by scripts/pages.ts: do not edit. -->\n\n${intro}\n\n${body.trimEnd()}\n`;
const row = (...cells: readonly string[]): string => `| ${cells.map((c) => c.replaceAll("|", "\\|")).join(" | ")} |\n`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  row(...head) + row(...head.map(() => "---")) + rows.map((r) => row(...r)).join("");

function fields(): string {
  const rows = (of: Readonly<Record<string, Field>>, prefix = ""): string[][] =>
    Object.entries(of).flatMap(([name, { kind, otherwise, doc }]) => [
      [`\`${prefix}${name}\``, kind.what, otherwise === undefined ? "" : `\`${JSON.stringify(otherwise)}\``, doc],
      ...rows(kind.fields ?? {}, `${prefix}${name}.`),
    ]);
  const parts = Object.entries(stageFields).map(
    ([verb, of]) => `## ${verb}\n\n${table(["field", "what it may be", "left out", "what it does"], rows(of))}`,
  );
  const intro =
    "Every field of every stage. `peftc check` tells each wrong one, and `--set STAGE.FIELD=VALUE` sets one from outside (`--set train.optimizer.lr=1e-3`).";
  return page("Fields of stages", intro, parts.join("\n"));
}

function diagnostics(): string {
  const parts = Object.entries(families).map(([start, about]) => {
    const rows = Object.entries(codes)
      .filter(([code]) => code.startsWith(start))
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return `## ${start}: ${about}\n\n${table(
      ["code", "meaning"],
      rows.map(([code, meaning]) => [code, meaning]),
    )}`;
  });
  return page(
    "Diagnostics",
    "A code keeps its meaning once it is published. `peftc explain P0312` prints a row, and where the message itself says what was seen and what to try.",
    parts.join("\n"),
  );
}

function passes(): string {
  const first = new Map<string, number>();
  pipeline.forEach((p, i) => {
    if (!first.has(p.name)) first.set(p.name, i);
  });
  const order = `In this order: ${pipeline.map((p) => `\`${p.name}\``).join(" → ")}. \`peftc plan FILE --print NAME\` prints the graph behind a pass.`;
  const rows = pipeline
    .filter((p, i) => first.get(p.name) === i)
    .map((p) => [`\`${p.name}\``, p.before, p.after, p.law, p.optional ? "yes" : ""]);
  return page("Passes", order, table(["pass", "expects", "gives", "stays equal", "optional"], rows));
}

function opTable(): string {
  const rows = Object.entries(ops).map(([name, op]) => [`\`${name}\``, op.role, op.doc]);
  return page(
    "Ops",
    "The ops of the intermediate representation, one row each in `src/ir/ops`: what they mean in f64, their gradient, how they are lowered.",
    table(["op", "role", "what it is"], rows),
  );
}

/** The pages, by path from the root. */
export function pages(): ReadonlyMap<string, string> {
  return new Map([
    ["docs/reference/fields.md", fields()],
    ["docs/reference/diagnostics.md", diagnostics()],
    ["docs/reference/passes.md", passes()],
    ["docs/reference/ops.md", opTable()],
  ]);
}

export const root = new URL("../", import.meta.url);
export const written = (path: string): string => readFileSync(new URL(path, root), "utf8");

if (process.argv[1]?.endsWith("pages.ts")) {
  mkdirSync(new URL("docs/reference/", root), { recursive: true });
  for (const [path, text] of pages()) writeFileSync(new URL(path, root), text);
}
