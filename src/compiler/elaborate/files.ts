import type { Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import type { Host } from "../project.ts";
import { parse } from "../read/parse.ts";
import type { Problem } from "../report/problem.ts";
import { resolve } from "../resolve.ts";
import { Block, type BlockOwner } from "./block.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail, reading } from "./fault.ts";
import { numberCalls } from "./ordinals.ts";
import { fixed, type Here, Names, type Read, type Scope } from "./scope.ts";
import { MethodDecl, ModuleDecl, RoleDecl, TypeDecl } from "./values.ts";

/** One source file: its declarations, and its names. */
export interface Unit {
  readonly path: string;
  readonly text: string;
  readonly program: ast.Program;
  readonly scope: Scope;
  readonly declared: ReadonlyMap<string, Read>;
}

/** Loads files and gives each its scope. The main file's statements run in order; a library's names are computed when asked for. */
export class Files {
  readonly units = new Map<string, Unit>();
  private readonly loading: string[] = [];

  constructor(
    private readonly e: Elaborator,
    private readonly host: Host,
    private readonly problems: Problem[],
    private readonly root: Scope,
  ) {}

  load(path: string, from: Span | undefined, variables?: ReadonlyMap<string, Read>): Unit | undefined {
    const id = path.startsWith("std/") ? path : (this.host.identity?.(path) ?? path);
    if (this.loading.includes(id))
      fail("P0214", from, `${path} imports itself`, {
        notes: [`the path: ${[...this.loading.slice(this.loading.indexOf(id)), id].join(" → ")}`],
      });
    const known = this.units.get(path);
    if (known) return known;
    if (this.units.size > this.e.work.limits.imports)
      fail("P0002", from, `more than ${this.e.work.limits.imports} files are imported`, { label: "one too many" });
    const text = reading(from, () => this.host.readSource(path));
    if (text === undefined) {
      if (!from) return undefined;
      fail("P0215", from, `there is no file ${path}`, {
        label: "not found",
        notes: path.startsWith("std/") ? ["`std/…` names the library's files"] : ["imports are relative to the file they stand in"],
      });
    }
    if (text.length > this.e.work.limits.source)
      fail("P0002", from, `${path} is too long: ${text.length} characters`, {
        notes: [`a source has at most ${this.e.work.limits.source}`],
      });
    this.loading.push(id);
    try {
      const ahead = this.host.readTree?.(path, text);
      const { program, problems } = ahead === undefined ? parse(text, path) : { program: ahead, problems: [] };
      this.problems.push(...problems);
      const unit = this.unit(path, text, program, variables);
      this.units.set(path, unit);
      const before = this.problems.length;
      for (const i of program.imports) this.checkImport(unit, i);
      // names are judged once all imports are there; syntax errors would make known names look unknown
      if (problems.length === 0 && this.problems.length === before) this.e.collect(() => this.problems.push(...resolve(unit)));
      return unit;
    } finally {
      this.loading.pop();
    }
  }

  private unit(path: string, text: string, program: ast.Program, variables?: ReadonlyMap<string, Read>): Unit {
    const here: Here = { path: "", training: false, calls: "" };
    const declared = new Map<string, Read>();
    const statements = program.items.filter((i): i is ast.Statement => !isDeclaration(i));
    const owner: BlockOwner = { evaluator: this.e, hereFor: () => here, view: (_n, t) => () => t.force() };
    const outer = new Names(declared, this.root, here);
    const scope: Scope = variables
      ? { here, find: (n) => variables.get(n) ?? outer.find(n), names: () => [...variables.keys(), ...outer.names()] }
      : new Block(statements, outer, owner, here);
    const name = moduleName(path);
    for (const item of program.items) {
      numberCalls(item);
      switch (item.kind) {
        case "Import":
          for (const n of item.names) declared.set((n.as ?? n.name).text, (reader) => this.imported(path, item, n)(reader));
          break;
        case "Module":
          declared.set(item.name.text, fixed(new ModuleDecl(item, scope)));
          break;
        case "Method":
          declared.set(item.name.text, fixed(new MethodDecl(item, scope, name)));
          break;
        case "Role":
          declared.set(item.name.text, fixed(new RoleDecl(item, scope)));
          break;
        case "Type":
          declared.set(item.name.text, fixed(new TypeDecl(item, scope)));
          break;
        case "Function":
          declared.set(item.name.text, fixed(this.e.closure(item, scope)));
          break;
      }
    }
    return { path, text, program, scope, declared };
  }

  private imported(path: string, item: ast.Import, n: ast.ImportName): Read {
    const unit = this.load(resolveImport(path, item.from.value), item.from.span)!;
    const read =
      unit.declared.get(n.name.text) ??
      (unit.scope instanceof Block && unit.scope.thunkBefore(n.name.text) ? unit.scope.find(n.name.text) : undefined);
    if (read) return read;
    const names = exportsOf(unit);
    fail("P0216", n.name.span, `${item.from.value} has no \`${n.name.text}\``, {
      notes: [...this.e.suggestions(n.name.text, names), `it has: ${names.slice(0, 20).join(", ")}`],
    });
  }

  private checkImport(unit: Unit, item: ast.Import): void {
    for (const n of item.names) this.e.collect(() => this.imported(unit.path, item, n));
  }
}

const isDeclaration = (i: ast.Item): boolean =>
  i.kind === "Import" || i.kind === "Type" || i.kind === "Role" || i.kind === "Module" || i.kind === "Method" || i.kind === "Function";

function exportsOf(unit: Unit): string[] {
  const out = unit.program.items.flatMap((i) =>
    i.kind === "Import"
      ? []
      : isDeclaration(i)
        ? [(i as ast.Module).name.text]
        : i.kind === "Binding"
          ? i.targets.map((t) => t.names[0].text)
          : [],
  );
  return [...new Set(out)];
}

/** `std/...` is the library; anything else is relative to the file. */
export function resolveImport(from: string, path: string): string {
  if (path.startsWith("std/")) return `${path}.peft`.replace(/\.peft\.peft$/, ".peft");
  const file = path.endsWith(".peft") ? path : `${path}.peft`;
  return joinPath(from, file);
}
/** A path as seen from a file. */
export function joinPath(from: string, path: string): string {
  if (path.startsWith("/") || /^[a-z]+:\/\//.test(path)) return path;
  const parts = from.split("/").slice(0, -1);
  for (const p of path.split("/")) {
    if (p === "..") {
      if (parts.length > 0 && parts[parts.length - 1] !== "..") parts.pop();
      else parts.push("..");
    } else if (p !== "." && p !== "") parts.push(p);
  }
  return parts.join("/") || ".";
}
const moduleName = (path: string): string => path.replace(/\.peft$/, "");
