import type { DType, Span } from "../../ir/graph.ts";
import type { ParamDecl } from "../project.ts";
import type { Value } from "./values.ts";
import { Editable } from "./versions.ts";

/** A parameter or state: a tensor that lives across calls, under one name. What others call by other names (ties) is this one. */
export class Storage extends Editable {
  readonly kind = "storage";
  /** Set when values come from a file or from another parameter; otherwise the declared start. */
  source: ParamDecl["source"] | undefined;
  /** Set where it is a copy of what this file made and no stage had trained. */
  copiedNew = false;

  constructor(
    readonly role: "parameter" | "state",
    /** Asked when all is placed: paths are known once the module around it has its own. */
    private readonly place: () => { owner: ParamDecl["owner"]; path: string },
    readonly dtype: DType,
    readonly shape: readonly number[],
    /** The declared (or given) first value, evaluated when it is asked for. */
    readonly start: () => Value,
    readonly frozen: boolean,
    readonly span: Span,
  ) {
    super();
  }
  /** Whether this file made it, rather than loaded it or took over what a stage had learnt. */
  get isNew(): boolean {
    return this.source === undefined || this.copiedNew;
  }
  get owner(): ParamDecl["owner"] {
    return this.place().owner;
  }
  get path(): string {
    return this.place().path;
  }
  get name(): string {
    const { owner, path } = this.place();
    return `${owner.name}.${path}`;
  }
}

/** The names that a parameter has beside its value. */
export const parameterNames = ["value", "init", "grad", "lr", "base_lr", "next", "age", "decay"] as const;
export const stateNames = ["value", "next"] as const;
