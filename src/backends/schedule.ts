/**
 * The order of an entry's steps. Operands first; a step that overwrites a parameter or a state comes after all that read the old value, where
 * that is possible; steps that free more memory than they take run as soon as they can, then steps that together do, the others in the order of the
 * graph. What is recomputed runs just before the first step that reads it: until then it would only take memory.
 */
import type { Node, Result } from "../ir/graph.ts";
import { rowOf } from "../ir/ops/index.ts";
import type { Step } from "./kernels/fuse.ts";
import { elements } from "./kernels/roots.ts";

/** A parameter or state leaf by role and name. */
export const storageKey = (role: string, name: unknown): string => `${role} ${String(name)}`;

export interface Scheduled {
  readonly steps: readonly Step[];
  /** Results that may be written over the old value when they are computed; other next values go to memory of their own, and are copied at the end. */
  readonly inPlace: ReadonlySet<Result>;
}

/** Results that may be written over the old value: their writers come to stand behind all that read it, in `before` and `after`. */
function overwriting(
  steps: readonly Step[],
  results: readonly Result[],
  maker: ReadonlyMap<Node, number>,
  { before, after }: { before: readonly Set<number>[]; after: readonly Set<number>[] },
): Set<Result> {
  const readers = new Map<string, number[]>();
  steps.forEach((s, i) => {
    for (const n of s.reads) {
      const supply = rowOf(n).supply;
      if (supply !== "param" && supply !== "state" && supply !== "arg") continue;
      const key = supply === "arg" ? storageKey("param", n.attrs.index) : storageKey(supply, n.attrs.name);
      const list = readers.get(key);
      if (list) list.push(i);
      else readers.set(key, [i]);
    }
  });

  const inPlace = new Set<Result>();
  for (const r of results) {
    const writer = maker.get(r.node);
    if (r.role === "output" || writer === undefined) continue;
    const old = (readers.get(storageKey(r.role, r.name)) ?? []).filter((i) => i !== writer);
    const later = reach(after, writer);
    if (old.some((i) => later.has(i))) continue;
    for (const i of old) {
      after[i].add(writer);
      before[writer].add(i);
    }
    inPlace.add(r);
  }
  return inPlace;
}

export function schedule(steps: readonly Step[], results: readonly Result[]): Scheduled {
  const maker = new Map<Node, number>();
  steps.forEach((s, i) => {
    for (const n of s.roots) maker.set(n, i);
  });
  const before = steps.map((s) => new Set(s.reads.flatMap((n) => maker.get(n) ?? [])));
  const after = steps.map(() => new Set<number>());
  before.forEach((list, i) => {
    for (const p of list) after[p].add(i);
  });
  const inPlace = overwriting(steps, results, maker, { before, after });

  // A list schedule. What a step frees: activations whose last reader it is.
  const remaining = new Map<Node, number>();
  for (const s of steps) for (const n of s.reads) if (maker.has(n)) remaining.set(n, (remaining.get(n) ?? 0) + 1);
  const kept = new Set(results.map((r) => r.node));
  const updates = steps.map((s) => s.roots.every((n) => kept.has(n)) && s.roots.length > 0);
  const users = new Map<Node, number[]>();
  steps.forEach((s, i) => {
    for (const n of s.reads) users.set(n, [...(users.get(n) ?? []), i]);
  });
  const taken = steps.map((s) =>
    s.roots.reduce((sum, n) => {
      const list = users.get(n) ?? [];
      // What only an update reads is gone at once.
      return sum + (kept.has(n) || list.length === 0 || list.every((i) => updates[i]) ? 0 : elements(n));
    }, 0),
  );
  const gain = (i: number): number =>
    steps[i].reads.reduce((sum, n) => sum + (remaining.get(n) === 1 && !kept.has(n) ? elements(n) : 0), 0) - taken[i];

  /** Of each value, how many steps that read it are ready. */
  const open = new Map<Node, number>();
  const count = (i: number, by: number): void => {
    for (const n of steps[i].reads) if (maker.has(n)) open.set(n, (open.get(n) ?? 0) + by);
  };
  /** A share of the values that are gone once all that is ready has run, less what is taken: such as gradients of several parameters from one value. */
  const credit = (i: number): number =>
    steps[i].reads.reduce((sum, n) => {
      const left = remaining.get(n);
      const gone = left !== undefined && left === open.get(n) && !kept.has(n) && done.has(maker.get(n)!);
      return gone ? sum + elements(n) / left : sum;
    }, 0) - taken[i];

  const lazy = steps.map((s) => s.roots.length > 0 && s.roots.every((n) => n.origin.recomputed !== undefined && !kept.has(n)));
  const { waiting, behind } = pulled(before, lazy);
  const ready = new Set<number>();
  const enter = (i: number): void => {
    ready.add(i);
    count(i, 1);
  };
  const out: Step[] = [];
  const done = new Set<number>();
  waiting.forEach((n, i) => {
    if (n === 0 && !lazy[i]) enter(i);
  });
  const run = (i: number): void => {
    done.add(i);
    out.push(steps[i]);
    for (const n of steps[i].reads) if (remaining.has(n)) remaining.set(n, remaining.get(n)! - 1);
  };
  /** The recomputed steps that `i` needs and that have not run, operands first. */
  const pull = (i: number): void => {
    for (const p of [...before[i]].sort((a, b) => a - b))
      if (lazy[p] && !done.has(p)) {
        pull(p);
        run(p);
      }
  };
  while (ready.size) {
    const next = most(ready, gain) ?? most(ready, credit) ?? Math.min(...ready);
    ready.delete(next);
    count(next, -1);
    pull(next);
    run(next);
    for (const i of behind[next]) if (--waiting[i] === 0) enter(i);
  }
  return { steps: out, inPlace };
}

/** The step for which a measure is largest, the first of these; `undefined` where it is nowhere above 0. */
function most(steps: Iterable<number>, measure: (i: number) => number): number | undefined {
  let best = 0;
  let found: number | undefined;
  for (const i of steps) {
    const value = measure(i);
    if (value > best || (value === best && found !== undefined && i < found)) {
      best = value;
      found = i;
    }
  }
  return found;
}

/**
 * Of each step: how many steps that are not pulled in must have run before it and before what it pulls in, and the steps that wait for it so.
 * `before` is acyclic, and steps come after most of what they need.
 */
function pulled(before: readonly ReadonlySet<number>[], lazy: readonly boolean[]): { waiting: number[]; behind: number[][] } {
  const needs = new Map<number, ReadonlySet<number>>();
  /** What a recomputed step needs that is not pulled in itself. */
  const needsOf = (i: number): ReadonlySet<number> => {
    const known = needs.get(i);
    if (known) return known;
    const out = new Set<number>();
    needs.set(i, out);
    for (const p of before[i]) {
      if (!lazy[p]) out.add(p);
      else for (const q of needsOf(p)) out.add(q);
    }
    return out;
  };
  const behind = before.map(() => [] as number[]);
  const waiting = before.map((_, i) => {
    if (lazy[i]) return 0;
    const all = needsOf(i);
    for (const p of all) behind[p].push(i);
    return all.size;
  });
  return { waiting, behind };
}

function reach(after: readonly ReadonlySet<number>[], from: number): Set<number> {
  const seen = new Set<number>();
  const stack = [from];
  while (stack.length) {
    for (const i of after[stack.pop()!])
      if (!seen.has(i)) {
        seen.add(i);
        stack.push(i);
      }
  }
  return seen;
}
