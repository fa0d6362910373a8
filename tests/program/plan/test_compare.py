"""espalier plan compare: models and runs side by side, in every format, and bad input."""
import csv
import io
import json
import pathlib
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from paper_gpu import write_device  # noqa: E402
from runs import ROOT, espalier  # noqa: E402

MODELS = ROOT / "inputs/models"
FAMILIES = ["gpt2-1.3b", "llama2-1.4b", "llama3-1.5b-optimal", "qwen3-1.5b-guide"]


class Compare(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="espalier-test-"))
        cls.device = write_device(cls.folder)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder, ignore_errors=True)

    def compare(self, *words, models=FAMILIES, **how):
        return espalier(1, "plan", "compare", *[MODELS / f"{name}.toml" for name in models], *words,
                        **how)

    def rows(self, *words, **how):
        return json.loads(self.compare(*words, "--format", "json", **how))

    def expect(self, text, *words):
        for word in words:
            self.assertIn(word, text)

    def test_the_four_families_have_the_parts_and_sizes_of_their_papers(self):
        gpt2, llama2, llama3, qwen3 = self.rows()
        self.assertEqual([row["name"] for row in (gpt2, llama2, llama3, qwen3)], FAMILIES)
        self.assertEqual([gpt2[key] for key in ("family", "normalization", "positions", "mlp",
                                                "biases", "qk_norm", "tied", "queries_per_key")],
                         ["gpt2", "LayerNorm", "learned", "GELU (tanh)", "yes", "no", "yes", "1:1"])
        self.assertEqual([qwen3[key] for key in ("family", "normalization", "positions", "mlp",
                                                 "biases", "qk_norm", "tied", "queries_per_key")],
                         ["qwen3", "RMSNorm", "rotary", "SwiGLU", "no", "yes", "no", "2:1"])
        self.assertIsNone(gpt2["rope_theta"])
        self.assertEqual([row["rope_theta"] for row in (llama2, llama3, qwen3)], [1e4, 5e5, 1e6])
        self.assertEqual(llama3["intermediate_ratio"], 3.5)
        self.assertEqual([row["parameters"] for row in (gpt2, llama2, llama3, qwen3)],
                         [1267780608, 1294159104, 1544628224, 2031739904])
        for row in (gpt2, llama2, llama3, qwen3):
            self.assertEqual(row["active_parameters"], row["parameters"])
            products = sum(row[f"flops_{part}"] for part in ("projections", "mlp", "lm_head"))
            self.assertEqual(row["flops_causal"], products + row["flops_causal_attention"])
            self.assertEqual(row["flops_full"], products + row["flops_full_attention"])
        # 6 (N without embedding + V H) + 6 L A D S, with norms of L (2 H + 2 D) + H left out.
        self.assertEqual(qwen3["flops_causal"],
                         6 * (qwen3["parameters_without_embedding"] - 28 * (4096 + 256) - 2048
                              + 151936 * 2048 + 28 * 2048 * 2048))

    def test_all_formats_say_the_same_and_lines_have_a_hundred_columns(self):
        rows = self.rows("training.tokens=20e9")
        table = list(csv.DictReader(io.StringIO(
            self.compare("training.tokens=20e9", "--format", "csv"))))
        self.assertEqual([int(row["parameters"]) for row in table],
                         [row["parameters"] for row in rows])
        text = self.compare("training.tokens=20e9")
        markdown = self.compare("training.tokens=20e9", "--format", "markdown")
        self.assertLessEqual(max(map(len, text.splitlines())), 100, text)
        for row in rows:
            for printed in (text, markdown):
                self.expect(printed, row["name"], f"{row['parameters']:,}",
                            f"{row['expected_loss']:.6f}")
        self.expect(text, "* layers", "  head size")
        self.expect(markdown, "| **layers** |", "| head size |")
        many = self.compare(models=FAMILIES + ["qwen3-0.6b", "qwen3-32b", "llama3-70b"])
        self.assertLessEqual(max(map(len, many.splitlines())), 100, many)
        self.expect(many, "llama3-70b", "70,553,706,496")

    def test_the_published_losses_come_out_of_the_published_tokens(self):
        # Each parameter count without QK-norm, as published; Llama 3 has none.
        for model, tokens, loss in (("llama3-1.5b-optimal", 101_909_090_909, 2.335120),
                                    ("llama3-2.2b-chinchilla", 61_545_454_545, 2.351059)):
            (row,) = self.rows(f"training.tokens={tokens}", models=[model])
            self.assertAlmostEqual(row["expected_loss"], loss, 6)

    def test_a_device_has_rows_with_memory_and_hours_of_the_best_layout(self):
        words = [f"plan.device={self.device}", "plan.ranks=8", "training.global_batch_size=64",
                 "training.tokens=1e9"]
        rows = self.rows(*words, models=["qwen3-0.6b", "qwen3-1.7b"])
        for row, name in zip(rows, ("qwen3-0.6b", "qwen3-1.7b")):
            best = json.loads(espalier(
                1, "plan", "grid", f"model.file={MODELS / name}.toml", *words, "plan.rows=1",
                "--format", "json"))[0]
            for key in ("ranks", "memory_bytes", "hours", "mfu_causal"):
                if key in best:
                    self.assertEqual(row[f"paper_{key}"], best[key], key)
        text = self.compare(*words, models=["qwen3-0.6b", "qwen3-1.7b"])
        self.expect(text, "paper: devices", "paper: memory, GiB", "paper: hours",
                    "layout: tensor x data")

    def test_run_inputs_have_tokens_and_learning_rates(self):
        runs = [ROOT / f"inputs/runs/qwen3-1.8b-optimal-{where}.toml"
                for where in ("2xa6000", "8xb200")]
        rows = json.loads(espalier(1, "plan", "compare", *runs, "--format", "json"))
        for row in rows:
            self.assertAlmostEqual(row["tokens"] / 81.727e9, 1, 4)
            self.assertAlmostEqual(row["tokens_per_parameter"], 44.65, 1)
            self.assertEqual(row["learning_rate"], 8e-4)
            self.assertAlmostEqual(row["step_law_learning_rate"] / 1.344e-3, 1, 2)

    def test_several_ranks_print_one_comparison(self):
        words = ["plan", "compare", MODELS / "qwen3-0.6b.toml", MODELS / "qwen3-4b.toml"]
        self.assertEqual(espalier(2, *words), espalier(1, *words))

    def test_files_of_one_name_are_told_apart_by_their_folders(self):
        for name, layers in (("a", 2), ("b", 3)):
            (self.folder / name).mkdir(exist_ok=True)
            (self.folder / name / "model.toml").write_text(
                (MODELS / "qwen3-debug.toml").read_text().replace("num_hidden_layers = 8",
                                                                  f"num_hidden_layers = {layers}"))
        files = [self.folder / name / "model.toml" for name in ("a", "b")]
        rows = json.loads(espalier(1, "plan", "compare", *files, "--format", "json"))
        self.assertEqual([(row["name"], row["layers"]) for row in rows],
                         [("a/model", 2), ("b/model", 3)])

    def test_bad_input_is_refused_with_its_remedy(self):
        qwen = MODELS / "qwen3-0.6b.toml"

        def refused(*words, status=78):
            return espalier(1, "plan", "compare", *words, status=status)

        self.expect(refused(status=64), "name a file")
        self.expect(refused(qwen, self.folder / "none.toml"), "none.toml cannot be read")
        self.expect(refused(qwen, self.folder), "is a folder")
        self.expect(refused(qwen, MODELS / "../models/qwen3-0.6b.toml", status=64),
                    "same file", "once")
        empty = self.folder / "empty.toml"
        empty.write_text("[training]\ntokens = 1e9\n")
        self.expect(refused(qwen, empty), "empty has no model", "model.file")
        self.expect(refused(qwen, empty.with_name("data.txt"), status=78), "data.txt")
        broken = self.folder / "broken.toml"
        broken.write_text("[model]\nhiden_size = 4\n")
        self.expect(refused(qwen, broken), "broken.toml:2", "model.hidden_size")
        self.expect(refused(qwen, "plan.device=nowhere"), "nowhere", "b200")
        self.expect(refused(qwen, "plan.format=html"), "plan.format", "markdown")
        self.expect(refused(qwen, "model.rope_tetha=1"), "model.rope_theta")
        self.expect(refused(qwen, "training.sequence_length=100000"), "qwen3-0.6b:",
                    "training.sequence_length = 100000")
        self.expect(refused(qwen, f"plan.device={self.device}", "plan.ranks=67"),
                    "qwen3-0.6b on paper", "67 ranks")


if __name__ == "__main__":
    unittest.main()
