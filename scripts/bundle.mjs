/**
 * The command line in a few files: what a verb needs is one file rather than some hundred modules, and of packages only what is used. The library in `dist` stays
 * as the compiler wrote it.
 */
import { chmodSync, readdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const out = at("../dist/src/cli");
for (const name of readdirSync(out)) if (/^chunk-.*\.js$/.test(name)) rmSync(`${out}/${name}`);

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
  external: ["webgpu", "wabt"],
  // some of the packages are written for `require`
  banner: { js: 'import { createRequire as peftcRequire } from "node:module"; const require = peftcRequire(import.meta.url);' },
  legalComments: "eof",
  logLevel: "warning",
});
// it is run by its name: it must be executable, also where npm links it without copying
chmodSync(`${out}/main.js`, 0o755);
