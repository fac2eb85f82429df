import { Limit, type Span } from "../../ir/graph.ts";
import type { Elaborator } from "./elaborator.ts";
import type { MethodDecl, Selection } from "./values.ts";

/** Places of a method `on [Block]`: runs of children that one loop carries a value through. */
export function chains(_e: Elaborator, method: MethodDecl, _to: Selection, span: Span): never[] {
  throw new Limit(`${method.name} rewires a chain of blocks`, span);
}
