"""PyTorch as a contender. usage: torch_peer.py BENCH eager|compiled|eager-channels_last|compiled-channels_last"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import per_call, serve

bench, mode = sys.argv[1:]
import torch
import torch.nn.functional as F

if os.environ.get("OMP_NUM_THREADS"):
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
compiled = torch.compile if mode.startswith("compiled") else lambda f: f


def sized(line):
    what, _, size = line.rpartition("-")
    scale = {"K": 1 << 10, "M": 1 << 20}.get(size[-1:], 1)
    return what, int(size.rstrip("KM")) * scale


def eager_cpu_large(line):
    op, size = sized(line)
    rows = size // 4096
    x, y, w, b = torch.randn(rows, 1024), torch.randn(rows, 1024), torch.ones(1024), torch.zeros(1024)
    f = {
        "add": lambda: x + y,
        "gelu": lambda: F.gelu(x),
        "softmax": lambda: F.softmax(x, -1),
        "sum": lambda: torch.sum(x),
        "layer_norm": lambda: F.layer_norm(x, (1024,), w, b),
    }[op]
    torch._dynamo.reset()
    f = compiled(f)
    return lambda: per_call(f)


def cpu_gemm(line):
    what, n = sized(line.removesuffix("-t1"))
    a, b, bias = torch.randn(n, n), torch.randn(n, n) / n ** 0.5, torch.randn(n)
    if what != "f32-bias-gelu":
        return None
    torch._dynamo.reset()
    f = compiled(lambda: F.gelu(torch.addmm(bias, a, b)))
    return lambda: 2.0 * n ** 3 / per_call(f)


def train_cpu(line):
    from models import training
    t = training(line, mode)
    if t is None:
        return None
    for _ in range(3):
        t.step(t.x, t.y)

    def round_():
        steps = 2
        t.step(t.x, t.y)
        start = time.perf_counter()
        for _ in range(steps):
            t.step(t.x, t.y).item()
        return t.samples * steps / (time.perf_counter() - start)

    return round_


def compile_step(line):
    """The first step less the second: what is not the step itself. A process does one round."""
    from models import training
    t = training(line, mode)

    def round_():
        times = []
        for _ in range(3):
            start = time.perf_counter()
            t.step(t.x, t.y)
            times.append(time.perf_counter() - start)
        return 1e3 * (times[0] - min(times[1:]))

    return round_


with torch.no_grad() if bench in ("eager-cpu-large", "cpu-gemm") else torch.enable_grad():
    serve({"eager-cpu-large": eager_cpu_large, "cpu-gemm": cpu_gemm, "train-cpu": train_cpu,
           "compile-cold": compile_step, "compile-warm": compile_step}[bench])
