/** Random matrices that PEFT's folders may lack: what PEFT 0.21 draws for a key (with PyTorch 2.13 on a CPU), and folders without them. */

import { expect, test } from "@jest/globals";
import type { Project } from "../../src/compiler/project.ts";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import { readAdapter } from "../../src/formats/adapters/read.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { openSafetensors } from "../../src/formats/safetensors/read.ts";
import { torchNormal, torchUniform } from "../../src/ir/mt19937.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { artefactsFor } from "../../src/train/run/artefacts.ts";
import type { ValueStore } from "../../src/train/values.ts";
import { programOf } from "./program.ts";

const mappings = readMappings(new NodeFiles(), "specs/std/methods");
const HEAD = `import { LlamaForCausalLM } from "std/models/llama"
import { VeRA, PVeRA } from "std/methods/vera"
import { RandLoRA } from "std/methods/randlora"
import { TinyLoRA } from "std/methods/tinylora"
model m = LlamaForCausalLM(vocab_size: 11, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2)
`;

function program(body: string, files = new MemoryFiles()): { p: Project; values: ValueStore } {
  const { p, values } = programOf(HEAD + body, mappings, files);
  expect(p.problems.map(({ code, message }) => `${code} ${message}`)).toEqual([]);
  return { p, values };
}

const layer = (i: number, w: string) => `model.layers.${i}.self_attn.${w}_proj.tinylora_P`;
/** Its first and last numbers, and their sum. */
type Seen = readonly [first: readonly number[], last: readonly number[], sum: number];
const cases: readonly (readonly [call: string, tensors: Readonly<Record<string, Seen>>])[] = [
  [
    "VeRA(rank: 8, save: false)",
    {
      vera_A: [
        [-0.0032418882474303246, 0.23228688538074493, -0.35638898611068726],
        [-0.25707706809043884, -0.16014491021633148],
        -4.993385883804876,
      ],
      vera_B: [
        [-0.8583596348762512, 0.39091864228248596, -0.41592055559158325],
        [-0.24916711449623108, 0.5354300141334534],
        7.459204646758735,
      ],
    },
  ],
  [
    "RandLoRA(rank: 8, save: false)",
    {
      randlora_A: [[-0.0130615234375, 0.9375, -1.4375], [-1.0390625, -0.6484375], -20.145828247070312],
      randlora_B: [[-1.6640625, 0.7578125, -0.80859375], [1.0859375, 1.140625], -21.470458984375],
    },
  ],
  [
    "TinyLoRA(save: false)",
    {
      [layer(0, "q")]: [
        [1.3625348806381226, 1.051668643951416, 0.6369032263755798],
        [0.3576487600803375, 0.1572984904050827],
        11.411766715464182,
      ],
      [layer(0, "v")]: [
        [-0.011740527115762234, -0.33007386326789856, 1.4784878492355347],
        [0.06108830124139786, 0.40538519620895386],
        -7.034148296806961,
      ],
      [layer(1, "v")]: [
        [0.09697706997394562, 1.078474998474121, 1.0407270193099976],
        [0.28587305545806885, -0.546922504901886],
        12.36739575926913,
      ],
    },
  ],
];

