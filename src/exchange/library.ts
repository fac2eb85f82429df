/** What the standard library holds, for verbs that write programs: classes of models by Hugging Face's names, methods with their options. */
import type * as ast from "../compiler/ast.ts";
import { parse } from "../compiler/read/parse.ts";
import { didYouMean } from "../compiler/suggest.ts";
import { isRecord, type Json, type JsonRecord } from "../formats/files.ts";
import { InputError } from "../ir/errors.ts";
import { libraryFiles, librarySource } from "../node/package.ts";

/** A kind of task, from `std/tasks.hf.json`: the classes that serve it by the end of their names, and what a program for it says. */
interface Task {
  readonly classes: RegExp;
  /** peft's name for it. */
  readonly peft: string | undefined;
  readonly objective: string;
  /** Instead of it, by what a configuration calls `problem_type`. */
  readonly problems: Readonly<Record<string, string>>;
  /** Lines of `train`. */
  readonly fields: readonly string[];
}

export interface ModelClass {
  readonly name: string;
  /** As in an import. */
  readonly file: string;
  readonly task: Task | undefined;
}

const declared = new Map<string, ast.Program>();
function program(file: string): ast.Program {
  let known = declared.get(file);
  if (known === undefined) {
    known = parse(librarySource(file) ?? "", file).program;
    declared.set(file, known);
  }
  return known;
}

let known: { tasks: readonly Task[]; families: Readonly<Record<string, string>> } | undefined;
function tasks(): NonNullable<typeof known> {
  if (known === undefined) {
    const file = JSON.parse(librarySource("std/tasks.hf.json")!) as JsonRecord;
    known = {
      families: file.families as Record<string, string>,
      tasks: (file.tasks as readonly JsonRecord[]).map((t) => ({
        classes: new RegExp(String(t.classes)),
        peft: typeof t.peft === "string" ? t.peft : undefined,
        objective: String(t.objective),
        problems: (t.problem_types ?? {}) as Record<string, string>,
        fields: t.fields as readonly string[],
      })),
    };
  }
  return known;
}
const taskOf = (name: string): Task | undefined => tasks().tasks.find((t) => t.classes.test(name));

/** Every class of the library's models that is a whole model for a task. */
function modelClasses(): ModelClass[] {
  return libraryFiles("std/models")
    .filter((file) => file.endsWith(".peft"))
    .flatMap((file) =>
      program(file).items.flatMap((item): ModelClass[] =>
        item.kind === "Module" && taskOf(item.name.text) !== undefined
          ? [{ name: item.name.text, file: file.replace(/\.peft$/, ""), task: taskOf(item.name.text) }]
          : [],
      ),
    );
}

/** A class's name without the task at its end. */
function familyOf(name: string): string {
  const family = name.replace(/(For[A-Z]\w*|LMHeadModel|Model)$/, "");
  return tasks().families[family] ?? family;
}

/**
 * The library's class for a model's folder: the first of its `architectures`, or the one of the same family for the task that peft names; a folder
 * without that field is known by its `model_type`. P0693: there is none; the nearest is named.
 */
export function classFor(config: JsonRecord, folder: string, peftTask: string | undefined): ModelClass {
  const classes = modelClasses();
  const [architecture] = Array.isArray(config.architectures) ? config.architectures : [];
  const type = String(config.model_type ?? "");
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, "");
  const family =
    typeof architecture === "string"
      ? familyOf(architecture)
      : (classes.map((c) => familyOf(c.name)).find((f) => plain(f) === plain(type)) ?? type);
  const own = typeof architecture === "string" ? taskOf(architecture) : undefined;
  const task = tasks().tasks.find((t) => peftTask !== undefined && t.peft === peftTask) ?? own;
  const relatives = classes.filter((c) => familyOf(c.name) === family);
  const found = task === undefined ? relatives[0] : relatives.find((c) => c.task === task);
  if (found !== undefined) return found;
  const wanted = typeof architecture === "string" ? architecture : type;
  const notes =
    relatives.length > 0
      ? [`of this family there are: ${relatives.map((c) => c.name).join(", ")}`]
      : [
          ...didYouMean(
            wanted,
            classes.map((c) => c.name),
          ),
          `families there are: ${[...new Set(classes.map((c) => familyOf(c.name)))].join(", ")}`,
        ];
  const what = peftTask !== undefined && relatives.length > 0 ? `${family} for ${peftTask}` : wanted;
  throw new InputError("P0693", `\`${folder}\` holds a ${what || "model of no known class"}, which the library has no class for`, notes);
}

/** Whether a file declares a name. */
export const declares = (file: string, name: string): boolean =>
  program(`${file}.peft`).items.some((item) => "name" in item && item.name !== undefined && "text" in item.name && item.name.text === name);

/** A method's declaration. */
export function methodOf(method: string, from: string): ast.Method | undefined {
  const file = from.endsWith(".peft") ? from : `${from}.peft`;
  return program(file).items.find((item): item is ast.Method => item.kind === "Method" && item.name.text === method);
}

/** What a method is `on`. */
export function targetOf(method: ast.Method): string | undefined {
  return method.on.kind === "NamedType" ? method.on.name.text : undefined;
}

/** Options as they are written in a call, without those that are the method's own defaults; and the functions of `std/nn` that they name. */
export function optionsText(
  method: ast.Method,
  options: Readonly<Record<string, Json>>,
): { readonly text: string; readonly functions: readonly string[] } {
  const functions: string[] = [];
  const parts: string[] = [];
  for (const [name, value] of Object.entries(options)) {
    const param = method.params.find((p) => p.name.text === name);
    const fallback = param?.default;
    if (fallback && "value" in fallback && fallback.value === value) continue;
    if (value === null && fallback?.kind === "None") continue;
    if (param?.type?.kind === "FnType" && typeof value === "string") {
      if (fallback?.kind === "Name" && fallback.text === value) continue;
      functions.push(value);
      parts.push(`${name}: ${value}`);
    } else parts.push(`${name}: ${literal(value)}`);
  }
  return { text: parts.join(", "), functions };
}

function literal(value: Json): string {
  if (value === null) return "none";
  if (typeof value === "string") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((v) => literal(v as Json)).join(", ")}]`;
  if (isRecord(value))
    return `{ ${Object.entries(value)
      .map(([k, v]) => `${k}: ${literal(v)}`)
      .join(", ")} }`;
  return String(value);
}
