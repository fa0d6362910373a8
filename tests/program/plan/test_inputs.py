"""The inputs that come with the program say what they are, and what they say is so."""
import json
import pathlib
import re
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from runs import ROOT, espalier  # noqa: E402

MODELS = sorted((ROOT / "inputs/models").glob("*.toml"))
# Those of whole clusters; the quickstart makes its data itself.
RUNS = sorted(path for path in (ROOT / "inputs/runs").glob("*.toml") if path.stem != "quickstart")
# V, H, F, L, A, K, D, tied, theta and parameters, of Hugging Face's config.json and its models.
PRESETS = {
    "qwen3-debug": (2048, 256, 3072, 8, 16, 8, 128, "yes", 1e6, 31_987_968),
    "qwen3-0.6b": (151936, 1024, 3072, 28, 16, 8, 128, "yes", 1e6, 596_049_920),
    "qwen3-1.7b": (151936, 2048, 6144, 28, 16, 8, 128, "yes", 1e6, 1_720_574_976),
    "qwen3-4b": (151936, 2560, 9728, 36, 32, 8, 128, "yes", 1e6, 4_022_468_096),
    "qwen3-8b": (151936, 4096, 12288, 36, 32, 8, 128, "no", 1e6, 8_190_735_360),
    "qwen3-14b": (151936, 5120, 17408, 40, 40, 8, 128, "no", 1e6, 14_768_307_200),
    "qwen3-32b": (151936, 5120, 25600, 64, 64, 8, 128, "no", 1e6, 32_762_123_264),
    "qwen3-1.5b-guide": (151936, 2048, 6144, 28, 16, 8, 128, "no", 1e6, 2_031_739_904),
    "qwen3-2.0b-guide": (151936, 2304, 6912, 28, 16, 8, 144, "no", 1e6, 2_483_888_256),
    # Of experts no block is dense: no F.
    "qwen3-moe-debug": (2048, 256, None, 8, 16, 8, 128, "yes", 1e6, 32_020_736),
    "qwen3-30b-a3b": (151936, 2048, None, 48, 32, 4, 128, "no", 1e6, 30_532_122_624),
    "qwen3-235b-a22b": (151936, 4096, None, 94, 64, 4, 128, "no", 1e6, 235_093_634_560),
    # As published without the weights of QK-norm: 1.830e9.
    "qwen3-1.8b-optimal": (151936, 2048, 6144, 24, 16, 8, 128, "no", 1e6, 1_830_395_904),
    "llama3-1.5b-optimal": (128256, 2048, 7168, 18, 16, 8, 128, "no", 5e5, 1_544_628_224),
    "llama3-2.2b-chinchilla": (128256, 2048, 7168, 30, 16, 8, 128, "no", 5e5, 2_224_154_624),
    "llama3-1b": (128256, 2048, 8192, 16, 32, 8, 64, "yes", 5e5, 1_235_814_400),
    "llama3-3b": (128256, 3072, 8192, 28, 24, 8, 128, "yes", 5e5, 3_212_749_824),
    "llama3-8b": (128256, 4096, 14336, 32, 32, 8, 128, "no", 5e5, 8_030_261_248),
    "llama3-70b": (128256, 8192, 28672, 80, 64, 8, 128, "no", 5e5, 70_553_706_496),
    "llama2-1.4b": (32000, 2304, 6144, 18, 18, 18, 128, "no", 1e4, 1_294_159_104),
    "gpt2-1.3b": (50304, 2304, 9216, 18, 18, 18, 128, "yes", None, 1_267_780_608),
}
# E, k, Fe, layers that have them and the parameters that a token meets.
EXPERTS = {
    "qwen3-moe-debug": (16, 4, 192, 8, 17_864_960),
    "qwen3-30b-a3b": (128, 8, 768, 48, 3_353_032_704),
    "qwen3-235b-a22b": (128, 8, 1536, 94, 22_190_763_520),
}


