/** Messages as files of many tools have them, made one: `role`, `content`, what a template reads besides, and what is to be learnt of each. */
import type { InputError } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import { describe, isRecord, type Json, type JsonRecord } from "../files.ts";
import { numberOf, parseExact } from "../numeral.ts";

/** As templates read it: besides these whatever the file gives (`tool_calls`, `name`), and the fields below, which templates do not see. */
export type Message = JsonRecord & { readonly role: string; readonly content: string | readonly Json[] };

/** Whether a message is learnt, where its row says; `[begin, end, learnt]` of its characters; a call as the file wrote it. */
export const LEARN = "peftc:learn";
export const SPANS = "peftc:spans";
export const CALL = "peftc:call";
/** Arguments of its calls as the file wrote them, where it wrote texts. */
export const ARGUMENTS = "peftc:written arguments";
const OWN: readonly string[] = [LEARN, SPANS, CALL, ARGUMENTS];

/** The message without our own fields. */
export const shown = (message: Message): Message =>
  Object.fromEntries(Object.entries(message).filter(([name]) => !OWN.includes(name))) as Message;

const ROLE_FIELDS = ["role", "from", "speaker"];
const CONTENT_FIELDS = ["content", "value", "parts", "text"];
/** Fields that say whether a message is learnt: OpenAI's and Axolotl's, and those of their kin. */
const WEIGHTS = ["weight", "train", "training", "loss", "trainable"];
/** The opposite of them. */
const MASKS = ["masked", "mask"];
const DETAILS = ["train_detail", "training_detail"];

/** Roles by the names that files give them. */
const ROLES: Readonly<Record<string, string>> = {
  system: "system",
  developer: "developer",
  user: "user",
  human: "user",
  prompter: "user",
  assistant: "assistant",
  gpt: "assistant",
  chatgpt: "assistant",
  "gpt-4": "assistant",
  bing: "assistant",
  bard: "assistant",
  claude: "assistant",
  bot: "assistant",
  chatbot: "assistant",
  ai: "assistant",
  model: "assistant",
  tool: "tool",
  function: "tool",
  function_response: "tool",
  tool_response: "tool",
  observation: "tool",
  function_call: "call",
  tool_call: "call",
};

/** A list of messages as `datasets` keeps it in columns, `{"role": […], "content": […]}`, as a list again. */
export function fromColumns(value: Json | undefined): Json[] | undefined {
  if (!isRecord(value)) return undefined;
  const [role, content] = [ROLE_FIELDS, CONTENT_FIELDS].map((names) => names.find((name) => Array.isArray(value[name])));
  const lists = Object.entries(value).filter((entry): entry is [string, Json[]] => Array.isArray(entry[1]));
  if (role === undefined || content === undefined || lists.some(([, list]) => list.length !== (value[role] as Json[]).length))
    return undefined;
  return (value[role] as Json[]).map((_, i) => Object.fromEntries(lists.map(([name, list]) => [name, list[i]])));
}

/** Where a message stands, and how roles of the file are called. */
export interface MessagePlace {
  readonly bad: (what: string, ...notes: string[]) => InputError;
  /** By the program: a name in the file to the one that the template is to see. */
  readonly roles: Readonly<Record<string, string>>;
}

