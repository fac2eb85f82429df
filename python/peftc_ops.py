"""What rows of peftc's op table mean where PyTorch has no function of its own for them. Lies beside every printed program."""
import math

import torch
import torch.nn.functional as F

# ---- numbers of a step, in f64


def exp(a):
    try:
        return math.exp(a)
    except OverflowError:
        return math.inf


def log(a):
    return math.log(a) if a > 0 else (-math.inf if a == 0 else math.nan)


def sqrt(a):
    return math.sqrt(a) if a >= 0 else math.nan


def sign(a):
    return (a > 0) - (a < 0)


def divide(a, b):
    if b != 0:
        return a / b
    return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


def power(a, b):
    try:
        value = a**b
    except ZeroDivisionError:
        return math.inf
    except OverflowError:
        return math.inf
    return math.nan if isinstance(value, complex) else value


def modulo(a, b):
    return a % b if b != 0 else math.nan


# ---- gradients


def wanted(x):
    """x, by which a gradient is going to be asked for."""
    return x if x.requires_grad else x.detach().requires_grad_()


def gradients(e, by, create_graph=False, retain_graph=False):
    """The gradients of the scalar e by tensors; zeros where e does not depend on one."""
    if not e.requires_grad:
        return tuple(torch.zeros_like(x) for x in by)
    found = torch.autograd.grad(e, by, create_graph=create_graph, retain_graph=create_graph or retain_graph, allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(by, found))


def along(e, by, directions):
    """The derivative of e along directions in tensors: the derivative, by a cotangent, of e's gradient, which is linear in it."""
    if not e.requires_grad:
        return torch.zeros_like(e)
    cotangent = torch.zeros_like(e, requires_grad=True)
    found = torch.autograd.grad(e, by, cotangent, create_graph=True, allow_unused=True)
    total = torch.zeros_like(e)
    for g, v in zip(found, directions):
        if g is None or not g.requires_grad:
            continue
        (part,) = torch.autograd.grad(g, cotangent, v, create_graph=True, allow_unused=True)
        total = total if part is None else total + part
    return total


# ---- several processes

PARTED = False
"""Whether each process has a part of what is updated elementwise."""


def everywhere(total):
    """A sum over all elements of what each process has a part of."""
    if PARTED:
        total = total.contiguous()
        torch.distributed.all_reduce(total)
    return total


def those(names, given):
    """The names that are given."""
    return [name for name in names if name in given]


# ---- random numbers: Threefry-2x32 with 20 rounds, as in src/ir/random.ts

_MASK = 0xFFFFFFFF
_PARITY = 0x1BD11BDA
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def dropout(x, keep, key, step, first=0):
    """x where a draw is below `keep`, divided by it; 0 elsewhere. What is drawn is a function of counters: no state, and the same on every backend."""
    return x * (draw("uniform", x.shape, key, step, first, device=x.device) < keep).to(torch.float32) / keep


@torch.compiler.disable
def draw(kind, shape, key, step, first=0, device=None):
    """Element e is a function of (key, step, first + e): `uniform` in [0, 1), `normal`, or `bits` as i32."""
    count = math.prod(shape)

    k0, k1 = (int(v) & _MASK for v in (key.tolist() if isinstance(key, torch.Tensor) else key))
    k = (k0, k1, k0 ^ k1 ^ _PARITY)
    first, step = (v.to(torch.int64) if isinstance(v, torch.Tensor) else v for v in (first, step))
    x0 = (torch.arange(count, dtype=torch.int64, device=device) + first + k[0]) & _MASK
    x1 = (torch.zeros(count, dtype=torch.int64, device=device) + step + k[1]) & _MASK
    for group in range(5):
        for r in _ROTATIONS[group & 1]:
            x0 = (x0 + x1) & _MASK
            x1 = (((x1 << r) & _MASK) | (x1 >> (32 - r))) ^ x0
        x0 = (x0 + k[(group + 1) % 3]) & _MASK
        x1 = (x1 + k[(group + 2) % 3] + group + 1) & _MASK
    if kind == "bits":
        return torch.where(x0 >= 2**31, x0 - 2**32, x0).to(torch.int32).reshape(shape)
    unit = 2.0**-24
    if kind == "uniform":
        return ((x0 >> 8).to(torch.float32) * unit).reshape(shape)
    u = ((x0 >> 8) + 1).to(torch.float64) * unit
    v = (x1 >> 8).to(torch.float64) * unit
    return (torch.sqrt(-2 * torch.log(u)) * torch.cos(2 * math.pi * v)).to(torch.float32).reshape(shape)


