/**
 * The productions of `grammar.ebnf`, one rule each and by the same names, with three kinds of rule or branch more, which are what make a
 * mistake cost one statement instead of the file:
 *
 * - a list of things (statements, members, fields, settings) reads each of them guarded: where one fails, tokens are skipped up to the
 *   place where the next one seems to begin, and the list goes on;
 * - what is clearly meant is read and noted (`rank=8` in a call);
 * - what stands in the wrong place (a `param` inside an `if`) is read and noted: `misplaced`.
 *
 * The parser says where and what, never how to put it: notes and errors become messages elsewhere.
 */
import { CstParser, type IToken, isRecognitionException, type TokenType, tokenMatcher } from "chevrotain";
import { beginsField, beginsItem, beginsSetting, closes, opens } from "./recover.ts";
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
const bracket = 3;
const prefix = 1;

class TooDeep extends Error {}

/** Where a block may end although its `}` is missing, and what may stand in it by mistake. */
type Level = "file" | "members" | "statements";
const topOnly = [t.Import, t.Type, t.Role, t.Module, t.Method];

export class PeftParser extends CstParser {
  readonly notes: Note[] = [];
  private depth = 0;

  constructor() {
    super([...t.tokens], {
      recoveryEnabled: false,
      nodeLocationTracking: "onlyOffset",
      maxLookahead: 2,
      errorMessageProvider: {
        // the message of an error is what was expected; the rest is put into words by whoever shows it
        buildMismatchTokenMessage: ({ expected }) => expected.LABEL ?? expected.name,
        buildNotAllInputParsedMessage: () => "the end of the file",
        buildNoViableAltMessage: ({ ruleName }) => ruleName,
        buildEarlyExitMessage: ({ ruleName }) => ruleName,
      },
    });
    this.performSelfAnalysis();
  }

  /** Reads a whole file. Errors and notes are those of this call. */
  read(tokens: IToken[]) {
    this.input = tokens;
    this.notes.length = 0;
    this.depth = 0;
    // a copy: while parsing, the one given is followed by sentinels
    this.tokens = [...tokens];
    return this.Program();
  }
  private tokens: IToken[] = [];

  // ── looking ahead ──────────────────────────────────────────────────────────────────────────────

  private sees(n: number, ...types: TokenType[]): boolean {
    const tok = this.LA(n);
    return types.some((type) => tokenMatcher(tok, type));
  }
  private atParameter(): boolean {
    if (this.sees(1, t.Param)) return true;
    if (this.sees(1, t.Shared)) return this.sees(2, t.Param, t.Name) && !this.sees(3, t.LCurly);
    return this.sees(1, t.Frozen) && this.sees(2, t.Param, t.Shared);
  }
  private readonly atState = () => this.sees(1, t.State) && this.sees(2, t.Name) && !this.sees(3, t.LCurly);
  private readonly atInput = () => this.sees(1, t.Input) && this.sees(2, t.Name) && !this.sees(3, t.LCurly);
  private readonly atModel = () => this.sees(1, t.Model) && this.sees(2, t.Name) && !this.sees(3, t.LCurly);
  private readonly atRequire = () => this.sees(1, t.Require) && !this.sees(2, t.AssignOp, t.Dot, t.Comma, t.LCurly);
  private readonly atStage = () => this.sees(1, t.Name) && (this.sees(2, t.LCurly) || (this.sees(2, t.Name) && this.sees(3, t.LCurly)));
  private readonly atMember = () => this.atParameter() || this.atState() || this.atInput() || this.sees(1, t.Forward, t.Fn);
  /** A soft word that continues the statement before, unless it begins one of its own: `expect = 3`. */
  private readonly continues = () => !this.sees(2, t.AssignOp, t.Dot, t.Comma) && !(this.sees(2, t.Name) && this.sees(3, t.LCurly));
  /** A comma that is followed by one more. */
  private readonly goesOn = (close: TokenType) => () => !this.sees(2, close);

  // ── reading on after a mistake ─────────────────────────────────────────────────────────────────

