/** Which stretches of a rendered conversation are learnt, where rendering it up to each answer does not tell. */
import { isRecord } from "../files.ts";
import { CLOSE, OPEN, type Stretch } from "./chat-template.ts";
import { type Message, plainText, SPANS } from "./messages.ts";

/** Behind the number of a mark. */
const COUNTED = "\uFDD2";
/** What thoughts end with. */
const THOUGHT = "</think>";

/**
 * Each answer as it stands in `whole`: found by rendering all messages with characters that no text has around what the answers say behind their thoughts. An answer begins behind what
 * asks for it (`render` of the messages before, with and without the prompt), so thoughts that the template keeps are learnt too; its end is what the template puts behind it when it
 * comes last. `undefined`: the template leaves an answer out, or writes marked ones otherwise.
 */
export function rewrittenStretches(
  messages: readonly Message[],
  learnt: readonly boolean[],
  whole: string,
  render: (messages: readonly Message[], prompt: boolean) => string,
): Stretch[] | undefined {
  if (messages.some((one, i) => learnt[i] && (one.role !== "assistant" || one[SPANS] !== undefined))) return undefined;
  const marked = messages.map((one, i) => (learnt[i] ? markedAnswer(one, i) : one));
  const text = render(marked, false);
  if (unmarked(text) !== whole) return undefined;
  const places = learnt.flatMap((learns, i) => (learns ? [i] : []));
  // what is called may be named again where it answers
  const [head, ...answers] = places.reduceRight<string[]>(
    ([front, ...behind], i) => {
      const at = front.indexOf(opened(i));
      return at < 0 ? [front, ...behind] : [front.slice(0, at), front.slice(at + opened(i).length), ...behind];
    },
    [text],
  );
  if (answers.length !== places.length) return undefined;
  const stretches: Stretch[] = [];
  const push = (piece: string, learns: boolean) => piece !== "" && stretches.push({ text: piece, learnt: learns });
  let between = unmarked(head);
  for (const [k, piece] of answers.entries()) {
    const closed = piece.indexOf(CLOSE);
    if (closed < 0) return undefined;
    const [said, rest] = [unmarked(piece.slice(0, closed)), unmarked(piece.slice(closed))];
    const i = places[k];
    const bare = render(messages.slice(0, i), false);
    const asks = render(messages.slice(0, i), true);
    // a template may end with a token that nothing follows
    const ask = asks.slice(sharedLength(asks, bare));
    const start = beginOf(between, ask);
    if (start === undefined) return undefined;
    const upTo = render(marked.slice(0, i + 1), false);
    const end = sharedLength(rest, unmarked(upTo.slice(upTo.indexOf(CLOSE, upTo.indexOf(opened(i))))));
    push(between.slice(0, start), false);
    push(between.slice(start) + said + rest.slice(0, end), true);
    between = rest.slice(end);
  }
  push(between, false);
  return saidByOthers(messages, learnt, whole, render).some(([from, to]) => overlaps(stretches, from, to)) ? undefined : stretches;
}

/** What stands in front of the answer that is message `i`. */
const opened = (i: number): string => `${OPEN}${i}${COUNTED}`;
const MARKS = new RegExp(`${OPEN}\\d+${COUNTED}|${CLOSE}`, "g");
const unmarked = (text: string): string => text.replace(MARKS, "");

/** With marks around what is said; where that is nothing, which templates ask about, around the name of what is called. */
function markedAnswer(one: Message, i: number): Message {
  const content = around(plainText(one.content), i);
  const calls = Array.isArray(one.tool_calls) ? one.tool_calls : [];
  const [first, ...more] = calls.filter(isRecord);
  const called = first !== undefined && isRecord(first.function) ? first.function : undefined;
  if (!content.includes(opened(i) + CLOSE) || called === undefined) return { ...one, content };
  return { ...one, tool_calls: [{ ...first, function: { ...called, name: `${opened(i)}${String(called.name)}${CLOSE}` } }, ...more] };
}

