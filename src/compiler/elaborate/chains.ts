/** Methods on a list of blocks: the loop that carries a value through them, seen from outside its iterations. */
import type { Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import type { Fit } from "./attach.ts";
import { Block, type BlockOwner } from "./block.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import type { Frame } from "./frame.ts";
import { forwardOf, type Instance } from "./instance.ts";
import type { Subject } from "./method-frame.ts";
import { fillingsOf } from "./roles.ts";
import { type Evaluator, fixed, type Here, Names, type Read } from "./scope.ts";
import { CallValue, Chain, type MethodDecl, ModuleDecl, type Place, RoleDecl, type Selection, type Value, WithGiven } from "./values.ts";

type ChainPlace = Place & { kind: "chain" };

/** Places of a method `on [Block]`: each run of children, with the loop of their parent. */
export function chains(e: Elaborator, method: MethodDecl, to: Selection, span: Span): Fit[] {
  const on = method.decl.on.kind === "ListType" ? method.decl.on.element : method.decl.on;
  const role = on.kind === "NamedType" ? method.scope.find(on.name.text)?.(method.scope.here) : undefined;
  if (!(role instanceof RoleDecl) && !(role instanceof ModuleDecl))
    fail("P0301", on.span, "a method on a list is on a list of a role or module");
  const blocks = to.places.flatMap((p) =>
    p.kind === "module" ? [p.instance] : p.kind === "list" ? p.items : fail("P0307", span, `${method.name} goes on children of a list`),
  );
  const runs: Instance[][] = [];
  for (const b of blocks) {
    const last = runs[runs.length - 1];
    if (last && parentOf(b, span) === parentOf(last[0], span)) last.push(b);
    else runs.push([b]);
  }
  return runs.map((run): Fit => {
    const place = placeOf(e, run, span);
    for (const b of run)
      if (fillingsOf(b, role).length === 0)
        fail("P0307", span, `${method.name} goes on a list of ${role.name}s; ${b.fullPath} is a ${b.decl.name.text}`, {
          notes: e.rolesOf(b),
        });
    const names = new Map<string, readonly string[] | null>(["x", "y"].map((n) => [n, [n]]));
    return { place, role, names };
  });
}

function parentOf(b: Instance, span: Span): Instance {
  if (b.holder?.kind === "instance") return b.holder.instance;
  fail("P0307", span, `${b.fullPath} is no child of a list`);
}

function placeOf(e: Elaborator, run: readonly Instance[], span: Span): ChainPlace {
  const parent = parentOf(run[0], span);
  const forward = forwardOf(parent.decl);
  for (const loop of (forward?.body ?? []).filter((s): s is ast.For => s.kind === "For")) {
    let list: readonly Value[] = [];
    e.attempt(() => {
      list = e.elements(e.evaluate(loop.list, parent.scope), loop.list.span);
    });
    // a loop may have more than the blocks in hand: `for i, block in enumerate(layer)`
    const iterations = list.map((item) => (loop.names.length === 1 ? [item] : Array.isArray(item) ? (item as readonly Value[]) : []));
    const column = loop.names.findIndex((_, k) => iterations.some((iteration) => iteration[k] === run[0]));
    if (column < 0) continue;
    const first = iterations.findIndex((iteration) => iteration[column] === run[0]);
    if (!run.every((b, i) => iterations[first + i]?.[column] === b))
      fail("P0307", span, `these children of ${parent.fullPath} do not follow each other in its loop`);
    const variable = loop.names[column].text;
    const step = loop.body.find(
      (s): s is ast.Binding =>
        s.kind === "Binding" && s.values.some((v) => v.kind === "Call" && v.callee.kind === "Name" && v.callee.text === variable),
    );
    if (step) {
      const beside = run.map(
        (_, i) => new Map(loop.names.flatMap((n, k) => (k === column ? [] : [[n.text, iterations[first + i][k]] as const]))),
      );
      return { kind: "chain", parent, blocks: run, loop, variable, beside, first, carried: step.targets[0].names[0].text };
    }
  }
  fail("P0307", span, `no loop of ${parent.decl.name.text} carries a value through ${run[0].fullPath}`);
}

/** `blocks`: each iteration as a function of the carried value. Outside a call only their number counts. */
export function chainOf(evaluator: Evaluator, place: ChainPlace, subject: Subject): Chain {
  return new Chain(
    place.blocks.map((_, iteration) => (x, given, here, span) => {
      if (subject?.kind !== "call") fail("P0505", span, "the blocks of a chain can be called inside a call of their parent only");
      return callTurn(evaluator, subject, place, iteration, x, given, here, span);
    }),
  );
}

function callTurn(
  evaluator: Evaluator,
  frame: Frame,
  place: ChainPlace,
  iteration: number,
  x: Value | undefined,
  given: ReadonlyMap<string, import("./thunk.ts").Thunk<Value>>,
  here: Here,
  span: Span,
): Value {
  const block = place.blocks[iteration];
  const names = new Map(
    [...new Set(block.decl.fills.flatMap((f) => f.names))].map((n) => [n.name.text, n.path.names.map((p) => p.text)] as const),
  );
  const gifts = new Map([...given].map(([n, t]) => [names.get(n)?.[0] ?? n, t]));
  const table = new Map<string, Read>([[place.variable, fixed(new WithGiven(block, gifts))]]);
  for (const [name, value] of place.beside[iteration]) table.set(name, fixed(value));
  table.set(place.carried, x === undefined ? () => fail("P0204", span, `the block needs \`x\`: not given in this call`) : fixed(x));
  const inner: Here = { ...frame.here, iteration: here.iteration };
  const owner: BlockOwner = { evaluator, hereFor: () => inner, view: (_n, t) => () => t.force() };
  const outer = frame.block.before(frame.block.statements.indexOf(place.loop));
  const body = new Block(place.loop.body, new Names(table, outer, inner), owner, inner, here.iteration);
  const value = body.thunkBefore(place.carried)!.force();
  return value instanceof CallValue ? new CallValue(value.frame, names) : value;
}

/** `x` and `y` of a chain: the carried value before its first and after its last block. */
export function readChain(place: ChainPlace, frame: Frame, name: string, reader: Here, span: Span): Value {
  const iteration = name === "x" ? place.first - 1 : name === "y" ? place.first + place.blocks.length - 1 : undefined;
  const read = iteration === undefined ? undefined : frame.block.carriedAfter(place.loop, iteration, place.carried);
  if (!read) fail("P0207", span, `\`${name}\` of a chain is a name of its blocks: ask an iteration for it, as in \`f(x).${name}\``);
  return read(reader);
}
