"""One training step of a GPT-2 in PyTorch on the processor at a time, for bench/processor.mjs: a line in, a line of JSON out."""
import json
import sys
import time

import torch
from torch_model import gpt2

job = json.loads(sys.argv[1])
torch.set_num_threads(job["threads"])
model, optimizer, ids = gpt2(job)
print(json.dumps({"torch": torch.__version__}), flush=True)
for _ in sys.stdin:
    start, used = time.perf_counter(), time.process_time()
    optimizer.zero_grad()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    value = loss.item()
    print(json.dumps({"ms": (time.perf_counter() - start) * 1e3, "cpu": (time.process_time() - used) * 1e3, "loss": value}), flush=True)
