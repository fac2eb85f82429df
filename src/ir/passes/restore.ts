import { restore as restored } from "../reverse/restore.ts";
import type { Pass } from "./pass.ts";

export const restore: Pass = {
  name: "restore",
  before: "flat; the streams of loops that run backwards are coupled",
  after: "the backward half finds these streams again and computes from them what it needs of the iterations",
  law: "over integers every result is the same, to the bit, as the same kernels compute both; in f32 up to what rounding grows to",
  run(graph, context) {
    const { graph: out, streams, bytes } = restored(graph, typeof context.options.reverse === "number" ? context.options.reverse : 0);
    if (streams > 0) context.note(`${streams} streams are found again, from ${(bytes / 2 ** 20).toFixed(2)} MiB that is kept of streams`);
    return out;
  },
};
