#!/usr/bin/env python3
"""libphlox.so exports exactly what phlox.h declares, and the header only grows: every declaration in abi.txt stands in it
unchanged. usage: exports_test.py LIBRARY HEADER ABI [--update]   --update appends what is new to ABI"""
import re
import subprocess
import sys

library, header, abi = sys.argv[1:4]
text = open(header).read()
declared = set(re.findall(r"PHLOX_API[^;]*?\b(phlox_\w+)\(", text))
symbols = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
exported = {line.split()[-1] for line in symbols.splitlines() if line.strip()}
problems = [f"declared in phlox.h but not exported: {name}" for name in sorted(declared - exported)]
problems += [f"exported but not declared in phlox.h: {name}" for name in sorted(exported - declared)]

lines = subprocess.run(["cc", "-std=c11", "-E", "-P", header], check=True, capture_output=True, text=True).stdout.splitlines()
if len(lines) > 1000:
    problems.append(f"phlox.h is {len(lines)} lines when preprocessed; at most 1000")


def declarations(text):
    """Functions, struct fields and enumerators, one a line, in a form that layout does not change."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
    clean = lambda s: re.sub(r"\s*([*(),])\s*", r"\1", re.sub(r"\s+", " ", s)).strip()
    found = [clean(m) for m in re.findall(r"PHLOX_API([^;]*);", text)]
    for body in re.findall(r"\benum\s*\{(.*?)\}", text, flags=re.S):
        found += [clean(e) for e in body.split(",") if e.strip()]
    for body, name in re.findall(r"typedef struct(?: \w+)? \{(.*?)\}\s*(\w+);", text, flags=re.S):
        found += [f"{name}[{i}] {clean(f)}" for i, f in enumerate(body.split(";")) if f.strip()]
    return found


now = declarations(text)
recorded = open(abi).read().splitlines()
if "--update" in sys.argv:
    open(abi, "a").writelines(line + "\n" for line in now if line not in recorded)
    recorded = open(abi).read().splitlines()
problems += [f"changed or gone: {line}" for line in recorded if line not in now]
problems += [f"new and not recorded (run with --update): {line}" for line in now if line not in recorded]
for problem in problems:
    print(problem)
print(f"{len(exported)} symbols, {len(now)} declarations, {len(lines)} preprocessed lines")
sys.exit(bool(problems))