class Models(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rows = {row["name"]: row for row in json.loads(
            espalier(1, "plan", "compare", *MODELS, "--format", "json"))}

    def test_the_first_line_of_a_model_file_has_its_parameters_to_the_digit(self):
        for path in MODELS:
            said = re.match(r"# .+, ([\d,]+) parameters\.\n", path.read_text())
            self.assertTrue(said, f"{path}: no parameters in the first line")
            self.assertEqual(said[1], f"{self.rows[path.stem]['parameters']:,}", path)

    def test_a_model_file_says_its_purpose_and_where_it_comes_from(self):
        for path in MODELS:
            self.assertIn("\n# Purpose:   ", path.read_text(), path)
            self.assertIn("\n# Reference: ", path.read_text(), path)

    def test_the_presets_are_those_of_their_sources(self):
        keys = ("vocab_size", "hidden_size", "intermediate_size", "layers", "attention_heads",
                "key_value_heads", "head_dim", "tied", "rope_theta", "parameters")
        for name, sizes in PRESETS.items():
            self.assertEqual(tuple(self.rows[name].get(key) for key in keys), sizes, name)
        keys = ("experts", "experts_per_token", "expert_size", "expert_layers", "active_parameters")
        for name, sizes in EXPERTS.items():
            self.assertEqual(tuple(self.rows[name][key] for key in keys), sizes, name)
            self.assertIn(f"meets {sizes[-1]:,}", (ROOT / f"inputs/models/{name}.toml").read_text())
        self.assertEqual(self.rows["qwen3-8b"]["active_parameters"], 8_190_735_360)


class Runs(unittest.TestCase):
    def test_a_run_input_says_purpose_source_expectation_data_and_start(self):
        for path in RUNS:
            text = path.read_text()
            for word in ("Purpose:   ", "Published: ", "Expected:  ", "Data:      ", "Start:     "):
                self.assertIn(f"\n# {word}", text, path)
            self.assertIn(f"inputs/runs/{path.name}", text)

    def test_the_dry_run_of_each_plans_it_and_misses_nothing_but_its_data(self):
        for path in RUNS:
            ranks = int(re.search(r"mpirun -n (\d+)", path.read_text())[1])
            with tempfile.TemporaryDirectory() as folder:  # where neither data nor runs are
                text = espalier(1, "train", path, "--dry-run", status=65, cwd=folder)
            self.assertIn(f"= {ranks} ranks", text)
            self.assertIn("memory plan", text)
            missing = [line for line in text.splitlines() if line.endswith("is not there")]
            self.assertEqual(len(missing), 8, text)  # seven sources and the tokenizer
            for line in missing:
                self.assertRegex(line, r"data\.(sources\[\d\]\.train|tokenizer) = ")

    def test_what_a_run_input_expects_is_what_is_planned(self):
        # Words for people: a finer model of time may move them a little before they are renewed
        # by validation/published_comparison/comparison.py.
        for path in RUNS:
            said = re.search(r"# Expected:  ([\d.]+) GiB a GPU, ([\d,]+) tokens/s, MFU ([\d.]+) %, "
                             r"([\d.]+) h\n#.* with plan.device=(\S+)\.\n", path.read_text())
            self.assertTrue(said, f"{path}: no expectation")
            (row,) = json.loads(espalier(1, "plan", "time", path, f"plan.device={said[5]}",
                                         "--format", "json", cwd=ROOT))
            speed = float(said[2].replace(",", ""))
            for key, expected, tolerance in (
                    ("memory_bytes", float(said[1]) * 2**30, 0.02),
                    ("tokens_per_second", speed, 0.1), ("hours", float(said[4]), 0.1)):
                self.assertLess(abs(row[key] / expected - 1), tolerance, f"{path.name}: {key}")
            # The figures of one line belong together.
            tokens = float(re.search(r"\ntokens = ([\d_]+)", path.read_text())[1].replace("_", ""))
            self.assertAlmostEqual(tokens / speed / 3600 / float(said[4]), 1, 1, path.name)

    def test_the_epochs_that_a_run_says_are_those_of_its_tokens(self):
        rows = json.loads(espalier(1, "plan", "compare", *RUNS, "--format", "json"))
        for path, row in zip(RUNS, rows):
            epochs = float(re.search(r"# Data:      ([\d.]+) epochs", path.read_text())[1])
            self.assertAlmostEqual(row["tokens"] / 627e9, epochs, 3, path)


if __name__ == "__main__":
    unittest.main()
