"""The benchmarks: their lines, contenders, floors and bars. bench/run runs them, bench/table.py prints them.

Operation counts of floors are fixed here: what the best known way needs for an element, not what our kernels do.
"""
import os
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.abspath(os.environ.get("PHLOX_BUILD", os.path.join(ROOT, "build")))
PEERS = os.environ.get("PHLOX_PEERS") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "phlox", "peers")
CUDA_PYTHON = os.environ.get("PHLOX_CUDA_PYTHON", "python3")  # one with PyTorch for the GPU
SIZES = ["1M", "4M", "16M", "64M"]
MODELS = ["cnn-step", "gpt-step", "gpt2-12-step", "gpt2-48-step"]


@dataclass(frozen=True)
class Contender:
    name: str                # ours is "phlox"
    command: tuple
    line: str = ""           # what to prepare, where it is not the benchmark's own line
    environment: tuple = ()  # of (name, value)
    fresh: bool = False      # a new process for each round
    caches: tuple = ()       # variables that name a cache folder


@dataclass
class Bench:
    lines: list
    unit: str
    contenders: object                        # line -> [Contender], ours first
    lower_is_better: bool = True
    scale: float = 1                          # from what contenders say to the unit
    peaks: object = lambda line: {}           # line -> {key: line of cpu-peaks}
    floor: object = lambda line, peaks: None  # (line, {key: value}) -> in the unit
    warm_cache: bool = False                  # a cache is filled once before the rounds; else each process gets an empty one
    bars: dict = field(default_factory=dict)  # line or "*" -> text
    cuda: bool = False                        # its contenders see the GPU, and its peaks are lines of cuda-peaks


BINARIES = os.environ.get("PHLOX_BINARIES")  # a folder with the programs in it, as tools/gpu_check makes one: nothing is built


def binary(path):
    """A program of the build folder."""
    return os.path.join(BINARIES, os.path.basename(path)) if BINARIES else os.path.join(BUILD, path)


def program(name):
    return (binary("bench/bench_" + name),)


def torch_cuda(bench, mode):
    return Contender("PyTorch " + mode, (CUDA_PYTHON, os.path.join(ROOT, "bench", "peers", "torch_cuda.py"), bench, mode))


def torch(bench, mode, **more):
    return Contender("PyTorch " + mode.replace("-", ", "), (os.path.join(PEERS, "bin", "python"),
                     os.path.join(ROOT, "bench", "peers", "torch_peer.py"), bench, mode), **more)


def torch_cpp(name="PyTorch C++", *arguments, **more):
    return Contender(name, (os.path.join(PEERS, "torch_ops"), *arguments), **more)


