"""espalier bench --write: this host as a device that plans read."""
import json
import pathlib
import re
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import TINY, espalier  # noqa: E402

# Three of the models, which have all operators: rough rates, but all of them.
FEW = "bench.write_models=3"


class MeasuredHost(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="espalier-test-"))
        cls.device = cls.folder / "pair.toml"
        cls.said = espalier(2, "bench", "--write", cls.device, FEW)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder, ignore_errors=True)

    def step(self, *keys, ranks=1):
        rows = json.loads(espalier(ranks, "plan", "time", TINY, f"plan.device={self.device}",
                                   "--format", "json", *keys))
        return rows

    def test_the_file_is_a_document_that_says_what_was_measured(self):
        text = self.device.read_text()
        self.assertIn("espalier bench --write", text)
        self.assertRegex(text, r'name = "[^"]+, 2 ranks of 1 thread, [a-z0-9_]+"')
        self.assertIn('kind = "cpu"', text)
        self.assertIn("devices_per_node = 2", text)
        for key in ("simd", "copy_gbs", "product_bf16_tflops", "product_fp32_tflops",
                    "storage_gbs", "memory_gib"):
            self.assertRegex(text, rf"\n{key} = ")
        for name in ("gemm forward", "gemm backward_input", "gemm backward_weight",
                     "attention_forward", "attention_backward", "rmsnorm_forward",
                     "layernorm_backward", "swiglu_forward", "gelu_backward", "adamw",
                     "sums_of_squares", "cross_entropy_statistics", "qk_norm_rope_backward",
                     "tensor communication", "gradient communication", "weight communication"):
            for dtype in ("bfloat16", "float32"):
                self.assertRegex(text, rf'name = "{name}"\n(\w+ = .*\n)*dtype = "{dtype}"')
        self.assertIn(str(self.device), self.said)

    def test_plans_read_it_for_every_family_dtype_and_grid_of_the_machine(self):
        for keys in ([], ["training.dtype=float32"], ["parallel.tensor=2"], ["parallel.data=2"],
                     ["memory.recompute=full"], ["model.model_type=llama"],
                     ["model.model_type=gpt2", "model.num_key_value_heads=0", "model.head_dim=16"]):
            self.step(*keys)

    def test_bench_shows_the_plan_beside_what_it_measures(self):
        text = espalier(2, "bench", TINY, "bench.steps=1", "bench.warmup_steps=1",
                        f"plan.device={self.device}")
        self.assertRegex(text, r"matrix products +[0-9.]+ +[0-9.]+")
        self.assertNotIn("expert communication", text)
        self.assertRegex(text, r"bench: planned_step_seconds [0-9.]+")

    def test_bench_shows_how_long_the_ranks_of_a_pipeline_wait(self):
        for schedule in ("1f1b", "zb-v"):
            text = espalier(2, "bench", TINY, "bench.steps=2", "bench.warmup_steps=1",
                            f"plan.device={self.device}", "parallel.pipeline=2",
                            f"parallel.schedule={schedule}")
            self.assertRegex(text, r"pipeline communication +[0-9.]+ +[0-9.]+")
            measured, simulated = map(float, re.search(
                r"bench: bubble ([0-9.]+) \(simulated ([0-9.]+)\)", text).groups())
            self.assertTrue(0.0 < measured < 1.0 and 0.0 < simulated < 1.0, text)

    def test_a_larger_model_takes_longer(self):
        def seconds(*keys):
            text = espalier(1, "bench", TINY, "bench.steps=1", "bench.warmup_steps=0",
                            f"plan.device={self.device}", *keys)
            return float(re.search(r"planned_step_seconds ([0-9.]+)", text)[1])
        more = ["model.num_hidden_layers=8", "training.global_batch_size=16"]
        self.assertGreater(seconds(*more), seconds())

    def test_what_is_there_is_not_overwritten(self):
        before = self.device.read_bytes()
        said = espalier(1, "bench", "--write", self.device, FEW, status=78)
        self.assertIn(str(self.device), said)
        self.assertIn("bench.write", said)
        self.assertNotIn("pass 1", said)  # before anything is measured
        self.assertEqual(before, self.device.read_bytes())

    def test_a_folder_that_is_not_there_is_told_before_anything_is_measured(self):
        said = espalier(1, "bench", "--write", self.folder / "no" / "host.toml", FEW, status=78)
        self.assertIn(str(self.folder / "no"), said)
        self.assertNotIn("pass 1", said)

    def test_a_device_that_lacks_a_rate_is_told_with_the_operator(self):
        text = self.device.read_text()
        lame = self.folder / "lame.toml"
        lame.write_text(text.replace('"attention_backward"', '"attention_sideways"'))
        said = espalier(1, "plan", "time", TINY, f"plan.device={lame}", status=78)
        self.assertIn("attention_backward", said)
        self.assertIn("espalier bench --write", said)

    def test_more_ranks_than_the_machine_had_need_a_network(self):
        said = espalier(1, "plan", "time", TINY, f"plan.device={self.device}", "parallel.data=4",
                        "training.global_batch_size=8", status=78)
        self.assertIn("network_gbs", said)

    def test_other_commands_have_no_such_option(self):
        said = espalier(1, "train", TINY, "--write", self.folder / "x.toml", status=64)
        self.assertIn("--write", said)


if __name__ == "__main__":
    unittest.main()
