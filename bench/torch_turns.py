"""One training step of a GPT-2 in PyTorch on the processor at a time, for bench/processor.mjs: a line in, a line of JSON out."""
import json
import sys
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel

job = json.loads(sys.argv[1])
torch.set_num_threads(job["threads"])
shape = job["shape"]
config = GPT2Config(
    vocab_size=shape["vocabulary"], n_positions=shape["sequence"], n_embd=shape["width"], n_layer=shape["layers"],
    n_head=shape["heads"], resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, tie_word_embeddings=False, use_cache=False,
)
model = GPT2LMHeadModel(config)
if job["lora"]:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["c_attn"], fan_in_fan_out=True))
model.train()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=job["rate"], weight_decay=0.01)
count = shape["batch"] * shape["sequence"]
ids = torch.tensor([(i * 7919 + (i * i % 101) * 31) % shape["vocabulary"] for i in range(count)]).reshape(shape["batch"], -1)
print(json.dumps({"torch": torch.__version__}), flush=True)
for _ in sys.stdin:
    start, used = time.perf_counter(), time.process_time()
    optimizer.zero_grad()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    value = loss.item()
    print(json.dumps({"ms": (time.perf_counter() - start) * 1e3, "cpu": (time.process_time() - used) * 1e3, "loss": value}), flush=True)
