/** Text to bytes, by WABT. */
import { Bug } from "../../ir/errors.ts";

type Tool = NonNullable<Awaited<ReturnType<typeof import("wabt")>>>;
/** It has a memory of 16 MB and more, which would stand beside a run's own: it goes when memory is collected. */
let known: WeakRef<Tool> | undefined;

/** The module's bytes. Throws `Bug` with WABT's message where our text is wrong. */
export async function assemble(text: string): Promise<Uint8Array> {
  const features = { simd: true, threads: true, bulk_memory: true, relaxed_simd: true };
  // loaded when it is first wanted: it is large, and most commands assemble nothing
  const tool: Tool = known?.deref() ?? (await import("wabt").then(({ default: wabt }) => wabt()));
  known = new WeakRef(tool);
  try {
    const module = tool.parseWat("program.wat", text, features);
    try {
      // Whether the module is valid is the engine's to say, when it compiles it. A copy: what it gives lies in its memory.
      return module.toBinary({}).buffer.slice();
    } finally {
      module.destroy();
    }
  } catch (e) {
    throw new Bug(`the printed module does not assemble: ${String(e).slice(0, 2000)}`);
  }
}
