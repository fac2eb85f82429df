/**
 * Where every word goes. Line breaks are the author's, but for a few; everything else follows:
 *
 * - units of a block are indented by two, or aligned with the first where that one stands behind the `{`;
 * - other lines keep their place under a word of the lines above that they begin under, or their distance from the unit's first word;
 * - between two words there is one space or none, between two units on a line two. More is kept where words of neighbouring lines stand
 *   under each other because of it, and then it is as little as they need;
 * - comments behind code keep their column.
 */
import type { Bracket, Piece } from "./pieces.ts";

const indentBy = 2;
/** Columns hang on others to their left, a few in a row; more rounds than this and one hangs on itself. */
const passes = 40;

/** A line of the result. */
interface Line {
  readonly pieces: Piece[];
  readonly blank: boolean;
}

export function layout(all: readonly Piece[]): string {
  const lines = breakLines(all);
  if (lines.length === 0) return "";
  const at = new Columns(all, lines).settle();
  const out: string[] = [];
  for (const { pieces, blank } of lines) {
    if (blank) out.push("");
    let text = "";
    for (const p of pieces) text = text.padEnd(at.get(p)!) + p.text;
    out.push(text);
  }
  return `${out.join("\n")}\n`;
}

/** Splits the pieces into lines: where the author did, and where a line has to end or has to go on. */
function breakLines(all: readonly Piece[]): Line[] {
  const lines: Line[] = [];
  all.forEach((piece, i) => {
    const before: Piece | undefined = all[i - 1];
    if (before && !begins(piece, before)) {
      lines[lines.length - 1].pieces.push(piece);
      return;
    }
    const blank = before !== undefined && piece.breaks > 1 && !before.opens && !piece.closes;
    lines.push({ pieces: [piece], blank });
  });
  return lines;
}

function begins(piece: Piece, before: Piece): boolean {
  if (before.isComment) return true;
  if (piece.isComment) return piece.breaks > 0;
  // `{` and `else` stay with what they belong to
  if (piece.opens?.isBlock || (piece.type === "else" && before.closes?.isBlock)) return false;
  if (piece.breaks > 0) return true;
  // top-level units have their lines, and so has the end of a block whose units have theirs
  if (piece.begins && piece.begins.block === undefined) return true;
  return piece.closes?.isBlock === true && hasLines(piece.closes);
}

/** Whether the first thing in a block begins a line. */
const hasLines = (block: Bracket): boolean => block.first !== undefined && block.first.breaks > 0;

class Columns {
  private readonly column = new Map<Piece, number>();
  private readonly lineOf = new Map<Piece, Line>();
  private readonly index = new Map<Piece, number>();
  private readonly groupOf = new Map<Piece, Group>();
  /** For a line that begins inside a unit: the word above that it stands under. */
  private readonly anchors = new Map<Piece, Piece>();

  constructor(
    private readonly all: readonly Piece[],
    private readonly lines: readonly Line[],
  ) {
    for (const line of lines) for (const p of line.pieces) this.lineOf.set(p, line);
    all.forEach((p, i) => {
      this.index.set(p, i);
    });
    this.link();
    this.anchor();
  }

  /**
   * Columns grow until all that depends on each other agrees. Where a line moves far from where it was, a column may come to depend on
   * itself; the columns concerned are given up.
   */
  settle(): ReadonlyMap<Piece, number> {
    for (;;) {
      this.column.clear();
      for (const g of new Set(this.groupOf.values())) g.column = g.least;
      let growing = this.pass();
      for (let i = 0; i < passes && growing; i++) growing = this.pass();
      if (!growing || growing.size === 0) return this.column;
      for (const [p, g] of this.groupOf) if (growing.has(g)) this.groupOf.delete(p);
    }
  }
  /** Places every word once; the groups that had to grow, or nothing where all stayed. */
  private pass(): Set<Group> | undefined {
    const grown = new Set<Group>();
    let moved = false;
    for (const { pieces } of this.lines) {
      let end = 0;
      pieces.forEach((p, i) => {
        const natural = i === 0 ? this.indent(p) : end + this.gap(pieces[i - 1], p);
        const group = this.groupOf.get(p);
        if (group && natural > group.column) {
          group.column = natural;
          grown.add(group);
        }
        const column = group ? group.column : natural;
        if (this.column.get(p) !== column) moved = true;
        this.column.set(p, column);
        end = column + p.text.length;
      });
    }
    return moved ? grown : undefined;
  }

  // ── between words ──────────────────────────────────────────────────────────────────────────────

  /** Spaces that two words of a line need. */
  private gap(before: Piece, p: Piece): number {
    if (p.isComment) return 2;
    if (before.tightAfter || p.tightBefore) return 0;
    return p.begins && !before.opens?.isBlock && before.type !== "else" ? 2 : 1;
  }
  private wasGap(before: Piece, p: Piece): number {
    return p.column - (before.column + before.text.length);
  }