/** The text behind thoughts, between the two characters. */
function around(content: string, i: number): string {
  const at = content.lastIndexOf(THOUGHT);
  const from = at < 0 ? 0 : at + THOUGHT.length;
  const space = /^\s*/.exec(content.slice(from))![0].length;
  const end = content.trimEnd().length;
  const start = Math.min(from + space, end);
  return `${content.slice(0, start)}${opened(i)}${content.slice(start, end)}${CLOSE}${content.slice(end)}`;
}

/** Where in `text` the last piece begins that follows what asks for it, or as much of that as stands there and has a letter. `undefined`: nothing of it does. */
function beginOf(text: string, ask: string): number | undefined {
  if (ask === "") return text.length;
  for (let n = ask.length; n > 0 && /[\p{L}\p{N}]/u.test(ask.slice(0, n)); n--) {
    const at = text.lastIndexOf(ask.slice(0, n));
    if (at >= 0) return at + n;
  }
  return undefined;
}

/** Where in `whole` stands what is not learnt, as far as marks around it do not change what the template writes. */
function saidByOthers(
  messages: readonly Message[],
  learnt: readonly boolean[],
  whole: string,
  render: (messages: readonly Message[], prompt: boolean) => string,
): [from: number, to: number][] {
  const text = render(
    messages.map((one, i) => (learnt[i] ? one : { ...one, content: around(plainText(one.content), i) })),
    false,
  );
  if (unmarked(text) !== whole) return [];
  return learnt.flatMap((learns, i): [number, number][] => {
    const from = learns ? -1 : text.indexOf(opened(i));
    if (from < 0) return [];
    const start = unmarked(text.slice(0, from)).length;
    return [[start, start + unmarked(text.slice(from, text.indexOf(CLOSE, from))).length]];
  });
}

/** Whether something learnt stands between two places. */
function overlaps(stretches: readonly Stretch[], from: number, to: number): boolean {
  let at = 0;
  return stretches.some(({ text, learnt }) => {
    const start = at;
    at += text.length;
    return learnt && Math.max(start, from) < Math.min(at, to);
  });
}

function sharedLength(a: string, b: string): number {
  let n = 0;
  while (n < Math.min(a.length, b.length) && a[n] === b[n]) n++;
  return n;
}

/** A message's stretch in pieces, where it says which of its characters are learnt; what stands behind them is learnt as the last one is. `lost`: makes the error. */
export function piecesOf(text: string, one: Message, lost: (what: string) => Error): Stretch[] {
  const spans = one[SPANS] as readonly (readonly [number, number, boolean])[] | undefined;
  if (spans === undefined) return [{ text, learnt: true }];
  const content = plainText(one.content);
  const characters = Array.from(content);
  const last = spans.reduce((most, [, end]) => Math.max(most, end), 0);
  if (last >= characters.length) throw lost(`has ${characters.length} characters, fewer than its spans count, in`);
  const learns = characters.map((_, i) => spans.find(([begin, end]) => begin <= i && i <= end)?.[2] ?? false);
  // templates take white space off the ends
  const bare = content.trim();
  const at = text.indexOf(bare);
  if (at < 0) throw lost("changes the text, so that its spans cannot be found, of");
  const lead = Array.from(content.slice(0, content.length - content.trimStart().length)).length;
  const pieces: { text: string; learnt: boolean }[] = [];
  const push = (piece: string, learnt: boolean) => {
    const before = pieces.at(-1);
    if (before?.learnt === learnt) before.text += piece;
    else if (piece !== "") pieces.push({ text: piece, learnt });
  };
  push(text.slice(0, at), false);
  for (const [i, character] of Array.from(bare).entries()) push(character, learns[lead + i]);
  const done = at + bare.length;
  push(text.slice(done), learns.at(-1) ?? false);
  return pieces;
}
