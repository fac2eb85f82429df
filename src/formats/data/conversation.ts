/**
 * Rows that are conversations, in the forms that TRL, OpenAI, ShareGPT, LLaMA-Factory, Axolotl and Alpaca write them, made one: `messages`, `tools`, `documents` and
 * `arguments` of the template. Each form says which columns it read, so that the others can be told.
 */
import { InputError } from "../../ir/errors.ts";
import { describe, isRecord, type Json, type JsonRecord } from "../files.ts";
import {
  fromColumns,
  isYes,
  jsonOf,
  LEARN,
  type Message,
  type MessagePlace,
  messagesOfEntry,
  plainText,
  toolsOf,
  withoutNulls,
} from "./messages.ts";
import type { Row } from "./records.ts";

/** Columns with a list of messages; the first that a row has. */
const LISTS = ["messages", "conversations", "conversation", "dialogue", "dialog", "contents"];
const SYSTEMS = ["system", "system_prompt", "system_message", "systemInstruction"];
/** Columns that templates take as they are. */
const TEMPLATE = ["documents"];
/** A row's list of which messages are learnt. */
const LEARNT = ["loss_mask", "train_mask"];
const ARGUMENTS = "chat_template_kwargs";
/** Of a row of ours: arguments of the template that it has. */
export const OWN_ARGUMENTS = "peftc:arguments";

/** Rows of columns of text that ask and answer: they are conversations of one turn where the tokenizer has a chat template. */
export interface AskedForm {
  readonly shape: string;
  /** The first must be there; the others follow it on lines of their own where they are not empty. */
  readonly asked: readonly string[];
  readonly answer: string;
}
const ASKED: readonly AskedForm[] = [
  { shape: "instruction and output", asked: ["instruction", "input"], answer: "output" },
  { shape: "instruction and response", asked: ["instruction", "context", "input"], answer: "response" },
  { shape: "question and response", asked: ["question"], answer: "response" },
  { shape: "question and answer", asked: ["question"], answer: "answer" },
  { shape: "query and response", asked: ["query", "input"], answer: "response" },
  { shape: "query and answer", asked: ["query"], answer: "answer" },
  { shape: "prompt and response", asked: ["prompt", "query"], answer: "response" },
  { shape: "input and output", asked: ["input"], answer: "output" },
];

const isText = (value: Json | undefined): value is string => typeof value === "string";
const empty = (value: Json | undefined): boolean => value === undefined || value === null || value === "";

/** The form that fits the row. */
export const askedForm = ({ values }: Row): AskedForm | undefined =>
  ASKED.find(({ asked, answer }) => isText(values[asked[0]]) && isText(values[answer]));

