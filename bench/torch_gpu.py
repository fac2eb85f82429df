"""The same products and training steps in PyTorch on a GPU, f32 without TF32, for bench/gpu.mjs. Prints one JSON object."""
import json
import statistics
import sys
import time

import torch

torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
job = json.loads(sys.argv[1])
card = torch.cuda.get_device_name(0)


def timed(run, warm, runs):
    times = []
    for i in range(warm + runs):
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        if i >= warm:
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


if job["kind"] == "products":
    n = job["n"]
    a = torch.rand(n, n, device="cuda") - 0.5
    b = (torch.rand(n, n, device="cuda") - 0.5) * (12 / n) ** 0.5

    def run():
        for _ in range(10):
            y = a
            for _ in range(8):
                y = y @ b

    ms = timed(run, 2, 5)
    print(json.dumps({"tflops": 10 * 8 * 2 * n**3 / ms / 1e9, "card": card}))
else:
    from torch_model import training

    step = training(job, "cuda")
    losses = [step() for _ in range(3)]
    torch.cuda.reset_peak_memory_stats()
    ms = timed(step, 5, 15)
    print(json.dumps({"ms": ms, "losses": losses, "peak": torch.cuda.max_memory_allocated(), "card": card}))
