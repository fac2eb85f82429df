/**
 * A program as PyTorch modules: one class a loop body, whose iterations are an `nn.ModuleList`, one function an entry. The graphs are those before
 * differentiation: PyTorch's autograd makes the backward half, from modules that are the forward one.
 */
import { symbolsOf } from "../../ir/dim.ts";
import { Bug } from "../../ir/errors.ts";
import { type Graph, type Node, order } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import type { DriverHooks } from "../../ir/passes/pass.ts";
import { asHeld, Blocks } from "./blocks.ts";
import { graphsOf, type TorchEntry } from "./graphs.ts";
import { type Kind, kindOf } from "./kinds.ts";
import { type InputSlot, inputOf, slotOf } from "./leaves.ts";
import { Region } from "./region.ts";
import { type Shards, shardsOf } from "./shards.ts";
import { isTable } from "./tables.ts";
import { identifier, quoted } from "./text.ts";
import { assignments, Tree } from "./tree.ts";
import { printUpdate } from "./update-entry.ts";
import { wantedIn } from "./wanted.ts";

/** A parameter or state: what it is, and for parameters its place in the model. */
export interface Slot {
  readonly dtype: "f32" | "i32" | "bool";
  readonly shape: readonly number[];
  readonly module?: string;
}
interface TorchFunction {
  readonly name: string;
  /** The function's name in the text, and the file it is in, without its ending. */
  readonly call: string;
  readonly file: string;
  readonly inputs: readonly InputSlot[];
  readonly outputs: readonly string[];
  /**
   * update: reads gradients and states, and gives next values; it is no part of the model · function: anything else, run by the model's `forward`.
   */
  readonly kind: "update" | "function";
  /** Every result is a state to which it adds: parts of a batch give the sum of what they give. */
  readonly additive: boolean;
  /** Of an additive one: the states it adds to. */
  readonly adds: readonly string[];
  /** States that are gradients of parameters: the function gives the loss, and PyTorch's `backward` adds to them. */
  readonly backward?: Readonly<Record<string, string>>;
  /** Of those: whether the loss leaves a parameter out. */
  readonly unused?: boolean;
  /** Of an update: what it reads, `param:...` and `state:...`. */
  readonly reads?: readonly string[];
  /** Of an update: what each process may have a part of, `param:...` and `state:...`. */
  readonly parted?: readonly string[];
  /** Of an update: numbers that are sums over parts. */
  readonly totals?: number;
  /** Of an update: bytes that it makes on its way, at most. */
  readonly temporary?: { readonly parted: number; readonly whole: number };
}
export interface TorchProgram {
  /** Files by name. */
  readonly files: ReadonlyMap<string, string>;
  readonly params: ReadonlyMap<string, Slot>;
  readonly states: ReadonlyMap<string, Slot>;
  /** Names of parameters by which a gradient is asked for. */
  readonly differentiated: readonly string[];
  readonly entries: readonly TorchFunction[];
  /** Modules that are iterations of loops, and whose parameters nothing else reads. */
  readonly blocks: readonly string[];
  /** What is computed once from frozen parameters, and kept like parameters. */
  readonly prepare?: {
    readonly reads: readonly string[];
    readonly made: readonly string[];
    /** Whether what is made of a parameter needs no other. */
    readonly apart: boolean;
  };
  /** The function that gives what is made of numbers alone, as states; it needs the model's device alone. */
  readonly tables?: { readonly call: string; readonly made: ReadonlyMap<string, Slot> };
  /** Parameters that are read for that alone, and not kept. */
  readonly sources: ReadonlyMap<string, Slot>;
}

const HEADER = `import math

import torch
import torch.nn.functional as F
from torch import nn

import peftc_ops as ops
`;

export interface PrintOptions {
  readonly place?: ((n: Node) => string | undefined) | undefined;
  /** What the program is, for the first line. */
  readonly title?: string;
  /** To look at graphs between rewrites, or to leave one out. */
  readonly hooks?: DriverHooks;
}

