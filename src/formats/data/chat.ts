/** Conversations: rendered by the tokenizer's chat template, with labels on what the assistant says. */
import { InputError } from "../../ir/errors.ts";
import { describe, isRecord, type Json, type JsonRecord } from "../files.ts";
import type { TextTokenizer } from "../tokenizer/tokenizer.ts";
import { type ChatTemplate, message, type Stretch } from "./chat-template.ts";
import { type EncodedRows, IGNORED, labelCount, refuseEmpty } from "./encode.ts";
import type { Row } from "./records.ts";
import { type Column, listColumn, type RowFacts } from "./table.ts";

/** As templates read it: besides these whatever the file gives (`tool_calls`, `name`). */
export type Message = JsonRecord & { readonly role: string };

/** Speakers as ShareGPT names them. */
const SPEAKERS: Readonly<Record<string, string>> = { human: "user", gpt: "assistant" };
const LISTS = ["messages", "conversations"];

export const isConversation = (row: Row): boolean => LISTS.some((name) => Array.isArray(row.values[name]));

/** Messages of a row: `messages` with `role` and `content`, or `conversations` with `from` and `value`. P0715: neither, or malformed. */
export function messagesOf(row: Row, file: string): Message[] {
  const name = LISTS.find((list) => row.values[list] !== undefined) ?? "messages";
  return readMessages(row.values[name], name, row, file);
}

export function readMessages(list: Json | undefined, name: string, row: Row, file: string): Message[] {
  const bad = (what: string) =>
    new InputError("P0715", `\`${file}\`, line ${row.line}: ${what}`, [
      'for example {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}',
    ]);
  if (!Array.isArray(list) || list.length === 0) throw bad(`${name} is ${describe(list)} where a list of messages is wanted`);
  return list.map((entry, i) => {
    const given: JsonRecord = isRecord(entry) ? entry : {};
    const { from, value, ...rest } = given;
    const role = given.role ?? from;
    const content = given.content ?? value;
    const says = typeof content === "string" || Array.isArray(content) || Array.isArray(given.tool_calls);
    if (typeof role !== "string" || !says)
      throw bad(`message ${i + 1} is ${JSON.stringify(entry)?.slice(0, 60)} where role and content are wanted`);
    return { ...rest, role: SPEAKERS[role] ?? role, content: content ?? "" };
  });
}

/** Tokens of a conversation, with their labels, before anything is cut off. */
export interface Spoken {
  readonly ids: readonly number[];
  readonly labels: readonly number[];
  /** Whether an answer begins within a token that also holds the end of what stands before it: used, the model will see other tokens there. */
  readonly merged: boolean;
}

export class Chat {
  /** Texts of the special tokens, as templates name them. */
  private readonly names: Readonly<Record<string, string | undefined>>;

  constructor(
    private readonly templateFor: (row: Row) => ChatTemplate,
    private readonly tokenizer: TextTokenizer,
    private readonly file: string,
  ) {
    this.names = Object.fromEntries(Object.entries(tokenizer.ids).map(([role, id]) => [`${role}_token`, tokenizer.tokenOf(id)]));
  }

  private values(row: Row, messages: readonly Message[], prompt: boolean): Record<string, unknown> {
    const { tools, documents } = row.values;
    return { ...this.names, messages, ...(tools && { tools }), ...(documents && { documents }), add_generation_prompt: prompt };
  }

  private attempt<T>(row: Row, work: (template: ChatTemplate) => T): T {
    const template = this.templateFor(row);
    try {
      return work(template);
    } catch (error) {
      throw new InputError("P0716", `${this.place(row)}: the chat template of \`${template.folder}\` refuses it: ${message(error)}`);
    }
  }

  private place(row: Row): string {
    return `\`${this.file}\`, line ${row.line}`;
  }

  private render(row: Row, messages: readonly Message[], prompt: boolean): string {
    return this.attempt(row, (template) => template.render(this.values(row, messages, prompt)));
  }

  /** Tokens of messages, with or without what asks for the next answer. */
  tokens(row: Row, messages: readonly Message[], prompt: boolean): number[] {
    return this.tokenizer.encode(this.render(row, messages, prompt));
  }

  /** The text that asks for the next answer; answers at the end are left out. */
  prompt(row: Row): string {
    const messages = messagesOf(row, this.file);
    while (messages.at(-1)?.role === "assistant") messages.pop();
    return this.render(row, messages, true);
  }

