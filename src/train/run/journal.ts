/** `metrics.jsonl`: one object a line, as things happen. */
import { type Files, writeFile } from "../../formats/files.ts";
import type { LogEntry, Progress } from "../stages/loop.ts";

export class Journal {
  private readonly encoder = new TextEncoder();
  constructor(
    private readonly files: Files,
    private readonly path: string,
  ) {}

  /** Starts the file afresh: empty, or with what a checkpoint remembers, so that lines of steps made twice are not there twice. */
  begin(from: Progress | undefined): void {
    writeFile(this.files, this.path, this.encoder.encode((from?.history ?? []).map(line).join("")));
  }

  add(entry: LogEntry): void {
    this.files.append(this.path, this.encoder.encode(line(entry)));
  }
}

/** Names in one order, so that what a checkpoint gave back is written as it was at first. */
const line = ({ step, epoch, ...rest }: LogEntry): string => {
  const named = Object.entries(rest).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return `${JSON.stringify({ step, epoch, ...Object.fromEntries(named) })}\n`;
};