export function printTorch(entries: readonly TorchEntry[], { place, title = "a program", hooks = {} }: PrintOptions = {}): TorchProgram {
  const { bound, once } = graphsOf(entries, hooks);
  const params = new Map<string, Slot>();
  const states = new Map<string, Slot>();
  const differentiated = new Set<string>();
  const tree = new Tree();
  const blocks = new Blocks(tree);
  for (const { graph } of bound) collect(graph, params, states);
  for (const { graph } of bound) blocks.survey(graph);
  for (const [name, slot] of params) tree.add(name, blocks.placeOf(name), slot.shape);
  blocks.settle();
  const functions: TorchFunction[] = [];
  const texts: string[] = [];
  const updates: string[] = [];
  const opened = new Set<string>();
  const usedBy = new Map<string, ReadonlySet<string>>();
  const taken = new Set<string>();
  const kinds = new Map(bound.map(({ graph }) => [graph, kindOf(graph)]));
  const gradients = new Map([...kinds.values()].flatMap((k) => [...(k.backward?.states ?? [])]));
  const tables = new Map(once.tables.results.map((r) => [r.name, slotFor(r.node)]));
  const elsewhere = new Set([...tables.keys(), ...bound.flatMap(({ graph }) => (kinds.get(graph)!.update ? [] : statesOf(graph)))]);
  const tabling = tables.size === 0 ? undefined : unique("tables", taken);
  if (tabling) {
    const { lines } = printEntry(tabling, once.tables, undefined, new Set(), {
      tree,
      blocks,
      place,
      kind: kindOf(once.tables),
      shards: undefined,
      params,
    });
    texts.push(lines.join("\n"));
  }
  for (const { names, graph, batch } of bound) {
    const call = unique(identifier(names[0]), taken);
    const wanted = wantedIn(graph.results.map((r) => r.node));
    for (const n of wanted) if (rowOf(n).supply === "param") differentiated.add(String(n.attrs.name));
    const kind = kinds.get(graph)!;
    if (kind.update && wanted.size === 0) {
      const { text, ...about } = printUpdate(call, graph, {
        gradients,
        elsewhere,
        place,
        unique: (name) => unique(name, taken),
      });
      updates.push(text);
      for (const name of names) functions.push({ name, call, file: "update", ...about });
      continue;
    }
    const shards = kind.update ? shardsOf(graph, gradients, elsewhere) : undefined;
    if (!kind.update) for (const path of blocks.openedBy(graph)) opened.add(path);
    const text = printEntry(call, graph, batch, wanted, { tree, blocks, place, kind, shards, params });
    const { lines, uses, ...about } = text;
    (about.kind === "update" ? updates : texts).push(lines.join("\n"));
    for (const name of names) {
      functions.push({ name, call, file: about.kind === "update" ? "update" : "objective", ...about });
      if (uses) usedBy.set(name, uses);
    }
  }
  const model = [`"""The modules of ${title}. Written by peftc."""`, HEADER, GROUP, ...blocks.classes(), modelClass(tree)].join("\n\n");
  const objective = [`"""The functions of ${title}: what goes in, what comes out. Written by peftc."""`, HEADER, ...texts].join("\n\n");
  const update = [`"""What an update of ${title} makes of gradients, states and parameters. Written by peftc."""`, HEADER, ...updates].join(
    "\n\n",
  );
  const prepare =
    once.prepare.results.length > 0 &&
    printUpdate("prepare", once.prepare, {
      gradients: new Map(),
      elsewhere: new Set(),
      place,
      unique: (name) => unique(name, taken),
      some: true,
    });
  const prepares = prepare && [`"""What ${title} computes once. Written by peftc."""`, HEADER, prepare.text].join("\n\n");
  const slots = new Map([...params].map(([name, slot]) => [name, { ...slot, module: moduleName(tree, name) }]));
  return {
    files: new Map([
      ["model.py", `${model}\n`],
      ["objective.py", `${objective}\n`],
      ...(updates.length > 0 ? [["update.py", `${update}\n`] as const] : []),
      ...(prepares ? [["prepare.py", `${prepares}\n`] as const] : []),
    ]),
    params: slots,
    states,
    differentiated: [...differentiated],
    entries: functions.map((f) => (f.backward ? { ...f, unused: [...differentiated].some((name) => !usedBy.get(f.name)!.has(name)) } : f)),
    blocks: blocks.lists(opened),
    ...(prepare && { prepare: { reads: once.reads, made: [...once.made], apart: prepare.apart } }),
    ...(tabling && { tables: { call: tabling, made: tables } }),
    sources: once.sources,
  };
}

/** The name that PyTorch gives a parameter: its attributes, with numbers for places in lists. */
const moduleName = (tree: Tree, name: string): string =>
  tree
    .text(tree.pathOf(name), "")
    .replace(/\[(\d+)\]/g, ".$1")
    .slice(1);

const GROUP = `class Group(nn.Module):
    """Parameters, given by their shapes, and modules."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part if isinstance(part, nn.Module) else nn.Parameter(torch.empty(part), requires_grad=False))

    @property
    def device(self):
        return next((p.device for p in self.parameters()), torch.device("cpu"))`;

function modelClass(tree: Tree): string {
  const parts = assignments(tree.root, "            ");
  return [
    "class Model(Group):",
    "    def __init__(self):",
    ...(parts.length === 0
      ? ["        super().__init__()"]
      : ["        super().__init__(", ...parts.map((p) => `            ${p},`), "        )"]),
    "",
    "    def forward(self, function, x, s):",
    '        """Runs a function of the program. `x`: inputs by name, `s`: states by name."""',
    "        return function(self, x, s)",
  ].join("\n");
}

const slotFor = (n: Node): Slot => ({ dtype: n.type.dtype, shape: n.type.shape as readonly number[] });

function collect(graph: Graph, params: Map<string, Slot>, states: Map<string, Slot>): void {
  for (const n of order(graph.results.map((r) => r.node))) {
    const { supply } = rowOf(n);
    const name = String(n.attrs.name);
    const table = supply === "param" ? params : supply === "state" && !isTable(name) ? states : undefined;
    if (table && !table.has(name)) table.set(name, slotFor(n));
  }
  for (const r of graph.results) {
    const table = r.role === "param" ? params : r.role === "state" ? states : undefined;
    if (table && !table.has(r.name)) table.set(r.name, slotFor(r.node));
  }
}