  /** Finds words of neighbouring lines that stand under each other, at least one of them with more space in front than it needs. */
  private link(): void {
    const stretched = (line: Line, i: number): boolean =>
      this.wasGap(line.pieces[i - 1], line.pieces[i]) > this.gap(line.pieces[i - 1], line.pieces[i]);
    this.lines.forEach((line, n) => {
      line.pieces.forEach((p, i) => {
        if (i === 0 || p.tightBefore || line.pieces[i - 1].tightAfter) return;
        const other = this.above(n, p, line.pieces[i - 1]);
        if (other && (p.isComment || stretched(line, i) || stretched(other.line, other.index)))
          this.join(other.line.pieces[other.index], p);
        // a comment stays where it is, whether or not others stand below it
        if (p.isComment && stretched(line, i)) {
          this.join(p, p);
          const group = this.groupOf.get(p)!;
          group.least = Math.max(group.least, p.column);
        }
      });
    });
  }
  /** The word that `p` stands under: in the line above, or further up where the lines between have nothing of its kind. */
  private above(n: number, p: Piece, before: Piece): { line: Line; index: number } | undefined {
    for (let k = n; k > 0 && !this.lines[k].blank; k--) {
      const line = this.lines[k - 1];
      const index = line.pieces.findIndex((q, i) => i > 0 && q.column === p.column && alike(q, p, line.pieces[i - 1], before));
      if (index > 0) return { line, index };
      if (p.isComment || line.pieces.some((q, i) => i > 0 && q.type === p.type)) return undefined;
    }
    return undefined;
  }
  private join(a: Piece, b: Piece): void {
    let group = this.groupOf.get(a);
    if (!group) {
      group = { least: 0, column: 0 };
      this.groupOf.set(a, group);
    }
    this.groupOf.set(b, group);
  }

  // ── the beginnings of lines ────────────────────────────────────────────────────────────────────

  private indent(p: Piece): number {
    if (p.isComment) return this.commentIndent(p);
    if (p.begins) return this.unitIndent(p.begins.block, p);
    if (p.closes) return p.closes.isBlock ? this.base(p.closes) : this.lineIndent(p.closes.open);
    if (p.type === "else" && this.all[this.index.get(p)! - 1]?.closes?.isBlock) return this.lineIndent(p.unit!.first);
    return this.continued(p);
  }
  /** Column of the units of a block. */
  private unitIndent(block: Bracket | undefined, p: Piece): number {
    if (!block) return 0;
    const { first } = block;
    // behind the brace: the others stand under the first
    if (first && first !== p && this.lineOf.get(first) === this.lineOf.get(block.open)) return this.at(first);
    return this.base(block) + indentBy;
  }
  /** Column of the unit that a block belongs to. */
  private base(block: Bracket): number {
    return this.lineIndent(block.owner.first);
  }
  /** Column of the line that a word is on. */
  private lineIndent(p: Piece): number {
    return this.at(this.lineOf.get(p)!.pieces[0]);
  }
  private at(p: Piece): number {
    return this.column.get(p) ?? 0;
  }

  /** A line that goes on with a unit. */
  private continued(p: Piece): number {
    const { inside } = p;
    if (inside && !inside.isBlock && this.isLast(inside.open)) return this.lineIndent(inside.open) + indentBy;
    const first = p.unit!.first;
    const base = this.at(first);
    const anchor = this.anchors.get(p);
    if (anchor && this.at(anchor) > base) return this.at(anchor);
    const distance = p.column - first.column;
    return base + (distance > 0 ? Math.max(distance, indentBy) : 2 * indentBy);
  }
  /** Whether nothing but a comment follows on the line. */
  private isLast(p: Piece): boolean {
    const { pieces } = this.lineOf.get(p)!;
    const rest = pieces.slice(pieces.indexOf(p) + 1);
    return rest.every((q) => q.isComment);
  }
  /** A comment with a line of its own stands as what follows it, or as the units of a block that ends behind it. */
  private commentIndent(p: Piece): number {
    let i = this.index.get(p)!;
    while (this.all[i]?.isComment) i++;
    const next = this.all[i];
    if (!next) return 0;
    if (next.closes && next.closes === p.inside) {
      if (next.closes.isBlock) return this.unitIndent(next.closes, p);
      return this.lineIndent(next.closes.open) + indentBy;
    }
    return this.indent(next);
  }

  /** For lines inside units: the nearest line above, of the same unit, that has a word at the column where this one begins. */
  private anchor(): void {
    this.lines.forEach((line, n) => {
      const p = line.pieces[0];
      if (p.isComment || p.begins || p.closes) return;
      for (let k = n - 1; k >= 0; k--) {
        const found = this.lines[k].pieces.find((q) => !q.isComment && q.column === p.column && (q.unit === p.unit || q === p.unit?.first));
        if (found) {
          this.anchors.set(p, found);
          return;
        }
        if (this.lines[k].pieces.includes(p.unit!.first)) return;
      }
    });
  }
}

/** Words that are in one column, as little to the right as they can be. */
interface Group {
  /** A column that the author chose. */
  least: number;
  column: number;
}

/** Whether two words may be meant to stand under each other. */
function alike(a: Piece, b: Piece, beforeA: Piece, beforeB: Piece): boolean {
  if (a.isComment || b.isComment) return a.isComment && b.isComment;
  return a.type === b.type || (beforeA.type === beforeB.type && ["Comma", "Colon", "LCurly", "AssignOp"].includes(beforeA.type));
}
