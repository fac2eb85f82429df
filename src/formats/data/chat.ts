/** Conversations: rendered by the tokenizer's chat template, with labels on what the assistant says. */
import { InputError } from "../../ir/errors.ts";
import { isRecord, type Json } from "../files.ts";
import type { TextTokenizer } from "../tokenizer/tokenizer.ts";
import { type ChatTemplate, message, type Stretch } from "./chat-template.ts";
import { messagesOf, OWN_ARGUMENTS } from "./conversation.ts";
import { type EncodedRows, IGNORED, labelCount, refuseEmpty } from "./encode.ts";
import { ARGUMENTS, CALL, LEARN, type Message, plainText, SPANS, shown } from "./messages.ts";
import type { Row } from "./records.ts";
import { piecesOf, rewrittenStretches } from "./stretches.ts";
import { type Column, listColumn, type RowFacts } from "./table.ts";

/** Tokens of a conversation, with their labels, before anything is cut off. */
interface Spoken {
  readonly ids: readonly number[];
  readonly labels: readonly number[];
  /** Whether an answer begins within a token that also holds the end of what stands before it: used, the model will see other tokens there. */
  readonly merged: boolean;
  /** Whether the template writes an answer otherwise once later turns follow, so that it is learnt as it stands in the whole. */
  readonly rewritten: boolean;
}

/** Fields of messages that hold part of what is said: a template that does not write them would lose it. */
const SAID = ["tool_calls", "reasoning_content", "reasoning", "thinking"];
/** Rows that are rendered without a field to see whether the template writes it. */
const TRIED = 50;

export class Chat {
  /** Texts of the special tokens, as templates name them. */
  private readonly names: Readonly<Record<string, string | undefined>>;

  /** `given`: values for the template, from the program. */
  constructor(
    private readonly templateFor: (row: Row) => ChatTemplate,
    private readonly tokenizer: TextTokenizer,
    private readonly file: string,
    private readonly given: Readonly<Record<string, unknown>> = {},
  ) {
    this.names = Object.fromEntries(Object.entries(tokenizer.ids).map(([role, id]) => [`${role}_token`, tokenizer.tokenOf(id)]));
  }

  private values(row: Row, messages: readonly Message[], prompt: boolean): Record<string, unknown> {
    const { tools, documents } = row.values;
    const own = row.values[OWN_ARGUMENTS];
    return {
      ...this.names,
      ...(tools && { tools }),
      ...(documents && { documents }),
      ...this.given,
      ...(isRecord(own) && own),
      messages: messages.map((one) => this.worded(one, this.templateFor(row))),
      add_generation_prompt: prompt,
    };
  }

  /** A message as the template takes it. */
  private worded(one: Message, template: ChatTemplate): Message {
    const { tool_calls, ...rest } = shown(one);
    const call = one[CALL];
    // a call that the template knows no form for stays the text that the file has
    if (tool_calls !== undefined && typeof call === "string" && !template.names("tool_calls")) return { ...rest, content: call } as Message;
    const written = one[ARGUMENTS];
    const calls = Array.isArray(tool_calls) ? template.calls(tool_calls, Array.isArray(written) ? written : []) : undefined;
    const role = one.role === "developer" && !template.names("developer") ? "system" : one.role;
    return {
      ...rest,
      role,
      content: template.content(one.content),
      ...(tool_calls !== undefined && { tool_calls: calls ?? tool_calls }),
    } as Message;
  }

