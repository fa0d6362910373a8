#!/usr/bin/env python3
"""Reads the machine code of the kernels that only move data, and fails where the loops of one of
their vector forms touch device memory in pieces of less than 16 bytes, or where one that must
have several loads under way waits for each before it asks for the next.

Usage: check_vectors.py <cuobjdump> <folder with *.cu.o>

The form of a kernel is its first number as a template: columns at once, 1 where rows are not
aligned. A loop is what control comes back to, with all loops inside of it; loops without an access
of 16 bytes are those over columns behind the last whole vector and are left out. A vector form
without a loop is taken as a whole. Prints per file and architecture what was seen. Status 77 when
cuobjdump, or nvdisasm beside it, is not there.
"""
import collections
import pathlib
import re
import sys

from machine_code import kernels_of, object_of, require_disassembler

# Narrower pieces in such loops, in bytes: of bf16 kernels and of f32 kernels. In a loop over rows
# or tiles lies also what is done once for each: the columns behind the last whole vector (2, 4),
# numbers of the row (4).
NONE = ((), ())
KERNELS = {
    "adamw.cu": {"update_tile": ((8,), ())},  # four columns of a bf16 weight
    "bias.cu": {"sum_slice": NONE},
    "cross_entropy.cu": {"statistics_of_row": NONE, "gradient_of_tile": NONE},
    # Whole words, stored as they were loaded: see embedding.cu. Rows that stay in registers have no
    # loop: the row's place and the columns behind the last vector are among its accesses.
    "dispatch.cu": {"gather_row": ((2, 4, 8), (4, 8)), "combine_row": NONE},
    # bf16 beside four columns of fp32; fp32 to fp32: see gather_row.
    "elementwise.cu": {"cast_tile": ((8,), (8,)), "add_tile": NONE, "zero_tile": NONE,
                       "squares_of_tiles": ((), (4,))},
    # fp32 that is stored as it was loaded nvcc loads in two halves for sm_100, whether the source
    # says uint4 or one number of 128 bits.
    "embedding.cu": {"gather_row": ((), (8,))},
    "expert_swiglu.cu": {"backward_row": NONE},
    "gelu.cu": {"forward_tile": NONE, "backward_tile": NONE},
    "layernorm.cu": {"forward_row": NONE, "backward_slice": ((2, 4), (4,))},
    "positions.cu": {"add_row": NONE},
    "qk_norm_rope.cu": {"forward_heads": ((4,), (4,)), "backward_slice": ((4,), (4,))},
    "rmsnorm.cu": {"forward_row": NONE, "backward_slice": ((2, 4), (4,))},
    "scatter_rows.cu": {"add_run": ((4, 8), (4,))},  # places in the sorted keys; bf16 rows
    "swiglu.cu": {"forward_tile": NONE, "backward_tile": NONE},
}
# Bytes that a thread has asked for at once, in the form for most rows, in bf16 and in f32.
AT_ONCE = {"dispatch.cu": {"gather_row": (2 * 16, 2 * 16), "combine_row": (4 * 16, 3 * 16)}}
# The anonymous namespace of a file ends with eight digits of its own; then the kernel's name.
KERNEL = re.compile(r"_cu_[0-9a-f]{8}(\d+)(\w+)")
GLOBAL = re.compile(r"(?:LDG|STG)\.E(?:\.\w+)*")


def name_and_form(mangled):
    """("add_run", columns at once, whether it is of bf16); None for what is not a form."""
    if not (match := KERNEL.search(mangled)):
        return None
    length, rest = int(match.group(1)), match.group(2)
    name, arguments = rest[:length], rest[length:]
    columns = re.match(r"I.*?Li(\d+)E", arguments)
    return (name, int(columns.group(1)), "bf16" in columns.group(0)) if columns else None


def loops_of(instructions):
    """The outermost loops, a list of instructions each."""
    place = {one.address: i for i, one in enumerate(instructions)}
    after = []
    for i, one in enumerate(instructions):
        ends = one.opcode.split(".")[0] in ("BRA", "EXIT", "RET") and not one.predicated
        nexts = [] if ends or i + 1 == len(instructions) else [i + 1]
        # BSSY names the place where the threads of a warp come together again.
        if one.opcode.split(".")[0] in ("BRA", "BSSY"):
            nexts.append(place[int(re.search(r"0x[0-9a-f]+", one.operands).group(0), 16)])
        after.append(nexts)
    return [[instructions[i] for i in cycle] for cycle in cycles(after)]


