/** Where reading may go on after a mistake: tokens that look like the beginning of something. Guesses, used only once a problem is known. */
import { type IToken, type TokenType, tokenMatcher } from "chevrotain";
import * as t from "./tokens.ts";

const is = (tok: IToken | undefined, ...types: TokenType[]): boolean => tok !== undefined && types.some((type) => tokenMatcher(tok, type));

/** Whether something begins at a token. */
export type Begins = (tokens: readonly IToken[], i: number) => boolean;

export const opens = (tok: IToken): boolean => is(tok, t.LParen, t.LSquare, t.LCurly);
export const closes = (tok: IToken): boolean => is(tok, t.RParen, t.RSquare, t.RCurly);

/** A declaration, a statement. */
export function beginsItem(tokens: readonly IToken[], i: number): boolean {
  const [before, tok, next] = [tokens[i - 1], tokens[i], tokens[i + 1]];
  if (is(before, t.Dot)) return false;
  if (is(tok, t.Import, t.Type, t.Role, t.Module, t.Method, t.Forward, t.Param, t.Attach, t.Detach)) return true;
  if (is(tok, t.Fn)) return is(next, t.Name);
  // inside an expression both words are possible, so these have to begin a line
  if (is(tok, t.For, t.If)) return before === undefined || before.endLine !== tok.startLine;
  if (!is(tok, t.Name)) return false;
  if (is(next, t.AssignOp)) return true;
  if (is(tok, t.Model, t.State, t.Input, t.Shared) && is(next, t.Name)) return true;
  if (is(tok, t.Shared, t.Frozen) && is(next, t.Param, t.Frozen)) return true;
  if (before !== undefined && before.endLine === tok.startLine) return false;
  return is(next, t.Dot, t.LCurly, t.Name) || is(tok, t.Require);
}

/** A field of a type or role. */
export const beginsField = (tokens: readonly IToken[], i: number): boolean => is(tokens[i], t.Name) && is(tokens[i + 1], t.Colon);

/** A field of a stage. */
export const beginsSetting = (tokens: readonly IToken[], i: number): boolean =>
  is(tokens[i], t.Ellipsis) || (is(tokens[i], t.Name) && is(tokens[i + 1], t.Equals));
