import type { Command } from "commander";
import type { AdapterFolder } from "../../formats/adapters/folder.ts";
import { type Provenance, readProvenance } from "../../formats/adapters/provenance.ts";
import { isAdapter, readAdapter } from "../../formats/adapters/read.ts";
import { type Verdict, verdictLines, verdicts } from "../../formats/adapters/verdicts.ts";
import { openCheckpoint } from "../../formats/checkpoint.ts";
import { readConfig } from "../../formats/config.ts";
import { openSafetensors, type TensorStore } from "../../formats/safetensors/read.ts";
import { InputError } from "../../ir/errors.ts";
import { packageVersion } from "../../node/package.ts";
import { type Comparison, Provenances } from "../../train/provenance.ts";
import { ValueStore } from "../../train/values.ts";
import { common, Session } from "../context.ts";
import { line } from "../errors.ts";
import { baseOf, OwnPrograms } from "../exchange/base.ts";
import { type LoadedAdapter, loadOnBase } from "../exchange/loaded.ts";
import { selectorsFor } from "../exchange/selectors.ts";
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
      const { files, sources } = session.workspace;
      const at = files.stat(path);
      if (at === undefined) throw new InputError("P0680", `\`${path}\` does not exist`);
      if (at.kind === "folder" && isAdapter(files, path)) {
        const adapter = readAdapter(files, path, sources.mappings)!;
        const loaded = onBase(session, io, path, adapter, options.base);
        const loads: Loads =
          typeof loaded === "string"
            ? { verdicts: undefined, why: loaded }
            : { verdicts: verdicts(loaded.adapter, sources.mappings), why: undefined };
        const made = await madeOn(session, path, typeof loaded === "string" ? undefined : loaded);
        const tensors = options.norms
          ? normsOf(
              Object.keys(adapter.shapes).filter((key) => used(adapter).has(key)),
              adapter,
            )
          : undefined;
        if (session.json)
          io.out(
            line({
              event: "inspect",
              path,
              ...adapterFacts(adapter),
              made: made === undefined ? null : madeFacts(made),
              loads: loads.verdicts ?? null,
              norms: tensors ?? null,
            }),
          );
        else io.out(adapterText(path, adapter, loads, made) + normsText(tensors));
        return;
      }
      const store = at.kind === "file" ? openSafetensors(files, path) : openCheckpoint(files, path);
      if (store === undefined)
        throw new InputError("P0603", `\`${path}\` holds neither an adapter nor weights`, [
          `it holds: ${files.list(path).slice(0, 12).join(", ") || "nothing"}`,
        ]);
      const config = at.kind === "folder" ? readConfig(files, path) : undefined;
      const tensors = options.norms ? normsOf([...store.tensors.keys()], store) : undefined;
      if (session.json) io.out(line({ event: "inspect", path, ...checkpointFacts(store, config), norms: tensors ?? null }));
      else io.out(checkpointText(path, store, config) + normsText(tensors));
    });
}

interface Loads {
  readonly verdicts: readonly Verdict[] | undefined;
  /** Why there are none. */
  readonly why: string | undefined;
}

/** On its base, whose modules' names and shapes decide where it loads; or why there is none. */
function onBase(session: Session, io: Io, path: string, adapter: AdapterFolder, given: string | undefined): LoadedAdapter | string {
  const { files } = session.workspace;
  let base: string;
  try {
    base = given ?? baseOf(files, path, adapter.base);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return `${error.message}: ${error.notes.join(", ")}`;
  }
  return loadOnBase(session, new OwnPrograms(session, io, "inspected.peft"), path, base);
}

/** What an adapter's folder says it was made on, and whether the base here is that. */
interface Made {
  readonly record: Provenance;
  readonly base: string | undefined;
  readonly comparison: Comparison | undefined;
}

