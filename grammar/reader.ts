/** What the rules stand on: looking ahead, lists, and how reading goes on after a mistake. */
import { CstParser, type IToken, isRecognitionException, type TokenType, tokenMatcher } from "chevrotain";
import { type Begins, closes, opens } from "./recover.ts";
import * as t from "./tokens.ts";

/** Something read although it is not the language. */
export interface Note {
  readonly kind:
    | "equals-in-call" // f(rank=8)
    | "equals-in-record" // { rank = 8 }
    | "colon-in-stage" // train { steps: 8 }
    | "comma-in-fields" // type T { a: int, b: int } or a comma between settings
    | "bracket-on-new-line" // ( or [ that continues the line before
    | "misplaced" // a declaration where only statements may stand
    | "unclosed-block" // no } before the next declaration or the end
    | "stray" // nothing begins here
    | "too-deep";
  readonly token: IToken;
  /** The bracket that was opened, what it was inside of. */
  readonly other?: IToken;
}

/**
 * Brackets and blocks inside each other beyond this are refused, so that nothing that walks a tree can run out of stack. What takes fewer
 * rules to get back to itself (`not not x`) may go deeper.
 */
export const deepest = 40;
/** Shares of the stack: of a bracket or block, which goes through all rules of an expression, and of the shortest way around. */
export const bracket = 3;
export const prefix = 1;

class TooDeep extends Error {}

export abstract class Reader extends CstParser {
  readonly notes: Note[] = [];
  private depth = 0;
  private tokens: readonly IToken[] = [];

  /** `checked`: the grammar itself is looked at as well (ambiguities, left recursion), and a mistake in it is an error. */
  constructor(checked = false) {
    super([...t.tokens], {
      recoveryEnabled: false,
      nodeLocationTracking: "onlyOffset",
      maxLookahead: 2,
      // the grammar is checked by its tests, not each time that a file is read
      skipValidations: !checked,
      errorMessageProvider: {
        // the message of an error is what was expected; the rest is put into words by whoever shows it
        buildMismatchTokenMessage: ({ expected }) => expected.LABEL ?? expected.name,
        buildNotAllInputParsedMessage: () => "the end of the file",
        buildNoViableAltMessage: ({ ruleName }) => ruleName,
        buildEarlyExitMessage: ({ ruleName }) => ruleName,
      },
    });
  }

  /** Begins with a new text. Errors and notes are those of what is read from now on. */
  protected begin(tokens: IToken[]): void {
    this.input = tokens;
    this.notes.length = 0;
    this.depth = 0;
    // a copy: while parsing, the one given is followed by sentinels
    this.tokens = [...tokens];
  }

  // ── looking ahead ──────────────────────────────────────────────────────────────────────────────

  protected sees(n: number, ...types: TokenType[]): boolean {
    const tok = this.LA(n);
    return types.some((type) => tokenMatcher(tok, type));
  }
  protected readonly atEnd = (): boolean => Number.isNaN(this.LA(1).startOffset);

  /**
   * `[ x { "," x } [ "," ] ]` up to a closing bracket; with `some` there is at least one. A rule that uses it leaves the options and commas
   * numbered 8 and 9, and the loop 9, to it.
   */
  protected commas(close: TokenType, first: () => void, next: () => void, some = false): void {
    const all = () => {
      first();
      this.moreCommas(close, next);
    };
    if (some) all();
    else this.OPTION8(all);
  }
  /** What follows the first of such a list. */
  protected moreCommas(close: TokenType, next: () => void): void {
    this.MANY9({
      // a comma that nothing follows is the last
      GATE: () => !this.sees(2, close),
      DEF: () => {
        this.CONSUME8(t.Comma);
        next();
      },
    });
    this.OPTION9(() => this.CONSUME9(t.Comma));
  }

  // ── reading on after a mistake ─────────────────────────────────────────────────────────────────