  private attempt<T>(row: Row, work: (template: ChatTemplate) => T): T {
    const template = this.templateFor(row);
    try {
      return work(template);
    } catch (error) {
      if (error instanceof InputError) throw error;
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
   * What is learnt: what the template marks, or else found by rendering the conversation up to each message that is learnt, with and without it; where the template writes earlier
   * turns otherwise once later ones follow, each answer as it stands in the whole. P0716: that cannot be told.
   */
  private stretches(row: Row, messages: readonly Message[]): { readonly stretches: Stretch[]; readonly rewritten: boolean } {
    const learnt = messages.map(({ role, [LEARN]: says }) => (typeof says === "boolean" ? says : role === "assistant"));
    if (this.templateFor(row).marks) return { stretches: this.marked(row, messages, learnt), rewritten: false };
    const stretches: Stretch[] = [];
    let done = "";
    const upTo = (text: string, learns: boolean): boolean => {
      if (!text.startsWith(done)) return false;
      if (text.length > done.length) stretches.push({ text: text.slice(done.length), learnt: learns });
      done = text;
      return true;
    };
    const whole = this.render(row, messages, false);
    for (const [i, one] of messages.entries()) {
      if (!learnt[i]) continue;
      const before = this.render(row, messages.slice(0, i), one.role === "assistant");
      const after = this.render(row, messages.slice(0, i + 1), false);
      if (!upTo(before, false) || !after.startsWith(before)) return this.rewritten(row, messages, learnt, whole, i);
      // what another than the assistant says stands behind its name, which is not learnt
      const own = after.slice(before.length);
      const at = one.role === "assistant" ? 0 : own.indexOf(plainText(one.content).trim());
      if (at > 0) upTo(before + own.slice(0, at), false);
      for (const piece of piecesOf(own.slice(Math.max(0, at)), one, (what) => this.lost(row, `${what} message ${i + 1}`)))
        upTo(done + piece.text, piece.learnt);
    }
    // the end of the whole may be what is left out of it
    if (whole.startsWith(done)) upTo(whole, false);
    else if (stretches.length === 0 || !done.startsWith(whole)) return this.rewritten(row, messages, learnt, whole, messages.length - 1);
    return { stretches, rewritten: false };
  }

  private rewritten(
    row: Row,
    messages: readonly Message[],
    learnt: readonly boolean[],
    whole: string,
    at: number,
  ): { stretches: Stretch[]; rewritten: boolean } {
    const render = (changed: readonly Message[], prompt: boolean) => this.render(row, changed, prompt);
    const stretches = rewrittenStretches(messages, learnt, whole, render);
    if (stretches !== undefined) return { stretches, rewritten: true };
    throw this.lost(row, `writes what comes before message ${at + 1} otherwise once it follows, or leaves an answer out`);
  }

  private lost(row: Row, how: string): InputError {
    return new InputError("P0716", `${this.place(row)}: the chat template of \`${this.tokenizer.folder}\` ${how}`, [
      "so nobody can tell which tokens the assistant says",
      "put {% generation %} … {% endgeneration %} around the answers in the template, or split the conversation into rows that end with one answer",
    ]);
  }

  /** By the template's marks; where messages say whether they are learnt, there is one mark for each answer. */
  private marked(row: Row, messages: readonly Message[], learnt: readonly boolean[]): Stretch[] {
    const stretches = this.attempt(row, (template) => template.stretches(this.values(row, messages, false)));
    const usual = messages.every(({ role, [SPANS]: spans }, i) => learnt[i] === (role === "assistant") && spans === undefined);
    if (usual) return stretches;
    const answers = messages.flatMap((one, i) => (one.role === "assistant" ? [{ one, learnt: learnt[i], i }] : []));
    const odd = messages.findIndex(({ role }, i) => role !== "assistant" && learnt[i]);
    if (odd >= 0 || stretches.filter((stretch) => stretch.learnt).length !== answers.length)
      throw this.lost(row, "marks other pieces than the answers, so what messages say of being learnt cannot be told of");
    let next = 0;
    return stretches.flatMap((stretch) => {
      if (!stretch.learnt) return [stretch];
      const answer = answers[next++];
      return answer.learnt
        ? piecesOf(stretch.text, answer.one, (what) => this.lost(row, `${what} message ${answer.i + 1}`))
        : [{ ...stretch, learnt: false }];
    });
  }

  /** Tokens of the whole text, as it will be when the model is used; those that an answer has a part in are labelled. */
  speak(row: Row, messages = messagesOf(row, this.file)): Spoken {
    const { stretches, rewritten } = this.stretches(row, messages);
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
    return { ids, labels, merged, rewritten };
  }

  /** Templates put a line end behind the token that ends a turn; a model stops there and need not learn it. */
  private lastSaid(ids: readonly number[], start: number, end: number): number {
    let last = end;
    while (last > start && !this.tokenizer.specials.has(ids[last - 1])) last--;
    return last > start && this.tokenizer.decode(ids.slice(last, end)).trim() === "" ? last : end;
  }

  /**
   * Fields of messages and columns for templates that change nothing in what the template writes, by name. P0716: it would lose part of what is said: calls of tools, thoughts.
   * `talks`: the messages of rows.
   */
  unread(rows: readonly Row[], talks: (row: Row) => readonly Message[] = (row) => messagesOf(row, this.file)): string[] {
    const tried = new Map<string, { times: number; first: Row; fields: boolean }>();
    const written = new Set<string>();
    const attempt = (name: string, row: Row, fields: boolean, changes: () => boolean) => {
      const known = tried.get(name) ?? { times: 0, first: row, fields };
      tried.set(name, { ...known, times: known.times + 1 });
      if (known.times < TRIED && changed(changes)) written.add(name);
    };
    for (const row of rows) {
      const messages = talks(row);
      const text = (changedRow: Row, others: readonly Message[]) => this.render(changedRow, others, false);
      for (const name of new Set(messages.flatMap((one) => Object.keys(shown(one)))))
        if (!["role", "content"].includes(name) && !written.has(name) && !messages.every((one) => says(one[name]) === false))
          attempt(
            name,
            row,
            true,
            () =>
              text(row, messages) !==
              text(
                row,
                messages.map((one) => without(one, name)),
              ),
          );
      for (const name of ["tools", "documents"])
        if (row.values[name] !== undefined && !written.has(name))
          attempt(name, row, false, () => text(row, messages) !== text({ ...row, values: without(row.values, name) }, messages));
    }
    const lost = [...tried].find(([name, { fields }]) => fields && SAID.includes(name) && !written.has(name));
    if (lost !== undefined) {
      throw new InputError(
        "P0716",
        `${this.place(lost[1].first)}: the chat template of \`${this.tokenizer.folder}\` does not write \`${lost[0]}\` of a message`,
        ["that part of what is said would be lost: take the field out of the rows, or give a template that writes it"],
      );
    }
    return [...tried].flatMap(([name, { fields }]) => (written.has(name) ? [] : [fields ? `${name} of messages` : name]));
  }

  /** Columns `input_ids`, `attention_mask`, `special` and `labels`. P0711: a row without anything to learn (`written`: where no model wrote it), or cut off before it. */
  encode(rows: readonly Row[], sequence: number | undefined, written = false): EncodedRows {
    const unread = this.unread(rows);
    const whole = rows.map((row) => this.speak(row));
    const labels = whole.map((row) => row.labels.slice(0, sequence));
    const starts = whole.map((row) => row.labels.findIndex((label) => label !== IGNORED));
    refuseEmpty(rows, labels, starts, { file: this.file, sequence, written });
    const columns = tokenColumns(
      whole.map(({ ids }) => ids.slice(0, sequence)),
      this.tokenizer,
    );
    columns.set("labels", listColumn(labels, IGNORED));
    const facts = whole.map(
      (row, i): RowFacts => ({
        line: rows[i].line,
        tokens: row.ids.length,
        labelled: labelCount(row.labels),
        merged: row.merged,
        ...(row.rewritten && { rewritten: true }),
      }),
    );
    return { columns, facts, unread };
  }

  /** The same without labels: texts that ask for an answer. */
  encodePrompts(rows: readonly Row[]): EncodedRows {
    const ids = rows.map((row) => this.tokenizer.encode(this.prompt(row)));
    const facts = ids.map((row, i): RowFacts => ({ line: rows[i].line, tokens: row.length, labelled: undefined }));
    return { columns: tokenColumns(ids, this.tokenizer), facts };
  }
}

/** Whether the text is another; a template that cannot do without looks at it too. */
function changed(look: () => boolean): boolean {
  try {
    return look();
  } catch {
    return true;
  }
}

/** Whether a field holds anything. */
const says = (value: Json | undefined): boolean => value !== undefined && value !== "" && !(Array.isArray(value) && value.length === 0);

function without<T extends object>(record: T, name: string): T {
  return Object.fromEntries(Object.entries(record).filter(([key]) => key !== name)) as T;
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
