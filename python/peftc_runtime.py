"""Holds a printed program and its values, and runs its functions: on one process, or a part of the batch on each of several."""
import contextlib
import ctypes
import math
import os
import signal
import sys
import types

import torch
import torch.distributed as dist
from torch.utils.checkpoint import checkpoint

import peftc_ops as ops

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
        self.sharded = options.get("shard") == "fsdp" and self.world > 1
        """Whether `fully_shard` gives each process a part of every parameter."""
        ops.PARTED = self.sharded
        self.functions = {e["name"]: (e, getattr(modules[e["file"]], e["call"])) for e in spec["entries"]}
        parted = next((e["parted"] for e in spec["entries"] if "parted" in e), []) if self.sharded else []
        self.parted = set(parted)
        """What an update computes of parts: `param:...`, `state:...`."""
        with torch.device("meta" if self.sharded else device):
            self.model = modules["model"].Model()
        for name in spec["differentiated"]:
            self.model.get_parameter(spec["params"][name]["module"]).requires_grad_(True)
        self.dtype = DTYPES[options.get("dtype", "f32")]
        self.wrap(options)
        self.params = {name: self.model.get_parameter(slot["module"]) for name, slot in spec["params"].items()}
        backward = {state: param for e in spec["entries"] for state, param in e.get("backward", {}).items()}
        self.gradients = {state: self.params[param] for state, param in backward.items()}
        """States that are the gradients of parameters, which PyTorch adds up by itself."""
        self.states = {}
        for name, slot in spec["states"].items():
            if name not in self.gradients:
                shape = self.local(slot["shape"]) if f"state:{name}" in self.parted else slot["shape"]
                self.states[name] = torch.zeros(shape, dtype=DTYPES[slot["dtype"]], device=device)
        if spec["numbers"]:
            with torch.no_grad():
                _, _, tables = getattr(modules["objective"], spec["numbers"])(self.model, {}, {})
            self.states.update({name: value.contiguous() for name, value in tables.items()})
        self.prepare = spec["prepare"] and {**spec["prepare"], "function": modules["prepare"].prepare}
        self.sources = {}
        """Parameters that are read for that alone, until it is computed."""
        self.complete = set()
        """Of what it is computed from: what is there."""
        self.wrapped = None
        """The model as DDP wraps it; made when the first gradient is asked for, when parameters have their values."""

    def wrap(self, options):
        blocks = [self.model.get_submodule(path) for path in self.spec["blocks"]]
        if options.get("recompute"):
            for block in blocks:
                _recomputed(block)
        if options.get("compile"):
            for block in blocks:
                block.compile()
        if self.sharded:
            fully_shard = sharding(self.device.type)
            mesh = dist.device_mesh.init_device_mesh(self.device.type, (self.world,))
            for block in blocks:
                fully_shard(block, mesh=mesh)
            fully_shard(self.model, mesh=mesh)
            self.model.to_empty(device=self.device)

    # ---- parts: rows of the leading axis, as `fully_shard` cuts it

    def rows(self, count):
        size = -(-count // self.world)
        return min(self.rank * size, count), min((self.rank + 1) * size, count)

    def local(self, shape):
        first, end = self.rows(shape[0])
        return [end - first, *shape[1:]]

    def assembled(self, mine, shape):
        """The whole of what each process has rows of."""
        first, end = self.rows(shape[0])
        out = torch.zeros(shape, dtype=mine.dtype, device=mine.device)
        out[first:end] = mine
        dist.all_reduce(out)
        return out

    # ---- values

    def own(self, kind, name):
        """What this process has of a parameter or a state."""
        if kind == "state" and name not in self.gradients:
            return self.states[name]
        param = self.params[name] if kind == "param" else self.gradients[name]
        value = param.detach() if kind == "param" else param.grad
        if value is None:
            value = torch.zeros_like(param.detach())
        return value.to_local() if self.sharded else value

    def in_parts(self, kind, name):
        return self.sharded and (kind == "param" or name in self.gradients or f"state:{name}" in self.parted)

    def shape(self, kind, name):
        return self.spec["params" if kind == "param" else "states"][name]["shape"]

    def write(self, kind, name, at, values):
        """Puts numbers into a parameter or a state from its element `at` on."""
        if kind == "state" and name in self.gradients:
            if values.any():
                raise KeyError(f"{name} is a gradient, which begins at zero")
            self.gradients[name].grad = None
            return
        source = self.spec["sources"].get(name) if kind == "param" else None
        shape = source["shape"] if source else self.shape(kind, name)
        if source:
            if name not in self.sources:
                self.sources[name] = torch.empty(shape, device=self.device)
            self.sources[name].view(-1)[at : at + values.numel()].copy_(values)
        else:
            self.place(kind, name, at, values)
        if kind == "param" and self.prepare and name in self.prepare["reads"] and at + values.numel() == math.prod(shape):
            self.complete.add(name)
            self.once(name)

    @torch.no_grad()
    def once(self, name):
        """Computes what is computed once, of a parameter that is there now, or of all when they are."""
        names = [name] if self.prepare["apart"] else self.prepare["reads"]
        if not self.complete.issuperset(names):
            return
        given = {n: self.sources.pop(n) if n in self.sources else self.read("param", n) for n in names}
        _, _, made = self.prepare["function"](given, {}, {})
        for key, value in made.items():
            self.place("param", key, 0, value.contiguous().reshape(-1).view(torch.float32))

    def place(self, kind, name, at, values):
        with torch.no_grad():
            place = self.own(kind, name).view(-1)
            first = 0
            if self.in_parts(kind, name):
                shape = self.shape(kind, name)
                first = self.rows(shape[0])[0] * math.prod(shape[1:])
            low, high = max(at, first), min(at + values.numel(), first + place.numel())
            if low < high:
                place[low - first : high - first].copy_(values[low - at : high - at].to(self.device))

    @torch.no_grad()
    def read(self, kind, name):
        value = self.own(kind, name)
        return self.assembled(value, self.shape(kind, name)) if self.in_parts(kind, name) else value

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
            return self.update(entry, function, x)
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
        held = self.states
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
        ddp = model is not self.model
        quiet = model.no_sync() if ddp and not last else contextlib.nullcontext()
        with quiet:
            with self.casting():
                outputs, states = model(function, x, self.sums(entry))
            # `fully_shard` takes the mean over processes
            (outputs * self.world if self.sharded else outputs).backward()
        with torch.no_grad():
            self.keep({}, self.together({k: v.detach() for k, v in states.items()}) if self.world > 1 else states)
        return {}

    def distributed(self):
        if self.world == 1 or self.sharded:
            return self.model
        if self.wrapped is None:
            from torch.nn.parallel import DistributedDataParallel

            ids = [self.device.index] if self.device.type == "cuda" else None
            unused = any(e.get("unused") for e in self.spec["entries"])
            self.wrapped = DistributedDataParallel(self.model, device_ids=ids, find_unused_parameters=unused)
            self.wrapped.register_comm_hook(None, _sum)
        return self.wrapped

    def update(self, entry, function, x):
        """Parameters and states in parts where the update is elementwise, whole where it says that it needs them so."""
        values = {"param": {}, "state": {}}
        for key in entry["reads"]:
            kind, name = key.split(":", 1)
            values[kind][name] = self.own(kind, name) if key in self.parted or not self.sharded else self.read(kind, name)
        # what it may have parts of it writes in its place, one parameter after the other
        outputs, params, states = function(values["param"], x, values["state"])
        with torch.no_grad():
            self.keep(params, states)
            # an update begins the sums anew
            for param in self.gradients.values():
                param.grad = None
        return {key: value.detach() for key, value in outputs.items()}

    def keep(self, params, states):
        if not params and not states:
            return
        # what is kept is written in its place later: nothing may lie where something else does
        held = {self.own("param", name).untyped_storage().data_ptr() for name in self.params}
        held.update(value.untyped_storage().data_ptr() for value in self.states.values())

        def own(kind, name, value):
            value = value.detach()
            shape = self.shape(kind, name)
            if self.in_parts(kind, name) and list(value.shape) == list(shape):
                first, end = self.rows(shape[0])
                value = value[first:end]
            if value.untyped_storage().data_ptr() in held or not value.is_contiguous():
                value = value.clone(memory_format=torch.contiguous_format)
            held.add(value.untyped_storage().data_ptr())
            return value

        params = {name: own("param", name, value) for name, value in params.items()}
        states = {name: own("state", name, value) for name, value in states.items() if name not in self.gradients}
        for name, value in params.items():
            self.own("param", name).copy_(value)
        for name, value in states.items():
            self.states[name] = value.to(DTYPES[self.spec["states"][name]["dtype"]])


def sharding(device):
    """`fully_shard` of this PyTorch for a kind of device. Raises `RuntimeError` where it has none."""
    if device == "cpu" and not hasattr(torch.cpu.Stream, "record_event"):
        raise RuntimeError(f"--shard fsdp needs a newer PyTorch where there are no GPUs: processors of {torch.__version__} record no events; --shard ddp does not need it")
    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError:  # before 2.6
        from torch.distributed._composable.fsdp import fully_shard
    return fully_shard


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


def bytes_of(tensor):
    """Its numbers as they lie in memory. PyTorch alone would need NumPy for that."""
    value = tensor.detach().to("cpu").contiguous()
    return ctypes.string_at(value.data_ptr(), value.numel() * value.element_size()) if value.numel() else b""


def ending(error):
    """A sentence about the end of one of several processes."""
    text = f"{type(error).__name__}: {error}"
    gone = isinstance(error, dist.DistBackendError) or any(word in text for word in _GONE)
    who = f"process {dist.get_rank()} of {dist.get_world_size()} ended"
    return f"{who}, since another one is gone ({text.splitlines()[0]})" if gone else f"{who}: {text}"


def say_when_ended():
    """`torchrun` ends the other processes where one is gone: each says so."""

    def ended(*_):
        say(f"process {dist.get_rank()} of {dist.get_world_size()} ended, since another one is gone (SIGTERM)")
        os._exit(143)

    signal.signal(signal.SIGTERM, ended)


_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Connection refused")


def say(text):
    print(text, file=sys.stderr, flush=True)
