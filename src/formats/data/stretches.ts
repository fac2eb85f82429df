/** Which stretches of a rendered conversation are learnt, where rendering it up to each answer does not tell. */
import { CLOSE, OPEN, type Stretch } from "./chat-template.ts";
import { type Message, plainText, SPANS } from "./messages.ts";

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
  const marked = messages.map((one, i) => (learnt[i] ? { ...one, content: around(plainText(one.content)) } : one));
  const text = render(marked, false);
  if (text.replaceAll(OPEN, "").replaceAll(CLOSE, "") !== whole) return undefined;
  const [head, ...answers] = text.split(OPEN);
  if (answers.length !== learnt.filter(Boolean).length) return undefined;
  const stretches: Stretch[] = [];
  const push = (piece: string, learns: boolean) => piece !== "" && stretches.push({ text: piece, learnt: learns });
  let between = head;
  const places = learnt.flatMap((learns, i) => (learns ? [i] : []));
  for (const [k, piece] of answers.entries()) {
    const [said, ...rest] = piece.split(CLOSE);
    if (rest.length !== 1) return undefined;
    const i = places[k];
    const bare = render(messages.slice(0, i), false);
    const asks = render(messages.slice(0, i), true);
    const ask = asks.startsWith(bare) ? asks.slice(bare.length) : "";
    const start = beginOf(between, ask);
    const behind =
      render(marked.slice(0, i + 1), false)
        .split(CLOSE)
        .at(-1) ?? "";
    const end = sharedLength(rest[0], behind);
    push(between.slice(0, start), false);
    push(between.slice(start) + said + rest[0].slice(0, end), true);
    between = rest[0].slice(end);
  }
  push(between, false);
  return stretches;
}

/** The text behind thoughts, between the two characters. */
function around(content: string): string {
  const at = content.lastIndexOf(THOUGHT);
  const from = at < 0 ? 0 : at + THOUGHT.length;
  const space = /^\s*/.exec(content.slice(from))![0].length;
  const end = content.trimEnd().length;
  const start = Math.min(from + space, end);
  return `${content.slice(0, start)}${OPEN}${content.slice(start, end)}${CLOSE}${content.slice(end)}`;
}

/** Where in `text` the last piece begins that follows what asks for it, or as much of that as stands there. */
function beginOf(text: string, ask: string): number {
  for (let n = ask.length; n > 0; n--) {
    const at = text.lastIndexOf(ask.slice(0, n));
    if (at >= 0) return at + n;
  }
  return text.length;
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
