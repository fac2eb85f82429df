/** Text to bytes, by WABT. */
import { Bug } from "../../ir/errors.ts";

let loading: ReturnType<typeof import("wabt")> | undefined;

/** The module's bytes. Throws `Bug` with WABT's message where our text is wrong. */
export async function assemble(text: string): Promise<Uint8Array> {
  const features = { simd: true, threads: true, bulk_memory: true, relaxed_simd: true };
  // loaded when it is first wanted: it is large, and most commands assemble nothing
  loading ??= import("wabt").then(({ default: wabt }) => wabt());
  const tool = await loading;
  try {
    const module = tool.parseWat("program.wat", text, features);
    try {
      // Whether the module is valid is the engine's to say, when it compiles it.
      return module.toBinary({}).buffer;
    } finally {
      module.destroy();
    }
  } catch (e) {
    throw new Bug(`the printed module does not assemble: ${String(e).slice(0, 2000)}`);
  }
}
