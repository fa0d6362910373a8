"""Whole trainings at every SIMD level of this processor, in both dtypes: the same bits twice at one
level, nearly the same between levels; a level that the processor has not is refused by name."""
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import RunCase, espalier  # noqa: E402

ALL_LEVELS = ["portable", "avx2", "avx512", "avx512_bf16"]
# Largest relative difference of losses and gradient norms over 20 steps. fp32 as between grids;
# bf16 keeps 8 bits, and levels round their sums at different places.
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}


def levels_here():
    line = re.search(r"^SIMD +(.*) on this processor$", espalier(1, "--version"), re.MULTILINE)
    return line.group(1).split(", ")


class Levels(RunCase):
    worst = {dtype: 0.0 for dtype in TOLERANCE}

    @classmethod
    def tearDownClass(cls):
        print("levels:", ", ".join(levels_here()), "- largest relative difference:", cls.worst)
        super().tearDownClass()

    def run_at(self, level, dtype, name):
        output = self.train(name, f"device.simd={level}", f"training.dtype={dtype}",
                            "model.num_hidden_layers=1", "validation.interval=0", ranks=2)
        self.assertIn(f"SIMD level {level},", output)
        return self.history(name)

    def compare_levels(self, dtype):
        expected = None
        for level in levels_here():
            rows = self.run_at(level, dtype, f"{dtype}-{level}")
            self.assertEqual(rows, self.run_at(level, dtype, f"{dtype}-{level}-again"))
            expected = expected or rows
            for row, wanted in zip(rows, expected, strict=True):
                for value, other in zip(row, wanted):
                    difference = abs(float(value) - float(other)) / abs(float(other))
                    self.worst[dtype] = max(self.worst[dtype], difference)
                    self.assertLessEqual(difference, TOLERANCE[dtype], f"{level}: {row} {wanted}")

    def test_float32(self):
        self.compare_levels("float32")

    def test_bfloat16(self):
        self.compare_levels("bfloat16")

    def test_auto_takes_the_best_and_a_lower_one_is_explained(self):
        best = levels_here()[-1]
        output = self.train("auto", "training.steps=2", "schedule.warmup_steps=1",
                            "device.simd=auto")
        self.assertIn(f"SIMD level {best},", output)
        self.assertNotIn("because of device.simd", output)
        if best != "portable":
            output = self.train("lower", "training.steps=2", "schedule.warmup_steps=1",
                                "device.simd=portable")
            self.assertIn(f"because of device.simd; the processors have {best}", output)

    def test_a_restart_at_another_level_is_said(self):
        if levels_here()[-1] == "portable":
            self.skipTest("this processor has one level")
        self.train("moved", "device.simd=portable", "run.stop_after=10", status=75)
        output = self.train("moved", "device.simd=auto")
        self.assertIn(f"SIMD level {levels_here()[-1]} (was portable)", output)
        self.assertIn("continuing", output)

    def test_a_level_that_is_missing_is_refused(self):
        for level in ALL_LEVELS:
            if level not in levels_here():
                output = self.train("missing", f"device.simd={level}", ranks=2, status=78)
                for word in ("device.simd", level, "rank 0", levels_here()[-1]):
                    self.assertIn(word, output)
        output = self.train("misspelt", "device.simd=avx3", status=78)
        self.assertIn("avx512_bf16", output)


if __name__ == "__main__":
    unittest.main()