def cycles(after):
    """The strongly connected components with a cycle, by Tarjan's algorithm without recursion."""
    number, lowest, on_stack = {}, {}, set()
    stack, found = [], []
    for root in range(len(after)):
        if root in number:
            continue
        work = [(root, iter(after[root]))]
        number[root] = lowest[root] = len(number)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, nexts = work[-1]
            for other in nexts:
                if other not in number:
                    number[other] = lowest[other] = len(number)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(after[other])))
                    break
                if other in on_stack:
                    lowest[node] = min(lowest[node], number[other])
            else:
                work.pop()
                if work:
                    lowest[work[-1][0]] = min(lowest[work[-1][0]], lowest[node])
                if lowest[node] == number[node]:
                    component = []
                    while not component or component[-1] != node:
                        component.append(stack.pop())
                        on_stack.discard(component[-1])
                    if len(component) > 1 or node in after[node]:
                        found.append(component)
    return found


def widths(instructions):
    """Bytes of an access to device memory -> how many instructions."""
    counts = collections.Counter()
    for one in instructions:
        if GLOBAL.match(one.opcode):
            parts = one.opcode.split(".")
            bits = next((int(part.lstrip("US")) for part in parts
                         if re.fullmatch(r"[US]?(8|16|64|128)", part)), 32)
            counts[bits // 8] += 1
    return counts


def registers(operands):
    """Numbers of the registers in a text; R8.64 is two."""
    found = set()
    for number, wide in re.findall(r"\bR(\d+)(\.64)?", operands):
        found |= {int(number), int(number) + 1} if wide else {int(number)}
    return found


def most_bytes_at_once(instructions):
    """Bytes that a thread has asked for before it uses the first of them, at most."""
    most, awaited = 0, {}  # registers -> bytes
    for one in instructions:
        result, _, read = one.operands.partition(",")
        used = registers(one.operands if one.opcode.startswith("ST") else read)
        if any(used & set(load) for load in awaited):
            awaited = {}
        if one.opcode.startswith("LDG"):
            num_bytes = next(iter(widths([one])))
            first = min(registers(result))
            awaited[range(first, first + max(num_bytes // 4, 1))] = num_bytes
            most = max(most, sum(awaited.values()))
    return most


def main():
    cuobjdump, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    require_disassembler(cuobjdump)
    num_bad = 0
    for file, expected in KERNELS.items():
        path = object_of(folder, file)
        seen = collections.defaultdict(collections.Counter)
        forms, at_once = collections.Counter(), collections.Counter()
        for (architecture, mangled), instructions in kernels_of(cuobjdump, path).items():
            form = name_and_form(mangled)
            if form is None or form[0] not in expected or form[1] == 1:
                continue
            name, _, is_bf16 = form
            forms[architecture, name] += 1
            of_type = architecture, name, is_bf16
            at_once[of_type] = max(at_once[of_type], most_bytes_at_once(instructions))
            loops = [widths(loop) for loop in loops_of(instructions)]
            counts = sum((loop for loop in loops if loop[16]), collections.Counter())
            if not counts:
                counts = widths(instructions)
            seen[architecture] += counts
            allowed = {16, *expected[name][0 if is_bf16 else 1]}
            if not counts[16] or set(counts) - allowed:
                num_bad += 1
                print(f"  {mangled} for {architecture}: accesses by width in its loops "
                      f"{dict(counts)}, expected {sorted(allowed)}")
        if not seen:
            raise SystemExit(f"{path}: no vector form in it")
        for (architecture, name, is_bf16), num_bytes in at_once.items():
            wanted = AT_ONCE.get(file, {}).get(name, (0, 0))[0 if is_bf16 else 1]
            if num_bytes < wanted:
                num_bad += 1
                print(f"  {name} of {'bf16' if is_bf16 else 'f32'} for {architecture}: asks for "
                      f"{num_bytes} bytes at once, expected {wanted}")
        for architecture, counts in seen.items():
            for name in expected:
                if not forms[architecture, name]:
                    num_bad += 1
                    print(f"  {file} for {architecture}: no vector form of {name}")
            num_forms = sum(forms[architecture, name] for name in expected)
            print(f"{file:16} {architecture:8} {num_forms:3} vector forms, accesses in loops by "
                  f"width {dict(sorted(counts.items(), reverse=True))}")
    raise SystemExit(1 if num_bad else 0)


if __name__ == "__main__":
    main()
