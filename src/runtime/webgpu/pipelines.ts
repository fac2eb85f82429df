/** Pipelines of kernels: one for each different text, made once, few at a time. */

import type { Kernel } from "../../ground/program.ts";
import { Bug } from "../../ir/errors.ts";
import type { WebGPUDevice } from "./device.ts";
import { ShaderStage } from "./flags.ts";

/** Pipelines compiled at once: more were seen to abort the process on a loaded machine. */
const COMPILING = 4;

export class Pipelines {
  private readonly pipelines = new Map<string, Promise<GPUComputePipeline>>();
  private readonly layouts = new Map<string, GPUBindGroupLayout>();

  constructor(private readonly gpu: WebGPUDevice) {}

  /** Makes those of `kernels` that are not there yet. Throws `Bug` with the text of a kernel that the device refuses. */
  async make(kernels: readonly Kernel[]): Promise<void> {
    const missing = kernels.filter((k) => !this.pipelines.has(k.code));
    for (let i = 0; i < missing.length; i += COMPILING) await Promise.all(missing.slice(i, i + COMPILING).map((k) => this.of(k)));
  }

  layout(kernel: Kernel): GPUBindGroupLayout {
    const key = kernel.operands.map((o) => o.access).join();
    let layout = this.layouts.get(key);
    if (!layout) {
      layout = this.gpu.device.createBindGroupLayout({
        entries: kernel.operands.map((o, binding) => ({
          binding,
          visibility: ShaderStage.COMPUTE,
          buffer: { type: o.access === "read" ? ("read-only-storage" as const) : ("storage" as const) },
        })),
      });
      this.layouts.set(key, layout);
    }
    return layout;
  }

  of(kernel: Kernel): Promise<GPUComputePipeline> {
    const key = kernel.code;
    let pipeline = this.pipelines.get(key);
    if (!pipeline) {
      pipeline = this.compile(kernel);
      this.pipelines.set(key, pipeline);
    }
    return pipeline;
  }

  private async compile(kernel: Kernel): Promise<GPUComputePipeline> {
    const { device } = this.gpu;
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ label: kernel.name, code: kernel.code });
    const layout = device.createPipelineLayout({ bindGroupLayouts: [this.layout(kernel)] });
    const scope = device.popErrorScope();
    try {
      const made = device.createComputePipelineAsync({ label: kernel.name, layout, compute: { module, entryPoint: "main" } });
      const [pipeline] = await Promise.all([made, scope]);
      return pipeline;
    } catch (error) {
      this.gpu.check();
      const info = await module.getCompilationInfo();
      const where = info.messages.map((m) => `${m.lineNum}:${m.linePos} ${m.message}`);
      throw new Bug(
        [`WebGPU refuses the kernel ${kernel.name}: ${error instanceof Error ? error.message : error}`, ...where, kernel.code].join("\n"),
      );
    }
  }
}
