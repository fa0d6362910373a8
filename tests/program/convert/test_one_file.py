"""espalier convert ... convert.format=checkpoint: a checkpoint of any grid and layout in one file."""
import pathlib
import shutil
import subprocess
import sys
import unittest

SUPPORT = pathlib.Path(__file__).resolve().parents[2] / "support"
sys.path.insert(0, str(SUPPORT.parent))
from support.runs import RunCase, espalier  # noqa: E402

BAD_DATA, CONFIGURATION = 65, 78
COPY = "convert.format=checkpoint"


class OneFile(RunCase):
    KEYS = ["training.steps=6", "checkpoint.interval=3", "validation.interval=0"]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls().train("run", *cls.KEYS, "parallel.tensor=2", ranks=4)
        cls.source = cls.folder / "run/checkpoints/step-00000003"

    def hashes(self, path):
        return espalier(1, "inspect", "--hashes", path)

    def test_a_run_continues_from_the_copy_bit_for_bit(self):
        target = self.folder / "copied/checkpoints/step-00000003"
        target.parent.mkdir(parents=True)
        output = espalier(3, "convert", self.source, target, COPY)
        self.assertIn("weights and moments", output)
        self.assertEqual(sorted(path.name for path in target.iterdir()),
                         ["COMPLETE", "tensors.h5", "tokenizer"])
        self.assertEqual(self.hashes(self.source), self.hashes(target))
        self.assertIn("all checksums fit", espalier(1, "inspect", target))
        shutil.copy(self.folder / "run/history.csv", self.folder / "copied/history.csv")
        self.train("copied", *self.KEYS, "parallel.tensor=2", ranks=4)
        self.assertEqual(self.history("copied"), self.history("run"))
        # A copy of the copy, by one rank, is the same file but for where it comes from.
        espalier(1, "convert", target, self.folder / "again", COPY)
        self.assertEqual(self.hashes(target), self.hashes(self.folder / "again"))

    @unittest.skipUnless(shutil.which("h5dump"), "needs h5dump")
    def test_another_reader_finds_the_same_bytes(self):
        target = self.folder / "read"
        espalier(1, "convert", self.source, target, COPY)

        def dumped(file, name):
            out = self.folder / "dumped"
            subprocess.run(["h5dump", "-d", name, "-b", "LE", "-o", out, file], check=True,
                           stdout=subprocess.DEVNULL)
            return out.read_bytes()

        for group in ("master", "exp_avg", "exp_avg_sq"):
            for tensor in ("model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight",
                           "model.norm.weight"):
                name = f"/{group}/{tensor}"
                self.assertEqual(dumped(self.source / "master.h5", name),
                                 dumped(target / "tensors.h5", name), name)

    def test_weights_alone(self):
        target = self.folder / "weights"
        espalier(2, "convert", self.source, target, COPY, "convert.optimizer_state=false")
        whole = [line for line in self.hashes(self.source).splitlines() if "  master/" in line]
        self.assertEqual(self.hashes(target).splitlines(), whole)
        self.assertIn("weights alone", espalier(1, "inspect", target))
        self.assertLess((target / "tensors.h5").stat().st_size,
                        sum(path.stat().st_size for path in self.source.iterdir()) / 2)
        loss = [espalier(1, "eval", path, f"data.validation={self.data}").splitlines()[-1]
                for path in (self.source, target)]
        self.assertEqual(*loss)
        self.assertIn("step 3: loss", loss[0])
        # No run continues from it; one may begin from it.
        run = self.folder / "none/checkpoints"
        run.mkdir(parents=True)
        shutil.copytree(target, run / "step-00000003")
        self.assertIn("model.initial_weights", self.train("none", *self.KEYS, status=BAD_DATA))
        self.train("new", *self.KEYS, f"model.initial_weights={target}")
        # And its own copy has what it has.
        output = espalier(1, "convert", target, self.folder / "weights-2", COPY)
        self.assertIn("no moments", output)
        self.assertEqual(self.hashes(target), self.hashes(self.folder / "weights-2"))

    def test_bad_input(self):
        target = self.folder / "refused"
        output = espalier(1, "convert", self.source, target, COPY, "convert.dtype=bfloat16",
                          status=CONFIGURATION)
        self.assertIn("convert.dtype", output)
        output = espalier(1, "convert", self.source, target, "convert.optimizer_state=false",
                          status=CONFIGURATION)
        self.assertIn("convert.format=checkpoint", output)
        espalier(1, "convert", self.source, target, COPY, "--dry-run")
        self.assertFalse(target.exists())
        target.mkdir()
        (target / "mine").write_text("kept")
        output = espalier(1, "convert", self.source, target, COPY, status=CONFIGURATION)
        self.assertIn(str(target), output)
        self.assertEqual((target / "mine").read_text(), "kept")
        # A damaged source leaves nothing.
        damaged = self.folder / "damaged"
        shutil.copytree(self.source, damaged)
        data = bytearray((damaged / "rank-00001.h5").read_bytes())
        data[len(data) * 7 // 8] ^= 4
        (damaged / "rank-00001.h5").write_bytes(data)
        before = sorted(path.name for path in self.folder.iterdir())
        output = espalier(2, "convert", damaged, self.folder / "from-damaged", COPY,
                          status=BAD_DATA)
        self.assertIn("rank-00001.h5", output)
        left = set(path.name for path in self.folder.iterdir()) - set(before)
        self.assertFalse([name for name in left if not name.endswith((".lock", ".partial"))], left)
        # What an interrupted copy left is no hindrance for the next one.
        partial = self.folder / "repeated.partial"
        partial.mkdir()
        for name in ("tensors.h5", "gemm_choices.txt"):
            (partial / name).write_text("half")
        espalier(1, "convert", self.source, self.folder / "repeated", COPY)
        self.assertTrue((self.folder / "repeated/COMPLETE").exists())
        self.assertFalse(partial.exists())


if __name__ == "__main__":
    unittest.main()
