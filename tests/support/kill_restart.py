#!/usr/bin/env python3
"""Kills one rank of a training job again and again and checks that the run survives it.

Purpose  `kill -9` of one rank at a random moment, during training or during a save: the job must end
         within seconds with a nonzero status, and the same command started again must go on from
         the newest complete checkpoint, so that in the end history.csv reads as if nothing had
         happened, byte for byte.
Usage    kill_restart.py --work DIR [--espalier build/espalier] [--ranks 2] [--rounds 10] [--seed 1]
                         [--report FILE.md] INPUT.toml [section.key=value ...]
         The input says training.steps and checkpoint.interval; output.directory is set here. The run
         must be long enough to be killed ROUNDS times: a few seconds per round do.
Writes   DIR/reference and DIR/killed (run directories), DIR/*.log (output of every start), and a
         table on stdout, also into FILE.md.
Status   0 when every check holds, 1 otherwise.
"""
import argparse
import csv
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import runs

COLUMNS = ("step", "loss", "grad_norm", "learning_rate")  # speed and time may differ
MAX_END_S = 10.0  # from the kill to the end of mpirun and of every rank
POLL_S = 0.0005


class Failure(Exception):
    """A check that does not hold."""


def history(directory):
    """Rows of history.csv, complete lines only: the last one may be half written."""
    try:
        text = (directory / "history.csv").read_text()
    except FileNotFoundError:
        return []
    return list(csv.DictReader(text[:text.rfind("\n") + 1].splitlines()))


def last_step(directory):
    rows = history(directory)
    return int(rows[-1]["step"]) if rows else 0


def checkpoints(directory):
    """(complete, unfinished) folder names; a folder without its marker is unfinished."""
    folder = directory / "checkpoints"
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    complete = [n for n in names if (folder / n / "COMPLETE").exists()]
    return complete, [n for n in names if n not in complete]


def rank_processes(parent, program):
    """Process ids of the ranks below mpirun, by walking /proc."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            executable = os.readlink(entry / "exe")
        except OSError:  # ended meanwhile
            continue
        children.setdefault(int(fields[1]), []).append((int(entry.name), executable))
    found, todo = [], [parent]
    while todo:
        for pid, executable in children.get(todo.pop(), []):
            todo.append(pid)
            if os.path.realpath(executable) == program:
                found.append(pid)
    return sorted(found)


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Job:
    """One start of the training command."""

    def __init__(self, options, directory, log):
        command = [*runs.mpirun(options.ranks), options.program, "train", options.input,
                   *options.overrides, f"output.directory={directory}"]
        self.log_path = log
        self.log = open(log, "w")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT,
                                        stdin=subprocess.DEVNULL, env=runs.environment(),
                                        start_new_session=True)

    def finish(self, timeout):
        status = self.process.wait(timeout=timeout)
        self.log.close()
        return status

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.close()


def wait_until(job, condition, what, timeout):
    """Waits for condition(); a job that ends first is a failure of the experiment."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if job.process.poll() is not None:
            raise Failure(f"the job ended (status {job.process.returncode}) before {what}; "
                          f"see {job.log_path}")
        if time.monotonic() > end:
            raise Failure(f"no {what} within {timeout:.0f} s; see {job.log_path}")
        time.sleep(POLL_S)


