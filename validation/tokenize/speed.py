#!/usr/bin/env python3
"""`espalier tokenize` from the page cache to shards beside the encoder alone, in one run.

    speed.py PROGRAM TOKENIZER FOLDER TEXT...      [ROUNDS=3] [REPEAT=3]

FOLDER is empty. The texts are written there as plain text, JSON lines, JSON lines in Zstandard and,
with pyarrow, Parquet. A round is `bench tokenizer` and every format on one rank and thread, then
plain text and JSON lines on two ranks. Rates are of text, in MB/s, and as the program says them:
from the first file to the last shard, without the start. Prints medians (smallest, largest), and
medians of quotients within a round."""
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys

import corpus

ROUNDS = int(os.environ.get("ROUNDS", "3"))
REPEAT = int(os.environ.get("REPEAT", "3"))


def write_inputs(folder, documents):
    """Name of a format -> its file. All documents are there REPEAT times, in another order."""
    more = []
    for seed in range(REPEAT):
        order = list(documents)
        random.Random(seed).shuffle(order)
        more += order
    inputs = {"plain text": folder / "a.txt", "JSON lines": folder / "a.jsonl",
              "JSON lines, Zstandard": folder / "a.jsonl.zst"}
    inputs["plain text"].write_bytes(corpus.as_text(more))
    lines = corpus.as_json_lines(more)
    inputs["JSON lines"].write_bytes(lines)
    inputs["JSON lines, Zstandard"].write_bytes(corpus.zstd(lines))
    try:
        import pyarrow
        import pyarrow.parquet
        inputs["Parquet, Zstandard"] = folder / "a.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"text": more}), folder / "a.parquet",
                                    compression="zstd", row_group_size=10_000)
    except ImportError:
        print("without Parquet: there is no pyarrow")
    return inputs


def output_of(program, ranks, *arguments):
    run = subprocess.run(corpus.command(program, ranks, *arguments), capture_output=True,
                         text=True, env=corpus.environment(), check=True)
    return run.stdout


def main():
    program, tokenizer, folder, *texts = sys.argv[1:]
    folder = pathlib.Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    inputs = write_inputs(folder, corpus.documents_of(texts))
    cases = [(name, 1) for name in inputs] + [("plain text", 2), ("JSON lines", 2)]
    rates = {case: [] for case in [("encoder, cold", 1), *cases]}
    for _ in range(ROUNDS):
        said = output_of(program, 1, "bench", "tokenizer", f"data.tokenizer={tokenizer}",
                         f'tokenize.input=["{inputs["plain text"]}"]')
        rates["encoder, cold", 1].append(float(re.search(r"cold +([\d.]+) MB/s", said)[1]))
        for name, ranks in cases:
            said = output_of(program, ranks, *corpus.arguments(tokenizer, [inputs[name]],
                                                               folder / "out"))
            rates[name, ranks].append(float(re.search(r"([\d.]+) MB/s of text", said)[1]))
            shutil.rmtree(folder / "out")
    print("| what | ranks | MB/s | of the encoder | of one rank |\n|---|---|---|---|---|")
    for (name, ranks), found in rates.items():
        def quotient(other):
            return statistics.median(a / b for a, b in zip(found, rates[other]))
        print(f"| {name} | {ranks} | {statistics.median(found):.1f} ({min(found):.1f}, "
              f"{max(found):.1f}) | {quotient(('encoder, cold', 1)):.2f} | "
              f"{quotient((name, 1)):.2f} |")
    shutil.rmtree(folder)


main()
