import type { Command } from "commander";
import { builtins } from "../../compiler/elaborate/ambient.ts";
import { type Field, stageFields } from "../../compiler/elaborate/fields.ts";
import { signature } from "../../compiler/elaborate/values.ts";
import { nearest } from "../../compiler/suggest.ts";
import { codes, explain as explainCode, family } from "../../ground/codes.ts";
import { InputError } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import { line } from "../errors.ts";
import type { Io } from "../io.ts";

/** `explain`: what a code means, what a stage's field takes and does, what a function gives. */
export function explain(program: Command, io: Io): void {
  program
    .command("explain")
    .argument("<what>", "a code (P0312), a stage (train), a field (train.evaluate.every) or a function (topk)")
    .description("say what a code means, what a field of a stage takes, or what a function of the language gives")
    .option("--json", "one JSON object a line")
    .addHelpText("after", "\nExample:\n  peftc explain P0312\n  peftc explain train.evaluate\n  peftc explain topk\n")
    .action((what: string, { json }: { json?: boolean }) => {
      const told = meaning(what);
      io.out(json ? line({ event: "explain", what, ...told }) : told.text);
    });
}

function meaning(what: string): { text: string } {
  const code = what.toUpperCase();
  const known = explainCode(code);
  if (known !== undefined) return { text: `${code} (${family(code)})\n  ${known}\n` };
  const functions = new Map(builtins.flatMap(({ rows }) => [...rows]));
  const called = functions.get(what.replace(/\(.*$/s, ""));
  if (called !== undefined) return { text: `${signature(called)}\n  ${called.doc}\n` };
  const [verb, ...path] = what.split(".");
  const stage: Readonly<Record<string, Field>> | undefined = own(stageFields, verb);
  if (stage === undefined) {
    const words = [...Object.keys(codes), ...Object.keys(stageFields), ...functions.keys()];
    const near = nearest(/^p\d/i.test(what) ? code : what, words);
    throw new InputError("P0201", `nothing is called ${what}`, [
      ...(near === undefined ? [] : [`is it ${near}?`]),
      `there are codes (P0312), stages (${Object.keys(stageFields).join(", ")}), their fields (train.batch), and functions (topk)`,
    ]);
  }
  let fields = stage;
  let found: Field | undefined;
  for (const [i, name] of path.entries()) {
    found = own(fields, name);
    if (found === undefined) {
      const of = [verb, ...path.slice(0, i)].join(".");
      throw new InputError("P0203", `\`${of}\` has no field \`${name}\``, [`it has: ${Object.keys(fields).join(", ") || "none"}`]);
    }
    fields = found.kind.fields ?? {};
  }
  return {
    text:
      (found ? said(what, found) : "") +
      Object.entries(fields)
        .map(([name, f]) => said(`${what}.${name}`, f))
        .join(""),
  };
}
const said = (name: string, { kind, otherwise, doc }: Field): string =>
  `${name}: ${kind.what}${otherwise === undefined ? "" : `, ${JSON.stringify(otherwise)} when left out`}\n  ${doc}\n`;
