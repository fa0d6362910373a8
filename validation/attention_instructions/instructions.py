#!/usr/bin/env python3
"""What the machine code of the attention kernels asks of a multiprocessor of Hopper, by turn of
the main loop, beside what its tensor cores need for the turn's products.

Usage: instructions.py <folder with attention_*.cu.o> [--cuobjdump PATH]

Needs cuobjdump, and nvdisasm beside it: of the CUDA toolkit, or where
jobscripts/fetch-cuda-disassembler.sh puts them. The model and its sources stand in README.md beside
this file.
"""
import argparse
import collections
import os
import pathlib
import re
import shutil
import subprocess

FETCHED = (pathlib.Path(__file__).resolve().parents[2] /
           "build/_cuda_disassembler/nvidia/cu13/bin/cuobjdump")
FUNCTION = re.compile(r"Function : (\w+)")
INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(@!?U?P\d+\s+)?([A-Z][A-Z0-9_.]*)(.*?);")
TARGET = re.compile(r"0x([0-9a-f]+)")
REGISTER = re.compile(r"\bR(\d+)\b")
WIDTH = re.compile(r"\.(64|128)\b")

# Of a multiprocessor of compute capability 9.0.
FLOP_PER_CYCLE = 4096  # dense bf16
SHARED_BYTES_PER_CYCLE = 128
QUADRANTS = 4
WARPS_OF_QUADRANT = 2  # of the two consumers

# Lanes a cycle and multiprocessor, by the pipe that an instruction goes to.
PIPES = {
    "fma": (128, {"FFMA", "FMUL", "FADD"}),
    "imad": (64, {"IMAD"}),
    "alu": (64, {"FMNMX", "FSEL", "FSETP", "ISETP", "IADD3", "VIADD", "VIADDMNMX", "LOP3", "SHF",
                 "SEL", "LEA", "PRMT", "PLOP3", "IABS", "MOV", "F2FP", "VIMNMX", "CS2R", "FMNMX3"}),
    "mufu": (16, {"MUFU", "I2F", "F2I", "I2FP"}),
}
GROUPS = {
    "products": {"HGMMA", "HMMA", "WARPGROUP", "WARPGROUPSET"},
    "exp": {"MUFU"},
    "fp32": {"FFMA", "FMUL", "FADD"},
    "max, select": {"FMNMX", "FSEL", "FSETP"},
    "pack": {"F2FP"},
    "shuffle": {"SHFL"},
    "shared": {"LDS", "STS", "LDSM"},
    "global": {"LDG", "LDGSTS", "LDGDEPBAR"},
    "wait": {"SYNCS", "BAR", "DEPBAR", "BSSY", "BSYNC", "BRA", "WARPSYNC"},
    "uniform": {"UMOV", "UIADD3", "ULOP3", "USHF", "ULEA", "UISETP", "UIMAD", "R2UR", "ULDC",
                "USEL", "S2UR", "UPLOP3", "UPRMT", "VOTEU", "R2P"},
}

Instruction = collections.namedtuple("Instruction", "address predicate name rest")
# products: (columns, depth, whether the left operand lies in shared memory) of one warpgroup's 64
# rows; tile_bytes: what is copied in a turn, to shared memory or from there.
Kernel = collections.namedtuple("Kernel", "name file function products tile_bytes")


def kernels():
    for head_dim in (128, 64):
        yield Kernel(f"forward, D {head_dim}", "attention_wgmma", f"forward_tileILi{head_dim}",
                     [(128, head_dim, True), (head_dim, 128, False)], 2 * 128 * head_dim * 2)
    for head_dim in (128, 64):
        for blocks, what in enumerate(("", ", blocks")):
            yield Kernel(f"dK and dV, D {head_dim}{what}", "attention_wgmma_backward",
                         f"gradient_of_keysILi{head_dim}ELb{blocks}",
                         2 * [(64, head_dim, True), (head_dim, 64, False)], 2 * 64 * head_dim * 2)
    for head_dim in (128, 64):
        yield Kernel(f"dQ, D {head_dim}", "attention_wgmma_backward",
                     f"gradient_of_queriesILi{head_dim}",
                     2 * [(128, head_dim, True)] + [(head_dim, 128, False)], 2 * 128 * head_dim * 2)
    for blocks, what in enumerate(("", ", blocks")):
        yield Kernel(f"five products, D 128{what}", "attention_wgmma_ordered",
                     f"9gradientsILb{blocks}",
                     2 * [(64, 128, True), (128, 64, False)] + [(64, 128, True)],
                     2 * 64 * 128 * 2 + 64 * 128 * 4)


def functions_of(text):
    """Instructions of each function in the output of cuobjdump -sass."""
    functions, current = {}, None
    for line in text.splitlines():
        if match := FUNCTION.search(line):
            current = functions.setdefault(match.group(1), [])
        elif current is not None and (match := INSTRUCTION.match(line)):
            current.append(Instruction(int(match.group(1), 16), (match.group(2) or "").strip(),
                                       match.group(3), match.group(4)))
    return functions


def base(instruction):
    return instruction.name.split(".")[0]


def target(instruction):
    """Where a branch goes; None for anything else."""
    if base(instruction) != "BRA":
        return None
    found = TARGET.findall(instruction.rest)
    return int(found[-1], 16) if found else None


