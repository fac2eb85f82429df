/** From iterations of equal structure to bodies: what is carried, what is a row, what leaves. */
import { Builder, LOOP_TYPE, makeArg } from "../build.ts";
import { type Body, type Node, node, type Origin } from "../graph.ts";
import { rowOf, showType } from "../ops/index.ts";
import { carriedRead, exportRead } from "../rebuild.ts";
import { attrsKey } from "../rewrite.ts";
import type { Iteration } from "./encode.ts";
import type { Membership } from "./iterations.ts";
import { IterationPaths, withoutOuter } from "./names.ts";

/** Uses of iterations that always have the same value, taken together. */
interface Operand {
  /** Places in `uses`. */
  readonly uses: readonly number[];
  /** From the iteration before, in all iterations but the first. */
  readonly carried: boolean;
}
/** Iterations that can share a body as far as their operands go. */
interface Family {
  readonly iterations: number[];
  readonly operands: readonly Operand[];
  /** The slot that an operand takes its value from. */
  readonly slots: Map<number, number>;
  /** Which slots a node of the iteration goes to, as far as known. */
  readonly goesTo: Map<number, Set<number>>;
}
/** Iterations of one body: `gives` says which node each slot gets; a slot that nobody reads afterwards is left out. */
interface Variant {
  readonly family: Family;
  readonly iterations: number[];
  readonly gives: Map<number, number>;
}

interface LoopName {
  readonly id: string;
  readonly of: number;
  /** How many tags of its nodes the loop settles. */
  readonly level: number;
}

/**
 * What stands for the iterations' values outside: reads of a new loop node. `outside`: the nodes whose value is used there. `inner` is applied to
 * the results of each body.
 */
export function makeLoopOf(
  iterations: readonly Iteration[],
  members: Membership,
  outside: ReadonlySet<Node>,
  name: LoopName,
  inner: (results: readonly Node[]) => readonly Node[],
): Map<Node, Node> {
  const families = familiesOf(iterations, members);
  const familyOf = iterations.map((_, t) => families.find((f) => f.iterations.includes(t))!);
  const slotTypes = assignSlots(iterations, familyOf);
  startSlots(iterations, familyOf, slotTypes, members);
  const variants = variantsOf(iterations, familyOf, slotTypes, outside);
  const variantOf = iterations.map((_, t) => variants.find((v) => v.iterations.includes(t))!);

  const paths = new IterationPaths(iterations.length);
  for (const { iterations: of } of variants)
    for (const t of of.slice(1))
      for (const [i, n] of iterations[t].nodes.entries()) paths.compare(of[0], iterations[of[0]].nodes[i].origin.path, t, n.origin.path);

  const start = slotTypes.map((type, slot) => startOf(iterations[0], familyOf[0], slot, type));
  const values: Node[] = [];
  const places = new Map<Node | string, number>();
  const place = (n: Node): number => {
    const key = members.constants.has(n) ? attrsKey(n.attrs) : n;
    if (!places.has(key)) places.set(key, values.push(n) - 1);
    return places.get(key)!;
  };
  const rows = variants.map((v) => rowsOf(iterations, v, members));
  const exported = variants.map((v) => exportsOf(iterations, v, outside));
  const bodies = variants.map((v, i) => {
    const { params, results } = makeBody(iterations, v, start, rows[i], exported[i], (n) => originIn(n, name.level));
    return { params, results: inner(results) };
  });
  const runs = iterations.map((iteration, t) => {
    const body = variants.indexOf(variantOf[t]);
    return { body, args: rows[body].map((g) => place(iteration.uses[familyOf[t].operands[g].uses[0]])) };
  });
  const origin = originOf(iterations);
  const shape = { carried: start.length, bodies, iterations: runs };
  const loop = node("loop", [...start, ...values], paths.attrs(name.id, name.of, members.numbers), LOOP_TYPE, origin, shape);

  const reads = new Map<Node, Node>();
  iterations.forEach((iteration, t) => {
    const body = variants.indexOf(variantOf[t]);
    iteration.nodes.forEach((n, i) => {
      if (!outside.has(n) || members.iterationOf.get(n) !== t) return;
      const slot = t === iterations.length - 1 ? [...variantOf[t].gives].find(([, from]) => from === i)?.[0] : undefined;
      reads.set(n, slot !== undefined ? carriedRead(loop, slot) : exportRead(loop, t, exported[body].indexOf(i), n));
    });
  });
  return reads;
}

