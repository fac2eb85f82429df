"""
Trains the program beside it, without peftc: `torchrun --nproc-per-node N train.py`, or `python train.py` for one process.

    model.py objective.py update.py   the program      program.json   parameters, states, columns, updates
    values.safetensors                first values     data-*.safetensors, order.safetensors   rows, and which each update reads
"""
import argparse
import importlib
import json
import os
import struct
import traceback

import torch
import torch.distributed as dist

import peftc_runtime as runtime

HERE = os.path.dirname(os.path.abspath(__file__))
_TYPES = {"F32": torch.float32, "I32": torch.int32, "BOOL": torch.bool}
_NAMES = {torch.float32: "F32", torch.int32: "I32"}


def read(path):
    """The tensors of a safetensors file, which stay in it until they are used."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    size = os.path.getsize(path) - 8 - length
    if size == 0:
        return {name: torch.empty(entry["shape"], dtype=_TYPES[entry["dtype"]]) for name, entry in header.items()}
    raw = torch.from_file(path, size=8 + length + size, dtype=torch.uint8)[8 + length :]
    out = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        out[name] = raw[first:end].view(_TYPES[entry["dtype"]]).reshape(entry["shape"])
    return out


def write(path, tensors):
    """Writes a safetensors file beside its place and puts it there whole."""
    header, parts, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, value in tensors.items():
        data = runtime.bytes_of(value)
        header[name] = {"dtype": _NAMES[value.dtype], "shape": list(value.shape), "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    draft = path + ".draft"
    with open(draft, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default=os.path.join(HERE, "out"), help="folder of what is written")
    parser.add_argument("--shard", choices=["ddp", "fsdp"], default="ddp", help="every process has all parameters, or a part of each")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32", help="of products; parameters and sums are f32")
    parser.add_argument("--compile", action="store_true", help="iterations of loops go through torch.compile")
    parser.add_argument("--recompute", action="store_true", help="iterations of loops are computed again for the backward half")
    parser.add_argument("--checkpoint", type=int, default=0, help="write a checkpoint every so many updates")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --output")
    options = parser.parse_args()

    with open(os.path.join(HERE, "program.json")) as file:
        spec = json.load(file)
    device = runtime.device_of(int(os.environ.get("LOCAL_RANK", "0")))
    if "TORCHELASTIC_RUN_ID" in os.environ:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        runtime.say_when_ended()
    world, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    if world > 1 and not spec["splits"]:
        raise SystemExit("the batches of this objective do not add up, so it runs on one process alone")

    import model
    import objective

    modules = {"model": model, "objective": objective}
    for name in ("update", "prepare"):
        if os.path.exists(os.path.join(HERE, f"{name}.py")):
            modules[name] = importlib.import_module(name)
    program = runtime.Program(spec, modules, device, {"shard": options.shard, "dtype": options.dtype, "compile": options.compile, "recompute": options.recompute or spec["recompute"]})
    first = read(os.path.join(HERE, "values.safetensors"))
    checkpoint = os.path.join(options.output, "checkpoint.safetensors")
    begin = 0
    if options.resume:
        saved = read(checkpoint)
        begin = int(saved.pop("step"))
        first.update(saved)
    for key, values in first.items():
        kind, name = key.split(":", 1)
        if name not in program.gradients:
            program.write(kind, name, 0, values.reshape(-1))

    tables = [read(os.path.join(HERE, f"data-{i}.safetensors")) for i in range(spec["tables"])]
    order = read(os.path.join(HERE, "order.safetensors"))
    rows, ends, tables_of, batches_of = (order[name].tolist() for name in ("rows", "ends", "tables", "batches"))
    os.makedirs(options.output, exist_ok=True)
    log = open(os.path.join(options.output, "metrics.jsonl"), "a" if begin else "w") if rank == 0 else None

    def save(step):
        names = [("param", name) for name in spec["trained"]] + [("state", name) for name in spec["kept"]]
        tensors = {f"{kind}:{name}": program.read(kind, name) for kind, name in names}
        if rank == 0:
            write(checkpoint, {**tensors, "step": torch.tensor([step], dtype=torch.int32)})

    batch = 0
    for step, (table, count) in enumerate(zip(tables_of, batches_of)):
        mine = [rows[ends[i - 1] if i else 0 : ends[i]] for i in range(batch, batch + count)]
        batch += count
        if step < begin:
            continue
        numbers = {"step": step, "steps": len(tables_of), "update_rows": sum(len(m) for m in mine)}
        names = spec["updates"][table]
        for entry in names["parts"]:
            before = 0
            for part in mine:
                columns = {name: values[torch.tensor(part)] for name, values in tables[table].items()}
                outputs = program.run(entry, {**columns, **numbers, "rows_before": before})
                before += len(part)
        if names["finish"] is not None:
            outputs = program.run(names["finish"], numbers)
        scalars = {name: float(value) for name, value in outputs.items() if value.numel() == 1}
        if log:
            log.write(json.dumps({"step": step + 1, **scalars}) + "\n")
            log.flush()
            print(f"step {step + 1}/{len(tables_of)}  loss {scalars['loss']:.4f}", flush=True)
        if options.checkpoint and (step + 1) % options.checkpoint == 0:
            save(step + 1)
    save(len(tables_of))
    trained = {name: program.read("param", name) for name in spec["trained"]}
    if rank == 0:
        write(os.path.join(options.output, "trained.safetensors"), trained)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        if not dist.is_initialized() or dist.get_world_size() == 1:
            raise
        traceback.print_exc()
        runtime.say(f"{runtime.ending(error)}; --resume goes on from the last checkpoint")
        os._exit(1)
