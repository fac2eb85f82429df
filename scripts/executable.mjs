// The command line is run by its name: the compiler's output must be executable, also where npm links it without copying.
import { chmodSync } from "node:fs";

chmodSync(new URL("../dist/src/cli/main.js", import.meta.url), 0o755);
