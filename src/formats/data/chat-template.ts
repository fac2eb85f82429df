/** Chat templates as tokenizers' folders have them, rendered with the answers marked. */
import { InputError } from "../../ir/errors.ts";
import { type Files, isRecord, type Json, joinPath, readRecord, readText } from "../files.ts";
import { JinjaTemplate, pythonDumps } from "./jinja.ts";
import { plainText } from "./messages.ts";

/** A stretch of a rendered conversation, and whether it is to be learnt. */
export interface Stretch {
  readonly text: string;
  readonly learnt: boolean;
}

/** Characters that no text has (Unicode keeps them for programs), around what `{% generation %}` marks. */
export const OPEN = "\uFDD0";
export const CLOSE = "\uFDD1";
const PROBE = "\uFDD3";

export class ChatTemplate {
  private readonly plain: JinjaTemplate;
  private readonly marked: JinjaTemplate | undefined;
  private readonly takes: { readonly texts: boolean; readonly parts: boolean };

  /** P0714: it cannot be read. `folder`: for messages; `now`: the day that it is told. */
  constructor(
    private readonly source: string,
    readonly folder: string,
    private readonly now?: Date,
  ) {
    try {
      const marked = markGeneration(source);
      this.plain = new JinjaTemplate(source);
      this.marked = marked === source ? undefined : new JinjaTemplate(marked);
    } catch (error) {
      throw new InputError("P0714", `the chat template of \`${folder}\` cannot be read: ${message(error)}`);
    }
    this.takes = this.probe();
  }

  /** Whether it writes content that is a text, and content in parts, tried with a text that nobody writes. */
  private probe(): { texts: boolean; parts: boolean } {
    const writes = (content: unknown): boolean => {
      try {
        const text = this.render({ messages: [{ role: "user", content }], add_generation_prompt: false });
        return text.includes(PROBE) && !/["']type["']/.test(text);
      } catch {
        return false;
      }
    };
    return { texts: writes(PROBE), parts: writes([{ type: "text", text: PROBE }]) };
  }

  /** Whether it writes arguments of a call that are a text, and not what the text means. */
  private textual: boolean | undefined;
  private get wantsTexts(): boolean {
    const writes = (args: unknown): boolean => {
      const call = { id: "call00000", type: "function", function: { name: "f", arguments: args } };
      const messages = [
        { role: "user", content: "x" },
        { role: "assistant", content: "", tool_calls: [call] },
      ];
      try {
        return this.render({ messages, add_generation_prompt: false }).includes(PROBE);
      } catch {
        return false;
      }
    };
    this.textual ??= !writes({ x: PROBE }) && writes(`{"x": "${PROBE}"}`);
    return this.textual;
  }

  /** Calls as the template takes them: arguments are objects, or else texts, as `written` or as Python writes JSON. */
  calls(calls: readonly Json[], written: readonly Json[]): readonly Json[] {
    if (!this.wantsTexts) return calls;
    return calls.map((call, i): Json => {
      if (!isRecord(call) || !isRecord(call.function)) return call;
      const args = call.function.arguments ?? {};
      const text = typeof args === "string" ? args : (written[i] ?? pythonDumps(args));
      return { ...call, function: { ...call.function, arguments: text } };
    });
  }

  /** The content as the template takes it: parts for one that walks through them, else one text. */
  content(content: string | readonly Json[]): string | readonly Json[] {
    if (typeof content === "string") return this.takes.texts || !this.takes.parts ? content : [{ type: "text", text: content }];
    return this.takes.parts ? content : plainText(content);
  }

  /** Whether its source names a field or a role. */
  names(word: string): boolean {
    return new RegExp(`(?<![A-Za-z0-9_])${word.replace(/[^A-Za-z0-9_]/g, "\\$&")}(?![A-Za-z0-9_])`).test(this.source);
  }

  /** Whether it says itself, by `{% generation %}`, what is learnt. */
  get marks(): boolean {
    return this.marked !== undefined;
  }

  render(values: Readonly<Record<string, unknown>>): string {
    return this.plain.render(values, this.now);
  }

  /** The text in stretches, by the template's own marks. */
  stretches(values: Readonly<Record<string, unknown>>): Stretch[] {
    const out: Stretch[] = [];
    for (const [i, piece] of this.marked!.render(values, this.now).split(OPEN).entries()) {
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
export function chatTemplate(files: Files, folder: string, name?: string, tools = false, now?: Date): ChatTemplate {
  const sources = templateSources(files, folder);
  const names = [...sources.keys()];
  const wanted =
    name ?? (tools && sources.has("tool_use") ? "tool_use" : sources.has("default") || names.length !== 1 ? "default" : names[0]);
  const source = sources.get(wanted);
  if (source !== undefined) return new ChatTemplate(source, folder, now);
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

/** Whether the folder has any. */
export const hasTemplate = (files: Files, folder: string): boolean => templateSources(files, folder).size > 0;

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
