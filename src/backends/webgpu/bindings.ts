/**
 * Where the operands of one launch lie, and how the text reads them. Mostly an operand is one binding: a range of its page. Two things change that.
 * A tensor larger than a page goes on in the pages after it, and then has a binding a page, chosen by the index. And where a dispatch would bind more
 * buffers than the device allows, operands of one page share a binding that spans them.
 */

import type { WebGPULimits } from "../../ground/limits.ts";
import type { Placed } from "../../ground/program.ts";
import { range } from "../kernels/index.ts";
import type { LoopLanguage } from "../kernels/kernel.ts";
import { memoryType } from "./spelling.ts";

/** One `var<storage>`: a range of one page. */
export interface Binding {
  readonly name: string;
  readonly range: Placed;
  readonly access: "read" | "read_write";
}
/** Elements `from..to` (end exclusive) of the operand are elements `base..` of the binding. */
interface Part {
  readonly from: number;
  readonly to: number;
  readonly binding: number;
  readonly base: number;
}

/** Places that the invocations of a kernel count into, by atomic additions: several, so that not all wait for one. */
export const COUNT_SLOTS = 64;

/** Bytes of a full page: what a tensor that is larger fills before it goes on in the next page. */
export const pageBytes = (limits: WebGPULimits): number => Math.floor(limits.bindingBytes / limits.alignment) * limits.alignment;

/** Elements `low` to `high`, inclusive. */
export interface Window {
  readonly low: number;
  readonly high: number;
}

/** The elements of each operand that a kernel may touch; guarded indices may point outside, and are cut to the operand. */
export function touched(kernel: LoopLanguage): Window[] {
  const out = kernel.operands.map((o) => ({ low: o.count, high: -1 }));
  const add = (operand: number, low: number, high: number) => {
    const o = out[operand];
    const last = kernel.operands[operand].count - 1;
    o.low = Math.min(o.low, Math.max(0, low));
    o.high = Math.max(o.high, Math.min(last, high));
  };
  for (const v of kernel.values)
    if (v.kind === "load") {
      const r = range(v.index, kernel.axes);
      add(v.operand, r.low, r.high);
    }
  if (kernel.kind === "scatter") add(kernel.out, 0, kernel.rows * kernel.axes[1] - 1);
  else if (kernel.kind === "select") add(kernel.out, 0, 0);
  else
    for (const s of kernel.kind === "loop" ? kernel.stages.flatMap((stage) => stage.stores) : kernel.stores) {
      const r = range(s.index, kernel.axes);
      add(s.operand, r.low, r.high);
    }
  return out;
}

/** A name that no keyword of WGSL and no name of ours can be: those of operands have several words or end with a digit. */
function variable(name: string, taken: Set<string>): string {
  let out = name.replace(/\W/g, "_").replace(/^(?=\d)|^__+/, "t");
  if (!/\d$|_/.test(out)) out += "0";
  if (/^(v|i|r|m|n|k|b|c|u|f|acc|sum|base|const|group|lane|row|best|at|shared|tile|part|vec|mat)\d/.test(out)) out = `t_${out}`;
  let unique = out;
  for (let i = 1; taken.has(unique); i++) unique = `${out}_${i}`;
  taken.add(unique);
  return unique;
}

const samePage = (a: Placed, b: Placed): boolean => a.arena === b.arena && a.page === b.page;

/** The range from the last offset on at which a binding may begin: an iteration's slice of a tensor begins anywhere. */
export function aligned(p: Placed, alignment: number): Placed {
  const more = p.offset % alignment;
  return more === 0 ? p : { ...p, offset: p.offset - more, bytes: p.bytes + more, shape: [(p.bytes + more) / 4] };
}
export const overlap = (a: Placed, b: Placed): boolean => samePage(a, b) && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;

export class Bindings {
  readonly bindings: readonly Binding[];
  private readonly parts: readonly (readonly Part[])[];
  private readonly fours = new Set<number>();