def main_loop(instructions, num_products):
    """The smallest loop that has all products of a turn. Waits spin outside of it."""
    best = None
    for last in instructions:
        first = target(last)
        if first is None or first > last.address:
            continue
        body = [i for i in instructions if first <= i.address <= last.address]
        if sum(base(i) == "HGMMA" for i in body) == num_products:
            if best is None or len(body) < len(best):
                best = body
    return best


def split_mask(body):
    """(always executed, only where a mask is needed): the longest stretch of a body that a branch
    goes around, and that holds comparisons and nothing of a turn's own work."""
    own = {"HGMMA", "SYNCS", "MUFU", "F2FP", "BAR"}
    masked = []
    for branch in body:
        to = target(branch)
        if to is None or to <= branch.address:
            continue
        around = [i for i in body if branch.address < i.address < to]
        names = {base(i) for i in around}
        if "ISETP" in names and not names & own and len(around) > len(masked):
            masked = around
    return [i for i in body if i not in masked], masked


def producer_registers(instructions):
    """The most registers of the warps that give theirs back, by what they can reach."""
    by_address = {instruction.address: k for k, instruction in enumerate(instructions)}
    start = [k for k, i in enumerate(instructions) if i.name.startswith("USETMAXREG.DEALLOC")]
    seen, open_ends = set(), start
    while open_ends:
        k = open_ends.pop()
        if k in seen or k >= len(instructions):
            continue
        seen.add(k)
        instruction = instructions[k]
        to = target(instruction)
        if to is not None:
            open_ends.append(by_address[to])
        if not instruction.predicate and base(instruction) in ("BRA", "EXIT"):
            continue
        open_ends.append(k + 1)
    numbers = [int(n) for k in seen for n in REGISTER.findall(instructions[k].rest)]
    return max(numbers, default=-1) + 1


def cycles_of(kernel, executed):
    """Cycles of a turn of a block, by resource."""
    counts = collections.Counter(base(i) for i in executed)
    cycles = {"tensor": sum(2 * 2 * 64 * n * k for n, k, _ in kernel.products) // FLOP_PER_CYCLE,
              "issue": WARPS_OF_QUADRANT * len(executed)}
    for pipe, (lanes, names) in PIPES.items():
        each = 32 * QUADRANTS // lanes
        cycles[pipe] = WARPS_OF_QUADRANT * each * sum(counts[name] for name in names)
    operands = sum(2 * 2 * k * (n + (64 if left else 0)) for n, k, left in kernel.products)
    passes = sum(int(width.group(1)) // 32 if (width := WIDTH.search(i.name)) else 1
                 for i in executed if base(i) in GROUPS["shared"] | GROUPS["shuffle"])
    cycles["shared"] = ((operands + kernel.tile_bytes) // SHARED_BYTES_PER_CYCLE
                        + QUADRANTS * WARPS_OF_QUADRANT * passes)
    return cycles


def disassemble(cuobjdump, path):
    # cuobjdump starts nvdisasm, which lies beside it.
    environment = dict(os.environ)
    environment["PATH"] = f"{pathlib.Path(cuobjdump).parent}:{environment.get('PATH', '')}"
    return subprocess.run([cuobjdump, "-sass", "-arch", "sm_90a", str(path)], check=True,
                          capture_output=True, text=True, env=environment).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--cuobjdump", default=shutil.which("cuobjdump") or str(FETCHED))
    arguments = parser.parse_args()
    if not shutil.which(arguments.cuobjdump):
        raise SystemExit(f"{arguments.cuobjdump} is not there: run "
                         "jobscripts/fetch-cuda-disassembler.sh, or name it with --cuobjdump")
    columns = [*GROUPS, "integer, moves"]
    files = {}
    first_table, second_table = [], []
    for kernel in kernels():
        if kernel.file not in files:
            path = arguments.folder / f"{kernel.file}.cu.o"
            files[kernel.file] = functions_of(disassemble(arguments.cuobjdump, path))
        instructions = next(code for name, code in files[kernel.file].items()
                            if kernel.function in name)
        body = main_loop(instructions, sum(k // 16 for _, k, _ in kernel.products))
        if body is None:
            raise SystemExit(f"{kernel.name}: no loop with all products of a turn")
        executed, masked = split_mask(body)
        counts = collections.Counter(base(i) for i in executed)
        groups = [sum(counts[name] for name in names) for names in GROUPS.values()]
        first_table.append([kernel.name, len(executed), *groups, len(executed) - sum(groups),
                            len(masked), producer_registers(instructions)])
        cycles = cycles_of(kernel, executed)
        others = {name: n for name, n in cycles.items() if name != "tensor"}
        bound = max(others, key=others.get)
        second_table.append([kernel.name, *cycles.values(),
                             f"{bound}, {others[bound] / cycles['tensor']:.2f}"])
    print("Instructions of a warp in a turn\n")
    table(["kernel", "all", *columns, "mask, where needed", "registers of copying warps"],
          first_table)
    print("\nCycles of a turn of a block (two consumers)\n")
    table(["kernel", *cycles, "most of the others, of tensor"], second_table)


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


if __name__ == "__main__":
    main()
