/** A Python process that runs printed programs, and talks over a socket: a line of JSON and the numbers it announces, both ways. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createServer, type Server, type Socket } from "node:net";
import { delimiter, join } from "node:path";
import type { Values } from "../../ground/program.ts";
import { DeviceLost, OutOfMemory } from "../../runtime/errors.ts";
import { packageRoot } from "../package.ts";

/** Where the Python texts lie that go with every program. */
export const PYTHON_FOLDER = join(packageRoot(), "python");

export interface Answer {
  readonly [key: string]: unknown;
  readonly values: ReadonlyMap<string, Values>;
}
type Waiting = { readonly resolve: (answer: Answer) => void; readonly reject: (error: Error) => void };

/** How the process is started: its command, and what it is called in messages. */
export interface Launch {
  readonly command: string;
  /** In front of the port and the token. */
  readonly args: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

/** Characters of what a process said last that a message shows. */
const TAIL = 20_000;
/** Lines of it that are shown. */
const SHOWN = 12;

export class Worker {
  private socket: Socket | undefined;
  /** What came and is not read yet, and how many bytes of it the next message needs at least. */
  private buffer: Buffer[] = [];
  private came = 0;
  private needed = 1;
  private waiting: Waiting[] = [];
  private ended: Error | undefined;
  private said = "";

  private constructor(
    private readonly child: ChildProcess,
    private readonly server: Server,
  ) {}

  /** Starts the process and waits until it is there. Throws `DeviceLost` where it ends before. */
  static start({ command, args, environment = {} }: Launch): Promise<Worker> {
    const token = randomBytes(16).toString("hex");
    const server = createServer();
    return new Promise((resolve, reject) => {
      server.on("error", reject);
      server.listen(0, "127.0.0.1", () => {
        const address = server.address() as { port: number };
        const child = spawn(command, [...args, String(address.port), token], {
          stdio: ["ignore", "pipe", "pipe"],
          env: environmentOf(environment),
        });
        const worker = new Worker(child, server);
        const hear = (data: Buffer) => {
          worker.said = (worker.said + data.toString()).slice(-TAIL);
        };
        child.stdout?.on("data", hear);
        child.stderr?.on("data", hear);
        const gone = (why: string) => {
          worker.end(new DeviceLost(why, lastOf(worker.said)));
          reject(worker.ended);
        };
        child.on("error", (error) => gone(`${command} cannot be started: ${error.message}`));
        child.on("close", (status, signal) => gone(endOf(status, signal)));
        server.on("connection", (socket) => {
          socket.setNoDelay(true);
          socket.once("data", (first: Buffer) => {
            const line = first.indexOf(10);
            if (worker.socket !== undefined || first.subarray(0, line).toString() !== token) {
              socket.destroy();
              return;
            }
            worker.socket = socket;
            server.close();
            socket.on("data", (data: Buffer) => worker.take(data));
            socket.on("error", () => {});
            // what the process has to say of its end comes with `close`
            worker.unref();
            resolve(worker);
            if (line + 1 < first.length) worker.take(first.subarray(line + 1));
          });
        });
      });
    });
  }