test.each(cases)("%s draws as PEFT does, is saved without what was drawn, and is read and drawn again", (call, tensors) => {
  const { p, values } = program(`attach a = ${call} to m.model.layers[*].self_attn.{q_proj, v_proj}`);
  const close = (seen: number, wanted: number) => expect(Math.abs(seen - wanted)).toBeLessThan(1e-6);
  for (const [name, [first, last, sum]] of Object.entries(tensors)) {
    const seen = values.param(`a.${name}`);
    [...first.entries()].forEach(([i, v]) => close(seen[i], v));
    [...last.entries()].forEach(([i, v]) => close(seen[seen.length - last.length + i], v));
    expect(seen.reduce((a, b) => a + b, 0)).toBeCloseTo(sum, 3);
  }
  const files = new MemoryFiles();
  artefactsFor(p, files, mappings).adapter("out", { attachments: ["a"], models: [], heads: [], objectives: [] }, (n) => values.param(n));
  expect(JSON.parse(new TextDecoder().decode(files.content.get("out/adapter_config.json")!)).save_projection).toBe(false);
  const ends = Object.keys(tensors).map((name) => name.slice(name.lastIndexOf(".") + 1));
  expect(
    [...openSafetensors(files, "out/adapter_model.safetensors").tensors.keys()].filter((key) => ends.some((end) => key.endsWith(end))),
  ).toEqual([]);
  const [part, ...more] = readAdapter(files, "out", mappings)!.parts;
  expect([more, part.drawn]).toEqual([[], { by: call.startsWith("Tiny") ? "seed" : "key", params: [...new Set(ends)] }]);
  const back = program(`attach a = load("out") to m`, files);
  for (const name of Object.keys(tensors)) expect(back.values.param(`a.${name}`)).toEqual(values.param(`a.${name}`));
  // another key, other numbers
  const other = call.startsWith("Tiny") ? "seed: 7" : "key: 7";
  const fresh = program(`attach a = ${call.replace(")", `, ${other})`)} to m.model.layers[*].self_attn.{q_proj, v_proj}`);
  for (const name of Object.keys(tensors)) expect(fresh.values.param(`a.${name}`)).not.toEqual(values.param(`a.${name}`));
});

test("PVeRA's matrices are a VeRA's of twice as many rows, and then its B; what its input draws has a place in training only", () => {
  const site = "m.model.layers[*].self_attn.{q_proj, v_proj}";
  const one = program(`attach a = PVeRA(rank: 4, key: 3, save: false) to ${site}`).values;
  const other = program(`attach a = VeRA(rank: 8, key: 3) to ${site}`).values;
  expect(one.param("a.pvera_A")).toEqual(other.param("a.vera_A"));
  const b = one.param("a.pvera_B");
  const bound = Math.fround(Math.sqrt(6 / 4));
  expect([...b]).toEqual([...torchUniform(32 * 4, -bound, bound, 3, 8 * 32)]);
});

test("sparse projections have numbers of three kinds in their shares, and a deviation of 1", () => {
  const { values } = program(`attach a = RandLoRA(rank: 8, sparse: true) to m.model.layers[*].self_attn.q_proj`);
  const seen = values.param("a.randlora_B");
  const kinds = new Map<number, number>();
  for (const v of seen) kinds.set(v, (kinds.get(v) ?? 0) + 1);
  const [low, , high] = [...kinds.keys()].sort((a, b) => a - b);
  expect([low, kinds.size]).toEqual([-high, 3]);
  expect(seen.reduce((sum, v) => sum + v * v, 0) / seen.length).toBeCloseTo(1, 2);
  expect(kinds.get(0)! / seen.length).toBeCloseTo(2 / 3, 1);
  // A's numbers were drawn before: the first of B is the 257th
  const [u] = torchUniform(1, 0, 1, 0, 8 * 32);
  expect(Math.sign(seen[0])).toBe(u < 1 / 6 ? -1 : u > 5 / 6 ? 1 : 0);
});

test("torch's draws: what is skipped, the last block of normal numbers anew, few of them in pairs", () => {
  expect([...torchUniform(5, -2, 2, 3, 4)]).toEqual([...torchUniform(9, -2, 2, 3)].slice(4));
  // rounded up to the end, a number becomes the start
  const brain = torchUniform(20000, -0.3535533905932738, 0.3535533905932738, 0, 0, "bf16");
  expect(Math.max(...brain)).toBeLessThan(0.353515625);
  expect(Math.min(...brain)).toBe(-0.353515625);
  const [few, block, more] = [torchNormal(5, 1, 0), torchNormal(16, 1, 0), torchNormal(20, 1, 0)];
  expect([...more.slice(0, 4)]).toEqual([...block.slice(0, 4)]);
  expect(more[4]).not.toBe(block[4]);
  // torch.manual_seed(0); torch.randn(5), as its documentation and many pages print it
  expect([...few].map((v) => v.toFixed(4))).toEqual(["1.5410", "-0.2934", "-2.1788", "0.5684", "-1.0845"]);
});
