"""Holds a printed program and its values, and runs its functions: on one process, or a part of the batch on each of several."""
import sys
import types

import torch

DTYPES = {"f32": torch.float32, "i32": torch.int32, "bool": torch.bool}


def load_text(files):
    """The modules of a program from their texts; those that a text imports from the program come before it."""
    modules = {}
    for name, text in files.items():
        module = types.ModuleType(name.removesuffix(".py"))
        exec(compile(text, f"<{name}>", "exec"), module.__dict__)
        modules[module.__name__] = module
    return modules


class Program:
    """`spec`: what `program.json` says of parameters, states and entries. `modules`: those of the printed text, by name."""

    def __init__(self, spec, modules, device):
        self.spec = spec
        self.device = device
        self.functions = {e["name"]: (e, getattr(modules[e["file"]], e["call"])) for e in spec["entries"]}
        self.model = modules["model"].Model().to(device)
        self.params = {name: self.model.get_parameter(slot["module"]) for name, slot in spec["params"].items()}
        for name in spec["differentiated"]:
            self.params[name].requires_grad_(True)
        self.states = {
            name: torch.zeros(slot["shape"], dtype=DTYPES[slot["dtype"]], device=device) for name, slot in spec["states"].items()
        }

    def place(self, kind, name):
        return self.params[name].data if kind == "param" else self.states[name]

    def write(self, kind, name, at, values):
        """Puts numbers into a parameter or a state from its element `at` on."""
        with torch.no_grad():
            place = self.place(kind, name).view(-1)
            place[at : at + values.numel()].copy_(values.to(self.device))

    def read(self, kind, name):
        return self.place(kind, name).detach()

    def inputs(self, entry, given):
        """Numbers stay as they are; tensors come onto the device."""
        out = {}
        for one in entry["inputs"]:
            name = one["name"]
            if name not in given:
                raise KeyError(f"{entry['name']} needs the input `{name}`")
            value = given[name]
            if not one["number"]:
                value = torch.as_tensor(value, dtype=DTYPES[one["dtype"]], device=self.device)
                shape = [value.numel() if d < 0 and len(one["shape"]) == 1 else d for d in one["shape"]]
                value = value.reshape([-1 if d < 0 else d for d in shape])
            out[name] = value
        return out

    def run(self, name, given):
        """Runs an entry; gives its outputs. Parameters and states have their next values afterwards."""
        entry, function = self.functions[name]
        outputs, params, states = self.model(function, self.inputs(entry, given), self.states)
        with torch.no_grad():
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
            self.states[name] = value.to(DTYPES[self.spec["states"][name]["dtype"]])


def device_of(local_rank):
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
        return torch.device("cuda", local_rank)
    return torch.device("cpu")


def say(text):
    print(text, file=sys.stderr, flush=True)