  /** Runs a process to its end. Throws `DeviceLost` where that is not a good one. */
  static finish({ command, args, environment = {} }: Launch): Promise<void> {
    return new Promise((resolve, reject) => {
      const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: environmentOf(environment) });
      let said = "";
      const hear = (data: Buffer) => {
        said = (said + data.toString()).slice(-TAIL);
      };
      child.stdout.on("data", hear);
      child.stderr.on("data", hear);
      child.on("error", (error) => reject(new DeviceLost(`${command} cannot be started: ${error.message}`)));
      child.on("close", (status, signal) => {
        if (status === 0) resolve();
        else reject(new DeviceLost(endOf(status, signal), lastOf(said)));
      });
    });
  }

  /** Lets this process end while the other one waits for requests. */
  private unref(): void {
    this.child.unref();
    (this.child.stdout as Socket | null)?.unref();
    (this.child.stderr as Socket | null)?.unref();
    this.socket?.unref();
  }

  /** Requests are answered in order. Throws `DeviceLost` where the process is gone, `OutOfMemory` where it could not have the memory. */
  ask(message: Readonly<Record<string, unknown>>, values: readonly (readonly [string, Values])[] = []): Promise<Answer> {
    if (this.ended) return Promise.reject(this.ended);
    const tensors = values.map(([name, data]) => [name, data instanceof Float32Array ? "f32" : "i32", data.length]);
    return new Promise((resolve, reject) => {
      if (this.waiting.push({ resolve, reject }) === 1) this.socket!.ref();
      this.socket!.write(`${JSON.stringify({ ...message, tensors })}\n`);
      for (const [, data] of values) this.socket!.write(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    });
  }

  private take(data: Buffer): void {
    this.buffer.push(data);
    this.came += data.length;
    // pieces are put together once, when all of a message is there
    while (this.came >= this.needed) {
      const all = this.buffer.length === 1 ? this.buffer[0] : Buffer.concat(this.buffer);
      this.buffer = [all];
      const end = all.indexOf(10);
      this.needed = all.length + 1;
      if (end < 0) return;
      const head = JSON.parse(all.subarray(0, end).toString()) as { tensors: [string, string, number][] } & Record<string, unknown>;
      const bytes = head.tensors.reduce((sum, [, , count]) => sum + 4 * count, 0);
      this.needed = end + 1 + bytes;
      if (all.length < this.needed) return;
      let at = end + 1;
      const values = new Map<string, Values>();
      for (const [name, dtype, count] of head.tensors) {
        const copy = new Uint8Array(all.subarray(at, at + 4 * count)).buffer;
        values.set(name, dtype === "f32" ? new Float32Array(copy) : new Int32Array(copy));
        at += 4 * count;
      }
      this.buffer = at < all.length ? [all.subarray(at)] : [];
      this.came -= at;
      this.needed = 1;
      const next = this.waiting.shift()!;
      if (this.waiting.length === 0) this.socket?.unref();
      if (head.error === undefined) next.resolve({ ...head, values });
      else next.reject(problem(head));
    }
  }

  private end(error: Error): void {
    if (this.ended) return;
    this.ended = error;
    this.socket?.destroy();
    this.server.close();
    for (const { reject } of this.waiting.splice(0)) reject(error);
  }

  /** Ends the process; what is under way is lost. */
  stop(): void {
    this.ended ??= new DeviceLost("the Python process was stopped");
    this.socket?.destroy();
    this.server.close();
  }
}

function problem(head: Readonly<Record<string, unknown>>): Error {
  const text = String(head.error);
  const trace = String(head.trace ?? "")
    .trim()
    .split("\n");
  return head.memory === true
    ? new OutOfMemory(`PyTorch has no more memory: ${text}`)
    : new DeviceLost(`PyTorch: ${text}`, trace.slice(-SHOWN));
}

const environmentOf = (more: Readonly<Record<string, string>>): NodeJS.ProcessEnv => ({
  ...process.env,
  PYTHONPATH: [PYTHON_FOLDER, process.env.PYTHONPATH].filter(Boolean).join(delimiter),
  PYTHONDONTWRITEBYTECODE: "1",
  ...more,
});
const endOf = (status: number | null, signal: string | null): string =>
  `the Python process ended ${signal === null ? `with status ${status}` : `by ${signal}`}`;

/** What the processes said last: of the one that went first, where it could say something. */
function lastOf(said: string): readonly string[] {
  const lines = said.trim().split("\n");
  const signals = lines.filter((line) => /exitcode\s*:|Signal \d+/.test(line)).slice(0, SHOWN);
  const first = lines.findIndex((line) => /^process \d+ of \d+ ended: /.test(line));
  if (first >= 0) return lines.slice(Math.max(0, first - SHOWN), first + 1);
  const others = lines.filter((line) => /^process \d+ of \d+ ended, /.test(line));
  if (signals.length + others.length > 0) return [...signals, ...others];
  return lines.slice(-SHOWN).filter((line) => line !== "");
}
