"""A job that hangs ends by itself and says who hangs: a stopped rank, rank 0, a file that blocks."""
import json
import os
import pathlib
import signal
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from support.kill_restart import is_alive, rank_processes  # noqa: E402
from support.runs import BINARY, HANG_S, RunCase  # noqa: E402

# Short for a test, and longer than anything takes that gets on.
TIMEOUT_S = 6
KEYS = ["training.steps=1000000000", "schedule.name=constant", "checkpoint.interval=10",
        f"run.hang_timeout={TIMEOUT_S}"]


def rank_of(pid):
    variables = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(int(v.partition(b"=")[2]) for v in variables
                if v.startswith((b"OMPI_COMM_WORLD_RANK=", b"PMI_RANK=")))


class Watchdog(RunCase):
    def start(self, ranks, name, *overrides):
        return super().start(ranks, "train", *self.keys(name, *KEYS, *overrides))

    def stopped(self, ranks, name, victim):
        """A run of which this rank is stopped in the middle: its output, and where it went."""
        process = self.start(ranks, name)
        history = self.folder / name / "history.csv"
        while not history.exists() or history.read_text().count("\n") < 25:
            self.assertIsNone(process.poll())
            time.sleep(0.01)
        pids = rank_processes(process.pid, os.path.realpath(BINARY))
        self.assertEqual(len(pids), ranks)
        os.kill(next(pid for pid in pids if rank_of(pid) == victim), signal.SIGSTOP)
        output, _ = process.communicate(timeout=HANG_S)
        self.assertNotIn(process.returncode, (0, 75), output)
        while any(map(is_alive, pids)):  # mpirun ends the stopped one, too
            time.sleep(0.01)
        lines = (self.folder / name / "events.jsonl").read_text().splitlines()
        (event,) = [e for e in map(json.loads, lines) if e["event"] == "hang"]
        self.assertEqual(event["ranks"], [victim])
        self.assertIn("no progress for", (self.folder / name / "run.log").read_text())
        return process.returncode, output

    def test_a_stopped_rank_is_named_and_the_run_goes_on_afterwards(self):
        status, output = self.stopped(2, "one", 1)
        self.assertEqual(status, 70, output)
        self.assertRegex(output, r"no progress for .*: rank 1 \(.+\) is not heard since "
                                 r"\d\d:\d\d:\d\d, last in .+ of step \d+")
        self.assertRegex(output, r"1 other is in .+ of step \d+")
        self.assertIn("run.hang_timeout", output)
        output = self.train("one", *KEYS, "training.steps=60", ranks=2)
        self.assertIn("continuing", output)
        self.train("whole", *KEYS, "training.steps=60", ranks=2)
        self.assertEqual(self.history("one"), self.history("whole"))

    def test_rank_0_is_named_by_another(self):
        status, output = self.stopped(2, "zero", 0)
        self.assertEqual(status, 70, output)
        self.assertRegex(output, r"no progress for .*: rank 0 \(.+\) is not heard since .*"
                                 r"rank 1 \(.+\) is in ")

    def test_a_file_that_blocks(self):
        """A pipe that nobody reads stands for a file system that does not answer."""
        directory = self.folder / "pipe"
        directory.mkdir()
        os.mkfifo(directory / "run.log")
        process = self.start(1, "pipe")
        output, _ = process.communicate(timeout=HANG_S)
        self.assertEqual(process.returncode, 70, output)
        self.assertRegex(output, r"no progress for .*: rank 0 \(.+\) is in opening "
                                 r"history.csv, validation.csv and run.log")

    def test_a_job_that_is_stopped_as_a_whole_goes_on(self):
        """As a batch system suspends one: no rank hangs."""
        process = self.start(2, "suspended")
        history = self.folder / "suspended" / "history.csv"
        while not history.exists() or history.read_text().count("\n") < 5:
            self.assertIsNone(process.poll())
            time.sleep(0.01)
        pids = rank_processes(process.pid, os.path.realpath(BINARY))
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(TIMEOUT_S + 5)  # so long that it would be a hang
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        steps = history.read_text().count("\n")
        while history.read_text().count("\n") < steps + 5:
            self.assertIsNone(process.poll())
            time.sleep(0.01)
        process.send_signal(signal.SIGUSR2)
        output, _ = process.communicate(timeout=HANG_S)
        self.assertEqual(process.returncode, 75, output)


if __name__ == "__main__":
    unittest.main()
