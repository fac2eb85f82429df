/**
 * Words of other tools, and what stands for them here. The keys are those of transformers, peft, trl, axolotl, LLaMA-Factory, mlx-lm,
 * torchtune and the adapters library. A row gives names, tried in order where the place has them, and what to do where no name will do.
 */
interface Alias {
  readonly names?: readonly string[];
  readonly advice?: string;
}

const placesAdvice = "where a method goes is said by a selector: `attach name = Method(…) to model.path`";
const rateAdvice = "the rate is an option of the optimiser: `optimizer = adamw(lr: …)`";
const warmupAdvice = "warm-up belongs to the schedule: `schedule = linear(warmup: …)`, in updates or as a share of them";
const savingAdvice = "how often to save is `checkpoint = { every: …, keep: … }`";
const evaluatingAdvice = "how often to evaluate is `evaluate = { every: … }`";
const trainedAdvice = "what learns is the stage's `params`, a selection: `params = [new, model.classifier]`";
const decayAdvice = "weight decay is an option of the optimiser: `optimizer = adamw(weight_decay: …)`";
const splitAdvice = "the part held back is said where the data is read: `split: 0.9`";
const memoryAdvice = "what is kept and what is recomputed follows from `memory = …`";
const answersAdvice = 'labels on the answers only: `data = chat("file")`, or `input:` and `target:`';
const quantAdvice = "four-bit weights are a method: `attach q = NF4() to …`, with LoRA on top of it";
const several = "different values at different places are several attachments, each with its selector";

