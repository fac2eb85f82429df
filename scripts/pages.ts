/**
 * Writes the pages of `docs/reference/` from the tables that hold the facts: `npx tsx scripts/pages.ts`. A test sees that they are up to
 * date.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import ts from "typescript";
import { passes, passesTo } from "../src/backends/lowering.ts";
import type { Item } from "../src/compiler/ast.ts";
import { builtins } from "../src/compiler/elaborate/ambient.ts";
import { type Field, stageFields } from "../src/compiler/elaborate/fields.ts";
import { signature as called } from "../src/compiler/elaborate/values.ts";
import { parse } from "../src/compiler/read/parse.ts";
import { codes, families } from "../src/ground/codes.ts";
import { ops } from "../src/ir/ops/index.ts";
import type { PassRow } from "../src/ir/passes/pass.ts";
import type { Device } from "../src/node/device.ts";
import { DEVICES } from "../src/node/engine.ts";

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

function passList(): string {
  const first = new Map<string, number>();
  passes.forEach((p, i) => {
    if (!first.has(p.name)) first.set(p.name, i);
  });
  const inOrder = (of: readonly PassRow[]) => of.map((p) => `\`${p.name}\``).join(" → ");
  const order = `To kernels, in this order: ${inOrder(passesTo("kernels"))}. To PyTorch: ${inOrder(passesTo("torch"))}. \`peftc build FILE --print NAME\`, for PyTorch with \`--target torch\`, prints the graphs behind a pass.\n\nEqual nodes are made one, and what no result reaches goes, by what runs the list, behind each pass that needs it.`;
  const rows = passes
    .filter((p, i) => first.get(p.name) === i)
    .map((p) => [`\`${p.name}\``, p.before, p.after, p.law, p.optional ? "yes" : ""]);
  return page("Passes", order, table(["pass", "expects", "gives", "stays equal", "optional"], rows));
}

function deviceList(): string {
  const rows = Object.entries<Device>(DEVICES).map(([name, { doc, elsewhere }]) => [
    `\`${name}\``,
    doc,
    elsewhere ? `\`--on ${name}\`` : `\`--device ${name}\``,
  ]);
  const first = "Without `--device` (`auto`) it is `webgpu` where a hardware adapter is there, else `wasm`.";
  return page("Devices", first, table(["device", "what computes", "asked for by"], rows));
}

function opTable(): string {
  const rows = Object.entries(ops).map(([name, op]) => [`\`${name}\``, op.role, op.doc]);
  return page(
    "Ops",
    "The ops of the intermediate representation, one row each in `src/ir/ops`: what they mean in f64, their gradient, how they are lowered.",
    table(["op", "role", "what it is"], rows),
  );
}

function functions(): string {
  const parts = builtins.map(({ title, rows }) => {
    const of = [...rows.values()].map((f) => [`\`${called(f)}\``, f.doc]);
    return `## ${title}\n\n${table(["function", "what it gives"], of)}`;
  });
  return page(
    "Functions of the language",
    "Functions that no file declares. Arguments go by place or by name; those with a `?` may be left out. Tensors and shapes follow NumPy: shapes are aligned at their ends.",
    parts.join("\n"),
  );
}

/** What a file of the standard library declares, with the comment above each declaration: where its equation and its source are. */
function library(): string {
  const files = readdirSync(new URL("specs/std", root), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".peft"))
    .sort();
  const parts = files.map((file) => {
    const text = written(`specs/std/${file}`);
    const declared = parse(text, file).program.items.filter((item) => ["Module", "Method", "Function"].includes(item.kind));
    const shown = declared.map((item) => [`\`${signature(item, text)}\``, above(text, item.span.start)]);
    return shown.length === 0
      ? ""
      : `## [std/${file.replace(/\.peft$/, "")}](../../specs/std/${file})\n\n${table(["declares", "what it is"], shown)}`;
  });
  return page(
    "The standard library",
    'What `import { NAME } from "std/…"` finds, from the files themselves: models, methods, objectives, optimisers and the modules they are made of.',
    parts.filter((part) => part !== "").join("\n"),
  );
}
function signature(item: Item, text: string): string {
  const whole = text.slice(item.span.start, item.span.end);
  const end = /\s*(\{|\n|=[^>]|\/\/)/.exec(whole.replace(/\([^)]*\)/gs, (inner) => "x".repeat(inner.length)))?.index ?? whole.length;
  return whole.slice(0, end).replace(/\s+/g, " ");
}
/** The lines of comment that end where a declaration begins. */
function above(text: string, start: number): string {
  const lines = text.slice(0, start).split("\n").slice(0, -1);
  const out: string[] = [];
  while (lines.length > 0 && /^\s*\/\//.test(lines[lines.length - 1])) out.unshift(lines.pop()!.replace(/^\s*\/\/ ?/, ""));
  return out.join(" ").replace(/[<>]/g, (c) => (c === "<" ? "&lt;" : "&gt;"));
}

/** Exported declarations of an entrance of the package, with their comments, bodies left out. */
function entrance(file: string, name: string): string {
  const source = ts.createSourceFile(file, written(file), ts.ScriptTarget.Latest, true);
  const parts = source.statements.flatMap((s) => {
    const exported = ts.canHaveModifiers(s) && ts.getModifiers(s)?.some((m) => m.kind === ts.SyntaxKind.ExportKeyword);
    if (ts.isExportDeclaration(s)) {
      const names =
        s.exportClause && ts.isNamedExports(s.exportClause) ? s.exportClause.elements.map((e) => `\`${e.name.text}\``) : ["all types"];
      const from = s.moduleSpecifier && ts.isStringLiteral(s.moduleSpecifier) ? s.moduleSpecifier.text.replace(/^\.\//, "") : "";
      return [`${names.join(", ")}: see [\`${from}\`](../../${file.replace(/[^/]+$/, "")}${from})`];
    }
    if (!exported) return [];
    const body = ts.isFunctionDeclaration(s) ? s.body : undefined;
    return [`\`\`\`ts\n${source.text.slice(s.getFullStart(), body?.pos ?? s.end).trim()}\n\`\`\``];
  });
  return `## ${name}\n\n${parts.join("\n\n")}`;
}
function api(): string {
  return page(
    "Library",
    "The package's two entrances: `peftc` compiles, trains and uses models in Node; `peftc/runtime` runs compiled programs, in a page as well.",
    `${entrance("src/index.ts", "peftc")}\n\n${entrance("src/runtime/index.ts", "peftc/runtime")}`,
  );
}

/** The pages, by path from the root. */
export function pages(): ReadonlyMap<string, string> {
  return new Map([
    ["docs/reference/fields.md", fields()],
    ["docs/reference/functions.md", functions()],
    ["docs/reference/library.md", library()],
    ["docs/reference/api.md", api()],
    ["docs/reference/diagnostics.md", diagnostics()],
    ["docs/reference/devices.md", deviceList()],
    ["docs/reference/passes.md", passList()],
    ["docs/reference/ops.md", opTable()],
  ]);
}

export const root = new URL("../", import.meta.url);
export const written = (path: string): string => readFileSync(new URL(path, root), "utf8");

if (process.argv[1]?.endsWith("pages.ts")) {
  mkdirSync(new URL("docs/reference/", root), { recursive: true });
  for (const [path, text] of pages()) writeFileSync(new URL(path, root), text);
}