def kill_once(options, directory, number, target, during_save, rng):
    """One start, one kill. Returns a row of the report."""
    before, _ = checkpoints(directory)
    job = Job(options, directory, options.work / f"round-{number:02d}.log")
    try:
        wait_until(job, lambda: last_step(directory) >= target, f"step {target}", options.timeout)
        pids = rank_processes(job.process.pid, options.program)
        if len(pids) != options.ranks:
            raise Failure(f"{len(pids)} rank processes found instead of {options.ranks}")
        if during_save:
            wait_until(job, lambda: checkpoints(directory)[1], "a save", options.timeout)
            time.sleep(rng.random() * options.save_delay)
        else:
            time.sleep(rng.random() * 0.05)  # anywhere within a step
        victim = rng.randrange(len(pids))
        start = time.monotonic()
        os.kill(pids[victim], signal.SIGKILL)
        try:
            status = job.finish(timeout=60.0)
        except subprocess.TimeoutExpired:
            raise Failure(f"round {number}: mpirun is still there 60 s after the kill") from None
        # mpirun does not wait for the ranks that it kills; on a busy machine they end a moment later.
        while any(map(is_alive, pids)) and time.monotonic() - start < MAX_END_S:
            time.sleep(POLL_S)
        seconds = time.monotonic() - start
        left = [pid for pid in pids if is_alive(pid)]
        if status == 0:
            raise Failure(f"round {number}: mpirun ended with status 0 after a killed rank")
        if left:
            raise Failure(f"round {number}: rank processes {left} outlive mpirun")
        if seconds > MAX_END_S:
            raise Failure(f"round {number}: the job took {seconds:.1f} s to end")
    finally:
        job.stop()
    complete, partial = checkpoints(directory)
    if before and not complete:
        raise Failure(f"round {number}: the complete checkpoints {before} are gone")
    return dict(round=number, during="save" if partial else "training",
                rank=victim, step=last_step(directory), seconds=f"{seconds:.2f}", status=status,
                unfinished=" ".join(partial) or "-", restart=complete[-1] if complete else "none")


def run_to_end(options, directory, log):
    job = Job(options, directory, log)
    try:
        status = job.finish(timeout=options.timeout * 10)
    finally:
        job.stop()
    if status != 0:
        raise Failure(f"a run that nobody disturbed ended with status {status}; see {log}")


def compare(reference, killed):
    """The columns as text: the same digits, not nearly the same numbers."""
    a, b = history(reference), history(killed)
    if len(a) != len(b):
        raise Failure(f"history has {len(b)} rows instead of {len(a)}")
    for expected, found in zip(a, b):
        for column in COLUMNS:
            if expected[column] != found[column]:
                raise Failure(f"step {expected['step']}: {column} is {found[column]}, "
                              f"uninterrupted {expected[column]}")
    return len(a)


def experiment(options):
    rng = random.Random(options.seed)
    reference, killed = options.work / "reference", options.work / "killed"
    for directory in (reference, killed):
        shutil.rmtree(directory, ignore_errors=True)
    run_to_end(options, reference, options.work / "reference.log")
    steps = last_step(reference)

    rows = []
    # Kills at rising steps, so that every round gets past the one before; the last tenth of the run
    # is left to finish undisturbed.
    for number in range(1, options.rounds + 1):
        width = 0.9 * steps / options.rounds
        target = max(1, int((number - 1 + rng.random()) * width))
        rows.append(kill_once(options, killed, number, target, number % 2 == 0, rng))
        print("round {round}: rank {rank} killed during {during} after step {step}; ended after "
              "{seconds} s with status {status}; goes on from {restart}".format(**rows[-1]),
              flush=True)
    run_to_end(options, killed, options.work / "killed.log")
    count = compare(reference, killed)
    if len({row["during"] for row in rows}) < 2 and options.rounds > 1:
        raise Failure("no kill met a save: make the model larger or checkpoint.interval smaller")
    return rows, count


def report(options, rows, count):
    keys = ("round", "rank", "during", "step", "seconds", "status", "restart")
    titles = ("round", "killed rank", "during", "last step", "job ended after, s", "status",
              "goes on from")
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    lines += ["| " + " | ".join(str(row[key]) for key in keys) + " |" for row in rows]
    lines.append("")
    lines.append(f"All {count} rows of history.csv equal the uninterrupted run's in "
                 f"{', '.join(COLUMNS)}, digit for digit ({options.ranks} ranks).")
    text = "\n".join(lines) + "\n"
    print(text)
    if options.report:
        pathlib.Path(options.report).write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--espalier", default="build/espalier")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=120.0, help="s for one thing to happen")
    parser.add_argument("--save-delay", type=float, default=0.005,
                        help="s; a kill during a save comes up to so much after its start")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--report")
    parser.add_argument("input")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    options.program = os.path.realpath(options.espalier)
    options.work.mkdir(parents=True, exist_ok=True)
    try:
        rows, count = experiment(options)
    except Failure as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        sys.exit(1)
    report(options, rows, count)


if __name__ == "__main__":
    main()