# ---- indexing


def scatter_add(index, updates, rows):
    rest = updates.shape[index.dim() :]
    flat = index.clamp(0, rows - 1).reshape(-1)
    return updates.new_zeros((rows, *rest)).index_add(0, flat, updates.reshape(-1, *rest))


def write(old, at, rows, axis):
    n = rows.shape[axis]
    places = torch.arange(n, device=old.device) + torch.as_tensor(at, device=old.device).clamp(0, old.shape[axis] - n)
    return old.index_copy(axis, places, rows)


def kth(x, k):
    """The k-th smallest; equal elements share the gradient."""
    place = torch.as_tensor(k, device=x.device).clamp(1, x.shape[0]).to(torch.int64) - 1
    value = x.detach().sort().values[place]
    hits = (x.detach() == value).to(x.dtype)
    return (x * hits).sum() / hits.sum() if x.requires_grad else value


def remainder_i32(a, b):
    b = torch.as_tensor(b)
    return torch.where(b == 0, 0, torch.remainder(a, torch.where(b == 0, 1, b)))


# ---- numbers in few bits


def _bits(levels):
    return next(b for b in (1, 2, 4, 8, 16) if levels <= 2**b)


def _packed(codes, bits):
    per = 32 // bits
    pad = -codes.numel() % per
    codes = torch.nn.functional.pad(codes.to(torch.int64), (0, pad)).reshape(-1, per)
    words = (codes << (torch.arange(per, device=codes.device) * bits)).sum(dim=1)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def _unpacked(words, bits, count):
    per = 32 // bits
    places = torch.arange(per, device=words.device, dtype=torch.int32) * bits
    return ((words.unsqueeze(-1) >> places) & (2**bits - 1)).reshape(-1)[:count]


def quantise(x, scale, levels, block):
    """Numbers of the levels nearest to x / scale, half-way to the lower one, packed in words."""
    flat = x.reshape(-1).to(torch.float64)
    over = scale.to(torch.float64).repeat_interleave(block)[: flat.numel()]
    ratio = torch.where(over == 0, 0.0, flat / torch.where(over == 0, 1.0, over))
    levels = levels.to(torch.float64)
    middles = (levels[:-1] + levels[1:]) / 2
    return _packed(torch.searchsorted(middles, ratio), _bits(levels.numel()))


def dequantise(codes, scale, levels, shape, block):
    count = math.prod(shape)
    values = levels[_unpacked(codes, _bits(levels.numel()), count)]
    return (values * scale.repeat_interleave(block)[:count]).reshape(shape)


_HALVES = {"f16": torch.float16, "bf16": torch.bfloat16}


def narrow(x, format):
    words = x.reshape(-1).to(_HALVES[format]).view(torch.int16)
    return torch.nn.functional.pad(words, (0, words.numel() % 2)).view(torch.int32)


def widen(words, shape, format):
    return words.view(_HALVES[format])[: math.prod(shape)].to(torch.float32).reshape(shape)


# ---- decompositions


def _svd(x):
    u, s, v = torch.linalg.svd(x.to(torch.float64), full_matrices=False)
    largest = u.abs().argmax(dim=0, keepdim=True)
    signs = torch.where(u.gather(0, largest) < 0, -1.0, 1.0).to(u.dtype)
    return u * signs, s, v * signs.reshape(-1, 1)


