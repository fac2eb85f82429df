import { describe, expect, test } from "@jest/globals";
import { Interrupted, type RunEvent } from "../../src/train/events.ts";
import { type LoopActions, type LoopPlan, NonFinite, type Progress, runLoop, START } from "../../src/train/stages/loop.ts";

const plan: LoopPlan = {
  stage: "train",
  total: 10,
  stepsPerEpoch: 4,
  checkpointEvery: 4,
  evaluate: { every: 3, best: "loss", stopAfter: undefined },
  depth: 2,
};

function watched(over: Partial<LoopActions> = {}) {
  const events: RunEvent[] = [];
  const trace: string[] = [];
  const saved: Progress[] = [];
  let clock = 0;
  const actions: LoopActions = {
    start: async (step) => {
      trace.push(`update ${step}`);
      return { loss: 10 - step, grad_norm: 1 };
    },
    tokens: () => 100,
    evaluate: async (step) => {
      trace.push(`evaluate ${step}`);
      return { loss: Math.abs(step - 6) };
    },
    keepBest: async () => void trace.push("best"),
    checkpoint: async (progress) => {
      trace.push(`checkpoint ${progress.step}`);
      saved.push(progress);
      return `checkpoint-${progress.step}`;
    },
    interrupted: () => false,
    listen: (event) => void events.push(event),
    now: () => ++clock,
    peakBytes: () => 5,
    log: () => {},
    ...over,
  };
  return { events, trace, saved, actions };
}

describe("the training loop", () => {
  test("evaluates before the first update and after the last, keeps the best, saves in between", async () => {
    const { actions, trace, events } = watched();
    const end = await runLoop(plan, START, actions);
    expect(trace.filter((line) => !line.startsWith("update"))).toEqual([
      "evaluate 0",
      "best",
      "evaluate 3",
      "best",
      "checkpoint 4",
      "evaluate 6",
      "best",
      "checkpoint 8",
      "evaluate 9",
      "evaluate 10",
      "checkpoint 10",
    ]);
    expect(end.best).toEqual({ step: 6, value: 0 });
    const steps = events.filter((e) => e.event === "step");
    expect(steps.map((e) => e.loss)).toEqual([10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    expect(steps[3].epoch).toBe(1);
    expect(steps[9].eta_seconds).toBe(0);
  });

  test("a loop that goes on from a checkpoint ends as one that was never stopped", async () => {
    const whole = watched();
    const end = await runLoop(plan, START, whole.actions);
    for (const progress of whole.saved) {
      const rest = watched();
      expect(await runLoop(plan, progress, rest.actions)).toEqual(end);
      expect(rest.trace.filter((line) => line.startsWith("update"))).toHaveLength(10 - progress.step);
    }
  });

  test("stops after so many evaluations without a better one", async () => {
    const { actions, trace, saved } = watched({ evaluate: async (step) => ({ loss: step }) });
    const end = await runLoop({ ...plan, evaluate: { every: 2, best: "loss", stopAfter: 2 } }, START, actions);
    expect(end).toMatchObject({ step: 4, stoppedEarly: true, best: { step: 0, value: 0 } });
    expect(trace.at(-1)).toBe("checkpoint 4");
    // going on from there stops at once
    const again = watched();
    expect(await runLoop({ ...plan, evaluate: { every: 2, best: "loss", stopAfter: 2 } }, saved.at(-1)!, again.actions)).toEqual(end);
    expect(again.trace).toEqual([]);
  });

  test("a loss that is no number stops it, naming the step", async () => {
    const { actions, trace } = watched({ start: async (step) => ({ loss: step === 5 ? Number.NaN : 1 }) });
    const error = await runLoop(plan, START, actions).then(
      () => undefined,
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(NonFinite);
    expect(error).toMatchObject({ step: 5, message: "the loss is NaN in step 6" });
    expect(trace.at(-1)).toBe("checkpoint 4");
  });

  test("where updates under way fail together the first is told, and no other is left unheard", async () => {
    const unheard: unknown[] = [];
    const hear = (reason: unknown) => void unheard.push(reason);
    process.on("unhandledRejection", hear);
    try {
      const { actions } = watched({ start: (step) => Promise.reject(new Error(`update ${step}`)) });
      await expect(runLoop({ ...plan, evaluate: undefined }, START, actions)).rejects.toThrow("update 0");
      await new Promise((resolve) => setTimeout(resolve, 10));
    } finally {
      process.off("unhandledRejection", hear);
    }
    expect(unheard).toEqual([]);
  });

  test("an interrupt saves after the updates that were under way", async () => {
    let asked = 0;
    const { actions, trace, events } = watched({ interrupted: () => ++asked > 6 });
    const error = await runLoop(plan, START, actions).then(
      () => undefined,
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(Interrupted);
    expect(error).toMatchObject({ step: 6, checkpoint: "checkpoint-6" });
    expect(trace.at(-1)).toBe("checkpoint 6");
    expect(events.filter((e) => e.event === "step")).toHaveLength(6);
  });
});
