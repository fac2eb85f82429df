/** Numbers of classes that are named: the same for every table of a program, and kept with what was trained. */
import type { Problem } from "../../compiler/report/problem.ts";
import { type ClassNames, inOrder } from "../../formats/data/labels.ts";
import type { Files } from "../../formats/files.ts";
import { InputError } from "../../ir/errors.ts";
import { soundProvenance } from "../run/provenance.ts";

interface Group {
  readonly from: string;
  readonly ids: ClassNames;
  /** Parameters that learnt these classes; none: not known. A model that has one of them reads names by this group. */
  readonly params: ReadonlySet<string>;
}

/** Where the model's configuration and the program name no classes: those that a result was trained with, else those of the tables that are trained on. */
export class ClassBook {
  private groups: Group[] = [];
  /** Whether what is trained on was looked at. */
  gathered = false;

  constructor(private readonly files: Files) {}

  /** Takes the numbers that are kept with a result, if there are any, for the parameters that it holds. Gives warnings where its record is not sound. */
  adopt(folder: string, params: Iterable<string> = []): Problem[] {
    const { record, problems } = soundProvenance(this.files, folder);
    const ids = record?.classes;
    if (ids === undefined || ids.size === 0) return problems;
    const own = { from: `\`${folder}\``, ids, params: new Set(params) };
    this.groups = [...this.groups.filter((group) => !shares(group.ids, [...ids.keys()]) || apart(group.params, own.params)), own];
    return problems;
  }

  /**
   * Names of tables that are trained on: those that share a name are one task, in the order of their names, unless other parameters learn them (two heads). What a result keeps
   * stands.
   */
  gather(tables: readonly { readonly names: readonly string[]; readonly file: string; readonly params?: ReadonlySet<string> }[]): void {
    this.gathered = true;
    const kept = [...this.groups];
    let tasks: { names: string[]; files: string[]; params: ReadonlySet<string> }[] = [];
    for (const { names, file, params = new Set<string>() } of tables) {
      const same = tasks.filter((task) => task.names.some((name) => names.includes(name)) && !apart(task.params, params));
      const joined = {
        names: [...new Set([...same.flatMap((task) => task.names), ...names])],
        files: [...same.flatMap((task) => task.files), file],
        params: new Set([...same.flatMap((task) => [...task.params]), ...params]),
      };
      tasks = [...tasks.filter((task) => !same.includes(task)), joined];
    }
    for (const { names, files, params } of tasks) {
      if (kept.some((group) => shares(group.ids, names) && !apart(group.params, params))) continue;
      this.groups.push({ from: [...new Set(files)].map((file) => `\`${file}\``).join(" and "), ids: inOrder(names), params });
    }
  }

  /**
   * The numbers for the names of a table, which a model with these parameters reads; `undefined`: nothing is trained on names. P0706: a name that what is trained on does not have.
   * `compared`: whether the model's answers are held against them; where they are not (vectors of texts of another task are written), any task's numbers will do.
   */
  numbers(names: readonly string[], file: string, params: ReadonlySet<string> = new Set(), compared = true): ClassNames | undefined {
    if (this.groups.length === 0) return undefined;
    const own = this.groups.filter((group) => meet(group.params, params));
    const knows = ({ ids }: Group) => names.every((name) => ids.has(name));
    const learnt = compared || own.some(knows) ? own : this.groups.filter(knows);
    const groups = learnt.length > 0 ? learnt : this.groups;
    const group = groups.find(({ ids }) => shares(ids, names)) ?? groups[0];
    const odd = names.find((name) => !group.ids.has(name));
    if (odd === undefined) return group.ids;
    throw new InputError("P0706", `\`${file}\` names the class ${JSON.stringify(odd)}, which ${group.from} does not have`, [
      `there it is ${[...group.ids.keys()].join(", ")}`,
      'all classes in their order may be said with `classes: ["…", "…"]`',
    ]);
  }

  /** What tells models apart that read names by other groups. */
  readers(params: ReadonlySet<string>): string {
    return this.groups.flatMap((group, i) => (meet(group.params, params) ? [i] : [])).join();
  }

  /** The numbers, where there is one task. */
  only(): ClassNames | undefined {
    return this.groups.length === 1 ? this.groups[0].ids : undefined;
  }
}

const meet = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean => [...a].some((name) => b.has(name));
/** Whether both are known and have nothing in common. */
const apart = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean => a.size > 0 && b.size > 0 && !meet(a, b);
const shares = (ids: ClassNames, names: readonly string[]): boolean => names.some((name) => ids.has(name));