const rows: readonly (readonly [words: string, alias: Alias])[] = [
  // ── methods ────────────────────────────────────────────────────────────────────────────────────
  ["r lora_r lora_rank adapter_rank", { names: ["rank"] }],
  ["lora_alpha", { names: ["alpha"] }],
  ["scaling lora_scale", { names: ["alpha", "scale"] }],
  ["lora_dropout adapter_dropout drop_rate dropout_p", { names: ["dropout", "p"] }],
  ["dropout", { names: ["p"] }],
  ["use_rslora peft_use_rslora", { names: ["rslora"] }],
  ["use_dora peft_use_dora", { advice: 'DoRA is a method of its own: `import { DoRA } from "std/methods/dora"`' }],
  ["target_modules lora_target lora_target_modules lora_target_linear keys target_parameters", { advice: placesAdvice }],
  [
    "layers_to_transform layers_pattern num_layers_to_transform",
    { advice: "layers are picked in the selector: `model.layers[6..12]`, `[0, 2, 5..8]`" },
  ],
  ["rank_pattern alpha_pattern", { advice: several }],
  ["modules_to_save lora_modules_to_save trainable_params unfreeze", { names: ["params"], advice: trainedAdvice }],
  ["requires_grad trainable freeze", { names: ["params"], advice: trainedAdvice }],
  ["num_virtual_tokens n_tokens prefix_length prompt_length num_prefix_tokens", { names: ["tokens"] }],
  ["bottleneck_size adapter_size bottleneck_dim adapter_dim", { names: ["size", "hidden"] }],
  ["reduction_factor", { names: ["reduction", "size"] }],
  ["non_linearity activation activation_fn act_fn nonlinearity", { names: ["act"] }],
  ["prefix_projection", { advice: "a prefix made by a small network is `PrefixMLP`" }],
  [
    "init_lora_weights init_weights",
    { advice: "a start is given where a child is made (`weight: normal(0.02)`); PiSSA and LoftQ are methods" },
  ],
  ["init_r", { names: ["rank"] }],
  ["target_r", { names: ["target"] }],
  ["tinit", { names: ["begin"] }],
  ["tfinal", { names: ["end"] }],
  ["deltat delta_t", { names: ["every"] }],
  ["orth_reg_weight", { names: ["orth"] }],
  ["load_in_4bit quantization_bit load_in_8bit bnb_4bit_quant_type", { advice: quantAdvice }],
  // ── training ───────────────────────────────────────────────────────────────────────────────────
  [
    "micro_batch_size per_device_train_batch_size train_batch_size per_device_eval_batch_size batch_size batchsize bs",
    { names: ["batch"] },
  ],
  ["gradient_accumulation_steps grad_accum accumulation_steps grad_accum_steps accumulate_grad_batches", { names: ["accumulate"] }],
  [
    "cutoff_len sequence_len max_seq_length max_seq_len seq_len seq_length block_size model_max_length context_length",
    { names: ["sequence"] },
  ],
  ["max_length", { names: ["sequence", "max_tokens"] }],
  ["num_train_epochs num_epochs n_epochs max_epochs", { names: ["epochs"] }],
  ["max_steps iters num_steps total_steps train_steps num_training_steps iterations", { names: ["steps"] }],
  ["learning_rate", { names: ["lr"], advice: rateAdvice }],
  ["lr", { advice: rateAdvice }],
  ["weight_decay", { names: ["decay"], advice: decayAdvice }],
  ["warmup_steps warmup_ratio num_warmup_steps lr_warmup_steps", { names: ["warmup"], advice: warmupAdvice }],
  ["warmup", { advice: warmupAdvice }],
  ["lr_scheduler lr_scheduler_type scheduler lr_schedule", { names: ["schedule"] }],
  ["optim optimiser", { names: ["optimizer"] }],
  ["adam_beta1 adam_beta2 beta1 beta2", { names: ["betas"] }],
  ["adam_epsilon epsilon layer_norm_epsilon", { names: ["eps"] }],
  ["min_lr min_lr_ratio min_lr_rate", { names: ["least"] }],
  ["max_grad_norm gradient_clipping clip_grad grad_clip clip_grad_norm max_norm", { names: ["clip"] }],
  ["save_steps save_every save_strategy steps_per_save saves_per_epoch", { names: ["checkpoint"], advice: savingAdvice }],
  ["save_total_limit", { names: ["keep", "checkpoint"], advice: savingAdvice }],
  [
    "eval_steps steps_per_eval eval_strategy evaluation_strategy evals_per_epoch",
    { names: ["every", "evaluate"], advice: evaluatingAdvice },
  ],
  [
    "logging_steps steps_per_report report_to log_every",
    { names: ["watch"], advice: "every update is logged; more scalars are asked for by `watch = { name: … }`" },
  ],
  ["early_stopping_patience patience early_stopping", { names: ["stop_after"] }],
  ["load_best_model_at_end metric_for_best_model", { names: ["best"] }],
  ["compute_metrics metric eval_metrics", { names: ["metrics"] }],
  ["output_dir output adapter_path save_dir save_path out_dir", { names: ["save"] }],
  ["fp16 bf16 mixed_precision torch_dtype dtype compute_dtype", { names: ["precision"], advice: '`precision = "f16"`' }],
  ["random_seed random_state manual_seed data_seed", { names: ["seed"] }],
  [
    "gradient_checkpointing grad_checkpoint activation_checkpointing use_gradient_checkpointing",
    { names: ["memory"], advice: memoryAdvice },
  ],
  ["max_memory memory_limit memory_budget gpu_memory", { names: ["memory"] }],
  ["loss criterion task loss_fn loss_type", { names: ["objective"] }],
  ["shuffle_data", { names: ["shuffle"] }],
  // ── data ───────────────────────────────────────────────────────────────────────────────────────
  ["dataset train_dataset train_data dataset_path datasets train_file", { names: ["data"] }],
  ["eval_dataset val_dataset validation_data eval_data", { names: ["data"], advice: splitAdvice }],
  ["val_set_size test_size validation_split val_size eval_size", { names: ["split"], advice: splitAdvice }],
  ["train_on_inputs mask_prompt completion_only_loss assistant_only_loss", { advice: answersAdvice }],
  ["text_column source prompt_column", { names: ["input"] }],
  ["label_column label_field", { names: ["label"] }],
  ["output_column completion response", { names: ["target"] }],
  // ── generating ─────────────────────────────────────────────────────────────────────────────────
  ["max_new_tokens max_gen_len", { names: ["max_tokens"] }],
  ["num_beams n_beams beam_size", { names: ["beams"] }],
  ["num_return_sequences n_samples", { names: ["samples"] }],
  ["do_sample", { names: ["temperature"], advice: "a temperature above 0 samples; 0 takes the likeliest" }],
  ["eos_token eos_token_id stop_strings stop_sequences", { names: ["stop"] }],
  ["prompt", { names: ["prompts"] }],
  // ── words of Python and NumPy ──────────────────────────────────────────────────────────────────
  ["True", { names: ["true"], advice: "write `true`" }],
  ["False", { names: ["false"], advice: "write `false`" }],
  ["None null nil undefined", { names: ["none"], advice: "write `none`" }],
  ["len", { names: ["length"] }],
  ["range", { advice: "whole numbers in a row are `0..n`" }],
  ["cat concatenate", { names: ["concat"] }],
  ["matmul mm bmm", { advice: "a product of matrices is `a @ b`" }],
  ["pow power", { advice: "a power is `a ** b`" }],
  ["view", { names: ["reshape"] }],
  ["int64 long", { names: ["i32"] }],
  ["float32 float16 tensor", { names: ["f32"] }],
  ["str", { names: ["string"] }],
  ["dict", { names: ["record"] }],
  ["list", { advice: "a list of ints is `[int]`" }],
  ["Optional", { advice: "what may be `none` is written `T?`" }],
];

/** Row of a word, however it is cased and whether it is written with `-` or `_`. */
export function alias(word: string): Alias | undefined {
  return table.get(word) ?? table.get(word.toLowerCase().replaceAll("-", "_"));
}
const table: ReadonlyMap<string, Alias> = new Map(rows.flatMap(([words, a]) => words.split(" ").map((w) => [w, a] as const)));
