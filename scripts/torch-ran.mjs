// Fails where a test of the torch backend was skipped, though there is a PyTorch: node scripts/torch-ran.mjs RESULTS [FILTER...]. RESULTS: Jest's JSON. FILTER: what the
// run was asked for, so that none of those tests may be among it.
import { readFileSync } from "node:fs";

const [file, ...filter] = process.argv.slice(2);
const { testResults } = JSON.parse(readFileSync(file, "utf8"));
const tests = testResults.filter((f) => /[\\/]test[\\/]torch[\\/]/.test(f.name)).flatMap((f) => f.assertionResults);
const skipped = tests.filter((t) => t.status === "pending");
if (skipped.length > 0 || (tests.length === 0 && filter.length === 0)) {
  console.log("torch: it is there, but its tests did not run");
  process.exit(1);
}
