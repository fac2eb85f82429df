/** Which Python runs printed programs: `PEFTC_PYTHON`, else `python3`; it needs PyTorch, and nothing else. */

import { NoDevice } from "../../runtime/errors.ts";
import { outputOf } from "../process.ts";

/** The oldest PyTorch that has what programs use: `fully_shard`, `F.rms_norm`. */
const OLDEST = [2, 4];
const PROBE = "import sys, torch; print(sys.executable); print(torch.__version__)";

export interface Python {
  readonly path: string;
  readonly torch: string;
}

/** What was found, or why it will not do. */
export async function findPython(environment: NodeJS.ProcessEnv = process.env): Promise<Python | NoDevice> {
  const asked = environment.PEFTC_PYTHON;
  const path = asked || "python3";
  const install = `${path} -m pip install "torch>=${OLDEST.join(".")}"`;
  const found = await outputOf(path, ["-c", PROBE]);
  if (found === undefined)
    return new NoDevice(`there is no Python at \`${path}\`, which \`--on torch\` runs`, [
      asked ? "PEFTC_PYTHON names it" : "install Python 3, or set PEFTC_PYTHON to one",
    ]);
  if (found.status !== 0) {
    const missing = /No module named '?torch'?/.test(found.err);
    const last = found.err.trim().split("\n").at(-1) ?? "";
    return new NoDevice(missing ? `\`${path}\` has no PyTorch` : `\`${path}\` cannot import PyTorch: ${last}`, [
      `${install} installs it`,
      "PEFTC_PYTHON names another Python",
    ]);
  }
  const [, version] = found.out.trim().split("\n");
  const [major, minor] = version.split(".").map(Number);
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]))
    return new NoDevice(`PyTorch ${version} of \`${path}\` is too old: ${OLDEST.join(".")} is the oldest that will do`, [
      `${install} installs a newer one`,
    ]);
  return { path, torch: version };
}

/** The same, thrown where it will not do. */
export async function requirePython(): Promise<Python> {
  const found = await findPython();
  if (found instanceof NoDevice) throw found;
  return found;
}