def svd_u(x):
    return _svd(x)[0].to(x.dtype)


def svd_s(x):
    return _svd(x)[1].to(x.dtype)


def svd_v(x):
    return _svd(x)[2].to(x.dtype)


def qr_q(x):
    return torch.linalg.qr(x)[0]


def qr_r(x):
    return torch.linalg.qr(x)[1]


def solve(a, b):
    return torch.linalg.solve_ex(a, b)[0]


# ---- reversible streams: num/den * x in f32, or rounded to whole numbers


def _nearest(x, num, den):
    whole, rest = x // den, x % den
    return num * whole + (2 * num * rest + den) // (2 * den)


def _least(q, num, den):
    # ceil((2 den q - den) / (2 num)), without the product that might not fit
    whole, rest = q // num, q % num
    return den * whole - (-(2 * den * rest - den) // (2 * num))


def couple(x, f, num, den):
    if x.dtype != torch.int32:
        return num * x / den + f
    return (_nearest(x.to(torch.int64), num, den) + f).to(torch.int32)


def uncouple(y, f, k=None, *, num, den):
    if k is None:
        return (y - f) * den / num
    return (_least(y.to(torch.int64) - f, num, den) + k).to(torch.int32)


def remainder(x, num, den):
    x = x.to(torch.int64)
    return (x - _least(_nearest(x, num, den), num, den)).to(torch.int32)


def pack(x, bits):
    per = 32 // bits
    words = -(-x.numel() // per)
    codes = torch.nn.functional.pad(x.to(torch.int64) & (2**bits - 1), (0, words * per - x.numel())).reshape(per, words)
    packed = (codes << (torch.arange(per, device=x.device) * bits).unsqueeze(1)).sum(dim=0)
    return torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32)


def unpack(words, shape, bits):
    per = 32 // bits
    places = (torch.arange(per, device=words.device, dtype=torch.int32) * bits).unsqueeze(1)
    return ((words >> places) & (2**bits - 1)).reshape(-1)[: math.prod(shape)].reshape(shape)


_WORD = 2**24


def _joined(x):
    return x[0].to(torch.int64) * _WORD + x[1]


def _split(x):
    return torch.stack((x >> 24, x & (_WORD - 1))).to(torch.int32)


def couple_wide(x, f, num, den):
    return _split(_nearest(_joined(x), num, den) + _joined(f))


def uncouple_wide(y, f, k, num, den):
    return _split(_least(_joined(y) - _joined(f), num, den) + k)


def remainder_wide(x, num, den):
    x = _joined(x)
    return (x - _least(_nearest(x, num, den), num, den)).to(torch.int32)


def to_words(x):
    return _split(torch.floor(x.to(torch.float64)).to(torch.int64))


def from_words(x):
    return _joined(x).to(torch.float64).to(torch.float32)


# ---- structures that PyTorch has functions for


def _seen(mask):
    """A mask with which rows that may look nowhere look everywhere, and which rows may look somewhere."""
    some = mask.any(dim=-1, keepdim=True)
    return mask | ~some, some


def attention(q, k, v, mask, scale):
    """`scaled_dot_product_attention`, and 0 where a query may look nowhere."""
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    mask, some = _seen(mask)
    return torch.where(some, F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale), 0.0)


def masked_softmax(x, mask):
    """A softmax over the places where the mask is true; 0 where it is true nowhere."""
    if mask is None:
        return torch.softmax(x, dim=-1)
    mask, some = _seen(mask)
    return torch.where(some, torch.softmax(torch.where(mask, x, -math.inf), dim=-1), 0.0)


def cross_entropy(logits, labels, ignore):
    """Of each label; 0 for those that are ignored."""
    flat = logits.reshape(-1, logits.shape[-1])
    places = labels.reshape(-1).to(torch.int64)
    places = torch.where(places == ignore, places, places.clamp(0, flat.shape[-1] - 1))
    return F.cross_entropy(flat, places, ignore_index=ignore, reduction="none").reshape(labels.shape)
