/** Names of kernels. */

/** Names that are readable, fit an identifier, and differ. */
export class Names {
  private readonly taken = new Map<string, number>();
  of(label: string): string {
    const base = label.replace(/[^A-Za-z0-9.]+/g, "_").replace(/^_+|_+$/g, "") || "kernel";
    const n = this.taken.get(base) ?? 0;
    this.taken.set(base, n + 1);
    return n === 0 ? base : `${base}.${n + 1}`;
  }
}
