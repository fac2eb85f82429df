/** Before a verb runs: what its file, arguments and options name on the hub is fetched, with a line that says how far it is. */
import type { Command } from "commander";
import { isHub } from "../node/hub.ts";
import { fetchSources, hubSources, type NamedSource } from "../node/sources.ts";
import { openWorkspace } from "../node/workspace.ts";
import { showBytes } from "../train/budget.ts";
import { line } from "./errors.ts";
import type { Io } from "./io.ts";

export async function fetchNamed(command: Command, io: Io): Promise<void> {
  const { sources } = openWorkspace(io.cwd);
  const given = [...command.args, ...Object.values(command.opts())].filter((value): value is string => typeof value === "string");
  const named = given.flatMap((value): NamedSource[] => {
    if (isHub(value)) return [{ source: value }];
    return value.endsWith(".peft") ? hubSources(value, (path) => sources.readSource(path)) : [];
  });
  const json = command.opts().json === true;
  let drawn = false;
  await fetchSources(named, ({ source, file, done, bytes }) => {
    if (json) {
      if (done === 0) io.out(line({ event: "fetch", source, file, bytes }));
    } else if (io.terminal) {
      io.err(`\r\u001b[K  fetching ${source}: ${file} ${showBytes(done)} of ${showBytes(bytes)}`);
      drawn = true;
    } else if (done === 0) io.err(`  fetching ${source}: ${file} (${showBytes(bytes)})\n`);
  });
  if (drawn) io.err("\r\u001b[K");
}
