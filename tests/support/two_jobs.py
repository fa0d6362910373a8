#!/usr/bin/env python3
"""Starts two jobs in one run directory, again and again, and checks that one at a time works there.

Purpose  Somebody submits the same command twice, or a batch system requeues a job that still runs.
         In each round two jobs are started in one run directory, new or with a checkpoint, a random
         time apart; the first is left alone, asked to stop, killed or stopped for a while at a
         random moment. What must hold at every look: no two jobs have history.csv open for writing,
         and no row that a complete checkpoint stands for is missing from it. In the end the same
         command, started once more, must have made the history of an undisturbed run, byte for
         byte.
Usage    two_jobs.py --work DIR [--espalier build/espalier] [--rounds 50] [--seed 1]
                     [--report FILE.md] INPUT.toml [section.key=value ...]
         The input says training.steps and checkpoint.interval; output.directory is set here. A run
         of two or three seconds does. Odd rounds are of one rank, even ones of two.
Writes   DIR/reference-N and DIR/round (run directories), DIR/*.log, and a table on stdout and in
         FILE.md.
Status   0 when every check holds, 1 otherwise.
"""
import argparse
import os
import pathlib
import random
import shutil
import signal
import sys
import time

from kill_restart import (Failure, Job, checkpoints, compare, history, is_alive, rank_processes,
                          run_to_end)

ACTIONS = ("nothing", "SIGTERM", "SIGKILL", "SIGSTOP")
LOOK_S = 0.005


