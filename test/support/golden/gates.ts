/** VL-PET's parts on their own: one layer of an encoder with gated adapters, one cross attention with an adapter beside its values. No model, no checkpoint. */

import type { ParamDecl } from "../../../src/compiler/project.ts";
import { byParts, byPath, firstOf, type Part } from "./expected.ts";
import { type Case, Unsupported } from "./manifest.ts";
import { OBSERVE } from "./program.ts";
import { type Readers, Trial } from "./trial.ts";
import type { Vectors } from "./vectors.ts";

interface Config {
  readonly d_model: number;
  readonly heads: number;
  readonly ffn?: number;
  readonly adapter_down_dim: number;
  readonly gating_dim?: number;
}

/** Granularity of the gate by the option that switches it on, with what the authors call its parameters. */
const gates: Readonly<Record<string, { granularity: string; names: Readonly<Record<string, string>> }>> = {
  use_encoder_adapter_gating_large_x: { granularity: "large", names: { wide: "gating_large_x" } },
  use_encoder_adapter_gating_large_x_lowrank: {
    granularity: "large",
    names: { "deep.down": "gating_large_x_down", "deep.up": "gating_large_x_up" },
  },
  use_encoder_adapter_gating_middle_xy_add: { granularity: "middleX", names: { token: "gating_middle_xy_add" } },
  use_encoder_adapter_gating_middle_ia3_add: { granularity: "middleY", names: { channel: "gating_middle_ia3_add" } },
  use_encoder_adapter_gating_small_xy_cat: { granularity: "small", names: { pair: "gating_small_xy_cat" } },
};

interface Piece {
  readonly module: string;
  readonly model: string;
  readonly imports: string;
  readonly attach: string;
  /** Inputs beside `x` and the mask, and the call. */
  readonly inputs: string;
  readonly call: string;
  parts(param: ParamDecl): readonly Part[];
}

export class Gated extends Trial {
  async all(): Promise<string[]> {
    const { test, io } = this;
    if (test.arch !== "bart") throw new Unsupported(`layers of ${test.arch} without a model`);
    const config = test.config as unknown as Config;
    const piece = io.has("in.encoder") ? valueAdapter(config, io) : encoderLayer(config, test, io);
    const project = this.compile(programOf(piece, config));
    const values = this.valuesOf(project);
    const parts = byParts((param) => (param.owner.kind === "attachment" ? piece.parts(param) : []));
    const readers: Readers = (tensors) => firstOf(parts(tensors), byPath(tensors));
    this.start(project, values, readers);
    await this.onDevice(project, values, "label", async (running) => {
      const { y, input_grad } = await running.look("look");
      this.check("out.y", y);
      this.check("grad.input", input_grad);
      await this.run(running, project, readers);
    });
    this.missed(/^(out|grad)\./);
    return this.problems;
  }
}

function encoderLayer(config: Config, test: Case, io: Vectors): Piece {
  const gate = Object.entries(gates).find(([option]) => test.config![option] === true)?.[1];
  if (gate === undefined) throw new Unsupported("a layer without a gate");
  const heads = [...io.keys()].filter((key) => /^param\.attn_adapter_multihead_down\.\d+\.bias$/.test(key)).length;
  const rank = "deep.down" in gate.names ? config.gating_dim : "none";
  return {
    module: "BartEncoderLayer",
    model: `d_model: ${config.d_model}, encoder_attention_heads: ${config.heads}, encoder_ffn_dim: ${config.ffn}`,
    imports: 'import { AttentionSublayer, FeedForwardSublayer } from "std/nn"\nimport { VLPET } from "std/methods/vl_pet"',
    attach: `VLPET(size: ${config.adapter_down_dim}, gate_size: ${rank}, granularity: "${gate.granularity}") to [m.**: AttentionSublayer, m.**: FeedForwardSublayer]`,
    inputs: "",
    call: "part(x, attention_mask[:, none, none, :])",
    parts: ({ path, shape }) => {
      const side = path.startsWith(":AttentionSublayer.") ? "attn" : "ff";
      const name = path.slice(path.indexOf(".") + 1);
      const down = /^adapter\.down\.(\w+)$/.exec(name)?.[1];
      if (down !== undefined)
        return Array.from({ length: heads }, (_, h) => ({
          key: `${side}_adapter_multihead_down.${h}.${down}`,
          axis: 0,
          from: (h * shape[0]) / heads,
        }));
      const up = /^adapter\.up\.(\w+)$/.exec(name)?.[1];
      if (up !== undefined) return [{ key: `${side}_adapter_multihead_up.${up}` }];
      const own = Object.entries(gate.names).find(([ours]) => name === ours || name.startsWith(`${ours}.`));
      return own ? [{ key: `encoder_${side}_adapter_${own[1]}${name.slice(own[0].length)}` }] : [];
    },
  };
}

function valueAdapter(config: Config, io: Vectors): Piece {
  const adapter = [...io.keys()]
    .map((key) => /^param\.(attn_value_parallel_adapter\.adapters\.\w+)\./.exec(key)?.[1])
    .find((x) => x !== undefined);
  if (adapter === undefined) throw new Unsupported("a cross attention without an adapter on its values");
  return {
    module: "BartCrossAttention",
    model: `d_model: ${config.d_model}, decoder_attention_heads: ${config.heads}`,
    imports: 'import { VLPETValue } from "std/methods/vl_pet"',
    attach: `VLPETValue(size: ${config.adapter_down_dim}) to m.v_proj`,
    inputs: `, encoder: f32[B, T, ${config.d_model}]`,
    call: "part(x, encoder, attention_mask[:, none, none, :])",
    parts: ({ path }) => [{ key: path.replace(/^v_proj\.adapter\.(down|up)\./, `${adapter}.$1_sampler.`) }],
  };
}

const programOf = ({ module, model, imports, attach, inputs, call }: Piece, { d_model }: Config): string => `
import { ${module} } from "std/models/bart"
${imports}
import { sgd } from "std/training"
${OBSERVE}
module probed(part: ${module}) {
  forward(x: f32[B, S, ${d_model}]${inputs}, attention_mask: bool[B, ${inputs === "" ? "S" : "T"}], probe: f32[B, S, ${d_model}]) -> loss: f32[] {
    y          = ${call}
    loss       = sum(y * probe)
    input_grad = grad(loss, x)
  }
}
model m = ${module}(${model})
attach a = ${attach}
goal = probed(eval(m))
attach gradient = Gradient() to [m, a]
train run {
  objective = goal
  data = jsonl("rows.jsonl")
  params = [m, a]
  optimizer = sgd(lr: 0)
  steps = 1
}
predict look {
  objective = goal
  data = jsonl("rows.jsonl")
  columns = ["y", "input_grad"]
}
`;
