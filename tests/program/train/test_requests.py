"""What people and schedulers ask of a running training, by signals and by files in its directory:
save, stop, say how it is."""
import json
import pathlib
import signal
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import BYTES, HANG_S, RunCase, espalier  # noqa: E402

ENDLESS = ["training.steps=1000000000", "schedule.name=constant", "checkpoint.interval=0"]


class Requests(RunCase):
    def until(self, process, condition, what):
        end = time.monotonic() + HANG_S
        while not condition():
            self.assertIsNone(process.poll(), f"ended before {what}")
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.01)

    def steps(self, name):
        path = self.folder / name / "history.csv"
        return path.read_text().count("\n") - 1 if path.exists() else 0

    def saved(self, name):
        return sorted(int(path.parent.name.removeprefix("step-"))
                      for path in (self.folder / name / "checkpoints").glob("step-*/COMPLETE"))

    def events(self, name, kind):
        path = self.folder / name / "events.jsonl"
        lines = map(json.loads, path.read_text().splitlines() if path.exists() else [])
        return [event for event in lines if event["event"] == kind]

    def log(self, name):
        return (self.folder / name / "run.log").read_text()

    def begun(self, ranks, name, *overrides):
        process = self.start(ranks, "train", *self.keys(name, *ENDLESS, *overrides))
        self.until(process, lambda: self.steps(name) > 3, "step 3")
        return process

    def test_files_in_the_run_directory(self):
        """Anybody who may write there; two ranks, of which rank 0 alone looks."""
        process = self.begun(2, "files")
        directory = self.folder / "files"
        (directory / "status").touch()
        self.until(process, lambda: not (directory / "status").exists(), "status")
        self.assertRegex(self.log("files"),
                         r"status: \d+ of 1000000000 steps, loss \d.*tok/s, ETA .*no checkpoint")
        (directory / "save").touch()
        self.until(process, lambda: not (directory / "save").exists(), "save")
        saved = self.saved("files")  # the file goes when the checkpoint is there
        self.assertEqual(len(saved), 1)
        self.assertEqual([event["by"] for event in self.events("files", "save")], ["file"])
        self.until(process, lambda: self.steps("files") > saved[0] + 3, "steps after the save")
        (directory / "status").touch()
        self.until(process, lambda: "last checkpoint: step" in self.log("files"), "status")
        (directory / "stop").touch()
        output, _ = process.communicate(timeout=HANG_S)
        self.assertEqual(process.returncode, 75, output)
        self.assertIn('stopped by the file "stop"', output)
        self.assertEqual([p.name for p in directory.iterdir() if p.name in ("save", "stop")], [])
        self.assertEqual(self.saved("files"), [saved[0], self.steps("files")])
        (stop,) = self.events("files", "stop")
        self.assertEqual((stop["reason"], stop["step"]), ("file", self.steps("files")))

    def test_files_of_before_the_start(self):
        directory = self.folder / "left"
        directory.mkdir()
        (directory / "stop").touch()
        output = self.train("left", status=75)
        self.assertIn("stopped by the file", output)
        self.assertEqual((self.steps("left"), self.saved("left")), (0, []))
        self.assertFalse((directory / "stop").exists())
        # Heard once: the next job trains, and finds a request to save.
        (directory / "save").touch()
        self.train("left", "training.steps=20", "run.stop_after=5", "checkpoint.interval=0",
                   status=75)
        self.assertEqual(self.saved("left"), [1, 5])
        (directory / "stop").touch()
        output = self.train("left", "training.steps=20", status=75)
        self.assertIn("after step 5", output)
        self.assertEqual(self.saved("left"), [1, 5])
        self.train("left", "training.steps=20")
        self.train("undisturbed", "training.steps=20")
        self.assertEqual(self.history("left"), self.history("undisturbed"))

    def test_a_file_that_cannot_be_removed_is_heard_once(self):
        directory = self.folder / "stuck"
        (directory / "status" / "full").mkdir(parents=True)
        output = self.train("stuck", "training.steps=30")
        self.assertEqual(output.count("status: "), 1, output)
        self.assertRegex(output, "warning: .*stuck/status cannot be removed")

    def test_sigusr1_saves_and_goes_on(self):
        for ranks in (1, 2):
            name = f"saves-{ranks}"
            process = self.begun(ranks, name)
            process.send_signal(signal.SIGUSR1)  # mpirun hands it to its ranks, one after another
            self.until(process, lambda: self.saved(name), "a checkpoint")
            step = self.steps(name)
            self.until(process, lambda: self.steps(name) > step + 3, "more steps")
            process.send_signal(signal.SIGUSR2)
            output, _ = process.communicate(timeout=HANG_S)
            self.assertEqual(process.returncode, 75, output)
            self.assertEqual([event["by"] for event in self.events(name, "save")], ["SIGUSR1"])
            self.assertEqual(len(self.saved(name)), 2)
            (stop,) = self.events(name, "stop")
            self.assertEqual((stop["reason"], stop["by"]), ("signal", "SIGUSR2"))

    def test_requests_in_a_validation(self):
        """One that would take minutes: between its rounds a checkpoint is begun and made complete."""
        large = self.folder / "large"
        (self.folder / "large.txt").write_text((self.folder / "book.txt").read_text() * 400)
        espalier(1, "tokenize", f"data.tokenizer={BYTES}",
                 f'tokenize.input=["{self.folder / "large.txt"}"]', f"tokenize.output={large}",
                 "tokenize.validation_fraction=1")
        process = self.start(2, "train", *self.keys(
            "validates", *ENDLESS, f"data.validation={large}", "validation.interval=5"))
        directory = self.folder / "validates"
        self.until(process, lambda: self.steps("validates") == 5, "step 5")
        (directory / "save").touch()
        self.until(process, lambda: not (directory / "save").exists(), "save")
        self.assertEqual(self.saved("validates"), [5])
        (directory / "status").touch()
        self.until(process, lambda: not (directory / "status").exists(), "status")
        self.assertRegex(self.log("validates"), "status: 5 of .*last checkpoint: step 5,.*"
                                                "now in validation")
        (directory / "stop").touch()
        output, _ = process.communicate(timeout=HANG_S)
        self.assertEqual(process.returncode, 75, output)
        self.assertRegex(output, r"validation at step 5: ended after \d+ of \d+ sequences, asked to")
        self.assertEqual((self.steps("validates"), self.saved("validates")), (5, [5]))


if __name__ == "__main__":
    unittest.main()
