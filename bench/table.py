#!/usr/bin/env python3
"""Merges results of bench/run into the tables of docs/performance.md, which lie between its markers.
usage: bench/table.py [--print] FILE...   each a file of what bench/run printed; the last figure of a line counts

Marks in the column of the bar: + met, - missed, ? the ratio is inconclusive, . there is no bar."""
import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from benches import BENCHES, ROOT

PAGE = os.path.join(ROOT, "docs", "performance.md")
BEGIN, END = "<!-- bench/table.py writes from here -->\n", "<!-- to here -->\n"


def number(v):
    if v is None:
        return ""
    if abs(v) >= 1e9:
        return f"{v / 1e9:.1f}G"
    return f"{v:.4g}" if abs(v) < 1000 else f"{v:.0f}"


def verdict(r, bar, results):
    """Whether the bar is met: True, False, or None where it cannot be said."""
    if not bar:
        return ""
    met = []
    for part in bar.split(", "):
        if m := re.fullmatch(r"≤(\d+)", part):
            met.append(r["value"] <= float(m[1]))
        elif m := re.fullmatch(r"(of_floor|ratio) ≥([\d.]+)", part):
            v = r[m[1]]
            sure = m[1] == "of_floor" or v is None or abs(v - float(m[2])) >= v * r["spread"] / 2
            met.append(None if v is None or not sure and v < float(m[2]) else v >= float(m[2]))
        elif part == "not below eager":
            eager = results.get((r["bench"], r["name"].replace("compiled", "eager")))
            met.append(eager and r["value"] >= eager["value"])
        elif m := re.fullmatch(r"≤([\d.]+) of 12 layers", part):
            twelve = results.get((r["bench"], "gpt2-12-step"))
            met.append(twelve and r["value"] <= float(m[1]) * twelve["value"])
    return "-" if False in met else "?" if None in met else "+"


def tables(results):
    text = ""
    for name, bench in BENCHES.items():
        lines = [l for l in bench.lines if results.get((name, l), {}).get("value") is not None]
        if not lines:
            continue
        text += f"\n### {name}\n\n| line | value | unit | floor | of floor | best peer | its value | ratio | spread | bar | |\n"
        text += "|---|---|---|---|---|---|---|---|---|---|---|\n"
        for line in lines:
            r = results[name, line]
            bar = bench.bars.get(line, bench.bars.get("*", ""))
            text += "| " + " | ".join([
                line, number(r["value"]), r["unit"], number(r["floor"]), number(r["of_floor"]), r["peer"] or "",
                number(r["peer_value"]), number(r["ratio"]), number(r["spread"]), bar, verdict(r, bar, results)]) + " |\n"
    return text


def main():
    files = [f for f in sys.argv[1:] if f != "--print"]
    if not files:
        sys.exit(__doc__)
    results = {}
    for file in files:
        for line in open(file):
            if line.startswith("{"):
                r = json.loads(line)
                results[r["bench"], r["name"]] = r
    text = tables(results)
    if "--print" in sys.argv:
        print(text)
        return
    page = open(PAGE).read()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    with open(PAGE, "w") as f:
        f.write(before + BEGIN + text + "\n" + END + after)


if __name__ == "__main__":
    main()
