#!/usr/bin/env python3
"""What `espalier bench operators` times of a block with experts, on the emulated GPU: no figure of
it means anything, but every kernel that a GPU can take has a row."""
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import TINY, espalier  # noqa: E402

EXPERTS = ("model.model_type=qwen3_moe", "model.num_experts=4", "model.num_experts_per_tok=2",
           "model.moe_intermediate_size=32")


class Operators(unittest.TestCase):
    def test_grouped_products_by_every_kernel_and_beside_a_dense_one(self):
        text = espalier(1, "bench", "operators", TINY, "device.backend=emulated",
                        "training.dtype=bfloat16", "training.sequence_length=8",
                        "training.loss_chunk_tokens=8", *EXPERTS)
        rows = re.findall(r"^  (\S.*?) {2,}[\d.]+ +[\d.]+ +[\d.]+ *$", text, re.M)
        for product in ("experts' gate_up", "experts' down"):
            for which in ("", " dX", " dW"):
                self.assertIn(f"{product} product{which and ',' + which}", rows)
                for provider in ("mma", "wgmma", "dense"):
                    self.assertIn(f"{product}{which}, {provider}", rows)
        for row in ("router backward", "experts' activation backward"):
            self.assertIn(row, rows)
        # Alternatives are no part of a step.
        gaps = text[text.index("the largest gaps"):]
        self.assertNotRegex(gaps, "mma|dense")
        self.assertIn("device: emulated", text)


if __name__ == "__main__":
    unittest.main()
