#!/usr/bin/env python3
"""The examples' command lines: --help says what there is and does nothing else, what is unknown or wrong is refused at once.
usage: examples_test.py PROGRAM..."""
import subprocess
import sys
import unittest

PROGRAMS = sys.argv[1:]
del sys.argv[1:]


def run(*args):
    done = subprocess.run(args, capture_output=True, text=True, timeout=20)
    return done.returncode, done.stdout, done.stderr


class Examples(unittest.TestCase):
    def test_help(self):
        for program in PROGRAMS:
            status, out, err = run(program, "--help")
            self.assertEqual((status, err), (0, ""), program)
            self.assertTrue(out.startswith("usage: " + program.rsplit("/", 1)[-1]), out)

    def test_what_is_wrong_is_refused(self):
        for program in PROGRAMS:
            for args, words in ((["--frobnicate"], "unknown option '--frobnicate'"), (["--device"], "--device needs a value"),
                                (["frobnicate"], "unknown option 'frobnicate'"), (["--quic"], "unknown option '--quic'"),
                                (["--device", "--quick"], "--device needs a value")):
                status, out, err = run(program, *args)
                self.assertEqual((status, out), (2, ""), program)
                self.assertIn(words, err)
                self.assertIn("usage: ", err)

    def test_numbers(self):
        for program in PROGRAMS:
            if program.endswith("demo"):
                continue
            status, out, err = run(program, "--steps", "12x")
            self.assertEqual((status, out), (2, ""), program)
            self.assertIn("--steps takes a number, not '12x'", err)


if __name__ == "__main__":
    unittest.main()
