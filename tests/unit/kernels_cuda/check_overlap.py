#!/usr/bin/env python3
"""Reads the machine code of attention by warpgroups. Where the kernels multiply, it fails unless
the exponentials of a turn stand between the wait for the scores and the wait for all products: they
would run after the products, not beside them. Where they do not, for a target without wgmma, it
fails unless their code is bound to fewer threads than they are launched with: the driver then
refuses what would leave the results as they were. Tensor maps must be prefetched.

Usage: check_overlap.py <cuobjdump> <folder with *.cu.o>

ptxas may move a wait for products ahead of all that does not touch their registers. Prints the
exponentials that were found. Status 77 when cuobjdump, or nvdisasm beside it, is not there.
"""
import pathlib
import sys

from machine_code import kernels_of, most_threads_of, object_of, require_disassembler

# Kernels, the exponentials of a thread in an iteration, half of a row's keys or queries, and how
# many forms there are: for head_dim 64 and 128, with blocks of queries and without.
KERNELS = {
    "attention_wgmma.cu": {"forward_tile": (64, 2)},
    "attention_wgmma_backward.cu": {"gradient_of_queries": (64, 2), "gradient_of_keys": (32, 4)},
    "attention_wgmma_ordered.cu": {"gradients": (32, 2)},
    "grouped_product_wgmma.cu": {},
}
BLOCK_THREADS = 384  # kWarpgroupBlock


def exponentials_beside_products(instructions):
    """MUFU.EX2 from the first wait that leaves products under way to the next wait."""
    waits = [i for i, one in enumerate(instructions) if one.opcode.startswith("WARPGROUP.DEPBAR")]
    for first, after in zip(waits, waits[1:]):
        if instructions[first].operands.split()[-1] == "0x1":
            return sum(one.opcode == "MUFU.EX2" for one in instructions[first:after])
    return 0


def main():
    cuobjdump, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    require_disassembler(cuobjdump)
    num_bad = 0
    for file, expected in KERNELS.items():
        path = object_of(folder, file)
        kernels, threads = kernels_of(cuobjdump, path), most_threads_of(cuobjdump, path)
        for (architecture, mangled), instructions in kernels.items():
            multiplies = any(one.opcode.startswith("HGMMA") for one in instructions)
            most = threads.get((architecture, mangled), 1024)
            if multiplies and not any(one.opcode.startswith("UTMACCTL.PF") for one in instructions):
                num_bad += 1
                print(f"  {mangled} for {architecture}: its tensor maps are not prefetched")
            if multiplies != (architecture == "sm_90a") or multiplies != (most >= BLOCK_THREADS):
                num_bad += 1
                print(f"  {mangled} for {architecture}: {'multiplies' if multiplies else 'empty'}, "
                      f"and takes blocks of {most} threads")
        for name, (wanted, num_forms) in expected.items():
            found = [exponentials_beside_products(instructions)
                     for (architecture, mangled), instructions in kernels.items()
                     if architecture == "sm_90a" and f"{len(name)}{name}" in mangled]
            if not any(architecture == "sm_90a" for architecture, _ in kernels):
                continue
            print(f"{file:29} {name:20} exponentials beside products: {found}, expected {wanted}")
            if len(found) != num_forms or min(found) < wanted:
                num_bad += 1
    raise SystemExit(1 if num_bad else 0)


if __name__ == "__main__":
    main()
