/**
 * The training loop: steps in order, losses read as they arrive, evaluations, checkpoints. It knows no project and no device: what an
 * update, an evaluation and a snapshot are is handed in, so that the order of events is tested by itself.
 */
import { Interrupted, type Listen, type Scalars } from "../events.ts";
import { letEventsIn } from "./stopping.ts";

/** What has to be remembered beside the tensors, for a resumed loop to end as one that was not stopped. */
export interface Progress {
  /** Steps made. */
  readonly step: number;
  readonly best: { readonly step: number; readonly value: number } | undefined;
  /** Evaluations since the best one. */
  readonly sinceBest: number;
  /** Bits of fraction that integer streams have by now; absent where nothing has them. */
  readonly fraction?: number;
  /** The evaluation after this many steps is still to be made: it was interrupted. */
  readonly owes?: true;
  /** Iterations between kept f32 values, where they had to become fewer than planned. */
  readonly segment?: number;
  readonly history: readonly LogEntry[];
}
/** One entry of `log_history`: of a step, or of an evaluation (`eval_...`). */
export type LogEntry = Readonly<Record<string, number>>;

export const START: Progress = { step: 0, best: undefined, sinceBest: 0, history: [] };

export interface LoopPlan {
  readonly stage: string;
  readonly total: number;
  readonly stepsPerEpoch: number;
  readonly checkpointEvery: number;
  /** Evaluate before the first and after the last step, and every so many between; `undefined`: nothing to evaluate. */
  readonly evaluate:
    | { readonly every: number | undefined; readonly best: string | undefined; readonly stopAfter: number | undefined }
    | undefined;
  /** Steps that may be under way before the oldest one's loss is read. */
  readonly depth: number;
}

export interface LoopActions {
  /** Starts step `step`; resolves with `loss` and the other scalars. */
  start(step: number): Promise<Scalars>;
  /** Tokens (or rows, where there are no tokens) that step `step` reads. */
  tokens(step: number): number;
  evaluate(step: number): Promise<Scalars>;
  /** Called when an evaluation is the best so far: keeps the parameters as they are now. */
  keepBest(): Promise<void>;
  checkpoint(progress: Progress): Promise<string>;
  interrupted(): boolean;
  listen: Listen;
  /** Seconds on any monotonic clock. */
  now(): number;
  peakBytes(): number;
  /** Every entry of the log, as it is made. */
  log(entry: LogEntry): void;
}

/** A loss or gradient that is no number. `step`: steps made before the one it was seen in. */
export class NonFinite extends Error {
  override readonly name = "NonFinite";
  constructor(
    readonly step: number,
    readonly what: string,
    readonly value: number,
  ) {
    super(`${what} is ${value} in step ${step + 1}`);
  }
}

/** Whether a metric is better when it is larger: losses and perplexities are not. */
const largerIsBetter = (metric: string): boolean => !/(^|_|\/)(loss|perplexity|error|nll)$/.test(metric);

/** Window of the running speed, in steps. */
const WINDOW = 20;

class Speed {
  private readonly arrivals: { at: number; tokens: number }[] = [];
  constructor(now: number) {
    this.restart(now);
  }
  /** Seconds from here on count. */
  restart(now: number): void {
    this.arrivals.splice(0, this.arrivals.length, { at: now, tokens: 0 });
  }
  /** A step is through: tokens a second, and seconds a step, over the last ones. */
  arrived(at: number, tokens: number): { perSecond: number; secondsEach: number } {
    const { arrivals } = this;
    arrivals.push({ at, tokens });
    if (arrivals.length > WINDOW) arrivals.shift();
    const seconds = Math.max(1e-9, at - arrivals[0].at);
    return { perSecond: arrivals.slice(1).reduce((sum, a) => sum + a.tokens, 0) / seconds, secondsEach: seconds / (arrivals.length - 1) };
  }
}

