/** The frame of every kernel's text: bindings, helpers, workgroup memory, `main`, and how invocations find their place in a folded grid. */

import type { WebGPULimits } from "../../ground/limits.ts";
import { Bug } from "../../ir/errors.ts";
import { strideOf } from "../kernels/index.ts";
import { type LoopLanguage, needed } from "../kernels/kernel.ts";
import { type Bindings, COUNT_SLOTS } from "./bindings.ts";
import { Helpers } from "./spelling.ts";
import { counterOf, Lines, Writer } from "./text.ts";

/** Bytes an element takes in an array. */
const BYTES: Readonly<Record<string, number>> = { vec2f: 8, vec3f: 16, vec4f: 16 };

export class Template {
  readonly out = new Lines();
  readonly helpers = new Helpers();
  readonly writer: Writer;
  grid: readonly [number, number, number] = [1, 1, 1];
  private threads = 1;
  private bytes = 0;
  private readonly memory = new Map<string, string>();

  constructor(
    private readonly kernel: LoopLanguage,
    readonly bindings: Bindings,
    private readonly limits: WebGPULimits,
  ) {
    this.writer = new Writer(kernel, bindings, this.helpers);
  }

  /** `threads` invocations a workgroup, `groups` of them; more than one axis of a dispatch holds are folded into two. */
  workgroup(threads: number, groups: number): void {
    this.threads = threads;
    const most = this.limits.workgroups;
    const down = Math.ceil(groups / most);
    this.grid = [Math.ceil(groups / down), down, 1];
  }

  private get flatGroup(): string {
    return this.grid[1] === 1 ? "group.x" : `(group.y * ${this.grid[0]}u + group.x)`;
  }

  /** Names the number of this invocation, one of `count`; those beyond return. */
  element(name: string, count: number): void {
    if (count === 1 && this.threads === 1) {
      this.out.add(`let ${name} = 0;`);
      return;
    }
    this.out.add(`let ${name} = i32(${this.threads === 1 ? this.flatGroup : `${this.flatGroup} * ${this.threads}u + lane`});`);
    if (this.grid[0] * this.grid[1] * this.threads > count) this.out.add(`if (${name} >= ${count}) { return; }`);
  }

  /** Names the number of the workgroup `group_at`; whole workgroups beyond `count` return, so barriers stay in uniform flow. */
  group(count: number): void {
    this.out.add(`let group_at = i32(${this.flatGroup});`);
    if (this.grid[0] * this.grid[1] > count) this.out.add(`if (group_at >= ${count}) { return; }`);
  }

  /** Coordinates of a row-major number, the last axis fastest; axes of size 1 are 0. */
  unflatten(
    name: string,
    axes: readonly (readonly [axis: number, size: number])[],
    variable: (axis: number) => string,
    into: Map<number, string>,
  ): void {
    const real = axes.filter(([, size]) => size > 1);
    for (const [axis] of axes) into.set(axis, "0");
    let below = 1;
    for (let i = real.length - 1; i >= 0; i--) {
      const [axis, size] = real[i];
      const quotient = below === 1 ? name : `${name} / ${below}`;
      const text = i === 0 ? quotient : below === 1 ? `${name} % ${size}` : `(${quotient}) % ${size}`;
      below *= size;
      if (text === name) into.set(axis, name);
      else {
        this.out.add(`let ${variable(axis)} = ${text};`);
        into.set(axis, variable(axis));
      }
    }
  }

  /** Whether the loads behind a value move by one element along the sum's axis, rather than along `axis`. */
  alongSum(value: number, axis: number, sum: number): boolean {
    let score = 0;
    for (const v of needed(this.kernel.values, [value])) {
      const load = this.kernel.values[v];
      if (load.kind !== "load") continue;
      if (strideOf(load.index, sum) === 1) score++;
      if (strideOf(load.index, axis) === 1) score--;
    }
    return score > 0;
  }

  /** How many values a text for `roots` computes. */
  count(roots: readonly number[]): number {
    return needed(this.kernel.values, roots).filter((v) => this.kernel.values[v].kind !== "const").length;
  }

  /** A workgroup array, one for each type, size and purpose: reductions that follow each other share it. */
  shared(type: string, size: number, purpose: string): string {
    const name = `shared_${type.replace(/\W/g, "")}${purpose}`;
    if (!this.memory.has(name)) this.bytes += size * (BYTES[type] ?? 4);
    this.memory.set(name, `var<workgroup> ${name}: array<${type}, ${size}>;`);
    return name;
  }

  /** The text, without a name: kernels that differ in nothing else are one. */
  text(): string {
    if (this.bytes > this.limits.workgroupBytes) {
      throw new Bug(`${this.kernel.name} uses ${this.bytes} bytes of workgroup memory of ${this.limits.workgroupBytes}`);
    }
    const parts = [this.bindings.declarations(), ...this.memory.values()];
    const counts = this.kernel.counts ?? [];
    const helpers = this.helpers.text();
    if (helpers !== "") parts.push(helpers);
    parts.push(
      "",
      `@compute @workgroup_size(${this.threads})`,
      "fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {",
      ...counts.map((c) => `  var ${counterOf(c.of)} = 0;`),
      this.out.text(),
      ...counts.map((c) => `  if (${counterOf(c.of)} != 0) { ${this.bindings.add(c.into, `group.x % ${COUNT_SLOTS}u`, counterOf(c.of))} }`),
      "}",
      "",
    );
    return parts.join("\n");
  }
}
