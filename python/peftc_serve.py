"""
Runs programs for peftc, which drives it over a socket: `peftc_serve.py PORT TOKEN`. A message is a line of JSON and the bytes it announces, both ways.
"""
import collections
import json
import os
import select
import socket
import struct
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
        self.rest = bytearray()
        """What came and is not read yet."""
        self.socket.sendall(f"{token}\n".encode())

    def waiting(self):
        """Whether another message has begun to come."""
        return bool(self.rest or select.select([self.socket], [], [], 0)[0])

    def receive(self):
        """A message, and the bytes of its tensors, one after the other; `None` at the end."""
        while (end := self.rest.find(b"\n")) < 0:
            data = self.socket.recv(1 << 20)
            if not data:
                return None, b""
            self.rest += data
        message = json.loads(self.rest[:end])
        raw = bytearray(_bytes_of(message))
        done = min(len(raw), len(self.rest) - end - 1)
        raw[:done] = self.rest[end + 1 : end + 1 + done]
        del self.rest[: end + 1 + done]
        view = memoryview(raw)
        while done < len(raw):
            got = self.socket.recv_into(view[done:])
            if not got:
                return None, b""
            done += got
        return message, raw

    def send(self, message, values=()):
        """`values`: names, dtypes, counts, and the bytes."""
        head = [value[:3] for value in values]
        line = (json.dumps({**message, "tensors": head}) + "\n").encode()
        if sum(len(data) for *_, data in values) < 1 << 16:
            self.socket.sendall(line + b"".join(data for *_, data in values))
            return
        self.socket.sendall(line)
        for *_, data in values:
            self.socket.sendall(data)


def _bytes_of(message):
    return sum(4 * count for _, _, count in message.get("tensors", []))


def tensors_of(message, raw):
    out, at = {}, 0
    for name, dtype, count in message.get("tensors", []):
        kind = runtime.DTYPES[dtype]
        out[name] = torch.frombuffer(raw, dtype=kind, count=count, offset=at) if count else torch.empty(0, dtype=kind)
        at += 4 * count
    return out


class Answer:
    """
    What is answered: values as they are now, whatever is computed after. From a GPU they are on their way: it goes on with what it is asked for next.
    """

    def __init__(self, message, values=()):
        self.message = message
        self.values = []
        self.copied = None
        for name, value in values:
            value = value.detach().to(torch.int32) if value.dtype == torch.bool else value.detach()
            if value.is_cuda:
                self.copied = torch.cuda.Event()
                held = value.to("cpu", non_blocking=True)
            else:
                held = runtime.bytes_of(value)
            self.values.append((name, _NAMES[value.dtype], value.numel(), held))
        if self.copied is not None:
            self.copied.record()

    def there(self):
        return self.copied is None or self.copied.query()

    def ready(self):
        """Names, dtypes, counts and bytes, when they are there."""
        if self.copied is not None:
            self.copied.synchronize()
        return [(*head, held if isinstance(held, bytes) else runtime.bytes_of(held)) for *head, held in self.values]


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
        """The answer."""
        what = message["do"]
        if what == "open":
            program = runtime.Program(message["spec"], runtime.load_text(message["files"]), self.device, message["options"])
            self.programs[message["program"]] = program
            pids = torch.zeros(dist.get_world_size() if dist.is_initialized() else 1, dtype=torch.int64)
            pids[dist.get_rank() if dist.is_initialized() else 0] = os.getpid()
            if dist.is_initialized():
                dist.all_reduce(pids, group=self.group)
            return Answer({"pids": pids.tolist()})
        if what == "close":
            self.programs.pop(message["program"], None)
            return Answer({})
        program = self.programs[message["program"]]
        if what == "write":
            program.write(message["kind"], message["name"], message["at"], tensors["values"])
            return Answer({})
        if what == "read":
            return Answer({}, [("values", program.read(message["kind"], message["name"]))])
        if what == "run":
            outputs = program.run(message["entry"], {**message["numbers"], **tensors})
            asked = message.get("outputs")
            missing = [name for name in asked or [] if name not in outputs]
            if missing:
                raise KeyError(f"{message['entry']} has no output {missing[0]}")
            seen = [(k, v) for k, v in outputs.items() if asked is None or k in asked]
            return Answer({"peak": self.most(peak())} if seen else {}, seen)
        raise ValueError(f"there is no request {what}")

    def most(self, value):
        """The largest of what processes have."""
        if not dist.is_initialized():
            return value
        most = torch.tensor([value], dtype=torch.int64)
        dist.all_reduce(most, op=dist.ReduceOp.MAX, group=self.group)
        return int(most)


class Alone:
    """One process: requests come over the wire."""

    def __init__(self):
        self.wire = Wire(int(sys.argv[1]), sys.argv[2])

    def receive(self):
        return self.wire.receive()

    def failed(self, error):
        memory = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or "can't allocate memory" in str(error)
        self.wire.send({"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc(), "memory": memory})


PACKET = 1 << 16
"""Bytes that are handed on at once; only of a longer message the rest is handed on after them."""


class Together:
    """One of several: the first process hands requests on, and answers."""

    def __init__(self):
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        runtime.say_when_ended()
        self.group = dist.new_group(backend="gloo")
        self.wire = Wire(int(sys.argv[1]), sys.argv[2]) if dist.get_rank() == 0 else None

    def receive(self):
        # as plain tensors: objects would go through NumPy
        packet = bytearray(PACKET)
        raw = b""
        if self.wire:
            message, raw = self.wire.receive()
            text = json.dumps(message).encode()
            struct.pack_into("<qq", packet, 0, len(text), len(raw))
            whole = text + raw
            packet[16 : 16 + len(whole)] = whole[: PACKET - 16]
        self.hand_on(packet)
        length, count = struct.unpack_from("<qq", packet)
        held = packet[16 : 16 + length + count]
        if length + count > PACKET - 16:
            rest = bytearray(whole[PACKET - 16 :] if self.wire else length + count - (PACKET - 16))
            self.hand_on(rest)
            held = packet[16:] + rest
        message = json.loads(held[:length])
        return message, raw if self.wire else held[length:]

    def hand_on(self, data):
        """Of the first process on all, in place."""
        dist.broadcast(torch.frombuffer(data, dtype=torch.uint8), src=0, group=self.group)

    def failed(self, error):
        # the others wait for this one: what starts them ends them
        traceback.print_exc()
        runtime.say(runtime.ending(error))
        os._exit(1)


AHEAD = 2
"""Answers that may be on their way while what is asked for next is started."""


def main():
    threads = os.environ.get("PEFTC_TORCH_THREADS")
    if threads:
        torch.set_num_threads(int(threads))
    # even one process takes part in a group, where `torchrun` started it
    side = Together() if "TORCHELASTIC_RUN_ID" in os.environ else Alone()
    server = Server(getattr(side, "group", None))
    due = collections.deque()

    def answer():
        one = due.popleft()
        try:
            side.wire.send(one.message, one.ready())
        except Exception as error:  # what was computed failed on its way
            side.failed(error)

    while True:
        while due and (due[0].there() or len(due) > AHEAD or not side.wire.waiting()):
            answer()
        try:
            message, raw = side.receive()
            if message is None:
                break
            result = server.handle(message, tensors_of(message, raw))
        except Exception as error:  # told to who asked, who decides
            while due:
                answer()
            side.failed(error)
            continue
        if side.wire:
            due.append(result)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
