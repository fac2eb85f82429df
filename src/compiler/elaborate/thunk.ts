import type { Span } from "../../ir/graph.ts";
import { fail } from "./fault.ts";

const running: Thunk<unknown>[] = [];

/** A value computed when it is first asked for. One found in progress is a cycle, and the chain of thunks is the path to show. */
export class Thunk<T> {
  private state: "new" | "running" | "done" = "new";
  private value: T | undefined;

  constructor(
    private compute: (() => T) | undefined,
    private readonly label: string,
    private readonly span: Span | undefined,
  ) {}

  static of<T>(value: T): Thunk<T> {
    const t = new Thunk<T>(undefined, "", undefined);
    t.state = "done";
    t.value = value;
    return t;
  }

  get isNew(): boolean {
    return this.state === "new";
  }
  get isRunning(): boolean {
    return this.state === "running";
  }

  force(): T {
    if (this.state === "done") return this.value as T;
    if (this.state === "running") this.cycle();
    this.state = "running";
    running.push(this);
    try {
      this.value = this.compute!();
      this.state = "done";
      this.compute = undefined;
      return this.value;
    } finally {
      running.pop();
      if (this.state === "running") this.state = "new";
    }
  }

  private cycle(): never {
    const path = running.slice(running.indexOf(this));
    const steps = [...path.map((t) => t.label), this.label].filter((l, i, all) => l !== "" && l !== all[i - 1]);
    const related = path.filter((t) => t !== this && t.span).map((t) => ({ span: t.span!, label: `${t.label} needs it` }));
    fail("P0501", this.span, `\`${this.label}\` depends on itself`, {
      label: "asked for while it is being computed",
      notes: [`the path: ${steps.join(" → ")}`],
      related: related.slice(0, 3),
    });
  }
}
