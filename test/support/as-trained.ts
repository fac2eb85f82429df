/** A folder of an adapter as what a run that trained it would hand over to be written. */
import type { AdapterFolder } from "../../src/formats/adapters/folder.ts";
import type { OutAdapter, OutAttachment, OutParam } from "../../src/formats/adapters/out.ts";
import { openCheckpoint } from "../../src/formats/checkpoint.ts";
import { readConfig } from "../../src/formats/config.ts";
import type { Files } from "../../src/formats/files.ts";

/** `base`: the folder of its model, in `files`. */
export function asTrained(files: Files, folder: AdapterFolder, base: string): OutAdapter {
  const param = (key: string): OutParam => ({ shape: folder.shapes[key], values: () => folder.read(key) });
  const params = (keys: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(keys).map(([name, key]) => [name, param(key)]));
  const attachments = folder.parts.map(
    ({ method, from, options, sites, shared }, i): OutAttachment => ({
      name: `a${i}`,
      method,
      from,
      options,
      // GPT-2's projections are stored the other way round
      sites: sites.map((site) => ({ path: site.path, params: params(site.params), turned: /\.c_(attn|proj|fc)$/.test(site.path) })),
      shared: params(shared),
    }),
  );
  const config = readConfig(files, base)!;
  return {
    attachments,
    heads: params(folder.heads),
    copies: params(folder.copies),
    base: {
      name: base,
      module: (config.architectures as string[])[0],
      config,
      shapes: new Map([...openCheckpoint(files, base)!.tensors.values()].map(({ name, shape }) => [name, shape])),
    },
  };
}
