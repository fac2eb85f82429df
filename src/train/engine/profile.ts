/** Where the time of a run goes: what threads computed when, summed by part of a step, by site and by kernel, and as a trace for a viewer. */
import { PARTS, type Part } from "../../ground/program.ts";
import type { Span } from "../../runtime/wasm/spans.ts";

/** A line of a table: how long it takes in one run of the entry, in milliseconds, as a share of it, and how many kernels run for it. */
interface ProfileRow {
  readonly name: string;
  readonly milliseconds: number;
  readonly share: number;
  readonly runs: number;
}

export interface EntryProfile {
  readonly entry: string;
  /** Runs that were looked at: not the first, where there are more. */
  readonly runs: number;
  /** From the first kernel's begin to the last one's end, in one run. */
  readonly milliseconds: number;
  /** forward, recompute, backward, update; and what lies between kernels. */
  readonly parts: readonly ProfileRow[];
  /** Places in models and attachments; layers of one stack count as one. */
  readonly sites: readonly ProfileRow[];
  readonly kernels: readonly ProfileRow[];
}

/** Runs of each entry that the trace shows: a viewer draws some ten thousand spans well. */
const SHOWN = 3;

interface Seen {
  runs: number;
  milliseconds: number;
  readonly sums: Readonly<Record<"parts" | "sites" | "kernels", Map<string, { milliseconds: number; runs: number }>>>;
}

export class Profile {
  private readonly seen = new Map<string, Seen>();
  /** The first run of each entry, of which it is not known yet whether it is the only one. */
  private readonly first = new Map<string, readonly Span[]>();
  private readonly shown = new Map<string, (readonly Span[])[]>();

  /** A run of an entry. */
  readonly take = (entry: string, spans: readonly Span[]): void => {
    if (spans.length === 0) return;
    const shown = [...(this.shown.get(entry) ?? []), spans].slice(-SHOWN);
    this.shown.set(entry, shown);
    if (!this.first.has(entry)) this.first.set(entry, spans);
    else this.add(entry, spans);
  };

  private add(entry: string, spans: readonly Span[]): void {
    const seen: Seen = this.seen.get(entry) ?? {
      runs: 0,
      milliseconds: 0,
      sums: { parts: new Map(), sites: new Map(), kernels: new Map() },
    };
    this.seen.set(entry, seen);
    const count = (of: keyof Seen["sums"], name: string, milliseconds: number, runs = 1) => {
      const sum = seen.sums[of].get(name) ?? { milliseconds: 0, runs: 0 };
      seen.sums[of].set(name, { milliseconds: sum.milliseconds + milliseconds, runs: sum.runs + runs });
    };
    const kernels = whole(spans);
    // the steps follow one another: a worker that goes on early does not count twice
    let at = kernels[0].begin;
    let between = 0;
    for (const { begin, end, kernel, label, part = PARTS[0] } of kernels) {
      between += Math.max(0, begin - at);
      const took = Math.max(0, end - Math.max(begin, at));
      at = Math.max(at, end);
      count("parts", part, took);
      count("sites", siteOf(label), took);
      count("kernels", kernel, took);
    }
    count("parts", BETWEEN, between, 0);
    seen.runs++;
    seen.milliseconds += at - kernels[0].begin;
  }

  /** By entry, that of the most time first; in each table the dearest first. */
  entries(): EntryProfile[] {
    for (const [entry, spans] of this.first) if (!this.seen.has(entry)) this.add(entry, spans);
    const all = [...this.seen].sort(([, a], [, b]) => b.milliseconds - a.milliseconds);
    return all.map(([entry, { runs, milliseconds, sums }]) => {
      const rows = (of: keyof typeof sums): ProfileRow[] =>
        [...sums[of]]
          .map(([name, sum]) => ({
            name,
            milliseconds: sum.milliseconds / runs,
            share: sum.milliseconds / milliseconds,
            runs: sum.runs / runs,
          }))
          .sort((a, b) => b.milliseconds - a.milliseconds);
      return { entry, runs, milliseconds: milliseconds / runs, parts: rows("parts"), sites: rows("sites"), kernels: rows("kernels") };
    });
  }

  /** Chrome's trace format, which its own viewer and Perfetto read: a row a thread, microseconds. */
  trace(): string {
    const runs = [...this.shown].flatMap(([entry, all]) => all.map((spans) => ({ entry, spans })));
    const start = Math.min(...runs.map(({ spans }) => spans.reduce((least, s) => Math.min(least, s.begin), Number.POSITIVE_INFINITY)));
    const threads = new Set(runs.flatMap(({ spans }) => spans.map((s) => s.worker)));
    const events = [
      ...[...threads].sort().map((tid) => ({ name: "thread_name", ph: "M", pid: 1, tid, args: { name: `thread ${tid + 1}` } })),
      ...runs.flatMap(({ entry, spans }) =>
        spans.map(({ label, part, kernel, worker, begin, end }) => ({
          name: label,
          cat: part ?? PARTS[0],
          ph: "X",
          pid: 1,
          tid: worker,
          ts: micro(begin - start),
          dur: micro(end - begin),
          args: { kernel, entry },
        })),
      ),
    ];
    return `${JSON.stringify({ displayTimeUnit: "ms", traceEvents: events })}\n`;
  }
}

const BETWEEN = "between kernels";
const micro = (milliseconds: number): number => Math.round(1e6 * milliseconds) / 1e3;

/** What all threads did of a kernel's run as one span, in the order of the program. */
function whole(spans: readonly Span[]): (Span & { readonly part?: Part | undefined })[] {
  const out = new Map<number, Span>();
  for (const span of spans) {
    const before = out.get(span.step);
    out.set(span.step, before ? { ...before, begin: Math.min(before.begin, span.begin), end: Math.max(before.end, span.end) } : span);
  }
  return [...out.values()].sort((a, b) => a.step - b.step);
}

/** `h.3.attn.c_attn matmul` → `h[*].attn.c_attn`; what an optimiser keeps is `(train adamw).lora...`. */
function siteOf(label: string): string {
  const path = /^((?:\([^)]*\))?[^ ]+) /.exec(label)?.[1];
  return path?.replace(/\.\d+(?=\.|$)/g, "[*]") ?? "no place in a model";
}
