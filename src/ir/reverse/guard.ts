/** A step that must not be taken unless something holds that is known at its end only. */
import { Builder } from "../build.ts";
import { type Node, order, type Result, sizes } from "../graph.ts";
import { rowOf } from "../ops/index.ts";
import { rebuild, withInputs } from "../rebuild.ts";

const elements = (n: Node): number => sizes(n).reduce((p, d) => p * d, 1);
const elementwise = (n: Node): boolean => ["map", "sum", "scale", "move", "barrier"].includes(rowOf(n).role) && n.loop === undefined;

/**
 * Parameters and states with their next values only where `good` holds. Gradients do not wait for it: they stand behind fences, so that no kernel
 * that makes one reads the old values as well, and what a gradient is made of is gone when it has been made.
 */
export function unlessGood(results: readonly Result[], good: Node): Result[] {
  const b = new Builder(good.origin);
  const { updates, gradients } = updatesOf(results);
  const fences = new Map<Node, Node>();
  const fence = (old: Node, now: Node): Node => {
    if (!gradients.has(old)) return now;
    const made = fences.get(old) ?? new Builder(old.origin).make("fence", [now, good]);
    fences.set(old, made);
    return made;
  };
  const next = rebuild(
    results.map((r) => r.node),
    new Map(),
    (n, inputs) => withInputs(n, updates.has(n) ? inputs.map((x, i) => fence(n.inputs[i], x)) : inputs),
  );
  return results.map((r, i): Result => {
    if (r.role === "output") return { ...r, node: next[i] };
    const { role, name } = r;
    const { dtype, shape } = r.node.type;
    const old = role === "param" ? b.param(name, shape) : b.state(name, { dtype, shape });
    // what was known of the forward half alone waits for the backward half now
    return { role, name, node: b.where(good, fence(r.node, next[i]), old) };
  });
}

/** What follows element by element from old values of parameters and states, and the backward values that go into it. */
function updatesOf(results: readonly Result[]): { readonly updates: ReadonlySet<Node>; readonly gradients: ReadonlySet<Node> } {
  const old = new Map<Node, boolean>();
  const readsOld = (root: Node): boolean => {
    const stack = [root];
    while (stack.length) {
      const n = stack[stack.length - 1];
      const { supply } = rowOf(n);
      const below = elementwise(n) ? n.inputs : [];
      const open = below.filter((x) => !old.has(x));
      if (open.length > 0) {
        stack.push(...open);
        continue;
      }
      stack.pop();
      old.set(n, supply === "param" || supply === "state" || below.some((x) => old.get(x)));
    }
    return old.get(root)!;
  };
  const nodes = order(results.map((r) => r.node));
  const users = new Map<Node, Node[]>(nodes.map((n) => [n, []]));
  for (const n of nodes) for (const x of n.inputs) users.get(x)!.push(n);
  const next = new Set(results.flatMap((r) => (r.role === "output" ? [] : [r.node])));
  const shown = new Set(results.flatMap((r) => (r.role === "output" ? [r.node] : [])));
  const updates = new Set<Node>();
  const gradients = new Set<Node>();
  for (const n of nodes.reverse()) {
    const all = users.get(n)!;
    if (!n.backward || !(next.has(n) || all.some((u) => updates.has(u)))) continue;
    // a multiple or a square of one value is made of it later
    const whole = new Set(n.inputs.filter((x) => x.backward && elements(x) === elements(n)));
    const late = elementwise(n) && (readsOld(n) || whole.size === 1);
    if (late && !shown.has(n) && all.every((u) => updates.has(u))) updates.add(n);
    else if (elements(n) > 1) gradients.add(n);
  }
  return { updates, gradients };
}
