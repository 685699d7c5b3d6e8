"""PyTorch on a GPU as a contender. usage: torch_cuda.py BENCH MODE
MODE: eager, compiled, reduce-overhead; of attention-cuda: flash, cudnn"""
import math
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import serve

bench, mode = sys.argv[1:]
import torch
import torch.nn as nn
import torch.nn.functional as F

TURNS = 3
gpu = {"device": "cuda"}


def per_call(f, seconds=0.03):
    """As per_call_cuda of bench/cuda.h."""
    f()
    torch.cuda.synchronize()
    start, n, each = time.perf_counter(), 1, 0
    while time.perf_counter() - start < seconds / 2:
        begin = time.perf_counter()
        for _ in range(n):
            f()
        torch.cuda.synchronize()
        each = (time.perf_counter() - begin) / n
        n *= 2
    times, calls = [], max(1, int(seconds / 5 / each))
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(calls):
            f()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) / calls)
    return sorted(times)[2]


def random(*sizes, dtype=torch.bfloat16):
    return torch.randn(*sizes, **gpu).to(dtype)


def taking_turns(call):
    state = [0]

    def f():
        state[0] += 1
        return call(state[0] % TURNS)
    return lambda: per_call(f)


def calls(inputs, f, grad, more=()):
    """inputs: one tuple of arguments a turn. With grad: the backward call alone, with respect to these and `more`."""
    torch._dynamo.reset()
    if mode == "compiled":
        f = torch.compile(f, dynamic=False)
    if not grad:
        def forward(i):
            with torch.no_grad():
                return f(*inputs[i])
        return taking_turns(forward)
    y = []
    for t in more:
        t.requires_grad_()
    for args in inputs:
        for t in args:
            t.requires_grad_()
        y.append(f(*args))
    g = [torch.ones_like(t) for t in y]
    return taking_turns(lambda i: torch.autograd.grad(y[i], (*inputs[i], *more), g[i], retain_graph=True))


def rows(line):
    op, length = line.replace("-grad", "").rsplit("-", 1)
    n, grad = int(length), "-grad" in line
    m = (1 << 26) // n
    x = [(random(m, n),) for _ in range(TURNS)]
    w, b = random(n), random(n)
    if op == "cross_entropy":
        target = torch.randint(n, (m,), **gpu)
        return calls(x, lambda t: F.cross_entropy(t, target), grad)
    f, more = {
        "softmax": (lambda t: F.softmax(t, -1), ()),
        "layer_norm": (lambda t: F.layer_norm(t, (n,), w, b), (w, b)),
        "rms_norm": (lambda t: F.rms_norm(t, (n,), w), (w,)),
        "gelu": (lambda t: F.gelu(t), ()),
        "row_sum": (lambda t: torch.sum(t, -1), ()),
        "column_sum": (lambda t: torch.sum(t, 0), ()),
    }[op]
    return calls(x, f, grad, more)


def cumsum(line):
    dim = 1 if line == "cumsum-last" else 0
    return calls([(random(8192, 8192),) for _ in range(TURNS)], lambda t: torch.cumsum(t, dim), False)


def attention(line):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    _, width, length = line.replace("-grad", "").split("-")
    width, length = int(width), int(length)
    shape = (16 * 1024 // length, 768 // width, length, width)
    backend = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}[mode]

    def f(q, k, v):
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return calls([tuple(random(*shape) for _ in range(3)) for _ in range(TURNS)], f, "-grad" in line)


def eager_op(line):
    a, w, b = (random(1024, dtype=torch.float32) for _ in range(3))
    a.requires_grad_()

    def chain():
        y = a
        for _ in range(50):
            y = y * w
            y = y + b
        return y
    return lambda: per_call(chain)


