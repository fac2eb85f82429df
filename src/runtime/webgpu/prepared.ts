/** Entries of a program as a device runs them: pipelines and bind groups, made at the first run. */

import type { Dispatch, Entry, HostStep, Kernel, Program } from "../../ground/program.ts";
import { Bug } from "../../ir/errors.ts";
import type { WebGPUDevice } from "./device.ts";
import { Pipelines } from "./pipelines.ts";

interface Ready {
  readonly dispatch: Dispatch;
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly grid: readonly [number, number, number];
  /** What runs instead while zeros of that measure are skipped. */
  readonly skips?: { readonly measure: number; readonly ready: Ready };
}
export type Work = Ready | HostStep;

export class Prepared {
  private readonly prepared = new Map<string, Promise<readonly Work[]>>();
  private readonly kernels: ReadonlyMap<string, Kernel>;
  private readonly pipelines: Pipelines;

  constructor(
    private readonly program: Program,
    private readonly gpu: WebGPUDevice,
    private readonly pages: ReadonlyMap<string, readonly GPUBuffer[]>,
  ) {
    this.kernels = new Map(program.kernels.map((k) => [k.name, k]));
    this.pipelines = new Pipelines(gpu);
  }

  /** Pipelines and bind groups of an entry, made at its first run. */
  of(entry: Entry): Promise<readonly Work[]> {
    let work = this.prepared.get(entry.name);
    if (!work) {
      work = this.build(entry);
      this.prepared.set(entry.name, work);
      work.catch(() => this.prepared.delete(entry.name));
    }
    return work;
  }

  private async build(entry: Entry): Promise<readonly Work[]> {
    const dispatches = entry.steps.filter((s): s is Dispatch => "kernel" in s);
    const kernels = [...new Set(dispatches.flatMap((d) => [d.kernel, ...(d.skips ? [d.skips.kernel] : [])]).map((k) => this.kernelOf(k)))];
    await this.pipelines.make(kernels);
    const work: Work[] = [];
    for (const step of entry.steps) work.push("kernel" in step ? await this.ready(step) : step);
    return work;
  }

  private kernelOf(name: string): Kernel {
    const kernel = this.kernels.get(name);
    if (!kernel) throw new Bug(`the program has no kernel ${name}`);
    return kernel;
  }

  private async ready(dispatch: Dispatch): Promise<Ready> {
    const kernel = this.kernelOf(dispatch.kernel);
    const entries = dispatch.operands.map((tensor, binding) => {
      const placed = this.program.tensors[tensor];
      const buffer = this.pages.get(placed.arena)?.[placed.page];
      if (!buffer) throw new Bug(`${dispatch.label} uses a page that ${placed.arena} does not have`);
      return {
        binding,
        resource: { buffer, offset: placed.offset, size: Math.min(Math.ceil(placed.bytes / 16) * 16, buffer.size - placed.offset) },
      };
    });
    if (!dispatch.grid) throw new Bug(`${dispatch.label} has no grid`);
    const ready: Ready = {
      dispatch,
      pipeline: await this.pipelines.of(kernel),
      group: this.gpu.device.createBindGroup({ label: dispatch.label, layout: this.pipelines.layout(kernel), entries }),
      grid: dispatch.grid,
    };
    if (!dispatch.skips) return ready;
    const { measure, kernel: name, grid } = dispatch.skips;
    return { ...ready, skips: { measure, ready: await this.ready({ ...dispatch, kernel: name, grid, skips: undefined }) } };
  }
}
