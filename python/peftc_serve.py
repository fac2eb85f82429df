"""
Runs programs for peftc, which drives it over a socket: `peftc_serve.py PORT TOKEN`. A message is a line of JSON and the bytes it announces, both ways.
"""
import json
import os
import socket
import sys
import traceback

import torch
import torch.distributed as dist

import peftc_runtime as runtime

_NAMES = {torch.float32: "f32", torch.int32: "i32", torch.bool: "bool"}


class Wire:
    def __init__(self, port, token):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", buffering=1 << 20)
        self.socket.sendall(f"{token}\n".encode())

    def receive(self):
        line = self.file.readline()
        if not line:
            return None, {}
        message = json.loads(line)
        tensors = {}
        for name, dtype, count in message.get("tensors", []):
            raw = bytearray(4 * count)
            view, done = memoryview(raw), 0
            while done < len(raw):
                got = self.file.readinto(view[done:])
                if not got:
                    return None, {}
                done += got
            tensors[name] = torch.frombuffer(raw, dtype=runtime.DTYPES[dtype]) if count else torch.empty(0, dtype=runtime.DTYPES[dtype])
        return message, tensors

    def send(self, message, tensors=()):
        parts, head = [], []
        for name, value in tensors:
            if value.dtype == torch.bool:
                value = value.to(torch.int32)
            head.append([name, _NAMES[value.dtype], value.numel()])
            parts.append(runtime.bytes_of(value))
        self.socket.sendall((json.dumps({**message, "tensors": head}) + "\n").encode())
        for part in parts:
            self.socket.sendall(part)


def peak():
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Server:
    def __init__(self, group):
        self.programs = {}
        self.device = runtime.device_of(int(os.environ.get("LOCAL_RANK", "0")))
        self.group = group

    def handle(self, message, tensors):
        """The answer, and tensors beside it."""
        what = message["do"]
        if what == "open":
            program = runtime.Program(message["spec"], runtime.load_text(message["files"]), self.device, message["options"])
            self.programs[message["program"]] = program
            pids = torch.zeros(dist.get_world_size() if dist.is_initialized() else 1, dtype=torch.int64)
            pids[dist.get_rank() if dist.is_initialized() else 0] = os.getpid()
            if dist.is_initialized():
                dist.all_reduce(pids, group=self.group)
            return {"pids": pids.tolist()}, []
        if what == "close":
            self.programs.pop(message["program"], None)
            return {}, []
        program = self.programs[message["program"]]
        if what == "write":
            program.write(message["kind"], message["name"], message["at"], tensors["values"])
            return {}, []
        if what == "read":
            return {}, [("values", program.read(message["kind"], message["name"]))]
        if what == "run":
            outputs = program.run(message["entry"], {**message["numbers"], **tensors})
            asked = message.get("outputs")
            missing = [name for name in asked or [] if name not in outputs]
            if missing:
                raise KeyError(f"{message['entry']} has no output {missing[0]}")
            return {"peak": peak()}, [(k, v) for k, v in outputs.items() if asked is None or k in asked]
        raise ValueError(f"there is no request {what}")


class Alone:
    """One process: requests come over the wire."""

    def __init__(self):
        self.wire = Wire(int(sys.argv[1]), sys.argv[2])

    def receive(self):
        return self.wire.receive()

    def answer(self, message, values):
        self.wire.send(message, values)

    def failed(self, error):
        memory = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or "can't allocate memory" in str(error)
        self.wire.send({"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc(), "memory": memory})


class Together:
    """One of several: the first process hands requests on, and answers."""

    def __init__(self):
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        runtime.say_when_ended()
        self.group = dist.new_group(backend="gloo")
        self.first = dist.get_rank() == 0
        self.wire = Wire(int(sys.argv[1]), sys.argv[2]) if self.first else None

    def receive(self):
        # as plain tensors: objects would go through NumPy
        message, tensors = self.wire.receive() if self.first else (None, {})
        text = json.dumps(message).encode() if self.first else b""
        length = self.handed(torch.tensor([len(text)], dtype=torch.int64))
        data = torch.frombuffer(bytearray(text), dtype=torch.uint8) if self.first else torch.empty(int(length), dtype=torch.uint8)
        message = json.loads(runtime.bytes_of(self.handed(data)))
        for name, dtype, count in (message or {}).get("tensors", []):
            if not self.first:
                tensors[name] = torch.empty(count, dtype=runtime.DTYPES[dtype])
            if count:
                self.handed(tensors[name])
        return message, tensors

    def handed(self, value):
        """What the first process has, on all."""
        dist.broadcast(value, src=0, group=self.group)
        return value

    def answer(self, message, values):
        # the first process speaks of all: of memory it says the most that one has had
        if "peak" in message:
            most = torch.tensor([message["peak"]], dtype=torch.int64)
            dist.all_reduce(most, op=dist.ReduceOp.MAX, group=self.group)
            message["peak"] = int(most)
        if self.first:
            self.wire.send(message, values)

    def failed(self, error):
        # the others wait for this one: what starts them ends them
        traceback.print_exc()
        runtime.say(runtime.ending(error))
        os._exit(1)


def main():
    threads = os.environ.get("PEFTC_TORCH_THREADS")
    if threads:
        torch.set_num_threads(int(threads))
    # even one process takes part in a group, where `torchrun` started it
    side = Together() if "TORCHELASTIC_RUN_ID" in os.environ else Alone()
    server = Server(getattr(side, "group", None))
    while True:
        try:
            message, tensors = side.receive()
            if message is None:
                break
            answer, values = server.handle(message, tensors)
            side.answer(answer, values)
        except Exception as error:  # told to who asked, who decides
            side.failed(error)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
