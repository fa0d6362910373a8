#!/usr/bin/env python3
"""Two ranks beside one, and beside two programs that know nothing of one another, which is what two
processors of a machine bring at all.

    two_ranks.py PROGRAM TOKENIZER FOLDER TEXT...

FOLDER is new. Rates are as the program says them, in MB/s of text; the last lines are medians of
five rounds."""
import pathlib
import re
import shutil
import statistics
import subprocess
import sys

import corpus

program, tokenizer, folder, *texts = sys.argv[1:]
folder = pathlib.Path(folder).absolute()
folder.mkdir()
documents = list(corpus.documents_of(texts)) * 8  # some seconds: the ends of a run are not its rate
(folder / "a.jsonl").write_bytes(corpus.as_json_lines(documents))
(folder / "a.txt").write_bytes(corpus.as_text(documents))


def start(ranks, name, output):
    words = corpus.arguments(tokenizer, [folder / name], folder / output)
    return subprocess.Popen(corpus.command(program, ranks, *words), stdout=subprocess.PIPE,
                            text=True, env=corpus.environment())


def rate(job):
    return float(re.search(r"([\d.]+) MB/s of text", job.communicate()[0])[1])


rows = {"a.txt": [], "a.jsonl": []}
for _ in range(5):
    for name, of_name in rows.items():
        one = rate(start(1, name, "out1"))
        independent = sum(rate(job) for job in [start(1, name, "out2"), start(1, name, "out3")])
        of_name.append((one, independent, rate(start(2, name, "out4"))))
        for number in range(1, 5):
            shutil.rmtree(folder / f"out{number}")
for name, of_name in rows.items():
    print(f"{name}: one {statistics.median(a for a, _, _ in of_name):.1f} MB/s; of it, two programs "
          f"{statistics.median(b / a for a, b, _ in of_name):.2f}, two ranks "
          f"{statistics.median(c / a for a, _, c in of_name):.2f}; two ranks of two programs "
          f"{statistics.median(c / b for _, b, c in of_name):.2f}")
shutil.rmtree(folder)
