#!/usr/bin/env node
import { run } from "./app.ts";
import { processIo } from "./io.ts";

// past `ulimit -f` a write fails (EFBIG), as on a full disk; without a listener the system would end the process in the middle
if (process.platform !== "win32") process.on("SIGXFSZ", () => {});

// who read the output has gone (`peftc … | head`): what is being made is finished all the same, and nothing more is said
for (const stream of [process.stdout, process.stderr])
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });

process.exitCode = await run(process.argv.slice(2), processIo());
