import type { Command } from "commander";
import { count, inspectedFacts, inspectPath, type Loads, type Made, type Norm, usedKeys } from "../../exchange/inspect.ts";
import { selectorsFor } from "../../exchange/selectors.ts";
import type { AdapterFolder } from "../../formats/adapters/folder.ts";
import { verdictLines } from "../../formats/adapters/verdicts.ts";
import type { TensorStore } from "../../formats/safetensors/read.ts";
import { common, Session } from "../context.ts";
import { line } from "../errors.ts";
import type { Io } from "../io.ts";
import { grouped, table } from "../table.ts";

interface InspectCommand {
  readonly json?: boolean;
  readonly base?: string;
  readonly norms?: boolean;
}

/** `inspect`: what is in an adapter's folder, or in a checkpoint. */
export function inspect(program: Command, io: Io): void {
  common(program.command("inspect").argument("<path>", "an adapter's or a model's folder, or a .safetensors file"), {
    compiles: false,
    runs: false,
  })
    .description("show what an adapter or a checkpoint holds, and where an adapter will load")
    .option("--base <dir>", "the adapter's base model (default: where the adapter says)")
    .option("--norms", "read the values too: size, largest, and what is not finite")
    .addHelpText("after", "\nExample:\n  peftc inspect my-adapter --norms\n")
    .action(async (path: string, options: InspectCommand) => {
      const session = new Session(io, options, true);
      const found = await inspectPath(session.workspace, path, options);
      if (session.json) io.out(line({ event: "inspect", path, ...inspectedFacts(found) }));
      else if (found.kind === "adapter") io.out(adapterText(path, found.adapter, found.loads, found.made) + normsText(found.norms));
      else io.out(checkpointText(path, found.store, found.config) + normsText(found.norms));
    });
}

function madeLines({ record, base, comparison }: Made): string[] {
  const tensors = Object.keys(record.base).length;
  const words = Object.keys(record.tokenizer);
  const lines = [
    `made by ${record.writtenBy.name} ${record.writtenBy.version}, with hashes of ${tensors} ${tensors === 1 ? "tensor" : "tensors"} of its base and of ` +
      (words.length === 0 ? "no tokenizer" : `its tokenizer (${words.join(", ")})`),
  ];
  if (comparison === undefined) return lines;
  const { compared, differing, tokenizer } = comparison;
  if (compared.length === 0) lines.push(`${base}: nothing of it can be compared`);
  else if (differing.length === 0) lines.push(`${base}: the same weights`);
  else lines.push(`${base}: other weights (${differing.length} of ${compared.length} tensors differ): ${shown(differing).join(", ")}`);
  if (tokenizer.length > 0) lines.push(`${base}: another tokenizer: ${tokenizer.join(", ")}`);
  return lines;
}

/** Paths with ranges of numbers. */
const shown = (paths: readonly string[]): string[] => selectorsFor("", paths, []).map((s) => s.replace(/^\./, ""));

function adapterText(path: string, adapter: AdapterFolder, loads: Loads, made: Made | undefined): string {
  const total = [...usedKeys(adapter)].reduce((n, key) => n + count(adapter.shapes[key] ?? []), 0);
  const type = typeof adapter.config.peft_type === "string" ? `, ${adapter.config.peft_type}` : "";
  const lines = [
    `${path}: an adapter in the layout of ${adapter.layout}${type}, for ${adapter.base ?? "no model that it names"}`,
    `  ${grouped(total)} parameters${adapter.taskType === undefined ? "" : `, task ${adapter.taskType}`}`,
  ];
  for (const part of adapter.parts) {
    const options = Object.entries(part.options).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
    lines.push(`  ${part.method}(${options.join(", ")}) at ${part.sites.length} ${part.sites.length === 1 ? "place" : "places"}`);
    const numbered = part.sites.filter((s) => s.path.includes("*"));
    const selectors = [...new Set(numbered.map((s) => s.path.replace(/\s*#.*$/, "")))];
    for (const place of [...shown(part.sites.filter((s) => !s.path.includes("*")).map((s) => s.path)), ...selectors])
      lines.push(`    ${place}`);
    const shapes = new Map<string, number>();
    const note = (name: string, key: string) => {
      const text = `${name} [${(adapter.shapes[key] ?? []).join(", ")}]`;
      shapes.set(text, (shapes.get(text) ?? 0) + 1);
    };
    for (const site of part.sites) for (const [name, key] of Object.entries(site.params)) note(name, key);
    for (const [name, key] of Object.entries(part.shared)) note(`shared ${name}`, key);
    for (const [text, n] of shapes) lines.push(`      ${text}${n > 1 ? ` × ${n}` : ""}`);
  }
  const heads = Object.entries(adapter.heads).map(([p, key]) => `${p} [${(adapter.shapes[key] ?? []).join(", ")}]`);
  if (heads.length > 0) lines.push(`  trained along: ${heads.join(", ")}`);
  const objectives = Object.entries(adapter.objectives).map(([name, key]) => `${name} [${(adapter.shapes[key] ?? []).join(", ")}]`);
  if (objectives.length > 0) lines.push(`  of objectives: ${objectives.join(", ")}`);
  const copies = Object.keys(adapter.copies);
  if (copies.length > 0) lines.push(`  copies of base weights, not needed: ${copies.join(", ")}`);
  if (adapter.unknownFields.length > 0) lines.push(`  fields that are not known: ${adapter.unknownFields.join(", ")}`);
  for (const note of adapter.notes) lines.push(`  note: ${note}`);
  if (made !== undefined) lines.push(...madeLines(made).map((text) => `  ${text}`));
  lines.push("  loads in");
  if (loads.verdicts === undefined) lines.push(`    not known: ${loads.why}`);
  else for (const verdict of verdictLines(loads.verdicts)) lines.push(`    ${verdict}`);
  return `${lines.join("\n")}\n`;
}

function checkpointText(path: string, store: TensorStore, config: Readonly<Record<string, unknown>> | undefined): string {
  const tensors = [...store.tensors.values()];
  const parameters = tensors.reduce((n, t) => n + count(t.shape), 0);
  const files = new Set(tensors.map((t) => t.file)).size;
  const kinds = new Map<string, string[]>();
  for (const t of tensors) {
    const kind = `[${t.shape.join(", ")}] ${t.dtype}`;
    kinds.set(kind, [...(kinds.get(kind) ?? []), t.name]);
  }
  const name = Array.isArray(config?.architectures) ? `${config.architectures.join(", ")}, ` : "";
  const head = `${path}: ${name}${tensors.length} tensors, ${grouped(parameters)} parameters${files > 1 ? ` in ${files} files` : ""}\n`;
  return head + table([...kinds].flatMap(([kind, names]) => shown(names).map((n) => [n, kind])));
}

function normsText(norms: readonly Norm[] | undefined): string {
  if (norms === undefined) return "";
  const rows = norms.map((n) => [
    n.name,
    n.norm.toPrecision(4),
    n.largest.toPrecision(4),
    n.not_finite === 0 ? "" : `${grouped(n.not_finite)} not finite`,
  ]);
  return table([["tensor", "norm", "largest", ""], ...rows]);
}
