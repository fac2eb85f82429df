/** What a run shows while it runs: one line that is redrawn on a terminal, a plain line now and then elsewhere, an object a line under `--json`. */
import { Presets, SingleBar } from "cli-progress";
import pc from "picocolors";
import { printable } from "../ir/printable.ts";
import { showBytes } from "../train/engine/budget.ts";
import type { EntryProfile } from "../train/engine/profile.ts";
import type { Listen, RunEvent } from "../train/events.ts";
import { shown } from "../train/report/report.ts";
import { line } from "./errors.ts";
import type { Io } from "./io.ts";
import { grouped, short, showTime, table } from "./table.ts";

export interface Display {
  readonly listen: Listen;
  /** Ends a line that is being drawn, so that what follows starts on its own. */
  end(): void;
}

export function display(io: Io, json: boolean): Display {
  if (json) return { listen: (event) => io.out(line(flat(event))), end: () => {} };
  const { listen, end } = io.terminal ? drawn(io) : lines(io);
  return { listen: (event) => listen(tame(event)), end };
}

/** What happened with its texts, which come from files and models, made fit for a terminal. */
function tame<T>(value: T): T {
  if (typeof value === "string") return printable(value, "\n\t") as T;
  if (Array.isArray(value)) return value.map(tame) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, x]) => [name, tame(x)])) as T;
}

/** The scalars of a step beside its loss, as fields of their own. */
function flat(event: RunEvent): Record<string, unknown> {
  if (event.event === "step") {
    const { scalars, ...rest } = event;
    return { ...rest, ...scalars };
  }
  if (event.event === "evaluation") {
    const { metrics, ...rest } = event;
    return { ...rest, ...metrics };
  }
  return event as unknown as Record<string, unknown>;
}

type StepEvent = Extract<RunEvent, { event: "step" }>;

function stepText(e: StepEvent): string {
  return [
    `loss ${e.loss.toFixed(4)}`,
    `${grouped(Math.round(e.tokens_per_second))} tokens/s`,
    `ETA ${showTime(e.eta_seconds)}`,
    showBytes(e.peak_bytes),
  ].join("  ");
}

type LoadingEvent = Extract<RunEvent, { event: "loading" }>;
const loadingText = (e: LoadingEvent): string => `loading ${grouped(e.parameters)} of ${grouped(e.of)} parameters`;

/** Lines of a table of a profile. */
const DEAREST = 12;
/** Entries that take less of the whole time are one line together: weights that are packed at loading have one each. */
const SMALL = 0.05;

/** Where the time of an entry goes: parts of a step, then the dearest sites and kernels. */
function profileText({ entry, runs, milliseconds, ...tables }: EntryProfile): string {
  const rows = Object.entries(tables).flatMap(([of, all]) => [
    [of, "ms", "share", "kernels"],
    ...all.slice(0, DEAREST).map((row) => [`  ${row.name}`, ms(row.milliseconds), `${(100 * row.share).toFixed(1)} %`, short(row.runs)]),
    ...(all.length > DEAREST ? [[`  and ${all.length - DEAREST} others`]] : []),
  ]);
  return `${entry}: ${ms(milliseconds)} ms a run, mean of ${grouped(runs)}\n${table(rows, "  ").trimEnd()}`;
}
const ms = (x: number): string => x.toFixed(x < 10 ? 2 : 1);

