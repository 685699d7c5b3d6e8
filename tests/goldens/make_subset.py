#!/usr/bin/env python3
"""Picks the committed subset of the golden cases: for every op and dtype the first small case in a seeded order (two for
float32). usage: make_subset.py FULL_FOLDER OUT_FOLDER [--limit BYTES_A_CASE] [--seed S]"""
import argparse
import glob
import hashlib
import json
import os
import struct


def read_safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    (n,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + n])
    header.pop("__metadata__", None)
    return {k: (v["dtype"], v["shape"], data[8 + n + v["data_offsets"][0] : 8 + n + v["data_offsets"][1]]) for k, v in header.items()}


def write_safetensors(path, tensors):
    width = {"F64": 8, "I64": 8, "C64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
    names = sorted(tensors, key=lambda k: (-width.get(tensors[k][0], 1), k))
    header, at = {}, 0
    for name in names:
        dtype, shape, data = tensors[name]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            f.write(tensors[name][2])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("full")
    p.add_argument("out")
    p.add_argument("--limit", type=int, default=3600)
    p.add_argument("--seed", default="0")
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    for lines in sorted(glob.glob(os.path.join(a.full, "visible-*.jsonl"))):
        name = os.path.basename(lines)[:-6]
        dtype = name[len("visible-") :]
        tensors = read_safetensors(os.path.join(a.full, name + ".safetensors"))
        by_case = {}
        for key in tensors:
            by_case.setdefault(key.split("#")[0], []).append(key)
        with open(lines) as f:
            cases = [(json.loads(line), line) for line in f if line.strip()]
        cases.sort(key=lambda c: hashlib.sha256((a.seed + c[0]["case"]).encode()).digest())
        taken, kept = {}, []
        for case, line in cases:
            size = sum(len(tensors[k][2]) for k in by_case.get(case["case"], [])) + len(line)
            if size <= a.limit and taken.get(case["op"], 0) < (2 if dtype == "float32" else 1):
                taken[case["op"]] = taken.get(case["op"], 0) + 1
                kept.append((case, line))
        kept.sort(key=lambda c: c[0]["case"])
        with open(os.path.join(a.out, name + ".jsonl"), "w") as f:
            f.writelines(line for _, line in kept)
        write_safetensors(os.path.join(a.out, name + ".safetensors"),
                          {k: tensors[k] for case, _ in kept for k in by_case.get(case["case"], [])})


if __name__ == "__main__":
    main()