/** The messages that an entry of a list stands for: one, or of `{"input": …, "output": …}` two. P0715: none. */
export function messagesOfEntry(entry: Json, i: number, { bad, roles }: MessagePlace): Message[] {
  const given = withoutNulls(entry);
  if (!isRecord(given)) throw bad(`message ${i + 1} is ${describe(entry)} where role and content are wanted`);
  const roleField = ROLE_FIELDS.find((name) => given[name] !== undefined);
  if (roleField === undefined && typeof given.input === "string" && typeof given.output === "string") {
    const { input, output, ...rest } = given;
    return [{ role: "user", content: input } as unknown as Message, { ...rest, role: "assistant", content: output } as unknown as Message];
  }
  const role = roleField === undefined ? undefined : given[roleField];
  const contentField = CONTENT_FIELDS.find((name) => given[name] !== undefined);
  const calls = given.tool_calls ?? given.function_call;
  if (typeof role !== "string" || (contentField === undefined && calls === undefined))
    throw bad(`message ${i + 1} is ${JSON.stringify(entry)?.slice(0, 60)} where role and content are wanted`);
  const known = own(roles, role) ?? own(ROLES, role.trim().toLowerCase());
  if (known === undefined)
    throw bad(
      `message ${i + 1} has the role ${JSON.stringify(role)}, which is not known`,
      `known are ${Object.keys(ROLES).join(", ")}`,
      `say what it is, as in \`roles: { ${JSON.stringify(role)}: "assistant" }\``,
    );
  const taken = new Set([roleField!, contentField ?? "", ...WEIGHTS, ...MASKS, ...DETAILS, "tool_calls", "function_call"]);
  const rest = Object.fromEntries(Object.entries(given).filter(([name]) => !taken.has(name)));
  const content = contentOf(contentField === undefined ? "" : given[contentField], i, bad);
  const learnt = { ...learntOf(given, i, bad), ...spansOf(given, i, bad) };
  if (known === "call") return [{ ...rest, ...callOf(content, i, bad), ...learnt } as unknown as Message];
  return [{ ...rest, role: known, content, ...(calls !== undefined && called(calls, i, bad)), ...learnt } as unknown as Message];
}

/** Content as a text, or as parts that are texts. P0715: parts of another kind (pictures, sound), which these rows cannot hold. */
function contentOf(value: Json, i: number, bad: MessagePlace["bad"]): string | Json[] {
  if (typeof value === "string") return value;
  const parts = Array.isArray(value) ? value : isRecord(value) ? [value] : undefined;
  if (parts === undefined) throw bad(`message ${i + 1} has ${describe(value)} as its content where a text, or a list of parts, is wanted`);
  return parts.map((part: Json, p: number): Json => {
    if (typeof part === "string") return { type: "text", text: part };
    const kind = isRecord(part) ? (part.type ?? "text") : undefined;
    if (isRecord(part) && typeof part.text === "string" && TEXTS.includes(String(kind))) return { type: "text", text: part.text };
    if (TEXTS.includes(String(kind))) throw bad(`part ${p + 1} of message ${i + 1} has no text: ${JSON.stringify(part).slice(0, 60)}`);
    throw bad(
      `part ${p + 1} of message ${i + 1} is ${kind === undefined ? describe(part) : `of the type ${JSON.stringify(kind)}`}, and only texts are read`,
    );
  });
}
const TEXTS = ["text", "input_text", "output_text"];

export const plainText = (content: string | readonly Json[]): string =>
  typeof content === "string" ? content : content.map((part) => (isRecord(part) ? String(part.text) : "")).join("");

/** Whether the message is learnt, by the fields that say so. P0715: something else than 0 or 1, true or false; fields that disagree. */
function learntOf(given: JsonRecord, i: number, bad: MessagePlace["bad"]): JsonRecord {
  let learnt: boolean | undefined = typeof given[LEARN] === "boolean" ? given[LEARN] : undefined;
  for (const name of [...WEIGHTS, ...MASKS]) {
    const value = given[name];
    if (value === undefined) continue;
    const yes = isYes(value);
    const says = yes === undefined ? undefined : yes !== MASKS.includes(name);
    if (says === undefined) throw bad(`message ${i + 1} has ${name} = ${JSON.stringify(value)}, where 0 or 1 (learnt or not) is wanted`);
    if (learnt !== undefined && learnt !== says) throw bad(`message ${i + 1} says both that it is learnt and that it is not`);
    learnt = says;
  }
  return learnt === undefined ? {} : { [LEARN]: learnt };
}

/** 0 or 1, true or false; `undefined`: something else. */
export function isYes(value: Json): boolean | undefined {
  const number = numberOf(value);
  return typeof value === "boolean" ? value : number === 0 || number === 1 ? number === 1 : undefined;
}

