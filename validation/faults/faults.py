#!/usr/bin/env python3
"""Faults at random moments of a tiny run on two ranks: does the job end soon, with the documented
status and a message that names the cause, and is nothing lost?

Usage  validation/faults/faults.py FOLDER [--faults kill,stop,...] [--tries 20] [--seed 1]
       validation/faults/faults.py --table RESULTS.json ...
FOLDER is new, on a file system with chattr (ext4). `mount` needs root, `clock` libfaketime. After
each fault the same command is started again: it must finish, and its history.csv must equal that of
an undisturbed run digit for digit, and it must go on from the newest checkpoint that was complete
when the fault came. Prints a table; FOLDER/results.json has every try. Status 1: something failed.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "tests/support"))
from support.kill_restart import is_alive, rank_processes  # noqa: E402
from support.runs import BINARY, BYTES, TINY, command, environment, espalier, history  # noqa: E402

STEPS, INTERVAL = 100, 10
END_S = 60  # a job that is not over so long after its fault hangs
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


class Failure(Exception):
    """Something is not as it should be."""


def check(holds, what):
    if not holds:
        raise Failure(what)


def steps_done(run):
    """Rows of history.csv."""
    try:
        return max(0, (run / "history.csv").read_bytes().count(b"\n") - 1)
    except OSError:
        return 0


def checkpoints(run):
    """Steps of the complete checkpoints, and names of the unfinished ones."""
    try:
        folders = sorted((run / "checkpoints").iterdir())
    except OSError:
        return [], []
    complete = [f for f in folders if (f / "COMPLETE").exists() and f.name[5:].isdigit()]
    return ([int(f.name[5:]) for f in complete],
            [f.name for f in folders if f not in complete and "damaged" not in f.name])


def events(run, kind):
    text = (run / "events.jsonl").read_text()
    return [e for e in map(json.loads, text.splitlines()) if e["event"] == kind]


def rank_of(pid):
    variables = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(int(v.partition(b"=")[2]) for v in variables
                if v.startswith(b"OMPI_COMM_WORLD_RANK="))


def flip_bit(path, place, chance):
    bit = 1 << chance.randrange(8)
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ bit]))


class Try:
    """One try of one fault: its run directory and what is measured."""

    def __init__(self, bench, fault, number):
        self.bench, self.chance = bench, random.Random(f"{bench.seed} {fault} {number}")
        self.run = bench.folder / f"{fault}-{number:02}"
        self.log = bench.folder / f"{fault}-{number:02}.log"
        self.data = bench.data
        self.result = {"fault": fault, "try": number, "status": None, "end_s": None,
                       "at_step": None, "lost_steps": 0, "notes": []}

    def keys(self, *more):
        return [TINY, f"data.train={self.data}", f"data.tokenizer={BYTES}",
                f"training.steps={STEPS}", f"checkpoint.interval={INTERVAL}",
                "checkpoint.keep=3", "training.log_interval=10", f"output.directory={self.run}",
                *more]

    def start(self, *more, words=None):
        self.out = open(self.log, "a")
        self.begin = self.log.stat().st_size
        words = words or command(self.bench.ranks, "train", *self.keys(*more))
        self.job = subprocess.Popen(words, env=environment(), stdout=self.out, stderr=self.out,
                                    stdin=subprocess.DEVNULL)
        return self.job

    def wait(self, since=None):
        """Status and output of the job, which must end in time."""
        pids = rank_processes(self.job.pid, os.path.realpath(BINARY))
        begin = since or time.monotonic()
        try:
            status = self.job.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            self.job.wait()
            raise Failure(f"the job was still there after {END_S} s") from None
        while any(map(is_alive, pids)):
            check(time.monotonic() - begin < END_S, "ranks outlive mpirun")
            time.sleep(0.01)
        self.out.close()
        with open(self.log, "rb") as file:
            file.seek(self.begin)
            output = file.read().decode(errors="replace")
        if since:
            self.result.update(status=status, end_s=round(time.monotonic() - since, 2))
        return status, output

    def wait_for_steps(self, steps):
        end = time.monotonic() + 120
        while steps_done(self.run) < steps:
            check(self.job.poll() is None, f"the job ended before step {steps}")
            check(time.monotonic() < end, f"no step {steps} in two minutes")
            time.sleep(0.002)

    def random_moment(self, first=3, last=STEPS - 15):
        self.wait_for_steps(self.chance.randint(first, last))
        time.sleep(self.chance.random() * 0.05)

    def ended(self, since, status, *words):
        """The job ends in time with that status and these words in its output."""
        found, output = self.wait(since)
        self.result["at_step"] = steps_done(self.run)
        check(found == status, f"status {found}, not {status}")
        for word in words:
            check(re.search(word, output), f"`{word}` is not in the output")
        return output

    def goes_on(self, complete, *more, exact=True):
        """The same command finishes the run as if nothing had been, from the newest of the
        checkpoints that were complete."""
        before = steps_done(self.run)
        self.start(*more)
        status, output = self.wait()
        check(status == 0, f"the restart ended with status {status}")
        went_on = max(0, int(events(self.run, "start")[-1]["continued_step"]))
        newest = max(complete, default=0)
        check(went_on >= newest, f"went on from step {went_on}, not from {newest}")
        self.result["lost_steps"] = max(0, before - went_on)
        if exact:
            check(history(self.run) == self.bench.whole(STEPS), "the history differs")
        return output

    def stop_midway(self, *more):
        """A job that stops at a random step, with a checkpoint."""
        stop = self.chance.randint(2 * INTERVAL + 1, STEPS - 5)
        self.start(*more, f"run.stop_after={stop}")
        status, _ = self.wait()
        check(status == 75, f"status {status} of a job that was to stop")
        self.result["at_step"] = stop
        return stop

    # The faults.

    def kill(self):
        self.start()
        self.random_moment()
        pids = rank_processes(self.job.pid, os.path.realpath(BINARY))
        complete, since = checkpoints(self.run)[0], time.monotonic()
        os.kill(self.chance.choice(pids), signal.SIGKILL)
        self.ended(since, 137, "rank . .*signal 9")
        self.goes_on(complete)

    def kill_in_save(self):
        self.start()
        self.wait_for_steps(self.chance.randint(3, STEPS - 2 * INTERVAL))
        end = time.monotonic() + 60
        while not checkpoints(self.run)[1]:
            check(self.job.poll() is None and time.monotonic() < end, "no save was seen")
        time.sleep(self.chance.random() * 0.03)
        pids = rank_processes(self.job.pid, os.path.realpath(BINARY))
        (complete, unfinished), since = checkpoints(self.run), time.monotonic()
        os.kill(self.chance.choice(pids), signal.SIGKILL)
        self.ended(since, 137, "rank . .*signal 9")
        self.result["notes"].append("unfinished" if unfinished else "just complete")
        self.goes_on(complete)

    def stop(self):
        self.start("run.hang_timeout=10")
        self.random_moment()
        pids = rank_processes(self.job.pid, os.path.realpath(BINARY))
        victim = self.chance.choice(pids)
        rank = rank_of(victim)
        complete, since = checkpoints(self.run)[0], time.monotonic()
        os.kill(victim, signal.SIGSTOP)
        self.ended(since, 70, rf"no progress for .*: rank {rank} \(.* is not heard")
        self.goes_on(complete, "run.hang_timeout=10")

    def disk_full(self):
        self.run.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", self.run], check=True)
        try:
            self.start()
            self.random_moment()
            complete, since = checkpoints(self.run)[0], time.monotonic()
            room = self.chance.randrange(1 << 19)  # a checkpoint has 1.04 MiB
            self.fill_disk(room)
            status, output = self.wait(since)
            self.result["at_step"] = steps_done(self.run)
            if status == 0:  # an old checkpoint was removed in time: there was room enough
                check(history(self.run) == self.bench.whole(STEPS), "the history differs")
                self.result["notes"].append("room enough")
                return
            check(status == 74, f"status {status}, not 74")
            for word in ("No space left on device", str(self.run)):
                check(word in output, f"`{word}` is not in the output")
            self.result["notes"].append(
                "checkpoint" if re.search("error: .*checkpoints/", output) else "another file")
            subprocess.run(["mount", "-o", "remount,size=256m", self.run], check=True)
            self.goes_on(complete)
        finally:
            subprocess.run(["umount", "-l", self.run], check=True)

    def fill_disk(self, room):
        with open(self.run / "of-others", "wb") as file:
            while True:
                disk = os.statvfs(self.run)
                free = disk.f_bavail * disk.f_frsize
                try:
                    os.posix_fallocate(file.fileno(), 0, max(4096, free - room))
                    return
                except OSError:  # a save was faster
                    if free < 1 << 20:
                        return
                    time.sleep(0.001)

    def flip_checkpoint(self):
        stop = self.stop_midway()
        folder = self.run / f"checkpoints/step-{stop:08}"
        files = [f for f in sorted(folder.rglob("*")) if f.is_file() and f.stat().st_size > 0]
        file = self.chance.choice(files)
        flip_bit(file, self.chance.randrange(file.stat().st_size), self.chance)
        complete, _ = checkpoints(self.run)
        output = self.goes_on([s for s in complete if s < stop])
        noticed = "passed over" in output
        self.result["notes"].append(f"{file.name}: {'passed over' if noticed else 'no effect'}")

    def flip_shard(self):
        self.data = self.bench.folder / f"data-{self.result['try']:02}"
        shutil.copytree(self.bench.data, self.data)
        try:
            self.stop_midway()
            shard = sorted(self.data.glob("train-*.h5"))[0]
            original = shard.read_bytes()
            # The tokens are nearly all of it: half of the tries look at what is around them.
            where, first, last = self.chance.choice(
                2 * [("anywhere", 0, len(original))] + [("start", 0, 4096),
                                                        ("end", len(original) - 8192, len(original))])
            flip_bit(shard, self.chance.randrange(first, last), self.chance)
            complete, since = checkpoints(self.run)[0], time.monotonic()
            self.start()
            status, output = self.wait(since)
            if status == 0:
                check(history(self.run) == self.bench.whole(STEPS),
                      f"a bit flipped in a shard ({where}) was not noticed, and the history differs")
                self.result["notes"].append(f"{where}: no effect")
                return
            check(status == 65, f"status {status}, not 65")
            check(shard.name in output, "the message does not name the shard")
            self.result["notes"].append(f"{where}: refused")
            shard.write_bytes(original)
            self.goes_on(complete)
        finally:
            shutil.rmtree(self.data)

    def flip_weight(self):
        rank, step = self.chance.randrange(self.bench.ranks), self.chance.randint(3, STEPS)
        audit = "run.audit_interval=1"
        self.start(audit, f'debug.faults=["flip-weight@{step}:{rank}"]')
        self.ended(time.monotonic(), 79, rf"audit in step {step}\b", rf"wrong on rank {rank}")
        check(steps_done(self.run) == step - 1, "the step was done")
        self.goes_on(checkpoints(self.run)[0], audit)

    def bad_step(self, kind, what):
        rank, step = self.chance.randrange(self.bench.ranks), self.chance.randint(18, STEPS)
        keys = [f"run.on_spike={what}", "run.spike_threshold=200", "run.spike_window=16"]
        self.start(*keys, f'debug.faults=["{kind}@{step}:{rank}"]')
        if what == "stop":
            self.ended(time.monotonic(), 79, rf"step {step}: ", "no weight was changed")
            self.goes_on(checkpoints(self.run)[0], *keys)
            return
        self.ended(time.monotonic(), 0, rf"step {step}: ")
        self.result["at_step"] = step
        check(events(self.run, "spike")[0]["action"] == what, "no such event")
        found, whole = history(self.run), self.bench.whole(STEPS)
        check([int(row[0]) for row in found] == list(range(1, STEPS + 1)), "steps are missing")
        kept = step - 1
        if what == "rollback":
            kept = int(events(self.run, "rollback")[0]["to_step"])
            # The last one may still have been under way, in the background.
            newest = (step - 1) // INTERVAL * INTERVAL
            check(kept in (newest, newest - INTERVAL), f"went back to step {kept}")
            self.result["lost_steps"] = step - 1 - kept
        check(found[:kept] == whole[:kept], "the history before it differs")
        check(kept == STEPS - 1 or found[kept + 1:] != whole[kept + 1:], "nothing was left out")

    def clock(self):
        offset = self.bench.folder / f"clock-{self.result['try']:02}.offset"
        offset.write_text("+0\n")
        fake = ["env", f"LD_PRELOAD={FAKETIME}", f"FAKETIME_TIMESTAMP_FILE={offset}",
                "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1"]
        words = command(self.bench.ranks, "train", *self.keys("run.stop_after=80",
                                                              "run.hang_timeout=20"))
        at = words.index(BINARY)
        self.start(words=[*words[:at], *fake, *words[at:]])
        self.random_moment(last=60)
        jump = self.chance.choice([3600, 86400, 400 * 86400]) * self.chance.choice([1, -1])
        offset.write_text(f"{jump:+d}\n")
        self.ended(time.monotonic(), 75)
        times = [e["time"] for e in map(json.loads, (self.run / "events.jsonl").read_text()
                                        .splitlines())]
        check(max(abs(t - times[0]) for t in times) > 3000, "the program saw no jump")
        self.goes_on(checkpoints(self.run)[0])  # by the right clock, another jump

    def read_only(self):
        self.start()
        self.random_moment()
        complete, since = checkpoints(self.run)[0], time.monotonic()
        immutable = lambda sign: subprocess.run(  # noqa: E731
            ["chattr", "-R", f"{sign}i", self.run], check=False, stderr=subprocess.DEVNULL)
        immutable("+")
        try:
            self.ended(since, 74, "Operation not permitted|Read-only", str(self.run))
        finally:
            immutable("-")
        self.goes_on(complete)


FAULTS = {
    "kill": ("`kill -9` of a rank", Try.kill),
    "stop": ("SIGSTOP of a rank", Try.stop),
    "kill-in-save": ("`kill -9` during a save", Try.kill_in_save),
    "disk-full": ("disk full", Try.disk_full),
    "flip-checkpoint": ("bit flip in the newest checkpoint", Try.flip_checkpoint),
    "flip-shard": ("bit flip in a token shard", Try.flip_shard),
    "flip-weight": ("bit flip in a live weight", Try.flip_weight),
    "nan-stop": ("NaN in a gradient, stop", lambda t: t.bad_step("nan-gradient", "stop")),
    "nan-skip": ("NaN in a gradient, skip", lambda t: t.bad_step("nan-gradient", "skip")),
    "nan-rollback": ("NaN in a gradient, rollback",
                     lambda t: t.bad_step("nan-gradient", "rollback")),
    "spike-stop": ("loss spike, stop", lambda t: t.bad_step("loss-spike", "stop")),
    "spike-skip": ("loss spike, skip", lambda t: t.bad_step("loss-spike", "skip")),
    "spike-rollback": ("loss spike, rollback", lambda t: t.bad_step("loss-spike", "rollback")),
    "clock": ("clock jump", Try.clock),
    "two-jobs": ("a second job in the directory", None),
    "read-only": ("directory made read-only", Try.read_only),
}


class Bench:
    def __init__(self, folder, ranks, seed):
        self.folder, self.ranks, self.seed = folder, ranks, seed
        folder.mkdir(parents=True)
        text = folder / "sources.txt"
        text.write_text("\f".join(p.read_text() for p in sorted((ROOT / "src").rglob("*.hpp"))))
        self.data = folder / "data"
        espalier(1, "tokenize", f"data.tokenizer={BYTES}", f'tokenize.input=["{text}"]',
                 f"tokenize.output={self.data}", 'tokenize.document_separator="\\f"')
        self.histories = {}

    def whole(self, steps, keys=(), status=0):
        """History of an undisturbed run of so many steps."""
        if steps not in self.histories:
            run = self.folder / f"whole-{steps}"
            espalier(self.ranks, "train", *Try(self, "whole", 0).keys(
                *keys, f"output.directory={run}"), status=status)
            self.histories[steps] = history(run)
        return self.histories[steps]

    def try_one(self, fault, number):
        one = Try(self, fault, number)
        try:
            FAULTS[fault][1](one)
        except Failure as failure:
            one.result["failure"] = str(failure)
        else:
            shutil.rmtree(one.run, ignore_errors=True)
        finally:
            if one.job.poll() is None:
                one.job.kill()
                one.job.wait()
        return one.result

    def two_jobs(self, tries):
        """One long job, and others that come at random moments: a job waits ten seconds for the
        directory, so they overlap."""
        first = Try(self, "two-jobs", 0)
        chance = first.chance
        keys = ["training.steps=1000000", "schedule.name=constant", "checkpoint.interval=500"]
        first.start(*keys)
        first.wait_for_steps(1)
        others = []
        for number in range(tries):
            time.sleep(chance.random() * 1.5)
            others.append((Try(self, "two-jobs", number), time.monotonic(), subprocess.Popen(
                command(1, "train", *first.keys(*keys)),
                env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)))
        for one, since, job in others:
            output, _ = job.communicate(timeout=END_S)
            one.result.update(status=job.returncode, end_s=round(time.monotonic() - since, 2))
            try:
                check(first.job.poll() is None, "the first job was over before")
                check(job.returncode == 74, f"status {job.returncode}, not 74")
                check(f"process {first_rank(first.job)}" in output, "the holder is not named")
            except Failure as failure:
                one.result["failure"] = str(failure)
                first.log.with_suffix(f".{one.result['try']}").write_text(output)
        (first.run / "stop").touch()  # mpirun that is signalled ends with a status of its own
        status, _ = first.wait()
        steps = steps_done(first.run)
        whole = self.whole(steps, [*keys, f"run.stop_after={steps}"], status=75)
        if status != 75 or history(first.run) != whole:
            others[0][0].result["failure"] = "the first job was disturbed"
        return [one.result for one, _, _ in others]


def first_rank(job):
    pids = rank_processes(job.pid, os.path.realpath(BINARY))
    return next((pid for pid in pids if rank_of(pid) == 0), None)


def table(results):
    lines = ["| fault | tries | failed | status | job ended after, s (median, most) | steps lost, "
             "most | seen |", "|---|---|---|---|---|---|---|"]
    for name, (title, _) in FAULTS.items():
        own = [r for r in results if r["fault"] == name]
        if not own:
            continue
        statuses = sorted({str(r["status"]) for r in own if r["status"] is not None})
        ends = sorted(r["end_s"] for r in own if r["end_s"] is not None)
        notes = collections.Counter(re.sub(r"-\d{5}", "-N", n) for r in own for n in r["notes"])
        lines.append("| " + " | ".join([
            title, str(len(own)), str(sum("failure" in r for r in own)),
            ", ".join(statuses) or "-",
            f"{ends[len(ends) // 2]:.1f}, {ends[-1]:.1f}" if ends else "-",
            str(max(r["lost_steps"] for r in own)),
            ", ".join(f"{n} {c}" for n, c in sorted(notes.items())) or "-"]) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path, nargs="?")
    parser.add_argument("--faults", default=",".join(FAULTS), help="by commas")
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", type=pathlib.Path, nargs="+")
    a = parser.parse_args()
    if a.table:
        print(table([r for path in a.table for r in json.loads(path.read_text())]))
        return 0
    bench, results = Bench(a.folder.resolve(), a.ranks, a.seed), []
    for fault in a.faults.split(","):
        if fault == "two-jobs":
            done = bench.two_jobs(a.tries)
        else:
            done = (bench.try_one(fault, number) for number in range(a.tries))
        for result in done:
            results.append(result)
            print(json.dumps(result), flush=True)
            (a.folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))
    return 1 if any("failure" in r for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