// ---- operands

function familiesOf(iterations: readonly Iteration[], { iterationOf }: Membership): Family[] {
  const carriedUses = (t: number) => iterations[t].uses.map((u) => (iterationOf.get(u) === t - 1 ? "p" : "o")).join("");
  // The first iteration has nothing before it: it goes with the first iteration of its structure.
  const like = iterations.findIndex((iteration, t) => t > 0 && iteration.key === iterations[0].key);
  const groups = new Map<string, { iterations: number[]; carried: string }>();
  iterations.forEach((iteration, t) => {
    const carried = carriedUses(t === 0 && like > 0 ? like : t);
    const key = `${iteration.key}#${carried}`;
    const group = groups.get(key) ?? { iterations: [], carried };
    group.iterations.push(t);
    groups.set(key, group);
  });
  return [...groups.values()].map(({ iterations: of, carried }): Family => {
    const same = new Map<string, number[]>();
    iterations[of[0]].uses.forEach((_, u) => {
      const key = of.map((t) => iterations[t].uses[u].id).join(",");
      if (!same.has(key)) same.set(key, []);
      same.get(key)!.push(u);
    });
    const operands = [...same.values()].map((uses) => ({ uses, carried: carried[uses[0]] === "p" }));
    return { iterations: of, operands, slots: new Map(), goesTo: new Map() };
  });
}

// ---- slots of carried values

/** Gives each carried operand a slot, so that iterations agree as far as they can. Returns the slots' types, as a value of each. */
function assignSlots(iterations: readonly Iteration[], familyOf: readonly Family[]): Node[] {
  const types: Node[] = [];
  for (let t = 1; t < iterations.length; t++) {
    const to = familyOf[t];
    const from = familyOf[t - 1];
    to.operands.forEach((operand, g) => {
      if (!operand.carried) return;
      const value = iterations[t].uses[operand.uses[0]];
      const given = iterations[t - 1].index.get(value)!;
      let slot = to.slots.get(g);
      if (slot === undefined) {
        const taken = new Set(to.slots.values());
        const fits = types.flatMap((type, s) => (!taken.has(s) && showType(type.type) === showType(value.type) ? [s] : []));
        const claimed = new Set([...from.goesTo].flatMap(([, slots]) => [...slots]));
        slot = fits.find((s) => from.goesTo.get(given)?.has(s)) ?? fits.find((s) => !claimed.has(s)) ?? fits[0] ?? types.push(value) - 1;
        to.slots.set(g, slot);
      }
      if (!from.goesTo.has(given)) from.goesTo.set(given, new Set());
      from.goesTo.get(given)!.add(slot);
    });
  }
  return types;
}

/** A first iteration of its own structure has no carried operands: some of its operands of the right types become what goes in. */
function startSlots(
  iterations: readonly Iteration[],
  familyOf: readonly Family[],
  types: readonly Node[],
  { constants }: Membership,
): void {
  const first = familyOf[0];
  if (first.iterations.length > 1) return;
  const later = new Set(iterations.slice(1).flatMap((iteration) => iteration.uses));
  types.forEach((type, slot) => {
    const g = first.operands.findIndex(({ uses }, at) => {
      const value = iterations[0].uses[uses[0]];
      const free = !first.slots.has(at) && !later.has(value) && !constants.has(value) && rowOf(value).supply !== "param";
      return free && showType(value.type) === showType(type.type);
    });
    if (g >= 0) first.slots.set(g, slot);
  });
}

/** What goes into a slot at the start: the first iteration's operand, or zeros, which the first iteration does not look at. */
function startOf(first: Iteration, family: Family, slot: number, type: Node): Node {
  const found = [...family.slots].find(([, s]) => s === slot);
  if (found) return first.uses[family.operands[found[0]].uses[0]];
  return new Builder({ path: type.origin.path }).zeros(type.type);
}

// ---- variants

