#!/usr/bin/env python3
"""The same shards on any number of ranks and threads, and after kills.

    same_shards.py PROGRAM TOKENIZER FOLDER TEXT...

FOLDER is empty and has room for twice the texts. The texts are written there as plain text, JSON
lines, gzip, bzip2, xz and Zstandard; then `espalier tokenize` makes shards of it on 1, 2, 3 and 8
ranks with 1 and 2 threads, and at last on 2 ranks that are killed at ten random moments, by turns
with SIGKILL and SIGTERM, each time started anew. Status 1 when a shard differs."""
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import corpus

KILLS = 10


def write_inputs(folder, documents):
    share = len(documents) // 6 + 1
    forms = [("a.txt", corpus.as_text, ""), ("b.jsonl", corpus.as_json_lines, ""),
             ("c.jsonl", corpus.as_json_lines, ".gz"), ("d.txt", corpus.as_text, ".bz2"),
             ("e.jsonl", corpus.as_json_lines, ".xz"), ("f.jsonl", corpus.as_json_lines, ".zst")]
    for i, (name, form, packing) in enumerate(forms):
        data = form(documents[i * share:(i + 1) * share])
        (folder / (name + packing)).write_bytes(corpus.PACKERS[packing](data))
    return [folder]


def killed_run(command, seconds, kind):
    """Starts it and ends its ranks after so long: True, if they were still at work."""
    job = subprocess.Popen(command, env=corpus.environment(), stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        job.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        ranks = subprocess.run(["pgrep", "-s", str(job.pid), "-x", "espalier"],
                               capture_output=True, text=True).stdout.split()
        for rank in ranks:
            subprocess.run(["kill", f"-{kind}", rank], check=False)
        job.wait()
        return bool(ranks)


def main():
    program, tokenizer, folder, *texts = sys.argv[1:]
    folder = pathlib.Path(folder).absolute()
    (folder / "in").mkdir(parents=True)
    documents = corpus.documents_of(texts)
    inputs = write_inputs(folder / "in", documents)
    more = ["tokenize.validation_fraction=0.01", "tokenize.source_key=meta.redpajama_set_name"]
    expected, seconds = None, 0.0
    print(f"{len(documents):,} documents, {sum(len(d.encode()) for d in documents):,} bytes")
    print("| ranks | threads | shards | as on one rank and thread |\n|---|---|---|---|")
    differs = False
    for ranks in (1, 2, 3, 8):
        for threads in (1, 2):
            output = folder / "out"
            start = time.monotonic()
            subprocess.run(corpus.command(program, ranks, *corpus.arguments(
                tokenizer, inputs, output, *more)), env=corpus.environment(threads), check=True,
                stdout=subprocess.DEVNULL)
            seconds = seconds or time.monotonic() - start
            found = corpus.hashes(output)
            expected = expected or found
            differs |= found != expected
            print(f"| {ranks} | {threads} | {len(found)} | {found == expected} |", flush=True)
            shutil.rmtree(output)

    random.seed(17)
    output, kills, starts = folder / "out", {"KILL": 0, "TERM": 0}, 0
    start = corpus.command(program, 2, *corpus.arguments(tokenizer, inputs, output, *more))
    while sum(kills.values()) < KILLS:
        starts += 1
        kind = "KILL" if starts % 2 else "TERM"
        kills[kind] += killed_run(start, random.random() * seconds, kind)
        if output.exists() and sum(kills.values()) < KILLS:  # it was through: begin anew
            differs |= corpus.hashes(output) != expected
            shutil.rmtree(output)
    while not output.exists():
        subprocess.run(start, env=corpus.environment(), check=True, stdout=subprocess.DEVNULL)
    found = corpus.hashes(output)
    differs |= found != expected
    print(f"\nafter {kills['KILL']} SIGKILL and {kills['TERM']} SIGTERM: {found == expected}")
    shutil.rmtree(folder)
    sys.exit(1 if differs else 0)


main()
