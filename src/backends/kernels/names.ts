/**
 * Names in the texts of kernels: of kernels after where they run, of operands after what they hold, of values after what computes them. A kernel that serves
 * several places is named by what they have in common. Names come last, when all places are known: what kernels are shared by knows none of them.
 */
import type { LoopLanguage, Operand, Value } from "./kernel.ts";

/** Names of kernels that are readable, fit an identifier, and differ. */
export class Names {
  private readonly taken = new Map<string, number>();
  of(label: string): string {
    const base = label.replace(/[^A-Za-z0-9.]+/g, "_").replace(/^_+|_+$/g, "") || "kernel";
    const n = this.taken.get(base) ?? 0;
    this.taken.set(base, n + 1);
    return n === 0 ? base : `${base}.${n + 1}`;
  }
}

/** What an operand holds in one place where a kernel runs: the name of a parameter, a state or an input, or else the path and the op that make it. */
export interface Held {
  readonly name?: string | undefined;
  readonly shape: readonly number[];
}

/** What the operands of a kernel hold, over all places where it runs. */
export class Holdings {
  private readonly seen: Map<string, Held>[] = [];

  add(held: readonly Held[]): void {
    for (const [i, h] of held.entries()) {
      this.seen[i] ??= new Map();
      this.seen[i].set(`${h.name} ${h.shape}`, h);
    }
  }
  /** Names of what an operand holds; layers of one stack count as one. */
  places(operand: number): string[] {
    return placesOf([...(this.seen[operand]?.values() ?? [])].flatMap(({ name }) => name ?? []));
  }
  /** The shapes of an operand: places may see the same elements in several. */
  shapes(operand: number): string[] {
    return [...new Set([...(this.seen[operand]?.values() ?? [])].map(({ shape }) => shape.join(", ")))];
  }
  /** The kernel with its operands named. */
  named<K extends LoopLanguage>(kernel: K): K {
    const taken = new Set<string>();
    return { ...kernel, operands: kernel.operands.map((o, i): Operand => ({ ...o, name: operandName(this.places(i), o, taken) })) };
  }
}

/** Paths that differ in numbers only as one: `h.0.mlp`, `h.1.mlp` → `h.*.mlp`; in the order in which they came. */
export function placesOf(labels: Iterable<string>): string[] {
  const groups = new Map<string, Set<string>>();
  for (const label of labels) {
    const key = label.replace(/(^|\.)\d+(?=\.|\b)/g, "$1*");
    groups.set(key, (groups.get(key) ?? new Set()).add(label));
  }
  return [...groups].map(([key, all]) => (all.size === 1 ? [...all][0] : `${key} (${all.size} places)`));
}

/** Words of WGSL and of C that look as names of operands do. */
const KEYWORDS: ReadonlySet<string> = new Set([
  ...["const_cast", "dynamic_cast", "reinterpret_cast", "static_cast", "static_assert"],
  ...["co_await", "co_return", "co_yield", "thread_local", "typeof_unqual"],
]);

/** What printers call their own. */
const OWN =
  /^(is_nan|not_a_number|group_at|stable_\w+|floor_\w+|first_[mn]|shared_\w+|counted_\d+|tile_\w+|[a-z]+_[fi]?\d+|\w+_(read|write|at))$/;

/** Most words of a name. */
const WORDS = 2;

/**
 * The last words that all places have in common, two at most: `gpt2.transformer.h.0.mlp.c_fc.weight` → `c_fc_weight`, `gpt2.h.0.ln_2 add` → `ln_2_add`. Numbers of
 * layers are no words. Where there are none the name says only whether the operand is read or written.
 */
function operandName(places: readonly string[], operand: Operand, taken: Set<string>): string {
  const words = places.map((place) =>
    place
      .replace(/ \(\d+ places\)$/, "")
      .split(/[.\s/]+/)
      .filter((word) => !/^(\d+|\*)$/.test(word))
      .map((word) => word.replace(/[^A-Za-z0-9]+/g, "_").replace(/^_+|_+$/g, ""))
      .filter((word) => word !== ""),
  );
  const [first, ...others] = words;
  let common = 0;
  while (first && common < Math.min(WORDS, first.length) && others.every((w) => w.at(-1 - common) === first.at(-1 - common))) common++;
  const said = common === 0 ? [] : first.slice(-common);
  const text = said.join("_");
  // names of one word would meet keywords and what printers call their own
  const whole = text.includes("_") && !KEYWORDS.has(text) && !OWN.test(text) && /^[A-Za-z]/.test(text);
  const base = text === "" ? operand.name : whole ? text : `${operand.access === "read" ? "in" : "out"}_${text}`;
  let name = base;
  for (let i = 2; taken.has(name); i++) name = `${base}_${i}`;
  taken.add(name);
  return name;
}

const WORD: Readonly<Record<Exclude<Value["kind"], "load" | "call" | "reduced">, string>> = { const: "c", index: "at", acc: "sum" };

const named = new WeakMap<LoopLanguage, readonly string[]>();
/** Names of a kernel's values: what computes them, or what they are loaded from, and their numbers: `exp_3`, `c_fc_weight_0`. */
export function valueNames(kernel: LoopLanguage): readonly string[] {
  const known = named.get(kernel);
  if (known) return known;
  const taken = new Set(kernel.operands.map((o) => o.name));
  const names = kernel.values.map((value, v): string => {
    let name = `${wordOf(kernel, value)}_${v}`;
    while (taken.has(name)) name += "_";
    taken.add(name);
    return name;
  });
  named.set(kernel, names);
  return names;
}
function wordOf(kernel: LoopLanguage, value: Value): string {
  switch (value.kind) {
    case "load":
      return kernel.operands[value.operand].name;
    case "call":
      return value.fn === "cast" ? `to_${value.dtype}` : value.fn;
    case "reduced":
      return kernel.kind === "loop" ? (kernel.stages[value.stage]?.reductions[value.slot]?.fn ?? "reduced") : "reduced";
    default:
      return WORD[value.kind];
  }
}

/** Names of variables in one text: the hint itself, or with a number where it is taken. */
export class Locals {
  private readonly taken: Set<string>;
  private readonly last = new Map<string, number>();
  constructor(taken: Iterable<string> = []) {
    this.taken = new Set(taken);
  }
  of(hint: string): string {
    let name = hint;
    while (this.taken.has(name)) {
      const n = (this.last.get(hint) ?? 1) + 1;
      this.last.set(hint, n);
      name = `${hint}_${n}`;
    }
    this.taken.add(name);
    return name;
  }
}
