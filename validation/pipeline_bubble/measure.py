#!/usr/bin/env python3
"""Bubbles of pipelines beside their simulation, on ranks of this host.

Usage    python3 validation/pipeline_bubble/measure.py [build/mpi_parallel]
Prints   a row a schedule and number of ranks, and the largest difference.
Status   1 when a bubble differs by more than 5 % of the ranks' time.

The stages of tests/mpi/parallel/test_pipeline_bubble.cpp sleep in place of computing, so that four
ranks may share two cores; their messages are real. The machine should do nothing else: a rank that
waits for a processor waits in a message, too. It takes about three minutes.
"""
import os
import subprocess
import sys

BOUND = 0.05
RANKS = (2, 4)


def rows_of(program, ranks):
    """What the program prints, a row a schedule."""
    environment = {**os.environ, "OMPI_MCA_mpi_yield_when_idle": "1"}
    run = subprocess.run(["mpirun", "--oversubscribe", "-n", str(ranks), program, "[.bubble]"],
                         capture_output=True, text=True, env=environment, check=False)
    if run.returncode != 0:
        sys.exit(f"{program} failed on {ranks} ranks:\n{run.stdout}{run.stderr}")
    rows = [line.partition("bubble ")[2].split() for line in run.stdout.splitlines()]
    return [row for row in rows if len(row) == 8]


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else "build/mpi_parallel"
    worst = 0.0
    print("| schedule | p | v | stages | planned bubble | measured | planned s | measured s |")
    print("|---|---|---|---|---|---|---|---|")
    for ranks in RANKS:
        rows = rows_of(program, ranks)
        if not rows:
            sys.exit(f"{program} has measured nothing on {ranks} ranks")
        for name, p, v, stages, planned, measured, makespan, seconds in rows:
            worst = max(worst, abs(float(measured) - float(planned)))
            print(f"| {name} | {p} | {v} | {stages} | {100 * float(planned):.1f} % | "
                  f"{100 * float(measured):.1f} % | {makespan} | {seconds} |")
    print(f"\nlargest difference {100 * worst:.1f} % of the ranks' time (bound {100 * BOUND:.0f})")
    sys.exit(0 if worst <= BOUND else 1)


if __name__ == "__main__":
    main()
