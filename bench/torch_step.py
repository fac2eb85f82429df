"""One training step of a GPT-2 in PyTorch on the processor at a time, for bench/table.mjs: a line in, a line of JSON out."""
import json
import resource
import sys
import time

import torch

job = json.loads(sys.argv[1])
torch.set_num_threads(job["threads"])
started = time.perf_counter()
shape = job["shape"]


def spread(n):
    """The numbers of step.mjs."""
    out, x = [], 1
    for _ in range(n * n):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
        out.append((x - (x >> 31 << 32)) / 2**31 * 0.0346)
    return torch.tensor(out).reshape(n, n)


if "products" in shape:
    left, right = spread(shape["products"]), spread(shape["products"]) * (50 / shape["products"] ** 0.5)

    def run():
        out = left
        for _ in range(shape["chain"]):
            out = out @ right
        return out[0, 0].item()
else:
    from torch_model import training

    run = training(job)

print(json.dumps({"torch": torch.__version__, "compile": 0, "load": (time.perf_counter() - started) * 1e3}), flush=True)
for _ in sys.stdin:
    start, used = time.perf_counter(), time.process_time()
    value = run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"ms": (time.perf_counter() - start) * 1e3, "cpu": (time.process_time() - used) * 1e3, "loss": value, "peak": peak}), flush=True)
