#!/usr/bin/env python3
"""Installs a build into a temporary folder, builds tests/package/consumer against it and runs both programs.
usage: package_test.py BUILD COMPILER"""
import pathlib
import subprocess
import sys
import tempfile

build, compiler = sys.argv[1:]
here = pathlib.Path(__file__).resolve().parent


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


with tempfile.TemporaryDirectory() as folder:
    prefix, out = pathlib.Path(folder, "prefix"), pathlib.Path(folder, "build")
    run("cmake", "--install", build, "--prefix", prefix)
    run("cmake", "-S", here / "consumer", "-B", out, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_CXX_COMPILER={compiler}")
    run("cmake", "--build", out)
    shown = run(out / "consumer")
    if shown != "tensor([2., 4.])\n":
        sys.exit(f"the consumer printed {shown!r}")
    doctor = run(prefix / "bin/phlox", "doctor")
    if not doctor.startswith("phlox "):
        sys.exit(f"phlox doctor printed {doctor!r}")
print("package: ok")
