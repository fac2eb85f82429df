#!/usr/bin/env node
import module from "node:module";
import { setFlagsFromString } from "node:v8";

// what was compiled once is kept where this Node can (from 22.8 on); before anything else is loaded
(module as { enableCompileCache?: () => void }).enableCompileCache?.();
// A command runs much code a few times: what the engine's optimising compiler makes of it by its usual count (some 66 000) costs more than it saves. Loops that go
// on get there a moment later; kernels are WebAssembly, which this says nothing of.
setFlagsFromString("--interrupt-budget=600000");
const [{ run }, { EXIT }, { processIo }] = await Promise.all([import("./app.ts"), import("./exit.ts"), import("./io.ts")]);

// past `ulimit -f` a write fails (EFBIG), as on a full disk; without a listener the system would end the process in the middle
if (process.platform !== "win32") process.on("SIGXFSZ", () => {});

// who read the output has gone (`peftc … | head`, a closed terminal), or there is no room for it: what is being made is finished all the same
let full: string | undefined;
for (const stream of [process.stdout, process.stderr])
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (stream === process.stdout && error.code !== "EPIPE" && error.code !== "EIO") full ??= error.message;
  });

const code = await run(process.argv.slice(2), processIo());
// the last error of a stream comes when the loop turns
await new Promise((resolve) => setImmediate(resolve));
if (full !== undefined) process.stderr.write(`standard output could not be written (${full}); what was to be saved is saved\n`);
process.exitCode = full !== undefined && code === EXIT.ok ? EXIT.mistake : code;
