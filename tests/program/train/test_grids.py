"""The same tiny input on every grid of the table (support/grids.py), as closely as it says."""
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.grids import GRIDS, SHAPES, Grid  # noqa: E402
from support.runs import RunCase  # noqa: E402


class Grids(RunCase):
    worst = {"first step": 0.0, "twenty steps": 0.0}  # largest relative differences seen

    @classmethod
    def tearDownClass(cls):
        print("largest relative difference of loss or gradient norm:", cls.worst)
        super().tearDownClass()

    def compare(self, name, reference, grid):
        rows, expected = self.history(name), self.history(reference)
        self.assertEqual(len(rows), 20)
        for row, other in zip(rows, expected):
            part, tolerance = (("first step", grid.first_step) if row[0] == "1"
                               else ("twenty steps", grid.twenty_steps))
            for value, wanted in zip(row, other):
                difference = abs(float(value) - float(wanted)) / abs(float(wanted))
                self.worst[part] = max(self.worst[part], difference)
                self.assertLessEqual(difference, tolerance, f"{name}: {row} != {other}")

    def run_all(self, *overrides):
        prefix = "-".join(o.split("=")[-1] for o in overrides)
        reference = f"{prefix}-reference"
        self.train(reference, *overrides)
        for grid in GRIDS:
            name = f"{prefix}-{grid.name}"
            self.train(name, *grid.overrides(), *overrides, ranks=grid.ranks)
            self.compare(name, reference, grid)

    def test_tied(self):
        self.run_all("model.tie_word_embeddings=true")

    def test_untied_one_kv_head(self):
        self.run_all("model.tie_word_embeddings=false", "model.num_key_value_heads=1")

    def test_llama_with_scaled_rope(self):
        self.run_all("model.model_type=llama", "model.rope_type=llama3")

    def test_gpt2(self):
        # Four ranks hold one head each; GPT-2 has A x D = H.
        self.run_all("model.model_type=gpt2", "model.num_key_value_heads=4",
                     "model.hidden_size=96")

    def test_gradient_accumulation(self):
        self.train("micro1", "training.micro_batch_size=1")
        for micro in (2, 4, 8):
            self.train(f"micro{micro}", f"training.micro_batch_size={micro}")
            self.compare(f"micro{micro}", "micro1", Grid(1, 1))
        self.train("micro2x2x2", "training.micro_batch_size=2", "parallel.tensor=2", ranks=4)
        self.compare("micro2x2x2", "micro1", Grid(2, 2))

    def test_initial_weights_are_the_same_bits_on_every_grid(self):
        # One step at learning rate 0 leaves the initial weights in the checkpoint.
        for tensor, context, data in SHAPES:
            shape = f"{tensor}x{context}x{data}"
            self.train(f"start-{shape}", "training.steps=1", "optimizer.learning_rate=0",
                       "schedule.name=constant", "schedule.min_learning_rate=0",
                       "schedule.warmup_steps=0", f"parallel.tensor={tensor}",
                       f"parallel.context={context}", ranks=tensor * context * data)
            files = [self.folder / f"start-{grid}/checkpoints/step-00000001/master.h5"
                     for grid in ("1x1x1", shape)]
            done = subprocess.run(["h5diff", *files, "/master", "/master"], capture_output=True,
                                  text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual(done.stdout, "")

    def test_two_runs_are_identical(self):
        for dtype in ("float32", "bfloat16"):
            for name in ("a", "b"):
                self.train(name + dtype, "parallel.tensor=2", f"training.dtype={dtype}", ranks=4)
            self.assertEqual(self.history("a" + dtype), self.history("b" + dtype))


if __name__ == "__main__":
    unittest.main()
