#!/usr/bin/env python3
"""Prints the result table of validation/moe_speed from a folder of logs (Markdown).

Usage  table.py FOLDER      with <program>-<mode>-<round>.log files; rounds named `warm` are skipped
Status 1 when Espalier is less than 1.5 times as fast as compiled transformers with grouped_mm.
"""
import collections
import pathlib
import re
import statistics
import sys

BOUND = 1.5
PAIRS = (("espalier-float32", "transformers-fp32"), ("espalier-bfloat16", "transformers-autocast"))


def main():
    speeds = collections.defaultdict(list)
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.log")):
        name, number = path.stem.rsplit("-", 1)
        found = re.search(r"^(?:pytorch|bench): tokens_per_second ([0-9.]+)", path.read_text(), re.M)
        if found and number != "warm":
            speeds[name].append(float(found[1]))
    print("| program | tokens/s (median) | spread |\n|---|---|---|")
    for name, values in speeds.items():
        print(f"| {name} | {statistics.median(values):.0f} "
              f"| {min(values):.0f} to {max(values):.0f}, n = {len(values)} |")
    print()
    missed = False
    for ours, theirs in PAIRS:
        mine = statistics.median(speeds[ours])
        reference = statistics.median(speeds[f"{theirs}-compiled-grouped_mm"])
        best = max(max(v) for name, v in speeds.items() if name.startswith(theirs))
        missed |= mine < BOUND * reference
        print(f"- {ours} / {theirs}, compiled, grouped_mm = {mine / reference:.2f} (at least {BOUND}); "
              f"beside the fastest of transformers' ways {mine / best:.2f}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
