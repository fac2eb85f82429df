/** Maximum flow by Dinic's method (E. A. Dinic, 1970): level graphs by breadth, blocking flows by depth, both without recursion. */
export class FlowNetwork {
  private readonly head: number[] = [];
  private readonly next: number[] = [];
  private readonly to: number[] = [];
  private readonly left: number[] = [];

  constructor(private readonly size: number) {
    for (let v = 0; v < size; v++) this.head.push(-1);
  }

  /** An edge of this capacity, which may be `Infinity`. */
  edge(from: number, to: number, capacity: number): void {
    this.half(from, to, capacity);
    this.half(to, from, 0);
  }
  private half(from: number, to: number, capacity: number): void {
    this.to.push(to);
    this.left.push(capacity);
    this.next.push(this.head[from]);
    this.head[from] = this.to.length - 1;
  }

  /**
   * Saturates the network, and gives the vertices from which `target` can still be reached: the target's side of the minimum cut that lies
   * nearest to it, which is the same for every maximum flow.
   */
  targetSide(source: number, target: number): Uint8Array {
    for (let level = this.levels(source, target); level; level = this.levels(source, target)) this.block(source, target, level);
    const side = new Uint8Array(this.size);
    const queue = [target];
    side[target] = 1;
    while (queue.length) {
      const v = queue.pop()!;
      for (let e = this.head[v]; e >= 0; e = this.next[e]) {
        const u = this.to[e];
        if (side[u] || this.left[e ^ 1] <= 0) continue;
        side[u] = 1;
        queue.push(u);
      }
    }
    return side;
  }

  private levels(source: number, target: number): Int32Array | undefined {
    const level = new Int32Array(this.size).fill(-1);
    level[source] = 0;
    const queue = [source];
    for (let q = 0; q < queue.length; q++) {
      const v = queue[q];
      for (let e = this.head[v]; e >= 0; e = this.next[e]) {
        if (this.left[e] <= 0 || level[this.to[e]] >= 0) continue;
        level[this.to[e]] = level[v] + 1;
        queue.push(this.to[e]);
      }
    }
    return level[target] < 0 ? undefined : level;
  }

  private block(source: number, target: number, level: Int32Array): void {
    const at = Int32Array.from(this.head);
    const path: number[] = [];
    let v = source;
    for (;;) {
      if (v === target) {
        const most = path.reduce((least, e) => Math.min(least, this.left[e]), Number.POSITIVE_INFINITY);
        for (const e of path) {
          this.left[e] -= most;
          this.left[e ^ 1] += most;
        }
        // Go on from the first edge that is full now.
        const full = path.findIndex((e) => this.left[e] <= 0);
        v = this.to[path[full] ^ 1];
        path.length = full;
        continue;
      }
      let e = at[v];
      while (e >= 0 && !(this.left[e] > 0 && level[this.to[e]] === level[v] + 1)) e = this.next[e];
      at[v] = e;
      if (e >= 0) {
        path.push(e);
        v = this.to[e];
      } else {
        if (v === source) return;
        // A dead end: its vertex is out of this phase.
        level[v] = -1;
        v = this.to[path.pop()! ^ 1];
      }
    }
  }
}
