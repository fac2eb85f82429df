#!/usr/bin/env node
import { run } from "./app.ts";
import { processIo } from "./io.ts";

// past `ulimit -f` a write fails (EFBIG), as on a full disk; without a listener the system would end the process in the middle
if (process.platform !== "win32") process.on("SIGXFSZ", () => {});

process.exitCode = await run(process.argv.slice(2), processIo());
