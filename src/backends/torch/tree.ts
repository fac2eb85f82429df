/** The parameters of a program as a tree of modules, and how Python reads each. */
import { attribute, tuple } from "./text.ts";

/** A module: what it consists of, in order. */
export interface Module {
  readonly children: Map<string, Module>;
  readonly parameters: Map<string, readonly number[]>;
  /** The class of an iteration of a loop. */
  block?: string;
}
const empty = (): Module => ({ children: new Map(), parameters: new Map() });

export class Tree {
  readonly root = empty();
  private readonly texts = new Map<string, string>();

  /** Puts a parameter at a path of its own; gives the text by which the model reads it. */
  add(name: string, path: readonly string[], shape: readonly number[]): void {
    let at = this.root;
    for (const segment of path.slice(0, -1)) {
      if (!at.children.has(segment)) at.children.set(segment, empty());
      at = at.children.get(segment)!;
    }
    let last = path.at(-1)!;
    while (at.parameters.has(last) || at.children.has(last)) last = `${last}_`;
    at.parameters.set(last, shape);
    this.texts.set(name, [...path.slice(0, -1), last].join("."));
  }

  /** Where a parameter lies: its path in the tree. */
  pathOf(name: string): readonly string[] {
    return this.texts.get(name)!.split(".");
  }
  find(path: readonly string[]): Module | undefined {
    return path.reduce<Module | undefined>((at, segment) => at?.children.get(segment), this.root);
  }

  /** `root.transformer.h[0].attn`, read from the module at `from`. */
  text(path: readonly string[], root: string, from: readonly string[] = []): string {
    let at = this.find(from)!;
    let out = root;
    for (const segment of path.slice(from.length)) {
      out += isList(at) ? `[${segment}]` : `.${attribute(segment)}`;
      at = at.children.get(segment) ?? empty();
    }
    return out;
  }
}

/** Whether the children are numbered from 0: then they are an `nn.ModuleList`. */
const isList = ({ children, parameters }: Module): boolean =>
  children.size > 0 && parameters.size === 0 && [...children.keys()].every((key) => /^\d+$/.test(key) && Number(key) < children.size);

/** The module as an expression; `indent` is that of its line. Equal texts are equal structures. */
export function construct(module: Module, indent: string): string {
  if (module.block !== undefined) return `${module.block}()`;
  return isList(module) ? listOf(module, indent) : groupOf(module, indent);
}

function listOf({ children }: Module, indent: string): string {
  const inner = `${indent}    `;
  const made = [...children].sort(([a], [b]) => Number(a) - Number(b)).map(([, m]) => construct(m, inner));
  if (made.length > 1 && made.every((m) => m === made[0])) return `nn.ModuleList([${made[0]} for _ in range(${made.length})])`;
  return `nn.ModuleList([\n${made.map((m) => `${inner}${m},\n`).join("")}${indent}])`;
}

function groupOf(module: Module, indent: string): string {
  const inner = `${indent}    `;
  const parts = assignments(module, inner);
  const line = `Group(${parts.join(", ")})`;
  if (line.length <= 96 && !line.includes("\n")) return line;
  return `Group(\n${parts.map((p) => `${inner}${p},\n`).join("")}${indent})`;
}
/** `name=value` of everything in a module. */
export function assignments({ children, parameters }: Module, indent: string): string[] {
  return [
    ...[...parameters].map(([name, shape]) => `${attribute(name)}=${tuple(shape)}`),
    ...[...children].map(([name, m]) => `${attribute(name)}=${construct(m, indent)}`),
  ];
}
