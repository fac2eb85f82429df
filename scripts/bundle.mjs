/**
 * The command line in a few files: what a verb needs is one file rather than some hundred modules, and of packages only what is used. The library in `dist` stays
 * as the compiler wrote it. Beside it the trees of the standard library, so that a command parses its own file alone.
 */
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const out = at("../dist/src/cli");
for (const name of readdirSync(out)) if (/^chunk-.*\.js$/.test(name)) rmSync(`${out}/${name}`);

// programs that are kept from run to run are of this compiler alone
const sources = readdirSync(at("../src"), { recursive: true }).filter((name) => name.endsWith(".ts"));
const code = createHash("sha256");
for (const name of sources.sort()) code.update(`${name}\n`).update(readFileSync(at(`../src/${name}`)));

await build({
  entryPoints: [at("../src/cli/main.ts")],
  outdir: out,
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20",
  chunkNames: "chunk-[name]-[hash]",
  // packages of their own kind: native code, modules that are found at run time
  external: ["webgpu", "wabt", "koffi"],
  // some of the packages are written for `require`
  banner: { js: 'import { createRequire as peftcRequire } from "node:module"; const require = peftcRequire(import.meta.url);' },
  legalComments: "eof",
  // names stay, so that what a bug prints can be read
  minifyWhitespace: true,
  minifySyntax: true,
  define: { PEFTC_BUNDLED: "true", PEFTC_CODE: JSON.stringify(code.digest("hex")) },
  logLevel: "warning",
});

const { parse } = await import("../dist/src/compiler/read/parse.js");
const { storedTree, treeFile } = await import("../dist/src/node/library-trees.js");
rmSync(at("../dist/trees"), { recursive: true, force: true });
for (const name of readdirSync(at("../specs/std"), { recursive: true }).filter((file) => file.endsWith(".peft"))) {
  const file = `std/${name}`;
  const text = readFileSync(at(`../specs/${file}`), "utf8");
  const { program, problems } = parse(text, file);
  if (problems.length > 0) throw new Error(`${file}: ${problems[0].message}`);
  const to = at(`../${treeFile(file)}`);
  mkdirSync(dirname(to), { recursive: true });
  writeFileSync(to, storedTree(text, program));
}

// it is run by its name: it must be executable, also where npm links it without copying
chmodSync(`${out}/main.js`, 0o755);
