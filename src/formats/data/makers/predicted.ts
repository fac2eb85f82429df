/** What a `predict` or `generate` stage left, beside the table that it went over, if that is given. */
import { InputError } from "../../../ir/errors.ts";
import { baseName, joinPath } from "../../files.ts";
import { isConversation, messagesOf } from "../conversation.ts";
import { renderRow } from "../encode.ts";
import { readArray } from "../labels.ts";
import { type Row, readJsonLines } from "../records.ts";
import { mapRows, rowsOf, type Source } from "../source.ts";
import { isSpec, type Maker, pathOf } from "../spec.ts";
import { arrayColumn } from "../table.ts";
import { hasMask, parseTemplate } from "../template.ts";

export const PREDICTIONS = "predictions.jsonl";

/** Columns of numbers, by the names of a `predict` stage. As rows of text: those it went over, with the numbers beside. */
export const predicted: Maker = {
  source(spec, kitchen) {
    const base = isSpec(spec.args[1]) ? kitchen.source(spec.args[1]) : undefined;
    if (base === undefined) return undefined;
    const path = joinPath(pathOf(spec), PREDICTIONS);
    const numbers = readJsonLines(kitchen.files, path);
    const rows = rowsOf(base);
    if (rows.length !== numbers.length)
      throw new InputError(
        "P0703",
        `\`${path}\` has ${numbers.length} rows, but \`${base.file}\`, which it was made of, has ${rows.length}`,
      );
    const whole: Source = { ...base, rows, part: [0, rows.length] };
    return mapRows(whole, (row, i) => {
      const { row: _, ...columns } = numbers[i].values;
      return { ...row.values, ...columns };
    });
  },
  table(spec, kitchen) {
    const folder = pathOf(spec);
    const path = joinPath(folder, PREDICTIONS);
    const rows = readJsonLines(kitchen.files, path);
    const base = isSpec(spec.args[1]) ? kitchen.table(spec.args[1]) : undefined;
    if (base !== undefined && base.rows !== rows.length) {
      throw new InputError("P0703", `\`${path}\` has ${rows.length} rows, but ${base.name}, which it was made of, has ${base.rows}`);
    }
    const names = Object.keys(rows[0]?.values ?? {}).filter((name) => name !== "row");
    const columns = new Map(base?.columns ?? []);
    for (const name of names) {
      const arrays = rows.map((row) => readArray(row, name, path));
      columns.set(name, arrayColumn(arrays, arrays[0].shape.length, 0));
    }
    return { name: `\`${baseName(folder)}\``, rows: rows.length, columns, ...(base?.facts && { facts: base.facts }) };
  },
};

export const SAMPLES = "samples.jsonl";

/**
 * Texts of a `generate` stage: its samples' columns (`prompt`, `text`) over those of the row that was asked, with the text as `answer` too, what was read as `source`; `messages` without the answer at their end.
 * To train on, they are prompts and completions.
 */
export const generated: Maker = {
  source(spec, kitchen) {
    const path = joinPath(pathOf(spec), SAMPLES);
    const samples = readJsonLines(kitchen.files, path);
    const base = isSpec(spec.args[1]) ? kitchen.source(spec.args[1]) : undefined;
    return sourceOfSamples(samples, path, base);
  },
};

function sourceOfSamples(samples: readonly Row[], path: string, base: Source | undefined): Source {
  const asked = base && rowsOf(base);
  const rows = samples.map(({ line, values }, i): Row => {
    // a line names the row it answers; files without have the samples of a row one after another
    const number = typeof values.row === "number" ? values.row : asked && Math.floor((i * asked.length) / samples.length);
    const row = number === undefined ? undefined : asked?.[number];
    const talk: Row["values"] = row !== undefined && isConversation(row) ? { messages: withoutAnswer(row, base!.file) } : {};
    const read: Row["values"] =
      row !== undefined && base!.plan.kind === "text" && base!.plan.inputs.length === 1 && !hasMask(base!.plan.inputs[0])
        ? { source: renderRow(row, base!.plan.inputs[0], base!.plan, base!.file) }
        : {};
    // a column of the table that is named as a field of a sample is (`text`) stays the table's: what was written is `answer`
    const { prompt = null, text: answer = null } = values;
    return { line, values: { ...values, ...row?.values, ...talk, ...read, prompt, answer } };
  });
  const chat = rows.length > 0 && isConversation(rows[0]);
  const plan: Source["plan"] = {
    kind: "text",
    inputs: [parseTemplate("{prompt}")],
    target: parseTemplate("{answer}"),
    label: undefined,
    columns: [],
    lower: false,
    wordTags: undefined,
  };
  if (!chat) return { file: path, rows, part: [0, rows.length], plan, shape: "prompt and answer", written: true };
  const spoken = rows.map((row): Row => {
    const messages = messagesOf(row, path);
    return { line: row.line, values: { ...row.values, messages: [...messages, { role: "assistant", content: row.values.answer }] } };
  });
  return {
    file: path,
    rows: spoken,
    part: [0, rows.length],
    plan: { kind: "chat", template: undefined },
    shape: "conversations",
    written: true,
  };
}

function withoutAnswer(row: Row, file: string) {
  const messages = messagesOf(row, file);
  while (messages.at(-1)?.role === "assistant") messages.pop();
  return messages;
}
