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
import type { IToken } from "chevrotain";
import { ExpressionReader } from "./expressions.ts";
import { bracket, prefix } from "./reader.ts";
import { beginsField, beginsItem, beginsSetting } from "./recover.ts";
import * as t from "./tokens.ts";

/** Where a block may end although its `}` is missing, and what may stand in it by mistake. */
type Level = "file" | "members" | "statements";
const topOnly = [t.Import, t.Type, t.Role, t.Module, t.Method];

export class PeftParser extends ExpressionReader {
  /** `checked`: the grammar itself is looked at as well, which takes longer. */
  constructor(checked = false) {
    super(checked);
    this.performSelfAnalysis();
  }

  /** Reads a whole file. Errors and notes are those of this call. */
  read(tokens: IToken[]) {
    this.begin(tokens);
    return this.Program();
  }

  // ── looking ahead ──────────────────────────────────────────────────────────────────────────────

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

  // ── blocks ─────────────────────────────────────────────────────────────────────────────────────

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
  /** `{ ... }` around a list of things; `ended` says where it is over. A missing `}` is noted, and reading goes on as if it were there. */
  private braces(level: Level, list: (ended: () => boolean) => void): void {
    const open = this.CONSUME(t.LCurly);
    const at = this.RECORDING_PHASE ? 0 : this.index(open);
    list(() => this.over(level, at));
    if (this.RECORDING_PHASE || this.sees(1, t.RCurly)) this.CONSUME(t.RCurly);
    // of several blocks that end here the innermost is told
    else if (!this.notes.some((n) => n.kind === "unclosed-block" && n.token === this.LA(1)))
      this.notes.push({ kind: "unclosed-block", token: this.LA(1), other: open });
  }
  /** Declarations, members or statements up to the end of what they stand in, and what stands there by mistake. */
  private units(read: () => void, misplaced: () => void, outside: () => boolean, ended: () => boolean): void {
    this.each(
      () =>
        this.OR([
          { GATE: outside, ALT: misplaced },
          { ALT: read, IGNORE_AMBIGUITIES: true },
        ]),
      ended,
      beginsItem,
    );
  }

  // ── a file ─────────────────────────────────────────────────────────────────────────────────────

  readonly Program = this.RULE("Program", () => {
    this.units(
      () => this.SUBRULE(this.Item),
      () => this.SUBRULE(this.Misplaced),
      () => this.outside("file"),
      this.atEnd,
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
    this.commas(
      t.RCurly,
      () => this.SUBRULE(this.ImportName),
      () => this.SUBRULE2(this.ImportName),
    );
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
    this.braces("members", (ended) =>
      this.each(
        () => {
          this.SUBRULE(this.Field);
          this.OPTION(() => this.note("comma-in-fields", this.CONSUME(t.Comma)));
        },
        ended,
        beginsField,
      ),
    );
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
      this.commas(
        t.RParen,
        () => this.SUBRULE(this.Filled),
        () => this.SUBRULE2(this.Filled),
      );
      this.CONSUME(t.RParen);
    });
  });
  readonly Filled = this.RULE("Filled", () => {
    this.CONSUME(t.Name);
    this.CONSUME(t.Colon);
    this.SUBRULE(this.Path);
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
    this.braces("members", (ended) =>
      this.units(
        () => this.SUBRULE(this.Member),
        () => this.SUBRULE(this.Misplaced),
        () => this.outside("members"),
        ended,
      ),
    );
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
    this.braces("statements", (ended) =>
      this.units(
        () => this.SUBRULE(this.Statement),
        () => this.SUBRULE(this.Misplaced),
        () => this.outside("statements"),
        ended,
      ),
    );
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
    this.braces("statements", (ended) =>
      this.each(
        () => {
          this.SUBRULE(this.Setting);
          this.OPTION2(() => this.note("comma-in-fields", this.CONSUME(t.Comma)));
        },
        ended,
        beginsSetting,
      ),
    );
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
}
