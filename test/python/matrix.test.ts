/**
 * What we write, read by those whose it is: every model of the goldens saved whole and merged, by transformers, every type of adapter by peft; logits equal. Python runs once for all.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import { compile } from "../../src/compiler/compile.ts";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import { readConfig } from "../../src/formats/config.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { Sources } from "../../src/train/compiler-host.ts";
import { artefactsFor } from "../../src/train/run/artefacts.ts";
import { ValueStore } from "../../src/train/values.ts";
import { settle } from "../methods/support.ts";
import { architectureOf } from "../support/golden/architectures.ts";
import { baseOf, type Case, readManifest } from "../support/golden/manifest.ts";
import { hasLibraries, PYTHON, pythonTest } from "./support.ts";

const GOLDEN = path.resolve(import.meta.dirname, "../golden");
const goldens = readManifest(GOLDEN);
const files = new NodeFiles("/");
const SPECS = path.resolve(import.meta.dirname, "../../specs");
const mappings = readMappings(files, path.join(SPECS, "std/methods"), path.join(SPECS, "std/models"));

interface Job {
  readonly name: string;
  readonly class: string;
  readonly folder: string;
  readonly base?: string;
  readonly origin?: string;
  readonly io: string;
}

/** The case's model, with its adapter where it has one, written in three ways into folders of `out`. */
function write(out: string, test: Case): Job[] {
  const dir = test.base ?? test.dir;
  const { architectures } = readConfig(files, `${GOLDEN}/${dir}`) as { architectures: string[] };
  const theirs = baseOf(goldens, test)?.model_class ?? architectures[0];
  const { file, classes } = architectureOf(test);
  const module = classes?.[theirs] ?? theirs;
  const merges = test.kind === "peft" && typeof (test as { merge?: unknown }).merge === "number";
  const adapts = test.kind === "peft";
  const text = `import { ${module} } from "${file}"
model m = ${module} from "${GOLDEN}/${dir}"
${adapts ? `attach a = load("${GOLDEN}/${test.dir}") to m\n` : ""}${merges ? "model w = merge(m)\n" : ""}`;
  const sources = new Sources(
    files,
    { source: (at) => readFileSync(path.join(SPECS, at), "utf8") },
    mappings,
    new Map([["/main.peft", text]]),
  );
  const p = compile("/main.peft", sources);
  const errors = p.problems.filter((x) => x.severity === "error").map(({ message }) => message);
  if (errors.length > 0) throw new Error(`${test.name}: ${errors.join("; ")}`);
  const values = new ValueStore(p, sources.open);
  settle(p, values);
  const value = (name: string) => values.param(name);
  const artefacts = artefactsFor(p, files, mappings);
  const io = `${GOLDEN}/${test.dir}/io.safetensors`;
  const jobs: Job[] = [];
  const whole = (model: string, name: string) => {
    const folder = path.join(out, name);
    artefacts.models(folder, { models: [model], attachments: [], heads: [], objectives: [] }, value);
    jobs.push({ name, class: theirs, folder, io });
  };
  if (!adapts) whole("m", `${test.name} saved`);
  if (merges) whole("w", `${test.name} merged`);
  if (adapts) {
    const folder = path.join(out, `${test.name} adapter`);
    const heads = [...p.params.values()].filter(
      (q) => q.owner.kind === "model" && q.source.kind === "file" && q.source.folder.endsWith(test.dir),
    );
    const parts = { models: [], attachments: p.attachments.map(({ name }) => name), heads: heads.map(({ name }) => name), objectives: [] };
    artefacts.adapter(folder, parts, value);
    jobs.push({ name: `${test.name} adapter`, class: theirs, folder, base: `${GOLDEN}/${dir}`, origin: `${GOLDEN}/${test.dir}`, io });
  }
  return jobs;
}

/** What transformers computes: not cases without numbers of their own, nor LLaMA with a part of its heads rotated, which transformers has not (README.md of the goldens). */
const cases = goldens.cases.filter(
  (c) =>
    (c.kind === "base" || c.kind === "peft") &&
    c.same_io_as === undefined &&
    !(c.arch === "llama" && c.config?.partial_rotary_factor !== undefined),
);

/** Architectures whose modules transformers 5 calls otherwise than checkpoints do: an adapter's folder has the checkpoints' names, which peft finds with transformers 4 alone. */
const RENAMED = new Set(["vit", "deit"]);

describe("what we write, read by transformers and peft", () => {
  const found = new Map<string, { difference?: number; error?: string; theirs?: string }>();
  const out = hasLibraries ? mkdtempSync(path.join(tmpdir(), "peftc-matrix-")) : "";
  beforeAll(() => {
    if (!hasLibraries) return;
    const jobs: Job[] = [];
    for (const one of cases) {
      try {
        jobs.push(...write(out, one));
      } catch (error) {
        found.set(one.name, { error: String(error) });
      }
    }
    writeFileSync(path.join(out, "jobs.json"), JSON.stringify(jobs));
    const { stdout } = spawnSync(PYTHON, [path.join(import.meta.dirname, "matrix.py"), path.join(out, "jobs.json")], {
      encoding: "utf8",
      maxBuffer: 1 << 26,
    });
    for (const { name } of jobs) found.set(name, { error: "Python said nothing of it" });
    for (const line of stdout.split("\n").filter((l) => l.startsWith("{"))) {
      const { name, ...rest } = JSON.parse(line) as { name: string; difference?: number; error?: string; theirs?: string };
      found.set(name, rest);
    }
  }, 600_000);
  afterAll(() => {
    if (out !== "") rmSync(out, { recursive: true });
  });

  for (const one of cases.filter(({ arch, kind }) => !(kind === "peft" && RENAMED.has(arch))))
    pythonTest(one.name, () => {
      const own = [...found].filter(([name]) => name === one.name || name.startsWith(`${one.name} `));
      expect(own.length).toBeGreaterThan(0);
      expect(own.filter(([, { difference, theirs }]) => theirs === undefined && !(difference !== undefined && difference < 1e-4))).toEqual(
        [],
      );
    });
});
