#!/usr/bin/env python3
"""Runs the test programs of a build folder and counts their test cases.

The list comes from ctest, so a new test needs no line here. A program labelled `gtest` counts every test case, a script
counts one (exit status 77: skipped). Only the output of failing programs is shown. The last line is
`N passed, N failed, N skipped`; the exit status is 0 only when nothing failed and something ran.
"""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

DEFAULT_TIMEOUT_S = 600
SKIPPED_STATUS = 77
SHOWN_LINES = 200  # of a failing program: the last ones


class Test:
    def __init__(self, entry):
        properties = {p["name"]: p["value"] for p in entry.get("properties", [])}
        self.name = entry["name"]
        self.command = entry.get("command")  # absent when the program was not built
        self.gtest = "gtest" in properties.get("LABELS", [])
        self.serial = bool(properties.get("RUN_SERIAL"))
        self.timeout = float(properties.get("TIMEOUT", DEFAULT_TIMEOUT_S))
        self.folder = properties.get("WORKING_DIRECTORY") or "."
        self.environment = dict(e.split("=", 1) for e in properties.get("ENVIRONMENT", []))


class Result:
    def __init__(self):
        self.passed, self.failed, self.skipped = [], [], []
        self.output, self.problem, self.seconds = "", "", 0.0


def list_tests(build):
    text = subprocess.run(["ctest", "--show-only=json-v1"], cwd=build, check=True, capture_output=True, text=True)
    return [Test(e) for e in json.loads(text.stdout)["tests"]]


def count_report(path, result):
    """Counts the cases of a finished gtest program. False: it did not live to write the report."""
    try:
        with open(path, encoding="utf-8") as f:
            report = json.load(f)
    except (OSError, ValueError):
        return False
    for suite in report["testsuites"]:
        for case in suite["testsuite"]:
            name = f"{suite['name']}.{case['name']}"
            if case["status"] != "RUN":
                continue  # disabled in the source, or filtered out
            if case.get("failures"):
                result.failed.append(name)
            elif case["result"] == "SKIPPED":
                result.skipped.append(name)
            else:
                result.passed.append(name)
    return True


def count_output(result):
    """The same from the output of a program that died: the case that began and did not end is the failed one."""
    last = None
    for line in result.output.splitlines():
        if m := re.search(r"\[ RUN      \] (\S+)", line):
            last = m[1]
        elif m := re.search(r"\[       OK \] (\S+)", line):
            result.passed.append(m[1])
            last = None
        elif m := re.search(r"\[  SKIPPED \] (\S+) \(", line):
            result.skipped.append(m[1])
            last = None
        elif m := re.search(r"\[  FAILED  \] (\S+) \(", line):
            result.failed.append(m[1])
            last = None
    result.failed.append(last or "(outside any test case)")


