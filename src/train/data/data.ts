/** Tables that stages name: files by way of the formats' room, and what earlier `predict` stages wrote. */
import type { DatasetSpec, Entry, GenerateStage, PredictStage, Project, StagePrompt, TokenizerSource } from "../../compiler/project.ts";
import type { ClassNames } from "../../formats/data/labels.ts";
import { classNames, makeSource, makeTable, type TableContext } from "../../formats/data/make.ts";
import { calledIn, callFunction, type RowFunction } from "../../formats/data/makers/scored.ts";
import { loadRows } from "../../formats/data/parquet.ts";
import type { Row } from "../../formats/data/records.ts";
import type { Source } from "../../formats/data/source.ts";
import { innerSpec } from "../../formats/data/spec.ts";
import { arrayColumn, type Table } from "../../formats/data/table.ts";
import type { TableSpec } from "../../ground/table.ts";
import { InputError } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { order } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import type { Sources } from "../compiler-host.ts";
import type { TableRequest } from "../host.ts";
import type { Prompt } from "../stages/generate.ts";
import { ClassBook } from "./classes.ts";
import { isTarget } from "./targets.ts";

/** A stage whose result is a table. */
type TableStage = PredictStage | GenerateStage;

/** A table has names, and what is trained on was not looked at yet. */
class Ungathered extends Error {}

const callOf = ({ make, args, options }: DatasetSpec): string => JSON.stringify([make, args, options]);

export class Tables {
  /** Made before: a stage asks several times for the same rows (to plan, to train, to evaluate). */
  private readonly made = new Map<string, Table | undefined>();
  private readonly results = new Map<string, { readonly folder: string; readonly stage: TableStage }>();
  /** Rows that only an asynchronous reader gives. */
  private readonly loaded = new Map<string, readonly Row[]>();

  readonly book: ClassBook;
  /** Names of classes in tables that were made, by their calls. */
  private readonly named = new Map<string, ClassNames>();

  /** `decodeImage`: reads pictures, where the machine can. `project`: what it trains on says which number a class has. */
  constructor(
    private readonly sources: Sources,
    private readonly decodeImage?: TableContext["decodeImage"],
    private readonly project?: Pick<Project, "actions" | "attachments" | "params">,
    /** What `scored` calls, by name. */
    private readonly functions: Readonly<Record<string, RowFunction>> = {},
  ) {
    this.book = new ClassBook(sources.files);
    // where a record is not sound, that is said when the file loads the adapter
    for (const folder of new Set(project?.attachments.flatMap((a) => a.folders))) this.book.adopt(folder, heldBy(project!, folder));
  }

  /** Looks at the names of classes in everything that is trained on; what is not there (made by a later stage, left on another machine) says nothing. */
  private async gather(): Promise<void> {
    const found: { names: string[]; file: string; params: ReadonlySet<string> }[] = [];
    for (const action of this.project?.actions ?? []) {
      if (action.kind !== "stage" || action.stage.verb !== "train") continue;
      for (const spec of action.stage.data) {
        try {
          const placed = this.placed(spec);
          const context = await this.context(placed, { ...action.stage, sequence: undefined }, false);
          const params = new Set(action.stage.trained);
          found.push(...classNames(placed, context).map((named) => ({ ...named, params })));
        } catch (error) {
          if (!(error instanceof InputError)) throw error;
        }
      }
    }
    this.book.gather(found);
  }

  /** Names of the classes that a stage's data have, or that everything has. */
  classesOf(data: readonly DatasetSpec[] | undefined): ClassNames | undefined {
    if (data === undefined) return this.book.only();
    return data.map((spec) => this.named.get(callOf(spec))).find((classes) => classes !== undefined);
  }

  /** Errors are those of `makeTable`, and P0738 for predictions that no stage has made. */
  async table(
    { spec, tokenizer: own, separate = false, sequence, entries = [] }: TableRequest,
    promptsOnly = false,
  ): Promise<Table | undefined> {
    const placed = this.placed(spec);
    // an objective without a model reads what another stage wrote as that stage's model would
    const tokenizer = own ?? this.madeBy(spec)?.stage.tokenizer;
    const params = paramsOf(entries);
    const compared = entries.length === 0 || entries.some(({ columns }) => columns.some(({ name }) => isTarget(name)));
    const key = JSON.stringify([placed, tokenizer, separate, sequence, promptsOnly, compared, this.book.readers(params)]);
    try {
      if (!this.made.has(key)) {
        const context = await this.context(placed, { tokenizer, separate, sequence, params, compared }, promptsOnly);
        try {
          this.made.set(key, makeTable(placed, context));
        } catch (error) {
          if (!(error instanceof Ungathered)) throw error;
          await this.gather();
          this.made.set(key, makeTable(placed, context));
        }
      }
      const classes = this.made.get(key)?.classes;
      if (classes !== undefined) this.named.set(callOf(spec), classes);
    } catch (error) {
      throw error instanceof InputError ? error.at(spec.span) : error;
    }
    return this.made.get(key);
  }

