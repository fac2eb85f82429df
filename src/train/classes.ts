/** Numbers of classes that are named: the same for every table of a program, and kept with what was trained. */
import type { Problem } from "../compiler/report/problem.ts";
import { type ClassNames, inOrder } from "../formats/data/labels.ts";
import type { Files } from "../formats/files.ts";
import { InputError } from "../ir/errors.ts";
import { soundProvenance } from "./provenance.ts";

interface Group {
  readonly from: string;
  readonly ids: ClassNames;
}

/** Where the model's configuration and the program name no classes: those that a result was trained with, else those of the tables that are trained on. */
export class ClassBook {
  private groups: Group[] = [];
  /** Whether what is trained on was looked at. */
  gathered = false;

  constructor(private readonly files: Files) {}

  /** Takes the numbers that are kept with a result, if there are any. Gives warnings where its record is not sound. */
  adopt(folder: string): Problem[] {
    const { record, problems } = soundProvenance(this.files, folder);
    const ids = record?.classes;
    if (ids === undefined || ids.size === 0) return problems;
    this.groups = [...this.groups.filter((group) => !shares(group.ids, [...ids.keys()])), { from: `\`${folder}\``, ids }];
    return problems;
  }

  /** Names of tables that are trained on: those that share a name are one task, in the order of their names. What a result keeps stands. */
  gather(tables: readonly { readonly names: readonly string[]; readonly file: string }[]): void {
    this.gathered = true;
    const kept = [...this.groups];
    let tasks: { names: string[]; files: string[] }[] = [];
    for (const { names, file } of tables) {
      const same = tasks.filter((task) => task.names.some((name) => names.includes(name)));
      const joined = {
        names: [...new Set([...same.flatMap((task) => task.names), ...names])],
        files: [...same.flatMap((task) => task.files), file],
      };
      tasks = [...tasks.filter((task) => !same.includes(task)), joined];
    }
    for (const { names, files } of tasks) {
      if (kept.some(({ ids }) => shares(ids, names))) continue;
      this.groups.push({ from: [...new Set(files)].map((file) => `\`${file}\``).join(" and "), ids: inOrder(names) });
    }
  }

  /** The numbers for the names of a table; `undefined`: nothing is trained on names. P0706: a name that what is trained on does not have. */
  numbers(names: readonly string[], file: string): ClassNames | undefined {
    if (this.groups.length === 0) return undefined;
    const group = this.groups.find(({ ids }) => shares(ids, names)) ?? this.groups[0];
    const odd = names.find((name) => !group.ids.has(name));
    if (odd === undefined) return group.ids;
    throw new InputError("P0706", `\`${file}\` names the class ${JSON.stringify(odd)}, which ${group.from} does not have`, [
      `there it is ${[...group.ids.keys()].join(", ")}`,
      'all classes in their order may be said with `classes: ["…", "…"]`',
    ]);
  }

  /** The numbers, where there is one task. */
  only(): ClassNames | undefined {
    return this.groups.length === 1 ? this.groups[0].ids : undefined;
  }
}

const shares = (ids: ClassNames, names: readonly string[]): boolean => names.some((name) => ids.has(name));
