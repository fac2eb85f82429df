/** Conversations: rendered by the tokenizer's chat template, with labels on what the assistant says. */
import { Template } from "@huggingface/jinja";
import { InputError } from "../../ir/errors.ts";
import { describe, type Files, isRecord, type Json, joinPath, readRecord, readText } from "../files.ts";
import type { TextTokenizer } from "../tokenizer/tokenizer.ts";
import { IGNORED } from "./encode.ts";
import type { Row } from "./records.ts";
import { type Column, listColumn } from "./table.ts";

export interface Message {
  readonly role: string;
  readonly content: string;
}

/** A stretch of the rendered conversation, and whether it is to be learnt. */
interface Stretch {
  readonly text: string;
  readonly learnt: boolean;
}

/** Speakers as ShareGPT names them. */
const SPEAKERS: Readonly<Record<string, string>> = { human: "user", gpt: "assistant" };

/** The template of a tokenizer's folder. P0714: it has none, or one that cannot be read. */
export function chatTemplate(files: Files, folder: string): Template {
  const file = joinPath(folder, "chat_template.jinja");
  const config = joinPath(folder, "tokenizer_config.json");
  let source: Json | undefined;
  if (files.stat(file) !== undefined) source = readText(files, file);
  else if (files.stat(config) !== undefined) source = readRecord(files, config).chat_template;
  if (Array.isArray(source)) {
    // several by name: the one that is meant where nobody says which
    const usual = source.find((entry) => isRecord(entry) && entry.name === "default");
    source = isRecord(usual) ? usual.template : undefined;
  }
  if (typeof source !== "string") {
    throw new InputError("P0714", `the tokenizer of \`${folder}\` has no chat template`, [
      "put one into `chat_template.jinja` there, or write the text out in `jsonl(…, input:, target:)`",
    ]);
  }
  try {
    return new Template(source);
  } catch (error) {
    throw new InputError(
      "P0714",
      `the chat template of \`${folder}\` cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** Messages of a row: `messages` with `role` and `content`, or `conversations` with `from` and `value`. P0715: neither, or malformed. */
export function messagesOf(row: Row, file: string): Message[] {
  const bad = (what: string) =>
    new InputError("P0715", `\`${file}\`, line ${row.line}: ${what}`, [
      'for example {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}',
    ]);
  const list = row.values.messages ?? row.values.conversations;
  if (!Array.isArray(list) || list.length === 0) throw bad(`messages is ${describe(list)} where a list of messages is wanted`);
  return list.map((entry, i) => {
    const message: Readonly<Record<string, Json>> = isRecord(entry) ? entry : {};
    const role = message.role ?? message.from;
    const content = message.content ?? message.value;
    if (typeof role !== "string" || typeof content !== "string")
      throw bad(`message ${i + 1} is ${JSON.stringify(entry)?.slice(0, 60)} where role and content are wanted`);
    return { role: SPEAKERS[role] ?? role, content };
  });
}

export class Chat {
  private readonly tokens: Readonly<Record<string, string | undefined>>;

  constructor(
    private readonly template: Template,
    private readonly tokenizer: TextTokenizer,
    private readonly file: string,
  ) {
    this.tokens = Object.fromEntries(Object.entries(tokenizer.ids).map(([role, id]) => [`${role}_token`, tokenizer.tokenOf(id)]));
  }

  private render(row: Row, messages: readonly Message[], prompt: boolean): string {
    try {
      return this.template.render({ ...this.tokens, messages, add_generation_prompt: prompt });
    } catch (error) {
      throw new InputError(
        "P0716",
        `\`${this.file}\`, line ${row.line}: the chat template of \`${this.tokenizer.folder}\` refuses it: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }

  /** The text that asks for the next answer; answers at the end are left out. */
  prompt(row: Row): string {
    const messages = messagesOf(row, this.file);
    while (messages.at(-1)?.role === "assistant") messages.pop();
    return this.render(row, messages, true);
  }

  /**
   * What the assistant says is found by rendering the conversation up to each of its turns, with and without it. P0716: a template that writes earlier turns otherwise once later
   * ones follow, so that this cannot be told.
   */
  private stretches(row: Row): Stretch[] {
    const messages = messagesOf(row, this.file);
    const stretches: Stretch[] = [];
    let done = "";
    const upTo = (text: string, learnt: boolean, turn: number) => {
      if (!text.startsWith(done)) {
        throw new InputError(
          "P0716",
          `\`${this.file}\`, line ${row.line}: the chat template of \`${this.tokenizer.folder}\` writes what comes before message ${turn + 1} otherwise once it follows`,
          ["so nobody can tell which tokens the assistant says; split the conversation into rows that end with one answer"],
        );
      }
      if (text.length > done.length) stretches.push({ text: text.slice(done.length), learnt });
      done = text;
    };
    for (const [i, message] of messages.entries()) {
      if (message.role !== "assistant") continue;
      upTo(this.render(row, messages.slice(0, i), true), false, i);
      upTo(this.render(row, messages.slice(0, i + 1), false), true, i);
    }
    const whole = this.render(row, messages, false);
    if (whole.startsWith(done)) upTo(whole, false, messages.length - 1);
    return stretches;
  }

  /** Columns `input_ids`, `attention_mask`, `special` and `labels`. P0711: a row without anything to learn, or cut off before it. */
  encode(rows: readonly Row[], sequence: number | undefined): Map<string, Column> {
    const encoded = rows.map((row) => {
      const ids: number[] = [];
      const labels: number[] = [];
      for (const { text, learnt } of this.stretches(row)) {
        for (const id of this.tokenizer.encode(text)) {
          ids.push(id);
          labels.push(learnt ? id : IGNORED);
        }
      }
      const first = labels.findIndex((label) => label !== IGNORED);
      if (first < 0) throw new InputError("P0711", `\`${this.file}\`, line ${row.line}: the assistant says nothing in it`);
      if (sequence !== undefined && first >= sequence) {
        throw new InputError(
          "P0711",
          `\`${this.file}\`, line ${row.line}: the first answer starts behind ${first} tokens, so sequence = ${sequence} leaves nothing of it`,
        );
      }
      return { ids: ids.slice(0, sequence), labels: labels.slice(0, sequence) };
    });
    const { tokenizer } = this;
    return columnsOf(
      encoded.map(({ ids }) => ids),
      tokenizer,
    ).set(
      "labels",
      listColumn(
        encoded.map(({ labels }) => labels),
        IGNORED,
      ),
    );
  }

  /** The same without labels: texts that ask for an answer. */
  encodePrompts(rows: readonly Row[]): Map<string, Column> {
    return columnsOf(
      rows.map((row) => this.tokenizer.encode(this.prompt(row))),
      this.tokenizer,
    );
  }
}

function columnsOf(ids: readonly number[][], tokenizer: TextTokenizer): Map<string, Column> {
  return new Map<string, Column>([
    ["input_ids", listColumn(ids, tokenizer.ids.pad ?? tokenizer.ids.eos ?? 0)],
    [
      "attention_mask",
      listColumn(
        ids.map((row) => row.map(() => 1)),
        0,
      ),
    ],
    [
      "special",
      listColumn(
        ids.map((row) => row.map((id) => Number(tokenizer.specials.has(id)))),
        1,
      ),
    ],
  ]);
}
