"""run.audit_interval: flipped bits of live weights are found before they reach the training."""
import json
import pathlib
import re
import sys
import unittest

SUPPORT = pathlib.Path(__file__).resolve().parents[2] / "support"
sys.path.insert(0, str(SUPPORT.parent))
from support.runs import RunCase  # noqa: E402

BAD_NUMBERS = 79


class Audit(RunCase):
    KEYS = ["checkpoint.interval=5", "training.steps=12"]

    def flip(self, name, *keys, ranks, rank, step):
        """Runs into a bit that flips in that step; returns the output."""
        output = self.train(name, *self.KEYS, *keys, f'debug.faults=["flip-weight@{step}:{rank}"]',
                            ranks=ranks, status=BAD_NUMBERS)
        self.assertIn(f"audit in step {step}", output)
        tensor = re.search(r"a bit of (\S+) is flipped", output)[1]
        self.assertIn(f"weight of {tensor}: wrong on rank {rank}", output)
        text = (self.folder / name / "events.jsonl").read_text()
        event = [e for e in map(json.loads, text.splitlines()) if e["event"] == "audit"][0]
        self.assertEqual((event["tensor"], event["ranks"]), (tensor, f"rank {rank}"))
        self.assertEqual(len(self.history(name)), step - 1)
        return output

    def test_a_flipped_bit_is_found_and_the_next_job_goes_on_as_if_uninterrupted(self):
        every = "run.audit_interval=1"
        cases = [(1, 1, "bfloat16", []), (1, 2, "float32", []), (1, 2, "bfloat16", []),
                 (2, 1, "bfloat16", ["parallel.sequence_parallel=false"]),
                 (2, 2, "bfloat16", []), (1, 2, "float32", ["parallel.zero_stage=0"])]
        for number, (tensor, data, dtype, more) in enumerate(cases):
            with self.subTest(tensor=tensor, data=data, dtype=dtype, more=more):
                name, ranks = f"run-{number}", tensor * data
                keys = [*more, f"parallel.tensor={tensor}", f"training.dtype={dtype}"]
                self.flip(name, *keys, every, ranks=ranks, rank=ranks - 1, step=7 + number)
                if number != 2:
                    continue
                self.train("whole", *self.KEYS, *keys, ranks=ranks)
                self.train(name, *self.KEYS, *keys, every, ranks=ranks)
                self.assertEqual(self.history(name), self.history("whole"))

    def test_a_step_that_was_left_out_is_audited_with_the_next(self):
        # Steps 4 and 8 are due; 8 has no update, so that its weights are still there in 9.
        output = self.train("late", *self.KEYS, "run.audit_interval=4", "run.on_spike=skip",
                            'debug.faults=["nan-gradient@8:1","flip-weight@8:1"]', ranks=2,
                            status=BAD_NUMBERS)
        self.assertIn("audit in step 9", output)
        names = sorted(p.name for p in (self.folder / "late/checkpoints").iterdir())
        self.assertEqual(names, ["step-00000005"])

    def test_no_checkpoint_holds_what_an_audit_would_not_pass(self):
        # No step is due; the step without an update leaves the flipped bit to the save after it.
        output = self.train("save", *self.KEYS, "run.audit_interval=1000", "run.on_spike=skip",
                            'debug.faults=["nan-gradient@10:1","flip-weight@10:1"]', ranks=2,
                            status=BAD_NUMBERS)
        self.assertIn("audit before the checkpoint of step 10", output)
        names = sorted(p.name for p in (self.folder / "save/checkpoints").iterdir())
        self.assertEqual(names, ["step-00000005"])


if __name__ == "__main__":
    unittest.main()