/** Where one of several under way fails, those beside it fail with it: the first is told, and the others count as heard. */
function heard<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/** Runs steps `from.step .. total`. Gives the progress at the end. Throws `NonFinite`, `Interrupted` (after a checkpoint). */
export async function runLoop(plan: LoopPlan, from: Progress, act: LoopActions): Promise<Progress & { readonly stoppedEarly: boolean }> {
  let { step, best, sinceBest } = from;
  const history: LogEntry[] = [...from.history];
  let stopped = false;
  const pending: { step: number; scalars: Promise<Scalars> }[] = [];
  const speed = new Speed(act.now());

  const record = (entry: LogEntry) => {
    history.push(entry);
    act.log(entry);
  };
  const settle = async () => {
    const { step: made, scalars: promise } = pending.shift()!;
    const { loss, ...scalars } = await promise;
    for (const [what, value] of [
      ["loss", loss],
      ["grad_norm", scalars.grad_norm ?? 0],
    ] as const) {
      if (!Number.isFinite(value)) {
        await Promise.allSettled(pending.map((p) => p.scalars));
        throw new NonFinite(made, what === "loss" ? "the loss" : "the norm of the gradients", value);
      }
    }
    const { perSecond, secondsEach } = speed.arrived(act.now(), act.tokens(made));
    const epoch = (made + 1) / plan.stepsPerEpoch;
    record({ step: made + 1, epoch, loss, ...scalars });
    act.listen({
      event: "step",
      stage: plan.stage,
      step: made + 1,
      steps: plan.total,
      epoch,
      loss,
      scalars,
      tokens_per_second: perSecond,
      eta_seconds: (plan.total - made - 1) * secondsEach,
      peak_bytes: act.peakBytes(),
    });
  };
  const drain = async () => {
    while (pending.length > 0) await settle();
  };
  const evaluate = async () => {
    if (plan.evaluate === undefined) return;
    const metrics = await act.evaluate(step).catch(async (error: unknown) => {
      if (!(error instanceof Interrupted)) throw error;
      throw new Interrupted(step, await checkpoint({ owes: true }));
    });
    const metric = plan.evaluate.best;
    let better = false;
    if (metric !== undefined) {
      const value = metrics[metric];
      better = best === undefined || (largerIsBetter(metric) ? value > best.value : value < best.value);
      if (better) {
        best = { step, value };
        sinceBest = 0;
        await act.keepBest();
      } else sinceBest++;
      if (plan.evaluate.stopAfter !== undefined && sinceBest >= plan.evaluate.stopAfter) stopped = true;
    }
    record({
      step,
      epoch: step / plan.stepsPerEpoch,
      ...Object.fromEntries(Object.entries(metrics).map(([name, value]) => [`eval_${name}`, value])),
    });
    act.listen({ event: "evaluation", stage: plan.stage, step, metrics, best: better });
    // time spent here says nothing about the speed of steps
    speed.restart(act.now());
  };
  const checkpoint = async (more: Pick<Progress, "owes"> = {}) => {
    const folder = await act.checkpoint({ step, best, sinceBest, history: [...history], ...more });
    act.listen({ event: "checkpoint", stage: plan.stage, step, folder });
    return folder;
  };

  stopped = plan.evaluate?.stopAfter !== undefined && sinceBest >= plan.evaluate.stopAfter;
  if (from.owes || (step === 0 && history.length === 0)) {
    await evaluate();
    // what the interrupted run would have saved next
    if (from.owes && step > 0 && (step === plan.total || stopped || step % plan.checkpointEvery === 0)) await checkpoint();
  }
  while (step < plan.total && !stopped) {
    await letEventsIn();
    if (act.interrupted()) {
      await drain();
      throw new Interrupted(step, await checkpoint());
    }
    pending.push({ step, scalars: heard(act.start(step)) });
    step++;
    const last = step === plan.total;
    const evaluates = plan.evaluate !== undefined && (last || (plan.evaluate.every !== undefined && step % plan.evaluate.every === 0));
    const saves = last || step % plan.checkpointEvery === 0;
    while (pending.length > (evaluates || saves ? 0 : plan.depth - 1)) await settle();
    if (evaluates) await evaluate();
    if (saves || stopped) await checkpoint();
  }
  await drain();
  return { step, best, sinceBest, history, stoppedEarly: stopped && step < plan.total };
}
