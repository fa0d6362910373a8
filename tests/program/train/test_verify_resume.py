"""espalier verify-resume: steps of a run computed again are the recorded ones, and what was changed
is found."""
import os
import pathlib
import shutil
import signal
import sys
import time
import unittest

SUPPORT = pathlib.Path(__file__).resolve().parents[2] / "support"
sys.path.insert(0, str(SUPPORT.parent))
from support.runs import BYTES, HANG_S, RunCase, espalier, history  # noqa: E402

DIFFERENT, USAGE, BAD_DATA, CONFIGURATION = 79, 64, 65, 78


class VerifyResume(RunCase):
    KEYS = ["schedule.name=constant", "checkpoint.interval=4", "checkpoint.keep=4",
            "training.steps=12", "validation.interval=0"]

    def verify(self, name, *words, ranks=1, status=0):
        return espalier(ranks, "verify-resume", self.folder / name, *words, status=status)

    def listing(self, name):
        return {path: (path.stat().st_mtime_ns, path.read_bytes())
                for path in sorted((self.folder / name).rglob("*")) if path.is_file()}

    def wait_until_stopped(self, pid):
        """A thread inside a system call, such as a write of a checkpoint, ends it first."""
        def states():
            for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/stat"):
                yield stat.read_text().rpartition(")")[2].split()[0]
        while any(state != "T" for state in states()):
            time.sleep(0.01)

    def copy(self, name, to):
        shutil.copytree(self.folder / name, self.folder / to)
        return self.folder / to

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls().train("one", *cls.KEYS)

    def test_every_grid_repeats_its_digits_and_its_checkpoints(self):
        for tensor, data in ((2, 1), (1, 2), (2, 2)):
            with self.subTest(f"{tensor}x{data}"):
                name = f"grid-{tensor}x{data}"
                self.train(name, *self.KEYS, f"parallel.tensor={tensor}", ranks=tensor * data)
                output = self.verify(name, "--steps", "8", ranks=tensor * data)
                self.assertIn("8 steps from checkpoint 4", output)
                self.assertIn("checkpoints after 8, 12", output)

    def test_nothing_is_written_and_the_steps_can_be_chosen(self):
        before = self.listing("one")
        output = self.verify("one", "--from", "4", "--steps", "6")
        self.assertEqual(self.listing("one"), before)
        self.assertIn("checkpoints after 8", output)
        for row in self.history("one")[4:10]:
            self.assertIn(row[2], output)
        # Three steps are recorded behind the newest checkpoint that three follow.
        self.assertIn("steps 9 to 11", self.verify("one", "--steps", "3"))
        self.assertIn("fewer than 20", self.verify("one"))

    def test_a_changed_digit_of_the_history_is_found(self):
        for column, name in ((2, "loss"), (3, "grad_norm"), (4, "learning_rate"), (1, "tokens")):
            with self.subTest(name):
                run = self.copy("one", f"digit-{name}")
                rows = (run / "history.csv").read_text().splitlines()
                words = rows[7].split(",")
                words[column] = words[column][:-1] + str((int(words[column][-1]) + 1) % 10)
                rows[7] = ",".join(words)
                (run / "history.csv").write_text("\n".join(rows) + "\n")
                output = self.verify(run.name, "--steps", "4", "--from", "4", status=DIFFERENT)
                self.assertIn(f"1 of 4 replayed steps differ from the run, first step 7: {name} "
                              f"is {words[column]} in history.csv", output)

    def test_a_wrong_weight_is_found(self):
        # A bit of a weight flips while the run trains: its steps are not those of its checkpoint.
        self.train("flip", *self.KEYS, 'debug.faults=["flip-weight@7"]')
        output = self.verify("flip", "--steps", "8", status=DIFFERENT)
        self.assertIn("6 of 8 replayed steps differ from the run, first step 7", output)
        self.assertIn("after step 8 are not those of step-00000008", output)
        # A checkpoint of other weights, with the checksums that belong to them.
        run = self.copy("one", "foreign")
        self.train("seed", *self.KEYS, "training.seed=7")
        shutil.rmtree(run / "checkpoints/step-00000008")
        shutil.copytree(self.folder / "seed/checkpoints/step-00000008",
                        run / "checkpoints/step-00000008")
        output = self.verify("foreign", "--from", "4", "--steps", "6", status=DIFFERENT)
        self.assertNotIn("replayed steps differ", output)
        self.assertIn("after step 8 are not those of step-00000008", output)
        output = self.verify("foreign", "--from", "8", "--steps", "2", status=DIFFERENT)
        self.assertIn("first step 9", output)

    def test_a_run_that_goes_on_may_be_verified(self):
        run = self.folder / "goes-on"
        keys = [key for key in self.KEYS if not key.startswith("training.steps")]
        training = self.start(1, "train", *self.keys("goes-on", *keys, "training.steps=1000000"))
        while True:  # until a checkpoint is followed by the steps of another
            found = sorted((run / "checkpoints").glob("step-????????/COMPLETE"))
            if len(found) >= 3 and len(self.history("goes-on")) > int(found[-1].parent.name[5:]):
                break
            self.assertIsNone(training.poll())
            time.sleep(0.05)
        training.send_signal(signal.SIGSTOP)  # it holds its lock, and removes no checkpoint now
        self.wait_until_stopped(training.pid)
        try:
            before = self.listing("goes-on")
            output = self.verify("goes-on", "--steps", "4")
            self.assertIn("have every digit", output)
            self.assertEqual(self.listing("goes-on"), before)
        finally:
            training.send_signal(signal.SIGCONT)

    def test_a_checkpoint_that_is_removed_meanwhile_is_said_to_be(self):
        run = self.copy("one", "pruned")
        # The replay waits for its tokenizer, which it reads before the checkpoint that it has chosen.
        pipe = self.folder / "pipe.tiktoken"
        os.mkfifo(pipe)
        replay = self.start(1, "verify-resume", run, "--from", "4", f"data.tokenizer={pipe}")
        with open(pipe, "wb") as file:
            shutil.rmtree(run / "checkpoints/step-00000004")
            file.write(pathlib.Path(BYTES).read_bytes())
        output, _ = replay.communicate(timeout=HANG_S)
        self.assertEqual(replay.returncode, BAD_DATA, output)
        self.assertIn("the run has removed this checkpoint", output)

    def test_another_grid_says_so(self):
        output = self.verify("one", "--steps", "4", "--from", "4", ranks=2, status=DIFFERENT)
        self.assertIn("sums are rounded otherwise", output)
        self.assertIn("largest relative difference", output)
        self.assertIn("data 2", output)
        output = self.verify("one", "--steps", "4", "--from", "4", "device.simd=portable",
                             status=DIFFERENT)
        self.assertIn("SIMD level portable", output)

    def test_jobs_of_a_run(self):
        # As the run was continued: with more steps from 12 on, and then on another grid.
        run = self.copy("one", "jobs")
        keys = [key for key in self.KEYS if not key.startswith("training.steps")]
        self.train("jobs", *keys, "training.steps=18", "schedule.name=cosine")
        output = self.verify("jobs", "--steps", "6")
        self.assertIn("6 steps from checkpoint 12", output)
        self.assertIn("job 2 continued the checkpoint with", output)
        output = self.verify("jobs", "--steps", "6", "--from", "8")
        self.assertIn("ends at step 12", output)
        self.assertIn("4 steps from checkpoint 8", output)
        # Where the run has gone on with the same input the replay does not stop.
        self.train("two", *self.KEYS, "run.stop_after=6", status=75)
        self.train("two", *self.KEYS)
        self.assertIn("8 steps from checkpoint 4", self.verify("two", "--steps", "8"))
        self.assertEqual(history(self.folder / "two"), history(self.folder / "one"))
        self.assertTrue(run.is_dir())

    def test_spikes_of_a_run_are_followed(self):
        spikes = ["run.spike_threshold=30", "run.spike_window=8", "training.steps=16",
                  'debug.faults=["loss-spike@11"]']
        keys = [key for key in self.KEYS if not key.startswith("training.steps")]
        self.train("back", *keys, *spikes, "run.on_spike=rollback")
        output = self.verify("back", "--from", "4", "--steps", "12")
        self.assertIn("after step 8 the run has left out 24 samples", output)
        self.assertIn("12 steps from checkpoint 4", output)

    def test_bad_input(self):
        output = self.verify("one", "--from", "5", status=BAD_DATA)
        self.assertIn("it has those of 4, 8, 12", output)
        output = self.verify("one", "--from", "12", status=BAD_DATA)
        self.assertIn("no step behind step-00000012", output)
        output = self.verify("one", "optimizer.learning_rate=1", status=CONFIGURATION)
        self.assertIn("optimizer.learning_rate", output)
        output = self.verify("one", "--steps", "0", status=CONFIGURATION)
        self.assertIn("verify.steps", output)
        output = self.verify("no-such-run", status=BAD_DATA)
        self.assertIn("no-such-run", output)
        self.verify("one", self.folder / "one", status=USAGE)
        run = self.copy("one", "torn")
        path = run / "checkpoints/step-00000004/rank-00000.h5"
        data = bytearray(path.read_bytes())
        data[len(data) * 7 // 8] ^= 4
        path.write_bytes(data)
        output = self.verify("torn", "--from", "4", status=BAD_DATA)
        self.assertIn("rank-00000.h5", output)


if __name__ == "__main__":
    unittest.main()
