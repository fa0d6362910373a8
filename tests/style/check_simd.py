#!/usr/bin/env python3
"""Checks that instructions beyond the baseline stand only where a processor that has them is sure.

Usage: check_simd.py <program> [--objdump NAME]

The host operators are compiled once per SIMD level, in a namespace of the level's name
(src/base/simd/target.hpp). Should such code define a function outside of it, a template of the
standard library for instance, the linker merges it with all others of its name, and the whole
program runs it: an illegal instruction on the next older processor. This looks at every instruction
of the program and at the symbol before it. Prints a line per function and ends with status 1 when
there is any, and also when the program has no such instructions at all, which means that this test
looks for the wrong thing.
"""
import argparse
import collections
import re
import subprocess
import sys

# VEX and EVEX encodings and what came with AVX2 and later; verr and verw are old.
BEYOND = re.compile(r"\t(v(?!err|erw)[a-z0-9]+|andn|bextr|bls[a-z]*|bzhi|mulx|pdep|pext|rorx|sarx|"
                    r"shlx|shrx|lzcnt|movbe)\b")
# As mangled: length and name of a namespace.
LEVELS = re.compile(r"(4avx2|6avx512|11avx512_bf16)")
FUNCTION = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")


def functions_beyond(program, objdump):
    """Mangled name of each function -> how many of its instructions are beyond the baseline."""
    listing = subprocess.Popen([objdump, "-d", "--no-show-raw-insn", program],
                               stdout=subprocess.PIPE, text=True)
    found, name = collections.Counter(), "?"
    for line in listing.stdout:
        function = FUNCTION.match(line)
        if function:
            name = function.group(1)
        elif BEYOND.search(line):
            found[name] += 1
    if listing.wait() != 0:
        raise SystemExit(f"{objdump} failed on {program}")
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--objdump", default="objdump")
    options = parser.parse_args()
    found = functions_beyond(options.program, options.objdump)
    inside = {name: count for name, count in found.items() if LEVELS.search(name)}
    outside = {name: count for name, count in found.items() if name not in inside}
    names = subprocess.run(["c++filt"], input="\n".join(outside), text=True, check=True,
                           stdout=subprocess.PIPE).stdout.splitlines()
    for name, count in zip(names, outside.values()):
        print(f"{count} instructions of a higher level in {name}")
    print(f"{len(outside)} functions with instructions of a higher level outside its namespace, "
          f"{len(inside)} inside")
    return 1 if outside or not inside else 0


if __name__ == "__main__":
    sys.exit(main())
