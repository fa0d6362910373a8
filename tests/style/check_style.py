#!/usr/bin/env python3
"""Checks that the sources follow CONTRIBUTING.md.

Usage: check_style.py {rooms,text,format} <source directory>

rooms   every #include and every DOORS list against the tables of CONTRIBUTING.md
text    columns, lines per file, #pragma once, unfinished work, paths of one machine,
        scripts that cannot be executed
format  clang-format 14, when it is installed (else status 77: skipped)

Prints a line per finding, `file:line: what`, and ends with status 1 when there is any.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

MAX_COLUMNS = 100
MAX_LINES = 800
SKIPPED = 77

CODE = {".hpp", ".cpp", ".cu", ".cuh"}
# Kinds of files whose every line is checked; documents and data may be wider.
NARROW = CODE | {".cmake", ".toml"}
TEXT = NARROW | {".py", ".sh", ".slurm", ".env", ".md", ".txt"}
TOP_LEVEL = ("src", "parallel", "io", "tests", "cmake", "docs", "inputs", "jobscripts",
             "validation")

POSIX = re.compile(
    r"(unistd|fcntl|dirent|pwd|signal|stdlib|errno|time|sched|dlfcn|execinfo|poll|pthread|ucontext|"
    r"ifaddrs|sys/[a-z]+|net/if|netinet/in|arpa/inet)\.h$")
STANDARD = re.compile(r"[a-z_0-9]+$")
GENERATED = {"espalier_revision.hpp"}
MAIN_MAY_INCLUDE = {"base", "config", "parallel", "commands"}


class Findings:
    def __init__(self, root):
        self.root = root
        self.lines = []

    def add(self, path, line, what):
        self.lines.append(f"{path.relative_to(self.root)}:{line}: {what}")


def files_of(root):
    """Sources under the fixed top level, build folders and caches left out."""
    found = [p for p in root.iterdir() if p.is_file()]
    for name in TOP_LEVEL:
        if (root / name).is_dir():
            found += [p for p in (root / name).rglob("*") if p.is_file()]
    return sorted(p for p in found if p.suffix in TEXT and "__pycache__" not in p.parts)


def read(path):
    return path.read_text(encoding="utf-8")


# Rooms --------------------------------------------------------------------------------------------

def table_rows(text, first_heading):
    """Cells of the Markdown table whose first column has this heading."""
    rows, inside = [], False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == first_heading:
            inside = True
        elif inside and not cells[0].startswith("---"):
            rows.append(cells)
    return rows


def words(cell):
    return [word.strip() for word in cell.split(",") if word.strip()]


class Rooms:
    """The two tables of CONTRIBUTING.md."""

    def __init__(self, text):
        self.folder = {}   # room -> folder, which may lie in another room's
        self.allowed = {}  # room -> rooms it may include
        for folder, _, allowed in table_rows(text, "room"):
            folder = folder.strip("`")
            room = folder.rsplit("/", 1)[-1]
            self.folder[room] = folder
            self.allowed[room] = words(allowed)
        self.foreign = {}  # prefix of a header -> (rooms, only one file)
        for header, rooms, files in table_rows(text, "header"):
            self.foreign[header.strip("`")] = (words(rooms), files == "one file")
        if not self.allowed or not self.foreign:
            raise SystemExit("CONTRIBUTING.md: the tables of rooms and headers are not found")

    def room_of(self, relative):
        """The innermost room of a path from the top level; None: it is in none."""
        around = [room for room, folder in self.folder.items() if relative.startswith(folder + "/")]
        return max(around, key=lambda room: len(self.folder[room]), default=None)

    def room_of_header(self, header):
        """The same for the name in an #include, which is seen from the top level or from src."""
        return self.room_of(header) or self.room_of("src/" + header)

    def may_include(self, room, header):
        other = self.room_of_header(header)
        return other == room or other in self.allowed[room]


