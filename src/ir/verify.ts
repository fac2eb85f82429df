/** Checks a graph whole. What it throws is always our mistake, so it throws `Bug`. */

import { checkLoop, LOOP_TYPE, strict } from "./build.ts";
import { sameShape } from "./dim.ts";
import { Bug } from "./errors.ts";
import { type Body, type Graph, type Node, order, type Type } from "./graph.ts";
import { attrsOf, rowOf, type Solver, showType, TypeMismatch } from "./ops/index.ts";

const sameType = (a: Type, b: Type): boolean => a.dtype === b.dtype && sameShape(a.shape, b.shape);

/**
 * Every op is in the table; every type is the one its row infers; loops fit their iterations, and nothing crosses into a body but its
 * parameters; loops are read by `get` alone; names of results are unique in their role, and what goes back to a parameter or a state has
 * its type.
 */
export function verify(graph: Graph, solver: Solver = strict): void {
  const seen = new Set<string>();
  for (const { role, name } of graph.results) {
    if (seen.has(`${role}:${name}`)) throw new Bug(`two results are called ${role} ${name}`);
    seen.add(`${role}:${name}`);
  }
  const nodes = region(
    graph.results.map((r) => r.node),
    undefined,
    solver,
  );
  const sources = new Map<string, Node>();
  for (const n of nodes) if (rowOf(n).supply) sources.set(`${rowOf(n).supply}:${String(n.attrs.name)}`, n);
  for (const { role, name, node, forward } of graph.results) {
    if (node.loop) throw new Bug(`the result ${role} ${name} is a loop: it needs a get`);
    if (forward && node.backward) throw new Bug(`the result ${role} ${name} is of the forward half, but reads the backward half`);
    if (role === "output") continue;
    const source = sources.get(`${role}:${name}`);
    if (source && !sameType(source.type, node.type))
      throw new Bug(`the next value of ${role} ${name} is ${showType(node.type)}, but it is ${showType(source.type)}`);
  }
}

function region(roots: readonly Node[], body: Body | undefined, solver: Solver): Node[] {
  const nodes = order(roots);
  nodes.forEach((n, position) => {
    // right wherever it stands outside of bodies: it never changes, so one look is enough
    if (solver === strict && n.sound === n && (!body || rowOf(n).supply === undefined)) return;
    const wrong = (why: string): never => {
      throw new Bug(`%${position} ${n.op}${n.origin.path ? ` (${n.origin.path})` : ""}${body ? " in a loop's body" : ""}: ${why}`);
    };
    const row = rowOf(n);
    const isRead = row.role === "region" && !n.loop;
    if (!isRead && n.inputs.some((i) => i.loop)) wrong("reads a loop without get");
    if (row.supply === "arg") {
      if (!body) wrong("is a parameter outside any loop");
      else if (body.params[attrsOf(n, "arg").index] !== n) wrong("is not a parameter of this body");
      return;
    }
    if (row.supply && body) wrong(`the ${row.supply} ${String(n.attrs.name)} must come in as an argument`);
    if (n.loop) {
      if (!sameType(n.type, LOOP_TYPE)) wrong(`a loop's type is ${showType(LOOP_TYPE)}, not ${showType(n.type)}`);
      try {
        checkLoop(n.inputs, n.loop);
      } catch (error) {
        if (error instanceof Bug) wrong(error.message);
        throw error;
      }
      for (const b of n.loop.bodies) region([...b.params, ...b.results], b, solver);
      if (solver === strict) n.sound = n;
      return;
    }
    if (isRead && !n.inputs[0]?.loop) wrong("its operand is not a loop");
    const inferred = infer(n, solver, wrong);
    if (!sameType(inferred, n.type)) wrong(`its type is ${showType(n.type)}, but ${showType(inferred)} follows from its operands`);
    if (solver === strict) n.sound = n;
  });
  return nodes;
}

function infer(n: Node, solver: Solver, wrong: (why: string) => never): Type {
  try {
    return rowOf(n).shape(
      n.inputs.map((i) => i.type),
      n.attrs,
      solver,
      n.inputs,
    );
  } catch (error) {
    if (error instanceof TypeMismatch || error instanceof Bug) return wrong(error.message);
    throw error;
  }
}
