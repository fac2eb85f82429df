/** Elementwise kernels, and kernels with reductions over rows: one invocation a row, or a team that meets in workgroup memory. */
import type { LoopKernel, Reduction, Stage } from "../kernels/kernel.ts";
import { rootsOf, usesOfStore } from "../kernels/kernel.ts";
import { valueNames } from "../kernels/names.ts";
import type { LoopSchedule } from "./schedule.ts";
import { atom, startOf, zeroOf } from "./spelling.ts";
import type { Template } from "./template.ts";
import { type Names, names } from "./text.ts";

/** Position of no element: after all positions, so that any element wins. */
const NOWHERE = 2147483647;

export function printLoop(kernel: LoopKernel, schedule: LoopSchedule, t: Template): void {
  const parallel = kernel.axes.length - kernel.row;
  const rows = kernel.axes.slice(0, parallel).reduce((a, b) => a * b, 1);
  const { lanes, team } = schedule;
  t.workgroup(lanes * team, Math.ceil(rows / lanes));
  const { out } = t;

  // The axis along which neighbours lie is taken off the number of the row first.
  const order = [...Array(parallel).keys()].filter((a) => a !== schedule.fastest).concat(parallel > 0 ? [schedule.fastest] : []);
  let active: string | undefined;
  if (team === 1) {
    t.element("at", rows);
  } else {
    t.group(Math.ceil(rows / lanes));
    out.add(`let member = i32(lane)${lanes === 1 ? "" : ` / ${lanes}`};`);
    const at = lanes === 1 ? "group_at" : `group_at * ${lanes} + i32(lane) % ${lanes}`;
    if (rows % lanes === 0) out.add(`let at = ${at};`);
    else {
      out.add(`let inside = ${at} < ${rows};`);
      out.add(`let at = min(${at}, ${rows - 1});`);
      active = "inside";
    }
  }
  const axes = new Map<number, string>();
  t.unflatten(
    "at",
    order.map((a) => [a, kernel.axes[a]] as const),
    (a) => `i${a}`,
    axes,
  );
  const outer = names(axes);

  for (const [s, stage] of kernel.stages.entries()) {
    if (kernel.stages.length > 1) out.add("");
    if (stage.over === "once") once(stage, outer, t, team > 1 ? ["member == 0", ...(active ? [active] : [])].join(" && ") : undefined);
    else if (kernel.row === 0) {
      t.writer.stores(stage.stores, outer, out);
    } else row(kernel, s, stage, outer, t, schedule, active);
  }
}

function once(stage: Stage, outer: Names, t: Template, when: string | undefined): void {
  if (when === undefined) {
    t.writer.stores(stage.stores, outer, t.out);
    return;
  }
  t.out.block(`if (${when})`, () => t.writer.stores(stage.stores, names(new Map(), outer), t.out));
}

