"""Steps whose numbers are bad, and damaged checkpoints: what a run does about them by itself."""
import json
import pathlib
import shutil
import sys
import unittest

SUPPORT = pathlib.Path(__file__).resolve().parents[2] / "support"
sys.path.insert(0, str(SUPPORT.parent))
from support.runs import RunCase  # noqa: E402

BAD_NUMBERS, BAD_DATA, CONFIGURATION = 79, 65, 78


class BadNumbers(RunCase):
    KEYS = ["schedule.name=constant", "checkpoint.interval=5", "training.steps=20"]
    SPIKES = ["run.spike_threshold=30", "run.spike_window=8"]

    def events(self, name, kind):
        text = (self.folder / name / "events.jsonl").read_text()
        return [e for e in map(json.loads, text.splitlines()) if e["event"] == kind]

    def checkpoints(self, name):
        return sorted(p.name for p in (self.folder / name / "checkpoints").iterdir())

    def flip_bit(self, path):
        data = bytearray(path.read_bytes())
        data[len(data) * 7 // 8] ^= 4
        path.write_bytes(data)

    def test_stop_changes_nothing_and_the_next_job_goes_on_as_if_uninterrupted(self):
        self.train("whole", *self.KEYS)
        for fault in ("nan-gradient@8", "loss-spike@13"):
            name = fault.split("@")[0]
            output = self.train(name, *self.KEYS, *self.SPIKES, f'debug.faults=["{fault}"]',
                                status=BAD_NUMBERS)
            self.assertIn("no weight was changed", output)
            self.assertEqual(self.events(name, "spike")[0]["action"], "stop")
            self.train(name, *self.KEYS, *self.SPIKES)
            self.assertEqual(self.history(name), self.history("whole"))

    def test_a_skipped_step_has_its_row_and_a_restart_is_exact(self):
        keys = [*self.KEYS, *self.SPIKES, "run.on_spike=skip"]
        fault = 'debug.faults=["nan-gradient@8:1"]'
        self.train("skip", *keys, fault, ranks=2)
        whole = self.history("skip")
        self.assertEqual([int(row[0]) for row in whole], list(range(1, 21)))
        self.assertEqual(whole[7][3], "nan")
        self.assertEqual(self.events("skip", "spike")[0]["action"], "skip")
        # The bias of the moments goes on from the updates, not from the steps.
        shutil.rmtree(self.folder / "skip/checkpoints/step-00000020")
        self.train("skip", *keys, ranks=2)
        self.assertEqual(self.history("skip"), whole)

    def test_rollback_leaves_out_the_data_and_a_restart_is_exact(self):
        keys = [*self.KEYS, *self.SPIKES, "run.on_spike=rollback"]
        self.train("back", *keys, 'debug.faults=["loss-spike@13"]', ranks=2)
        whole = self.history("back")
        self.assertEqual([int(row[0]) for row in whole], list(range(1, 21)))
        event = self.events("back", "rollback")[0]
        self.assertEqual((event["to_step"], event["samples_left_out"]), (10, 3 * 8))
        self.assertEqual(int(whole[10][1]) - int(whole[9][1]), 4 * 8 * 32)
        # Two of the twelve steps before the spike were made in vain.
        report = json.loads((self.folder / "back/report.json").read_text())
        replayed = report["time"]["replay_s"]
        self.assertAlmostEqual(replayed, event["lost_s"], places=6)
        self.assertGreater(replayed, 0.0)
        shutil.rmtree(self.folder / "back/checkpoints/step-00000020")
        self.train("back", *keys, ranks=2)
        self.assertEqual(self.history("back"), whole)

    def test_a_run_gives_up_after_max_spikes(self):
        faults = ",".join(f'"nan-gradient@{step}"' for step in (3, 4, 7))
        output = self.train("many", *self.KEYS, "run.on_spike=skip", "run.max_spikes=2",
                            f"debug.faults=[{faults}]", status=BAD_NUMBERS)
        self.assertIn("run.max_spikes", output)
        self.assertEqual(len(self.history("many")), 6)
        output = self.train("early", *self.KEYS, "run.on_spike=rollback",
                            'debug.faults=["nan-gradient@3"]', status=BAD_NUMBERS)
        self.assertIn("no checkpoint to go back to", output)

    def test_a_damaged_checkpoint_is_passed_over_and_kept(self):
        self.train("damaged", *self.KEYS, ranks=2)
        whole = self.history("damaged")
        folder = self.folder / "damaged/checkpoints/step-00000020"
        copy = self.folder / "copy"
        shutil.copytree(folder, copy)
        damages = {
            "rank 1's file": lambda: self.flip_bit(folder / "rank-00001.h5"),
            "truncated": lambda: (folder / "rank-00000.h5").write_bytes(b""),
            "missing": lambda: (folder / "master.h5").unlink(),
        }
        for number, (what, damage) in enumerate(damages.items(), 1):
            with self.subTest(what):
                damage()
                output = self.train("damaged", *self.KEYS, ranks=2)
                self.assertIn("passed over", output)
                self.assertIn("step 15", output)
                self.assertEqual(self.history("damaged"), whole)
                suffix = ".damaged" if number == 1 else f".damaged-{number}"
                self.assertIn(f"step-00000020{suffix}", self.checkpoints("damaged"))
                self.assertEqual(len(self.events("damaged", "damaged")), number)

    def test_without_a_whole_checkpoint_nothing_is_changed(self):
        self.train("none", *self.KEYS, "checkpoint.keep=1")
        self.assertEqual(self.checkpoints("none"), ["step-00000020"])
        self.flip_bit(self.folder / "none/checkpoints/step-00000020/rank-00000.h5")
        before = self.history("none")
        output = self.train("none", *self.KEYS, status=BAD_DATA)
        self.assertIn("no other checkpoint", output)
        self.assertEqual(self.history("none"), before)
        self.assertEqual(self.checkpoints("none"), ["step-00000020"])

    def test_bad_keys(self):
        output = self.train("keys", *self.KEYS, 'debug.faults=["flood@3","nan-gradient@3:1"]',
                            status=CONFIGURATION)
        self.assertIn("flood@3", output)
        self.assertIn("nan-gradient@3:1", output)
        output = self.train("keys", *self.KEYS, "checkpoint.interval=0", "run.on_spike=rollback",
                            status=CONFIGURATION)
        self.assertIn("run.on_spike", output)


if __name__ == "__main__":
    unittest.main()