/** A list, or the JSON of one, of what may be messages; the same kept in columns. */
function listOf(value: Json | undefined): readonly Json[] | undefined {
  if (Array.isArray(value)) return value;
  if (isRecord(value)) return fromColumns(value);
  if (typeof value !== "string" || !/^\s*\[\s*\{/.test(value)) return undefined;
  const parsed = jsonOf(value);
  return Array.isArray(parsed) ? parsed : undefined;
}

/** How Python prints a list of messages, or one of tools. */
const PRINTED = /^\s*\[\s*(?:array\(\[)?\{\s*(?:'(?:role|from|content|value|type|name)'|"(?:role|from|content|value|type|name)")\s*:/;
const PRINTABLE = [
  ...LISTS,
  "prompt",
  "completion",
  "chosen",
  "rejected",
  "preferred_output",
  "non_preferred_output",
  "tools",
  "functions",
];

/** P0715: messages as Python prints them (a table saved from pandas), which are no JSON; they would be read as a text. */
export function refusePrinted(row: Row, file: string): void {
  for (const name of PRINTABLE) {
    const value = row.values[name];
    if (typeof value !== "string" || !PRINTED.test(value) || jsonOf(value) !== undefined) continue;
    throw placeOf(row, file).bad(
      `${name} is a list as Python prints it, and no JSON: ${JSON.stringify(value.slice(0, 40))}`,
      `write JSON before the table is saved, as in \`table["${name}"] = table["${name}"].map(json.dumps)\`; of a file that is there, \`ast.literal_eval\` makes lists again`,
    );
  }
}

const listName = (values: JsonRecord): string | undefined => LISTS.find((name) => listOf(values[name]) !== undefined);

/** Whether the row holds messages: in a list of its own, or as prompt and completion. */
export const isConversation = ({ values }: Row): boolean =>
  listName(values) !== undefined ||
  (!empty(values.completion) && [values.prompt, values.completion].some((part) => listOf(part) !== undefined));

/** Messages of a row of ours. P0715: it has none. */
export const messagesOf = (row: Row, file: string): Message[] => readMessages(row.values.messages, "messages", placeOf(row, file));

export interface TalkOptions {
  readonly roles: Readonly<Record<string, string>>;
  /** Only the last answer is learnt. */
  readonly last: boolean;
}

/** The row with the columns of ours, and the columns that were read. */
export interface Read {
  readonly row: Row;
  readonly read: ReadonlySet<string>;
}

export function placeOf(row: Row, file: string, roles: Readonly<Record<string, string>> = {}): MessagePlace {
  return { roles, bad: (what, ...notes) => new InputError("P0715", `\`${file}\`, line ${row.line}: ${what}`, notes) };
}

const EXAMPLE = 'for example {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}';

/** P0715: no list of messages, or one of it that is none. */
export function readMessages(list: Json | undefined, name: string, place: MessagePlace): Message[] {
  const entries = listOf(list);
  if (entries === undefined || entries.length === 0)
    throw place.bad(`${name} is ${describe(list)} where a list of messages is wanted`, EXAMPLE);
  return entries.flatMap((entry, i) => messagesOfEntry(entry, i, place));
}

/** A row's columns, of which those that were taken are remembered. */
function columnsOf(row: Row) {
  const values = withoutNulls(row.values) as JsonRecord;
  const read = new Set<string>();
  const take = (name: string): Json | undefined => {
    read.add(name);
    return values[name];
  };
  return { values, read, take };
}

/** A row of any of the forms. P0715: of none, or malformed. */
export function readTalk(row: Row, file: string, { roles, last }: TalkOptions): Read {
  const { values, read, take } = columnsOf(row);
  const place = placeOf(row, file, roles);
  const messages = [...systemOf(values, take, place), ...historyOf(values, take, place)];
  const add = (more: readonly Message[]) => {
    // the system's text stands first: in a column of its own it must not be another than in the list
    const [own, given] = [
      messages.find(({ role }) => role === "system"),
      more.find(({ role }) => role === "system" || role === "developer"),
    ];
    if (own !== undefined && given !== undefined) {
      if (plainText(own.content) !== plainText(given.content))
        throw place.bad("the system's text in the messages is another than that of its own column");
      messages.splice(messages.indexOf(own), 1);
    }
    messages.push(...more);
  };
  const name = listName(values);
  const form = askedForm({ line: row.line, values });
  if (name !== undefined) add(learntBy(values, take, readMessages(take(name), name, place), place));
  else if (isConversation({ line: row.line, values })) {
    // what the prompt says is not learnt, whoever says it
    add(sideOf(take("prompt"), "prompt", "user", place).map((message) => ({ ...message, [LEARN]: false })));
    messages.push(...sideOf(take("completion"), "completion", "assistant", place));
  } else if (form !== undefined) add(turnOf(form, take));
  else
    throw place.bad(
      `messages is ${describe(values.messages)} where a list of messages is wanted`,
      EXAMPLE,
      `the row has ${Object.keys(values).join(", ")}`,
    );
  const tools = toolsOf(take("tools"), name === "conversations", place.bad) ?? toolsOf(take("functions"), true, place.bad);
  return {
    row: {
      ...row,
      values: {
        ...others(values, read),
        ...surroundings(values, take, place),
        ...(tools && { tools }),
        messages: last ? lastOnly(messages) : messages,
      },
    },
    read,
  };
}

/** With what a list beside the messages says of each. P0715: no such list; another `mask` than NeMo's of the user, which is the rule. */
function learntBy(
  values: JsonRecord,
  take: (name: string) => Json | undefined,
  messages: readonly Message[],
  { bad }: MessagePlace,
): Message[] {
  const who = isText(values.mask) ? take("mask") : undefined;
  if (who !== undefined && String(who).toLowerCase() !== "user")
    throw bad(`mask is ${JSON.stringify(who)}, and only what the user says is masked`, "give the messages a `weight` of 0 or 1 each");
  const name = LEARNT.find((column) => values[column] !== undefined);
  if (name === undefined) return [...messages];
  const list = take(name);
  const learnt = Array.isArray(list) ? list.map(isYes) : [];
  if (learnt.length !== messages.length || learnt.includes(undefined))
    throw bad(`${name} is ${JSON.stringify(list)?.slice(0, 60)}, where 0 or 1 for each of ${messages.length} messages is wanted`);
  return messages.map((message, i) => {
    if (message[LEARN] !== undefined && message[LEARN] !== learnt[i])
      throw bad(`message ${i + 1} says both that it is learnt and that it is not`);
    return { ...message, [LEARN]: learnt[i]! };
  });
}

const others = (values: JsonRecord, read: ReadonlySet<string>): JsonRecord =>
  Object.fromEntries(Object.entries(values).filter(([name]) => !read.has(name)));

/** What templates read beside messages and tools. */
function surroundings(values: JsonRecord, take: (name: string) => Json | undefined, { bad }: MessagePlace): JsonRecord {
  const out: Record<string, Json> = {};
  for (const name of TEMPLATE) {
    const value = take(name);
    if (!empty(value)) out[name] = value!;
  }
  const own = values[OWN_ARGUMENTS] ?? take(ARGUMENTS);
  const parsed = typeof own === "string" && own !== "" ? jsonOf(own) : own;
  if (!empty(parsed) && !isRecord(parsed)) throw bad(`${ARGUMENTS} is ${describe(own)} where an object is wanted`);
  return empty(parsed) ? out : { ...out, [OWN_ARGUMENTS]: parsed! };
}

function systemOf(values: JsonRecord, take: (name: string) => Json | undefined, place: MessagePlace): Message[] {
  const name = SYSTEMS.find((column) => !empty(values[column]));
  const value = name === undefined ? undefined : take(name);
  return value === undefined
    ? []
    : messagesOfEntry({ role: "system", content: isRecord(value) && Array.isArray(value.parts) ? value.parts : value }, 0, place);
}

/** LLaMA-Factory's `history`: earlier turns, a pair of texts each, or messages. */
function historyOf(values: JsonRecord, take: (name: string) => Json | undefined, place: MessagePlace): Message[] {
  if (empty(values.history)) return [];
  const value = take("history");
  const list = typeof value === "string" ? jsonOf(value) : value;
  if (!Array.isArray(list)) throw place.bad(`history is ${describe(value)} where a list of pairs of texts is wanted`);
  return list.flatMap((turn: Json, i: number): Message[] => {
    if (isRecord(turn)) return messagesOfEntry(turn, i, place);
    if (!Array.isArray(turn) || turn.length !== 2 || !turn.every(isText))
      throw place.bad(`turn ${i + 1} of history is ${describe(turn)} where a pair of texts is wanted`);
    return [say("user", turn[0]), say("assistant", turn[1])];
  });
}

const say = (role: string, content: string): Message => ({ role, content });

/** One side of a prompt and its answer: messages, one message, or a text that `role` says. */
function sideOf(value: Json | undefined, name: string, role: string, place: MessagePlace): Message[] {
  if (typeof value === "string" && listOf(value) === undefined) return [say(role, value)];
  return readMessages(isRecord(value) && fromColumns(value) === undefined ? [value] : value, name, place);
}

/** What is asked: the columns that are not empty, a line each. */
const askedText = ({ asked }: AskedForm, take: (name: string) => Json | undefined): string =>
  asked
    .map(take)
    .filter((part): part is string => typeof part === "string" && part !== "")
    .join("\n");

const turnOf = (form: AskedForm, take: (name: string) => Json | undefined): Message[] => [
  say("user", askedText(form, take)),
  say("assistant", String(take(form.answer))),
];

function lastOnly(messages: readonly Message[]): Message[] {
  const last = messages.findLastIndex(({ role }) => role === "assistant");
  return messages.map((message, i) => (i === last ? message : { ...message, [LEARN]: false }));
}

/**
 * A row with `prompt`, `chosen` and `rejected` of whatever form: texts where nothing in it is a message, else lists of messages. `spoken`: texts are messages too, where a form asks or has a system's text (there is a chat template). P0715: no such row. */
export function readPair(row: Row, file: string, { roles }: TalkOptions, spoken: boolean): Read {
  const { values, read, take } = columnsOf(row);
  const place = placeOf(row, file, roles);
  const openai = values.preferred_output !== undefined;
  const inner = openai && isRecord(values.input) ? (take("input") as JsonRecord) : values;
  const [won, lost] = openai ? ["preferred_output", "non_preferred_output"] : ["chosen", "rejected"];
  const [chosen, rejected] = [take(won), take(lost)];
  if (chosen === undefined || rejected === undefined)
    throw place.bad(
      `${chosen === undefined ? won : lost} is missing`,
      "a pair has `chosen` and `rejected`",
      `the row has ${Object.keys(values).join(", ")}`,
    );
  const question = ["instruction", "question", "query"].find((name) => isText(values[name]));
  const asked = question === undefined ? undefined : { shape: "", asked: [question, "input"], answer: "" };
  const name = listName(inner);
  const listed = (value: Json | undefined) => listOf(value) !== undefined || isRecord(value);
  const surrounded = [...SYSTEMS, "history", "tools"].some((column) => !empty(values[column]));
  const plain =
    !listed(chosen) &&
    !listed(rejected) &&
    !listed(values.prompt) &&
    name === undefined &&
    !(spoken && (asked !== undefined || surrounded));
  if (plain) {
    if (!isText(chosen) || !isText(rejected))
      throw place.bad(`chosen is ${describe(chosen)} and rejected ${describe(rejected)} where texts or messages are wanted`);
    const given = values.prompt === undefined && asked !== undefined ? `${askedText(asked, take)}\n` : take("prompt");
    const prompt = given ?? sharedText(chosen, rejected);
    if (!isText(prompt)) throw place.bad(`prompt is ${describe(prompt)} where a text is wanted, as the answers are`);
    return {
      row: {
        ...row,
        values: { ...values, prompt, ...(given === undefined ? behind(prompt, { chosen, rejected }) : { chosen, rejected }) },
      },
      read,
    };
  }
  const front = [...systemOf(values, take, place), ...historyOf(values, take, place)];
  let answers = [sideOf(chosen, won, "assistant", place), sideOf(rejected, lost, "assistant", place)];
  let prompt: Message[];
  const shared = sharedMessages(answers[0], answers[1]);
  if (name !== undefined) prompt = readMessages(inner === values ? take(name) : inner[name], name, place);
  else if (listed(values.prompt)) prompt = sideOf(take("prompt"), "prompt", "user", place);
  else if (shared > 0) {
    prompt = answers[0].slice(0, shared);
    answers = answers.map((answer) => answer.slice(shared));
    // a prompt as a text beside whole conversations says again what they begin with
    if (prompt.some(({ content }) => plainText(content) === values.prompt)) read.add("prompt");
  } else if (asked !== undefined && empty(values.prompt)) prompt = [say("user", askedText(asked, take))];
  else if (isText(values.prompt)) prompt = [say("user", take("prompt") as string)];
  else prompt = [];
  if (answers.some((answer) => answer.length === 0)) throw place.bad("chosen and rejected are the same conversation");
  const asking = answers.map(([first]) => first.role).find((role) => role !== "assistant");
  if (asking !== undefined)
    throw place.bad(
      `chosen and rejected part at a message of the ${asking}`,
      "two answers to one prompt are compared: what stands in front of them is the same in both",
    );
  const tools = toolsOf(inner === values ? take("tools") : inner.tools, name === "conversations", place.bad);
  const whole = { ...others(values, read), ...surroundings(values, take, place), ...(tools && { tools }) };
  return {
    row: { ...row, values: { ...whole, prompt: [...front, ...prompt], chosen: answers[0], rejected: answers[1] } },
    read,
  };
}

function sharedMessages(a: readonly Message[], b: readonly Message[]): number {
  let n = 0;
  while (n < Math.min(a.length, b.length) && JSON.stringify(a[n]) === JSON.stringify(b[n])) n++;
  return n;
}

/** TRL's rule: what both texts begin with, without a space at its end. */
function sharedText(a: string, b: string): string {
  let n = 0;
  while (n < Math.min(a.length, b.length) && a[n] === b[n]) n++;
  return a.slice(0, n > 0 && a[n - 1] === " " ? n - 1 : n);
}
const behind = (prompt: string, answers: { chosen: string; rejected: string }) => ({
  chosen: answers.chosen.slice(prompt.length),
  rejected: answers.rejected.slice(prompt.length),
});
