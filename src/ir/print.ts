/**
 * Graphs as text, to read and to compare. `parse.ts` reads it back.
 *
 *     %0 = param {name: "w", shape: [4]} : f32[4] @ lora.0
 *     %1 = input {name: "x", shape: [B, 4], dtype: "f32"} : f32[B, 4]
 *     %2 = loop carried(%1) given(%0) {
 *       body 0 (%3: f32[B, 4], %4: f32[4]) {
 *         %5 = reshape(%4) {shape: [1, 4]} : f32[1, 4]
 *         %6 = expand(%5) {shape: [B, 4]} : f32[B, 4]
 *         %7 = mul(%3, %6) : f32[B, 4] iteration("h" 0/2) @ h.0
 *         carry(%7) export()
 *       }
 *       iterations 0(0) 0(0)
 *     }
 *     %8 = get(%2) {output: "carried", index: 0} : f32[B, 4]
 *     output "y" = %8
 *
 * `iterations 0(0)`: an iteration that runs body 0 with the operand number 0 of those given. `sliced(1)` behind `given`: the operands of which each
 * iteration gets the next rows. Behind a node: its type, `backward` if it
 * was made by a backward sweep, the iteration it was unrolled from, `@` and the path of its module. Places in the source are left out, so that the text depends on the program's meaning alone.
 */
import { type Body, type Graph, type Iteration, type Node, order } from "./graph.ts";
import { rowOf, showType } from "./ops/index.ts";

export interface PrintOptions {
  /** Leaves out all but the first values of long constants; such text is not for `parse`. */
  readonly brief?: boolean;
}

const LONG = 16;

export function print(graph: Graph, options: PrintOptions = {}): string {
  const printer = new Printer(options);
  printer.nodes(
    graph.results.map((r) => r.node),
    "",
  );
  for (const r of graph.results) printer.lines.push(`${r.role} ${JSON.stringify(r.name)} = ${printer.name(r.node)}`);
  return `${printer.lines.join("\n")}\n`;
}

class Printer {
  readonly lines: string[] = [];
  private readonly names = new Map<Node, string>();
  private next = 0;

  constructor(private readonly options: PrintOptions) {}

  name(n: Node): string {
    let known = this.names.get(n);
    if (known === undefined) {
      known = `%${this.next++}`;
      this.names.set(n, known);
    }
    return known;
  }

  /** All nodes that `roots` reach. Nodes that also stand in a region outside are printed anew, under a new name. */
  nodes(roots: readonly Node[], indent: string): void {
    for (const n of order(roots)) {
      if (rowOf(n).supply === "arg" && this.names.has(n)) continue; // a body's parameter: named in its head
      this.node(n, indent);
    }
  }

  private node(n: Node, indent: string): void {
    if (n.loop) {
      this.loop(n, indent);
      return;
    }
    const operands = n.inputs.length ? `(${this.list(n.inputs)})` : "";
    const attrs = this.attrs(n);
    this.lines.push(`${indent}${this.name(n)} = ${n.op}${operands}${attrs && ` ${attrs}`} : ${showType(n.type)}${origin(n)}`);
  }

  private loop(n: Node, indent: string): void {
    const { carried, bodies, iterations, sliced } = n.loop!;
    const head = `carried(${this.list(n.inputs.slice(0, carried))}) given(${this.list(n.inputs.slice(carried))})${sliced ? ` sliced(${sliced.join(", ")})` : ""}`;
    const attrs = this.attrs(n);
    this.lines.push(`${indent}${this.name(n)} = ${n.op} ${head}${attrs && ` ${attrs}`} {${origin(n)}`);
    bodies.forEach((body, i) => {
      this.body(body, i, carried, `${indent}  `);
    });
    this.lines.push(`${indent}  iterations${iterations.map((t) => ` ${t.body}(${t.args.join(", ")})`).join("")}`, `${indent}}`);
  }

  private body(body: Body, index: number, carried: number, indent: string): void {
    // A body is a region of its own: nodes that it shares with what is around it are printed in both.
    const outside = new Map(this.names);
    this.names.clear();
    const params = body.params.map((p) => `${this.name(p)}: ${showType(p.type)}`);
    this.lines.push(`${indent}body ${index} (${params.join(", ")}) {`);
    this.nodes(body.results, `${indent}  `);
    const [carry, exported] = [body.results.slice(0, carried), body.results.slice(carried)];
    this.lines.push(`${indent}  carry(${this.list(carry)}) export(${this.list(exported)})`, `${indent}}`);
    this.names.clear();
    for (const [n, name] of outside) this.names.set(n, name);
  }

  private list(nodes: readonly Node[]): string {
    return nodes.map((n) => this.name(n)).join(", ");
  }

  private attrs(n: Node): string {
    const parts = Object.entries(n.attrs)
      .filter(([, v]) => v !== undefined)
      .map(([k, v]) => `${k}: ${this.value(v)}`);
    return parts.length ? `{${parts.join(", ")}}` : "";
  }

  private value(v: unknown): string {
    if (Array.isArray(v)) {
      const short = this.options.brief && v.length > LONG ? v.slice(0, LONG) : v;
      const parts = short.map((x: unknown) => this.value(x));
      return `[${parts.join(", ")}${short === v ? "" : `, ... ${v.length} values`}]`;
    }
    if (typeof v === "string") return JSON.stringify(v);
    if (typeof v === "number") return Object.is(v, -0) ? "-0" : String(v);
    return String(v);
  }
}

function iterationText(t: Iteration): string {
  return `${JSON.stringify(t.loop)} ${t.iteration}/${t.of}${t.outer ? ` in ${iterationText(t.outer)}` : ""}`;
}

function origin({ origin: { iteration, path, half } }: Node): string {
  return `${half ? ` ${half}` : ""}${iteration ? ` iteration(${iterationText(iteration)})` : ""}${path ? ` @ ${path}` : ""}`;
}
