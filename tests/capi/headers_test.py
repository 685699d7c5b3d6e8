"""Every public header compiles alone, and the program on the README's first page compiles and runs.

usage: headers_test.py COMPILER LIBPHLOX   (in the root of the source tree)
"""
import pathlib
import re
import subprocess
import sys
import tempfile

compiler, library = sys.argv[1], pathlib.Path(sys.argv[2])
flags = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-Iinclude"]
failed = 0
with tempfile.TemporaryDirectory() as folder:
    source = pathlib.Path(folder) / "source.cpp"

    def compile_text(what, text, *more):
        source.write_text(text)
        run = subprocess.run([compiler, *flags, str(source), *more], capture_output=True, text=True)
        if run.returncode:
            print(f"{what} does not compile:\n{run.stderr[:2000]}")
        return run.returncode == 0

    headers = sorted(p.relative_to("include") for p in pathlib.Path("include").rglob("*.h*"))
    assert len(headers) > 10, headers
    for header in headers:
        failed += not compile_text(header, f'#include "{header}"\n', "-fsyntax-only")

    program = re.search(r"```cpp\n(#include.*?)```", pathlib.Path("README.md").read_text(), re.S).group(1)
    binary = str(pathlib.Path(folder) / "hello")
    link = [f"-L{library.parent}", "-lphlox", f"-Wl,-rpath,{library.parent}", "-o", binary]
    if compile_text("the README's program", program, *link):
        out = subprocess.run([binary], capture_output=True, text=True, timeout=120)
        if out.returncode or "grad_fn" not in out.stdout or out.stdout.count("[") < 4:
            print("the README's program prints", out.stdout, out.stderr)
            failed += 1
    else:
        failed += 1
sys.exit(1 if failed else 0)
