/** Expressions, types and parameters: the second half of `grammar.ebnf`. */
import { bracket, prefix, Reader } from "./reader.ts";
import * as t from "./tokens.ts";

export abstract class ExpressionReader extends Reader {
  // ── what is declared ───────────────────────────────────────────────────────────────────────────

  readonly Params = this.RULE("Params", () => {
    this.CONSUME(t.LParen);
    this.commas(
      t.RParen,
      () => this.SUBRULE(this.Param),
      () => this.SUBRULE2(this.Param),
    );
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
  readonly Names = this.RULE("Names", () => {
    this.CONSUME(t.Name);
    this.MANY(() => {
      this.CONSUME(t.Comma);
      this.CONSUME2(t.Name);
    });
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
          this.commas(
            t.RCurly,
            () => this.deeper(prefix, () => this.SUBRULE(this.Alternative)),
            () => this.deeper(prefix, () => this.SUBRULE2(this.Alternative)),
            true,
          );
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
    this.commas(
      t.RParen,
      () => this.SUBRULE(this.Argument),
      () => this.SUBRULE2(this.Argument),
    );
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
    this.commas(
      t.RSquare,
      () => this.SUBRULE(this.IndexItem),
      () => this.SUBRULE2(this.IndexItem),
      true,
    );
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
          this.OR2([{ ALT: () => this.CONSUME(t.DotDot) }, { ALT: () => this.OPTION(() => this.SUBRULE2(this.Slice)) }]);
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
        { ALT: () => this.moreCommas(t.RSquare, () => this.SUBRULE2(this.Element)) },
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
    this.commas(
      t.RCurly,
      () => this.SUBRULE(this.Entry),
      () => this.SUBRULE2(this.Entry),
    );
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
}
