/** Chat templates as tokenizers' folders have them, rendered with the answers marked. */
import { Template } from "@huggingface/jinja";
import { InputError } from "../../ir/errors.ts";
import { type Files, isRecord, type Json, joinPath, readRecord, readText } from "../files.ts";

/** A stretch of a rendered conversation, and whether it is to be learnt. */
export interface Stretch {
  readonly text: string;
  readonly learnt: boolean;
}

/** Characters that no text has (Unicode keeps them for programs), around what `{% generation %}` marks. */
const OPEN = "\uFDD0";
const CLOSE = "\uFDD1";

export class ChatTemplate {
  private readonly plain: Template;
  private readonly marked: Template | undefined;

  /** P0714: it cannot be read. `folder`: for messages. */
  constructor(
    source: string,
    readonly folder: string,
  ) {
    try {
      this.plain = new Template(source);
      const marked = markGeneration(source);
      this.marked = marked === source ? undefined : new Template(marked);
    } catch (error) {
      throw new InputError("P0714", `the chat template of \`${folder}\` cannot be read: ${message(error)}`);
    }
  }

  /** Whether it says itself, by `{% generation %}`, what is learnt. */
  get marks(): boolean {
    return this.marked !== undefined;
  }

  render(values: Readonly<Record<string, unknown>>): string {
    return this.plain.render({ ...values });
  }

  /** The text in stretches, by the template's own marks. */
  stretches(values: Readonly<Record<string, unknown>>): Stretch[] {
    const out: Stretch[] = [];
    for (const [i, piece] of this.marked!.render({ ...values })
      .split(OPEN)
      .entries()) {
      const [first, ...rest] = piece.split(CLOSE);
      if (first !== "") out.push({ text: first, learnt: i > 0 });
      if (rest.join("") !== "") out.push({ text: rest.join(""), learnt: false });
    }
    return out;
  }
}

/**
 * `{% generation %}` … `{% endgeneration %}` with the characters above inside. The engine drops the tags, so a condition that always holds stands in their place: white space around
 * it is treated as around any tag (`-`, and a line end behind it, as Jinja's `trim_blocks` and `lstrip_blocks` say).
 */
function markGeneration(source: string): string {
  return source
    .replace(/\{%(-?)\s*generation\s*(-?)%\}(\n?)/g, (_, left: string, right: string, end: string) => {
      return `{%${left} if true %}{{ "${OPEN}" ${right}}}${right === "" ? "" : end}`;
    })
    .replace(/(^[ \t]*)?\{%(-?)\s*endgeneration\s*(-?)%\}/gm, (_, indent: string | undefined, left: string, right: string) => {
      return `${left === "" ? "" : (indent ?? "")}{{${left} "${CLOSE}" }}{% endif ${right}%}`;
    });
}

export const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/**
 * The template of a tokenizer's folder: `chat_template.jinja`, `additional_chat_templates/NAME.jinja`, or `chat_template` in its configuration, one or several by name. `name`: which
 * of several; without it `tool_use` where there are tools and such a template, else `default`. P0714: there is none, or one that cannot be read.
 */
export function chatTemplate(files: Files, folder: string, name?: string, tools = false): ChatTemplate {
  const sources = templateSources(files, folder);
  const names = [...sources.keys()];
  const wanted =
    name ?? (tools && sources.has("tool_use") ? "tool_use" : sources.has("default") || names.length !== 1 ? "default" : names[0]);
  const source = sources.get(wanted);
  if (source !== undefined) return new ChatTemplate(source, folder);
  if (names.length === 0) {
    throw new InputError("P0714", `the tokenizer of \`${folder}\` has no chat template`, [
      "put one into `chat_template.jinja` there, or write the text out in `jsonl(…, input:, target:)`",
    ]);
  }
  throw new InputError("P0714", `the tokenizer of \`${folder}\` has no chat template named ${JSON.stringify(wanted)}`, [
    `it has: ${names.join(", ")}`,
    'say which, as in `chat("…", template: "…")`',
  ]);
}

function templateSources(files: Files, folder: string): Map<string, string> {
  const sources = new Map<string, string>();
  const config = joinPath(folder, "tokenizer_config.json");
  const declared: Json | undefined = files.stat(config) === undefined ? undefined : readRecord(files, config).chat_template;
  if (typeof declared === "string") sources.set("default", declared);
  else if (Array.isArray(declared)) {
    for (const entry of declared)
      if (isRecord(entry) && typeof entry.name === "string" && typeof entry.template === "string") sources.set(entry.name, entry.template);
  }
  // files are the newer way and win
  const file = joinPath(folder, "chat_template.jinja");
  if (files.stat(file) !== undefined) sources.set("default", readText(files, file));
  const more = joinPath(folder, "additional_chat_templates");
  if (files.stat(more)?.kind === "folder") {
    for (const name of files.list(more)) if (name.endsWith(".jinja")) sources.set(name.slice(0, -6), readText(files, joinPath(more, name)));
  }
  return sources;
}
