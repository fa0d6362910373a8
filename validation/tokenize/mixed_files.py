#!/usr/bin/env python3
"""2,000 files of mixed sizes and formats, some empty, some damaged, one of 2 GB, one with a line of
200 MB: memory stays bounded, and everything is counted.

    mixed_files.py PROGRAM TOKENIZER FOLDER TEXT...      [RANKS=2] [FILES=2000] [GIANT_MB=2000]

FOLDER is empty and has room for 12 GB. What was made is compared with report.json; the largest
anonymous memory of a rank is read from /proc while it works. Status 1 when a count differs."""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

import corpus

RANKS = int(os.environ.get("RANKS", "2"))
FILES = int(os.environ.get("FILES", "2000"))
GIANT = int(os.environ.get("GIANT_MB", "2000")) * 1_000_000
LINE = GIANT // 10
BAD_LINES = {"not one JSON object per line": b'{"text": "cut\n',
             "NaN or Infinity, which JSON has not": b'{"text": "a", "x": NaN}\n',
             "half a surrogate pair (\\ud800)": b'{"text": "\\ud800"}\n',
             "not UTF-8": b'{"text": "\xff"}\n',
             "a JSON value that is no object": b"[1, 2]\n",
             "no such key": b'{"body": "a"}\n',
             "the text is no string": b'{"text": 7}\n'}


class Corpus:
    """Writes the files and knows what is in them."""

    def __init__(self, folder, documents):
        self.folder, self.documents = folder, documents
        self.random = random.Random(2000)
        self.expected = {"documents": 0, "bytes": 0, "empty_files": 0, "damaged": 0,
                         "bad_lines": dict.fromkeys(BAD_LINES, 0)}
        self.next = 0

    def take(self, count):
        taken = [self.documents[(self.next + i) % len(self.documents)] for i in range(count)]
        self.next += count
        return taken

    def count(self, documents):
        self.expected["documents"] += len(documents)
        self.expected["bytes"] += sum(len(document.encode()) for document in documents)

    def small_file(self, number):
        documents = self.take(self.random.choice((1, 1, 2, 5, 20, 60)))
        lines = self.random.random() < 0.6
        data = corpus.as_json_lines(documents) if lines else corpus.as_text(documents)
        packing = self.random.choice(["", "", ".gz", ".gz", ".zst", ".bz2", ".xz"])
        self.count(documents)
        if lines and number % 25 == 0:
            kind = self.random.choice(list(BAD_LINES))
            data += BAD_LINES[kind]
            self.expected["bad_lines"][kind] += 1
        name = f"{number % 10}/f{number:05}." + ("jsonl" if lines else "txt") + packing
        return name, corpus.PACKERS[packing](data)

    def damaged_file(self, number):
        """A whole gzip member with a document, and then rubbish, or a member that is cut off."""
        documents = self.take(1)
        self.count(documents)
        whole = corpus.PACKERS[".gz"](corpus.as_json_lines(documents))
        rest = corpus.PACKERS[".gz"](corpus.as_json_lines(self.take(3)))
        self.expected["damaged"] += 1
        tail = rest[:25] if number // 100 % 2 else rest[:10] + b"\xff" * 40
        return f"{number % 10}/f{number:05}.jsonl.gz", whole + tail

    def empty_file(self, number):
        self.expected["empty_files"] += 1
        return f"{number % 10}/f{number:05}.{'txt' if number % 2 else 'jsonl'}", b""

    def write(self):
        for number in range(FILES - 2):
            maker = self.damaged_file if number % 100 == 7 else (
                self.empty_file if number % 80 == 3 else self.small_file)
            name, data = maker(number)
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.write_giants()

    def write_giants(self):
        block = self.documents
        with open(self.folder / "giant.txt", "wb") as file:
            while file.tell() < GIANT:
                if file.tell():
                    file.write(corpus.SEPARATOR.encode())
                file.write(corpus.as_text(block))
                self.count(block)
        line = "\n\n".join(block)
        line = (line * (LINE // len(line) + 1))[:LINE]
        (self.folder / "line.jsonl").write_bytes(corpus.as_json_lines([line, "short"]))
        self.count([line, "short"])


def memory_of(ranks):
    """Largest anonymous and largest other resident memory of each process, kB."""
    found = {}
    for rank in ranks:
        try:
            status = pathlib.Path(f"/proc/{rank}/status").read_text()
        except OSError:
            continue
        values = {line.split(":")[0]: int(line.split()[1]) for line in status.splitlines()
                  if line.startswith(("RssAnon", "RssFile"))}
        if values:
            found[rank] = (values["RssAnon"], values["RssFile"])
    return found


def run(command):
    largest = {}
    start = time.monotonic()
    job = subprocess.Popen(command, env=corpus.environment(), stdout=subprocess.PIPE, text=True,
                           start_new_session=True)
    while job.poll() is None:
        ranks = subprocess.run(["pgrep", "-s", str(job.pid), "-x", "espalier"],
                               capture_output=True, text=True).stdout.split()
        for rank, (anonymous, file) in memory_of(ranks).items():
            before = largest.get(rank, (0, 0))
            largest[rank] = (max(before[0], anonymous), max(before[1], file))
        time.sleep(0.1)
    if job.returncode != 0:
        sys.exit(f"status {job.returncode}")
    return job.stdout.read(), largest, time.monotonic() - start


def main():
    program, tokenizer, folder, *texts = sys.argv[1:]
    folder = pathlib.Path(folder).absolute()
    (folder / "in").mkdir(parents=True)
    made = Corpus(folder / "in", corpus.documents_of(texts))
    made.write()
    arguments = corpus.arguments(tokenizer, [folder / "in"], folder / "out")
    stopped = subprocess.run(corpus.command(program, RANKS, *arguments), capture_output=True,
                             env=corpus.environment(), text=True)
    message = next((line for line in (stopped.stdout + stopped.stderr).splitlines()
                    if "error" in line), "no message")
    print(f"without leave to skip: status {stopped.returncode}: {message[:300]}")
    log, largest, seconds = run(corpus.command(program, RANKS, *arguments,
                                               "tokenize.on_bad_line=skip",
                                               "tokenize.on_bad_file=skip"))
    print(log)
    report = json.loads((folder / "out/report.json").read_text())
    print(json.dumps(made.expected, indent=1))
    for rank, (anonymous, file) in sorted(largest.items()):
        print(f"process {rank}: {anonymous / 1024:.0f} MiB anonymous, "
              f"{file / 1024:.0f} MiB of files")
    found = counts_of(report)
    print(f"{seconds:.0f} s; the same counts: {found == made.expected}")
    if found != made.expected:
        print(json.dumps(found, indent=1))
    shutil.rmtree(folder)
    sys.exit(0 if found == made.expected and stopped.returncode == 65 else 1)


def counts_of(report):
    """As Corpus.expected."""
    return {"documents": report["documents"], "bytes": report["bytes"],
            "empty_files": report["empty_files"], "damaged": len(report["damaged_files"]),
            "bad_lines": {name: report["skipped_lines"].get(name, 0) for name in BAD_LINES}}


main()
