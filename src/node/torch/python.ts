/** Which Python runs printed programs: `PEFTC_PYTHON`, else `python3`; it needs PyTorch, and nothing else. */

import { Limit } from "../../ir/errors.ts";
import { NoDevice } from "../../runtime/errors.ts";
import { outputOf } from "../process.ts";

/** The oldest PyTorch that has what programs use: `fully_shard`, `F.rms_norm`. */
const OLDEST = [2, 4];
/** `torchrun` asks for a store over libuv, which distributions' builds may lack. */
const PROBE = `
import sys, torch
print(sys.executable)
print(torch.__version__)
print(torch.cuda.is_available() or hasattr(torch.cpu.Stream, "record_event"))
try:
    torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    print("torchrun")
except Exception as error:
    print(f"{type(error).__name__}: {error}".splitlines()[0])
`;

export interface Python {
  readonly path: string;
  readonly torch: string;
  /** Whether `fully_shard` works: on GPUs, and on processors whose streams record events, which 2.6 had not yet. */
  readonly shards: boolean;
  /** Why `torchrun` cannot start several processes, where it cannot. */
  readonly alone?: string;
}

/** Throws `NoDevice` where several processes cannot be started. */
export function requireSeveral({ path, torch, alone }: Python): void {
  if (alone === undefined) return;
  throw new NoDevice(`PyTorch ${torch} of \`${path}\` cannot start several processes: ${alone}`, [
    "one process works; pip's PyTorch starts several",
    "PEFTC_PYTHON names another Python",
  ]);
}

const older = (version: string, than: readonly number[]): boolean => {
  const [major, minor] = version.split(".").map(Number);
  return major < than[0] || (major === than[0] && minor < than[1]);
};
/** Throws `Limit` where parameters cannot be cut in parts. */
export function requireShards({ torch, shards }: Pick<Python, "torch" | "shards">): void {
  if (!shards)
    throw new Limit(
      `\`--shard fsdp\` needs a newer PyTorch where there are no GPUs: processors of ${torch} record no events; \`--shard ddp\` does not need it`,
    );
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
  const [, version, shards, several] = found.out.trim().split("\n");
  if (older(version, OLDEST))
    return new NoDevice(`PyTorch ${version} of \`${path}\` is too old: ${OLDEST.join(".")} is the oldest that will do`, [
      `${install} installs a newer one`,
    ]);
  return { path, torch: version, shards: shards === "True", ...(several !== undefined && several !== "torchrun" && { alone: several }) };
}

/** The same, thrown where it will not do. */
export async function requirePython(): Promise<Python> {
  const found = await findPython();
  if (found instanceof NoDevice) throw found;
  return found;
}
