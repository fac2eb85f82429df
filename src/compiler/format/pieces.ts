/**
 * A text as words and comments in order, each with what the grammar says of the space around it, the unit it belongs to, and the bracket
 * it stands in. Units are what may begin a line by right: declarations, statements, members, fields.
 */
import type { CstElement, CstNode, IToken } from "chevrotain";
import type { Concrete } from "../read/parse.ts";

/** What may begin a line by right. */
interface Unit {
  /** Its first word. */
  first: Piece;
  /** The block it stands in; none at the top level of a file. */
  readonly block: Bracket | undefined;
}

/** A pair of brackets. A block holds units; other brackets hold parts of one. */
export interface Bracket {
  readonly open: Piece;
  /** What it begins with, a comment on the line of the bracket not counted; for an empty one its end. */
  first: Piece | undefined;
  readonly isBlock: boolean;
  /** The unit that the bracket is part of. */
  readonly owner: Unit;
}

export interface Piece {
  readonly text: string;
  readonly isComment: boolean;
  /** Name of the token's type; of an assignment always the same. */
  readonly type: string;
  /** Line and column in the text, from 0; line ends in front of it. */
  readonly line: number;
  readonly column: number;
  readonly breaks: number;
  /** No space on this side. */
  tightBefore: boolean;
  tightAfter: boolean;
  unit: Unit | undefined;
  /** Set where it is the first word of a unit. */
  begins: Unit | undefined;
  /** The innermost bracket around it, not counting one that it opens or closes. */
  inside: Bracket | undefined;
  /** The bracket that it opens, or closes. */
  opens: Bracket | undefined;
  closes: Bracket | undefined;
}

/** Rules whose braces hold units, and what the unit inside is called. */
const blocks = new Set(["Fields", "Members", "Block", "Stage"]);
const units: Readonly<Record<string, (parent: string) => boolean>> = {
  Item: () => true,
  Member: () => true,
  Statement: (parent) => parent === "Block",
  Field: (parent) => parent === "Fields",
  Setting: () => true,
};
/** Words that are always close to their neighbours. */
const closeBefore = new Set(["Comma", "Dot", "Question", "RParen", "RSquare"]);
const closeAfter = new Set(["Dot", "LParen", "LSquare"]);
/** Rules whose first bracket stands close to what is in front of it. */
const calls = new Set(["Call", "Params", "Fills", "Index"]);

export function pieces({ cst, tokens, comments }: Concrete): Piece[] {
  const all = [...tokens, ...comments].sort((a, b) => a.startOffset - b.startOffset);
  const out: Piece[] = [];
  const byOffset = new Map<number, Piece>();
  let last: IToken | undefined;
  for (const t of all) {
    const isComment = t.tokenType.name === "Comment";
    const piece: Piece = {
      text: isComment ? t.image.trimEnd().replace(/^\/\/(?=[\p{L}\p{N}])/u, "// ") : t.image,
      isComment,
      type: isAssignment(t) ? "AssignOp" : isName(t) ? "Name" : t.tokenType.name,
      line: t.startLine! - 1,
      column: t.startColumn! - 1,
      breaks: t.startLine! - (last?.endLine ?? 1),
      tightBefore: closeBefore.has(t.tokenType.name),
      tightAfter: closeAfter.has(t.tokenType.name),
      unit: undefined,
      begins: undefined,
      inside: undefined,
      opens: undefined,
      closes: undefined,
    };
    out.push(piece);
    byOffset.set(t.startOffset, piece);
    last = t;
  }
  const blockOpeners = new Set<Piece>();
  walk(cst, "", undefined, undefined, byOffset, blockOpeners);
  bracket(out, blockOpeners);
  return out;
}

const isAssignment = (t: IToken): boolean => t.tokenType.name === "Equals" || t.tokenType.name === "Rebind";
const isName = (t: IToken): boolean => t.tokenType.name === "Identifier" || (t.tokenType.CATEGORIES ?? []).some((c) => c.name === "Name");
const isToken = (e: CstElement): e is IToken => "image" in e;

/** Children of a node in the order of the text. */
function inOrder(node: CstNode): CstElement[] {
  const start = (e: CstElement): number => (isToken(e) ? e.startOffset : (e.location?.startOffset ?? 0));
  return Object.values(node.children)
    .flat()
    .sort((a, b) => start(a) - start(b));
}

function walk(
  node: CstNode,
  parent: string,
  unit: Unit | undefined,
  block: Bracket | undefined,
  byOffset: ReadonlyMap<number, Piece>,
  blockOpeners: Set<Piece>,
  isFirst = true,
): void {
  const { name } = node;
  let inner = unit;
  if (units[name]?.(parent) && node.location && !Number.isNaN(node.location.startOffset)) {
    const first = byOffset.get(node.location.startOffset)!;
    inner = { first, block };
    first.begins = inner;
  }
  const children = inOrder(node);
  let within = block;
  children.forEach((child, i) => {
    if (!isToken(child)) {
      walk(child, name, inner, within, byOffset, blockOpeners, i === 0);
      return;
    }
    const piece = byOffset.get(child.startOffset)!;
    piece.unit = inner;
    const type = child.tokenType.name;
    if (blocks.has(name) && type === "LCurly") {
      blockOpeners.add(piece);
      piece.opens = within = { open: piece, first: undefined, isBlock: true, owner: inner! };
    }
    space(name, type, piece, i, children, isFirst);
  });
}

/** What a rule says of the space around one of its words. `bare`: nothing of the rule around it stands in front. */
function space(rule: string, type: string, piece: Piece, index: number, children: readonly CstElement[], bare: boolean): void {
  const next = children[index + 1];
  if (type === "Colon") {
    // `x[a:b]`, and `x[a, :b]` where nothing is in front of the colon
    piece.tightBefore = rule !== "Slice" || index > 0 || !bare;
    piece.tightAfter = rule === "Slice";
  } else if (type === "DotDot") {
    piece.tightBefore = piece.tightAfter = true;
  } else if (rule === "Unary" && type === "Minus") piece.tightAfter = true;
  else if (type === "Ellipsis" && next !== undefined) piece.tightAfter = true;
  else if (calls.has(rule) && (type === "LParen" || type === "LSquare")) piece.tightBefore = true;
  else if (rule === "TypeRef" && type === "LSquare" && index > 0) piece.tightBefore = true;
  else if (rule === "Step" && type === "LCurly") piece.tightAfter = true;
  else if (rule === "Step" && type === "RCurly") piece.tightBefore = true;
  else if (type === "LCurly" && next !== undefined && isToken(next) && next.tokenType.name === "RCurly") piece.tightAfter = true;
}

/** Tells each piece the bracket it stands in. */
function bracket(all: readonly Piece[], blockOpeners: ReadonlySet<Piece>): void {
  const open: Bracket[] = [];
  all.forEach((piece, i) => {
    if (!piece.isComment && closers.has(piece.type)) piece.closes = open.pop();
    piece.inside = open[open.length - 1];
    if (piece.isComment || !openers.has(piece.type)) return;
    if (!blockOpeners.has(piece)) piece.opens = { open: piece, first: undefined, isBlock: false, owner: piece.unit! };
    const behind = all[i + 1]?.isComment && all[i + 1].breaks === 0;
    piece.opens!.first = all[behind ? i + 2 : i + 1];
    open.push(piece.opens!);
  });
}
const openers = new Set(["LParen", "LSquare", "LCurly"]);
const closers = new Set(["RParen", "RSquare", "RCurly"]);
