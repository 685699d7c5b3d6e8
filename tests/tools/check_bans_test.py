"""tools/check_bans: each banned thing is planted once and must be seen; look-alikes must not."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "check_bans"


def places(line, name="src/base/x.cpp"):
    with tempfile.TemporaryDirectory() as root:
        path = pathlib.Path(root, name)
        path.parent.mkdir(parents=True)
        path.write_text("int first;\n" + line + "\n")
        r = subprocess.run([sys.executable, TOOL, root], capture_output=True, text=True)
        return r.returncode, r.stdout


class CheckBans(unittest.TestCase):
    def test_each_ban_is_seen_with_its_line(self):
        for line in ("char* p = (char*)alloca(n);", "long v = strtol(s, 0, 10);", "int v = std::stoi(s);", "v = atoi(s);",
                     "sprintf(b, \"%d\", 1);", "strcpy(a, b);", "system(\"ls\");", "auto* f = popen(c, m);", "assert(n > 0);",
                     "#include <regex>", "std::regex r;", "tmpnam(b);", "std::thread(f).detach();"):
            code, out = places(line)
            self.assertEqual(code, 1, line)
            self.assertIn("src/base/x.cpp:2: ", out)

    def test_look_alikes_pass(self):
        for line in ("static_assert(n > 0);", "snprintf(b, n, f);", "// never strtol(s)", "/* atoi(s) */",
                     "auto s = \"system(x)\";", "auto s = R\"(alloca(8))\";", "operating.system(1);", "my_atoi_count(1);",
                     "reinterpret_cast<int*>(p);", "long v = strtol(s, 0, 10);  // allowed: the platform's own format"):
            code, out = places(line)
            self.assertEqual(code, 0, line + "\n" + out)

    def test_casts_are_banned_in_parsers_only(self):
        self.assertEqual(places("auto p = reinterpret_cast<const float*>(b);", "src/format/x.cpp")[0], 1)


if __name__ == "__main__":
    unittest.main()
