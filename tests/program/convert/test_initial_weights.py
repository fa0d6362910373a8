"""model.initial_weights: a run starts from a Hugging Face folder or from a checkpoint."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support import hf_folder  # noqa: E402
from support.runs import BYTES, TINY, RunCase, espalier  # noqa: E402

DATA, CONFIGURATION = 65, 78


class InitialWeights(RunCase):
    def source(self, name, **changes):
        config = hf_folder.tiny_config(**changes)
        tensors = hf_folder.random_tensors(config, seed=7)
        return hf_folder.write_folder(self.folder / name, config, tensors)

    def start(self, name, weights, *overrides, ranks=1, status=0):
        return self.train(name, f"model.initial_weights={weights}", "schedule.warmup_steps=0",
                          *overrides, ranks=ranks, status=status)

    def test_sources_agree(self):
        """The folder, its checkpoint, and the export of that start the same run, bit by bit."""
        folder = self.source("same")
        checkpoint, export = self.folder / "same-ckpt", self.folder / "same-out"
        espalier(2, "convert", folder, checkpoint)
        espalier(1, "convert", checkpoint, export)
        for name, weights in (("a", folder), ("b", checkpoint), ("c", export)):
            self.assertIn("weights from", self.start(name, weights, "training.steps=6"))
        self.train("random", "training.steps=6", "schedule.warmup_steps=0")
        self.assertEqual(self.history("a"), self.history("b"))
        self.assertEqual(self.history("a"), self.history("c"))
        self.assertNotEqual(self.history("a"), self.history("random"))

    def test_on_a_grid(self):
        """Each rank of tensor 2 x data 2 takes its pieces: the checkpoint of step 0 has all."""
        folder = self.source("grid", tie_word_embeddings=False)
        keys = ["model.tie_word_embeddings=false", "training.steps=1",
                "optimizer.learning_rate=0.0", "schedule.min_learning_rate=0.0"]
        self.start("grid-run", folder, "parallel.tensor=2", *keys, ranks=4)
        self.start("single-run", folder, *keys)
        for name in ("grid-run", "single-run"):
            espalier(1, "convert", self.folder / name, self.folder / f"{name}-out")
            there = hf_folder.read_tensors(folder)
            here = hf_folder.read_tensors(self.folder / f"{name}-out")
            self.assertEqual(there, here)

    def test_only_the_weights_of_a_full_checkpoint(self):
        self.train("full", "training.steps=10")
        output = self.start("from-full", self.folder / "full", "training.steps=4")
        self.assertIn("checkpoint of step 10", output)
        self.assertEqual([row[0] for row in self.history("from-full")], ["1", "2", "3", "4"])

    def test_model_from_the_folder(self):
        """An input without [model] takes it from the weights."""
        folder = self.source("whole", rope_theta=20000.0)
        text = pathlib.Path(TINY).read_text()
        begin, end = text.index("[model]"), text.index("[training]")
        path = self.folder / "no-model.toml"
        path.write_text(text[:begin] + f'[model]\ninitial_weights = "{folder}"\n' + text[end:])
        keys = self.keys("whole-run", "training.steps=2",
                         "schedule.warmup_steps=0")[1:]
        output = espalier(1, "train", path, *keys, "--dry-run")
        self.assertIn("would start from", output)
        self.assertIn("20000", output)
        espalier(1, "train", path, *keys)
        self.assertIn("continuing", espalier(1, "train", path, *keys, "training.steps=3"))

    def test_disagreement(self):
        folder = self.source("other", rope_theta=20000.0, rms_norm_eps=1e-5)
        for dry_run in ([], ["--dry-run"]):
            output = self.start("other-run", folder, *dry_run, status=CONFIGURATION)
            for word in ("rope_theta: 20000", "rms_norm_eps", "model.initial_weights",
                         "checkpoint.allow_changes"):
                self.assertIn(word, output)
            self.assertNotIn("hidden_size", output[output.index("error:"):])
        self.assertIn("neither", self.start("other-run", self.folder / "nowhere", status=DATA))
        # Limits that mean nothing to the weights may differ.
        self.start("longer", self.source("short", max_position_embeddings=48),
                   "training.steps=1")

    def test_what_fits_and_computes_something_else_is_taken_when_asked_for(self):
        """Heads split otherwise, another theta, type or epsilon: the shapes cannot tell."""
        config = hf_folder.tiny_config("llama")
        folder = hf_folder.write_folder(self.folder / "llama", config,
                                        hf_folder.random_tensors(config))
        checkpoint = self.folder / "llama-ckpt"
        espalier(1, "convert", folder, checkpoint)
        same = ["model.model_type=llama", "training.steps=1"]

        def allow(change):
            keys = [word.split("=")[0] for word in change]
            if keys == ["model.rope_type"]:
                keys += ["model.rope_factor"]  # of what has a meaning only now
            return f"checkpoint.allow_changes={keys}".replace("'", '"')
        changes = (["model.num_attention_heads=8", "model.num_key_value_heads=4",
                    "model.head_dim=12"], ["model.rope_theta=5.0"], ["model.rms_norm_eps=0.1"],
                   ["model.rope_type=llama3"])
        for weights in (folder, checkpoint):
            for change in changes:
                key = change[0].split("=")[0].removeprefix("model.") + ": "
                self.assertIn(key, self.start("llama-run", weights, *same, *change, "--dry-run",
                                              status=CONFIGURATION))
                allowed = self.start("llama-run", weights, *same, *change, "--dry-run",
                                     allow(change))
                self.assertIn(key, allowed[allowed.index("warning"):])
        self.start("llama-run", folder, *same, *changes[0], status=CONFIGURATION)
        self.start("llama-run", folder, *same, *changes[0], allow(changes[0]))
        # Each by its name.
        self.start("llama-run", folder, *same, "model.rope_theta=5.0", "model.rms_norm_eps=0.1",
                   allow(["model.rope_theta"]), status=CONFIGURATION)
        # What does not fit is refused all the same, at once where one key can tell.
        wide = ["model.hidden_size=128"]
        self.assertIn("shapes", self.start("wide", folder, *same, *wide, allow(wide),
                                           status=CONFIGURATION))
        wide = ["model.head_dim=32"]
        self.start("wide", folder, *same, *wide, allow(wide), status=DATA)
        # An evaluation that says another model says so.
        keys = [f"data.validation={self.data}", "training.sequence_length=32",
                "validation.sequences=1"]
        self.assertNotIn("warning", espalier(1, "eval", checkpoint, *keys))
        self.assertIn("rope_theta: 1000000.0 there, 5.0 here",
                      espalier(1, "eval", checkpoint, *keys, "model.rope_theta=5.0"))

    def test_another_tokenizer_is_said(self):
        folder = self.source("tokenizer")
        fixtures = pathlib.Path(__file__).resolve().parents[2] / "fixtures/tokenizer"
        words = "ids do not mean the same"
        self.assertNotIn("warning", self.start("no-tokenizer", folder, "training.steps=1"))
        (folder / "tokenizer.json").write_text((fixtures / "gpt2.json").read_text())
        for dry_run in (["--dry-run"], []):
            self.assertIn(words, self.start("gpt2", folder, "training.steps=1", *dry_run))
        for text in ('{"model": {"type": "Unigram"}}', "{"):
            (folder / "tokenizer.json").write_text(text)
            self.assertIn("cannot be told", self.start("broken", folder, "--dry-run"))
        # The run's own tokenizer, whatever the form of its file, is no other one.
        export = self.folder / "same-tokenizer-out"
        espalier(1, "convert", self.source("same-tokenizer"), self.folder / "same-tokenizer-ckpt",
                 f"data.tokenizer={BYTES}")
        espalier(1, "convert", self.folder / "same-tokenizer-ckpt", export)
        self.assertNotIn("warning", self.start("same-run", export, "training.steps=1"))

    def test_weights_alone_are_not_continued(self):
        folder = self.source("found")
        checkpoints = self.folder / "found-run" / "checkpoints"
        checkpoints.mkdir(parents=True)
        espalier(1, "convert", folder, checkpoints / "step-00000000", f"data.tokenizer={BYTES}")
        for words in (["--dry-run"], []):
            output = self.train("found-run", *words, status=DATA)
            self.assertIn("model.initial_weights", output)
        self.start("found-new", checkpoints / "step-00000000", "training.steps=1")


if __name__ == "__main__":
    unittest.main()
