#!/usr/bin/env python3
"""Bubbles of real training steps beside the simulation of their schedules, on two ranks.

Usage    python3 validation/pipeline_bubble/measure_step.py [build/espalier [key=value ...]]
Prints   a row a schedule, and the largest difference.
Status   1 when a bubble differs by more than 5 % of the ranks' time.

`espalier bench` times every pass of a stage (forward, gradients of inputs, of weights), and says how
long the ranks waited between them beside what the simulation of the schedule makes of these times,
both of the fastest step. The last column is the phase "pipeline communication" of all steps.
Each rank has one thread and needs a core of its own, and the machine should do nothing else: it
takes about two minutes.
"""
import os
import pathlib
import re
import subprocess
import sys

BOUND = 0.05
MODEL = pathlib.Path(__file__).parent / "step.toml"
SCHEDULES = [("gpipe", 1), ("1f1b", 1), ("interleaved", 2), ("zb-h1", 1), ("zb1p", 2), ("zb-v", 2),
             ("dualpipe-v", 2)]
PASSES = re.compile(r"passes of the fastest step take ([0-9.]+) s.* own times ([0-9.]+) s")
BUBBLE = re.compile(r"bench: bubble ([0-9.]+) \(simulated ([0-9.]+)\)")
# Of the table of phases: mean of the ranks.
WAITED = re.compile(r"^ *pipeline communication +[0-9.]+ +([0-9.]+)", re.MULTILINE)
ALL = re.compile(r"^ *all +([0-9.]+)$", re.MULTILINE)


def bench(program, schedule, chunks, keys):
    """What the program says of one schedule."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = ["mpirun", "-n", "2", program, "bench", MODEL, "parallel.pipeline=2",
               f"parallel.schedule={schedule}", f"parallel.chunks={chunks if chunks > 1 else 0}",
               *keys]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if run.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{run.stdout}{run.stderr}")
    return run.stdout


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else "build/espalier"
    worst = 0.0
    print("| schedule | v | planned bubble | measured | planned s | measured s | in the table |")
    print("|---|---|---|---|---|---|---|")
    for schedule, chunks in SCHEDULES:
        text = bench(program, schedule, chunks, sys.argv[2:])
        measured, planned = map(float, BUBBLE.search(text).groups())
        seconds, makespan = PASSES.search(text).groups()
        share = float(WAITED.search(text)[1]) / float(ALL.search(text)[1])
        worst = max(worst, abs(measured - planned))
        print(f"| {schedule} | {chunks} | {100 * planned:.1f} % | {100 * measured:.1f} % | "
              f"{makespan} | {seconds} | {100 * share:.1f} % |", flush=True)
    print(f"\nlargest difference {100 * worst:.1f} % of the ranks' time (bound {100 * BOUND:.0f})")
    sys.exit(0 if worst <= BOUND else 1)


if __name__ == "__main__":
    main()