function variantsOf(
  iterations: readonly Iteration[],
  familyOf: readonly Family[],
  types: readonly Node[],
  outside: ReadonlySet<Node>,
): Variant[] {
  const variants: Variant[] = [];
  iterations.forEach((iteration, t) => {
    const gives = new Map<number, number>();
    const next = familyOf[t + 1];
    next?.operands.forEach((operand, g) => {
      if (operand.carried) gives.set(next.slots.get(g)!, iteration.index.get(iterations[t + 1].uses[operand.uses[0]])!);
    });
    const fits = variants.find((v) => v.family === familyOf[t] && [...gives].every(([s, i]) => (v.gives.get(s) ?? i) === i));
    if (!fits) variants.push({ family: familyOf[t], iterations: [t], gives });
    else {
      fits.iterations.push(t);
      for (const [s, i] of gives) fits.gives.set(s, i);
    }
  });
  // A last iteration of its own body carries out what is read afterwards.
  const end = iterations.length - 1;
  const last = variants.find((v) => v.iterations.includes(end))!;
  if (last.iterations.length === 1)
    types.forEach((type, slot) => {
      if (last.gives.has(slot)) return;
      const { nodes } = iterations[end];
      const given = new Set(last.gives.values());
      for (let i = nodes.length - 1; i >= 0; i--) {
        if (given.has(i) || !outside.has(nodes[i]) || showType(nodes[i].type) !== showType(type.type)) continue;
        last.gives.set(slot, i);
        return;
      }
    });
  return variants;
}

/** The operands of a body that iterations hand to it: all but the carried ones, and constants that are equal in all its iterations. */
function rowsOf(iterations: readonly Iteration[], { family, iterations: of }: Variant, { constants }: Membership): number[] {
  return family.operands.flatMap(({ uses }, g) => {
    if (family.slots.has(g)) return [];
    const values = of.map((t) => iterations[t].uses[uses[0]]);
    const cloned = values.every((v) => constants.has(v) && attrsKey(v.attrs) === attrsKey(values[0].attrs));
    return cloned ? [] : [g];
  });
}

/** The nodes that leave the loop in some iteration of the body; a carried-out value leaves as that. */
function exportsOf(iterations: readonly Iteration[], { iterations: of, gives }: Variant, outside: ReadonlySet<Node>): number[] {
  const out = new Set<number>();
  const carried = new Set(gives.values());
  for (const t of of)
    iterations[t].nodes.forEach((n, i) => {
      if (outside.has(n) && !(t === iterations.length - 1 && carried.has(i))) out.add(i);
    });
  return [...out].sort((p, q) => p - q);
}

// ---- bodies

const originIn = (n: Node, level: number): Origin => {
  const iteration = n.origin.iteration && withoutOuter(n.origin.iteration, level);
  const { iteration: _, ...rest } = n.origin;
  return iteration ? { ...rest, iteration } : rest;
};

function makeBody(
  iterations: readonly Iteration[],
  variant: Variant,
  start: readonly Node[],
  rows: readonly number[],
  exported: readonly number[],
  origin: (n: Node) => Origin,
): Body {
  const { family, gives } = variant;
  const iteration = iterations[variant.iterations[0]];
  const params = start.map((s, k) => makeArg(k, s.type, origin(s)));
  const operand = family.operands.map(({ uses }, g): Node => {
    const value = iteration.uses[uses[0]];
    const slot = family.slots.get(g);
    if (slot !== undefined) return params[slot];
    if (!rows.includes(g)) return node(value.op, value.inputs, value.attrs, value.type, origin(value));
    const param = makeArg(params.length, value.type, origin(value));
    params.push(param);
    return param;
  });
  const byUse = new Array<Node>(iteration.uses.length);
  family.operands.forEach(({ uses }, g) => {
    for (const u of uses) byUse[u] = operand[g];
  });
  const made: Node[] = [];
  iteration.nodes.forEach((n, i) => {
    const inputs = iteration.operands[i].map((k) => (k >= 0 ? made[k] : byUse[-1 - k]));
    made.push(node(n.op, inputs, n.attrs, n.type, origin(n), n.loop));
  });
  const carried = start.map((_, slot) => {
    const from = gives.get(slot);
    return from === undefined ? params[slot] : made[from];
  });
  return { params, results: [...carried, ...exported.map((i) => made[i])] };
}

/** The loop's path is what all its iterations' paths begin with. */
function originOf(iterations: readonly Iteration[]): Origin {
  const paths = iterations.flatMap((t) => t.nodes.filter((n) => n.origin.iteration).map((n) => n.origin.path.split(".")));
  let common = paths[0] ?? [];
  for (const p of paths) {
    const differs = common.findIndex((segment, i) => p[i] !== segment);
    if (differs >= 0) common = common.slice(0, differs);
  }
  const span = iterations[0].nodes.find((n) => n.origin.iteration && n.origin.span)?.origin.span;
  return { ...(span && { span }), path: common.join(".") };
}
