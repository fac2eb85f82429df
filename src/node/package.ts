/** Where this package lies, and what it ships. */
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Bug } from "../ir/errors.ts";

/** The folder with this package's `package.json`: the sources' parent, or that of `dist`. */
export function packageRoot(): string {
  let folder = path.dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const file = path.join(folder, "package.json");
    if (fs.existsSync(file) && (JSON.parse(fs.readFileSync(file, "utf8")) as { name?: unknown }).name === "peftc") return folder;
    const above = path.dirname(folder);
    if (above === folder) throw new Bug("the package's own folder is not found");
    folder = above;
  }
}

export function packageVersion(): string {
  const { version } = JSON.parse(fs.readFileSync(path.join(packageRoot(), "package.json"), "utf8")) as { version: string };
  return version;
}

/** Files of a folder of the standard library: `std/models/gpt2.peft`, … */
export function libraryFiles(folder: string): string[] {
  return fs
    .readdirSync(path.join(packageRoot(), "specs", folder))
    .sort()
    .map((name) => `${folder}/${name}`);
}

/** Text of a file of the standard library: `std/nn.peft`. */
export function librarySource(name: string): string | undefined {
  const file = path.join(packageRoot(), "specs", path.normalize(name));
  return file.startsWith(path.join(packageRoot(), "specs", "std")) && fs.existsSync(file) ? fs.readFileSync(file, "utf8") : undefined;
}
