/** The C compiler at hand: which one, what it is told, and what processor it compiles for. */

import type { Machine } from "../../backends/native/schedule.ts";
import { NoDevice } from "../../runtime/errors.ts";
import { outputOf } from "../process.ts";

export interface Compiler {
  readonly command: string;
  /** What it is told beside names of files. */
  readonly flags: readonly string[];
  /** Its name and version, as it gives them. */
  readonly version: string;
  readonly machine: Machine;
  /** All that its code depends on beside the text: a change makes other files. */
  readonly identity: string;
}

/** Ways of asking for code for this very processor; not every compiler has the first. */
const TUNINGS = [["-march=native"], ["-mcpu=native"], []];
/** No header is read, no error number set, no exception trapped; multiply-adds are fused; integers wrap. */
const FLAGS = ["-std=gnu11", "-O2", "-fPIC", "-shared", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fwrapv", "-w"];

const WITHOUT = "`--device wasm` needs no compiler";

/** What was found, or why it will not do. `PEFTC_CC` names another compiler than `cc`. */
export async function findCompiler(environment: NodeJS.ProcessEnv = process.env): Promise<Compiler | NoDevice> {
  const command = environment.PEFTC_CC || "cc";
  let last = "";
  for (const tuning of TUNINGS) {
    const asked = await outputOf(command, [...tuning, "-dM", "-E", "-x", "c", "-"]);
    if (asked === undefined)
      return new NoDevice(`there is no C compiler at \`${command}\`, which native kernels need`, [
        environment.PEFTC_CC ? "PEFTC_CC names it" : "install gcc or clang, or set PEFTC_CC to one",
        WITHOUT,
      ]);
    if (asked.status === 0) return described(command, tuning, asked.out);
    last = firstLine(asked.err);
  }
  return new NoDevice(`the C compiler \`${command}\` does not work: ${last}`, ["PEFTC_CC names another one", WITHOUT]);
}

function described(command: string, tuning: readonly string[], macros: string): Compiler {
  const defined = new Map([...macros.matchAll(/^#define (\w+) ?(.*)$/gm)].map((m) => [m[1], m[2]]));
  const name = defined.has("__clang__") ? "clang" : "gcc";
  const version = `${name} ${(defined.get("__VERSION__") ?? "").replace(/"/g, "").replace(/^.*[Cc]lang /, "")}`;
  const lanes = defined.has("__AVX512F__") ? 16 : defined.has("__AVX__") ? 8 : 4;
  const registers = lanes === 16 || defined.has("__aarch64__") ? 32 : 16;
  // what the processor has, in the compiler's words
  const features = [...defined.keys()].filter((key) => /^__(AVX|SSE|FMA|F16C|BMI|ARM_|aarch64|x86_64|znver|tune)/.test(key)).sort();
  const flags = [...FLAGS, ...tuning];
  return { command, flags, version, machine: { lanes, registers }, identity: [version, ...flags, ...features].join(" ") };
}

/** Compiles a file into a library. Throws `NoDevice` with the compiler's first words where it fails. */
export async function compileFile({ command, flags }: Compiler, from: string, to: string): Promise<void> {
  const done = await outputOf(command, [...flags, "-o", to, from]);
  if (done?.status === 0) return;
  const why = done === undefined ? "it is not there any more" : firstLine(done.err) || `it ended with status ${done.status}`;
  throw new NoDevice(`the C compiler \`${command}\` failed: ${why}`, ["PEFTC_CC names another one", WITHOUT]);
}

const firstLine = (text: string): string => text.split("\n").find((line) => /error/i.test(line)) ?? text.trim().split("\n")[0];