function row(
  kernel: LoopKernel,
  s: number,
  stage: Stage,
  outer: Names,
  t: Template,
  { lanes, team }: LoopSchedule,
  active: string | undefined,
): void {
  const { out, writer } = t;
  const parallel = kernel.axes.length - kernel.row;
  const rowAxes = [...Array(kernel.row).keys()].map((i) => parallel + i);
  const sizes = rowAxes.map((a) => kernel.axes[a]);
  const length = sizes.reduce((a, b) => a * b, 1);
  const bits = rowAxes.reduce((b, a) => b | (1 << a), 0);
  writer.hoist(rootsOf(stage), bits, outer, out);

  const sums = stage.reductions.map((r, slot) => {
    const value = kernel.values.findIndex((v) => v.kind === "reduced" && v.stage === s && v.slot === slot);
    const name = value < 0 ? `${r.fn}_of_${r.value}` : valueNames(kernel)[value];
    return { ...r, name, at: `${name}_at` };
  });
  for (const r of sums) {
    const dtype = r.fn === "argmax" ? kernel.values[r.value].dtype : r.dtype;
    out.add(`var ${r.name} = ${r.fn === "sum" ? zeroOf(r.dtype) : startOf(r.fn === "min" ? "min" : "max", dtype)};`);
    if (r.fn === "argmax") out.add(`var ${r.at} = ${NOWHERE};`);
  }
  const body = (inner: Names, position: string) => {
    writer.values([...stage.reductions.map((r) => r.value), ...stage.stores.flatMap(usesOfStore)], inner, out);
    for (const r of sums) {
      const value = writer.say(r.value, inner);
      if (r.fn === "argmax") {
        out.block(`if (${value} > ${r.name} || ${r.at} == ${NOWHERE})`, () => {
          out.add(`${r.name} = ${value};`);
          out.add(`${r.at} = ${position};`);
        });
      } else out.add(`${r.name} = ${merged(r, r.name, value, t)};`);
    }
    if (stage.stores.length > 0) writer.stores(stage.stores, inner, out, active);
  };

  if (team === 1) {
    const axes = new Map(rowAxes.map((a, i) => [a, `r${i}`]));
    const position = sizes.reduce((text, size, i) => (i === 0 ? "r0" : `(${text}) * ${size} + r${i}`), "");
    const loops = (i: number): void => {
      if (i === rowAxes.length) body(names(axes, outer), position);
      else out.block(`for (var r${i} = 0; r${i} < ${sizes[i]}; r${i}++)`, () => loops(i + 1));
    };
    loops(0);
  } else {
    out.block(`for (var r = member; r < ${length}; r += ${team})`, () => {
      const axes = new Map<number, string>();
      t.unflatten(
        "r",
        rowAxes.map((a) => [a, kernel.axes[a]] as const),
        (a) => `r${a - parallel}`,
        axes,
      );
      body(names(axes, outer), "r");
    });
    for (const r of sums) meet(kernel, r, t, lanes, team);
    // What a member stored or read of an operand that is both must be done before others go on to the next stage.
    if (kernel.operands.some((o) => o.access === "both")) out.add("storageBarrier();");
  }
  kernel.values.forEach((v, i) => {
    if (v.kind !== "reduced" || v.stage !== s) return;
    const r = sums[v.slot];
    outer.values.set(i, r.fn === "argmax" ? r.at : r.name);
  });
}

function merged(r: Reduction, a: string, b: string, t: Template): string {
  if (r.fn === "sum") return `${a} + ${atom(b)}`;
  if (r.dtype !== "f32") return `${r.fn}(${a}, ${b})`;
  return `${t.helpers.use(r.fn === "max" ? "larger" : "smaller")}(${a}, ${b})`;
}

/** A tree over the members of a team; afterwards every member has the result. */
function meet(kernel: LoopKernel, r: Reduction & { name: string; at: string }, t: Template, lanes: number, team: number): void {
  const { out } = t;
  const dtype = r.fn === "argmax" ? kernel.values[r.value].dtype : r.dtype;
  const shared = t.shared(dtype, lanes * team, "");
  const sharedAt = r.fn === "argmax" ? t.shared("i32", lanes * team, "_at") : "";
  out.add(`${shared}[lane] = ${r.name};`);
  if (sharedAt) out.add(`${sharedAt}[lane] = ${r.at};`);
  out.add("workgroupBarrier();");
  out.block(`for (var half = ${team / 2}; half > 0; half /= 2)`, () => {
    out.block("if (member < half)", () => {
      const other = `lane + u32(half)${lanes === 1 ? "" : ` * ${lanes}u`}`;
      if (r.fn === "argmax") {
        out.add(`let other = ${other};`);
        out.block(
          `if (${shared}[other] > ${shared}[lane] || (${shared}[other] == ${shared}[lane] && ${sharedAt}[other] < ${sharedAt}[lane]))`,
          () => {
            out.add(`${shared}[lane] = ${shared}[other];`);
            out.add(`${sharedAt}[lane] = ${sharedAt}[other];`);
          },
        );
      } else out.add(`${shared}[lane] = ${merged(r, `${shared}[lane]`, `${shared}[${other}]`, t)};`);
    });
    out.add("workgroupBarrier();");
  });
  const first = lanes === 1 ? "0" : `lane % ${lanes}u`;
  out.add(`${r.name} = ${shared}[${first}];`);
  if (sharedAt) out.add(`${r.at} = ${sharedAt}[${first}];`);
  out.add("workgroupBarrier();");
}
