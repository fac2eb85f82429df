import type { Command } from "commander";
import type { AdapterFolder } from "../../formats/adapters/folder.ts";
import { encodeGguf } from "../../formats/adapters/gguf.ts";
import { encodeMlx, writeMlx } from "../../formats/adapters/mlx.ts";
import { type OutAdapter, Unsayable } from "../../formats/adapters/out.ts";
import { isAdapter, readAdapter } from "../../formats/adapters/read.ts";
import { notPeft, writeAdapter } from "../../formats/adapters/write.ts";
import { writeLibrary } from "../../formats/adapters/write-library.ts";
import { joinPath } from "../../formats/files.ts";
import { writeGguf } from "../../formats/gguf.ts";
import { MemoryFiles } from "../../formats/memory.ts";
import { InputError } from "../../ir/errors.ts";
import type { Workspace } from "../../node/workspace.ts";
import { common, Session } from "../context.ts";
import { line, Usage } from "../errors.ts";
import { OwnPrograms } from "../exchange/base.ts";
import { loadOnBase } from "../exchange/loaded.ts";
import type { Io } from "../io.ts";

interface ConvertCommand {
  readonly json?: boolean;
  readonly to: string;
  readonly output: string;
  readonly base?: string;
  readonly force?: boolean;
}

/** A layout: writes the adapter and gives what was written, or says why it cannot hold it. */
type Writer = (adapter: OutAdapter, output: string, workspace: Workspace) => string | Unsayable;

const WRITERS: Readonly<Record<string, Writer>> = {
  peft: (adapter, output, { files, sources }) => {
    const why = notPeft(adapter, sources.mappings);
    if (why !== undefined) return new Unsayable(why);
    writeAdapter(files, output, adapter, sources.mappings);
    return output;
  },
  peftc: (adapter, output, { files, sources }) => {
    writeAdapter(files, output, adapter, sources.mappings, "peftc");
    return output;
  },
  adapters: (adapter, output, { files, sources }) => {
    const memory = new MemoryFiles();
    writeLibrary(memory, "written", adapter, sources.mappings);
    const why = changed(adapter, readAdapter(memory, "written", sources.mappings)!);
    if (why !== undefined) return new Unsayable(why);
    writeLibrary(files, output, adapter, sources.mappings);
    return output;
  },
  mlx: (adapter, output, { files, sources }) => {
    const encoded = encodeMlx(adapter, sources.mappings);
    if (encoded instanceof Unsayable) return encoded;
    writeMlx(files, output, encoded);
    return output;
  },
  gguf: (adapter, output, { files, sources }) => {
    const encoded = encodeGguf(adapter, sources.mappings);
    if (encoded instanceof Unsayable) return encoded;
    const file = output.endsWith(".gguf") ? output : joinPath(output, "adapter.gguf");
    writeGguf(files, file, encoded.facts, encoded.tensors);
    return file;
  },
};

/** How an adapter differs that was written and read again; `undefined`: not at all. Places that are numbered only are not compared. */
function changed(adapter: OutAdapter, back: AdapterFolder): string | undefined {
  const module = (path: string) => path.replace(/\s*:.*$/, "");
  const sites = back.parts.flatMap((part) => part.sites.map((site) => ({ part, ...site }))).filter((site) => !site.path.includes("*"));
  for (const { method, sites: own } of adapter.attachments)
    for (const { path, params } of own) {
      const found = sites.filter((site) => module(site.path) === module(path) && site.part.method === method);
      const others = sites.filter((site) => module(site.path) === module(path));
      if (found.length === 0 && others.length > 0)
        return `it would be read back as ${others[0].part.method} at \`${path}\`, not as ${method}`;
      if (found.length > 1 && new Set(found.map((f) => f.path)).size < found.length) return `it would be read back twice at \`${path}\``;
      for (const [name, param] of found.length === 1 ? Object.entries(params) : []) {
        const key = found[0].params[name];
        const values = param.values();
        if (key !== undefined && back.read(key).some((v, i) => v !== values[i])) return `\`${name}\` at \`${path}\` would change`;
      }
    }
  return undefined;
}

/** `convert`: an adapter in another tool's layout. */
export function convert(program: Command, io: Io): void {
  common(program.command("convert").argument("<adapter>", "an adapter's folder: PEFT's, adapters', mlx-lm's or our own layout"), {
    compiles: false,
    runs: false,
  })
    .description("write an adapter in the layout of another tool: peft, adapters, mlx, gguf (llama.cpp) or peftc")
    .requiredOption("--to <layout>", `one of ${Object.keys(WRITERS).join(", ")}`)
    .requiredOption("--output <dir>", "folder to write (for gguf also a file that ends so)")
    .option("--base <dir>", "the adapter's base model (default: where the adapter says)")
    .option("--force", "write over an adapter that is there")
    .addHelpText("after", "\nExample:\n  peftc convert my-adapter --to gguf --output my-adapter.gguf --base models/llama\n")
    .action((folder: string, options: ConvertCommand) => {
      const session = new Session(io, options, true);
      const { files } = session.workspace;
      const writer = WRITERS[options.to];
      if (writer === undefined)
        throw new Usage(`--to ${options.to}: there is no such layout`, [`the layouts are: ${Object.keys(WRITERS).join(", ")}`]);
      if (!isAdapter(files, folder)) throw new InputError("P0660", `\`${folder}\` has no adapter_config.json`);
      if (!options.force && (isAdapter(files, options.output) || files.stat(options.output)?.kind === "file"))
        throw new InputError("P0825", `\`${options.output}\` is there already`, ["--force writes over"]);
      const { adapter } = loadOnBase(session, new OwnPrograms(session, io, "converted.peft"), folder, options.base);
      const written = writer(adapter, options.output, session.workspace);
      if (written instanceof Unsayable) throw new InputError("P0671", `\`${folder}\` cannot be had as ${options.to}`, [written.why]);
      if (session.json) io.out(line({ event: "convert", adapter: folder, to: options.to, output: written }));
      else io.out(`wrote ${written}\n`);
    });
}
