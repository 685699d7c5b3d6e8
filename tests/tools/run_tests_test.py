"""tools/run_tests.py on made-up test programs: what is counted, what is shown, and how it ends."""
import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "run_tests.py"

# Behaves like a gtest program: reports the cases in argv[1] (name=outcome,...), or dies at the outcome `crash`.
FAKE_GTEST = """#!/usr/bin/env python3
import json, os, sys
report = next(a.split(":", 1)[1] for a in sys.argv if a.startswith("--gtest_output=json:"))
cases, bad = [], False
for item in sys.argv[1].split(","):
    name, outcome = item.split("=")
    print(f"[ RUN      ] S.{name}", flush=True)
    if outcome == "crash":
        os.abort()
    case = {"name": name, "status": "RUN", "result": "SKIPPED" if outcome == "skip" else "COMPLETED"}
    if outcome == "fail":
        print(f"because of {name}")
        print(f"[  FAILED  ] S.{name} (0 ms)", flush=True)
        case["failures"] = [{"failure": "because"}]
        bad = True
    elif outcome == "skip":
        print(f"[  SKIPPED ] S.{name} (0 ms)", flush=True)
    else:
        print(f"chatter of {name}")
        print(f"[       OK ] S.{name} (0 ms)", flush=True)
    cases.append(case)
json.dump({"testsuites": [{"name": "S", "testsuite": cases}]}, open(report, "w"))
sys.exit(1 if bad or "exit" in sys.argv else 0)
"""


class RunTests(unittest.TestCase):
    def run_tool(self, entries):
        """entries: (name, labels, command, extra properties). A fake ctest on the PATH lists them."""
        with tempfile.TemporaryDirectory() as d:
            def script(name, text):
                path = os.path.join(d, name)
                pathlib.Path(path).write_text(text)
                os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
                return path
            fake = script("fake", FAKE_GTEST)
            tests = []
            for name, gtest, command, extra in entries:
                properties = [{"name": "WORKING_DIRECTORY", "value": d}] + extra
                if gtest:
                    properties.append({"name": "LABELS", "value": ["gtest"]})
                tests.append({"name": name, "command": [fake if c == "FAKE" else c for c in command], "properties": properties})
            pathlib.Path(d, "list.json").write_text(json.dumps({"tests": tests}))
            script("ctest", f"#!/bin/sh\ncat {d}/list.json\n")
            r = subprocess.run([sys.executable, TOOL, "--build", d, "--jobs", "2"], capture_output=True, text=True,
                               env={**os.environ, "PATH": d + ":" + os.environ["PATH"]})
            return r.returncode, r.stdout + r.stderr

    def last_line(self, out):
        return out.strip().splitlines()[-1]

    def test_counts_cases_and_scripts(self):
        code, out = self.run_tool([("a", True, ["FAKE", "x=ok,y=ok,z=skip"], []), ("s", False, ["/bin/true"], []),
                                   ("k", False, ["/bin/sh", "-c", "exit 77"], [])])
        self.assertEqual((code, self.last_line(out)), (0, "3 passed, 0 failed, 2 skipped"), out)
        self.assertNotIn("chatter", out)
        self.assertIn("a: S.z", out)

    def test_a_failure_shows_its_own_output_only(self):
        code, out = self.run_tool([("a", True, ["FAKE", "x=ok,y=fail,z=ok"], [])])
        self.assertEqual((code, self.last_line(out)), (1, "2 passed, 1 failed, 0 skipped"), out)
        self.assertIn("because of y", out)
        self.assertNotIn("chatter", out)

    def test_a_crash_counts_the_case_that_ran(self):
        code, out = self.run_tool([("a", True, ["FAKE", "x=ok,y=crash,z=ok"], [])])
        self.assertEqual((code, self.last_line(out)), (1, "1 passed, 1 failed, 0 skipped"), out)
        self.assertIn("a: S.y", out)
        self.assertIn("ended by SIGABRT", out)

    def test_a_bad_exit_after_passing_cases_is_a_failure(self):
        code, out = self.run_tool([("a", True, ["FAKE", "x=ok", "exit"], [])])
        self.assertEqual((code, self.last_line(out)), (1, "1 passed, 1 failed, 0 skipped"), out)

    def test_a_timeout_is_a_failure(self):
        code, out = self.run_tool([("s", False, ["/bin/sleep", "60"], [{"name": "TIMEOUT", "value": 0.2}])])
        self.assertEqual((code, self.last_line(out)), (1, "0 passed, 1 failed, 0 skipped"), out)
        self.assertIn("no end after", out)

    def test_a_program_that_was_not_built_is_a_failure(self):
        code, out = self.run_tool([("a", True, ["/nonexistent/program"], [])])
        self.assertEqual((code, self.last_line(out)), (1, "0 passed, 1 failed, 0 skipped"), out)

    def test_running_nothing_is_no_success(self):
        code, out = self.run_tool([])
        self.assertEqual((code, self.last_line(out)), (1, "0 passed, 0 failed, 0 skipped"), out)


if __name__ == "__main__":
    unittest.main()