/** What happens apart from steps. `undefined`: nothing to say. */
function sentence(event: RunEvent, color: boolean): string | undefined {
  const bold = (text: string) => (color ? pc.bold(text) : text);
  switch (event.event) {
    case "stage":
      return `${bold(`${event.verb}${event.stage === event.verb ? "" : ` ${event.stage}`}`)}${event.verb === "train" ? ` → ${event.folder}` : ""}`;
    case "device":
      return `on ${event.device} (${event.reason})`;
    case "plan":
      return `  ${grouped(event.trained)} of ${grouped(event.parameters)} parameters trained, ${grouped(event.steps)} steps, peak ${showBytes(event.peak_bytes)}`;
    case "resume":
      return event.from === null
        ? "  no checkpoint there: starting from the beginning"
        : `  going on after step ${event.step} from ${event.from}`;
    case "evaluation": {
      const metrics = Object.entries(event.metrics).map(([name, value]) => `${name} ${short(value)}`);
      return `  evaluation after ${event.step} steps: ${metrics.join("  ")}${event.best ? "  (best)" : ""}`;
    }
    case "saved":
      return `  saved the ${event.kind} in ${event.folder}`;
    case "loads":
      return `    loads in ${event.message}`;
    case "sample":
      return `  ${bold(event.prompt)}${event.text.replaceAll("\n", "\n  ")}`;
    case "report": {
      const head = event.columns.map((name) => name.replaceAll("_", " "));
      const cells = event.rows.map((row) => event.columns.map((name) => shown(name, row[name])));
      return `${bold(event.title)}\n${table([head, ...cells], "  ").trimEnd()}\n  saved the report in ${event.folder}`;
    }
    case "merged":
      return `  merged ${event.of} into ${event.to}: ${grouped(event.folded)} parameters changed${event.at === null ? "" : `, largest difference ${event.difference.toExponential(1)}${event.at === "" ? "" : ` (${event.at})`}`}`;
    case "profile": {
      const took = (entries: readonly EntryProfile[]) => entries.reduce((sum, e) => sum + e.runs * e.milliseconds, 0);
      const all = took(event.entries);
      const large = event.entries.filter((e) => took([e]) >= SMALL * all);
      const small = event.entries.filter((e) => !large.includes(e));
      const rest = small.length > 0 ? [`${grouped(small.length)} others: ${ms(took(small))} ms in all`] : [];
      return [...large.map(profileText), ...rest, `saved the trace in ${event.file}`].join("\n");
    }
    case "note":
      return `  ${event.message}`;
    case "done":
      return `  done in ${showTime(event.seconds)}${event.stopped_early ? ", stopped early" : ""}`;
    default:
      return undefined;
  }
}

/** Plain lines: a step's at the first and last step, and at most every so many seconds between. */
function lines(io: Io): Display {
  let last = Number.NEGATIVE_INFINITY;
  let loading: { readonly stage: string; told: number } | undefined;
  return {
    listen: (event) => {
      if (event.event === "loading") {
        if (loading?.stage !== event.stage) loading = { stage: event.stage, told: io.now() };
        if (io.now() - loading.told < SECONDS) return;
        loading.told = io.now();
        io.err(`  ${loadingText(event)}\n`);
        return;
      }
      if (event.event === "step") {
        if (event.step !== 1 && event.step !== event.steps && io.now() - last < SECONDS) return;
        last = io.now();
        io.err(`  step ${event.step}/${event.steps}  ${stepText(event)}\n`);
        return;
      }
      const text = sentence(event, false);
      if (text !== undefined) io.err(`${text}\n`);
    },
    end: () => {},
  };
}
const SECONDS = 5;

function drawn(io: Io): Display {
  let bar: SingleBar | undefined;
  let loading = false;
  const end = () => {
    if (loading) io.err("\r\x1b[2K");
    loading = false;
    bar?.stop();
    bar = undefined;
  };
  return {
    listen: (event) => {
      if (event.event === "step") {
        if (loading) end();
        if (bar === undefined) {
          bar = new SingleBar(
            {
              format: "  {bar} {value}/{total}  {text}",
              barsize: 20,
              hideCursor: true,
              clearOnComplete: false,
              linewrap: null,
              gracefulExit: false,
            },
            Presets.shades_classic,
          );
          bar.start(event.steps, event.step, { text: stepText(event) });
        } else bar.update(event.step, { text: stepText(event) });
        if (event.step === event.steps) end();
        return;
      }
      if (event.event === "loading") {
        // drawn over itself, and gone when the first step comes
        io.err(`\r\x1b[2K  ${loadingText(event)}`);
        loading = true;
        return;
      }
      const text = sentence(event, io.color);
      if (text === undefined) return;
      end();
      io.err(`${text}\n`);
    },
    end,
  };
}
