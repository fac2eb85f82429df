/** Which values `eval` and `generate` use: an adapter's, those of the newest result, or the base's. */
import { isAdapter } from "../formats/adapters/read.ts";
import { joinPath } from "../formats/files.ts";
import { InputError } from "../ir/errors.ts";
import { listCheckpoints } from "../train/checkpoint.ts";
import { applyAdapter, applyCheckpoint, hasParameters, restoreNewest } from "../train/restore.ts";
import type { FileHost } from "../train/run.ts";
import type { Session } from "./context.ts";

/** Fills the host's store; says in a sentence what it used. P0692: the folder holds no adapter. */
export function takeValues(session: Session, host: FileHost, adapter: string | undefined): string {
  const { files, sources } = session.workspace;
  if (adapter === undefined) {
    const used = restoreNewest(host.project, files, host.values);
    return used.length === 0 ? "using the base: nothing was trained yet" : `using the newest result: ${used.join(", ")}`;
  }
  if (files.stat(adapter)?.kind !== "folder") throw new InputError("P0692", `there is no folder \`${adapter}\``);
  if (isAdapter(files, adapter)) {
    applyAdapter(host.project, adapter, sources.readAdapter(adapter)!, host.values);
  } else if (hasParameters(files, adapter)) {
    applyCheckpoint(files, adapter, host.values);
  } else {
    const parts = files.list(adapter).filter((name) => isAdapter(files, joinPath(adapter, name)) && !name.startsWith("checkpoint-"));
    const [newest] = listCheckpoints(files, adapter);
    if (parts.length > 0) {
      for (const part of parts)
        applyAdapter(host.project, joinPath(adapter, part), sources.readAdapter(joinPath(adapter, part))!, host.values);
    } else if (newest !== undefined) {
      applyCheckpoint(files, joinPath(adapter, `checkpoint-${newest}`), host.values);
    } else {
      throw new InputError("P0692", `\`${adapter}\` holds no adapter and no checkpoint`, [
        `it holds: ${files.list(adapter).slice(0, 10).join(", ")}`,
      ]);
    }
  }
  return `using ${adapter}`;
}
