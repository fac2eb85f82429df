/** The rules of the house: which room may import which, what nobody imports, what stays in one room, how large files are. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import ts from "typescript";
import { isOpName } from "../src/ir/ops/index.ts";

const ROOT = path.resolve(import.meta.dirname, "..");
const files = [...walk("src"), ...walk("grammar")].filter((file) => file.endsWith(".ts") && !file.endsWith(".d.ts"));
const texts = new Map(files.map((file) => [file, readFileSync(path.join(ROOT, file), "utf8")]));

function walk(folder: string): string[] {
  return readdirSync(path.join(ROOT, folder)).flatMap((name) => {
    const file = `${folder}/${name}`;
    return statSync(path.join(ROOT, file)).isDirectory() ? walk(file) : [file];
  });
}

interface Import {
  readonly from: string;
  /** A file of ours, or a package. */
  readonly to: string;
  readonly typeOnly: boolean;
}

const IMPORT = /^\s*(?:import|export)\s+(type\s+)?(?:[^"';]*?\sfrom\s+)?"([^"]+)";?/gm;
const DYNAMIC = /\bimport\(\s*"([^"]+)"\s*\)/g;

const imports: Import[] = files.flatMap((from) => {
  const text = texts.get(from)!;
  const found = [...text.matchAll(IMPORT)].map((m) => ({ target: m[2], typeOnly: m[1] !== undefined || everyNameIsAType(m[0]) }));
  found.push(...[...text.matchAll(DYNAMIC)].map((m) => ({ target: m[1], typeOnly: false })));
  return found.map(({ target, typeOnly }) => ({
    from,
    typeOnly,
    to: target.startsWith(".") ? path.posix.join(path.posix.dirname(from), target) : target,
  }));
});

function everyNameIsAType(statement: string): boolean {
  const names = /\{([^}]*)\}/.exec(statement)?.[1];
  if (names === undefined) return false;
  const list = names
    .split(",")
    .map((n) => n.trim())
    .filter((n) => n !== "");
  return list.length > 0 && list.every((n) => n.startsWith("type "));
}

/** `src/ir/passes/x.ts` → `ir`; `src/index.ts` → `index`; `grammar/…` → `grammar`. */
function roomOf(file: string): string {
  const [top, second] = file.split("/");
  if (top === "grammar") return "grammar";
  return second.endsWith(".ts") ? second.slice(0, -3) : second;
}

/** Rooms that a room may import, itself included; `node` holds what only Node has and is handed in from the outside. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  grammar: ["grammar"],
  ground: ["ground"],
  ir: ["ir", "ground"],
  backends: ["backends", "ir", "ground"],
  runtime: ["runtime", "ir", "ground"],
  formats: ["formats", "ir", "ground"],
  compiler: ["compiler", "grammar", "ir", "ground"],
  train: ["train", "runtime", "backends", "formats", "ir", "ground"],
  node: ["node", "train", "runtime", "backends", "formats", "compiler", "ir", "ground"],
  exchange: ["exchange", "node", "train", "compiler", "runtime", "backends", "formats", "ir", "ground"],
  cli: ["cli", "exchange", "node", "train", "compiler", "runtime", "backends", "formats", "ir", "ground"],
  index: ["index", "exchange", "node", "train", "compiler", "runtime", "backends", "formats", "ir", "ground"],
};

/** What the compiler gives is data; who runs it may name the types of that data. */
function isSharedType({ from, to, typeOnly }: Import): boolean {
  if (!typeOnly) return false;
  const room = roomOf(from);
  if (room === "train") return to === "src/compiler/project.ts" || to === "src/compiler/report/problem.ts";
  return false;
}

const own = imports.filter((i) => i.to.startsWith("src/") || i.to.startsWith("grammar/"));

describe("rooms", () => {
  test("imports point one way", () => {
    const wrong = own.filter((i) => {
      const allowed = ALLOWED[roomOf(i.from)] ?? [];
      return !allowed.includes(roomOf(i.to)) && !isSharedType(i);
    });
    expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  test("the runtime that a page loads carries no row of the op table but those that it runs", () => {
    const reached = new Set<string>(["src/runtime/index.ts"]);
    for (const file of reached) for (const i of own) if (i.from === file && !i.typeOnly) reached.add(i.to);
    const runs = ["functions", "scalar", "host", "quantise", "svd", "linalg", "elimination", "halves", "tensor", "bound", "mismatch"];
    const ops = [...reached].filter((file) => file.startsWith("src/ir/ops/"));
    expect(ops.sort()).toEqual(runs.map((name) => `src/ir/ops/${name}.ts`).sort());
  });

  test("no file imports itself in a circle: types may, values are made in one order", () => {
    const next = new Map(files.map((file) => [file, own.filter((i) => i.from === file && !i.typeOnly).map((i) => i.to)]));
    // what a file imports is left before it; a file that is met while it is being visited closes a circle
    const state = new Map<string, "open" | "left">();
    const circles: string[] = [];
    const visit = (file: string, path: readonly string[]): void => {
      if (state.get(file) === "open") circles.push([...path.slice(path.indexOf(file)), file].join(" → "));
      if (state.has(file)) return;
      state.set(file, "open");
      for (const to of next.get(file) ?? []) visit(to, [...path, file]);
      state.set(file, "left");
    };
    for (const file of files) visit(file, []);
    expect(circles).toEqual([]);
  });

  test("imports name files that are there, with their ending", () => {
    expect(own.filter(({ to }) => !files.includes(to) && !to.endsWith(".json")).map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  test("what only Node has is used in `node` and `cli` only", () => {
    const NODE = /^(node:|fs$|path$|os$|worker_threads$|webgpu$|commander$|cli-progress$|picocolors$)/;
    const wrong = imports.filter(({ from, to, typeOnly }) => !typeOnly && NODE.test(to) && !["node", "cli"].includes(roomOf(from)));
    expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
    const globals = files.filter(
      (file) => !["node", "cli", "index"].includes(roomOf(file)) && /\bprocess\.|\bBuffer\b\.|\b__dirname\b|\brequire\("/.test(code(file)),
    );
    expect(globals.filter((file) => !WORKER_TEXT.includes(file))).toEqual([]);
  });

  test("only the command line prints or exits", () => {
    const wrong = files.filter((file) => roomOf(file) !== "cli" && /\bconsole\.|\bprocess\.(exit|stdout|stderr)/.test(code(file)));
    expect(wrong).toEqual([]);
  });

  test("every export is used outside its file", () => {
    // what the grammar's tool writes, tokens that are met by their category, and what others may import
    const apart = ["grammar/cst.ts", "grammar/tokens.ts", "src/index.ts", "src/runtime/index.ts"];
    const users = ["src", "grammar", "test", "scripts", "bench"]
      .flatMap((folder) => walk(folder))
      .filter((file) => /\.(ts|mjs|js)$/.test(file));
    const where = new Map<string, Set<string>>();
    for (const file of users)
      for (const [word] of (texts.get(file) ?? readFileSync(path.join(ROOT, file), "utf8")).matchAll(/[A-Za-z_$][\w$]*/g))
        where.set(word, (where.get(word) ?? new Set()).add(file));
    const EXPORT = /^export (?:abstract )?(?:async )?(?:const|function\*?|class|interface|type|enum) ([A-Za-z_$][\w$]*)/gm;
    const dead = files
      .filter((file) => !apart.includes(file))
      .flatMap((file) => [...texts.get(file)!.matchAll(EXPORT)].map((m) => ({ file, name: m[1] })))
      .filter(({ name }) => (where.get(name)?.size ?? 0) < 2);
    expect(dead.map(({ file, name }) => `${file}: ${name}`)).toEqual([]);
  });

  test("every file is imported by another, or is an entrance", () => {
    // the last is for pages, which have no file system
    const entrances = ["src/index.ts", "src/runtime/index.ts", "src/cli/main.ts", "src/formats/memory.ts", ...APART];
    const reached = new Set<string>(entrances);
    const queue = [...entrances];
    while (queue.length > 0) {
      const at = queue.pop()!;
      for (const { from, to } of own) {
        if (from !== at || reached.has(to)) continue;
        reached.add(to);
        queue.push(to);
      }
    }
    expect(files.filter((file) => !reached.has(file))).toEqual([]);
  });
});

/** The reader of printed graphs, and the pass that makes loops of iterations, which tests hold to their laws and no pipeline runs. */
const APART = ["src/ir/parse.ts", "src/ir/passes/roll.ts"];

/** Source texts of threads, which run in Node as well as in a page. */
const WORKER_TEXT: readonly string[] = [];

/** A file without comments and the texts of strings. */
function code(file: string): string {
  return texts
    .get(file)!
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .replace(/(^|[^:])\/\/.*$/gm, "$1")
    .replace(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/g, '""');
}

/** They print the script of a page, which stands alone. */
const SCRIPTS = ["src/train/engine/package.ts", "src/train/engine/package-streams.ts"];

test("what is thrown says whose mistake it is: there is no plain error", () => {
  expect(files.filter((file) => !SCRIPTS.includes(file) && /\bnew Error\(/.test(code(file)))).toEqual([]);
});

describe("what knows what", () => {
  const NAMES = [
    ...["gpt2", "bert", "roberta", "llama", "t5", "bart", "opt", "vit", "plm"],
    ...["lora", "dora", "ia3", "bitfit", "houlsby", "pfeiffer", "compacter", "adalora", "increlora", "vera", "loha", "lokr", "hadamard"],
    ...["adamw", "sgd", "causal_lm", "masked_lm", "wsd"],
  ];

  test("the compiler, the graph and the backends know no model, method, objective or optimiser", () => {
    const wrong = files.flatMap((file) => {
      if (!["grammar", "ir", "backends", "runtime", "compiler"].includes(roomOf(file))) return [];
      const source = texts
        .get(file)!
        .replace(/\/\*[\s\S]*?\*\//g, "")
        .replace(/(^|[^:])\/\/.*$/gm, "$1");
      return NAMES.filter((name) => new RegExp(`\\b${name}\\b`, "i").test(source)).map((name) => `${file} says ${name}`);
    });
    expect(wrong.filter((line) => !ALLOWED_NAMES.some((allowed) => line.startsWith(allowed)))).toEqual([]);
  });

  test("nothing outside `ir/ops` compares the name of an op", () => {
    const wrong = files.flatMap((file) => {
      if (file.startsWith("src/ir/ops/")) return [];
      // `expr.op` is an operator of the syntax tree
      const named = [...texts.get(file)!.matchAll(/\b(\w+)\.op\s*[!=]==?\s*"(\w+)"/g)];
      return named.filter(([, of, op]) => of !== "expr" && isOpName(op)).map(([text]) => `${file}: ${text}`);
    });
    expect(wrong).toEqual([]);
  });
});

/** Other tools' words, which the suggestions translate; an example in a message; the optimiser that a stage has by default, found in the library. */
const ALLOWED_NAMES: readonly string[] = [
  "src/compiler/aliases.ts",
  "src/compiler/elaborate/train-stage.ts says adamw",
  "src/compiler/elaborate/step.ts says causal_lm",
];

/** Functions of more than a hundred lines, each with why it is whole. */
const LONG: Readonly<Record<string, string>> = {
  "src/backends/kernels/fuse.ts: fuse": "groups are found over sets that all its steps read and change",
  "src/backends/kernels/roots.ts: chooseRoots": "rules that add roots to one set, in the order in which they count on each other",
  "src/backends/native/prelude.ts: functions": "the text of functions in C",
  "src/backends/plan.ts: plan": "places of all entries, over tables that they share",
  "src/backends/webgpu/product.ts: printTiled": "the text of one kernel",
  "src/formats/pickle/machine.ts: runPickle": "a case for each opcode",
  "src/ir/passes/chunk/build.ts: buildLoop": "one loop, its body and its results made together",
  "src/node/native/library.ts: printLibrary": "the text of a file in C",
};

test("the ten largest files", () => {
  const sizes = files.map((file) => ({ file, lines: texts.get(file)!.split("\n").length })).sort((a, b) => b.lines - a.lines);
  process.stdout.write(
    `${sizes
      .slice(0, 10)
      .map(({ file, lines }) => `${String(lines).padStart(6)}  ${file}`)
      .join("\n")}\n`,
  );
  // the grammar, and its trees' types
  const GRAMMAR = ["grammar/cst.ts", "grammar/parser.ts", "src/compiler/ast.ts"];
  expect(sizes.filter(({ file, lines }) => lines > 401 && !GRAMMAR.includes(file))).toEqual([]);
});

test("no function is longer than a hundred lines, but for those named here", () => {
  const long: string[] = [];
  for (const file of files) {
    const text = texts.get(file)!;
    if (text.split("\n").length < 100) continue;
    const tree = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, false);
    const visit = (node: ts.Node): void => {
      if (ts.isFunctionLike(node) && "body" in node && node.body !== undefined) {
        const [from, to] = [node.getStart(tree), node.end].map((at) => tree.getLineAndCharacterOfPosition(at).line);
        if (to - from >= 100) long.push(`${file}: ${(node.name as ts.Identifier | undefined)?.text ?? "function"}`);
      }
      ts.forEachChild(node, visit);
    };
    visit(tree);
  }
  // one that became shorter is no longer named
  expect(long.sort()).toEqual(Object.keys(LONG).sort());
});

test("every folder of tests is in the table that says what it holds", () => {
  const table = readFileSync(path.join(ROOT, "test/README.md"), "utf8");
  const folders = readdirSync(path.join(ROOT, "test")).filter((name) => statSync(path.join(ROOT, "test", name)).isDirectory());
  expect(folders.filter((name) => !new RegExp(`^\\| [^|]*\`${name}\``, "m").test(table))).toEqual([]);
});

test("the built command line can be run by its name", () => {
  expect(statSync(path.join(ROOT, "dist/src/cli/main.js")).mode & 0o111).toBe(0o111);
});

test("what benchmarks import of the built product has its source", () => {
  const bench = readdirSync(path.join(ROOT, "bench")).filter((f) => f.endsWith(".mjs"));
  const wanted = bench.flatMap((f) =>
    [...readFileSync(path.join(ROOT, "bench", f), "utf8").matchAll(/\.\.\/dist\/(src\/[\w./-]+)\.js/g)].map(([, at]) => at),
  );
  expect(wanted.length).toBeGreaterThan(5);
  expect(wanted.filter((at) => !existsSync(path.join(ROOT, `${at}.ts`)))).toEqual([]);
});
