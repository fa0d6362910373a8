#!/usr/bin/env python3
"""Reads the machine code of the host operators for Arm: is what they repeat NEON?

Usage: inner_loops.py <build folder> [--all]

An inner loop is a backward branch around no other. For each operator the one with the most
arithmetic on vectors is printed, and every one that has floating-point arithmetic on scalars alone;
with --all every one with any floating-point arithmetic.
  all     instructions of the loop
  fmla    fused products and sums of four floats
  other   other arithmetic on vectors, conversions and selections included
  move    loads, stores and broadcasts to and from vectors
  scalar  floating-point arithmetic on one float
"""
import collections
import pathlib
import re
import subprocess
import sys

FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\t(\S+)\s*(.*)$")
BRANCH = re.compile(r"(b|b\.\w+|cbn?z|tbn?z)$")
KINDS = ("all", "fmla", "other", "move", "scalar")


def functions(path):
    """Name and [(address, mnemonic, operands)] of each."""
    text = subprocess.run(["aarch64-linux-gnu-objdump", "-dC", "--no-show-raw-insn", path],
                          check=True, stdout=subprocess.PIPE, text=True).stdout
    name, body = None, []
    for line in text.splitlines():
        if match := FUNCTION.match(line):
            if body:
                yield name, body
            name, body = match.group(1), []
        elif match := INSTRUCTION.match(line):
            body.append((int(match.group(1), 16), match.group(2), match.group(3)))
    if body:
        yield name, body


def inner_loops(body):
    spans = set()
    for address, mnemonic, operands in body:
        target = re.search(r"\b([0-9a-f]+) <", operands)
        if BRANCH.match(mnemonic) and target and body[0][0] <= int(target.group(1), 16) <= address:
            spans.add((int(target.group(1), 16), address))
    for first, last in sorted(spans):
        if not any((first, last) != other and first <= other[0] and other[1] <= last
                   for other in spans):
            yield [line for line in body if first <= line[0] <= last]


def kind_of(mnemonic, operands):
    vector = re.search(r"v\d+\.\d*[bhsd]", operands)
    if re.match(r"(ld|st)[nu]?[rp1-4]", mnemonic):
        return "move" if vector or re.match(r"\{?[qdsv]\d", operands) else None
    if mnemonic in ("dup", "mov", "movi", "mvni", "ins", "umov", "fmov"):
        return "move" if vector else None
    if vector:
        return "fmla" if mnemonic in ("fmla", "fmls") else "other"
    if mnemonic.startswith("f") and re.match(r"[sd]\d", operands):
        return "scalar"
    return None


def count(loop):
    kinds = collections.Counter(kind_of(mnemonic, operands) for _, mnemonic, operands in loop)
    kinds["all"] = len(loop)
    return kinds


def short(name):
    name = re.sub(r"espalier::|kernels::host::|portable::|\(anonymous namespace\)::|simd::", "", name)
    name = re.sub(r"\(.*|\[clone.*", "", re.sub(r"\{lambda[^}]*\}(::operator\(\))?", "lambda", name))
    return name[:70]


def main():
    every = "--all" in sys.argv
    build = pathlib.Path(sys.argv[1])
    print("".join(f"{kind:>7}" for kind in KINDS) + "  operator, function")
    for path in sorted(build.rglob("*_portable.dir/**/*.o")):
        if "tests" in path.relative_to(build).parts:
            continue
        loops = []
        for name, body in functions(path):
            loops += [(count(loop), loop[0][0], name) for loop in inner_loops(body)]
        arithmetic = [loop for loop in loops
                      if loop[0]["fmla"] + loop[0]["other"] + loop[0]["scalar"] > 0]
        best = max(arithmetic, key=lambda loop: loop[0]["fmla"] * 1000 + loop[0]["other"],
                   default=None)
        for loop in arithmetic:
            kinds, address, name = loop
            if every or loop is best or kinds["scalar"] > 0 == kinds["fmla"] + kinds["other"]:
                print("".join(f"{kinds[kind]:7}" for kind in KINDS)
                      + f"  {path.name.split('.')[0]} {address:x} {short(name)}")


if __name__ == "__main__":
    main()
