"""Training steps by transformers and peft on one device, as one would write them by hand, for bench/card.mjs. Prints a line of JSON."""
import contextlib
import json
import statistics
import sys
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

job = json.loads(sys.argv[1])
shape, device = job["shape"], job["device"]
cuda = device == "cuda"
if shape["arch"] == "gpt2":
    model = GPT2LMHeadModel(GPT2Config(
        vocab_size=shape["vocabulary"], n_positions=shape["sequence"], n_embd=shape["width"], n_layer=shape["layers"], n_head=shape["heads"],
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, use_cache=False,
    ))
else:
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=shape["vocabulary"], hidden_size=shape["width"], intermediate_size=shape["inner"], num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"], num_key_value_heads=shape["keys"], max_position_embeddings=shape["sequence"], rope_theta=500000.0,
        tie_word_embeddings=True, use_cache=False,
    ))
if job["lora"]:
    from peft import LoraConfig, get_peft_model

    gpt2 = shape["arch"] == "gpt2"
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["c_attn"] if gpt2 else ["q_proj", "v_proj"], fan_in_fan_out=gpt2))
model = model.to(device).train()
run = torch.compile(model) if job["compile"] else model
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.01)
count = shape["batch"] * shape["sequence"]
ids = torch.tensor([(i * 7919 + (i * i % 101) * 31) % shape["vocabulary"] for i in range(count)]).reshape(shape["batch"], -1).to(device)
casting = torch.autocast(device, dtype=torch.bfloat16) if job["dtype"] == "bf16" else contextlib.nullcontext()


def step():
    optimizer.zero_grad()
    with casting:
        loss = run(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    return loss.item()


times = []
for i in range(job["steps"]):
    start = time.perf_counter()
    step()
    if i >= job["warm"]:
        times.append((time.perf_counter() - start) * 1e3)
if cuda:
    peak, where = torch.cuda.max_memory_allocated(), torch.cuda.get_device_name(0)
else:
    import resource

    peak, where = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "processor"
print(json.dumps({"ms": statistics.median(times), "peak": peak, "where": f"torch {torch.__version__}, {where}"}))
