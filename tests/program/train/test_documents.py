"""Documents stay apart, sources are mixed exactly, and the data end by rule: the same on every grid."""
import pathlib
import random
import re
import shutil
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import BYTES, RunCase, espalier  # noqa: E402

LENGTH = 16  # tokens of a document in the packed set, with its separator
MASK = ("data.document_mask=true", "data.predict_across_documents=false")


def close(values, others, tolerance):
    return all(abs(float(a) - float(b)) <= tolerance * abs(float(b)) for a, b in zip(values, others))


class Documents(RunCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Ids are bytes: a document of 15 letters and its separator are 16 tokens.
        text = (cls.data.parent / "book.txt").read_text().replace("\f", " ").replace("\n", " ")
        even = [text[i:i + LENGTH - 1] for i in range(0, 40 * LENGTH, LENGTH)]
        random.seed(3)
        uneven = [text[i:i + random.randint(1, 60)] for i in range(0, 9000, 60)]
        for name, documents in (("even", even), ("uneven", uneven), ("small", uneven[:30])):
            (cls.folder / f"{name}.txt").write_text("\f".join(documents))
            fraction = 0.5 if name == "uneven" else 0.0
            espalier(1, "tokenize", f"data.tokenizer={BYTES}",
                     f'tokenize.input=["{cls.folder / name}.txt"]',
                     f"tokenize.output={cls.folder / name}", 'tokenize.document_separator="\\f"',
                     f"tokenize.validation_fraction={fraction}")
        (cls.folder / "even/train-00000.h5").rename(cls.folder / "even/validation-00000.h5")
        espalier(1, "train", *cls.keys(cls, "run"), "training.steps=3", "schedule.warmup_steps=1")

    def evaluate(self, ranks, *keys):
        output = espalier(ranks, "eval", self.folder / "run", *MASK, *keys)
        return float(re.search(r"loss ([0-9.]+)", output)[1]), output

    def test_packed_documents_have_the_loss_of_each_alone(self):
        # 13 samples of three documents, beside the same 39 documents in a sample each.
        data = f"data.validation={self.folder / 'even'}"
        alone, output = self.evaluate(1, data, f"training.sequence_length={LENGTH}",
                                      "validation.sequences=39")
        self.assertIn(f"{39 * (LENGTH - 1)} tokens", output)
        for ranks, keys in ((1, []), (4, ["parallel.tensor=2"]), (4, [])):
            packed, output = self.evaluate(ranks, data, f"training.sequence_length={3 * LENGTH}",
                                           "validation.sequences=13", *keys)
            self.assertIn(f"{39 * (LENGTH - 1)} tokens", output)
            self.assertLessEqual(abs(packed - alone), 2e-6 * alone)
        causal, _ = self.evaluate(1, data, f"training.sequence_length={3 * LENGTH}",
                                  "validation.sequences=13", "data.document_mask=false")
        self.assertGreater(abs(causal - alone), 1e-4)

    def test_a_masked_run_is_the_same_on_every_grid(self):
        data = f"data.train={self.folder / 'uneven'}"
        self.train("mask-1x1", data, *MASK)
        for tensor, ranks in ((2, 2), (2, 4), (4, 4), (1, 4)):
            name = f"mask-{tensor}-{ranks}"
            self.train(name, data, *MASK, f"parallel.tensor={tensor}", ranks=ranks)
            for row, other in zip(self.history(name), self.history("mask-1x1")):
                self.assertTrue(close(row, other, 1e-4), f"{name}: {row} != {other}")
        self.train("causal", data)
        self.assertNotEqual(self.history("causal")[0][2], self.history("mask-1x1")[0][2])

    def test_a_model_is_evaluated_as_it_was_trained(self):
        self.train("as-trained", f"data.train={self.folder / 'uneven'}", "training.steps=3",
                   "schedule.warmup_steps=1", *MASK)
        loss = {}
        for name, keys in (("as trained", ()), ("inside", MASK),
                           ("across", ("data.document_mask=false",))):
            output = espalier(1, "eval", self.folder / "as-trained",
                              f"data.validation={self.folder / 'uneven'}", *keys)
            loss[name] = re.search(r"loss ([0-9.]+)", output)[1]
        self.assertEqual(loss["as trained"], loss["inside"])
        self.assertNotEqual(loss["as trained"], loss["across"])
        # No document begins behind a separator: the first token of a text has nothing before it.
        text = self.folder / "text.txt"
        text.write_text("Twenty-one of these.\n")
        for run, predicted in (("as-trained", 20), ("run", 21)):
            output = espalier(1, "eval", self.folder / run, "--text", text)
            self.assertIn(f"over {predicted} tokens", output)

    def test_a_step_may_have_no_target(self):
        # Tokens in pairs, a letter and its separator: every other sample of one token has none.
        (self.folder / "pairs.txt").write_text("\f".join("abcdefghijklmnopqrstuvwxyz"))
        espalier(1, "tokenize", f"data.tokenizer={BYTES}",
                 f'tokenize.input=["{self.folder / "pairs.txt"}"]', 'tokenize.document_separator="\\f"',
                 f"tokenize.output={self.folder / 'pairs'}", "tokenize.validation_fraction=0")
        self.train("pairs", f"data.train={self.folder / 'pairs'}", "data.order=sequential",
                   "data.predict_across_documents=false", "training.sequence_length=1",
                   "training.micro_batch_size=1", "training.global_batch_size=1",
                   "parallel.sequence_parallel=false", "validation.interval=0",
                   "validation.at_end=false", "training.steps=6", "schedule.warmup_steps=1")
        losses = [float(row[2]) for row in self.history("pairs")]
        for step, loss in enumerate(losses):
            self.assertEqual(loss == 0.0, step % 2 == 1, losses)

    def mixture(self):
        """Not an override: a list of tables is what a person writes in a file."""
        path = self.folder / "mixture.toml"
        path.write_text(pathlib.Path(self.keys("x")[0]).read_text() + f"""
[[data.sources]]
train = "{self.folder / 'uneven'}"
weight = 3
name = "large"
[[data.sources]]
train = "{self.folder / 'small'}"
weight = 1
name = "small"
""")
        return path

    def test_sources_are_mixed_alike_on_every_grid_and_after_a_restart(self):
        taken = {}
        for name, ranks, keys in (("1", 1, []), ("2", 2, []), ("4", 4, ["parallel.tensor=2"])):
            output = espalier(ranks, "train", self.mixture(), *self.keys(f"mix-{name}")[2:], *keys)
            taken[name] = re.search(r"samples taken: (.*)", output)[1]
            self.assertIn("large, weight 3, 75.00 % of the samples", output)
            for row, other in zip(self.history(f"mix-{name}"), self.history("mix-1")):
                self.assertTrue(close(row, other, 1e-4), f"{name}: {row} != {other}")
        self.assertEqual(len(set(taken.values())), 1, taken)
        total, batch = 20, 8
        self.assertIn(f"large {total * batch * 3 // 4} samples", taken["1"])
        keys = [self.mixture(), *self.keys("mix-again")[2:]]
        espalier(2, "train", *keys, "training.steps=20", "checkpoint.interval=7",
                 "checkpoint.keep=9")
        newest = sorted((self.folder / "mix-again/checkpoints").iterdir())
        for folder in newest[1:]:
            shutil.rmtree(folder)
        output = espalier(2, "train", *keys)
        self.assertIn("continuing", output)
        self.assertEqual(re.search(r"samples taken: (.*)", output)[1], taken["1"])
        self.assertNotIn("has changed", output)
        for row, other in zip(self.history("mix-again"), self.history("mix-2")):
            self.assertEqual(row, other)
        other = self.mixture()
        other.write_text(other.read_text().replace("weight = 3", "weight = 2"))
        output = espalier(1, "train", *keys, "training.steps=21")
        self.assertRegex(output, r"data.sources = .*weight = 2.* \(was .*weight = 3")

    def test_the_data_end_by_rule(self):
        data = f"data.train={self.folder / 'small'}"
        output = self.train("repeat", data)
        self.assertRegex(output, r"this run makes [0-9.]+ epochs")
        self.assertRegex(output, r"step \d+: epoch 2 of train begins")
        output = self.train("stop", data, "data.end_of_data=stop", "schedule.warmup_steps=1")
        steps = int(re.search(r"the data last for (\d+) of 20 steps", output)[1])
        self.assertEqual(len(self.history("stop")), steps)
        self.assertIn(f"all {steps} steps are done", output)
        self.assertIn(f"the data ended after {steps} steps", output)
        self.assertNotIn("begins", output)
        # The schedule has ended too.
        self.assertEqual(float(self.history("stop")[-1][4]), float(self.history("repeat")[-1][4]))

    def test_the_end_is_reckoned_from_where_a_run_stands(self):
        keys = (f"data.train={self.folder / 'small'}", "data.end_of_data=stop",
                "schedule.warmup_steps=1")
        output = self.train("from", *keys, "--dry-run")
        samples = int(re.search(r"([0-9,]+) samples of", output)[1].replace(",", ""))
        self.assertIn(f"the data last for {samples // 8} of 20 steps", output)
        self.assertFalse((self.folder / "from").exists())
        self.train("from", *keys, "training.steps=2")
        # From here on with batches of half the size: as many samples, in more steps.
        keys += ("training.global_batch_size=4",)
        steps = 2 + (samples - 2 * 8) // 4
        self.assertGreater(steps, samples // 8)
        for argument in ("--dry-run", "data.verify_checksum=false"):
            output = self.train("from", *keys, argument)
            self.assertIn(f"the data last for {steps} of 20 steps", output)
        self.assertIn(f"the data ended after {steps} steps", output)
        self.assertEqual(len(self.history("from")), steps)
        output = self.train("from", *keys)  # again: there is nothing left to do
        self.assertIn(f"all {steps} steps are done", output)
        self.assertEqual(len(self.history("from")), steps)
        output = self.train("few", *keys, "training.global_batch_size=512", status=65)
        self.assertIn(f"{samples} samples", output)
        output = self.train("few", *keys[:2], "training.global_batch_size=8",
                            f"schedule.warmup_steps={samples // 8 + 1}", status=78)
        self.assertIn("schedule.warmup_steps", output)

    def test_bad_sources(self):
        def refused(text, *words, status=78):
            output = self.train("bad", text, status=status)
            for word in words:
                self.assertIn(word, output)
        small = self.folder / "small"
        both = f'data.sources=[{{train = "{small}"}}]'
        refused(both, "data.train", "data.sources")
        for text, words in (
                (f'[{{train = "{small}", weight = 0}}]', ["weight"]),
                (f'[{{train = "{small}", weigth = 1}}]', ["weigth", "weight"]),
                ('[{weight = 2}]', ["train"]), ('["shards"]', ["list of tables"])):
            output = espalier(1, "train", *self.keys("bad")[:1], *self.keys("bad")[2:],
                              f"data.sources={text}", status=78)
            for word in words:
                self.assertIn(word, output)
        output = espalier(2, "train", *self.keys("bad")[:1], *self.keys("bad")[2:],
                          'data.sources=[{train = "nowhere"}]', status=65)
        self.assertIn("nowhere", output)
        # What is wrong with a source's shards names the source.
        empty = self.folder / "empty"
        empty.mkdir()
        for sources, word, keys in (
                ([self.data, "nowhere"], "is not there", []),
                ([self.data, empty], "train-*.h5", []),
                ([self.data, small], "training.sequence_length 100000",
                 ["training.sequence_length=100000", "model.max_position_embeddings=100000"])):
            text = ", ".join(f'{{train = "{source}"}}' for source in sources)
            output = espalier(1, "train", *self.keys("bad")[:1], *self.keys("bad")[2:], *keys,
                              f"data.sources=[{text}]", status=65)
            error = output[output.index("error:"):]
            for part in (f"data.sources[{len(sources) - 1}].train", str(sources[-1]), word):
                self.assertIn(part, error)
            self.assertNotIn("data.train", error)


if __name__ == "__main__":
    unittest.main()
