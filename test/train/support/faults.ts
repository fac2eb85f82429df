/** A disk that fails where it is told to, in front of the real file layer: what a power cut, a full disk or a broken one does to a run. */
import { type Draft, type FileStat, type Files, fileFailure } from "../../../src/formats/files.ts";

/** kill: the process is gone before the operation · torn: half of it was done, then gone · others: the operation fails and the run goes on. */
export type Kind = "kill" | "torn" | "ENOSPC" | "EIO";
export interface FaultAt {
  /** Which operation that changes the disk, from 0. */
  readonly operation: number;
  readonly kind: Kind;
}

/** The process is gone: nothing after it reaches the disk. */
export class Killed extends Error {
  override readonly name = "Killed";
}

export class FaultyFiles implements Files {
  operations = 0;
  private dead = false;

  constructor(
    private readonly inner: Files,
    private readonly faults: readonly FaultAt[] = [],
  ) {}

  /** One change of the disk; `half`: what a torn one leaves. */
  private change<T>(path: string, work: () => T, half: () => void = () => {}): T {
    if (this.dead) throw new Killed();
    const fault = this.faults.find(({ operation }) => operation === this.operations);
    this.operations++;
    if (fault === undefined) return work();
    if (fault.kind === "ENOSPC" || fault.kind === "EIO") {
      half();
      throw fileFailure(path, fault.kind, "injected");
    }
    if (fault.kind === "torn") half();
    this.dead = true;
    throw new Killed();
  }

  stat(path: string): FileStat | undefined {
    if (this.dead) throw new Killed();
    return this.inner.stat(path);
  }
  list(folder: string): string[] {
    if (this.dead) throw new Killed();
    return this.inner.list(folder);
  }
  read(path: string, offset: number, length: number): Uint8Array {
    if (this.dead) throw new Killed();
    return this.inner.read(path, offset, length);
  }
  readInto(path: string, offset: number, into: Uint8Array): Promise<void> {
    return this.inner.readInto(path, offset, into);
  }
  draft(path: string): Draft {
    const draft = this.change(path, () => this.inner.draft(path));
    return {
      write: (bytes) =>
        this.change(
          path,
          () => draft.write(bytes),
          () => draft.write(bytes.subarray(0, bytes.length >> 1)),
        ),
      commit: () => this.change(path, () => draft.commit()),
      abandon: () => {
        // a process that is gone tidies nothing up
        if (!this.dead) draft.abandon();
      },
    };
  }
  append(path: string, bytes: Uint8Array): void {
    this.change(
      path,
      () => this.inner.append(path, bytes),
      () => this.inner.append(path, bytes.subarray(0, bytes.length >> 1)),
    );
  }
  remove(path: string): void {
    this.change(
      path,
      () => this.inner.remove(path),
      () => {
        // a folder goes file by file
        if (this.inner.stat(path)?.kind !== "folder") return;
        const names = this.inner.list(path);
        for (const name of names.slice(0, names.length >> 1)) this.inner.remove(`${path}/${name}`);
      },
    );
  }
  rename(from: string, to: string): void {
    this.change(from, () => this.inner.rename(from, to));
  }
}
