/** Prints a program of native kernels as a library in C: a header, and a file that runs its entries over one memory. */

import type { NativeFile } from "../../backends/native/files.ts";
import { CALL, cName } from "../../backends/native/print.ts";
import type { Entry, HostScalar, Placed, Program } from "../../ground/program.ts";
import { Limit } from "../../ir/errors.ts";
import { layoutOf } from "../../runtime/layout.ts";

/** What a library has no words for. */
function requirePlain(program: Program): void {
  const because = (what: string) => new Limit(`\`build --target native\` does not write ${what} yet`);
  if (program.brings !== undefined) throw because("weights that stay in their files");
  if (program.halves !== undefined) throw because("weights that are kept in 16 bits");
  if (program.loads?.some((l) => l.pieces)) throw because("weights that are read a piece at a time");
  for (const { steps } of program.entries)
    for (const step of steps) if ("host" in step) throw because(`\`${step.host}\`, which is computed on the host at loading,`);
}

/** What is written to `values.bin`, one behind the other: each parameter and state in its place's numbers. */
export interface Stored {
  readonly kind: "param" | "state";
  readonly name: string;
  readonly placed: Placed;
}
export const storedOf = (program: Program): Stored[] => [
  ...Object.entries(program.params).map(([name, t]): Stored => ({ kind: "param", name, placed: program.tensors[t] })),
  ...Object.entries(program.states).map(([name, t]): Stored => ({ kind: "state", name, placed: program.tensors[t] })),
];

const text = (s: string): string => JSON.stringify(s);
const suffix = (entry: string): string => cName(entry).slice(2);

interface Library {
  readonly header: string;
  readonly source: string;
  /** The kernels, each file with a function of its own by which they are called. */
  readonly kernels: readonly string[];
}

