/** Pieces of Python text: expressions with how tightly they bind, literals, names. */
import type { Dim } from "../../ir/dim.ts";
import type { DType } from "../../ir/graph.ts";

/** How tightly an expression binds, the tightest first. */
export const BINDS = { atom: 0, power: 1, sign: 2, product: 3, sum: 4, and: 5, or: 6, compare: 7, choice: 8 } as const;
export type Binds = (typeof BINDS)[keyof typeof BINDS];

export interface Expression {
  readonly text: string;
  readonly binds: Binds;
}
export const atom = (text: string): Expression => ({ text, binds: BINDS.atom });
/** The text for a place that takes what binds at least so tightly. */
export const within = (e: Expression, most: Binds): string => (e.binds <= most ? e.text : `(${e.text})`);

/** `a op b`, from the left. */
export const infix = (a: Expression, op: string, b: Expression, binds: Binds): Expression => ({
  text: `${within(a, binds)} ${op} ${within(b, (binds - 1) as Binds)}`,
  binds,
});

export function literal(value: number, dtype: DType): Expression {
  if (dtype === "bool") return atom(value ? "True" : "False");
  if (Number.isNaN(value)) return atom("math.nan");
  if (!Number.isFinite(value)) return value > 0 ? atom("math.inf") : { text: "-math.inf", binds: BINDS.sign };
  const negative = value < 0 || Object.is(value, -0);
  const digits = String(Math.abs(value));
  const text = dtype === "i32" || /[.e]/.test(digits) ? digits : `${digits}.0`;
  return negative ? { text: `-${text}`, binds: BINDS.sign } : atom(text);
}

/** A size: symbols stand for Python names. */
export function dim(d: Dim): Expression {
  if (typeof d === "number") return literal(d, "i32");
  const text = String(d);
  return /^\w+$/.test(text) ? atom(text) : { text, binds: BINDS.sum };
}
/** A tuple of sizes. */
export function tuple(dims: readonly (Dim | string)[]): string {
  const parts = dims.map(String);
  return parts.length === 1 ? `(${parts[0]},)` : `(${parts.join(", ")})`;
}

export const torchType: Readonly<Record<DType, string>> = { f32: "torch.float32", i32: "torch.int32", bool: "torch.bool" };

const KEYWORDS = new Set(
  `False None True and as assert async await break class continue def del elif else except finally for from global if import in is lambda
  nonlocal not or pass raise return try while with yield self torch math nn F ops range zip x s`.split(/\s+/),
);
/** What every `nn.Module` has: no parameter or module of ours may be called so. */
const OF_MODULES = new Set(
  `add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval extra_repr float forward get_buffer
  get_extra_state get_parameter get_submodule half ipu load_state_dict modules mtia named_buffers named_children named_modules named_parameters
  parameters register_backward_hook register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
  register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
  register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory state_dict to to_empty
  train training type xpu zero_grad T_destination append extend insert unshard reshard`.split(/\s+/),
);

/** A Python name as near to `wanted` as can be. */
export function identifier(wanted: string): string {
  const plain = wanted.replace(/\W/g, "_").replace(/^(?=\d|$)/, "_");
  return KEYWORDS.has(plain) ? `${plain}_` : plain;
}
export function attribute(wanted: string): string {
  const plain = identifier(wanted);
  return OF_MODULES.has(plain) ? `${plain}_` : plain;
}
export const quoted = (text: string): string => JSON.stringify(text);
