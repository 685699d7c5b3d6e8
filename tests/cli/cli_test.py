#!/usr/bin/env python3
"""The command `phlox`: what it prints, where, and its exit status. usage: cli_test.py PROGRAM"""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv.pop(1)


def phlox(*args):
    done = subprocess.run([PROGRAM, *args], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


class Cli(unittest.TestCase):
    def test_usage(self):
        self.assertEqual(phlox()[0], 2)
        status, out, err = phlox("help")
        self.assertEqual((status, err), (0, ""))
        self.assertTrue(out.startswith("usage: phlox COMMAND"))
        status, out, err = phlox("frobnicate")
        self.assertEqual((status, out), (2, ""))

    def test_version(self):
        self.assertRegex(phlox("version")[1], r"^phlox \d+\.\d+\.\d+\n$")

    def test_inspect(self):
        header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
        with tempfile.TemporaryDirectory() as folder:
            good, bad = pathlib.Path(folder, "m.safetensors"), pathlib.Path(folder, "bad.safetensors")
            good.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
            bad.write_bytes(b"nonsense")
            status, out, err = phlox("inspect", str(good))
            self.assertEqual((status, err), (0, ""))
            self.assertIn("1 tensor, 2 elements", out)
            status, out, err = phlox("inspect", str(bad), str(good))
            self.assertEqual(status, 1)
            self.assertTrue(err.startswith("phlox: safetensors: "), err)
            self.assertIn("2 elements", out)
        self.assertEqual(phlox("inspect", "/nowhere")[0], 1)

    def test_doctor(self):
        status, out, _ = phlox("doctor")
        self.assertEqual(status, 0)
        for part in ("cpu ", "compiler ", "cache ", "cuda ", "memory "):
            self.assertIn("\n" + part, out)
        found = json.loads(phlox("doctor", "--json")[1])
        self.assertGreater(found["ops"], 100)
        self.assertGreaterEqual(found["cpu"]["threads"], 1)
        plugin = found["compiler"]["plugin"]  # there, or a reason why not, never both
        self.assertNotEqual(plugin["path"] == "", plugin["problem"] == "", plugin)

    def test_ops(self):
        ops = json.loads(phlox("ops")[1])
        self.assertIn("add.Tensor", {op["name"] for op in ops})
        status, out, _ = phlox("ops", "add_.Tensor")
        self.assertEqual(out.splitlines()[0], "add_.Tensor(Tensor(a!) self, Tensor other, *, Scalar alpha=1) -> Tensor(a!)")
        status, out, err = phlox("ops", "add")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("add.Tensor, add.Scalar", err)


unittest.main(verbosity=0)
