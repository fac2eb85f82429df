/** Threads as the runtime needs them; Node's are in `src/node/threads.ts`, a page's below. */
import { DeviceLost } from "./errors.ts";
import { workerSource } from "./wasm/worker.ts";

export interface Thread {
  send(message: unknown): void;
  /** Called with each message, and once with an error if the thread dies. */
  listen(message: (m: unknown) => void, failed: (e: Error) => void): void;
  /** Whether the thread keeps the process alive. */
  hold(alive: boolean): void;
  end(): Promise<void>;
}
export type StartThread = () => Thread;

/** Threads of a page. They need cross-origin isolation, without which there is no shared memory. */
export const startWorker: StartThread = () => {
  const code = `${workerSource}((f) => { self.onmessage = (e) => f(e.data).catch((x) => self.postMessage({ kind: "failed", message: String(x) })); }, (m) => self.postMessage(m));`;
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const worker = new Worker(url);
  return {
    send: (message) => worker.postMessage(message),
    listen(message, failed) {
      worker.onmessage = (e) => message(e.data);
      worker.onerror = (e) => failed(new DeviceLost(e.message ?? ""));
      worker.onmessageerror = () => failed(new DeviceLost("a message could not be read"));
    },
    hold: () => {},
    async end() {
      worker.terminate();
      URL.revokeObjectURL(url);
    },
  };
};
