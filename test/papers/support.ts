/** The papers' programs as they lie in the repository, with fewer updates: what they make is written elsewhere. */
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { compile } from "../../src/compiler/compile.ts";
import { readHeader } from "../../src/formats/safetensors/header.ts";
import { openEngine } from "../../src/node/engine.ts";
import { openWorkspace } from "../../src/node/workspace.ts";
import type { Engine } from "../../src/train/engine/engine.ts";
import type { RunEvent } from "../../src/train/events.ts";
import type { ReportValue } from "../../src/train/report/report.ts";
import { runFile } from "../../src/train/run/run.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const workspace = openWorkspace(ROOT);
let engine: Promise<Engine> | undefined;

export interface Ran {
  readonly events: readonly RunEvent[];
  /** Where its stages wrote. */
  readonly folder: string;
  /** Rows of a report. */
  rows(report?: string): readonly Readonly<Record<string, ReportValue>>[];
  /** Losses of every update, by stage. */
  losses(): ReadonlyMap<string, readonly number[]>;
  /** Shapes of what a stage saved. */
  saved(stage: string): ReadonlyMap<string, readonly number[]>;
}

/** A paper's program as text; `paper/name`: another of its programs than `run`. */
const fileOf = (paper: string): string => path.join("specs/papers", paper.includes("/") ? `${paper}.peft` : `${paper}/run.peft`);
export const textOf = (paper: string): string => readFileSync(path.join(ROOT, fileOf(paper)), "utf8");

/** Runs it with `steps` updates a stage; then `edits` are made to its text: a piece that is not there is a mistake. */
export async function run(paper: string, steps: number, edits: readonly (readonly [string, string])[] = []): Promise<Ran> {
  let text = textOf(paper);
  for (const [from, to] of edits) {
    if (!text.includes(from)) throw new Error(`${paper} has no \`${from}\``);
    text = text.replace(from, to);
  }
  // `steps = 60`, `epochs = 5`, and the last argument of a file's own recipe
  text = text
    .replace(/\bepochs(\s*=\s*)\d+/g, `steps$1${steps}`)
    .replace(/\bsteps(\s*=\s*)\d+/g, `steps$1${steps}`)
    .replace(/(\bsteps: )\d+/g, `$1${steps}`)
    .replace(/(\.\.\.recipe\([^,)]+, )\d+/g, `$1${steps}`);
  const at = path.join(ROOT, fileOf(paper));
  const project = compile(at, workspace.sources.with(at, text));
  const problems = project.problems.filter((p) => p.severity === "error").map((p) => `${p.code} ${p.message}`);
  if (problems.length > 0) throw new Error(`${problems.join("\n")}\n${text}`);
  const events: RunEvent[] = [];
  engine ??= openEngine("wasm");
  const host = workspace.host(project, await engine, {
    listen: (event) => events.push(event),
    interrupted: () => false,
    now: () => performance.now() / 1000,
  });
  const folder = mkdtempSync(path.join(tmpdir(), "peftc-paper-"));
  await runFile(host, { output: folder, force: true, resume: false });
  return {
    events,
    folder,
    rows(report) {
      const found = events.flatMap((e) => (e.event === "report" && (report === undefined || e.stage === report) ? [e] : []));
      return found[0].rows;
    },
    losses() {
      const out = new Map<string, number[]>();
      for (const e of events) if (e.event === "step") out.set(e.stage, [...(out.get(e.stage) ?? []), e.loss]);
      return out;
    },
    saved(stage) {
      const at = path.join(folder, stage);
      const found = readdirSync(at, { recursive: true, encoding: "utf8" });
      const files = found
        .filter((name) => name.endsWith(".safetensors") && !name.includes("checkpoint-"))
        .map((name) => path.join(at, name));
      return new Map(files.flatMap((file) => [...readHeader(workspace.files, file).tensors].map(([name, { shape }]) => [name, shape])));
    },
  };
}
