/** Changes fields of a JSON object in its text: what is not changed stays to the letter, numbers among it (`40.0`, `1e-05`, 9007199254740993). */
import type { Float, Json } from "./files.ts";
import { pythonJson } from "./files.ts";

interface Entry {
  readonly key: string;
  /** From the key's first quote to the value's last character. */
  readonly start: number;
  readonly value: number;
  readonly end: number;
}

/** `text` must hold a JSON object. `undefined`: the field goes; a field that is not there yet comes last. */
export function editRecord(text: string, changes: ReadonlyMap<string, Json | Float | undefined>): string {
  const entries = entriesOf(text);
  const here = new Set(entries.map(({ key }) => key));
  // of a key that stands twice the last counts
  const left = entries.filter(
    ({ key }, i) => !(changes.has(key) && (changes.get(key) === undefined || entries.slice(i + 1).some((e) => e.key === key))),
  );
  const more = [...changes].filter(([key, value]) => !here.has(key) && value !== undefined);
  if (left.length === entries.length && more.length === 0 && entries.every(({ key }) => !changes.has(key))) return text;
  const open = text.indexOf("{");
  const close = text.lastIndexOf("}");
  const indent = entries.length === 0 ? "\n  " : text.slice(open + 1, entries[0].start);
  const inner = indent.includes("\n") ? indent.slice(indent.lastIndexOf("\n") + 1) : "";
  const said = (value: Json | Float) => (indent.includes("\n") ? pythonJson(value, inner) : pythonJson(value).replace(/\n\s*/g, " "));
  const added = more.map(([key, value]) => `${JSON.stringify(key)}: ${said(value!)}`);
  const kept = left.map((entry, i) => {
    const at = entries.indexOf(entry);
    const gap = i === 0 ? indent : text.slice(entries[at - 1].end, entry.start);
    return (
      gap +
      (changes.has(entry.key) ? text.slice(entry.start, entry.value) + said(changes.get(entry.key)!) : text.slice(entry.start, entry.end))
    );
  });
  const all =
    kept.join("") + added.map((one, i) => (kept.length === 0 && i === 0 ? indent : `,${indent === "" ? " " : indent}`) + one).join("");
  const tail = entries.length === 0 ? "\n" : text.slice(entries.at(-1)!.end, close);
  return text.slice(0, open + 1) + all + (all === "" ? "" : tail) + text.slice(close);
}

function entriesOf(text: string): Entry[] {
  const entries: Entry[] = [];
  let at = text.indexOf("{") + 1;
  const string = (from: number): number => {
    let i = from + 1;
    while (text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
    return i + 1;
  };
  for (;;) {
    while (/[\s,]/.test(text[at])) at++;
    if (text[at] === "}") return entries;
    const start = at;
    const keyEnd = string(start);
    at = keyEnd;
    while (/[\s:]/.test(text[at])) at++;
    const value = at;
    let depth = 0;
    let end = at;
    while (depth > 0 || !/[,}]/.test(text[at])) {
      if (text[at] === '"') at = string(at);
      else {
        if (/[[{]/.test(text[at])) depth++;
        if (/[\]}]/.test(text[at])) depth--;
        at++;
      }
      if (!/\s/.test(text[at - 1])) end = at;
    }
    entries.push({ key: JSON.parse(text.slice(start, keyEnd)) as string, start, value, end });
  }
}
