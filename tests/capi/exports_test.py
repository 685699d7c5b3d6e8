#!/usr/bin/env python3
"""libphlox.so exports exactly what phlox.h declares. usage: exports_test.py LIBRARY HEADER"""
import re
import subprocess
import sys

library, header = sys.argv[1:]
declared = set(re.findall(r"PHLOX_API[^;]*?\b(phlox_\w+)\(", open(header).read()))
symbols = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
exported = {line.split()[-1] for line in symbols.splitlines() if line.strip()}
missing, extra = sorted(declared - exported), sorted(exported - declared)
for name in missing:
    print(f"declared in phlox.h but not exported: {name}")
for name in extra:
    print(f"exported but not declared in phlox.h: {name}")
size = len(subprocess.run(["cc", "-std=c11", "-E", "-P", header], check=True, capture_output=True, text=True).stdout.splitlines())
if size > 1000:
    print(f"phlox.h is {size} lines when preprocessed; at most 1000")
print(f"{len(exported)} symbols, {size} preprocessed lines")
sys.exit(bool(missing or extra or size > 1000))
