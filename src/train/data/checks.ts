/** What looks wrong in tables: warnings. What stops a run is thrown while a table is made, or by `checkTable`. */

import type { Static } from "../../compiler/project.ts";
import type { Problem } from "../../compiler/report/problem.ts";
import { placeOf, roundUp } from "./columns.ts";
import { classesOf, cutRows, type Inspected, labelsKept, type StageTable, unreadIn, viewsOf } from "./inspect.ts";
import { targetless } from "./targets.ts";

type Check = (inspected: Inspected) => Omit<Problem, "severity" | "span"> | undefined;

const place = ({ table }: Inspected, row: number): string => placeOf(table, row);
const of = (n: number, all: number): string => `${n} of ${all} row${all === 1 ? "" : "s"}`;

/** One row a check. What stops a run is thrown while the table is made; these are warnings. */
const CHECKS: readonly Check[] = [
  function cut(inspected) {
    const { table, sequence } = inspected;
    const { rows, answers } = cutRows(inspected);
    if (sequence === undefined || rows === 0 || answers > 0) return undefined;
    return {
      code: "P0740",
      message: `${of(rows, table.rows)} of ${table.name} ${rows === 1 ? "is" : "are"} longer than sequence = ${sequence} and lose${rows === 1 ? "s" : ""} the rest`,
      notes: [longest(inspected)],
    };
  },
  function cutAnswers(inspected) {
    const { table, sequence } = inspected;
    const { answers } = cutRows(inspected);
    if (sequence === undefined || answers === 0) return undefined;
    const first = table.facts!.findIndex(({ labelled }, row) => labelled !== undefined && labelsKept(inspected, row) < labelled);
    const { labelled } = table.facts![first];
    return {
      code: "P0741",
      message: `${of(answers, table.rows)} of ${table.name} lose${answers === 1 ? "s" : ""} part of what is to be learnt to sequence = ${sequence}`,
      notes: [
        `${place(inspected, first)} keeps ${labelsKept(inspected, first)} of ${labelled} labelled tokens, and not its end`,
        longest(inspected),
      ],
    };
  },
  function neverEnds(inspected) {
    const { table, tokenizer } = inspected;
    const end = tokenizer?.ids.eos;
    if (
      tokenizer === undefined ||
      end === undefined ||
      table.facts === undefined ||
      inspected.columns.every(({ name }) => name !== "labels")
    )
      return undefined;
    let learns = false;
    for (let row = 0; row < table.rows; row++) {
      for (const { labels } of viewsOf(inspected, row)) {
        const last = labels.filter((label) => label !== undefined).at(-1);
        if (last === undefined) continue;
        learns = true;
        // a template may end turns with a token of its own
        if (tokenizer.specials.has(last)) return undefined;
      }
    }
    if (!learns) return undefined;
    return {
      code: "P0742",
      message: `no answer in ${table.name} ends with ${JSON.stringify(tokenizer.tokenOf(end))}: the model does not learn to stop`,
      notes: ["put the token at the end of the text or the chat template"],
    };
  },
  function startsTwice(inspected) {
    const { table, tokenizer } = inspected;
    const start = tokenizer?.ids.bos ?? tokenizer?.ids.cls;
    if (tokenizer === undefined || start === undefined) return undefined;
    const rows: number[] = [];
    for (let row = 0; row < table.rows; row++)
      if (viewsOf(inspected, row).some(({ ids }) => ids[0] === start && ids[1] === start)) rows.push(row);
    if (rows.length === 0) return undefined;
    return {
      code: "P0743",
      message: `${of(rows.length, table.rows)} of ${table.name} begin${rows.length === 1 ? "s" : ""} with ${JSON.stringify(tokenizer.tokenOf(start))} twice`,
      notes: [`${place(inspected, rows[0])} is the first`, "the tokenizer puts it in front, so the text or the template need not"],
    };
  },
  function merges(inspected) {
    const { table } = inspected;
    const rows = (table.facts ?? []).flatMap(({ merged }, row) => (merged ? [row] : []));
    if (rows.length === 0) return undefined;
    return {
      code: "P0744",
      message: `in ${of(rows.length, table.rows)} of ${table.name} an answer begins within a token that also holds the end of its prompt`,
      notes: [
        `${place(inspected, rows[0])} is the first`,
        "when the model is asked it sees the prompt in other tokens; move the space or line end from the end of the prompt to the answer",
      ],
    };
  },
  function unknown(inspected) {
    const { table, tokenizer } = inspected;
    const unk = tokenizer?.ids.unk;
    if (tokenizer === undefined || unk === undefined || Object.entries(tokenizer.ids).some(([role, id]) => role !== "unk" && id === unk))
      return undefined;
    let all = 0;
    let lost = 0;
    let first: number | undefined;
    for (let row = 0; row < table.rows; row++) {
      for (const { ids } of viewsOf(inspected, row)) {
        const here = ids.filter((id) => id === unk).length;
        if (here > 0) first ??= row;
        all += ids.length;
        lost += here;
      }
    }
    if (first === undefined || lost / all < MANY_UNKNOWN) return undefined;
    return {
      code: "P0745",
      message: `${Math.round((100 * lost) / all)} % of the tokens of ${table.name} are unknown to the tokenizer`,
      notes: [`${place(inspected, first)} is the first row with one`, "is it the tokenizer of another language, or of lower-case text?"],
    };
  },
  function sameAnswers({ table }) {
    const { without } = table;
    if (without === undefined) return undefined;
    return {
      code: "P0749",
      message: `${of(without.rows, table.rows + without.rows)} of ${table.name} ${without.rows === 1 ? "is" : "are"} left out: ${without.why}`,
      notes: without.notes,
    };
  },
  function oneClass({ table }) {
    const classes = classesOf(table);
    if (classes === undefined || classes.size !== 1 || table.rows < 2) return undefined;
    return {
      code: "P0746",
      message: `all ${table.rows} rows of ${table.name} have the label ${[...classes.keys()][0]}`,
      notes: ["are the rows sorted by label, so that a split parts the classes?"],
    };
  },
  function rewritten(inspected) {
    const { table } = inspected;
    const rows = (table.facts ?? []).flatMap(({ rewritten: is }, row) => (is ? [row] : []));
    if (rows.length === 0) return undefined;
    return {
      code: "P0753",
      message: `in ${of(rows.length, table.rows)} of ${table.name} the chat template writes an answer otherwise once later turns follow (as it does that takes thoughts out)`,
      notes: [
        `${place(inspected, rows[0])} is the first; each answer is learnt as it stands in the whole conversation`,
        "to learn the others as they were said, split the conversations into rows that end with one answer each",
      ],
    };
  },
  function unread(inspected) {
    const { table, spec } = inspected;
    const unread = (inspected as StageTable).verb === "train" ? unreadIn(inspected) : (table.unread ?? []);
    if (unread.length === 0 || asked(spec.options)) return undefined;
    return {
      code: "P0750",
      message: `nothing was made of ${unread.map((name) => `\`${name}\``).join(", ")} of ${table.name}`,
      notes: ["`input` and `target` say what the model reads and learns, `columns` what goes through as it is"],
    };
  },
  function unlearnt(inspected) {
    const { table, columns, sequence } = inspected;
    const rows = (inspected as StageTable).verb === "predict" ? [] : targetless(columns, table, sequence);
    if (rows.length === 0) return undefined;
    return {
      code: "P0751",
      message: `${of(rows.length, table.rows)} of ${table.name} ${rows.length === 1 ? "has" : "have"} nothing to learn and ${rows.length === 1 ? "is" : "are"} passed over`,
      notes: [`${place(inspected, rows[0])} is the first`],
    };
  },
];
/** Whether the program says itself which columns are read. */
const asked = (options: Readonly<Record<string, Static>>): boolean => options.input !== undefined && options.input !== null;
/** Share of unknown tokens from which on it is said. */
const MANY_UNKNOWN = 0.01;

function longest({ table }: Inspected): string {
  const most = Math.max(...table.facts!.map(({ tokens }) => tokens));
  return `the longest has ${most} tokens: sequence = ${roundUp(most)} keeps everything`;
}

/** Warnings about a table. */
function checkRows(inspected: Inspected): Problem[] {
  return CHECKS.flatMap((check) => {
    const found = check(inspected);
    return found === undefined ? [] : [{ ...found, severity: "warning" as const, span: inspected.spec.span }];
  });
}

/** Columns that say what is in the views, or what should be answered; all others (a picture, which adapter) are part of what is asked. */
const TOKENS: ReadonlySet<string> = new Set([
  ...["input_ids", "attention_mask", "special", "token_type_ids", "labels", "tags", "label", "mask_at", "score", "segment"],
  ...["chosen", "chosen_mask", "rejected", "rejected_mask", "prompt_length"],
]);

/** P0747: rows that are held and trained on as well. */
function checkHeld(main: Inspected, held: Inspected): Problem[] {
  const key = (inspected: Inspected, row: number) => {
    const views = viewsOf(inspected, row);
    const { beside } = inspected.table;
    const numbers = inspected.columns.flatMap(({ name }) => {
      const column = TOKENS.has(name) || (beside && name.startsWith(beside.prefix)) ? undefined : inspected.table.columns.get(name);
      return column === undefined ? [] : [...Array.from(column.shape(row)), ...Array.from(column.row(row))];
    });
    return views.length + numbers.length === 0 ? undefined : fingerprint([...views.flatMap(({ ids }) => ids), ...numbers]);
  };
  const seen = new Set(Array.from({ length: main.table.rows }, (_, row) => key(main, row)));
  const both = Array.from({ length: held.table.rows }, (_, row) => row).filter((row) => {
    const own = key(held, row);
    return own !== undefined && seen.has(own);
  });
  if (both.length === 0) return [];
  return [
    {
      code: "P0747",
      severity: "warning",
      message: `${of(both.length, held.table.rows)} of the held-out part of ${held.table.name} ${both.length === 1 ? "is" : "are"} trained on as well`,
      span: held.spec.span,
      notes: [`${place(held, both[0])} is the first`, "what is measured there is partly what was learnt by heart"],
    },
  ];
}

const float = new Float64Array(1);
const halves = new Int32Array(float.buffer);

/** A number of 53 bits for a row of numbers: rows that differ have the same one practically never, and it is small to keep. */
function fingerprint(numbers: readonly number[]): number {
  let low = 0x811c9dc5;
  let high = numbers.length;
  for (const number of numbers) {
    float[0] = number;
    const id = Number.isInteger(number) ? number : Math.imul(halves[0], 0x85ebca6b) ^ halves[1];
    low = Math.imul(low ^ id, 0x01000193);
    high = Math.imul(high + id, 0x9e3779b1) ^ (high >>> 15);
  }
  return (low >>> 0) * 2 ** 21 + (high >>> 11);
}

/** Warnings about everything that a stage reads. */
export function checkTables(tables: readonly StageTable[]): Problem[] {
  const main = tables.filter(({ part }) => part === "main");
  const held = tables.filter(({ part }) => part === "held");
  return [...tables.flatMap(checkRows), ...held.flatMap((table, i) => (main[i] === undefined ? [] : checkHeld(main[i], table)))];
}