def threads(line):
    names = ("PHLOX_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return tuple((name, "1") for name in names) if line.endswith("-t1") else ()


def peak_contender(line, cuda=False):
    return Contender("peak " + line, program("cuda_peaks" if cuda else "cpu_peaks"), line=line, environment=threads(line))


def size_of(line):
    return int(line.rpartition("-")[2][:-1]) << 20


# Of a whole-tensor op: arrays read and written, which stream they are compared with, operations an element.
LARGE = {
    "add": (3, "add", 1),
    "gelu": (2, "copy", 40),
    "softmax": (2, "copy", 20),
    "layer_norm": (2, "copy", 10),
    "sum": (1, "read", 1),
}


def large_peaks(line):
    op, _, size = line.rpartition("-")
    return {"stream": f"{LARGE[op][1]}-{size}", "fma": "fma"}


def large_floor(line, peaks):
    arrays, _, operations = LARGE[line.rpartition("-")[0]]
    size = size_of(line)
    return 1e3 * max(arrays * size / peaks["stream"], operations * (size / 4) / peaks["fma"])


def gemm_contenders(line):
    env = threads(line)
    ours = Contender("phlox", program("gemm"), environment=env)
    if "gelu" in line:
        return [ours, torch("cpu-gemm", "eager", environment=env), torch("cpu-gemm", "compiled", environment=env)]
    return [ours, torch_cpp("OpenBLAS", "openblas", environment=env), torch_cpp(environment=env)]


def train_contenders(line):
    modes = ["eager", "eager-channels_last"] if line.endswith("-eager") else \
            ["eager", "eager-channels_last", "compiled", "compiled-channels_last"]
    if line.startswith("gpt"):
        modes = [m for m in modes if "channels_last" not in m]
    return [Contender("phlox", program("train_cpu"))] + [torch("train-cpu", m) for m in modes]


def compile_contenders(bench):
    def contenders(line):
        ours = Contender("phlox", program("compile_step"), fresh=True, caches=("PHLOX_CACHE_DIR",))
        peer = torch(bench, "compiled", fresh=True, caches=("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"))
        return [ours] if line == "gpt2-48-step" else [ours, peer]
    return contenders


# Of a row op on 2^26 bfloat16 elements: how often these are read or written, forward and in the backward call.
ROWS = {"softmax": (2, 3), "layer_norm": (2, 3), "rms_norm": (2, 3), "gelu": (2, 3), "row_sum": (1, None), "column_sum": (1, None),
        "cross_entropy": (1, 2)}
LENGTHS = [256, 1024, 4096, 16384, 65536, 262144]
COMPILED_LENGTHS = [1024, 4096, 16384, 65536]


def rows_lines():
    return [f"{op}{grad}-{n}" for op, uses in ROWS.items() for grad, use in zip(("", "-grad"), uses) if use for n in LENGTHS]


def rows_contenders(line):
    compiled = int(line.rpartition("-")[2]) in COMPILED_LENGTHS
    return [Contender("phlox", program("cuda_ops"))] + [torch_cuda("rows-cuda", m) for m in ["eager", "compiled"][:1 + compiled]]


def rows_floor(line, peaks):
    uses = ROWS[line.split("-")[0]]["-grad" in line]
    return 1e6 * uses * (2 << 26) / peaks["copy"]


def attention_floor(line, peaks):
    """Half of two products of T x T x width a head; five in the backward call."""
    _, width, length = line.replace("-grad", "").split("-")
    products = 5 if "-grad" in line else 2
    return 1e6 * products * (16 * 1024) * int(length) * 768 / peaks["bf16"]


def gemm_cuda_lines():
    """The shapes of bench/gemm_cuda.cpp, M N K."""
    small, large = [(3072, 2048), (2048, 2048), (8192, 2048), (2048, 8192)], [(6144, 4096), (4096, 4096), (14336, 4096), (4096, 14336)]
    all_shapes = [(1, *s) for s in small + large] + [(1, 128256, 2048)]
    all_shapes += [(m, *s) for m in (2, 4, 8, 16) for s in large[1:3]] + [(8, *small[2]), (16, *small[3])]
    all_shapes += [(m, *s) for m in (64, 256, 1024, 4096) for s in (large[0], large[3])] + [(m, *small[2]) for m in (128, 2048, 8192)]
    all_shapes += [(8192, 4096, 4096), (8192, 3072, 768), (8192, 768, 3072), (8192, 2304, 768), (6304, 3072, 1024), (6304, 4096, 1024),
                   (6304, 1024, 4096), (6272, 1024, 256), (1568, 512, 2048), (256, 1000, 2048)]
    return [f"m{m}-n{n}-k{k}" for m, n, k in all_shapes]


def gemm_cuda_floor(line, peaks):
    m, n, k = (int(part[1:]) for part in line.split("-"))
    return 1e6 * max(2 * (m * k + n * k + m * n) / peaks["copy"], 2 * m * n * k / peaks["bf16"])


LLAMA_WEIGHTS = {"llama-1b": 1235746816, "llama-8b": 7504658432}  # read for a token, without the table of embeddings


def decode_contenders(line):
    if line.endswith("-first"):
        return [Contender("phlox", program("decode_cuda"), fresh=True, caches=("PHLOX_CACHE_DIR",))]
    return [Contender("phlox", program("decode_cuda")), torch_cuda("decode-cuda", "reduce-overhead")]


GEMM_SIZES = [64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048]
BENCHES = {
    "eager-cpu-op": Bench(
        ["add8", "add8-grad", "chain10"], "ns", lambda line: [Contender("phlox", program("eager_cpu_op")), torch_cpp()],
        bars={"add8": "≤100", "add8-grad": "≤200", "chain10": "≤6000"}),
    "eager-cpu-large": Bench(
        [f"{op}-{size}" for op in LARGE for size in SIZES], "ms",
        lambda line: [Contender("phlox", program("eager_cpu_large")), torch("eager-cpu-large", "eager"),
                      torch("eager-cpu-large", "compiled")],
        scale=1e3, peaks=large_peaks, floor=large_floor,
        bars={f"{op}-{size}": (f"of_floor ≥{0.8 if op in ('add', 'sum') else 0.7}, " if size in ("16M", "64M") else "") +
              ("ratio ≥2" if size == "64M" else "ratio ≥1") for op in LARGE for size in SIZES}),
    "cpu-gemm": Bench(
        [f"f32-{n}" for n in GEMM_SIZES] + [f"f32-{n}-t1" for n in GEMM_SIZES] + [f"f32-bias-gelu-{n}" for n in (128, 512, 1024)],
        "GFLOP/s", gemm_contenders, lower_is_better=False, scale=1e-9,
        peaks=lambda line: {"fma": "fma-t1" if line.endswith("-t1") else "fma"}, floor=lambda line, peaks: 1e-9 * peaks["fma"],
        bars={f"f32-{form}{n}{t}": ("of_floor ≥0.85, " if n >= 512 else "of_floor ≥0.70, " if n >= 128 else "") + "ratio ≥0.95"
              for form in ("", "bias-gelu-") for n in GEMM_SIZES for t in ("", "-t1")}),
    "compile-cold": Bench(MODELS, "ms", compile_contenders("compile-cold"),
                          bars={"cnn-step": "≤1000", "gpt-step": "≤1000", "gpt2-12-step": "≤3000",
                                "gpt2-48-step": "≤1.3 of 12 layers"}),
    "compile-warm": Bench(MODELS, "ms", compile_contenders("compile-warm"), warm_cache=True, bars={"*": "≤150"}),
    "train-cpu": Bench(["cnn-eager", "cnn-compiled", "gpt-eager", "gpt-compiled"], "1/s", train_contenders, lower_is_better=False,
                       bars={"cnn-compiled": "ratio ≥1.15, not below eager", "gpt-compiled": "ratio ≥1.3, not below eager"}),
    "startup": Bench(["doctor", "libphlox", "plugin"], "", lambda line: [],
                     bars={"doctor": "≤30", "libphlox": "≤30", "plugin": "≤80"}),
    "cpu-peaks": Bench(
        ["fma", "fma-t1"] + [f"{what}-{size}" for what in ("read", "copy", "add") for size in SIZES] +
        [f"{what}-64M-t1" for what in ("read", "copy", "add")] +
        ["fork-join", "fork-join-asleep", "alloc-64", "alloc-64K", "alloc-64M", "pages-64M"], "",
        lambda line: [Contender("phlox", program("cpu_peaks"), environment=threads(line))]),
    "eager-cuda-op": Bench(
        ["chain100"], "us", lambda line: [Contender("phlox", program("eager_cuda_op")), torch_cuda("eager-cuda-op", "eager")],
        scale=1e6, peaks=lambda line: {"launches": "launch100"}, floor=lambda line, peaks: 1e6 * peaks["launches"],
        bars={"chain100": "of_floor ≥0.67, ratio ≥2.5"}, cuda=True),
    "rows-cuda": Bench(rows_lines(), "us", rows_contenders, scale=1e6, peaks=lambda line: {"copy": "copy"}, floor=rows_floor,
                       bars={"*": "of_floor ≥0.83, ratio ≥0.95"}, cuda=True),
    "cumsum-cuda": Bench(
        ["cumsum-last", "cumsum-first"], "us",
        lambda line: [Contender("phlox", program("cuda_ops")), torch_cuda("cumsum-cuda", "eager")], scale=1e6,
        peaks=lambda line: {"copy": "copy"}, floor=lambda line, peaks: 1e6 * 2 * (2 << 26) / peaks["copy"],
        bars={"*": "of_floor ≥0.75"}, cuda=True),
    "attention-cuda": Bench(
        [f"causal-{width}-{length}{grad}" for width in (64, 128) for length in (1024, 4096) for grad in ("", "-grad")], "us",
        lambda line: [Contender("phlox", program("cuda_ops"))] + [torch_cuda("attention-cuda", m) for m in ("flash", "cudnn")],
        scale=1e6, peaks=lambda line: {"bf16": "bf16"}, floor=attention_floor, bars={"*": "ratio ≥0.95"}, cuda=True),
    "launch-bound": Bench(
        ["mlp-forward", "mlp-step"], "us",
        lambda line: [Contender("phlox", program("launch_bound")), torch_cuda("launch-bound", "reduce-overhead")], scale=1e6,
        bars={"*": "ratio ≥2"}, cuda=True),
    "gemm-cuda": Bench(
        gemm_cuda_lines(), "us",
        lambda line: [Contender("phlox", (binary("bench/gemm_cuda"),)), Contender("cuBLASLt, best of 8", (binary("bench/gemm_cuda"), "peer"))],
        peaks=lambda line: {"copy": "copy", "bf16": "bf16"}, floor=gemm_cuda_floor, bars={"*": "ratio ≥0.97"}, cuda=True),
    "decode-cuda": Bench(
        ["llama-1b", "llama-8b", "llama-1b-first", "llama-8b-first"], "us", decode_contenders, scale=1e6,
        peaks=lambda line: {} if line.endswith("-first") else {"copy": "copy"},
        floor=lambda line, peaks: 1e6 * 2 * LLAMA_WEIGHTS[line] / peaks["copy"] if line in LLAMA_WEIGHTS else None,
        bars={"llama-1b": "ratio ≥1.6", "llama-8b": "ratio ≥1.25", "llama-1b-first": "≤3000000", "llama-8b-first": "≤3000000"}, cuda=True),
    "train-gpt2": Bench(["tokens", "memory", "first-step"], "", lambda line: [],
                        bars={"tokens": "ratio ≥1.05", "memory": "ratio ≥1", "first-step": "≤4"}, cuda=True),
    "cuda-peaks": Bench(["copy", "bf16", "launch100"], "", lambda line: [Contender("phlox", program("cuda_peaks"))], cuda=True),
}
