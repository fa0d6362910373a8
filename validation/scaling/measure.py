#!/usr/bin/env python3
"""Scaling on one host: speed over 1, 2 and 4 ranks beside the plan, and start-up with up to 64.

Purpose  1. The host is measured as a device of `espalier plan` (bench --write), with one rank of one
            thread, with two and with four. 2. `espalier bench scaling` on 1, 2 and 4 such ranks, strong and weak,
            with these plans beside. 3. A tiny model trains two steps on 8, 16, 32 and 64 ranks of this
            host, many more than it has cores: wall time of the whole job, of its start, and of its
            first step, each the median of some jobs.
Usage    measure.py --work DIR [--report FOLDER] [--espalier build/espalier] [--quick]
         The machine must have nothing else to do; it takes about a quarter of an hour. --quick tries
         the script with rough devices, few steps and 2 to 8 ranks.
Writes   FOLDER/{strong,weak}.{csv,svg}, start.csv, results.md (all tables, and the machine)
Status   0 when everything was measured.
"""
import argparse
import csv
import io
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support import runs  # noqa: E402

INPUT = ROOT / "validation/scaling/input.toml"


def run(options, ranks, *words):
    """Standard output of the program; ends the script when it fails."""
    command = [options.espalier, *map(str, words)]
    if ranks > 1:
        command = [*runs.mpirun(ranks), *command]
    print("+", " ".join(command), flush=True)
    done = subprocess.run(command, env=runs.environment() | {"OMP_NUM_THREADS": "1"}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def measure_devices(options):
    """Device files of this host with one rank, with two and with four, which share its cores."""
    few = ["bench.write_models=3"] if options.quick else []
    devices = []
    for ranks, name in ((1, "one"), (2, "pair"), (4, "four")):
        devices.append(options.work / f"{name}.toml")
        run(options, ranks, "bench", "--write", devices[-1], *few)
    return devices


def measure_scaling(options, devices):
    """Rows of the CSV, by the kind of scaling."""
    short = ["bench.warmup_steps=1", "bench.steps=2"] if options.quick else []
    names = ",".join(f'"{path}"' for path in devices)
    tables = {}
    for kind in ("strong", "weak"):
        text = run(options, 4, "bench", "scaling", INPUT, f"bench.scaling={kind}",
                   "bench.ranks=[1,2,4]", f"plan.device=[{names}]", "--format", "csv", "--plot",
                   options.report / f"{kind}.svg", *short)
        (options.report / f"{kind}.csv").write_text(text)
        tables[kind] = list(csv.DictReader(io.StringIO(text)))
    return tables


def measure_start(options):
    """A row for each number of ranks: seconds of the job, of its start and of its first step."""
    text = options.work / "sources.txt"
    text.write_text("\f".join(path.read_text() for path in sorted((ROOT / "src").rglob("*.hpp"))))
    data = options.work / "data"
    run(options, 1, "tokenize", f"data.tokenizer={runs.BYTES}", f'tokenize.input=["{text}"]',
        f"tokenize.output={data}", 'tokenize.document_separator="\\f"')
    rows = []
    for ranks in (2, 4, 8) if options.quick else (8, 16, 32, 64):
        times = []
        for repetition in range(1 if options.quick else 3):
            directory = options.work / f"run-{ranks}-{repetition}"
            begin = time.monotonic()
            run(options, ranks, "train", runs.TINY, f"data.train={data}",
                f"data.tokenizer={runs.BYTES}", f"output.directory={directory}",
                f"training.global_batch_size={ranks}", "training.steps=2",
                "schedule.warmup_steps=0", "checkpoint.interval=0")
            wall = time.monotonic() - begin
            events = map(json.loads, (directory / "events.jsonl").read_text().splitlines())
            start = next(event for event in events if event["event"] == "start")["wall_s"]
            with open(directory / "history.csv", newline="") as file:
                first = next(csv.DictReader(file))
            times.append((wall, start, int(first["tokens"]) / float(first["tokens_per_second"])))
        job, start, step = (statistics.median(column) for column in zip(*times))
        rows.append(dict(ranks=ranks, job_seconds=job, start_seconds=start, first_step_seconds=step))
    with open(options.report / "start.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.*)", info)
    return (f"{model[1] if model else 'unknown processor'}, {os.cpu_count()} processors, "
            f"load {os.getloadavg()[0]:.2f} at the start, {time.strftime('%-d %B %Y')}")


def number(text, factor=1.0, digits=1):
    return f"{factor * float(text):,.{digits}f}" if text else ""


def scaling_lines(kind, rows):
    yield f"## {kind.capitalize()} scaling, {rows[0]['global_batch_size']} sequences of 256 tokens" + (
        " on one rank" if kind == "weak" else "")
    yield ""
    yield ("| ranks | tokens/s | per rank | efficiency | waits for ranks | step, ms (least to most) | "
           "planned, one rank's figures | two ranks' figures | four ranks' figures |")
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        cells = [row["ranks"], number(row["tokens_per_second"], 1, 0),
                 number(row["tokens_per_second_per_rank"], 1, 0),
                 number(row["efficiency"], 100) + " %",
                 number(row["communication_share"], 100) + " %",
                 f"{number(row['step_seconds'], 1e3)} ({number(row['step_seconds_min'], 1e3)} to "
                 f"{number(row['step_seconds_max'], 1e3)})"]
        for suffix in ("", "_2", "_3"):
            planned = row["planned_step_seconds" + suffix]
            cells.append(f"{number(planned, 1e3)} ms, "
                         f"{number(row['planned_efficiency' + suffix], 100)} %" if planned else "")
        yield "| " + " | ".join(cells) + " |"
    yield ""


def start_lines(rows):
    yield "## Start-up, a model of 90,592 parameters, medians"
    yield ""
    yield "| ranks | job, s | until the first step, s | first step, s |"
    yield "|---|---|---|---|"
    for row in rows:
        yield (f"| {row['ranks']} | {row['job_seconds']:.2f} | {row['start_seconds']:.2f} | "
               f"{row['first_step_seconds']:.3f} |")
    yield ""
    first, last = rows[0], rows[-1]
    more = last["ranks"] / first["ranks"]
    growth = ", ".join(
        f"{name} {last[key] / first[key]:.1f} times" for name, key in
        (("the job", "job_seconds"), ("its start", "start_seconds"),
         ("the first step", "first_step_seconds")))
    yield (f"From {first['ranks']} to {last['ranks']} ranks: {growth} as long. All ranks share the "
           f"processors of this host, so {more:.0f} times is what the same work per rank takes; what "
           "grows faster grows with the ranks themselves.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--espalier", default=str(ROOT / "build/espalier"))
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--report", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    where = machine()
    options.work.mkdir(parents=True, exist_ok=True)
    if any(options.work.iterdir()):
        sys.exit(f"--work {options.work} is not empty: name a new folder")
    options.work = options.work.resolve()
    options.report = options.report or options.work
    for name in ("strong.csv", "strong.svg", "weak.csv", "weak.svg", "start.csv", "results.md"):
        (options.report / name).unlink(missing_ok=True)
    tables = measure_scaling(options, measure_devices(options))
    lines = [f"# Measured{', roughly (--quick)' if options.quick else ''}", "", where, ""]
    for kind, rows in tables.items():
        lines += scaling_lines(kind, rows)
    lines += start_lines(measure_start(options))
    (options.report / "results.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
