"""Holds a printed program and its values, and runs its functions: on one process, or a part of the batch on each of several."""
import contextlib
import math
import sys
import types

import torch
import torch.distributed as dist
from torch.utils.checkpoint import checkpoint

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "i32": torch.int32, "bool": torch.bool}


def load_text(files):
    """The modules of a program from their texts; those that a text imports from the program come before it."""
    modules = {}
    for name, text in files.items():
        module = types.ModuleType(name.removesuffix(".py"))
        exec(compile(text, f"<{name}>", "exec"), module.__dict__)
        modules[module.__name__] = module
    return modules


class Program:
    """
    `spec`: what `program.json` says of parameters, states and entries. `modules`: those of the printed text, by name. Where there are several processes
    (`torch.distributed` is initialised), each runs its rows of the batch, and sums are those of all.
    """

    def __init__(self, spec, modules, device, options=None):
        options = options or {}
        self.spec = spec
        self.device = device
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.functions = {e["name"]: (e, getattr(modules[e["file"]], e["call"])) for e in spec["entries"]}
        self.model = modules["model"].Model().to(device)
        self.params = {name: self.model.get_parameter(slot["module"]) for name, slot in spec["params"].items()}
        for name in spec["differentiated"]:
            self.params[name].requires_grad_(True)
        backward = {state: param for e in spec["entries"] for state, param in e.get("backward", {}).items()}
        self.gradients = {state: self.params[param] for state, param in backward.items()}
        """States that are the gradients of parameters, which PyTorch adds up by itself."""
        self.states = {
            name: torch.zeros(slot["shape"], dtype=DTYPES[slot["dtype"]], device=device)
            for name, slot in spec["states"].items()
            if name not in self.gradients
        }
        self.dtype = DTYPES[options.get("dtype", "f32")]
        self.recompute = bool(options.get("recompute"))
        blocks = [self.model.get_submodule(path) for path in spec["blocks"]]
        if self.recompute:
            for block in blocks:
                _recomputed(block)
        if options.get("compile"):
            for block in blocks:
                block.compile()
        self.wrapped = None
        """The model as DDP wraps it; made when the first gradient is asked for, when parameters have their values."""

    # ---- values

    def place(self, kind, name):
        if kind == "param":
            return self.params[name].data
        if name in self.gradients:
            return self.gradient(name)
        return self.states[name]

    def gradient(self, state):
        param = self.gradients[state]
        return torch.zeros_like(param) if param.grad is None else param.grad

    def write(self, kind, name, at, values):
        """Puts numbers into a parameter or a state from its element `at` on."""
        with torch.no_grad():
            if kind == "state" and name in self.gradients and self.gradients[name].grad is None:
                self.gradients[name].grad = torch.zeros_like(self.gradients[name])
            place = self.place(kind, name).view(-1)
            place[at : at + values.numel()].copy_(values.to(self.device))

    def read(self, kind, name):
        return self.place(kind, name).detach()

    # ---- running

    def inputs(self, entry, given, part):
        """Numbers stay as they are; tensors come onto the device, of columns this process's rows."""
        out = {}
        for one in entry["inputs"]:
            name = one["name"]
            if name not in given:
                raise KeyError(f"{entry['name']} needs the input `{name}`")
            value = given[name]
            if not one["number"]:
                value = torch.as_tensor(value, device=self.device).to(DTYPES[one["dtype"]])
                inner = [d for d in one["shape"][1:]] if one["rows"] else one["shape"]
                if one["rows"]:
                    value = value.reshape(-1, *inner)
                    if part is not None:
                        value = value[part[0] : part[1]]
                else:
                    value = value.reshape(inner)
            out[name] = value
        if part is not None and "rows_before" in out:
            out["rows_before"] += part[0]
        return out

    def part(self, entry, given):
        """The rows of a batch that are this process's; `None`: all of them."""
        rows = next((i for i in entry["inputs"] if i["rows"]), None)
        if self.world == 1 or not entry["additive"] or rows is None:
            return None, None
        count = given[rows["name"]].numel() // math.prod(rows["shape"][1:])
        return (self.rank * count // self.world, (self.rank + 1) * count // self.world), count

    def run(self, name, given):
        """Runs an entry; gives its outputs. Parameters and states have their next values afterwards."""
        entry, function = self.functions[name]
        part, count = self.part(entry, given)
        x = self.inputs(entry, given, part)
        if entry["kind"] == "update":
            return self.update(function, x)
        if entry.get("backward"):
            last = count is None or given.get("rows_before", 0) + count >= given.get("update_rows", 0)
            return self.backward(function, x, last)
        with self.casting():
            outputs, params, states = self.model(function, x, self.sums(entry))
        with torch.no_grad():
            if part is not None:
                states = self.together(states)
            self.keep(params, states)
        return {key: value.detach() for key, value in outputs.items()}

    def casting(self):
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not torch.float32)

    def sums(self, entry):
        """The states that an entry reads; of those it adds to, only one process has what was there before."""
        held = self.states if not self.gradients else {**self.states, **{name: self.gradient(name) for name in self.gradients}}
        if not entry["additive"] or self.rank == 0:
            return held
        return {name: torch.zeros_like(value) if name in entry["adds"] else value for name, value in held.items()}

    def together(self, states):
        out = {}
        for name, value in states.items():
            value = value.contiguous()
            dist.all_reduce(value)
            out[name] = value
        return out

    def backward(self, function, x, last):
        """Adds gradients to those that parameters have. With several processes DDP sums them, once for an update."""
        entry = next(e for e, f in self.functions.values() if f is function)
        model = self.distributed()
        quiet = model.no_sync() if self.world > 1 and not last else contextlib.nullcontext()
        with quiet:
            with self.casting():
                outputs, states = model(function, x, self.sums(entry))
            outputs.backward()
        with torch.no_grad():
            self.keep({}, self.together({k: v.detach() for k, v in states.items()}) if self.world > 1 else states)
        return {}

    def distributed(self):
        if self.world == 1:
            return self.model
        if self.wrapped is None:
            from torch.nn.parallel import DistributedDataParallel

            ids = [self.device.index] if self.device.type == "cuda" else None
            unused = any(e.get("unused") for e in self.spec["entries"])
            self.wrapped = DistributedDataParallel(self.model, device_ids=ids, find_unused_parameters=unused, broadcast_buffers=False)
            self.wrapped.register_comm_hook(None, _sum)
        return self.wrapped

    def update(self, function, x):
        with torch.no_grad():
            outputs, params, states = function({name: p.data for name, p in self.params.items()}, x, self.sums({"additive": False}))
            self.keep(params, states)
        return {key: value.detach() for key, value in outputs.items()}

    def keep(self, params, states):
        held = {p.untyped_storage().data_ptr() for p in self.params.values()}

        def own(value):
            value = value.detach()
            return value.clone() if value.untyped_storage().data_ptr() in held or not value.is_contiguous() else value

        params = {name: own(value) for name, value in params.items()}
        states = {name: own(value) for name, value in states.items()}
        for name, value in params.items():
            self.params[name].data.copy_(value)
        for name, value in states.items():
            if name in self.gradients:
                # an update begins the sums anew
                self.gradients[name].grad = None
            else:
                self.states[name] = value.to(DTYPES[self.spec["states"][name]["dtype"]])


def _sum(_, bucket):
    """DDP's mean would depend on how many processes there are: a loss is a sum over rows, divided already."""
    return dist.all_reduce(bucket.buffer(), async_op=True).get_future().then(lambda f: f.value()[0])


def _recomputed(block):
    """Keeps of a block only what goes in, and computes the rest again for the backward half."""
    forward = block.forward

    def again(*given):
        return checkpoint(forward, *given, use_reentrant=False) if torch.is_grad_enabled() else forward(*given)

    block.forward = again


def device_of(local_rank):
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
        return torch.device("cuda", local_rank)
    return torch.device("cpu")


def say(text):
    print(text, file=sys.stderr, flush=True)
