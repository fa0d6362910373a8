#!/usr/bin/env python3
"""Reads what ptxas said about every kernel and fails on spilled registers, and
on products of warpgroups (wgmma) that it does not let run beside other work.

Usage: check_registers.py <folder with *.cu.ptxas>

Prints per file and architecture the number of kernels, the most registers, and what was spilled.
"""
import pathlib
import re
import sys

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
SPILL = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
# "Potential Performance Loss: wgmma.mma_async instructions are serialized ...", "'setmaxnreg'
# ignored", and waits that ptxas adds.
SLOWED = re.compile(r"\(C75\d\d\).*|Potential Performance Loss.*")
REGISTERS = re.compile(r"Used (\d+) registers")


def kernels_of(text):
    """(name, architecture, registers, bytes of stack, bytes spilled) of each kernel in a log."""
    kernels, current = [], None
    for line in text.splitlines():
        if match := ENTRY.search(line):
            current = [*match.groups(), 0, 0, 0]
            kernels.append(current)
        elif current and (match := SPILL.search(line)):
            current[3] = int(match.group(1))
            current[4] = int(match.group(2)) + int(match.group(3))
        elif current and (match := REGISTERS.search(line)):
            current[2] = int(match.group(1))
    return kernels


def main():
    folder = pathlib.Path(sys.argv[1])  # of kernels, which lie in folders by subject
    logs = sorted([*folder.glob("*.cu.ptxas"), *folder.glob("*/*.cu.ptxas")])
    if not logs:
        raise SystemExit(f"{sys.argv[1]}: no *.cu.ptxas; build espalier_kernels_cuda first")
    num_bad = num_kernels = 0
    for log in logs:
        text = log.read_text(encoding="utf-8")
        if "ptxas info" not in text:
            raise SystemExit(f"{log}: nothing of ptxas in it")
        for complaint in SLOWED.findall(text):
            num_bad += 1
            print(f"  {log.name}: {complaint}")
        kernels = kernels_of(text)
        num_kernels += len(kernels)
        for architecture in sorted({kernel[1] for kernel in kernels}):
            here = [kernel for kernel in kernels if kernel[1] == architecture]
            print(f"{log.name.removesuffix('.ptxas'):24} {architecture:8} {len(here):3} kernels, "
                  f"at most {max(kernel[2] for kernel in here):3} registers, "
                  f"{sum(kernel[4] for kernel in here)} bytes spilled")
        for name, architecture, registers, stack, spilled in kernels:
            if spilled or stack:
                num_bad += 1
                print(f"  {name} for {architecture}: {registers} registers, {spilled} bytes "
                      f"spilled, {stack} bytes of stack")
    if num_kernels == 0:
        raise SystemExit(f"{sys.argv[1]}: no kernel in any log")
    raise SystemExit(1 if num_bad else 0)


if __name__ == "__main__":
    main()
