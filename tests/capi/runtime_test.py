#!/usr/bin/env python3
"""libphlox_rt.so exports what src/capi_rt defines and nothing else, holds no code of the layers above the runtime, and
works by itself. usage: runtime_test.py LIBRARY HEADER SRC BUILD"""
import ctypes
import glob
import re
import struct
import subprocess
import sys
import tempfile

library, header, src, build = sys.argv[1:5]
problems = []


def defined(*args):
    out = subprocess.run(["nm", "--defined-only", *args], check=True, capture_output=True, text=True).stdout
    return [line.split()[-2:] for line in out.splitlines() if len(line.split()) >= 2 and not line.endswith(":")]


# Its exports: the entry points of capi_rt, each declared in the header.
declared = set(re.findall(r"PHLOX_API[^;]*?\b(phlox_\w+)\(", open(header).read()))
sources = "".join(open(f).read() for f in glob.glob(f"{src}/capi_rt/*.cpp"))
wanted = {name for name in declared if re.search(rf"^[\w\s\*]*\b{name}\([^;{{]*\) *\{{", sources, flags=re.M)}
exported = {name for _, name in defined("-D", library)}
problems += [f"not exported: {name}" for name in sorted(wanted - exported)]
problems += [f"exported: {name}" for name in sorted(exported - wanted)]

# Its layers: what src/LAYERS lets capi_rt reach.
layers = dict(re.findall(r"^(\w+): *(.*)$", open(f"{src}/LAYERS").read(), flags=re.M))
reached, todo = set(), ["capi_rt"]
while todo:
    layer = todo.pop()
    if layer not in reached:
        reached.add(layer)
        todo += layers[layer].split()
for absent in ("graph", "ops", "kernel", "emit", "compile", "toolchain", "eager"):
    if absent in reached:
        problems.append(f"capi_rt reaches the layer {absent}")
inside = {name for kind, name in defined(library) if kind in "tTdDbBrR"}
for layer in sorted(set(layers) - reached):
    for archive in glob.glob(f"{build}/libphlox_{layer}.a"):
        for kind, name in defined(archive):
            if kind in "TDBR" and name in inside:
                problems.append(f"{name} of the layer {layer} is inside")

# It works: a tensor in, a file out and in again.
rt = ctypes.CDLL(library)
rt.phlox_version.restype = ctypes.c_char_p


class Device(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int32), ("index", ctypes.c_int32)]


class Error(ctypes.Structure):
    pass


rt.phlox_last_error.restype = ctypes.POINTER(Error)
rt.phlox_error_message.argtypes = [ctypes.POINTER(Error)]
rt.phlox_error_message.restype = ctypes.c_char_p


def check(status):
    if status:
        problems.append(rt.phlox_error_message(rt.phlox_last_error()).decode())


cpu = Device(0, 0)
rt.phlox_dtype_name.restype = ctypes.c_char_p
f32 = next(d for d in range(40) if rt.phlox_dtype_name(d) == b"float32")
data = struct.pack("<6f", 1, 2, 3, 4, 5, 6)
sizes = (ctypes.c_int64 * 2)(2, 3)
tensor = ctypes.c_void_p()
check(rt.phlox_tensor_from_data(data, f32, sizes, 2, cpu, ctypes.byref(tensor)))
with tempfile.TemporaryDirectory() as folder:
    path = f"{folder}/t.safetensors".encode()
    names, tensors = (ctypes.c_char_p * 1)(b"x"), (ctypes.c_void_p * 1)(tensor)
    check(rt.phlox_save_safetensors(path, names, tensors, ctypes.c_int64(1), None, None, ctypes.c_int64(0)))
    loaded = ctypes.c_void_p()
    check(rt.phlox_load_safetensors(path, cpu, ctypes.byref(loaded)))
    if not problems:
        rt.phlox_tensor_map_tensor.restype = ctypes.c_void_p
        rt.phlox_tensor_data.restype = ctypes.c_void_p
        x = rt.phlox_tensor_map_tensor(loaded, ctypes.c_int64(0))
        if ctypes.string_at(rt.phlox_tensor_data(ctypes.c_void_p(x)), len(data)) != data:
            problems.append("a tensor comes back with other values")
        rt.phlox_tensor_map_free(loaded)
rt.phlox_tensor_release(tensor)

for problem in problems:
    print(problem)
print(f"{len(exported)} symbols, version {rt.phlox_version().decode()}")
sys.exit(bool(problems))
