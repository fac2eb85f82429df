/** Text to syntax tree. */
import type { IToken } from "chevrotain";
import type { ProgramCstNode } from "../../../grammar/cst.ts";
import { PeftParser } from "../../../grammar/parser.ts";
import { lexer } from "../../../grammar/tokens.ts";
import type { Program } from "../ast.ts";
import { mostProblems } from "../limits.ts";
import type { Problem } from "../report/problem.ts";
import { characterProblem, errorProblem, foreignProblems, noteProblem, operatorProblems, type Source } from "./messages.ts";
import { build } from "./tree.ts";

/** What a text holds below its meaning: for tools that keep its looks, such as the formatter. */
export interface Concrete {
  readonly cst: ProgramCstNode;
  readonly tokens: readonly IToken[];
  readonly comments: readonly IToken[];
}

interface Parsed {
  /** What could be read. Where a statement could not, it is missing here and there is a problem. */
  readonly program: Program;
  /** In the order of the text. Without errors among them the tree is the whole text. */
  readonly problems: readonly Problem[];
}

let parser: PeftParser | undefined;
/** The last text of a file and what it was read as: a command looks at its file more than once, and the library is the same for every file. */
const known = new Map<string, { readonly text: string; readonly parsed: Parsed }>();
const KNOWN = 256;

/** Reads a file. Never throws for what is in the text: whatever is wrong with it is a problem with a place. */
export function parse(text: string, file: string): Parsed {
  const before = known.get(file);
  if (before?.text === text) return before.parsed;
  // what the parser made on the way takes ten times the tree's memory: it is not kept
  const { program, problems } = parseConcrete(text, file);
  const parsed = { program, problems };
  if (known.size >= KNOWN) known.clear();
  known.set(file, { text, parsed });
  return parsed;
}

/** The same with all that the text holds; nothing is remembered. */
export function parseConcrete(text: string, file: string): Parsed & { readonly concrete: Concrete } {
  // its self-analysis takes a while, so it is made once, and only when something is read
  parser ??= new PeftParser();
  const { tokens, groups, errors } = lexer.tokenize(text);
  const cst = parser.read(tokens) as ProgramCstNode;
  const source: Source = { file, text, tokens };

  const { program, problems: built } = build(cst, file, text.length);
  // of very many the first are told: each looks at what is around it, and nobody reads thousands
  let hidden = 0;
  const first = <T>(all: readonly T[]): readonly T[] => {
    hidden += Math.max(0, all.length - mostProblems);
    return all.slice(0, mostProblems);
  };
  const problems = [
    ...first(errors).map((e) => characterProblem(source, e)),
    ...foreignProblems(source, groups.foreign ?? []),
    ...first(operatorProblems(source)),
    ...first(parser.notes).map((n) => noteProblem(source, n)),
    // what follows a character that could not be read is not worth a second message
    ...first(parser.errors)
      .filter((e) => !first(errors).some((x) => isBetween(x.offset, tokens[tokens.indexOf(e.token) - 1], e.token)))
      .map((e) => errorProblem(source, e)),
    ...first(built),
  ];
  const more: Problem[] =
    hidden === 0 ? [] : [{ code: "P0005", severity: "error", message: "and many more, which are not shown", span: undefined }];
  return { program, problems: [...inOrder(problems), ...more], concrete: { cst, tokens, comments: groups.comments ?? [] } };
}

function isBetween(offset: number, before: IToken | undefined, after: IToken): boolean {
  return (!before || before.startOffset < offset) && (Number.isNaN(after.startOffset) || offset < after.startOffset);
}

/** Sorted by place; of several at one place the first found. */
function inOrder(problems: readonly Problem[]): Problem[] {
  const seen = new Set<number>();
  return problems
    .filter((p) => {
      const at = p.span?.start ?? -1;
      if (seen.has(at)) return false;
      seen.add(at);
      return true;
    })
    .sort((a, b) => (a.span?.start ?? 0) - (b.span?.start ?? 0));
}