async function madeOn(session: Session, path: string, loaded: LoadedAdapter | undefined): Promise<Made | undefined> {
  const { files, sources } = session.workspace;
  const record = readProvenance(files, path);
  if (record === undefined || loaded === undefined) return record && { record, base: undefined, comparison: undefined };
  const { project, base } = loaded;
  const provenances = new Provenances(project, sources, new ValueStore(project, sources.open), packageVersion());
  return { record, base: base.folder, comparison: await provenances.compare(record, base.name) };
}

function madeFacts({ record: { writtenBy, base, tokenizer }, comparison }: Made): Record<string, unknown> {
  return {
    written_by: writtenBy,
    base,
    tokenizer,
    compared: comparison?.compared ?? null,
    differing: comparison?.differing ?? null,
    tokenizer_differing: comparison?.tokenizer ?? null,
  };
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

const count = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

/** Keys that parts and heads name, and copies. */
function used(adapter: AdapterFolder): Set<string> {
  const sites = adapter.parts.flatMap((p) => [...p.sites.flatMap((s) => Object.values(s.params)), ...Object.values(p.shared)]);
  return new Set([...sites, ...Object.values(adapter.heads), ...Object.values(adapter.copies), ...Object.values(adapter.objectives)]);
}

function adapterFacts(adapter: AdapterFolder): Record<string, unknown> {
  return {
    kind: "adapter",
    layout: adapter.layout,
    base: adapter.base ?? null,
    task: adapter.taskType ?? null,
    parameters: [...used(adapter)].reduce((n, key) => n + count(adapter.shapes[key] ?? []), 0),
    parts: adapter.parts.map((p) => ({
      method: p.method,
      from: p.from,
      options: p.options,
      sites: p.sites.map((s) => ({
        path: s.path,
        parameters: Object.fromEntries(Object.entries(s.params).map(([name, key]) => [name, adapter.shapes[key]])),
      })),
      shared: Object.fromEntries(Object.entries(p.shared).map(([name, key]) => [name, adapter.shapes[key]])),
    })),
    heads: Object.fromEntries(Object.entries(adapter.heads).map(([path, key]) => [path, adapter.shapes[key]])),
    objectives: Object.fromEntries(Object.entries(adapter.objectives).map(([name, key]) => [name, adapter.shapes[key]])),
    unknown_fields: adapter.unknownFields,
    notes: adapter.notes,
  };
}

/** Paths with ranges of numbers. */
const shown = (paths: readonly string[]): string[] => selectorsFor("", paths, []).map((s) => s.replace(/^\./, ""));

function adapterText(path: string, adapter: AdapterFolder, loads: Loads, made: Made | undefined): string {
  const total = [...used(adapter)].reduce((n, key) => n + count(adapter.shapes[key] ?? []), 0);
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

function checkpointFacts(store: TensorStore, config: Readonly<Record<string, unknown>> | undefined): Record<string, unknown> {
  const tensors = [...store.tensors.values()];
  return {
    kind: "checkpoint",
    architectures: config?.architectures ?? null,
    parameters: tensors.reduce((n, t) => n + count(t.shape), 0),
    bytes: tensors.reduce((n, t) => n + t.bytes, 0),
    files: [...new Set(tensors.map((t) => t.file))],
    tensors: Object.fromEntries(tensors.map((t) => [t.name, { dtype: t.dtype, shape: t.shape }])),
  };
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

interface Norm {
  readonly name: string;
  readonly norm: number;
  readonly largest: number;
  readonly not_finite: number;
}

function normsOf(names: readonly string[], from: { read(name: string): ArrayLike<number> }): Norm[] {
  return names.map((name) => {
    const values = from.read(name);
    let [square, largest, odd] = [0, 0, 0];
    for (let i = 0; i < values.length; i++) {
      const v = values[i];
      if (!Number.isFinite(v)) odd++;
      else {
        square += v * v;
        largest = Math.max(largest, Math.abs(v));
      }
    }
    return { name, norm: Math.sqrt(square), largest, not_finite: odd };
  });
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
