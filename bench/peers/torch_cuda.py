"""PyTorch on a GPU as a contender. usage: torch_cuda.py BENCH MODE
MODE: eager, compiled, reduce-overhead; of attention-cuda: flash, cudnn"""
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


serve({"rows-cuda": rows, "cumsum-cuda": cumsum, "attention-cuda": attention, "eager-cuda-op": eager_op,
       "launch-bound": launch_bound}[bench])