/** Axolotl's `train_detail`: which characters are learnt, both ends included. P0715: no such list. */
function spansOf(given: JsonRecord, i: number, bad: MessagePlace["bad"]): JsonRecord {
  if (given[SPANS] !== undefined) return { [SPANS]: given[SPANS] };
  const name = DETAILS.find((field) => given[field] !== undefined);
  if (name === undefined) return {};
  const list = given[name];
  const spans = Array.isArray(list)
    ? list.map((span: Json): Json[] | undefined => {
        if (!isRecord(span)) return undefined;
        const [begin, end] = [numberOf(span.begin_offset), numberOf(span.end_offset)];
        return begin === undefined || end === undefined || typeof span.train !== "boolean" || end < begin || begin < 0
          ? undefined
          : [begin, end, span.train];
      })
    : [undefined];
  if (spans.includes(undefined)) throw bad(`message ${i + 1} has a ${name} that is no list of begin_offset, end_offset and train`);
  return spans.length === 0 ? {} : { [SPANS]: spans as Json[] };
}

const called = (calls: Json, i: number, bad: MessagePlace["bad"]): JsonRecord => {
  const parsed = typeof calls === "string" ? (jsonOf(calls) ?? calls) : calls;
  const written = (Array.isArray(parsed) ? parsed : [parsed]).map((call: Json): Json => {
    const inner = isRecord(call) && isRecord(call.function) ? call.function : call;
    return isRecord(inner) && typeof inner.arguments === "string" ? inner.arguments : null;
  });
  return { tool_calls: callsOf(parsed, i, bad), ...(written.some((text) => text !== null) && { [ARGUMENTS]: written }) };
};

/** Calls of tools as templates read them: `{"type": "function", "function": {"name", "arguments"}}`, arguments as an object. */
function callsOf(value: Json, i: number, bad: MessagePlace["bad"]): Json[] {
  const parsed = typeof value === "string" ? (jsonOf(value) ?? value) : value;
  const list = Array.isArray(parsed) ? parsed : [parsed];
  return list.map((call: Json): Json => {
    if (!isRecord(call)) throw bad(`message ${i + 1} has ${describe(call)} as a call of a tool where an object is wanted`);
    const inner = isRecord(call.function) ? call.function : call;
    if (typeof inner.name !== "string") throw bad(`message ${i + 1} calls a tool without a name`);
    const made = { ...inner, ...(typeof inner.arguments === "string" && { arguments: jsonOf(inner.arguments) ?? inner.arguments }) };
    return isRecord(call.function) ? { ...call, function: made } : { type: "function", function: made };
  });
}

/** ShareGPT's `function_call`: a text that holds one call or a list of them; a text that holds none stays what the assistant says. */
function callOf(content: string | Json[], i: number, bad: MessagePlace["bad"]): JsonRecord {
  const text = plainText(content);
  const parsed = jsonOf(text);
  const list = Array.isArray(parsed) ? parsed : [parsed];
  if (!list.every((call) => isRecord(call) && (typeof call.name === "string" || isRecord(call.function))))
    return { role: "assistant", content: text };
  return { role: "assistant", content: "", ...called(list as Json, i, bad), [CALL]: text };
}

/** Tools as a list, out of the text of one too. `wrapped`: bare functions are put as OpenAI has them. P0715: something else. */
export function toolsOf(value: Json | undefined, wrapped: boolean, bad: MessagePlace["bad"]): Json[] | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  const parsed = typeof value === "string" ? jsonOf(value) : value;
  const list = Array.isArray(parsed) ? parsed : isRecord(parsed) ? [parsed] : undefined;
  if (list === undefined) throw bad(`tools is ${describe(value)} where a list of tools, or the JSON of one, is wanted`);
  const tools = list.map((tool: Json): Json => {
    const read = typeof tool === "string" ? jsonOf(tool) : tool;
    if (!isRecord(read)) throw bad(`tools holds ${describe(tool)} where an object is wanted`);
    return wrapped && read.type === undefined && read.function === undefined ? { type: "function", function: read } : read;
  });
  return tools.length === 0 ? undefined : tools;
}

/** JSON out of a text; `undefined`: it is none. */
export function jsonOf(text: string): Json | undefined {
  try {
    return parseExact(text);
  } catch {
    return undefined;
  }
}

/** Fields that are null are there because the table has the column: they are taken out, as TRL does. Items of lists stay. */
export function withoutNulls(value: Json): Json {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (!isRecord(value)) return value;
  return Object.fromEntries(Object.entries(value).flatMap(([name, inner]) => (inner === null ? [] : [[name, withoutNulls(inner)]])));
}
