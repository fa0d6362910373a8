#!/usr/bin/env python3
"""Runs with random time limits: does the limit kill one, and how much time is left unused?

Purpose  A job must end, its checkpoint complete, before its time limit less run.time_margin, and use
         the time until then. Each run has a model, a batch, a checkpoint interval and a limit drawn
         at random; a quarter of them go on with the run before, so that their first save is known.
         What would be killed is seen by the clock: this script measures from the start of the process
         to its end.
Usage    measure.py --work DIR [--espalier build/espalier] [--runs 20] [--seed 1] [--report FOLDER]
Writes   a table on stdout and FOLDER/results.json
Status   0 when no run ended after its limit and the median of the unused time is below one checkpoint
         and three steps; 1 otherwise.
"""
import argparse
import csv
import json
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support import runs  # noqa: E402

MARGIN_S = 4.0


def draw(rng):
    hidden = rng.choice([64, 128, 256, 384])
    return dict(hidden=hidden, batch=rng.choice([8, 16, 32]), ranks=rng.choice([1, 2]),
                interval=rng.choice([0, 0, 7, 30]), validation=rng.choice([0, 0, 25]),
                limit=rng.uniform(12.0, 28.0))


def command(options, case, directory):
    words = [options.espalier, "train", runs.TINY, f"data.train={options.work / 'data'}",
             f"data.validation={options.work / 'data'}", f"data.tokenizer={runs.BYTES}",
             f"output.directory={directory}", "training.steps=100000000", "schedule.name=constant",
             f"model.hidden_size={case['hidden']}", f"model.intermediate_size={case['hidden'] * 3}",
             f"training.global_batch_size={case['batch']}", "training.micro_batch_size=4",
             f"checkpoint.interval={case['interval']}", f"validation.interval={case['validation']}",
             "validation.sequences=64", f"run.time_limit={case['limit']:.2f}",
             f"run.time_margin={MARGIN_S}"]
    return words if case["ranks"] == 1 else [*runs.mpirun(case["ranks"]), *words]


def events(directory, kind):
    lines = (directory / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def step_s(directory):
    """The mean of the last steps, from tokens per second and tokens per step."""
    with open(directory / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    tokens = int(rows[-1]["tokens"]) // int(rows[-1]["step"])
    return statistics.fmean(tokens / float(row["tokens_per_second"]) for row in rows[-20:])


def run_once(options, case, directory):
    begin, wall_begin = time.monotonic(), time.time()
    done = subprocess.run(command(options, case, directory), env=runs.environment(), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wall = time.monotonic() - begin
    if done.returncode != 75:
        sys.exit(f"status {done.returncode} instead of 75:\n{done.stdout}")
    steps = len(runs.history(directory))
    marker = directory / f"checkpoints/step-{steps:08}/COMPLETE"
    if not marker.exists():
        sys.exit(f"no complete checkpoint of step {steps}:\n{done.stdout}")
    stop = events(directory, "stop")[-1]
    # From the last step to the marker.
    save = marker.stat().st_mtime - (directory / "history.csv").stat().st_mtime
    return dict(case, steps=steps, wall_s=wall, checkpoint_s=save, step_s=step_s(directory),
                unused_s=case["limit"] - MARGIN_S - (marker.stat().st_mtime - wall_begin),
                reason=stop["reason"], killed=wall > case["limit"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--espalier", default=str(ROOT / "build/espalier"))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--report", type=pathlib.Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    text = options.work / "text.txt"
    text.write_text("\f".join(p.read_text() for p in sorted((ROOT / "src").rglob("*.hpp"))))
    subprocess.run([options.espalier, "tokenize", f"data.tokenizer={runs.BYTES}",
                    f'tokenize.input=["{text}"]', f"tokenize.output={options.work / 'data'}",
                    'tokenize.document_separator="\\f"', "tokenize.validation_fraction=0.1"],
                   check=True, env=runs.environment(), stdout=subprocess.DEVNULL)
    rows, case = [], None
    for number in range(options.runs):
        goes_on = case is not None and number % 4 == 3
        case = dict(case, limit=rng.uniform(12.0, 28.0)) if goes_on else draw(rng)
        directory = options.work / "run"
        if not goes_on:
            shutil.rmtree(directory, ignore_errors=True)
        row = run_once(options, case, directory)
        row.update(run=number + 1, goes_on=goes_on,
                   allowed_s=row["checkpoint_s"] + 3 * row["step_s"])
        rows.append(row)
        print("{run:3} ranks {ranks} hidden {hidden:4} batch {batch:4} interval {interval:3}: limit "
              "{limit:5.1f} s, ended after {wall_s:5.1f} s; step {step_s:.3f} s, checkpoint "
              "{checkpoint_s:.3f} s, unused {unused_s:6.3f} s".format(**row), flush=True)
    unused = statistics.median(row["unused_s"] for row in rows)
    allowed = statistics.median(row["allowed_s"] for row in rows)
    relative = statistics.median(row["unused_s"] / row["allowed_s"] for row in rows)
    killed = sum(row["killed"] for row in rows)
    print(f"{len(rows)} runs, {killed} ended after their limit; unused time: median {unused:.3f} s, "
          f"{relative:.2f} of one checkpoint and three steps (median {allowed:.3f} s)")
    if options.report:
        rounded = [{key: round(value, 4) if isinstance(value, float) else value
                    for key, value in row.items()} for row in rows]
        result = dict(margin_s=MARGIN_S, seed=options.seed, killed=killed,
                      median_unused_s=round(unused, 4), median_unused_share=round(relative, 4),
                      runs=rounded)
        (options.report / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(0 if killed == 0 and relative < 1.0 else 1)


if __name__ == "__main__":
    main()
