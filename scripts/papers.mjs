// Runs the papers' programs and writes their tables to docs/papers.md: node scripts/papers.mjs [NAME …]. What is unchanged is not run again. With `--page` only the
// page is written, of what was run before. The part of a paper that was not run here stays as it is.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "..");
const papers = path.join(root, "specs/papers");
const names = readdirSync(papers).filter((name) => existsSync(path.join(papers, name, "run.peft")));
const asked = process.argv.slice(2).filter((name) => name !== "--page");
const pageOnly = process.argv.includes("--page");

for (const name of names) {
  if (pageOnly || (asked.length > 0 && !asked.includes(name))) continue;
  const done = spawnSync("node", ["dist/src/cli/main.js", "train", `specs/papers/${name}/run.peft`, "--reuse"], {
    cwd: root,
    stdio: "inherit",
  });
  if (done.status !== 0) process.exit(done.status ?? 1);
}

/** The newest reports of a program, in the order they were written. */
function reports(name) {
  const runs = path.join(root, "runs/specs/papers", name, "run");
  if (!existsSync(runs)) return [];
  const found = readdirSync(runs)
    .map((stage) => ({ stage: stage.replace(/-\d+$/, ""), file: path.join(runs, stage, "report.md") }))
    .filter(({ file }) => existsSync(file))
    .map((one) => ({ ...one, at: statSync(one.file).mtimeMs }))
    .sort((a, b) => a.at - b.at);
  // the first table of a program is the paper's
  const newest = [...new Map(found.map((one) => [one.stage, one])).values()].sort(
    (a, b) => Number(b.stage === "table") - Number(a.stage === "table"),
  );
  return newest.map(({ file }) => readFileSync(file, "utf8").replace(/^# /, "**").replace("\n", "**\n"));
}

const page = path.join(root, "docs/papers.md");
/** A paper's part of the page, as it was. */
function written(title) {
  const [, rest] = readFileSync(page, "utf8").split(`\n## ${title}\n`);
  return rest === undefined ? [] : [`## ${title}\n${rest.split("\n## ")[0]}`];
}

const parts = names.flatMap((name) => {
  const tables = reports(name);
  const about = readFileSync(path.join(papers, name, "README.md"), "utf8")
    .trim()
    .split("\n\n");
  const [heading, claim] = about;
  const title = heading.replace(/^# /, "");
  if (tables.length === 0) return written(title);
  const said = about.filter((part) => /^\*\*(The paper|At this scale)\.\*\*/.test(part));
  const links = `[The program](../specs/papers/${name}/run.peft), [what is ours in it](../specs/papers/${name}/README.md)`;
  return [`## ${title}\n\n${claim}\n\n${said.join("\n\n")}\n\n${links}\n\n${tables.join("\n")}`];
});
writeFileSync(
  page,
  `# The papers' tables\n\nWhat the programs in [\`specs/papers\`](../specs/papers/README.md) print, on bases of a quarter of a million parameters or less, beside the papers' own figures: counts,\nmemory and directions, not the papers' scores. Written by \`node scripts/papers.mjs\`.\n\n${parts.join("\n")}`,
);