def launch_bound(line):
    layers = []
    for _ in range(50):
        layers += [nn.Linear(256, 256), nn.ReLU()]
    model = nn.Sequential(*layers).cuda()
    x, y = random(16, 256, dtype=torch.float32), random(16, 256, dtype=torch.float32)
    how = {} if mode == "compiled" else {"mode": "reduce-overhead"}
    if line == "mlp-forward":
        compiled = torch.compile(model, dynamic=False, **how)

        def forward():
            with torch.no_grad():
                return compiled(x)
        for _ in range(5):
            forward()
        return lambda: per_call(forward)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    loss_of = torch.compile(lambda x, y: F.mse_loss(model(x), y), dynamic=False, **how)

    def step():
        loss = loss_of(x, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss
    for _ in range(5):
        step()
    return lambda: per_call(step)


class Llama(nn.Module):
    """The model of bench/decode_cuda.cpp: one token a call, keys and values written into caches in place."""

    def __init__(self, width, layers, heads, key_heads, head, inner, vocabulary, tied, length=512):
        super().__init__()
        self.shape = heads, key_heads, head, length

        def weight(*sizes):
            return (torch.randn(*sizes, dtype=torch.bfloat16, **gpu) * 0.02)
        self.embeddings = weight(vocabulary, width)
        self.head = self.embeddings if tied else weight(vocabulary, width)
        self.norm = torch.ones(width, dtype=torch.bfloat16, **gpu)
        self.layers = [dict(norm_1=self.norm.clone(), qkv=weight((heads + 2 * key_heads) * head, width), out=weight(width, heads * head),
                            norm_2=self.norm.clone(), gate=weight(inner, width), up=weight(inner, width), down=weight(width, inner),
                            k=torch.zeros(1, key_heads, length, head, dtype=torch.bfloat16, **gpu),
                            v=torch.zeros(1, key_heads, length, head, dtype=torch.bfloat16, **gpu)) for _ in range(layers)]
        speed = torch.exp(torch.arange(head // 2, **gpu) * (-math.log(500000.0) * 2 / head))
        angles = torch.arange(length, **gpu).unsqueeze(1) * speed
        both = torch.cat((angles, angles), 1)
        self.cosines, self.sines = both.cos().bfloat16(), both.sin().bfloat16()
        self.token = torch.ones(1, dtype=torch.int64, **gpu)
        self.place = torch.zeros(1, dtype=torch.int64, **gpu)

    def forward(self, token, place):
        heads, key_heads, head, length = self.shape
        cosine, sine = self.cosines[place], self.sines[place]
        mask = (torch.arange(length, **gpu) <= place).view(1, 1, 1, length)

        def turned(x):
            a, b = x.chunk(2, -1)
            return x * cosine + torch.cat((-b, a), -1) * sine
        h = F.embedding(token, self.embeddings)
        for l in self.layers:
            qkv = F.linear(F.rms_norm(h, h.shape[-1:], l["norm_1"], 1e-5), l["qkv"]).view(heads + 2 * key_heads, head)
            q, k, v = qkv.split((heads, key_heads, key_heads))
            l["k"].index_copy_(2, place, turned(k).view(1, key_heads, 1, head))
            l["v"].index_copy_(2, place, v.view(1, key_heads, 1, head))
            y = F.scaled_dot_product_attention(turned(q).view(1, heads, 1, head), l["k"], l["v"], mask, enable_gqa=True)
            h = h + F.linear(y.view(1, heads * head), l["out"])
            n = F.rms_norm(h, h.shape[-1:], l["norm_2"], 1e-5)
            h = h + F.linear(F.silu(F.linear(n, l["gate"])) * F.linear(n, l["up"]), l["down"])
        scores = F.linear(F.rms_norm(h, h.shape[-1:], self.norm, 1e-5), self.head)
        return scores, scores.argmax(-1), (place + 1) % length


def decode(line):
    shapes = {"llama-1b": (2048, 16, 32, 8, 64, 8192, 128256, True), "llama-8b": (4096, 32, 32, 8, 128, 14336, 128256, False)}
    model = Llama(*shapes[line])
    f = torch.compile(model, mode="reduce-overhead", dynamic=False)

    def step():
        with torch.no_grad():
            _, token, place = f(model.token, model.place)
            model.token.copy_(token)
            model.place.copy_(place)
    for _ in range(5):
        step()
    return lambda: per_call(step, 0.3)


serve({"rows-cuda": rows, "decode-cuda": decode, "cumsum-cuda": cumsum, "attention-cuda": attention, "eager-cuda-op": eager_op,
       "launch-bound": launch_bound}[bench])
