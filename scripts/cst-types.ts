/** Writes `grammar/cst.ts`, the types of the concrete syntax tree: `npx tsx scripts/cst-types.ts`. A test sees that it is up to date. */
import { writeFileSync } from "node:fs";
import { generateCstDts } from "chevrotain";
import { PeftParser } from "../grammar/parser.ts";

export function cstTypes(): string {
  const text = generateCstDts(new PeftParser().getGAstProductions(), { includeVisitorInterface: false }).replace(", ICstVisitor", "");
  return `/** Types of the concrete syntax tree, generated from the parser's rules by \`scripts/cst-types.ts\`: do not edit. */\n// biome-ignore-all format: as generated\n${text}`;
}

if (process.argv[1]?.endsWith("cst-types.ts")) writeFileSync(new URL("../grammar/cst.ts", import.meta.url), cstTypes());