/** `workers`: threads that the plan has scratch for. */
export function printLibrary(program: Program, files: readonly NativeFile[], workers: number, slack: number, title: string): Library {
  requirePlain(program);
  const layout = layoutOf(program);
  const address = (t: number) => layout.address(program.tensors[t]);
  const scratch = layout.arena("scratch")!;
  const each = Math.floor((scratch.bytes - slack) / workers / 64) * 64;
  const callOf = (i: number) => `${CALL}_${i}`;
  const where = new Map(files.flatMap((f, i) => f.kernels.map((name, j) => [name, { call: callOf(i), kernel: j }] as const)));

  const row = (name: string, t: number) => {
    const { dtype, bytes } = program.tensors[t];
    return `  {${text(name)}, ${address(t)}u, ${bytes / 4}u, '${dtype === "f32" ? "f" : "i"}'},`;
  };
  const table = (name: string, rows: readonly string[]) =>
    `const peftc_tensor ${name}[] = {\n${[...rows, "  {0, 0, 0, 0},"].join("\n")}\n};`;
  const tables = [
    table(
      "peftc_params",
      Object.entries(program.params).map(([n, t]) => row(n, t)),
    ),
    table(
      "peftc_states",
      Object.entries(program.states).map(([n, t]) => row(n, t)),
    ),
  ];
  const declared = ["extern const peftc_tensor peftc_params[], peftc_states[];"];
  const addresses: number[] = [];
  const runs: string[] = [];
  const loads = new Set(program.loads?.map((l) => l.entry));
  for (const entry of program.entries) {
    const name = suffix(entry.name);
    const steps = entry.steps.flatMap((step) => {
      if ("host" in step || step.units === 0) return [];
      const at = addresses.length;
      addresses.push(...step.operands.map(address));
      const { call, kernel } = where.get(step.kernel)!;
      return [`  {${call}, ${kernel}, ${step.units ?? 1}, ${at}}, /* ${step.label.replace(/\*\//g, "")} */`];
    });
    runs.push(`static const step steps_${name}[] = {\n${steps.join("\n")}\n};`);
    const { parameters, lines } = scalarsOf(program, entry, address);
    const head = `void peftc_run_${name}(${["void *memory", ...parameters.map((p) => `double ${p}`)].join(", ")})`;
    runs.push(
      `${loads.has(entry.name) ? "static " : ""}${head} {\n${[...lines, `  run(memory, steps_${name}, ${steps.length});`].join("\n")}\n}`,
    );
    if (loads.has(entry.name)) continue;
    const shown = (pick: "inputs" | "outputs") =>
      Object.entries(program[pick])
        .filter(
          ([key]) => key.startsWith(`${entry.name}/`) && (pick === "outputs" || entry.inputs.includes(key.slice(entry.name.length + 1))),
        )
        .map(([key, t]) => row(key.slice(entry.name.length + 1), t));
    tables.push(table(`peftc_inputs_${name}`, shown("inputs")), table(`peftc_outputs_${name}`, shown("outputs")));
    declared.push(`extern const peftc_tensor peftc_inputs_${name}[], peftc_outputs_${name}[];`, `${head};`);
  }

  const stored = storedOf(program);
  let from = 0;
  const copies = stored.flatMap(({ kind, name, placed }) => {
    const line = `  memcpy((char *)memory + ${layout.address(placed)}u, (const char *)values + ${from}u, ${placed.bytes}u); /* ${kind} ${name.replace(/\*\//g, "")} */`;
    from += placed.bytes;
    const load = program.loads?.find((l) => kind === "param" && l.handed.includes(name));
    // what is not kept is used at once: the next one may have the same place
    return load && load.handed.at(-1) === name ? [line, `  peftc_run_${suffix(load.entry)}(memory);`] : [line];
  });
  const after = (program.loads ?? []).filter((l) => l.handed.length === 0).map((l) => `  peftc_run_${suffix(l.entry)}(memory);`);
  const constants = program.constants.map(({ tensor, data }) => {
    const { dtype, bytes } = program.tensors[tensor];
    const type = dtype === "f32" ? "float" : "int32_t";
    const spelled = data.map((x) => (dtype === "f32" ? cNumber(x) : String(x | 0)));
    const at = `(${type} *)((char *)memory + ${address(tensor)}u)`;
    if (data.length * 4 === bytes) return `  { static const ${type} c[] = {${spelled.join(", ")}}; memcpy(${at}, c, ${bytes}u); }`;
    return `  for (uint32_t i = 0; i < ${bytes / 4}u; i++) (${at})[i] = ${spelled[0]};`;
  });

  const header = `/* ${title.replace(/\*\//g, "")}: made by peftc. A memory of PEFTC_BYTES bytes, aligned to 64, holds everything; peftc_start fills it from what values.bin
   holds, then inputs are written and outputs read at the offsets of the tables. One entry runs at a time. */
#ifndef PEFTC_H
#define PEFTC_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#define PEFTC_BYTES ${layout.bytes}u
#define PEFTC_VALUES ${from}u
/* a place in the memory: bytes from its beginning, numbers of 4 bytes; 'f' float, 'i' int32_t; a name of 0 ends a table */
typedef struct { const char *name; uint32_t offset, count; char type; } peftc_tensor;
void peftc_start(void *memory, const void *values);
${declared.join("\n")}
#ifdef __cplusplus
}
#endif
#endif
`;
  const source = `#include <math.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#include "peftc.h"

typedef void call(char *memory, const uint32_t *at, uint32_t kernel, int32_t from, int32_t to, uint32_t scratch);
call ${files.map((_, i) => callOf(i)).join(", ")};
typedef struct { call *call; uint32_t kernel; int32_t units; uint32_t at; } step;
static const uint32_t addresses[] = {${addresses.join(", ")}};

/* units of a step do not depend on each other: results are the same for any number of threads */
static void run(void *memory, const step *steps, int count) {
  for (int i = 0; i < count; i++) {
    const step *s = steps + i;
#ifdef _OPENMP
    int most = omp_get_max_threads() < ${workers} ? omp_get_max_threads() : ${workers};
#pragma omp parallel num_threads(s->units < most ? s->units : most)
    {
      int64_t n = omp_get_num_threads(), w = omp_get_thread_num();
      int32_t from = (int32_t)(s->units * w / n), to = (int32_t)(s->units * (w + 1) / n);
      if (from < to) s->call(memory, addresses + s->at, s->kernel, from, to, ${scratch.at}u + (uint32_t)w * ${each}u);
    }
#else
    s->call(memory, addresses + s->at, s->kernel, 0, s->units, ${scratch.at}u);
#endif
  }
}
${HELPERS}
${tables.join("\n")}

${runs.join("\n\n")}

void peftc_start(void *memory, const void *values) {
  memset(memory, 0, PEFTC_BYTES);
${[...constants, ...copies, ...after].join("\n")}
}
`;
  return { header, source, kernels: files.map((f, i) => f.text.replaceAll(`void ${CALL}(`, `void ${callOf(i)}(`)) };
}

