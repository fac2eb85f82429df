/** What one `generate` leaves to the next: the program and the weights. */
import { expect, test } from "@jest/globals";
import type { EntryPoint } from "../../src/train/engine/engine.ts";
import { dropSessions, openKept } from "../../src/train/engine/kept.ts";
import { referenceEngine } from "../../src/train/engine/reference.ts";
import { tinyFiles, tinyHost, tinyProject, WIDTH } from "./support/tiny.ts";

function watched() {
  const project = tinyProject();
  const seen: string[] = [];
  const inner = referenceEngine();
  const host = tinyHost(project, tinyFiles(), {
    engine: {
      ...inner,
      build: (...given) => {
        seen.push("build");
        return inner.build(...given);
      },
      open: async (built) => {
        seen.push("open");
        const session = await inner.open(built);
        return {
          device: session.device,
          memory: session.memory,
          write: (kind, name, data) => {
            seen.push(`write ${name}`);
            return session.write(kind, name, data);
          },
          read: (kind, name) => session.read(kind, name),
          run: (...given) => session.run(...given),
          close: () => {
            seen.push("close");
            return session.close();
          },
        };
      },
    },
  });
  const [action] = project.actions;
  if (action.kind !== "stage" || action.stage.verb !== "train") throw new Error("the tiny project trains");
  const { graph } = action.stage.evaluation[0];
  const points = (rows: number): EntryPoint[] => [{ name: "loss", graph, sizes: new Map([["B", rows]]) }];
  const loss = async (rows = 2) => {
    const opened = await openKept("generate", points(rows), host, Number.POSITIVE_INFINITY, async () => {});
    try {
      const x = new Float32Array(rows * WIDTH).fill(1);
      return (await opened.session.run("loss", { x, label: new Float32Array(rows) })).loss[0];
    } finally {
      await opened.close();
    }
  };
  const told = () => seen.splice(0);
  return { host, loss, told, points };
}

test("the second compiles nothing, opens nothing and loads only what changed", async () => {
  const { host, loss, told } = watched();
  const first = await loss();
  expect(told()).toEqual(["build", "open", "write m.w", "write lora.a"]);
  expect(await loss()).toBe(first);
  expect(told()).toEqual([]);
  host.values.setParam("lora.a", new Float32Array(WIDTH).fill(1));
  expect(await loss()).not.toBe(first);
  expect(told()).toEqual(["write lora.a"]);
});

test("another program takes its place; the one before is opened again without compiling", async () => {
  const { loss, told } = watched();
  await loss(2);
  told();
  await loss(3);
  expect(told()).toEqual(["build", "close", "open", "write m.w", "write lora.a"]);
  await loss(2);
  expect(told()).toEqual(["close", "open", "write m.w", "write lora.a"]);
});

test("a session that failed is not kept, and one that is dropped is opened again", async () => {
  const { host, loss, told, points } = watched();
  await loss();
  told();
  const opened = await openKept("generate", points(2), host, Number.POSITIVE_INFINITY, async () => {});
  await expect(opened.session.run("loss", {})).rejects.toThrow();
  await opened.close();
  expect(told()).toEqual(["close"]);
  await loss();
  expect(told()).toEqual(["open", "write m.w", "write lora.a"]);
  await dropSessions(host.values);
  expect(told()).toEqual(["close"]);
});
