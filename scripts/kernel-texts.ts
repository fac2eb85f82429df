/**
 * Writes the whole kernels that `test/device/text-*.test.ts` hold. They are for people: read what changed before it is committed.
 *
 *   npx tsx scripts/kernel-texts.ts
 */
import { writeFileSync } from "node:fs";
import { CASES, PRINTERS, type Printer, textOf } from "../test/device/support/texts.ts";

const LANGUAGE: Readonly<Record<Printer, string>> = { wat: "WebAssembly's text", c: "C", wgsl: "WGSL" };
const quoted = (text: string): string => text.replace(/[\\`]|\$\{/g, "\\$&");

async function main(): Promise<void> {
  for (const printer of PRINTERS) {
    const cases: string[] = [];
    for (const name of CASES) cases.push(`  [${JSON.stringify(name)}]: \`${quoted(await textOf(printer, name))}\`,`);
    const text = `/** Whole kernels in ${LANGUAGE[printer]}; written by \`scripts/kernel-texts.ts\`, from the graphs of \`support/texts.ts\`. */
import { expect, test } from "@jest/globals";
import { CASES, textOf } from "./support/texts.ts";

const TEXTS: Readonly<Record<string, string>> = {
${cases.join("\n")}
};

test.each(CASES)("%s", async (name) => {
  expect(await textOf("${printer}", name)).toBe(TEXTS[name]);
});
`;
    writeFileSync(
      new URL(`../test/device/text-${printer}.test.ts`, import.meta.url),
      text.replace(/^ {2}\["(\w+)"\]:/gm, "  $1:").replace(/^ {2}\[("[^"]+")\]:/gm, "  $1:"),
    );
  }
}

void main();