  /**
   * What the assistant says: what the template marks; otherwise it is found by rendering the conversation up to each of its turns, with and without it. P0716: a template that
   * writes earlier turns otherwise once later ones follow, so that this cannot be told.
   */
  private stretches(row: Row, messages: readonly Message[]): Stretch[] {
    if (this.templateFor(row).marks) return this.attempt(row, (template) => template.stretches(this.values(row, messages, false)));
    const stretches: Stretch[] = [];
    let done = "";
    const upTo = (text: string, learnt: boolean, turn: number) => {
      if (!text.startsWith(done)) {
        throw new InputError(
          "P0716",
          `${this.place(row)}: the chat template of \`${this.tokenizer.folder}\` writes what comes before message ${turn + 1} otherwise once it follows`,
          [
            "so nobody can tell which tokens the assistant says",
            "put {% generation %} … {% endgeneration %} around the answers in the template, or split the conversation into rows that end with one answer",
          ],
        );
      }
      if (text.length > done.length) stretches.push({ text: text.slice(done.length), learnt });
      done = text;
    };
    for (const [i, { role }] of messages.entries()) {
      if (role !== "assistant") continue;
      upTo(this.render(row, messages.slice(0, i), true), false, i);
      upTo(this.render(row, messages.slice(0, i + 1), false), true, i);
    }
    const whole = this.render(row, messages, false);
    if (whole.startsWith(done)) upTo(whole, false, messages.length - 1);
    return stretches;
  }

  /** Tokens of the whole text, as it will be when the model is used; those that an answer has a part in are labelled. */
  speak(row: Row, messages = messagesOf(row, this.file)): Spoken {
    const stretches = this.stretches(row, messages);
    const { tokenizer } = this;
    const ids = tokenizer.encode(stretches.map(({ text }) => text).join(""));
    const labels = ids.map(() => IGNORED);
    let text = "";
    let merged = false;
    for (const stretch of stretches) {
      const asked = stretch.learnt ? tokenizer.encode(text) : [];
      text += stretch.text;
      if (!stretch.learnt) continue;
      const start = sharedTokens(asked, ids);
      merged ||= start < asked.length;
      const before = tokenizer.encode(text);
      const shared = sharedTokens(before, ids);
      // a token across the end of the answer is the answer's too
      const end = shared === before.length ? shared : Math.min(ids.length, shared + 1);
      for (let i = start; i < this.lastSaid(ids, start, end); i++) labels[i] = ids[i];
    }
    return { ids, labels, merged };
  }

  /** Templates put a line end behind the token that ends a turn; a model stops there and need not learn it. */
  private lastSaid(ids: readonly number[], start: number, end: number): number {
    let last = end;
    while (last > start && !this.tokenizer.specials.has(ids[last - 1])) last--;
    return last > start && this.tokenizer.decode(ids.slice(last, end)).trim() === "" ? last : end;
  }

  /** Columns `input_ids`, `attention_mask`, `special` and `labels`. P0711: a row without anything to learn, or cut off before it. */
  encode(rows: readonly Row[], sequence: number | undefined): EncodedRows {
    const whole = rows.map((row) => this.speak(row));
    const labels = whole.map((row) => row.labels.slice(0, sequence));
    const starts = whole.map((row) => row.labels.findIndex((label) => label !== IGNORED));
    refuseEmpty(rows, labels, starts, { file: this.file, sequence });
    const columns = tokenColumns(
      whole.map(({ ids }) => ids.slice(0, sequence)),
      this.tokenizer,
    );
    columns.set("labels", listColumn(labels, IGNORED));
    const facts = whole.map(
      (row, i): RowFacts => ({ line: rows[i].line, tokens: row.ids.length, labelled: labelCount(row.labels), merged: row.merged }),
    );
    return { columns, facts };
  }

  /** The same without labels: texts that ask for an answer. */
  encodePrompts(rows: readonly Row[]): EncodedRows {
    const ids = rows.map((row) => this.tokenizer.encode(this.prompt(row)));
    const facts = ids.map((row, i): RowFacts => ({ line: rows[i].line, tokens: row.length, labelled: undefined }));
    return { columns: tokenColumns(ids, this.tokenizer), facts };
  }
}

/** How many tokens the two begin with alike. */
export function sharedTokens(a: readonly number[], b: readonly number[]): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}

/** Columns that every table of tokens has. */
export function tokenColumns(ids: readonly ArrayLike<number>[], tokenizer: TextTokenizer): Map<string, Column> {
  const each = (value: (id: number) => number) => ids.map((row) => Array.from(row, value));
  return new Map<string, Column>([
    ["input_ids", listColumn(ids, tokenizer.ids.pad ?? tokenizer.ids.eos ?? 0)],
    [
      "attention_mask",
      listColumn(
        each(() => 1),
        0,
      ),
    ],
    [
      "special",
      listColumn(
        each((id) => Number(tokenizer.specials.has(id))),
        1,
      ),
    ],
  ]);
}
