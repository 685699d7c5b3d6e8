"""A run of examples/train_text that is stopped and resumed ends in the file of one that was not: every bit of it."""
import pathlib
import subprocess
import sys
import tempfile


def run(program, folder, *arguments):
    command = [program, "--text", "text", "--steps", "6", "--batch", "2", "--eager-steps", "2", "--generate", "0", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout}{done.stderr}")


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"]
        text, state = [], 1
        while len(text) < 30000:
            state = state * 1103515245 % 2147483648 + 12345
            text.append(words[state // 65536 % len(words)])
        pathlib.Path(folder, "text").write_text(" ".join(text))
        run(program, folder, "--save", "whole")
        run(program, folder, "--save", "parts", "--stop", "3")
        half = pathlib.Path(folder, "parts").read_bytes()
        run(program, folder, "--save", "parts", "--resume")
        whole, parts = (pathlib.Path(folder, name).read_bytes() for name in ("whole", "parts"))
        if half == parts:
            sys.exit("the resumed run changed nothing")
        if whole != parts:
            sys.exit(f"the files differ: {len(whole)} and {len(parts)} bytes")


main()
