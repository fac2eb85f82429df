/**
 * The software adapter and the headless browser of the `@sparticuz/chromium` package, unpacked once into `node_modules/.cache`. No network, no root.
 */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync } from "node:zlib";

const root = fileURLToPath(new URL("../../", import.meta.url));
const pack = join(root, "node_modules/@sparticuz/chromium");

/** Files of a tar archive of plain files (ustar: 512-byte headers, name at 0, size in octal at 124, type at 156). */
function* untar(archive: Buffer): Generator<{ name: string; data: Buffer }> {
  for (let at = 0; at + 512 <= archive.length; ) {
    const text = (from: number, length: number) => archive.toString("latin1", at + from, at + from + length).replace(/\0.*$/s, "");
    const name = text(0, 100);
    if (name === "") return;
    const size = Number.parseInt(text(124, 12), 8);
    const type = text(156, 1);
    if (type === "" || type === "0") yield { name, data: archive.subarray(at + 512, at + 512 + size) };
    at += 512 + Math.ceil(size / 512) * 512;
  }
}

/** Unpacks one file of the package into its own folder of the cache; processes that race for it end with one whole folder. */
function unpack(file: string): string {
  const version = (JSON.parse(readFileSync(join(pack, "package.json"), "utf8")) as { version: string }).version;
  const stem = file.replace(/(\.tar)?\.br$/, "");
  const folder = join(root, "node_modules/.cache/peftc", `chromium-${version}`, stem);
  if (existsSync(folder)) return folder;
  mkdirSync(dirname(folder), { recursive: true });
  const partial = mkdtempSync(`${folder}-`);
  const data = brotliDecompressSync(readFileSync(join(pack, "bin", file)));
  for (const entry of file.includes(".tar") ? untar(data) : [{ name: stem, data }]) {
    const path = join(partial, basename(entry.name));
    writeFileSync(path, entry.data);
    chmodSync(path, 0o755);
  }
  try {
    renameSync(partial, folder);
  } catch (error) {
    rmSync(partial, { recursive: true });
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

/** Path of the headless Chromium, and the folder of the libraries it may miss on a bare machine. */
export function unpackChromium(): { executable: string; libraries: string } {
  const folder = unpack("chromium.br");
  const graphics = unpack("swiftshader.tar.br");
  // Chromium looks for its Vulkan driver beside its own executable.
  for (const file of ["libvk_swiftshader.so", "libvulkan.so.1", "vk_swiftshader_icd.json", "libEGL.so", "libGLESv2.so"]) {
    const beside = join(folder, file);
    if (existsSync(beside)) continue;
    const partial = `${beside}.${process.pid}`;
    writeFileSync(partial, readFileSync(join(graphics, file)), { mode: 0o755 });
    renameSync(partial, beside);
  }
  return { executable: join(folder, "chromium"), libraries: unpack("al2023.tar.br") };
}

/**
 * What the environment of a process must say for its Vulkan loader to find SwiftShader. `LD_LIBRARY_PATH` counts only for processes started with it
 * (the command line under test, other workers); this one calls `loadVulkan`.
 */
export function softwareEnvironment(env: NodeJS.ProcessEnv): Record<string, string> {
  const folder = unpack("swiftshader.tar.br");
  return {
    VK_ICD_FILENAMES: join(folder, "vk_swiftshader_icd.json"),
    LD_LIBRARY_PATH: [folder, env.LD_LIBRARY_PATH].filter(Boolean).join(":"),
  };
}

/**
 * Makes the package's Vulkan loader the one this process finds, if the machine's own adapter is not to be used (`softwareEnvironment`). A library that
 * is already loaded answers to its name: so it is loaded by path first, and kept (`RTLD_NODELETE`) although Node finds that it is no addon.
 */
export function loadVulkan(): void {
  if (process.env.VK_ICD_FILENAMES === undefined) return;
  const folder = unpack("swiftshader.tar.br");
  if (process.env.VK_ICD_FILENAMES !== join(folder, "vk_swiftshader_icd.json")) return;
  const RTLD_NODELETE = 0x1000;
  try {
    process.dlopen({ exports: {} }, join(folder, "libvulkan.so.1"), os.constants.dlopen.RTLD_NOW | RTLD_NODELETE);
  } catch (error) {
    if (!/did not self-register/.test(String(error))) throw error;
  }
}