  private index(tok: IToken): number {
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
  private column(tok: IToken): number {
    return tok.startColumn ?? 1;
  }
  private firstOnLine(i: number): boolean {
    return i === 0 || this.tokens[i].startLine !== this.tokens[i - 1].endLine;
  }
  /** Column of the line that a token stands on. */
  private indent(i: number): number {
    while (!this.firstOnLine(i)) i--;
    return this.column(this.tokens[i]);
  }

  /** Index of the token at which reading goes on, after what began at `start` failed at `at`. */
  private resume(start: number, at: number, begins: (tokens: readonly IToken[], i: number) => boolean): number {
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

  private guarded(read: () => void, begins: (tokens: readonly IToken[], i: number) => boolean): void {
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

  /** `{ x }` up to a closing bracket: goes on past what cannot begin one. */
  private each(loop: () => void, ended: () => boolean, begins: (tokens: readonly IToken[], i: number) => boolean): void {
    loop();
    if (this.RECORDING_PHASE) return;
    while (!ended()) {
      const start = this.index(this.LA(1));
      this.notes.push({ kind: "stray", token: this.LA(1) });
      this.skipTo(this.resume(start, start, begins), start);
      loop();
    }
  }

  /** Whether a block of `level`, opened at `open`, is over: at its `}`, or where what follows can only stand further out. */
  private over(level: Level, open: number): boolean {
    if (this.LA(1).tokenType === t.RCurly || Number.isNaN(this.LA(1).startOffset)) return true;
    if (!this.outside(level)) return false;
    const i = this.index(this.LA(1));
    return this.firstOnLine(i) && this.column(this.LA(1)) <= this.indent(open);
  }
  /** Whether the next token begins something that has no place at `level`. */
  private outside(level: Level): boolean {
    if (level === "file") return this.atMember() && !this.sees(1, t.Fn);
    return this.sees(1, ...topOnly) || (level === "statements" && this.atMember());
  }
  private closeBlock(open: IToken): void {
    if (this.RECORDING_PHASE || this.LA(1).tokenType === t.RCurly) this.CONSUME(t.RCurly);
    else if (!this.notes.some((n) => n.kind === "unclosed-block" && n.token === this.LA(1)))
      this.notes.push({ kind: "unclosed-block", token: this.LA(1), other: open });
  }

  /** Counts how deep rules are inside each other, each with its share of the stack. */
  private deeper<T>(weight: number, read: () => T): T | undefined {
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

  // ── a file ─────────────────────────────────────────────────────────────────────────────────────

  readonly Program = this.RULE("Program", () => {
    this.each(
      () =>
        this.MANY({
          GATE: () => !Number.isNaN(this.LA(1).startOffset),
          DEF: () =>
            this.guarded(
              () =>
                this.OR([
                  { GATE: () => this.outside("file"), ALT: () => this.SUBRULE(this.Misplaced) },
                  { ALT: () => this.SUBRULE(this.Item), IGNORE_AMBIGUITIES: true },
                ]),
              beginsItem,
            ),
        }),
      () => Number.isNaN(this.LA(1).startOffset),
      beginsItem,
    );
  });

  readonly Item = this.RULE("Item", () => {
    this.OR([
      { ALT: () => this.SUBRULE(this.Import) },
      { ALT: () => this.SUBRULE(this.Type) },
      { ALT: () => this.SUBRULE(this.Role) },
      { ALT: () => this.SUBRULE(this.Module) },
      { ALT: () => this.SUBRULE(this.Method) },
      { ALT: () => this.SUBRULE(this.Function) },
      { ALT: () => this.SUBRULE(this.Statement) },
    ]);
  });

  readonly Import = this.RULE("Import", () => {
    this.CONSUME(t.Import);
    this.CONSUME(t.LCurly);
    this.OPTION(() => {
      this.SUBRULE(this.ImportName);
      this.MANY({
        GATE: this.goesOn(t.RCurly),
        DEF: () => {
          this.CONSUME(t.Comma);
          this.SUBRULE2(this.ImportName);
        },
      });
      this.OPTION2(() => this.CONSUME2(t.Comma));
    });
    this.CONSUME(t.RCurly);
    this.CONSUME(t.From);
    this.CONSUME(t.Text);
  });
  readonly ImportName = this.RULE("ImportName", () => {
    this.CONSUME(t.Name);
    this.OPTION(() => {
      this.CONSUME(t.As);
      this.CONSUME2(t.Name);
    });
  });

  readonly Type = this.RULE("Type", () => {
    this.CONSUME(t.Type);
    this.CONSUME(t.Name);
    this.SUBRULE(this.Fields);
  });
  readonly Role = this.RULE("Role", () => {
    this.CONSUME(t.Role);
    this.CONSUME(t.Name);
    this.OPTION(() => {
      this.CONSUME(t.As);
      this.CONSUME2(t.Name);
    });
    this.OPTION2(() => this.SUBRULE(this.Fields));
  });
  readonly Fields = this.RULE("Fields", () => {
    const open = this.CONSUME(t.LCurly);
    const at = this.RECORDING_PHASE ? 0 : this.index(open);
    this.each(
      () =>
        this.MANY({
          GATE: () => !this.over("members", at),
          DEF: () =>
            this.guarded(() => {
              this.SUBRULE(this.Field);
              this.OPTION(() => this.note("comma-in-fields", this.CONSUME(t.Comma)));
            }, beginsField),
        }),
      () => this.over("members", at),
      beginsField,
    );
    this.closeBlock(open);
  });
  readonly Field = this.RULE("Field", () => {
    this.CONSUME(t.Name);
    this.CONSUME(t.Colon);
    this.SUBRULE(this.TypeRef);
    this.OPTION(() => {
      this.CONSUME(t.Equals);
      this.SUBRULE(this.Expr);
    });
  });

  readonly Module = this.RULE("Module", () => {
    this.CONSUME(t.Module);
    this.CONSUME(t.Name);
    this.SUBRULE(this.Params);
    this.OPTION(() => this.SUBRULE(this.Roles));
    this.SUBRULE(this.Members);
  });
  readonly Method = this.RULE("Method", () => {
    this.CONSUME(t.Method);
    this.CONSUME(t.Name);
    this.SUBRULE(this.Params);
    this.CONSUME(t.On);
    this.SUBRULE(this.TypeRef);
    this.OPTION(() => this.SUBRULE(this.Roles));
    this.SUBRULE(this.Members);
  });
  readonly Roles = this.RULE("Roles", () => {
    this.CONSUME(t.As);
    this.SUBRULE(this.Fills);
    this.MANY(() => {
      this.CONSUME(t.Comma);
      this.SUBRULE2(this.Fills);
    });
  });
  readonly Fills = this.RULE("Fills", () => {
    this.CONSUME(t.Name);
    this.OPTION(() => {
      this.CONSUME(t.LParen);
      this.OPTION2(() => {
        this.SUBRULE(this.Filled);
        this.MANY({
          GATE: this.goesOn(t.RParen),
          DEF: () => {
            this.CONSUME(t.Comma);
            this.SUBRULE2(this.Filled);
          },
        });
        this.OPTION3(() => this.CONSUME2(t.Comma));
      });
      this.CONSUME(t.RParen);
    });
  });
  readonly Filled = this.RULE("Filled", () => {
    this.CONSUME(t.Name);
    this.CONSUME(t.Colon);
    this.SUBRULE(this.Path);
  });

  readonly Params = this.RULE("Params", () => {
    this.CONSUME(t.LParen);
    this.OPTION(() => {
      this.SUBRULE(this.Param);
      this.MANY({
        GATE: this.goesOn(t.RParen),
        DEF: () => {
          this.CONSUME(t.Comma);
          this.SUBRULE2(this.Param);
        },
      });
      this.OPTION2(() => this.CONSUME2(t.Comma));
    });
    this.CONSUME(t.RParen);
  });
  readonly Param = this.RULE("Param", () => {
    this.CONSUME(t.Name);
    this.OPTION(() => {
      this.CONSUME(t.Colon);
      this.SUBRULE(this.TypeRef);
    });
    this.OPTION2(() => {
      this.CONSUME(t.Equals);
      this.SUBRULE(this.Expr);
    });
  });
  readonly Results = this.RULE("Results", () => {
    this.CONSUME(t.Arrow);
    this.SUBRULE(this.Param);
    this.MANY(() => {
      this.CONSUME(t.Comma);
      this.SUBRULE2(this.Param);
    });
  });

  // ── members ────────────────────────────────────────────────────────────────────────────────────

  readonly Members = this.RULE("Members", () => {
    const open = this.CONSUME(t.LCurly);
    const at = this.RECORDING_PHASE ? 0 : this.index(open);
    this.each(
      () =>
        this.MANY({
          GATE: () => !this.over("members", at),
          DEF: () =>
            this.guarded(
              () =>
                this.OR([
                  { GATE: () => this.outside("members"), ALT: () => this.SUBRULE(this.Misplaced) },
                  { ALT: () => this.SUBRULE(this.Member), IGNORE_AMBIGUITIES: true },
                ]),
              beginsItem,
            ),
        }),
      () => this.over("members", at),
      beginsItem,
    );
    this.closeBlock(open);
  });
  readonly Member = this.RULE("Member", () => {
    this.OR({
      DEF: [
        { GATE: () => this.atParameter(), ALT: () => this.SUBRULE(this.Parameter) },
        { GATE: this.atState, ALT: () => this.SUBRULE(this.State) },
        { GATE: this.atInput, ALT: () => this.SUBRULE(this.Input) },
        { ALT: () => this.SUBRULE(this.Forward) },
        { ALT: () => this.SUBRULE(this.Function) },
        { ALT: () => this.SUBRULE(this.Statement) },
      ],
      IGNORE_AMBIGUITIES: true,
    });
  });
  readonly Parameter = this.RULE("Parameter", () => {
    this.OR([
      {
        GATE: () => this.sees(1, t.Shared) && !this.sees(2, t.Param, t.Frozen),
        ALT: () => {
          this.CONSUME(t.Shared);
          this.CONSUME(t.Name);
          this.CONSUME(t.Equals);
          this.SUBRULE(this.Expr);
        },
      },
      {
        ALT: () => {
          this.OPTION(() => this.CONSUME2(t.Shared));
          this.OPTION2(() => this.CONSUME(t.Frozen));
          this.CONSUME(t.Param);
          this.SUBRULE(this.Field);
        },
      },
    ]);
  });
  readonly State = this.RULE("State", () => {
    this.CONSUME(t.State);
    this.CONSUME(t.Name);
    this.OPTION(() => {
      this.CONSUME(t.Colon);
      this.SUBRULE(this.TypeRef);
    });
    this.CONSUME(t.Equals);
    this.SUBRULE(this.Expr);
  });
  readonly Input = this.RULE("Input", () => {
    this.CONSUME(t.Input);
    this.SUBRULE(this.Field);
  });
  readonly Forward = this.RULE("Forward", () => {
    this.CONSUME(t.Forward);
    this.SUBRULE(this.Params);
    this.SUBRULE(this.Results);
    this.SUBRULE(this.Block);
  });
  readonly Function = this.RULE("Function", () => {
    this.CONSUME(t.Fn);
    this.CONSUME(t.Name);
    this.SUBRULE(this.Params);
    this.OR([
      {
        ALT: () => {
          this.CONSUME(t.Equals);
          this.SUBRULE(this.Expr);
        },
      },
      {
        ALT: () => {
          this.SUBRULE(this.Results);
          this.SUBRULE(this.Block);
        },
      },
    ]);
  });

  // ── statements ─────────────────────────────────────────────────────────────────────────────────

  readonly Block = this.RULE("Block", () => {
    const open = this.CONSUME(t.LCurly);
    const at = this.RECORDING_PHASE ? 0 : this.index(open);
    this.each(
      () =>
        this.MANY({
          GATE: () => !this.over("statements", at),
          DEF: () =>
            this.guarded(
              () =>
                this.OR([
                  { GATE: () => this.outside("statements"), ALT: () => this.SUBRULE(this.Misplaced) },
                  { ALT: () => this.SUBRULE(this.Statement), IGNORE_AMBIGUITIES: true },
                ]),
              beginsItem,
            ),
        }),
      () => this.over("statements", at),
      beginsItem,
    );
    this.closeBlock(open);
  });
  /** A declaration where it has no place. */
  readonly Misplaced = this.RULE("Misplaced", () => {
    this.note("misplaced", this.LA(1));
    this.deeper(bracket, () =>
      this.OR([
        { GATE: () => this.atMember(), ALT: () => this.SUBRULE(this.Member) },
        { ALT: () => this.SUBRULE(this.Item), IGNORE_AMBIGUITIES: true },
      ]),
    );
  });

  readonly Statement = this.RULE("Statement", () => {
    this.deeper(bracket, () =>
      this.OR({
        DEF: [
          { GATE: this.atModel, ALT: () => this.SUBRULE(this.Model) },
          { ALT: () => this.SUBRULE(this.Attach) },
          { ALT: () => this.SUBRULE(this.Detach) },
          { GATE: this.atRequire, ALT: () => this.SUBRULE(this.Require) },
          { ALT: () => this.SUBRULE(this.For) },
          { ALT: () => this.SUBRULE(this.If) },
          { GATE: this.atStage, ALT: () => this.SUBRULE(this.Stage) },
          { ALT: () => this.SUBRULE(this.Binding) },
        ],
        IGNORE_AMBIGUITIES: true,
      }),
    );
  });
  readonly Model = this.RULE("Model", () => {
    this.CONSUME(t.Model);
    this.CONSUME(t.Name);
    this.CONSUME(t.Equals);
    this.SUBRULE(this.Expr);
    this.OPTION({
      GATE: this.continues,
      DEF: () => {
        this.CONSUME(t.From);
        this.SUBRULE2(this.Expr);
      },
    });
  });
  readonly Attach = this.RULE("Attach", () => {
    this.CONSUME(t.Attach);
    this.CONSUME(t.Name);
    this.CONSUME(t.Equals);
    this.SUBRULE(this.Expr);
    this.CONSUME(t.To);
    this.SUBRULE2(this.Expr);
    this.OPTION({
      GATE: this.continues,
      DEF: () => {
        this.CONSUME(t.Expect);
        this.SUBRULE3(this.Expr);
      },
    });
  });
  readonly Detach = this.RULE("Detach", () => {
    this.CONSUME(t.Detach);
    this.SUBRULE(this.Expr);
  });
  readonly Require = this.RULE("Require", () => {
    this.CONSUME(t.Require);
    this.SUBRULE(this.Expr);
    this.OPTION(() => {
      this.CONSUME(t.Comma);
      this.CONSUME(t.Text);
    });
  });
  readonly For = this.RULE("For", () => {
    this.CONSUME(t.For);
    this.SUBRULE(this.Names);
    this.CONSUME(t.In);
    this.SUBRULE(this.Expr);
    this.SUBRULE(this.Block);
  });
  readonly If = this.RULE("If", () => {
    this.CONSUME(t.If);
    this.SUBRULE(this.Expr);
    this.SUBRULE(this.Block);
    this.OPTION(() => {
      this.CONSUME(t.Else);
      this.OR([{ ALT: () => this.deeper(prefix, () => this.SUBRULE(this.If)) }, { ALT: () => this.SUBRULE2(this.Block) }]);
    });
  });
  readonly Stage = this.RULE("Stage", () => {
    this.CONSUME(t.Name);
    this.OPTION(() => this.CONSUME2(t.Name));
    const open = this.CONSUME(t.LCurly);
    const at = this.RECORDING_PHASE ? 0 : this.index(open);
    this.each(
      () =>
        this.MANY({
          GATE: () => !this.over("statements", at),
          DEF: () =>
            this.guarded(() => {
              this.SUBRULE(this.Setting);
              this.OPTION2(() => this.note("comma-in-fields", this.CONSUME(t.Comma)));
            }, beginsSetting),
        }),
      () => this.over("statements", at),
      beginsSetting,
    );
    this.closeBlock(open);
  });
  readonly Setting = this.RULE("Setting", () => {
    this.OR([
      {
        ALT: () => {
          this.CONSUME(t.Ellipsis);
          this.SUBRULE(this.Expr);
        },
      },
      {
        ALT: () => {
          this.CONSUME(t.Name);
          this.OR2([{ ALT: () => this.CONSUME(t.Equals) }, { ALT: () => this.note("colon-in-stage", this.CONSUME(t.Colon)) }]);
          this.SUBRULE2(this.Expr);
        },
      },
    ]);
  });
  readonly Binding = this.RULE("Binding", () => {
    this.SUBRULE(this.Path);
    this.MANY(() => {
      this.CONSUME(t.Comma);
      this.SUBRULE2(this.Path);
    });
    this.CONSUME(t.AssignOp);
    this.SUBRULE(this.Expr);
    this.MANY2(() => {
      this.CONSUME2(t.Comma);
      this.SUBRULE2(this.Expr);
    });
  });

  readonly Path = this.RULE("Path", () => {
    this.CONSUME(t.Name);
    this.MANY(() => {
      this.CONSUME(t.Dot);
      this.CONSUME(t.AnyName);
    });
  });
  readonly Names = this.RULE("Names", () => {
    this.CONSUME(t.Name);
    this.MANY(() => {
      this.CONSUME(t.Comma);
      this.CONSUME2(t.Name);
    });
  });

  readonly TypeRef = this.RULE("TypeRef", () => {
    this.OR([
      {
        ALT: () => {
          this.CONSUME(t.LSquare);
          this.deeper(prefix, () => this.SUBRULE(this.TypeRef));
          this.CONSUME(t.RSquare);
        },
      },
      { ALT: () => this.CONSUME(t.Fn) },
      {
        ALT: () => {
          this.CONSUME(t.Name);
          this.OPTION(() => {
            this.CONSUME2(t.LSquare);
            this.OPTION2(() => {
              this.SUBRULE(this.Dim);
              this.MANY(() => {
                this.CONSUME(t.Comma);
                this.SUBRULE2(this.Dim);
              });
            });
            this.CONSUME2(t.RSquare);
          });
        },
      },
    ]);
    this.OPTION3(() => this.CONSUME(t.Question));
  });
  readonly Dim = this.RULE("Dim", () => {
    this.OR([{ ALT: () => this.CONSUME(t.Ellipsis) }, { ALT: () => this.SUBRULE(this.Expr) }]);
  });

  // ── expressions, loosest first ─────────────────────────────────────────────────────────────────

  readonly Expr = this.RULE("Expr", () => {
    this.deeper(bracket, () => {
      this.SUBRULE(this.Choice);
      this.MANY(() => {
        this.CONSUME(t.Except);
        this.SUBRULE2(this.Choice);
      });
    });
  });
  readonly Choice = this.RULE("Choice", () => {
    this.OR([
      {
        ALT: () => {
          this.CONSUME(t.If);
          this.SUBRULE(this.Expr);
          this.CONSUME(t.Then);
          this.deeper(prefix, () => this.SUBRULE(this.Choice));
          this.CONSUME(t.Else);
          this.deeper(prefix, () => this.SUBRULE2(this.Choice));
        },
      },
      {
        ALT: () => {
          this.CONSUME(t.Fn);
          this.SUBRULE(this.Params);
          this.CONSUME(t.FatArrow);
          this.deeper(prefix, () => this.SUBRULE3(this.Choice));
        },
      },
      { ALT: () => this.SUBRULE(this.Default) },
    ]);
  });
  readonly Default = this.RULE("Default", () => {
    this.SUBRULE(this.Or);
    this.MANY(() => {
      this.CONSUME(t.Coalesce);
      this.SUBRULE2(this.Or);
    });
  });
  readonly Or = this.RULE("Or", () => {
    this.SUBRULE(this.And);
    this.MANY(() => {
      this.CONSUME(t.Or);
      this.SUBRULE2(this.And);
    });
  });
  readonly And = this.RULE("And", () => {
    this.SUBRULE(this.Not);
    this.MANY(() => {
      this.CONSUME(t.And);
      this.SUBRULE2(this.Not);
    });
  });
  readonly Not = this.RULE("Not", () => {
    this.OR([
      {
        ALT: () => {
          this.CONSUME(t.Not);
          this.deeper(prefix, () => this.SUBRULE(this.Not));
        },
      },
      { ALT: () => this.SUBRULE(this.Compare) },
    ]);
  });
  readonly Compare = this.RULE("Compare", () => {
    this.SUBRULE(this.Range);
    this.OPTION(() => {
      this.CONSUME(t.CompareOp);
      this.SUBRULE2(this.Range);
    });
  });
  readonly Range = this.RULE("Range", () => {
    this.SUBRULE(this.Sum);
    this.OPTION({
      GATE: () => !this.sees(2, t.RSquare, t.Comma),
      DEF: () => {
        this.CONSUME(t.DotDot);
        this.SUBRULE2(this.Sum);
      },
    });
  });
  readonly Sum = this.RULE("Sum", () => {
    this.SUBRULE(this.Product);
    this.MANY(() => {
      this.CONSUME(t.AddOp);
      this.SUBRULE2(this.Product);
    });
  });
  readonly Product = this.RULE("Product", () => {
    this.SUBRULE(this.Unary);
    this.MANY(() => {
      this.CONSUME(t.MulOp);
      this.SUBRULE2(this.Unary);
    });
  });
  readonly Unary = this.RULE("Unary", () => {
    this.OR([
      {
        ALT: () => {
          this.CONSUME(t.Minus);
          this.deeper(prefix, () => this.SUBRULE(this.Unary));
        },
      },
      { ALT: () => this.SUBRULE(this.Power) },
    ]);
  });
  readonly Power = this.RULE("Power", () => {
    this.SUBRULE(this.Postfix);
    this.OPTION(() => {
      this.CONSUME(t.StarStar);
      this.deeper(prefix, () => this.SUBRULE(this.Unary));
    });
  });
  readonly Postfix = this.RULE("Postfix", () => {
    this.SUBRULE(this.Primary);
    this.MANY(() => this.SUBRULE(this.Suffix));
  });
  readonly Suffix = this.RULE("Suffix", () => {
    this.OR([
      {
        ALT: () => {
          this.CONSUME(t.Dot);
          this.SUBRULE(this.Step);
        },
      },
      { ALT: () => this.SUBRULE(this.Call) },
      { ALT: () => this.SUBRULE(this.Index) },
    ]);
  });
  readonly Step = this.RULE("Step", () => {
    this.OR([
      { ALT: () => this.SUBRULE(this.Deep) },
      { ALT: () => this.CONSUME(t.Star) },
      {
        ALT: () => {
          this.CONSUME(t.LCurly);
          this.deeper(prefix, () => this.SUBRULE(this.Alternative));
          this.MANY({
            GATE: this.goesOn(t.RCurly),
            DEF: () => {
              this.CONSUME(t.Comma);
              this.deeper(prefix, () => this.SUBRULE2(this.Alternative));
            },
          });
          this.OPTION(() => this.CONSUME2(t.Comma));
          this.CONSUME(t.RCurly);
        },
      },
      { ALT: () => this.CONSUME(t.AnyName) },
    ]);
  });
  readonly Deep = this.RULE("Deep", () => {
    this.CONSUME(t.StarStar);
    this.OPTION({
      GATE: () => this.sees(2, t.Name),
      DEF: () => {
        this.CONSUME(t.Colon);
        this.CONSUME(t.Name);
      },
    });
  });
  readonly Alternative = this.RULE("Alternative", () => {
    this.OR([{ ALT: () => this.CONSUME(t.Name) }, { ALT: () => this.SUBRULE(this.Deep) }, { ALT: () => this.CONSUME(t.Star) }]);
    this.MANY(() => {
      this.CONSUME(t.Dot);
      this.SUBRULE(this.Step);
    });
  });
  readonly Call = this.RULE("Call", () => {
    this.lineStart(this.CONSUME(t.LParen));
    this.OPTION(() => {
      this.SUBRULE(this.Argument);
      this.MANY({
        GATE: this.goesOn(t.RParen),
        DEF: () => {
          this.CONSUME(t.Comma);
          this.SUBRULE2(this.Argument);
        },
      });
      this.OPTION2(() => this.CONSUME2(t.Comma));
    });
    this.CONSUME(t.RParen);
  });
  readonly Argument = this.RULE("Argument", () => {
    this.OR({
      DEF: [
        {
          ALT: () => {
            this.CONSUME(t.Ellipsis);
            this.SUBRULE(this.Expr);
          },
        },
        {
          GATE: () => this.sees(2, t.Colon, t.Equals),
          ALT: () => {
            this.CONSUME(t.Name);
            this.OR2([{ ALT: () => this.CONSUME(t.Colon) }, { ALT: () => this.note("equals-in-call", this.CONSUME(t.Equals)) }]);
            this.SUBRULE2(this.Expr);
          },
        },
        { ALT: () => this.SUBRULE3(this.Expr) },
      ],
      IGNORE_AMBIGUITIES: true,
    });
  });
  readonly Index = this.RULE("Index", () => {
    this.lineStart(this.CONSUME(t.LSquare));
    this.SUBRULE(this.IndexItem);
    this.MANY({
      GATE: this.goesOn(t.RSquare),
      DEF: () => {
        this.CONSUME(t.Comma);
        this.SUBRULE2(this.IndexItem);
      },
    });
    this.OPTION(() => this.CONSUME2(t.Comma));
    this.CONSUME(t.RSquare);
  });
  readonly IndexItem = this.RULE("IndexItem", () => {
    this.OR([
      { ALT: () => this.CONSUME(t.Ellipsis) },
      { ALT: () => this.CONSUME(t.Star) },
      { ALT: () => this.SUBRULE(this.Slice) },
      {
        ALT: () => {
          this.SUBRULE(this.Expr);
          this.OR2([
            { ALT: () => this.CONSUME(t.DotDot) },
            { ALT: () => this.OPTION(() => this.SUBRULE2(this.Slice)) },
          ]);
        },
      },
    ]);
  });
  readonly Slice = this.RULE("Slice", () => {
    this.CONSUME(t.Colon);
    this.OPTION(() => this.SUBRULE(this.Stop));
    this.OPTION2(() => {
      this.CONSUME2(t.Colon);
      this.OPTION3(() => this.SUBRULE(this.Expr));
    });
  });
  readonly Stop = this.RULE("Stop", () => {
    this.SUBRULE(this.Expr);
  });
  readonly Primary = this.RULE("Primary", () => {
    this.OR([
      { ALT: () => this.CONSUME(t.NumberLiteral) },
      { ALT: () => this.CONSUME(t.Text) },
      { ALT: () => this.CONSUME(t.True) },
      { ALT: () => this.CONSUME(t.False) },
      { ALT: () => this.CONSUME(t.None) },
      { ALT: () => this.CONSUME(t.Name) },
      { ALT: () => this.SUBRULE(this.Deep) },
      {
        ALT: () => {
          this.CONSUME(t.LParen);
          this.SUBRULE(this.Expr);
          this.CONSUME(t.RParen);
        },
      },
      { ALT: () => this.SUBRULE(this.List) },
      { ALT: () => this.SUBRULE(this.Record) },
    ]);
  });
  readonly List = this.RULE("List", () => {
    this.CONSUME(t.LSquare);
    this.OPTION(() => {
      this.SUBRULE(this.Element);
      this.OR([
        {
          ALT: () => {
            this.CONSUME(t.For);
            this.SUBRULE(this.Names);
            this.CONSUME(t.In);
            this.SUBRULE(this.Expr);
            this.OPTION2(() => {
              this.CONSUME(t.If);
              this.SUBRULE2(this.Expr);
            });
          },
        },
        {
          ALT: () => {
            this.MANY({
              GATE: this.goesOn(t.RSquare),
              DEF: () => {
                this.CONSUME(t.Comma);
                this.SUBRULE2(this.Element);
              },
            });
            this.OPTION3(() => this.CONSUME2(t.Comma));
          },
        },
      ]);
    });
    this.CONSUME(t.RSquare);
  });
  readonly Element = this.RULE("Element", () => {
    this.OPTION(() => this.CONSUME(t.Ellipsis));
    this.SUBRULE(this.Expr);
  });
  readonly Record = this.RULE("Record", () => {
    this.CONSUME(t.LCurly);
    this.OPTION(() => {
      this.SUBRULE(this.Entry);
      this.MANY({
        GATE: this.goesOn(t.RCurly),
        DEF: () => {
          this.CONSUME(t.Comma);
          this.SUBRULE2(this.Entry);
        },
      });
      this.OPTION2(() => this.CONSUME2(t.Comma));
    });
    this.CONSUME(t.RCurly);
  });
  readonly Entry = this.RULE("Entry", () => {
    this.OR([
      {
        ALT: () => {
          this.CONSUME(t.Ellipsis);
          this.SUBRULE(this.Expr);
        },
      },
      {
        ALT: () => {
          this.OR2([{ ALT: () => this.CONSUME(t.Name) }, { ALT: () => this.CONSUME(t.Text) }]);
          this.OR3([{ ALT: () => this.CONSUME(t.Colon) }, { ALT: () => this.note("equals-in-record", this.CONSUME(t.Equals)) }]);
          this.SUBRULE2(this.Expr);
        },
      },
    ]);
  });

  // ── notes ──────────────────────────────────────────────────────────────────────────────────────

  private note(kind: Note["kind"], token: IToken): void {
    if (!this.RECORDING_PHASE) this.notes.push({ kind, token });
  }
  /** A bracket at the start of a line belongs to the line before. */
  private lineStart(token: IToken): void {
    if (!this.RECORDING_PHASE && this.firstOnLine(this.index(token))) this.notes.push({ kind: "bracket-on-new-line", token });
  }
}
