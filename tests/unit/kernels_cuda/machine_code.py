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


def kernels_of(cuobjdump, path):
    """(architecture, mangled name) -> instructions, of all kernels in an object."""
    # cuobjdump starts nvdisasm, which lies beside it.
    environment = dict(os.environ)
    environment["PATH"] = f"{pathlib.Path(cuobjdump).parent}:{environment.get('PATH', '')}"
    text = subprocess.run([cuobjdump, "-sass", path], check=True, capture_output=True, text=True,
                          env=environment).stdout
    kernels, architecture, current = {}, "", None
    for line in text.splitlines():
        if match := ARCHITECTURE.match(line):
            architecture = match.group(1)
        elif match := FUNCTION.match(line):
            current = kernels.setdefault((architecture, match.group(1)), [])
        elif current is not None and (match := INSTRUCTION.match(line)):
            current.append(Instruction(int(match.group(1), 16), bool(match.group(2)),
                                       match.group(3), match.group(4)))
    return kernels
