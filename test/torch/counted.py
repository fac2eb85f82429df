"""
Runs the train.py of a folder with each way of sharing parameters: `counted.py FOLDER OUT WAY...`. Counts the bytes that PyTorch's dispatcher hands to
collectives between the ends of the first and the second update, and writes them to OUT/WAY/counted.json.
"""
import json
import os
import runpy
import sys

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

folder, out, *ways = sys.argv[1:]
sys.path.insert(0, folder)
import peftc_runtime  # noqa: E402

KINDS = {"allreduce": "summed", "allgather": "gathered", "reduce_scatter": "scattered"}
counts = dict.fromkeys(KINDS.values(), 0)


def size(x):
    if isinstance(x, torch.Tensor):
        return x.numel() * x.element_size()
    return sum(size(y) for y in x) if isinstance(x, (list, tuple)) else 0


class Counting(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name()
        if name.startswith("c10d::"):
            kind = next((k for part, k in KINDS.items() if part in name), None)
            if kind is not None:
                # of what is gathered or scattered the whole: the larger of what goes in and comes out
                counts[kind] += max(size(args[0]), size(args[1]) if len(args) > 1 else 0)
        return function(*args, **(kwargs or {}))


ends = []
update = peftc_runtime.Program.update


def counted(self, *given):
    result = update(self, *given)
    ends.append(dict(counts))
    return result


peftc_runtime.Program.update = counted
# one group for all runs: its store would take a second one for the first
dist.init_process_group("gloo")
end = dist.destroy_process_group
dist.init_process_group = dist.destroy_process_group = lambda *_: None
for way in ways:
    ends.clear()
    sys.argv = [os.path.join(folder, "train.py"), "--shard", way, "--output", os.path.join(out, way)]
    with Counting():
        runpy.run_path(sys.argv[0], run_name="__main__")
    if os.environ["RANK"] == "0":
        with open(os.path.join(out, way, "counted.json"), "w") as file:
            json.dump({kind: ends[1][kind] - ends[0][kind] for kind in counts}, file)
end()
