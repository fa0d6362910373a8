"""Whole runs on a GPU beside the host's: losses, grids, checkpoints, two runs to the bit.

ESPALIER_TEST_BACKEND=emulated runs the CUDA kernels on the host (CI), =cuda on the GPU of this
machine, which the ranks share."""
import os
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.runs import RunCase, espalier  # noqa: E402

BACKEND = os.environ.get("ESPALIER_TEST_BACKEND", "emulated")
# D 64, so that bf16 takes the tensor cores' attention; few steps, because the emulation is slow.
SHORT = ("training.steps=4", "schedule.warmup_steps=1", "training.global_batch_size=4",
         "checkpoint.interval=2", "validation.sequences=4")
BF16 = ("training.dtype=bfloat16", "model.head_dim=64")
FP32 = ("training.dtype=float32",)
GPU = (f"device.backend={BACKEND}", "device.share_gpus=true", "device.communicator=mpi")
HOST = ("device.backend=host",)
FAMILIES = {
    "qwen3": (),
    "llama": ("model.model_type=llama", "model.rope_type=llama3",
              "model.tie_word_embeddings=false"),
    "gpt2": ("model.model_type=gpt2", "model.num_key_value_heads=4", "model.hidden_size=96"),
}
# Products of experts take the emulation seconds.
SMALL = ("training.steps=2", "training.sequence_length=16", "training.global_batch_size=2",
         "validation.sequences=2")
EXPERTS = ("model.model_type=qwen3_moe", "model.num_experts=4", "model.num_experts_per_tok=2",
           "model.moe_intermediate_size=32", "model.tie_word_embeddings=false")


class Training(RunCase):
    def run_on(self, where, name, *overrides, ranks=1):
        return self.train(name, *SHORT, *where, *overrides, ranks=ranks)

    def compare(self, name, reference, tolerance):
        """Losses and gradient norms of all steps that both histories have."""
        rows, expected = self.history(name), self.history(reference)
        self.assertEqual(len(rows), len(expected))
        for row, other in zip(rows, expected):
            for value, wanted in ((row[2], other[2]), (row[3], other[3])):
                difference = abs(float(value) - float(wanted)) / abs(float(wanted))
                self.assertLessEqual(difference, tolerance, f"{name}: {row} != {other}")

    def test_every_family_trains_as_on_the_host(self):
        # fp32 differs by the order of sums; bf16 by where each operator rounds, 2^-9.
        for family, keys in FAMILIES.items():
            for dtype, precision, tolerance in (("fp32", FP32, 2e-5), ("bf16", BF16, 4e-3)):
                if family == "gpt2" and dtype == "bf16":
                    keys = keys + ("model.hidden_size=256",)  # GPT-2 has A x D = H
                with self.subTest(family=family, dtype=dtype):
                    name = f"{family}-{dtype}"
                    self.run_on(HOST, f"{name}-host", *precision, *keys)
                    self.run_on(GPU, f"{name}-gpu", *precision, *keys)
                    self.compare(f"{name}-gpu", f"{name}-host", tolerance)

    def test_grids_agree_and_runs_repeat_to_the_bit(self):
        self.assertIn("rank 0: ", self.run_on(GPU, "one", *FP32))
        for tensor, data in ((2, 1), (1, 2), (2, 2)):
            keys = (*FP32, f"parallel.tensor={tensor}", f"parallel.data={data}")
            name = f"grid-{tensor}x{data}"
            self.run_on(GPU, name, *keys, ranks=tensor * data)
            self.compare(name, "one", 2e-5)
            if (tensor, data) == (2, 2):
                self.run_on(GPU, "again", *keys, ranks=4)
                self.assertEqual(self.history("again"), self.history(name))
                beside = (*keys, "parallel.overlap_tensor=true")
                for run in ("pieces", "pieces-again"):
                    self.run_on(GPU, run, *beside, ranks=4)
                self.compare("pieces", "one", 2e-5)
                self.assertEqual(self.history("pieces"), self.history("pieces-again"))
        self.run_on(GPU, "bf16-a", *BF16)
        self.run_on(GPU, "bf16-b", *BF16)
        self.assertEqual(self.history("bf16-a"), self.history("bf16-b"))

    def test_checkpoints_pass_between_host_and_gpu(self):
        # A whole run on the host, beside one whose second half continues on the other backend.
        long = ("schedule.name=constant", "training.steps=6")
        short = ("schedule.name=constant", "training.steps=4")
        self.train("whole", *SHORT, *HOST, *FP32, *long)
        for first, second, name in ((HOST, GPU, "to-gpu"), (GPU, HOST, "to-host")):
            self.train(name, *SHORT, *first, *FP32, *short)
            output = self.train(name, *SHORT, *second, *FP32, *long)
            self.assertIn("continuing", output)
            self.compare(name, "whole", 2e-5)

    def test_document_mask_and_evaluation(self):
        mask = ("data.document_mask=true",)
        self.run_on(HOST, "mask-host", *FP32, *mask)
        self.run_on(GPU, "mask-gpu", *FP32, *mask)
        self.compare("mask-gpu", "mask-host", 2e-5)
        # A few sequences: all of them take the emulation minutes.
        losses = [float(re.search(r"loss ([0-9.]+)", espalier(
            1, "eval", self.folder / "mask-host", "validation.sequences=64", *where))[1])
                  for where in (HOST, GPU)]
        self.assertLessEqual(abs(losses[0] - losses[1]), 2e-5 * losses[0])
        texts = [espalier(1, "generate", self.folder / "mask-host", "--prompt", "include",
                          "generate.temperature=0", "generate.max_new_tokens=12", *where)
                 for where in (HOST, GPU)]
        self.assertEqual(*(text.splitlines()[-1] for text in texts))

    def test_experts_train_as_on_the_host(self):
        for dtype, precision, tolerance in (("fp32", FP32, 2e-5), ("bf16", BF16, 4e-3)):
            self.run_on(HOST, f"experts-{dtype}-host", *precision, *EXPERTS, *SMALL)
            self.run_on(GPU, f"experts-{dtype}", *precision, *EXPERTS, *SMALL)
            self.compare(f"experts-{dtype}", f"experts-{dtype}-host", tolerance)
        # Rows of tokens go to the other rank's experts and come back.
        self.run_on(GPU, "experts-apart", *FP32, *EXPERTS, *SMALL, "parallel.data=2",
                    "parallel.expert=2", ranks=2)
        self.compare("experts-apart", "experts-fp32", 2e-5)

    def test_a_pipeline_has_the_bits_of_one_rank(self):
        for name, keys in (("dense", BF16), ("sparse", (*FP32, *EXPERTS))):
            keys = (*keys, *SMALL)
            self.run_on(GPU, f"{name}-whole", *keys)
            self.run_on(GPU, f"{name}-stages", *keys, "parallel.pipeline=2", ranks=2)
            self.assertEqual(self.history(f"{name}-stages"), self.history(f"{name}-whole"))

    def test_recomputation_changes_no_bit(self):
        for dtype, precision in (("fp32", FP32), ("bf16", BF16)):
            self.run_on(GPU, f"none-{dtype}", *precision)
            for mode in ("selective", "full"):
                self.run_on(GPU, f"{mode}-{dtype}", *precision, f"memory.recompute={mode}")
                self.assertEqual(self.history(f"{mode}-{dtype}"), self.history(f"none-{dtype}"))


if __name__ == "__main__":
    unittest.main()
