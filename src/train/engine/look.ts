/** Graphs between passes, for who asks to see them: nothing is built. */
import { compileProgram } from "../../backends/compile.ts";
import { SharedKernels } from "../../backends/kernels/shared.ts";
import { tell } from "../../backends/lowering.ts";
import { early, pipeline } from "../../ir/pipeline.ts";
import { compilationOf, type Hooks } from "./backend.ts";
import type { BuildOptions, EntryPoint } from "./engine.ts";

/** Runs the passes up to the last one that `hooks` ask for, and lowers as for WebAssembly where that is one of lowering. `begin`: called before each entry. */
export async function printPasses(
  points: readonly EntryPoint[],
  options: Partial<BuildOptions>,
  hooks: Hooks,
  begin: (name: string) => void,
): Promise<void> {
  const last = hooks.stopAfter ?? (hooks.print === "*" ? undefined : hooks.print);
  const isOf = (passes: readonly { readonly name: string }[]): boolean => passes.some((p) => p.name === last);
  const flat = points.flatMap((point) => {
    begin(point.name);
    if (!isOf(early)) return [{ name: point.name, ...compilationOf(point, options, hooks).finish() }];
    tell(early, [point], hooks);
    return [];
  });
  if (isOf(early) || isOf(pipeline)) return;
  await compileProgram(flat, { target: "wasm", arithmetic: "plain", workers: 1 }, true, new SharedKernels(hooks));
}
