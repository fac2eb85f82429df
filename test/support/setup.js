// Jest runs this once, outside the sandboxes of the test files: only here can the environment of the process (and of the workers it starts) be set.
import { spawnSync } from "node:child_process";
import { tsImport } from "tsx/esm/api";

/** Whether the machine has a WebGPU adapter of its own; asked in a process apart, so that nothing is loaded into this one. */
function hasAdapter() {
  const probe = `
    const { create } = await import("webgpu");
    const adapter = await create([]).requestAdapter();
    process.exit(adapter ? 0 : 1);`;
  return spawnSync(process.execPath, ["--input-type=module", "-e", probe], { stdio: "ignore" }).status === 0;
}

export default async function setup() {
  // what was compiled before is nothing to test with
  process.env.PEFTC_CACHE = "off";
  if (process.env.VK_ICD_FILENAMES || process.env.VK_DRIVER_FILES || hasAdapter()) return;
  const { softwareEnvironment } = await tsImport("./swiftshader.ts", import.meta.url);
  Object.assign(process.env, softwareEnvironment(process.env));
}
