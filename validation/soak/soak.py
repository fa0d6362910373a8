#!/usr/bin/env python3
"""A long run of a tiny model, killed again and again: is memory flat, are the files bounded, is the
history that of an undisturbed run?

Usage  validation/soak/soak.py FOLDER [--steps 20000] [--interval 50] [--kills 40] [--ranks 2]
                               [--seed 1] [--undisturbed RUN]
FOLDER is new. RUN: the undisturbed run of an earlier start, on the same data and grid. The kills (SIGKILL of one rank) come at random moments of the whole run. Every 2 s the
resident memory of every rank and the number of files and bytes of the run directory are read.
Writes FOLDER/samples.csv and prints a summary; status 1 when something grew or differs.
"""
import argparse
import csv
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support.runs import BYTES, TINY, command, environment, espalier, history  # noqa: E402


def ranks_of(process):
    """Process ids of the program below mpirun, by rank."""
    children = subprocess.run(["pgrep", "-P", str(process.pid), "-x", "espalier"], text=True,
                              stdout=subprocess.PIPE).stdout.split()
    return sorted(map(int, children)) or [process.pid]


def resident_kib(pid):
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in status.splitlines()
                 if line.startswith("VmRSS:")), None)


def size_of(folder):
    files = size = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                files, size = files + 1, size + path.stat().st_size
        except OSError:
            pass  # renamed or pruned meanwhile
    return files, size


def rows(run):
    try:
        with open(run / "history.csv", "rb") as file:
            return sum(1 for _ in file) - 1
    except OSError:
        return 0


def sample(job, started, run, process):
    """[job, its seconds, step, largest resident memory of a rank in KiB, files, bytes]"""
    memory = [resident_kib(pid) for pid in ranks_of(process)]
    return [job, round(time.monotonic() - started, 1), rows(run),
            max((m for m in memory if m), default=0), *size_of(run)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--interval", type=int, default=50)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--undisturbed", type=pathlib.Path)
    a = parser.parse_args()
    a.folder.mkdir(parents=True)
    chance = random.Random(a.seed)

    text = a.folder / "sources.txt"
    text.write_text("\f".join(p.read_text() for p in sorted((ROOT / "src").rglob("*.hpp"))))
    data = a.folder / "data"
    espalier(1, "tokenize", f"data.tokenizer={BYTES}", f'tokenize.input=["{text}"]',
             f"tokenize.output={data}", 'tokenize.document_separator="\\f"')
    keys = [TINY, f"data.train={data}", f"data.tokenizer={BYTES}", f"training.steps={a.steps}",
            f"checkpoint.interval={a.interval}", "training.log_interval=1000"]

    whole, soak = a.undisturbed or a.folder / "whole", a.folder / "soak"
    samples, kills, jobs = [], 0, 0
    log = open(a.folder / "jobs.log", "w")
    if a.undisturbed is None:  # job 0 of the samples
        begin = time.monotonic()
        process = subprocess.Popen(command(a.ranks, "train", *keys, f"output.directory={whole}"),
                                   env=environment(), stdout=log, stderr=log)
        while process.poll() is None:
            samples.append(sample(0, begin, whole, process))
            time.sleep(2)
        if process.returncode != 0:
            sys.exit(f"the undisturbed run ended with {process.returncode}: see jobs.log")
        print(f"undisturbed: {a.steps} steps in {time.monotonic() - begin:.0f} s", flush=True)

    at = sorted(chance.randrange(1, a.steps) for _ in range(a.kills))
    while True:
        jobs += 1
        process = subprocess.Popen(command(a.ranks, "train", *keys, f"output.directory={soak}"),
                                   env=environment(), stdout=log, stderr=log)
        started = time.monotonic()
        looked, killed = 0.0, False
        while process.poll() is None:
            done = rows(soak)
            if at and done >= at[0]:
                at.pop(0)
                time.sleep(chance.random() * 0.05)  # anywhere within some steps and saves
                victims = ranks_of(process)
                try:
                    os.kill(chance.choice(victims), signal.SIGKILL)
                    kills += 1
                    killed = True
                except ProcessLookupError:
                    pass
                process.wait()
                break
            if time.monotonic() - looked > 2:
                looked = time.monotonic()
                samples.append(sample(jobs, started, soak, process))
            time.sleep(0.01)
        if process.wait() == 0:
            break
        if not killed and process.returncode != 0:
            sys.exit(f"a job ended with {process.returncode}: see {a.folder / 'jobs.log'}")

    with open(a.folder / "samples.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["job", "seconds", "step", "resident_kib", "files", "bytes"])
        writer.writerows(samples)
    equal = history(soak) == history(whole)
    # Memory of a job: the last third of its samples beside the middle one. The very last may have
    # been taken while ranks were ending.
    growth = []
    for job in range(jobs + 1):
        own = [s[3] for s in samples if s[0] == job][1:-1]
        if len(own) >= 6:
            third = len(own) // 3
            growth.append(statistics.median(own[-third:]) /
                          statistics.median(own[third:-third]) - 1)
    longest = [s for s in samples if s[0] == 0][1:-1]
    if longest:
        for part in (longest[len(longest) // 4], longest[-1]):
            print(f"undisturbed: {part[3]:,} KiB resident, {part[4]} files at step {part[2]:,}")
    files = [s[4] for s in samples if s[0] > 0 and s[2] > 2 * a.interval]
    print(f"{kills} kills, {jobs} jobs, {a.steps} steps, {len(samples)} samples")
    print(f"history equal: {equal}")
    if growth:
        print(f"resident memory within a job: median {100 * statistics.median(growth):+.2f} %, "
              f"most {100 * max(growth):+.2f} %")
    print(f"files of the run directory: {min(files)} to {max(files)}, "
          f"last {samples[-1][4]}, {samples[-1][5]:,} bytes")
    # A save under way doubles the checkpoints' files; nothing may be left of more than that.
    bounded = max(files) <= 2 * min(files) + 20 + jobs
    return 0 if equal and bounded and (not growth or statistics.median(growth) < 0.02) else 1


if __name__ == "__main__":
    sys.exit(main())