def check_order(rooms, contributing, findings):
    """Rows name only rows above them, hence there is no circle."""
    seen = set()
    for room in rooms.allowed:
        for other in set(rooms.allowed[room]) - seen:
            findings.add(contributing, 1, f"the row of {room} names {other}, which is not above it")
        seen.add(room)


def includes_of(path):
    for number, line in enumerate(read(path).splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+([<"])([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1) == "<", match.group(2)


def check_foreign(rooms, room, path, number, header, users, findings):
    if STANDARD.match(header) or POSIX.match(header) or header.startswith("fmt/"):
        return
    for prefix, (allowed, _) in rooms.foreign.items():
        if header.startswith(prefix):
            users.setdefault(prefix, set()).add(path)
            if room is not None and room not in allowed:
                findings.add(path, number, f"<{header}> may not be included in {room}")
            return
    findings.add(path, number, f"<{header}> is in no table of CONTRIBUTING.md")


def check_includes(root, rooms, findings):
    users = {}  # prefix of a foreign header -> files outside the tests
    for path in files_of(root):
        relative = str(path.relative_to(root))
        if path.suffix not in CODE or relative.startswith("validation/"):
            continue
        room = rooms.room_of(relative)
        in_tests = relative.startswith("tests/")
        if room is None and not in_tests and relative != "src/main.cpp":
            findings.add(path, 1, "this folder is no room of CONTRIBUTING.md")
            continue
        for number, is_foreign, header in includes_of(path):
            if is_foreign:
                # Tests may use any foreign header, and do not count as its one file.
                check_foreign(rooms, room, path, number, header,
                              {} if in_tests else users, findings)
            elif in_tests or header in GENERATED:
                continue
            elif rooms.room_of_header(header) is None:
                findings.add(path, number, f'"{header}" does not begin with a room')
            elif room is None:
                if rooms.room_of_header(header) not in MAIN_MAY_INCLUDE:
                    findings.add(path, number, f'main may not include "{header}"')
            elif not rooms.may_include(room, header):
                findings.add(path, number, f'{room} may not include "{header}"')
    for prefix, paths in users.items():
        if rooms.foreign[prefix][1] and len(paths) > 1:
            for path in sorted(paths):
                findings.add(path, 1, f"<{prefix}...> may be included in one file only")


def check_doors(root, rooms, findings):
    for room, folder in rooms.folder.items():
        path = root / folder / "CMakeLists.txt"
        text = read(path) if path.is_file() else ""
        call = re.search(r"espalier_room\(\s*(\w+)(.*?)\)", text, re.DOTALL)
        if not call or call.group(1) != room:
            findings.add(path, 1, f"there is no espalier_room({room} ...)")
            continue
        tokens, doors, inside = call.group(2).split(), set(), False
        for token in tokens:
            if token.isupper():
                inside = token == "DOORS"
            elif inside:
                doors.add(token)
        expected = set(rooms.allowed[room])
        line = text[:call.start()].count("\n") + 1
        for door in sorted(doors - expected):
            findings.add(path, line, f"door {door} is not in the row of {room} in CONTRIBUTING.md")
        for door in sorted(expected - doors):
            findings.add(path, line, f"door {door} of CONTRIBUTING.md is missing in {room}")


def check_rooms(root, findings):
    contributing = root / "CONTRIBUTING.md"
    rooms = Rooms(read(contributing))
    check_order(rooms, contributing, findings)
    check_includes(root, rooms, findings)
    check_doors(root, rooms, findings)


# Text ---------------------------------------------------------------------------------------------

# Written so that this file does not find itself.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
ONE_MACHINE = re.compile(r"(?<![\w.])/(home/\w|root/|Users/\w)")


# A kernel source compiles as C++, too: what is CUDA's own has a wrapper in kernels/cuda/port.hpp.
CUDA_ONLY = re.compile(r"\b(threadIdx|blockIdx|blockDim|gridDim|__\w+|asm|cuda[A-Z]\w*)\b|<<<")
ASSEMBLER = re.compile(r"\basm\b")
ASSEMBLER_HOMES = ("src/kernels/cuda/ptx.hpp", "src/kernels/cuda/ptx_hopper.hpp",
                   "src/emulation/fiber.cpp")


def check_kernel_line(path, number, line, findings):
    code = line.split("//")[0]
    if path.suffix == ".cu" and (match := CUDA_ONLY.search(code)):
        findings.add(path, number, f"{match.group(0)} in a kernel source: see kernels/cuda/port.hpp")
    elif (path.suffix in CODE and ASSEMBLER.search(code)
          and str(path.relative_to(findings.root)) not in ASSEMBLER_HOMES):
        findings.add(path, number, "assembler stands in " + " and ".join(ASSEMBLER_HOMES))


LINK = re.compile(r"\]\(([^)#\s:]+)(#[^)]*)?\)")  # of Markdown, to a file


def check_links(path, number, line, findings):
    for target, _ in LINK.findall(line):
        if not (path.parent / target).exists():
            findings.add(path, number, f"a link to {target}, which is not there")


def check_text(root, findings):
    for path in files_of(root):
        lines = read(path).split("\n")
        if lines[-1] != "":
            findings.add(path, len(lines), "the last line does not end")
        if lines[0].startswith("#!") and not os.access(path, os.X_OK):
            findings.add(path, 1, "begins with #! but cannot be executed: chmod +x")
        is_cmake = path.name == "CMakeLists.txt"
        for number, line in enumerate(lines, 1):
            if len(line) > MAX_COLUMNS and (path.suffix in NARROW or is_cmake):
                findings.add(path, number, f"{len(line)} columns, at most {MAX_COLUMNS}")
            if line != line.rstrip() and path.suffix != ".md":
                findings.add(path, number, "blanks at the end of the line")
            if "\t" in line and (path.suffix in NARROW or is_cmake):
                findings.add(path, number, "a tab")
            if UNFINISHED.search(line):
                findings.add(path, number, "unfinished work: finish it, or say it in an issue")
            check_kernel_line(path, number, line, findings)
            if path.suffix == ".md":
                check_links(path, number, line, findings)
            if ONE_MACHINE.search(line):
                findings.add(path, number, "a path of one machine")
        if path.suffix in CODE and len(lines) - 1 > MAX_LINES:
            findings.add(path, len(lines) - 1, f"{len(lines) - 1} lines, at most {MAX_LINES}")
        if path.suffix in {".hpp", ".cuh"} and "#pragma once" not in lines:
            findings.add(path, 1, "#pragma once is missing")


# Format -------------------------------------------------------------------------------------------

def check_format(root, findings):
    tool = shutil.which("clang-format-14") or shutil.which("clang-format")
    version = subprocess.run([tool, "--version"], capture_output=True, text=True,
                             check=True).stdout if tool else ""
    if " 14." not in version:
        print("clang-format 14 is not installed: nothing was checked")
        raise SystemExit(SKIPPED)
    paths = [p for p in files_of(root) if p.suffix in CODE]
    result = subprocess.run([tool, "--dry-run", "--Werror", *map(str, paths)],
                            capture_output=True, text=True, check=False)
    for line in result.stderr.splitlines():
        match = re.match(r"(.+?):(\d+):\d+: error:", line)
        if match:
            findings.add(pathlib.Path(match.group(1)), int(match.group(2)), "not as clang-format")
    if result.returncode != 0 and not findings.lines:
        findings.lines.append(result.stderr.strip())


def main():
    checks = {"rooms": check_rooms, "text": check_text, "format": check_format}
    if len(sys.argv) != 3 or sys.argv[1] not in checks:
        raise SystemExit(__doc__)
    findings = Findings(pathlib.Path(sys.argv[2]).resolve())
    checks[sys.argv[1]](findings.root, findings)
    findings.lines = list(dict.fromkeys(findings.lines))
    for line in findings.lines:
        print(line)
    print(f"{len(findings.lines)} findings")
    raise SystemExit(1 if findings.lines else 0)


if __name__ == "__main__":
    main()
