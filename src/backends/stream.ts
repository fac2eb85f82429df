/**
 * Frozen weights that stay in their files: each is brought in ahead of the steps that read it, into a place that it shares with others. Before: a plan
 * whose weights of that kind lie in the arena `file`, which nobody allocates. After: the steps read places in the arena `streamed`, and a list says
 * which weight goes where, and between which steps. Steps, kernels and their order stay as they are, so results are the same bits.
 */

import type { Arena, Bring, Placed } from "../ground/program.ts";
import { Bug } from "../ir/errors.ts";
import { allocate, type Life, type PlanOptions, Space } from "./places.ts";
import type { Plan, PlannedStep } from "./plan.ts";

/** Weights with fewer bytes are not worth a read of their own. */
export const LEAST = 2 ** 19;
/** A weight stays in its place from one use to the next unless others of so many times its bytes are read in between. */
const APART = 3;

export interface StreamedPlan extends Plan {
  /** By entry, in the order in which they are needed. `param` is the name in the plan. */
  readonly brings: ReadonlyMap<string, readonly Bring[]>;
}

interface Home {
  readonly name: string;
  readonly from: number;
  readonly bytes: number;
}

/** When a weight lies in a place: what is being read then must not lie over it. */
interface Stay {
  readonly home: Home;
  readonly first: number;
  readonly last: number;
}

export function streamed(plan: Plan, options: PlanOptions): StreamedPlan {
  const homes = [...plan.params]
    .filter(([, t]) => plan.tensors[t].arena === "file")
    .map(([name, t]): Home => ({ name, from: plan.tensors[t].offset, bytes: plan.tensors[t].bytes }))
    .sort((a, b) => a.from - b.from);
  const homeOf = ({ offset }: Placed): Home => {
    let [low, high] = [0, homes.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (homes[middle].from <= offset) low = middle;
      else high = middle - 1;
    }
    return homes[low];
  };
  const tensors = [...plan.tensors];
  const brings = new Map<string, Bring[]>();
  let end = 0;
  const entries = plan.entries.map((entry) => {
    const read = entry.steps.map((step) => {
      const here = step.operands.filter((t) => tensors[t].arena === "file");
      if (here.length > 0 && "host" in step) throw new Bug(`${step.label} reads a weight that is not there`);
      return new Set(here.map((t) => homeOf(tensors[t])));
    });
    const stays = staysOf(read);
    if (stays.length === 0) return entry;
    const starts = [...new Set(stays.map((s) => s.first))].sort((a, b) => a - b);
    const places = stays.map((stay): { stay: Stay; begin: number; life: Life } => {
      // it is read while what is needed before it is worked on
      const begin = starts[starts.indexOf(stay.first) - 1] ?? 0;
      return { stay, begin, life: { bytes: stay.home.bytes, from: begin, to: stay.last, offset: 0 } };
    });
    end = Math.max(
      end,
      allocate(
        places.map((p) => p.life),
        new Space(options),
      ),
    );
    const moved = new Map<string, number>();
    const moveTo = (t: number, { stay, life }: (typeof places)[number]): number => {
      const { offset, bytes, dtype, shape } = tensors[t];
      const at = life.offset + offset - stay.home.from;
      const key = `${at} ${bytes} ${dtype} ${shape}`;
      let to = moved.get(key);
      if (to === undefined) {
        to = tensors.push({ arena: "streamed", page: 0, offset: at, bytes, dtype, shape }) - 1;
        moved.set(key, to);
      }
      return to;
    };
    const of = new Map<Home, (typeof places)[number][]>();
    for (const p of places) of.set(p.stay.home, [...(of.get(p.stay.home) ?? []), p]);
    const steps = entry.steps.map((step, i): PlannedStep => {
      if (read[i].size === 0) return step;
      const operands = step.operands.map((t) => {
        if (tensors[t].arena !== "file") return t;
        const place = of.get(homeOf(tensors[t]))!.find(({ stay }) => stay.first <= i && i <= stay.last)!;
        return moveTo(t, place);
      });
      return { ...step, operands };
    });
    brings.set(
      entry.name,
      places
        .map((p): Bring => {
          const home = plan.params.get(p.stay.home.name)!;
          return { param: p.stay.home.name, tensor: moveTo(home, p), begin: p.begin, before: p.stay.first };
        })
        .sort((a, b) => a.before - b.before),
    );
    return { ...entry, steps };
  });
  const arenas: Arena[] = end === 0 ? [...plan.arenas] : [...plan.arenas, { name: "streamed", pages: [Math.ceil(end / 16) * 16] }];
  return { ...plan, tensors, entries, arenas, brings };
}

/** From which step to which each weight lies in a place. */
function staysOf(read: readonly ReadonlySet<Home>[]): Stay[] {
  const uses = new Map<Home, number[]>();
  for (const [i, homes] of read.entries())
    for (const home of homes) {
      const steps = uses.get(home);
      if (steps === undefined) uses.set(home, [i]);
      else steps.push(i);
    }
  const between = (home: Home, from: number, to: number): number => {
    const others = new Set<Home>();
    for (let i = from; i <= to; i++) for (const other of read[i]) if (other !== home) others.add(other);
    return [...others].reduce((sum, { bytes }) => sum + bytes, 0);
  };
  const out: Stay[] = [];
  for (const [home, steps] of uses) {
    let first = steps[0];
    for (const [k, step] of steps.entries()) {
      const next = steps[k + 1];
      if (next !== undefined && between(home, step + 1, next - 1) <= APART * home.bytes) continue;
      out.push({ home, first, last: step });
      first = next;
    }
  }
  return out;
}