  protected index(tok: IToken): number {
    let low = 0;
    let high = this.tokens.length;
    if (Number.isNaN(tok.startOffset)) return high;
    while (low < high) {
      const mid = (low + high) >> 1;
      if (this.tokens[mid].startOffset < tok.startOffset) low = mid + 1;
      else high = mid;
    }
    return low;
  }
  protected column(tok: IToken): number {
    return tok.startColumn ?? 1;
  }
  protected firstOnLine(i: number): boolean {
    return i === 0 || this.tokens[i].startLine !== this.tokens[i - 1].endLine;
  }
  /** Column of the line that a token stands on. */
  protected indent(i: number): number {
    while (!this.firstOnLine(i)) i--;
    return this.column(this.tokens[i]);
  }

  /** Index of the token at which reading goes on, after what began at `start` failed at `at`. */
  private resume(start: number, at: number, begins: Begins): number {
    const { tokens } = this;
    const margin = this.indent(start);
    let braces = 0;
    let brackets = 0;
    for (let i = start; i < tokens.length; i++) {
      const tok = tokens[i];
      if (i >= at && i > start) {
        if (begins(tokens, i) && ((this.firstOnLine(i) && this.column(tok) <= margin) || (braces === 0 && brackets === 0))) return i;
      }
      if (opens(tok)) tok.tokenType === t.LCurly ? braces++ : brackets++;
      else if (tok.tokenType === t.RCurly) {
        if (braces === 0 && i >= at) return i;
        braces--;
        brackets = 0;
      } else if (closes(tok) && brackets > 0) brackets--;
    }
    return tokens.length;
  }

  private guarded(read: () => void, begins: Begins): void {
    if (this.RECORDING_PHASE) {
      read();
      return;
    }
    const start = this.index(this.LA(1));
    const { depth } = this;
    try {
      read();
    } catch (e) {
      if (!(e instanceof TooDeep || isRecognitionException(e as Error))) throw e;
      this.depth = depth;
      this.skipTo(this.resume(start, this.index(this.LA(1)), begins), start);
    }
  }
  private skipTo(index: number, start: number): void {
    let at = this.index(this.LA(1));
    const target = Math.max(index, at === start ? start + 1 : at);
    for (; at < target && at < this.tokens.length; at++) this.skip();
  }
  private skip(): void {
    // the last token has no successor to skip to, so it is consumed as what it is
    if (this.index(this.LA(1)) < this.tokens.length - 1) this.SKIP_TOKEN();
    else this.consume(0, this.LA(1).tokenType);
  }

  /** `{ x }`, each guarded, up to where the list is over; goes on past what cannot begin one. */
  protected each(read: () => void, ended: () => boolean, begins: Begins): void {
    const loop = () => this.MANY({ GATE: () => !ended(), DEF: () => this.guarded(read, begins) });
    loop();
    if (this.RECORDING_PHASE) return;
    while (!ended()) {
      const start = this.index(this.LA(1));
      this.notes.push({ kind: "stray", token: this.LA(1) });
      this.skipTo(this.resume(start, start, begins), start);
      loop();
    }
  }

  /** Counts how deep rules are inside each other, each with its share of the stack. */
  protected deeper<T>(weight: number, read: () => T): T | undefined {
    if (this.RECORDING_PHASE) return read();
    this.depth += weight;
    if (this.depth > deepest * bracket) {
      this.notes.push({ kind: "too-deep", token: this.LA(1) });
      throw new TooDeep();
    }
    const result = read();
    this.depth -= weight;
    return result;
  }

  // ── notes ──────────────────────────────────────────────────────────────────────────────────────

  protected note(kind: Note["kind"], token: IToken): void {
    if (!this.RECORDING_PHASE) this.notes.push({ kind, token });
  }
  /** A bracket at the start of a line belongs to the line before. */
  protected lineStart(token: IToken): void {
    if (!this.RECORDING_PHASE && this.firstOnLine(this.index(token))) this.notes.push({ kind: "bracket-on-new-line", token });
  }
}
