"""The same tiny input on every grid: the first step to 1e-6, twenty steps to 1e-4 (fp32)."""
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import RunCase  # noqa: E402

GRIDS = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (1, 4)]


class Grids(RunCase):
    worst = {"first step": 0.0, "twenty steps": 0.0}  # largest relative differences seen

    @classmethod
    def tearDownClass(cls):
        print("largest relative difference of loss or gradient norm:", cls.worst)
        super().tearDownClass()

    def compare(self, name, reference):
        rows, expected = self.history(name), self.history(reference)
        self.assertEqual(len(rows), 20)
        for row, other in zip(rows, expected):
            part, tolerance = ("first step", 1e-6) if row[0] == "1" else ("twenty steps", 1e-4)
            for value, wanted in zip(row, other):
                difference = abs(float(value) - float(wanted)) / abs(float(wanted))
                self.worst[part] = max(self.worst[part], difference)
                self.assertLessEqual(difference, tolerance, f"{name}: {row} != {other}")

    def run_all(self, *overrides):
        prefix = "-".join(o.split("=")[-1] for o in overrides)
        reference = f"{prefix}-reference"
        self.train(reference, *overrides)
        for tensor, data in GRIDS:
            for sequence_parallel in ([False, True] if tensor > 1 else [False]):
                for zero_stage in ([0, 1] if data > 1 else [1]):
                    name = f"{prefix}-{tensor}x{data}-{sequence_parallel}-{zero_stage}"
                    self.train(name, f"parallel.tensor={tensor}", f"parallel.data={data}",
                               f"parallel.sequence_parallel={str(sequence_parallel).lower()}",
                               f"parallel.zero_stage={zero_stage}", *overrides,
                               ranks=tensor * data)
                    self.compare(name, reference)

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
            self.compare(f"micro{micro}", "micro1")
        self.train("micro2x2x2", "training.micro_batch_size=2", "parallel.tensor=2", ranks=4)
        self.compare("micro2x2x2", "micro1")

    def test_initial_weights_are_the_same_bits_on_every_grid(self):
        # One step at learning rate 0 leaves the initial weights in the checkpoint.
        for tensor, data in GRIDS:
            self.train(f"start-{tensor}x{data}", "training.steps=1", "optimizer.learning_rate=0",
                       "schedule.name=constant", "schedule.min_learning_rate=0",
                       "schedule.warmup_steps=0", f"parallel.tensor={tensor}",
                       ranks=tensor * data)
            files = [self.folder / f"start-{grid}/checkpoints/step-00000001/master.h5"
                     for grid in ("1x1", f"{tensor}x{data}")]
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