interface Printing {
  readonly tree: Tree;
  readonly blocks: Blocks;
  readonly place: PrintOptions["place"];
  readonly kind: Kind;
  readonly shards: Shards | undefined;
  readonly params: ReadonlyMap<string, Slot>;
}

function printEntry(
  call: string,
  graph: Graph,
  batch: string | undefined,
  wanted: ReadonlySet<Node>,
  { tree, blocks, place, kind, shards, params }: Printing,
) {
  const { backward, update } = kind;
  const kept = backward ? graph.results.filter((r) => !backward.states.has(r.name)) : graph.results;
  const roots = [...(backward ? [backward.loss] : []), ...kept.map((r) => r.node)];
  const nodes = order(roots);
  const inputs = nodes.flatMap((n) => (rowOf(n).supply === "input" ? [n] : []));
  const symbols = new Set(nodes.flatMap((n) => n.type.shape.flatMap(symbolsOf)));
  for (const s of symbols) if (s !== batch) throw new Bug(`the size ${s} is not bound`);
  const region = new Region(
    {
      param: (name) => {
        return update ? `p[${quoted(name)}]` : asHeld(tree.text(tree.pathOf(name), "self"), params.get(name)!.dtype);
      },
      loop: (n, r, around) => blocks.run(n, r, around, wanted),
      outermost: true,
      apart: update,
      twice: differentiatesTwice(graph),
      ...(shards && { totals: shards.totals }),
      ...(place && { place }),
    },
    roots,
    wanted,
    [...symbols],
  );
  if (batch !== undefined && symbols.has(batch)) {
    const from = inputs.find((n) => String(n.type.shape[0]) === batch);
    if (from === undefined) throw new Bug(`no column of ${call} has the rows of the batch`);
    region.say(`${batch} = x[${quoted(String(from.attrs.name))}].shape[0]`);
  }
  region.run(false, backward ? [backward.loss] : []);
  const of = (role: string) => kept.filter((r) => r.role === role).map((r) => `${quoted(r.name)}: ${region.whole(r.node).text}`);
  const dict = (parts: readonly string[]) => (parts.length === 0 ? "{}" : `{\n        ${parts.join(",\n        ")},\n    }`);
  region.outdent();
  const ends = backward
    ? [`    return ${region.whole(backward.loss).text}, ${dict(of("state"))}`]
    : [
        `    outputs = ${dict(of("output"))}`,
        `    params = ${dict(of("param"))}`,
        `    states = ${dict(of("state"))}`,
        "    return outputs, params, states",
      ];
  const records = backward !== undefined || nodes.some((n) => rowOf(n).role === "placeholder");
  const device = update ? "next(iter(p.values())).device" : "self.device";
  const asks = [...region.lines, ...ends].some((line) => line.includes("device=device"));
  const lines = [
    ...(records ? [] : ["@torch.no_grad()"]),
    `def ${call}(${update ? "p" : "self"}, x, s):`,
    ...(asks ? [`    device = ${device}`] : []),
    ...region.lines.map((line) => `    ${line}`),
    ...ends,
    "",
  ];
  return {
    lines,
    inputs: inputs.map((n) => inputOf(n, batch)),
    outputs: kept.filter((r) => r.role === "output").map((r) => r.name),
    kind: update ? ("update" as const) : ("function" as const),
    additive: kind.additive,
    adds: kind.additive ? graph.results.map((r) => r.name) : [],
    ...(shards && { parted: [...shards.names], totals: shards.totals.size, reads: nodes.flatMap((n) => slotOf(n) ?? []) }),
    ...(backward && {
      backward: Object.fromEntries(backward.states),
      uses: new Set(everyParam(nodes)),
    }),
  };
}

/** Whether a gradient through columns is part of what another is taken of. */
function differentiatesTwice(graph: Graph): boolean {
  const asked = order(graph.results.map((r) => r.node)).filter((n) => rowOf(n).role === "placeholder");
  if (asked.some((n) => n.inputs.length > 2)) return true;
  const deep = (n: Node) => order([n.inputs[0]]).some((m) => rowOf(m).supply === "input" && m.type.shape.length > 0);
  const inner = new Set(asked.filter(deep));
  return [...new Set(asked.map((n) => n.inputs[0]))].some((e) => order([e]).some((m) => inner.has(m)));
}

const statesOf = (graph: Graph): string[] => [
  ...order(graph.results.map((r) => r.node)).flatMap((n) => (rowOf(n).supply === "state" ? [String(n.attrs.name)] : [])),
  ...graph.results.flatMap((r) => (r.role === "state" ? [r.name] : [])),
];
/** Names of the parameters that nodes read. */
const everyParam = (nodes: readonly Node[]): string[] => nodes.flatMap((n) => (rowOf(n).supply === "param" ? [String(n.attrs.name)] : []));

function unique(name: string, taken: Set<string>): string {
  let out = name;
  for (let i = 2; taken.has(out); i++) out = `${name}_${i}`;
  taken.add(out);
  return out;
}
