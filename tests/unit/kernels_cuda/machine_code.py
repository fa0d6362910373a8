"""The machine code of kernels, as NVIDIA's cuobjdump prints it."""
import collections
import os
import pathlib
import re
import shutil
import subprocess

FUNCTION = re.compile(r"^\s*Function : (\w+)")
ARCHITECTURE = re.compile(r"^arch = (\w+)")
INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*);")

Instruction = collections.namedtuple("Instruction", "address predicated opcode operands")


def require_disassembler(cuobjdump):
    """Ends with status 77 where cuobjdump, or nvdisasm beside it, is not there."""
    if not shutil.which(cuobjdump) or not shutil.which(pathlib.Path(cuobjdump).parent / "nvdisasm"):
        print(f"{cuobjdump}: cuobjdump and nvdisasm are not there; install them with the CUDA "
              "toolkit or run jobscripts/fetch-cuda-disassembler.sh, and configure again")
        raise SystemExit(77)


def output_of(cuobjdump, *arguments):
    """What cuobjdump prints; it starts nvdisasm, which lies beside it."""
    environment = dict(os.environ)
    environment["PATH"] = f"{pathlib.Path(cuobjdump).parent}:{environment.get('PATH', '')}"
    return subprocess.run([cuobjdump, *arguments], check=True, capture_output=True, text=True,
                          env=environment).stdout


def most_threads_of(cuobjdump, path):
    """(architecture, mangled name) -> threads that a block can have, of all bounded kernels."""
    threads, architecture, kernel = {}, "", ""
    lines = output_of(cuobjdump, "-elf", path).splitlines()
    for line, value in zip(lines, lines[2:]):
        if match := ARCHITECTURE.match(line):
            architecture = match.group(1)
        elif line.startswith(".nv.info."):
            kernel = line.removeprefix(".nv.info.").strip()
        elif "EIATTR_MAX_THREADS" in line:
            threads[architecture, kernel] = int(value.split()[1], 16)
    return threads


def object_of(folder, file):
    """The object of a kernel source, in the folder of its subject or in `folder` itself."""
    found = [*folder.glob(f"{file}.o"), *folder.glob(f"*/{file}.o")]
    if len(found) != 1:
        raise SystemExit(f"{folder}: {len(found)} of {file}.o, not one; build espalier_kernels anew")
    return found[0]


def kernels_of(cuobjdump, path):
    """(architecture, mangled name) -> instructions, of all kernels in an object."""
    kernels, architecture, current = {}, "", None
    for line in output_of(cuobjdump, "-sass", path).splitlines():
        if match := ARCHITECTURE.match(line):
            architecture = match.group(1)
        elif match := FUNCTION.match(line):
            current = kernels.setdefault((architecture, match.group(1)), [])
        elif current is not None and (match := INSTRUCTION.match(line)):
            current.append(Instruction(int(match.group(1), 16), bool(match.group(2)),
                                       match.group(3), match.group(4)))
    return kernels