def execute(test, command, result):
    """Runs the program in a process group of its own, so that a timeout also ends what it started."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=test.folder, stdout=output, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, env={**os.environ, **test.environment},
                                   start_new_session=True)
        try:
            status = process.wait(test.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = None
            result.problem = f"no end after {test.timeout:.0f} s"
        output.seek(0)
        result.output = output.read().decode("utf-8", "replace")
    if status is not None and status < 0:
        result.problem = f"ended by {signal.Signals(-status).name}"
    return status


def run(test, scratch):
    result = Result()
    start = time.monotonic()
    if not test.command or not os.path.exists(test.command[0]):
        result.problem = "the program was not built"
        result.failed.append(test.name)
        return result
    report = os.path.join(scratch, test.name + ".json")
    command = test.command
    if test.gtest:
        command = [a for a in command if not a.startswith("--gtest_brief")] + [f"--gtest_output=json:{report}"]
    status = execute(test, command, result)
    result.seconds = time.monotonic() - start
    if not test.gtest:
        kind = {0: result.passed, SKIPPED_STATUS: result.skipped}.get(status, result.failed)
        kind.append(test.name)
    elif not count_report(report, result):
        count_output(result)
    elif status != 0 and not result.failed:
        result.failed.append("(at exit)")  # every case passed, then a leak check or a destructor failed
    if status not in (0, SKIPPED_STATUS) and not result.problem:
        result.problem = f"exit status {status}"
    return result


def failing_output(test, result):
    """What a reader needs of the output: of a gtest program the failed cases only."""
    lines = result.output.splitlines()
    if test.gtest:
        kept, block = [], []
        for line in lines:
            if "[ RUN      ]" in line:
                block = []
            if re.search(r"\[       OK \]|\[  SKIPPED \]|\[-----", line):
                block = []
                continue
            block.append(line)
            if re.search(r"\[  FAILED  \] \S+ \(", line):
                kept += block
                block = []
        lines = kept + block  # an unfinished block is where it died
    if len(lines) > SHOWN_LINES:
        lines = [f"... {len(lines) - SHOWN_LINES} lines left out"] + lines[-SHOWN_LINES:]
    return "\n".join("    " + line for line in lines)


class Progress:
    """One line for each program that ends, and a sign of life every 30 s in between."""

    def __init__(self, total):
        self.total, self.done, self.start = total, 0, time.monotonic()
        self.running = {}
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.pulse = threading.Thread(target=self.beat, daemon=True)
        self.pulse.start()

    def beat(self):
        while not self.ended.wait(30):
            with self.lock:
                now = time.monotonic()
                names = ", ".join(f"{n} ({now - t:.0f} s)" for n, t in self.running.items())
                print(f"[{self.done}/{self.total} {now - self.start:.0f}s] running {names}", flush=True)

    def begin(self, test):
        with self.lock:
            self.running[test.name] = time.monotonic()

    def end(self, test, result):
        with self.lock:
            del self.running[test.name]
            self.done += 1
            text = f"{len(result.passed)} passed"
            if result.failed:
                text += f", {len(result.failed)} failed"
            if result.skipped:
                text += f", {len(result.skipped)} skipped"
            if result.problem:
                text += f" ({result.problem})"
            word = "FAIL" if result.failed else "ok  "
            print(f"[{self.done}/{self.total} {time.monotonic() - self.start:.0f}s] {word} {test.name}: {text}, "
                  f"{result.seconds:.1f} s", flush=True)
            if result.failed:
                print(failing_output(test, result), flush=True)


def run_all(tests, jobs, times):
    """Long ones first, by the last run's times: the end is not one slow program alone. Serial ones at the end."""
    tests = sorted(tests, key=lambda t: -times.get(t.name, 1e9))
    progress = Progress(len(tests))
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        def one(test):
            progress.begin(test)
            result = run(test, scratch)
            results[test.name] = result
            progress.end(test, result)
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(one, [t for t in tests if not t.serial]))
        for test in tests:
            if test.serial:
                one(test)
    progress.ended.set()
    return results


def load_times(path):
    try:
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    except (OSError, ValueError):
        return {}


def show_names(title, results, pick, limit=60):
    names = [f"{program}: {case}" if case != program else case
             for program, result in sorted(results.items()) for case in pick(result)]
    if names:
        print(title)
        for name in names[:limit]:
            print("  " + name)
        if len(names) > limit:
            print(f"  ... and {len(names) - limit} more")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("names", nargs="*", help="only these programs")
    args = parser.parse_args()

    tests = list_tests(args.build)
    unknown = set(args.names) - {t.name for t in tests}
    if unknown:
        sys.exit(f"no test program {', '.join(sorted(unknown))}; there are {', '.join(sorted(t.name for t in tests))}")
    if args.names:
        tests = [t for t in tests if t.name in args.names]
    times_path = os.path.join(args.build, "test_times.json")
    times = load_times(times_path)
    results = run_all(tests, args.jobs, times)
    times.update({name: round(r.seconds, 2) for name, r in results.items()})
    with open(times_path, "w", encoding="utf-8") as f:
        json.dump(times, f, indent=1, sort_keys=True)

    show_names("skipped:", results, lambda r: r.skipped)
    show_names("failed:", results, lambda r: r.failed)
    passed, failed, skipped = (sum(len(getattr(r, k)) for r in results.values()) for k in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or passed == 0 else 0)


if __name__ == "__main__":
    main()