  /** `placed`: one an operand of `kernel`. `windows`: the elements of each operand that are touched. Check `fits` before use. */
  constructor(
    private readonly kernel: LoopLanguage,
    placed: readonly Placed[],
    private readonly limits: WebGPULimits,
    windows: readonly Window[] = touched(kernel),
  ) {
    const taken = new Set<string>();
    const full = pageBytes(limits);
    const ranges: { name: string; range: Placed; written: boolean }[] = [];
    const parts: Part[][] = [];
    kernel.operands.forEach((operand, o) => {
      const p = placed[o];
      const written = operand.access !== "read";
      const name = variable(operand.name, taken);
      const mine: Part[] = [];
      if (p.offset + p.bytes <= full) {
        const range = aligned(p, limits.alignment);
        mine.push({ from: 0, to: operand.count, binding: ranges.length, base: (p.offset - range.offset) / 4 });
        ranges.push({ name, range, written });
      } else {
        // the rest of the page that it begins in, and the pages after
        for (let from = 0, page = p.page, offset = p.offset; from < operand.count; page++, offset = 0) {
          const to = Math.min(from + (full - offset) / 4, operand.count);
          if (to > windows[o].low && from <= windows[o].high) {
            const part = { arena: p.arena, page, offset, bytes: (to - from) * 4, dtype: p.dtype, shape: [to - from] };
            const range = aligned(part, limits.alignment);
            mine.push({ from, to, binding: ranges.length, base: (offset - range.offset) / 4 });
            ranges.push({ name: `${name}_${mine.length - 1}`, range, written });
          }
          from = to;
        }
      }
      parts.push(mine);
    });
    const merged = mergeUntil(ranges, parts, limits);
    this.parts = merged.parts;
    this.bindings = merged.ranges.map(({ name, range, written }) => {
      // In one dispatch a buffer is either read-only or writable, all of it.
      const writable = written || merged.ranges.some((other) => other.written && samePage(other.range, range));
      return { name, range, access: writable ? ("read_write" as const) : ("read" as const) };
    });
  }

  /** Whether an operand may be declared as `vec4f`: read only, and a binding of its own. */
  mayBeFours(operand: number): boolean {
    const [part, ...more] = this.parts[operand];
    const { access, dtype, count } = this.kernel.operands[operand];
    const alone = more.length === 0 && this.parts.filter((ps) => ps.some((p) => p.binding === part.binding)).length === 1;
    return alone && part.base === part.from && access === "read" && dtype === "f32" && count % 4 === 0;
  }
  /** From here on the operand is an array of `vec4f`, and is read by `four` only. */
  declareFours(operand: number): void {
    this.fours.add(this.parts[operand][0].binding);
  }
  four(operand: number, index: string): string {
    return `${this.functionName(operand)}[${index}]`;
  }

  get fits(): boolean {
    return this.bindings.length <= this.limits.bindings;
  }

  /** Variables, and functions for operands in several parts. */
  declarations(): string {
    const counted = new Set((this.kernel.counts ?? []).map((c) => this.parts[c.into][0].binding));
    const element = (i: number, range: Placed) => (counted.has(i) ? "atomic<i32>" : this.fours.has(i) ? "vec4f" : memoryType(range.dtype));
    const lines = this.bindings.map(
      ({ name, range, access }, i) => `@group(0) @binding(${i}) var<storage, ${access}> ${name}: array<${element(i, range)}>;`,
    );
    this.kernel.operands.forEach((operand, o) => {
      if (this.parts[o].length === 1) return;
      const type = memoryType(operand.dtype);
      const pieces = (line: (p: Part, index: string) => string) =>
        this.parts[o].map((p, i, all) => {
          const text = line(p, p.from === p.base ? "i" : `i - ${p.from - p.base}`);
          return i === all.length - 1 ? `  ${text}` : `  if (i < ${p.to}) { ${text} }`;
        });
      const name = this.functionName(o);
      const added = this.kernel.kind === "scatter" && this.kernel.out === o;
      const loaded = added || this.kernel.values.some((v) => v.kind === "load" && v.operand === o);
      if (loaded) lines.push(`fn ${name}_read(i: i32) -> ${type} {`, ...pieces((p, index) => `return ${this.element(o, p, index)};`), "}");
      if (operand.access !== "read")
        lines.push(
          `fn ${name}_write(i: i32, value: ${type}) {`,
          ...pieces((p, index) => `${this.assignment(o, p, index, "value")} return;`),
          "}",
        );
    });
    return lines.join("\n");
  }