  private async context(
    placed: TableSpec,
    {
      tokenizer: source,
      separate = false,
      sequence,
      params,
      compared,
    }: Omit<TableRequest, "spec" | "entries"> & { readonly params?: ReadonlySet<string>; readonly compared?: boolean },
    promptsOnly: boolean,
  ): Promise<TableContext> {
    const { files } = this.sources;
    await loadRows(placed, files, this.loaded);
    const tokenizer = typeof source === "object" ? source.folder : source;
    const book = (names: readonly string[], file: string): ClassNames | undefined => {
      if (!this.book.gathered) throw new Ungathered();
      return this.book.numbers(names, file, params, compared);
    };
    const loadTokenizer = (folder: string) => this.sources.readTokenizer(folder === tokenizer ? source! : folder);
    const context = {
      files,
      tokenizer,
      separate,
      sequence,
      promptsOnly,
      loadTokenizer,
      decodeImage: this.decodeImage,
      loaded: this.loaded,
      book,
    };
    const scores = new Map<string, readonly number[]>();
    for (const call of calledIn(placed)) {
      const source = makeSource(innerSpec(call), { ...context, scores });
      if (source !== undefined) scores.set(JSON.stringify(call), await callFunction(call, source, this.functions));
    }
    return { ...context, scores };
  }

  /** Rows of text of what stages left, with the tokenizer of the stage that did. */
  async written(spec: DatasetSpec): Promise<{ name: string; source: Source }> {
    const placed = this.placed(spec);
    const made = this.madeBy(spec);
    const sequence = made !== undefined && "sequence" in made.stage ? made.stage.sequence : undefined;
    const source = makeSource(
      placed,
      await this.context(placed, { tokenizer: made?.stage.tokenizer, separate: made?.stage.separate ?? false, sequence }, false),
    );
    if (source === undefined) throw new InputError("P0731", `\`${spec.make}\` has no held-out part`, ["give it `split:`"], spec.span);
    return { name: made?.stage.name ?? spec.make, source };
  }

  /** The stage whose result a table is, or is made of. */
  private madeBy(spec: DatasetSpec): { readonly stage: TableStage } | undefined {
    if (spec.make === "predicted" || spec.make === "generated") return this.results.get(String(spec.args[0]));
    for (const value of spec.args) {
      const found = isDataset(value) ? this.madeBy(value) : undefined;
      if (found !== undefined) return found;
    }
    return undefined;
  }

  predicted(stage: TableStage, folder: string): void {
    this.results.set(stage.folder, { folder, stage });
    this.made.clear();
  }

  /** Rows of `input_ids` as prompts, without targets and answers. `separate`: for a model that writes apart from what it reads. */
  async prompts(spec: DatasetSpec, tokenizer: TokenizerSource | undefined, separate: boolean): Promise<Prompt[]> {
    const table = await this.table({ spec, tokenizer, separate, sequence: undefined }, true);
    const column = table?.columns.get("input_ids");
    const words = tokenizer === undefined ? undefined : this.sources.readTokenizer(tokenizer);
    if (table === undefined || column === undefined || words === undefined) {
      throw new InputError("P0737", `\`${spec.make}\` gives no prompts: it has no \`input_ids\``);
    }
    return Array.from({ length: table.rows }, (_, i) => {
      const ids = Array.from(column.row(i));
      return { text: words.decode(ids), ids, row: { table, index: i } };
    });
  }

  /** The same call with the folders of predictions in the place of the stages' names, also inside tables made of tables. */
  private placed(spec: DatasetSpec): TableSpec {
    const { make, options, part } = spec;
    if (make === "predicted" || make === "generated") {
      const made = this.results.get(String(spec.args[0]));
      if (made === undefined) throw new InputError("P0738", `the predictions of \`${String(spec.args[0])}\` are not made yet`);
      const { data } = made.stage;
      return { make, args: [made.folder, ...(data === undefined ? [] : [this.placed(data)])], options, part };
    }
    const inside = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(inside);
      return isDataset(value) ? this.placed(value) : value;
    };
    return { make, args: spec.args.map(inside), options, part };
  }
}

/** Parameters of a program that come from a folder. */
const heldBy = ({ params }: Pick<Project, "params">, folder: string): string[] =>
  [...(params?.values() ?? [])].flatMap(({ name, source }) => (source.kind === "file" && source.folder === folder ? [name] : []));

const reads = new WeakMap<Graph, readonly string[]>();
/** Parameters that graphs read. */
function paramsOf(entries: readonly Entry[]): ReadonlySet<string> {
  for (const { graph } of entries)
    if (!reads.has(graph)) {
      const nodes = order(graph.results.map((r) => r.node));
      reads.set(
        graph,
        nodes.flatMap((node) => (rowOf(node).supply === "param" ? [String(node.attrs.name)] : [])),
      );
    }
  return new Set(entries.flatMap(({ graph }) => reads.get(graph)!));
}

function isDataset(value: unknown): value is DatasetSpec {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === "dataset";
}

/** Prompts with the columns that a stage gives them, as rows of one table. P0732: one that lacks a column of the others. */
export function promptsOf(given: readonly StagePrompt[]): Prompt[] {
  const names = [...new Set(given.flatMap(({ columns }) => Object.keys(columns ?? {})))];
  if (names.length === 0) return given.map(({ text }) => ({ text }));
  const columns = names.map((name) => {
    const rows = given.map(({ text, columns }) => {
      const value = columns?.[name];
      if (value === undefined) throw new InputError("P0732", `the prompt ${JSON.stringify(text)} has no \`${name}\`, which others have`);
      return typeof value === "number" ? { values: [value], shape: [] } : { values: value, shape: [value.length] };
    });
    return [name, arrayColumn(rows, rows[0].shape.length, 0)] as const;
  });
  const table: Table = { name: "`prompts`", rows: given.length, columns: new Map(columns) };
  return given.map(({ text }, index) => ({ text, row: { table, index } }));
}
