"""The doors for people who debug a model: gradients of a step, logits of given tokens, prompts of a
file, and a run folder in place of the input file. The same on every grid."""
import bz2
import gzip
import json
import lzma
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import BYTES, NO_LOCKS, TINY, RunCase, espalier  # noqa: E402

GRIDS = [(2, 1), (1, 2), (2, 2)]


def difference(left, right, tolerance, *objects):
    """h5diff's report of elements that differ by more than `tolerance`, empty when none does."""
    done = subprocess.run(["h5diff", "-d", str(tolerance), left, right, *objects],
                          capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


class LookingInside(RunCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        espalier(1, "train", *cls.keys(cls, "run"), "training.steps=2",
                 "schedule.warmup_steps=1")
        cls.tokens = cls.folder / "tokens.h5"
        rows = [[(7 * i + j) % 200 for j in range(13)] for i in range(3)]
        (cls.folder / "tokens.txt").write_text("\n".join(" ".join(map(str, row)) for row in rows))
        subprocess.run(["h5import", cls.folder / "tokens.txt", "-dims", "3,13", "-path", "tokens",
                        "-type", "TEXTIN", "-size", "32", "-outfile", cls.tokens], check=True,
                       capture_output=True)

    def test_gradients_are_global_tensors_whatever_the_grid(self):
        options = ["training.steps=1", "schedule.warmup_steps=1", "debug.dump_gradients=true", "model.num_key_value_heads=1"]
        self.train("gradients", *options)
        for tensor, data in GRIDS:
            for stage in (0, 1):
                name = f"gradients-{tensor}x{data}-{stage}"
                self.train(name, *options, f"parallel.tensor={tensor}",
                           f"parallel.zero_stage={stage}", ranks=tensor * data)
                self.assertEqual(difference(self.folder / "gradients/gradients.h5",
                                            self.folder / name / "gradients.h5", 1e-6), "")
        foreign = self.folder / "foreign/gradients.h5"
        foreign.parent.mkdir()
        foreign.write_text("mine")
        output = self.train("foreign", *options, status=78)
        self.assertIn(str(foreign), output)
        self.assertEqual(foreign.read_text(), "mine")
        # A comparison that could not fail would say nothing.
        self.train("other", *options, "training.seed=9")
        self.assertIn("embed_tokens",
                      difference(self.folder / "gradients/gradients.h5",
                                 self.folder / "other/gradients.h5", 1e-6))

    def test_logits_of_given_tokens(self):
        losses = []
        for tensor, data in [(1, 1), *GRIDS]:
            output = espalier(tensor * data, "eval", self.folder / "run", "--tokens", self.tokens,
                              "--logits", self.folder / f"logits-{tensor}x{data}.h5",
                              f"parallel.tensor={tensor}")
            losses.append(float(output.split("loss ")[1].split(",")[0].split()[0]))
            self.assertEqual(difference(self.folder / "logits-1x1.h5",
                                        self.folder / f"logits-{tensor}x{data}.h5", 1e-5), "")
        self.assertLessEqual(max(losses) - min(losses), 1e-5, losses)
        shape = subprocess.run(["h5ls", self.folder / "logits-2x2.h5"], capture_output=True,
                               text=True).stdout
        self.assertIn("{3, 12, 257}", shape)

    def test_logits_overwrite_nothing(self):
        """Neither their own tokens nor any other file, by whatever name."""
        folder = self.folder / "precious"
        folder.mkdir()
        tokens, other = folder / "tokens.h5", folder / "other.h5"
        shutil.copy(self.tokens, tokens)
        other.write_text("precious")
        (folder / "link.h5").symlink_to("tokens.h5")
        (folder / "dangling.h5").symlink_to("nothing.h5")
        (folder / "killed.h5.partial").write_text("of another evaluation")
        before = {path: path.read_bytes() for path in folder.iterdir() if path.exists()}
        for ranks, name in [(2, "tokens.h5"), (1, "other.h5"), (1, "link.h5"), (1, "dangling.h5"),
                            (1, "killed.h5"), (1, "none/logits.h5")]:
            with self.subTest(name=name, ranks=ranks):
                output = espalier(ranks, "eval", self.folder / "run", "--tokens", tokens,
                                  "--logits", folder / name, status=78)
                self.assertIn("evaluation.logits", output)
                self.assertIn(name, output)
                self.assertEqual(before, {path: path.read_bytes() for path in folder.iterdir()
                                          if path.exists()})

    def test_texts_are_read_as_tokenize_reads_them(self):
        """Packed or not, a pipe or a file, on one rank and on two: the same loss."""
        text = "int main() { return 0; }\n" * 40
        folder = self.folder / "texts"
        folder.mkdir()
        (folder / "a.txt").write_text(text)
        (folder / "a.txt.gz").write_bytes(gzip.compress(text.encode()))
        (folder / "a.txt.BZ2").write_bytes(bz2.compress(text.encode()))
        (folder / "a.txt.xz").write_bytes(lzma.compress(text.encode()))
        (folder / "a.jsonl").write_text(json.dumps({"text": text}) + "\n")
        run = self.folder / "run"

        def loss(ranks, name, **how):
            output = espalier(ranks, "eval", run, "--text", name, **how)
            return output.split("loss ")[1].split(" of ")[0]

        whole = loss(1, folder / "a.txt")
        for name in ["a.txt.BZ2", "a.txt.xz", "a.jsonl"]:
            self.assertEqual(loss(1, folder / name), whole, name)
        self.assertEqual(loss(2, folder / "a.txt.gz"), whole)
        self.assertEqual(loss(1, "/dev/stdin", stdin=text), whole)
        self.assertEqual(loss(2, "-", stdin=text), whole)
        two = folder / "two.jsonl"
        two.write_text("".join(json.dumps({"text": t}) + "\n" for t in ("int a;", "int b;")))
        self.assertIn("over 13 tokens", espalier(1, "eval", run, "--text", two))

    def test_texts_that_cannot_be_evaluated(self):
        run = self.folder / "run"
        (self.folder / "utf16.txt").write_bytes("int main".encode("utf-16"))
        (self.folder / "table.csv").write_text("a,b\n")
        (self.folder / "nothing.txt").write_text("")
        (self.folder / "bad.jsonl").write_text('{"text": "a"}\n{"text": NaN}\n')
        for ranks, name, words in [(1, "absent.txt", "No such file"), (1, ".", "folder"),
                                   (2, "utf16.txt", "UTF-16"), (1, "table.csv", "tokenize.format"),
                                   (1, "nothing.txt", "holds no text"),
                                   (2, "bad.jsonl", "bad.jsonl:2")]:
            with self.subTest(name=name):
                output = espalier(ranks, "eval", run, "--text", self.folder / name, status=65)
                self.assertIn(words, output)
                self.assertIn(str(self.folder / name), output)
                self.assertEqual(output.count("error:"), 1, output)

    def test_tokens_that_cannot_be_evaluated(self):
        run = self.folder / "run"
        output = espalier(1, "eval", run, "--tokens", "nowhere.h5", status=65)
        self.assertIn("nowhere.h5", output)
        output = espalier(1, "eval", run, "--tokens", self.folder / "logits-1x1.h5", status=65)
        self.assertIn("tokens", output)
        (self.folder / "high.txt").write_text("1 2 257")
        subprocess.run(["h5import", self.folder / "high.txt", "-dims", "1,3", "-path", "tokens",
                        "-type", "TEXTIN", "-size", "32", "-outfile", self.folder / "high.h5"],
                       check=True, capture_output=True)
        output = espalier(2, "eval", run, "--tokens", self.folder / "high.h5", status=65)
        self.assertIn("tokens[0, 2] = 257", output)

    def test_questions_that_contradict_one_another(self):
        """One message, before the weights are read: the damaged ones are not noticed."""
        damaged = self.folder / "damaged"
        shutil.copytree(self.folder / "run", damaged)
        for path in damaged.rglob("rank-*.h5"):
            path.write_bytes(bytes(path.stat().st_size))
        for command, options, words in [
                ("eval", ["--text", "a.txt", "--tokens", self.tokens],
                 ["evaluation.text", "a.txt", "evaluation.tokens", "name one"]),
                ("eval", ["--logits", "b.h5"], ["evaluation.logits", "b.h5", "--tokens"]),
                ("eval", ["--text", "a.txt", "--logits", "b.h5"], ["evaluation.logits"]),
                ("eval", ["data.validation="], ["nothing to evaluate", "data.validation"]),
                ("generate", ["--prompt", "a", "--prompts", "b.txt"],
                 ["generate.prompt", "generate.prompts", "b.txt", "name one"])]:
            with self.subTest(options=options):
                output = espalier(2, command, damaged, *options, status=78)
                for word in words:
                    self.assertIn(word, output)
                self.assertEqual(output.count("error:"), 1, output)

    def test_prompts_of_a_file(self):
        prompts = self.folder / "prompts.txt"
        prompts.write_text("namespace\nint main\n")
        keys = ["generate.temperature=0", "generate.max_new_tokens=6"]
        lines = [espalier(ranks, "generate", self.folder / "run", "--prompts", prompts, *keys,
                          f"parallel.tensor={ranks}") for ranks in (1, 2)]
        self.assertEqual(lines[0], lines[1])
        answers = [json.loads(line) for line in lines[0].splitlines()]
        self.assertEqual([a["prompt"] for a in answers], ["namespace", "int main"])
        self.assertTrue(all(len(a["tokens"]) <= 6 for a in answers))
        one = espalier(1, "generate", self.folder / "run", "--prompt", "namespace", *keys)
        self.assertEqual(one, "namespace" + answers[0]["text"] + "\n")
        self.assertEqual(one, espalier(1, "generate", self.folder / "run", "--prompt", "-", *keys,
                                       stdin="\ufeffnamespace"))
        # Packed, or a stream, which rank 0 reads for all.
        text = prompts.read_text()
        packed = self.folder / "prompts.txt.gz"
        packed.write_bytes(gzip.compress(text.encode()))
        pipe = self.folder / "pipe.txt"
        os.mkfifo(pipe)
        for ranks, name in [(2, packed), (1, "/dev/stdin"), (2, "-"), (1, pipe)]:
            with self.subTest(name=name):
                writer = threading.Thread(target=pipe.write_text, args=[text], daemon=True)
                if name == pipe:
                    writer.start()
                self.assertEqual(lines[0], espalier(
                    ranks, "generate", self.folder / "run", "--prompts", name, *keys,
                    f"parallel.tensor={ranks}", stdin=text))
        for ranks, name in [(2, self.folder), (1, self.folder / "no-prompts.txt")]:
            output = espalier(ranks, "generate", self.folder / "run", "--prompts", name, status=65)
            self.assertIn(str(name), output)
            self.assertEqual(output.count("error:"), 1, output)

    def test_file_systems_without_locks(self):
        """Every command that writes or reads HDF5, as a whole; the user's own wish for locks."""
        folder, run = self.folder / "no-locks", self.folder / "run"
        folder.mkdir()
        text = folder / "a.txt"
        text.write_text("int main() { return 0; }")
        espalier(1, "tokenize", f"data.tokenizer={BYTES}", f'tokenize.input=["{text}"]',
                 f"tokenize.output={folder / 'shards'}", environ=NO_LOCKS)
        self.assertTrue(list((folder / "shards").glob("train-*.h5")))
        output = espalier(1, "eval", run, "--tokens", self.tokens, "--logits",
                          folder / "logits.h5", environ=NO_LOCKS)
        self.assertIn("loss", output)
        self.assertTrue((folder / "logits.h5").exists())
        espalier(1, "convert", run, folder / "exported", environ=NO_LOCKS)
        espalier(1, "convert", folder / "exported", folder / "imported", environ=NO_LOCKS)
        self.assertTrue((folder / "imported/COMPLETE").exists())
        for words in (["--tokens", self.tokens], [f"data.validation={self.data}"]):
            output = espalier(1, "eval", run, *words, status=74,
                              environ=NO_LOCKS | {"HDF5_USE_FILE_LOCKING": "TRUE"})
            self.assertIn("HDF5_USE_FILE_LOCKING=TRUE", output)
            self.assertIn("unset it", output)
            self.assertNotIn("damaged", output)

    def test_an_input_file_and_the_run_folder_say_the_same(self):
        by_folder = espalier(1, "eval", self.folder / "run")
        by_input = espalier(1, "eval", *self.keys("run"))
        self.assertEqual(by_folder, by_input)
        longer = espalier(1, "eval", self.folder / "run", "training.sequence_length=16")
        self.assertNotEqual(longer, by_folder)
        output = espalier(1, "eval", self.folder, status=65)
        self.assertIn(str(self.folder), output)

    def test_devices_are_those_of_the_input_at_hand(self):
        # Not the training's: the model may have been trained elsewhere.
        here = self.folder / "here.toml"
        tiny = pathlib.Path(TINY).read_text()
        self.assertIn('backend = "host"', tiny)
        here.write_text(tiny.replace('backend = "host"',
                                     'backend = "emulated"\nattention = "cudnn"'))
        output = espalier(1, "eval", here, *self.keys("run")[1:], status=78)
        self.assertIn("cudnn", output)


if __name__ == "__main__":
    unittest.main()
