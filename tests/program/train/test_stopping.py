"""Stop requests and limits reach everything long: validation, evaluation, the last steps."""
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import (BYTES, HANG_S, RunCase, command, environment, espalier,  # noqa: E402
                          signalled_at_change)


def listens(pid, number):
    """Whether a process has a handler for this signal."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (number - 1) & 1


class Stopping(RunCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Shards whose validation takes minutes, so that whoever is heard is heard in the middle.
        cls.large = cls.folder / "large"
        text = (cls.folder / "book.txt").read_text() * 400
        (cls.folder / "large.txt").write_text(text)
        espalier(1, "tokenize", f"data.tokenizer={BYTES}",
                 f'tokenize.input=["{cls.folder / "large.txt"}"]', f"tokenize.output={cls.large}",
                 "tokenize.validation_fraction=1")

    def validations(self, name):
        rows = (self.folder / name / "validation.csv").read_text().splitlines()[1:]
        return [int(row.split(",")[0]) for row in rows]

    def wait_for(self, path):
        end = time.monotonic() + 60
        while not path.exists():
            self.assertLess(time.monotonic(), end, f"{path} did not come")
            time.sleep(0.01)

    def test_a_signal_ends_a_validation_and_the_next_job_makes_it(self):
        short = ["training.steps=20", "validation.sequences=64"]
        self.train("whole", *short, "validation.interval=10", f"data.validation={self.large}")
        for ranks in (1, 2):
            name = f"cut-{ranks}"
            long = [f"data.validation={self.large}", "validation.interval=10", "training.steps=20"]
            process = self.start(ranks, "train", *self.keys(name, *long))
            # The save is made complete while the validation of its step runs.
            self.wait_for(self.folder / name / "checkpoints/step-00000010/COMPLETE")
            process.send_signal(signal.SIGUSR2)
            output, _ = process.communicate(timeout=HANG_S)
            self.assertEqual(process.returncode, 75, output)
            self.assertRegex(output, r"validation at step 10: ended after \d+ of \d+ sequences")
            self.assertIn("checkpoint of step 10 is complete", output)
            self.assertEqual(self.validations(name), [])
            output = self.train(name, *long, *short, ranks=ranks)
            self.assertIn("continuing", output)
            self.assertEqual(self.validations(name), [10, 20])
        self.assertEqual((self.folder / "cut-1/validation.csv").read_text(),
                         (self.folder / "whole/validation.csv").read_text())
        self.assertEqual(self.history("cut-1"), self.history("whole"))

    def test_a_signal_in_the_last_validation(self):
        keys = [f"data.validation={self.large}", "training.steps=10"]
        process = self.start(1, "train", *self.keys("last", *keys))
        self.wait_for(self.folder / "last/checkpoints/step-00000010/COMPLETE")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=HANG_S)
        self.assertEqual(process.returncode, 75, output)
        self.assertEqual(len(self.history("last")), 10)
        output = self.train("last", *keys, "validation.sequences=8")
        self.assertIn("validation at step 10: loss", output)
        self.assertIn("finished", output)
        self.assertEqual(self.validations("last"), [10])
        self.assertNotIn("validation at step", self.train("last", *keys))  # it was made

    def test_a_validation_that_does_not_fit_into_the_time_limit(self):
        # Time for the steps on this machine, but not for a validation of minutes.
        begin = time.monotonic()
        self.train("measured", "training.steps=20")
        limit = 10 + math.ceil(5 * (time.monotonic() - begin))
        keys = [f"data.validation={self.large}", "validation.interval=10", "training.steps=20",
                f"run.time_limit={limit}", "run.time_margin=1"]
        output = self.train("limit", *keys, status=75)
        self.assertIn("would not end before the time limit; the next job makes it", output)
        self.assertIn("time limit", output.splitlines()[-1])
        self.assertTrue((self.folder / "limit/checkpoints/step-00000010/COMPLETE").exists())
        # It would not fit into any job: the run goes on without it, and not for ever in circles.
        output = self.train("limit", *keys, status=75)
        self.assertIn("even as the first thing done, so it is skipped", output)
        self.assertIn("validation.sequences", output)
        self.assertEqual(len(self.history("limit")), 20)
        self.train("limit", *keys)
        self.assertEqual(self.validations("limit"), [])

    def test_evaluation_hears_signals_and_the_time_limit(self):
        self.train("model", "training.steps=5")
        model = str(self.folder / "model")
        # A slow machine may spend the time on a text before its first sequence: that has a test below.
        for ranks in (1, 2):
            output = espalier(ranks, "eval", model, f"data.validation={self.large}",
                              "run.time_limit=6", "run.time_margin=3", status=75)
            # How far it comes is a matter of the machine; what it says must fit together.
            self.assertRegex(output, r"stopped before the time limit after "
                                     r"(no sequence|\d+ of \d+ sequences|0 of 1 documents)")
            self.assertEqual("step 5: loss " in output, "no loss" not in output, output)
        log = self.folder / "eval.log"
        with open(log, "w") as file:
            process = subprocess.Popen(
                command(1, "eval", model, f"data.validation={self.large}"),
                env=environment(), stdout=file, stderr=subprocess.STDOUT)
            self.addCleanup(process.kill)
            while not listens(process.pid, signal.SIGUSR2):
                self.assertIsNone(process.poll(), log.read_text())
                time.sleep(0.01)
            process.send_signal(signal.SIGUSR2)
            status = process.wait(timeout=HANG_S)
        self.assertEqual(status, 75, log.read_text())
        self.assertIn("stopped by a signal", log.read_text())

    def test_a_text_that_is_read_and_tokenized_can_be_stopped(self):
        self.train("reader", "training.steps=1", "schedule.warmup_steps=1")
        model = self.folder / "reader"
        text = self.folder / "three.jsonl"
        text.write_text('{"text": "int main() { return 0; }"}\n' * 3)
        # The margin is larger than the time to the end, however fast this goes.
        for ranks in (1, 2):
            output = espalier(ranks, "eval", model, "--text", text, "run.time_margin=100000",
                              status=75,
                              environ={"SLURM_JOB_END_TIME": str(int(time.time()) + 86400)})
            self.assertIn("stopped before the time limit after 0 of 3 documents", output)
            self.assertNotIn("step 1: loss", output)
        pipe = self.folder / "pipe.txt"  # that nobody writes to
        os.mkfifo(pipe)
        process = self.start(1, "eval", model, "--text", pipe)
        self.addCleanup(process.kill)
        while not listens(process.pid, signal.SIGTERM):
            self.assertIsNone(process.poll())
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=HANG_S)
        self.assertEqual(process.returncode, 75, output)
        self.assertIn(f"stopped by a signal while reading {pipe}", output)

    def test_stop_after(self):
        """Any input can be tried: no other key has to be changed for it."""
        keys = ["training.steps=60", "schedule.name=warmup_stable_decay",
                "schedule.warmup_steps=30", "schedule.decay_steps=30"]
        self.train("schedule", *keys)
        output = self.train("tried", *keys, "run.stop_after=7", status=75)
        self.assertIn("run.stop_after = 7", output.splitlines()[-1])
        self.assertEqual(self.history("tried"), self.history("schedule")[:7])
        self.train("tried", *keys, "run.stop_after=7", ranks=1, status=75)
        self.assertEqual(len(self.history("tried")), 14)
        output = self.train("tried", *keys, "run.stop_after=46")  # exactly to the end
        self.assertIn("finished", output)
        self.assertEqual(self.history("tried"), self.history("schedule"))
        self.assertIn("finished", self.train("tried", *keys, "run.stop_after=1"))

    def test_a_signal_during_the_start_is_heard(self):
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            # The first change of files is the run directory's.
            name = f"early-{number.name}"
            output = self.train(name, status=75,
                                environ=signalled_at_change(1, self.folder / name, number))
            # Not only before the first step: what comes before it may take long.
            self.assertIn("stopped by a signal while opening the devices: no step was done",
                          output.splitlines()[-1])
            self.assertNotIn("new run", output)
            self.assertFalse((self.folder / name).exists())
        # What is there is not read for a job that is to end, and stays as it is.
        self.train("early", "training.steps=4", "schedule.warmup_steps=1", "run.stop_after=2",
                   status=75)
        output = self.train("early", "training.steps=4", "schedule.warmup_steps=1", status=75,
                            environ=signalled_at_change(1, self.folder / "early", signal.SIGTERM))
        self.assertNotIn("continuing", output)
        status = json.loads((self.folder / "early" / "status.json").read_text())
        self.assertEqual(status["state"], "stopped")
        self.assertIn("finished", self.train("early", "training.steps=4",
                                             "schedule.warmup_steps=1"))
        # A request to save is one to go on.
        output = self.train("early-save", "checkpoint.interval=0", "checkpoint.at_end=false",
                            environ=signalled_at_change(1, self.folder / "early-save",
                                                        signal.SIGUSR1))
        self.assertIn("checkpoint of step 1 is complete", output)
        self.assertIn("finished", output)

    def test_an_odd_end_of_the_slurm_job_is_said_and_ignored(self):
        now = int(time.time())
        for value, word in ((now - 100, "passed"), (0, "passed"), (-5, "passed"),
                            ("tomorrow", "seconds since 1970"), ("1e12", "seconds since 1970"),
                            (f"{now + 600}x", "seconds since 1970"), ((now + 600) * 1000, "years")):
            name = "slurm"
            shutil.rmtree(self.folder / name, ignore_errors=True)
            output = self.train(name, "training.steps=6", "validation.at_end=false",
                                environ={"SLURM_JOB_END_TIME": str(value)})
            self.assertRegex(output, f"SLURM_JOB_END_TIME.*{word}.*ignored")
            self.assertIn("time limit: none", output)
        output = self.train("slurm-limit", "training.steps=6", "run.time_limit=5:00",
                            environ={"SLURM_JOB_END_TIME": "yesterday"}, ranks=2)
        self.assertIn("time limit: 5 min", output)
        self.assertEqual(output.count("SLURM_JOB_END_TIME"), 1)
        output = self.train("slurm-real", "training.steps=6",
                            environ={"SLURM_JOB_END_TIME": str(now + 86400)})
        self.assertNotIn("SLURM_JOB_END_TIME", output)
        self.assertRegex(output, "time limit: .* h")
        # An end that is near is no mistake: what can be done before it is done.
        self.train("slurm-near", "training.steps=6", "run.time_margin=1000", status=75,
                   environ={"SLURM_JOB_END_TIME": str(int(time.time()) + 10)})


if __name__ == "__main__":
    unittest.main()
