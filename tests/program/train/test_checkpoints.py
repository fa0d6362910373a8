#!/usr/bin/env python3
"""When checkpoints are saved, which are kept, and what is said of them."""
import json
import pathlib
import shutil
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import RunCase, espalier  # noqa: E402


class Checkpoints(RunCase):
    def steps(self, name):
        return sorted(int(path.name.removeprefix("step-"))
                      for path in (self.folder / name / "checkpoints").iterdir())

    def saves(self, name):
        with open(self.folder / name / "events.jsonl") as file:
            events = [json.loads(line) for line in file]
        return [event for event in events if event["event"] == "checkpoint"]

    def test_by_time_on_every_rank_alike(self):
        # A time that is over at every step; the clock of rank 0 decides for both.
        output = self.train("often", "training.steps=6", "checkpoint.interval=0",
                            "checkpoint.interval_minutes=1e-9", "checkpoint.keep=4", ranks=2)
        self.assertIn("checkpoints: every 1e-09 minutes", output)
        self.assertEqual(self.steps("often"), [3, 4, 5, 6])
        self.assertEqual([int(event["of_step"]) for event in self.saves("often")],
                         [1, 2, 3, 4, 5, 6])
        # A time that never comes.
        self.train("rarely", "training.steps=6", "checkpoint.interval=4",
                   "checkpoint.interval_minutes=1e9", ranks=2)
        self.assertEqual(self.steps("rarely"), [4, 6])

    def test_a_save_says_how_much_how_fast_and_what_it_cost(self):
        output = self.train("told", "training.steps=6", "checkpoint.interval=3")
        self.assertRegex(output, r"checkpoint of step 3 is complete \(\S+ [KM]iB in \S+ s = "
                                 r"\S+ [KMG]iB/s; the training waited \S+ s\)")
        self.assertIn("checkpoints: 2, ", output)
        saves = self.saves("told")
        self.assertEqual([save["path"] for save in saves],
                         ["checkpoints/step-00000003", "checkpoints/step-00000006"])
        for save in saves:
            self.assertGreater(save["write_s"], 0.0)
            self.assertGreaterEqual(save["stall_s"], 0.0)
            # Of the last one the training, which has ended, waits for all.
            self.assertGreater(save["bytes"], 100_000)

    def test_one_shared_file_goes_on_as_the_files_of_the_ranks_do(self):
        grid = ["parallel.tensor=2", "training.steps=12", "checkpoint.interval=6"]
        self.train("whole", *grid, ranks=4)
        # Saved by both layouts in turn, and read on another grid.
        self.train("turns", *grid, "run.stop_after=6", "checkpoint.layout=\"shared\"", ranks=4,
                   status=75)
        folder = self.folder / "turns" / "checkpoints" / "step-00000006"
        self.assertEqual(sorted(path.name for path in folder.iterdir()),
                         ["COMPLETE", "tensors.h5", "tokenizer"])
        other_grid = self.folder / "other"
        shutil.copytree(self.folder / "turns", other_grid)
        self.train("turns", *grid, ranks=4)
        self.assertEqual(self.history("turns"), self.history("whole"))
        self.assertIn("continuing", self.train("other", "training.steps=12", ranks=1))
        output = espalier(1, "inspect", folder)
        self.assertIn("all checksums fit", output)
        espalier(1, "convert", folder, self.folder / "hf")

    def test_the_first_of_every_so_many_hours_stays(self):
        # One span of hours holds the whole run, or two when its border falls into it.
        self.train("hours", "training.steps=6", "checkpoint.interval=1", "checkpoint.keep=1",
                   "checkpoint.keep_hours=1e6")
        kept = self.steps("hours")
        self.assertEqual((kept[0], kept[-1]), (1, 6))
        self.assertLessEqual(len(kept), 3)


if __name__ == "__main__":
    unittest.main()