def writers(pids):
    """Those of the processes that have history.csv open."""
    found = []
    for pid in pids:
        try:
            links = [os.readlink(entry) for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:  # ended meanwhile
            continue
        if any(link.endswith("/history.csv") for link in links):
            found.append(pid)
    return found


class Watch:
    """Looks at a run directory and its jobs."""

    def __init__(self, options, directory):
        self.options = options
        self.directory = directory
        self.jobs = []
        self.pids = {}

    def add(self, job):
        self.jobs.append(job)

    def ranks_of(self, job):
        known = self.pids.get(job, [])
        if len(known) < self.options.ranks and job.process.poll() is None:
            known = self.pids[job] = rank_processes(job.process.pid, self.options.program)
        return known

    def look(self):
        writing = [job for job in self.jobs if writers(self.ranks_of(job))]
        if len(writing) > 1:
            raise Failure("two jobs have history.csv open at one time")
        # In this order: a checkpoint is complete only after the rows of its steps are there.
        complete, _ = checkpoints(self.directory)
        rows = history(self.directory)
        step = int(complete[-1].removeprefix("step-").removesuffix(".replaced")) if complete else 0
        if len(rows) < step:
            raise Failure(f"history.csv has {len(rows)} rows beside a checkpoint of step {step}")

    def until(self, condition, timeout):
        end = time.monotonic() + timeout
        while not condition():
            self.look()
            if time.monotonic() > end:
                raise Failure(f"nothing happened within {timeout:.0f} s; see {self.options.work}")
            time.sleep(LOOK_S)

    def ended(self, job):
        return job.process.poll() is not None and not any(map(is_alive, self.pids.get(job, [])))


def act(action, pids, rng):
    """Does to the first job what `action` says; False when it had ended before."""
    numbers = {"SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL, "SIGSTOP": signal.SIGSTOP}
    if action == "nothing" or not pids:
        return False
    victims = [rng.choice(pids)] if action == "SIGKILL" else pids
    for pid in victims:
        try:
            os.kill(pid, numbers[action])
        except ProcessLookupError:
            return False
    return True


def race(options, number, rng):
    """One round. Returns a row of the report."""
    options.ranks = 1 if number % 2 else 2
    directory = options.work / "round"
    shutil.rmtree(directory, ignore_errors=True)
    watch = Watch(options, directory)
    prior = number % 4 > 1
    if prior:  # a run that was stopped somewhere
        job = Job(options, directory, options.work / "before.log")
        watch.add(job)
        watch.until(lambda: checkpoints(directory)[0] or watch.ended(job), options.timeout)
        act("SIGTERM", watch.ranks_of(job), rng)
        watch.until(lambda: watch.ended(job), options.timeout)
        job.stop()
    began_with = (checkpoints(directory)[0] or ["none"])[-1]

    action = ACTIONS[number % len(ACTIONS)]
    delay = rng.random() * options.delay
    jobs = [Job(options, directory, options.work / "first.log")]
    watch.add(jobs[0])
    try:
        start = time.monotonic()
        watch.until(lambda: time.monotonic() - start > delay, options.timeout)
        jobs.append(Job(options, directory, options.work / "second.log"))
        watch.add(jobs[1])
        if action != "nothing":
            moment = time.monotonic() + rng.random() * options.delay
            watch.until(lambda: time.monotonic() > moment, options.timeout)
            stopped = act(action, watch.ranks_of(jobs[0]), rng)
            if action == "SIGSTOP" and stopped:  # it keeps the directory, if it has it
                watch.until(lambda: watch.ended(jobs[1]), options.timeout)
                for pid in watch.ranks_of(jobs[0]):
                    os.kill(pid, signal.SIGCONT)
        watch.until(lambda: all(map(watch.ended, jobs)), options.timeout)
    finally:
        for job in jobs:
            job.stop()
    seconds = time.monotonic() - start
    statuses = [job.process.returncode for job in jobs]
    for job, status in zip(jobs, statuses):
        text = job.log_path.read_text(errors="replace")
        if status == 74 and "another job" not in text:
            raise Failure(f"round {number}: a job ended with status 74 for another reason; see "
                          f"{job.log_path}")
        # SIGTERM ends a job that has not begun to listen, which is before it takes the directory.
        killed = job is jobs[0] and (action == "SIGKILL" or action == "SIGTERM" and status == 143)
        if status not in (0, 74, 75) and not killed:
            raise Failure(f"round {number}: a job ended with status {status}; see {job.log_path}")
    run_to_end(options, directory, options.work / "last.log")
    watch.look()
    compare(options.work / f"reference-{options.ranks}", directory)
    return dict(round=number, ranks=options.ranks, start=began_with, delay=f"{delay:.2f}",
                action=action, first=statuses[0], second=statuses[1], seconds=f"{seconds:.1f}")


def experiment(options):
    rng = random.Random(options.seed)
    for ranks in (1, 2):
        options.ranks = ranks
        directory = options.work / f"reference-{ranks}"
        shutil.rmtree(directory, ignore_errors=True)
        run_to_end(options, directory, options.work / f"reference-{ranks}.log")
    rows = []
    for number in range(1, options.rounds + 1):
        rows.append(race(options, number, rng))
        print("round {round}: {ranks} ranks, from {start}, second job after {delay} s, {action} to "
              "the first: statuses {first} and {second}".format(**rows[-1]), flush=True)
    return rows


def report(options, rows):
    keys = ("round", "ranks", "start", "delay", "action", "first", "second", "seconds")
    titles = ("round", "ranks", "goes on from", "second job after, s", "to the first job",
              "its status", "status of the second", "both, s")
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    lines += ["| " + " | ".join(str(row[key]) for key in keys) + " |" for row in rows]
    refused = sum(74 in (row["first"], row["second"]) for row in rows)
    lines += ["", f"{len(rows)} rounds: never two writers, never a missing row; in {refused} a job "
              "was refused. Every history equals the undisturbed run's, digit for digit."]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.report:
        pathlib.Path(options.report).write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--espalier", default="build/espalier")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--delay", type=float, default=3.0, help="s; the longest between the starts")
    parser.add_argument("--timeout", type=float, default=120.0, help="s for one thing to happen")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--report")
    parser.add_argument("input")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    options.program = os.path.realpath(options.espalier)
    options.work.mkdir(parents=True, exist_ok=True)
    try:
        rows = experiment(options)
    except Failure as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        sys.exit(1)
    report(options, rows)


if __name__ == "__main__":
    main()