  /** The element of the operand at that index, of its memory type. */
  read(operand: number, index: string): string {
    const parts = this.parts[operand];
    return parts.length === 1 ? this.element(operand, parts[0], moved(index, parts[0])) : `${this.functionName(operand)}_read(${index})`;
  }

  /** The statement that adds to what an operand counts. */
  add(operand: number, index: string, value: string): string {
    return `atomicAdd(&${this.functionName(operand)}[${index}], ${value});`;
  }

  /** The statement that stores `value`, of the operand's memory type. */
  write(operand: number, index: string, value: string): string {
    const parts = this.parts[operand];
    return parts.length === 1
      ? this.assignment(operand, parts[0], moved(index, parts[0]), value)
      : `${this.functionName(operand)}_write(${index}, ${value});`;
  }

  private functionName(operand: number): string {
    return this.bindings[this.parts[operand][0].binding].name;
  }
  private element(operand: number, part: Part, index: string): string {
    const b = this.bindings[part.binding];
    const want = memoryType(this.kernel.operands[operand].dtype);
    const text = `${b.name}[${index}]`;
    return want === memoryType(b.range.dtype) ? text : `bitcast<${want}>(${text})`;
  }
  private assignment(operand: number, part: Part, index: string, value: string): string {
    const b = this.bindings[part.binding];
    const have = memoryType(b.range.dtype);
    return `${b.name}[${index}] = ${have === memoryType(this.kernel.operands[operand].dtype) ? value : `bitcast<${have}>(${value})`};`;
  }
}

const moved = (index: string, part: Part): string => {
  const by = part.base - part.from;
  return by === 0 ? index : `${index} ${by > 0 ? "+" : "-"} ${Math.abs(by)}`;
};

/**
 * Joins ranges of one page, those that lie closest first, until there are few enough or none can be joined within one binding. What is written
 * must not lie in two bindings, nor what lies in one page with it: such ranges are joined first.
 */
function mergeUntil(
  ranges: readonly { name: string; range: Placed; written: boolean }[],
  parts: readonly (readonly Part[])[],
  limits: WebGPULimits,
): { ranges: { name: string; range: Placed; written: boolean }[]; parts: readonly (readonly Part[])[] } {
  let current = [...ranges];
  let places = parts.map((ps) => [...ps]);
  const written = (r: Placed) => current.some((o) => o.written && samePage(o.range, r));
  const clash = (a: number, b: number) => overlap(current[a].range, current[b].range) && written(current[a].range);
  const clashes = () => current.some((_, a) => current.some((_, b) => b > a && clash(a, b)));
  while (current.length > limits.bindings || clashes()) {
    const apart = !clashes();
    let best: { a: number; b: number; span: number } | undefined;
    for (let a = 0; a < current.length; a++)
      for (let b = a + 1; b < current.length; b++) {
        const [p, q] = [current[a].range, current[b].range];
        // what is counted is added to atomically: a binding of its own
        if (!samePage(p, q) || p.arena === "measures" || !(apart || clash(a, b))) continue;
        const span = Math.max(p.offset + p.bytes, q.offset + q.bytes) - Math.min(p.offset, q.offset);
        if (span <= limits.bindingBytes && (best === undefined || span < best.span)) best = { a, b, span };
      }
    if (best === undefined) break;
    const { a, b, span } = best;
    const [p, q] = [current[a].range, current[b].range];
    const offset = Math.min(p.offset, q.offset);
    const dtype = memoryType(p.dtype) === memoryType(q.dtype) ? p.dtype : "i32";
    const range: Placed = { arena: p.arena, page: p.page, offset, bytes: span, dtype, shape: [span / 4] };
    const joined = { name: `${current[a].name}_and_${current[b].name}`, range, written: current[a].written || current[b].written };
    const shiftOf = (binding: number) => (current[binding].range.offset - offset) / 4;
    const next = current.filter((_, i) => i !== a && i !== b);
    places = places.map((ps) =>
      ps.map((part) => {
        if (part.binding === a || part.binding === b) return { ...part, binding: next.length, base: part.base + shiftOf(part.binding) };
        return { ...part, binding: next.indexOf(current[part.binding]) };
      }),
    );
    current = [...next, joined];
  }
  return { ranges: current, parts: places };
}
