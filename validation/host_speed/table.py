#!/usr/bin/env python3
"""Prints the result table of validation/host_speed from a folder of logs (Markdown).

Usage  table.py FOLDER [LEVEL]     with <program>-<mode>-<round>.log files; rounds named `warm` are skipped
Reads  lines `pytorch: <name> <value>` and `bench: <name> <value>`, e.g.
       `bench: tokens_per_second 812.4`; status 1 when a ratio or share is below its bound.
"""
import collections
import pathlib
import re
import statistics
import sys

ROWS = (("pytorch-fp32-eager", "PyTorch fp32, eager"),
        ("pytorch-fp32-compiled", "PyTorch fp32, compiled"),
        ("espalier-float32", "**Espalier fp32**"),
        ("pytorch-autocast-eager", "PyTorch bf16 autocast, eager"),
        ("pytorch-autocast-compiled", "PyTorch bf16 autocast, compiled"),
        ("pytorch-bf16-compiled", "PyTorch pure bf16, compiled"),
        ("espalier-bfloat16", "**Espalier bf16**"))
RATIOS = (("espalier-float32", "pytorch-fp32-compiled", 1.15),
          ("espalier-bfloat16", "pytorch-autocast-compiled", 1.25),
          ("espalier-bfloat16", "pytorch-bf16-compiled", None))
# Where bf16 is widened it must cost little beside fp32.
WIDENED_RATIO = ("espalier-bfloat16", "espalier-float32", 0.95)
MIN_SHARE = 0.60


def read(folder):
    values = collections.defaultdict(lambda: collections.defaultdict(list))
    for path in sorted(folder.glob("*.log")):
        name, round_name = path.stem.rsplit("-", 1)
        if round_name == "warm":
            continue
        for key, value in re.findall(r"^(?:pytorch|bench): (\w+) ([0-9.eE+-]+)(?:\s|$)",
                                     path.read_text(), re.M):
            values[name][key].append(float(value))
    return values


def machine():
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    family = re.search(r"cpu family\s*: (.*)", cpuinfo)
    return f"{model[1] if model else 'unknown'} (family {family[1] if family else '?'})"


def main():
    values = read(pathlib.Path(sys.argv[1]))

    def median(name, key):
        return statistics.median(values[name][key]) if values[name].get(key) else None

    def show(number, form):
        return "-" if number is None else format(number, form)

    print(f"Machine: {machine()}, SIMD level {sys.argv[2] if len(sys.argv) > 2 else 'auto'}\n")
    print("| program | tokens/s (median) | spread | GEMM peak, GFLOP/s | share of it | peak memory, MiB |")
    print("|---|---|---|---|---|---|")
    for name, title in ROWS:
        speeds = values[name].get("tokens_per_second", [])
        spread = f"{min(speeds):.0f} to {max(speeds):.0f}, n = {len(speeds)}" if speeds else "-"
        print(f"| {title} | {show(median(name, 'tokens_per_second'), '.0f')} | {spread} "
              f"| {show(median(name, 'gemm_peak_gflops'), '.0f')} "
              f"| {show(median(name, 'gemm_share'), '.0%')} "
              f"| {show(median(name, 'peak_memory_mib'), '.0f')} |")
    print()
    missed = False
    level = sys.argv[2] if len(sys.argv) > 2 else "auto"
    for name, other, least in (*RATIOS, *([WIDENED_RATIO] if level != "auto" else [])):
        a, b = median(name, "tokens_per_second"), median(other, "tokens_per_second")
        if a is None or b is None:
            continue
        verdict = "" if least is None else f" (at least {least}: {'yes' if a / b >= least else 'NO'})"
        missed |= least is not None and a / b < least
        best = max(values[name]["tokens_per_second"]) / max(values[other]["tokens_per_second"])
        print(f"- {name} / {other} = {a / b:.2f}{verdict}; of the best rounds {best:.2f}")
    for name in ("espalier-float32", "espalier-bfloat16"):
        share = median(name, "gemm_share")
        if share is not None:
            print(f"- {name}: {share:.0%} of the GEMM peak measured in the same run "
                  f"(at least {MIN_SHARE:.0%}: {'yes' if share >= MIN_SHARE else 'NO'})")
            missed |= share < MIN_SHARE
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