function cNumber(x: number): string {
  if (Number.isNaN(x)) return "NAN";
  if (!Number.isFinite(x)) return x > 0 ? "INFINITY" : "-INFINITY";
  return Object.is(x, -0) ? "-0.0" : /[.e]/.test(String(x)) ? String(x) : `${x}.0`;
}

/** Scalars in C, from the numbers that the caller gives, and where they go. */
function scalarsOf(program: Program, entry: Entry, address: (t: number) => number): { parameters: string[]; lines: string[] } {
  const made = new Map<string, string>();
  const parameters: string[] = [];
  const lines: string[] = [];
  const named = (name: string): string => {
    const known = made.get(name);
    if (known !== undefined) return known;
    const parameter = name.replace(/\W/g, "_");
    if (!parameters.includes(parameter)) parameters.push(parameter);
    return parameter;
  };
  entry.scalars.forEach((scalar, s) => {
    scalar.code.forEach((code, i) => lines.push(`  double s${s}_${i} = ${scalarText(code, `s${s}_`, named)};`));
    const last = `s${s}_${scalar.code.length - 1}`;
    made.set(scalar.name, last);
    const t = program.inputs[`${entry.name}/${scalar.name}`];
    if (t === undefined) return;
    const [type, value] = scalar.dtype === "f32" ? ["float", last] : ["int32_t", `trunc(${last})`];
    lines.push(`  *(${type} *)((char *)memory + ${address(t)}u) = (${type})${value};`);
  });
  return { parameters, lines };
}

const INFIX: Readonly<Record<string, string>> = {
  add: "+",
  sub: "-",
  mul: "*",
  div: "/",
  eq: "==",
  ne: "!=",
  lt: "<",
  le: "<=",
  gt: ">",
  ge: ">=",
  and: "&&",
  or: "||",
};
const CALLED: Readonly<Record<string, string>> = {
  exp: "exp",
  log: "log",
  sqrt: "sqrt",
  sin: "sin",
  cos: "cos",
  tanh: "tanh",
  erf: "erf",
  abs: "fabs",
  floor: "floor",
  ceil: "ceil",
  round: "rint",
  pow: "pow",
  max: "larger",
  min: "smaller",
  mod: "modulo",
  sign: "sign_of",
};
const HELPERS = `static inline double larger(double a, double b) { return a > b || a != a ? a : b; }
static inline double smaller(double a, double b) { return a < b || a != a ? a : b; }
static inline double modulo(double a, double b) { return a - b * floor(a / b); }
static inline double sign_of(double a) { return a > 0 ? 1 : a < 0 ? -1 : a; }
static inline double wrapped(double a) { return (double)(int32_t)(uint32_t)(int64_t)a; }`;

function scalarText([op, ...args]: HostScalar["code"][number], prefix: string, named: (name: string) => string): string {
  const read = (a: string | number): string => {
    if (typeof a === "number") return `(${cNumber(a)})`;
    if (a[0] === "%") return `${prefix}${a.slice(1)}`;
    return a[0] === "@" ? named(a.slice(1)) : `(${cNumber(Number(a))})`;
  };
  const name = String(op);
  const [a, b, c] = args.map(read);
  const plain = name.replace(/\.i32$/, "");
  if (name === "cast.f32") return a;
  if (name === "cast.i32") return `wrapped(trunc(${a}))`;
  if (name === "cast.bool") return `(double)(${a} != 0)`;
  if (name === "where") return `${a} != 0 ? ${b} : ${c}`;
  if (name === "neg") return `-${a}`;
  if (name === "not") return `1 - ${a}`;
  const out = INFIX[plain]
    ? `${a} ${INFIX[plain]} ${b}`
    : CALLED[plain]
      ? `${CALLED[plain]}(${[a, b].filter((x) => x !== undefined).join(", ")})`
      : undefined;
  if (out === undefined) throw new Limit(`\`build --target native\` computes no ${name} on the host`);
  return plain === name ? out : `wrapped(${out})`;
}
