"""Stopping and going on: signals, the time limit, kills, and another grid."""
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
import unittest

SUPPORT = pathlib.Path(__file__).resolve().parents[2] / "support"
sys.path.insert(0, str(SUPPORT.parent))
from support.runs import (BINARY, BYTES, HANG_S, TINY, RunCase, command,  # noqa: E402
                          environment, espalier)


class Restart(RunCase):
    CONSTANT = ["schedule.name=constant", "checkpoint.interval=10"]  # alike, however many steps
    # A run that is to be stopped or killed cannot be over before, however late that comes. The limit
    # is for one that a failing test leaves behind.
    ENDLESS = [*CONSTANT, "training.steps=1000000000", "run.time_limit=1:00:00"]

    def start(self, ranks, name, *overrides):
        return super().start(ranks, "train", *self.keys(name, *overrides))

    def wait_for_step(self, process, name, step):
        path = self.folder / name / "history.csv"
        while not path.exists() or path.read_text().count("\n") <= step:
            self.assertIsNone(process.poll(), "the run ended by itself")
            time.sleep(0.005)

    def go_on(self, name, steps, *overrides, ranks=1):
        """The same command again, which now has an end."""
        output = self.train(name, *self.CONSTANT, f"training.steps={steps}", *overrides, ranks=ranks)
        self.assertIn("continuing", output)
        self.assertEqual(len(self.history(name)), steps)

    def test_signal_stops_with_a_checkpoint_and_the_rest_is_identical(self):
        names = {number: f"stopped-{number}" for number in (signal.SIGTERM, signal.SIGUSR2)}
        for number, name in names.items():
            process = self.start(1, name, *self.ENDLESS)
            self.wait_for_step(process, name, 15)
            process.send_signal(number)
            output, _ = process.communicate(timeout=HANG_S)
            self.assertEqual(process.returncode, 75, output)
            self.assertIn("stopped by a signal", output.splitlines()[-1])
        steps = 10 + max(len(self.history(name)) for name in names.values())
        self.train("whole", *self.CONSTANT, f"training.steps={steps}")
        for name in names.values():
            self.go_on(name, steps)
            self.assertEqual(self.history(name), self.history("whole"))

    def test_signal_to_mpirun_stops_all_ranks(self):
        process = self.start(2, "forwarded", *self.ENDLESS, "parallel.tensor=2")
        self.wait_for_step(process, "forwarded", 15)
        process.send_signal(signal.SIGUSR2)  # mpirun hands it on
        output, _ = process.communicate(timeout=HANG_S)
        self.assertEqual(process.returncode, 75, output)
        self.go_on("forwarded", len(self.history("forwarded")) + 10, ranks=2)

    def test_time_limit(self):
        # However long the start takes: a run makes one step at least, and is not over in a second.
        output = self.train("limit", "training.steps=1000000000", "checkpoint.interval=0",
                            "run.time_limit=2", "run.time_margin=1", status=75)
        self.assertIn("time limit", output.splitlines()[-1])
        steps = len(self.history("limit"))
        self.assertGreater(steps, 0)
        self.assertTrue((self.folder / f"limit/checkpoints/step-{steps:08}/COMPLETE").exists())

    def test_kill_of_one_rank_ends_the_job_and_the_restart_is_identical(self):
        process = self.start(2, "killed", *self.ENDLESS, "parallel.tensor=2")
        self.wait_for_step(process, "killed", 25)
        tasks = pathlib.Path(f"/proc/{process.pid}/task").glob("*/children")
        victim = random.choice(" ".join(task.read_text() for task in tasks).split())
        os.kill(int(victim), signal.SIGKILL)
        process.communicate(timeout=HANG_S)
        self.assertNotEqual(process.returncode, 0)
        steps = len(self.history("killed")) + 10
        self.go_on("killed", steps, "parallel.tensor=2", ranks=2)
        self.train("killed-reference", *self.CONSTANT, f"training.steps={steps}",
                   "parallel.tensor=2", ranks=2)
        self.assertEqual(self.history("killed"), self.history("killed-reference"))

    def test_a_second_job_is_refused_and_changes_nothing(self):
        first = self.start(1, "two", *self.ENDLESS)
        self.wait_for_step(first, "two", 25)  # one checkpoint is complete
        first.send_signal(signal.SIGSTOP)  # it holds the directory as long as the test needs it
        before = self.history("two")
        checkpoints = sorted(os.listdir(self.folder / "two/checkpoints"))
        output = self.train("two", *self.CONSTANT, ranks=2, status=74)
        for word in ("another job", f"process {first.pid}", f"kill {first.pid}",
                     "output.directory"):
            self.assertIn(word, output)
        self.assertEqual(output.count("another job"), 1, output)  # for all ranks
        self.assertEqual(self.history("two"), before)
        self.assertEqual(sorted(os.listdir(self.folder / "two/checkpoints")), checkpoints)
        first.kill()  # its lock goes with it
        first.communicate()
        self.go_on("two", len(self.history("two")) + 10)

    def test_two_jobs_at_once_make_one_history(self):
        work = self.folder / "race"
        done = subprocess.run(
            [sys.executable, SUPPORT / "two_jobs.py", "--espalier", BINARY, "--rounds", "2",
             "--work", work, TINY, f"data.train={self.data}", f"data.tokenizer={BYTES}",
             "training.steps=60", "training.log_interval=100", "--delay", "1"],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_another_grid_goes_on_to_rounding(self):
        self.train("moved-reference")
        # A run of 20 steps, stopped at its checkpoint of step 10 on another grid each time.
        for index, (tensor, data) in enumerate([(2, 2), (4, 1), (1, 2)]):
            name = f"moved{index}"
            self.train(name, "parallel.tensor=2", "parallel.data=1", ranks=2)
            for path in sorted((self.folder / name / "checkpoints").glob("step-*20")):
                subprocess.run(["rm", "-r", str(path)], check=True)
            output = self.train(name, f"parallel.tensor={tensor}", ranks=tensor * data)
            self.assertIn("continuing", output)
            for row, wanted in zip(self.history(name), self.history("moved-reference")):
                self.assertLessEqual(abs(float(row[2]) / float(wanted[2]) - 1), 1e-4)

    def test_a_finished_run_says_so(self):
        self.train("done")
        before = self.history("done")
        output = self.train("done")
        self.assertIn("finished", output)
        self.assertEqual(self.history("done"), before)

    def test_a_checkpoint_is_used_anywhere_and_without_the_files_of_the_training(self):
        home, away = self.folder / "home", self.folder / "away"
        home.mkdir()
        away.mkdir()
        shutil.copy(BYTES, home / "own.tiktoken")
        keys = [*self.keys("unused", "training.steps=5"), "data.tokenizer=own.tiktoken",
                "output.directory=run"]
        for ranks in (1, 2):
            shutil.rmtree(home / "run", ignore_errors=True)
            espalier(ranks, "train", *keys, cwd=home)
            words = ["--prompt", "namespace ", "generate.max_new_tokens=9"]
            wanted = espalier(1, "generate", "run", *words, cwd=home)
            (home / "own.tiktoken").rename(home / "gone")
            moved = away / f"moved-{ranks}"
            shutil.copytree(home / "run/checkpoints/step-00000005", moved)
            self.assertEqual(espalier(1, "generate", home / "run", *words, cwd=away), wanted)
            self.assertEqual(espalier(1, "generate", moved, *words, cwd="/"), wanted)
            # The input still names the file that has gone.
            self.assertEqual(espalier(1, "generate", *keys, *words, cwd=home), wanted)
            text = self.folder / "book.txt"
            self.assertIn("bits per byte", espalier(2, "eval", moved, "--text", text, cwd="/"))
            exported = away / f"exported-{ranks}"
            espalier(1, "convert", moved, exported, cwd=away)
            self.assertTrue((exported / "tokenizer.json").exists())
            # A checkpoint of weights keeps the folder's tokenizer, too.
            weights = away / f"weights-{ranks}"
            espalier(2, "convert", exported, weights, cwd=away)
            shutil.rmtree(exported)
            output = espalier(1, "generate", weights, *words, cwd="/")
            self.assertTrue(output.startswith("namespace "), output)
            # Another one that is named counts.
            output = espalier(1, "generate", moved, *words, "data.tokenizer=nowhere.json",
                              status=65, cwd=away)
            self.assertIn("nowhere.json", output)
            (home / "gone").rename(home / "own.tiktoken")

    def test_generate_and_eval_from_a_checkpoint(self):
        self.train("model", "training.steps=20")
        keys = self.keys("model")
        one = espalier(1, "generate", *keys, "generate.prompt=namespace ",
                       "generate.max_new_tokens=20")
        two = espalier(2, "generate", *keys, "generate.prompt=namespace ",
                       "generate.max_new_tokens=20", "parallel.tensor=2")
        self.assertTrue(one.startswith("namespace "), one)
        self.assertEqual(one, two)
        piped = espalier(1, "generate", *keys, "generate.prompt=-", "generate.max_new_tokens=20",
                         stdin="namespace ")
        self.assertEqual(one, piped)
        last = [line for line in (self.folder / "model/validation.csv").read_text().splitlines()][-1]
        loss = float(last.split(",")[1])
        for ranks, tensor in ((1, 1), (2, 2), (2, 1), (4, 2)):
            output = espalier(ranks, "eval", *keys, f"parallel.tensor={tensor}")
            found = float(output.split("loss ")[-1].split(",")[0])
            self.assertAlmostEqual(found, loss, delta=1e-5 * loss)
        output = espalier(1, "eval", *keys, f"evaluation.text={self.folder / 'book.txt'}")
        self.assertIn("bits per byte", output)


if __name__ == "__main__":
    unittest.main()
