/** Before a verb runs: what its file, arguments and options name on the hub is fetched, with a line that says how far it is. */
import type { Command } from "commander";
import { printable } from "../ir/printable.ts";
import { isHub } from "../node/hub-names.ts";
import { fetchSources, hubSources, type NamedSource } from "../node/sources.ts";
import { openWorkspace } from "../node/workspace.ts";
import { showBytes } from "../train/engine/budget.ts";
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
  const told = new Set<string>();
  await fetchSources(named, ({ source, file, done, bytes }) => {
    const begins = !told.has(`${source} ${file}`);
    told.add(`${source} ${file}`);
    const shown = `fetching ${printable(source)}: ${printable(file)}`;
    if (json) {
      if (begins) io.out(line({ event: "fetch", source, file, bytes }));
    } else if (io.terminal) {
      io.err(`\r\u001b[K  ${shown} ${showBytes(done)} of ${showBytes(bytes)}`);
      drawn = true;
    } else if (begins) io.err(`  ${shown} (${showBytes(bytes)})\n`);
  });
  if (drawn) io.err("\r\u001b[K");
}
