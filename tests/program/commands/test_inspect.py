"""espalier inspect of checkpoints: hashes of tensors, and what differs between two of them."""
import pathlib
import sys
import unittest

SUPPORT = pathlib.Path(__file__).resolve().parents[2] / "support"
sys.path.insert(0, str(SUPPORT.parent))
from support.runs import RunCase, espalier  # noqa: E402

DIFFERENT, USAGE, BAD_DATA, CONFIGURATION = 79, 64, 65, 78


class Inspect(RunCase):
    KEYS = ["training.steps=4", "schedule.warmup_steps=0", "checkpoint.interval=2",
            "validation.interval=0"]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        grid = [*cls.KEYS, "parallel.tensor=2"]
        cls().train("files", *grid, ranks=4)
        cls().train("shared", *grid, 'checkpoint.layout="shared"', ranks=4)
        cls.step_2 = cls.folder / "files/checkpoints/step-00000002"
        cls.step_4 = cls.folder / "files/checkpoints/step-00000004"

    def hashes(self, path):
        lines = [line.split("  ") for line in espalier(1, "inspect", "--hashes", path).splitlines()]
        for digest, _ in lines:
            self.assertRegex(digest, r"^[0-9a-f]{32}$")
        return {name: digest for digest, name in lines}

    def test_hashes_are_those_of_the_elements(self):
        of_files, of_shared = self.hashes(self.step_4), self.hashes(self.folder / "shared")
        self.assertEqual(of_files, of_shared)
        names = {name.split("/", 1)[1] for name in of_files}
        self.assertEqual(len(of_files), 3 * len(names))
        self.assertEqual(len(set(of_files.values())), len(of_files))
        before = self.hashes(self.step_2)
        self.assertEqual(set(before), set(of_files))
        self.assertFalse(set(before.values()) & set(of_files.values()))
        # Weights that were divided otherwise: an import on one rank and on three.
        espalier(1, "convert", self.step_4, self.folder / "model")
        for ranks in (1, 3):
            espalier(ranks, "convert", self.folder / "model", self.folder / f"weights-{ranks}")
        weights = self.hashes(self.folder / "weights-1")
        self.assertEqual(weights, self.hashes(self.folder / "weights-3"))
        self.assertEqual(weights, {name: digest for name, digest in of_files.items()
                                   if name.startswith("master/")})

    def test_difference(self):
        same = espalier(2, "inspect", "--difference", self.step_4, self.folder / "shared")
        self.assertIn("72 of 72 tensors and moments are equal", same)
        output = espalier(1, "inspect", "--difference", self.step_2, self.step_4, status=DIFFERENT)
        self.assertIn("master/model.embed_tokens.weight", output)
        self.assertIn("0 of 72", output)
        # Other shapes and other tensors.
        self.train("other", *self.KEYS, "model.intermediate_size=64", "model.tie_word_embeddings=false",
                   "model.num_hidden_layers=1")
        output = espalier(1, "inspect", "--difference", self.step_4, self.folder / "other",
                          status=DIFFERENT)
        self.assertIn("only in A: model.layers.1.", output)
        self.assertIn("only in B: lm_head.weight (257 x 64)", output)
        self.assertIn("mlp.up_proj.weight: 96 x 64 in A, 64 x 64 in B", output)

    def test_where_a_checkpoint_comes_from(self):
        output = espalier(1, "inspect", self.folder / "shared")
        for words in ("written by           tensor 2 x data 2 = 4 ranks", "job                  job 1",
                      "saved                20", "SIMD level", "training data        1 shard",
                      "initial weights      seed 1", "XXH3 of the resolved input"):
            self.assertIn(words, output)

    def test_bad_input(self):
        espalier(1, "inspect", "--difference", self.step_2, status=USAGE)
        espalier(1, "inspect", "--difference", "--hashes", self.step_2, self.step_4, status=USAGE)
        output = espalier(1, "inspect", "--hashes", self.data, status=BAD_DATA)
        self.assertIn("no complete checkpoint", output)
        output = espalier(2, "inspect", "--difference", self.step_2, "nowhere", status=BAD_DATA)
        self.assertIn("nowhere does not exist", output)
        output = espalier(1, "inspect", "model.vocab_size=3", self.step_2, status=CONFIGURATION)
        self.assertIn("model.vocab_size=3", output)


if __name__ == "__main__":
    unittest.main()
