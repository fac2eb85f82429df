"""Runs the train.py of a folder, counting the bytes that PyTorch's dispatcher hands to collectives, until each of the first two updates has ended."""
import json
import os
import runpy
import sys

import torch
from torch.utils._python_dispatch import TorchDispatchMode

folder = sys.argv[1]
sys.argv = [os.path.join(folder, "train.py"), *sys.argv[2:]]
sys.path.insert(0, folder)
import peftc_runtime  # noqa: E402

KINDS = {"allreduce": "summed", "allgather": "gathered", "reduce_scatter": "scattered"}
counts = {"gathered": 0, "scattered": 0, "summed": 0}


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
    out = update(self, *given)
    ends.append(dict(counts))
    return out


peftc_runtime.Program.update = counted
with Counting():
    runpy.run_path(sys.argv[0], run_name="__main__")
if os.environ["RANK"] == "0":
    out = sys.argv[sys.argv.index("--output") + 1]
    with open(os.path.join(out, "counted.json"), "w") as file:
        json.dump({"first": ends[0], "second": ends[1]}, file)
