// Writes the weights of a model's folder in bf16, half as large: node scripts/bf16.mjs FOLDER (after npm run build).
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const dist = (file) => import(pathToFileURL(fileURLToPath(new URL(`../dist/src/${file}`, import.meta.url))).href);
const [{ openSafetensors }, { writeSafetensors }, { NodeFiles }] = await Promise.all([
  dist("formats/safetensors/read.js"),
  dist("formats/safetensors/write.js"),
  dist("node/files.js"),
]);
const folder = process.argv[2];
if (folder === undefined) {
  console.error("usage: node scripts/bf16.mjs FOLDER");
  process.exit(2);
}
const file = path.resolve(folder, "model.safetensors");
const files = new NodeFiles();
const store = openSafetensors(files, file);
writeSafetensors(
  files,
  file,
  [...store.tensors.values()].map(({ name, shape }) => {
    const values = store.read(name);
    return { name, shape, dtype: "BF16", values: () => values };
  }),
);
const config = path.resolve(folder, "config.json");
writeFileSync(config, readFileSync(config, "utf8").replace(/"torch_dtype": "[a-z0-9]+"/, '"torch_dtype": "bfloat16"'));
