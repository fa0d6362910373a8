"""Whole runs whose ranks share the tokens of each sequence: as on one rank, with documents and
experts, continued on other grids, judged and used."""
import csv
import pathlib
import random
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import BYTES, RunCase, espalier  # noqa: E402

MASK = ("data.document_mask=true", "data.predict_across_documents=false")
MOE = ("model.model_type=qwen3_moe", "model.num_experts=8", "model.num_experts_per_tok=2",
       "model.moe_intermediate_size=32", "model.norm_topk_prob=true", "model.num_hidden_layers=3",
       "model.mlp_only_layers=[1]", "schedule.warmup_steps=2", "model.router_aux_loss_coef=0.1",
       "experts.z_loss_coefficient=0.001")


def grid(tensor=1, context=1, data=1, **more):
    """The words of a grid, and how many ranks it has."""
    words = [f"parallel.tensor={tensor}", f"parallel.context={context}", f"parallel.data={data}"]
    words += [f"parallel.{key}={value}" for key, value in more.items()]
    return words, tensor * context * data * more.get("pipeline", 1)


UNJUDGED = ("validation.interval=0", "validation.at_end=false", "checkpoint.at_end=false")


class Context(RunCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        random.seed(4)
        text = (cls.folder / "book.txt").read_text().replace("\f", " ").replace("\n", " ")
        # Many of a few tokens, some that fill a sequence and more.
        lengths = [random.choice((1, 1, 2, 5, 9, 30, 70)) for _ in range(900)]
        documents, begin = [], 0
        for length in lengths:
            documents.append(text[begin:begin + length])
            begin += length
        cls.shards("documents", documents, 0.3)
        # A letter and its separator each: inside documents every other token has no target.
        cls.shards("pairs", [random.choice("abcdefgh") for _ in range(600)], 0.0)

    @classmethod
    def shards(cls, name, documents, validation):
        (cls.folder / f"{name}.txt").write_text("\f".join(documents))
        espalier(1, "tokenize", f"data.tokenizer={BYTES}",
                 f'tokenize.input=["{cls.folder / name}.txt"]',
                 f"tokenize.output={cls.folder / name}", 'tokenize.document_separator="\\f"',
                 f"tokenize.validation_fraction={validation}")

    def rows(self, name, table="history.csv"):
        with open(self.folder / name / table, newline="") as file:
            return list(csv.DictReader(file))

    def compare(self, name, reference, tolerance=3e-6, columns=("loss", "grad_norm"),
                table="history.csv"):
        rows, expected = self.rows(name, table), self.rows(reference, table)
        self.assertEqual(len(rows), len(expected))
        self.assertTrue(rows)
        for row, other in zip(rows, expected):
            for column in columns:
                value, wanted = float(row[column]), float(other[column])
                self.assertLessEqual(abs(value - wanted), tolerance * abs(wanted),
                                     f"{name}: {column} {row} != {other}")

    def test_documents(self):
        options = [f"data.train={self.folder / 'documents'}",
                   f"data.validation={self.folder / 'documents'}", "validation.interval=4",
                   "validation.sequences=24", "training.steps=8", "schedule.warmup_steps=2", *MASK]
        self.train("documents-1", *options, "training.micro_batch_size=2")
        for name, (words, ranks) in {
                "documents-2": grid(context=2), "documents-4": grid(context=4),
                "documents-2x2": grid(tensor=2, context=2),
                "documents-data": grid(context=2, data=2, zero_stage=0)}.items():
            self.train(name, *options, *words, "training.micro_batch_size=2",
                       "run.audit_interval=3", ranks=ranks)
            self.compare(name, "documents-1")
            self.compare(name, "documents-1", columns=("loss",), table="validation.csv")

    def test_experts_with_every_balance(self):
        columns = ("loss", "grad_norm", "balance_loss", "z_loss", "expert_load")
        for balance in ("none", "sequence", "batch", "global", "huggingface", "bias"):
            options = [*MOE, *UNJUDGED, f"experts.balance={balance}", "training.steps=3"]
            if balance in ("none", "bias"):
                options.remove("model.router_aux_loss_coef=0.1")
            self.train(f"{balance}-1", *options, "training.micro_batch_size=2")
            grids = [grid(context=2, expert=2)]
            if balance in ("sequence", "global"):
                grids.append(grid(tensor=2, context=2, expert=4))
            for number, (words, ranks) in enumerate(grids):
                name = f"{balance}-{number}"
                self.train(name, *options, *words, "training.micro_batch_size=2", ranks=ranks)
                self.compare(name, f"{balance}-1", 5e-6, columns)
        # Beside data ranks, whose choices are counted together.
        options = [*MOE, *UNJUDGED, "experts.balance=global", "training.steps=3",
                   "training.micro_batch_size=2"]
        for name, (words, ranks) in {"data": grid(data=2),
                                     "data-context": grid(context=2, data=2, expert=2)}.items():
            self.train(f"global-{name}", *options, *words, ranks=ranks)
        self.compare("global-data-context", "global-data", 5e-6, columns)

    def hashes(self, name):
        return sorted(espalier(1, "inspect", "--hashes", self.folder / name).splitlines())

    def test_a_run_goes_on_with_other_grids(self):
        options = ["schedule.name=constant", "schedule.warmup_steps=2", "checkpoint.interval=4",
                   *UNJUDGED]
        self.train("whole", *options, "training.steps=16")
        grids = [grid(context=2), grid(), grid(tensor=2, data=2), grid(context=2, data=2)]
        for part, (words, ranks) in enumerate(grids):
            output = self.train("parts", *options, *words, f"training.steps={4 * (part + 1)}",
                                ranks=ranks)
            self.assertEqual("continuing" in output, part > 0)
        self.compare("parts", "whole", 1e-4)  # as grids may differ over 20 steps
        # On the same grid no bit is another one, nor are the stages of a pipeline.
        words, ranks = grid(context=2)
        self.train("same", *options, *words, "training.steps=8", ranks=ranks)
        for steps in (4, 8):
            self.train("again", *options, *words, f"training.steps={steps}", ranks=ranks)
        words, ranks = grid(context=2, pipeline=2)
        self.train("stages", *options, *words, "training.steps=8", ranks=ranks)
        for name in ("again", "stages"):
            self.assertEqual(self.history(name), self.history("same"))
            self.assertEqual(self.hashes(name), self.hashes("same"))
        self.assertIn("model.norm.weight", " ".join(self.hashes("same")))

    def test_a_run_is_judged_replayed_and_used(self):
        words, ranks = grid(context=2)
        options = ["schedule.name=constant", "schedule.warmup_steps=2", "checkpoint.interval=2",
                   "checkpoint.keep=9", "training.steps=6", *UNJUDGED, *words]
        output = self.train("used", *options, ranks=ranks)
        self.assertIn("context 2", output)
        output = espalier(ranks, "verify-resume", self.folder / "used", "--steps", "4")
        self.assertIn("4 steps from checkpoint 2", output)
        losses = [re.search(r"loss ([0-9.]+)", espalier(
            n, "eval", self.folder / "used", f"data.validation={self.data}",
            "validation.sequences=16"))[1] for n in (1, 2)]
        self.assertLessEqual(abs(float(losses[0]) - float(losses[1])), 2e-6 * float(losses[0]))
        texts = [espalier(n, "generate", self.folder / "used", "--prompt", "include",
                          "generate.max_new_tokens=12", "generate.temperature=0", *more)
                 for n, more in ((1, []), (2, ["parallel.tensor=2"]))]
        self.assertEqual(texts[0].splitlines()[-1], texts[1].splitlines()[-1])

    def test_what_the_ranks_share_is_told(self):
        words, ranks = grid(tensor=2, context=2)
        # One process says what four would have.
        text = self.train("planned", *words, "--dry-run")
        self.assertIn("tensor 2 x context 2 x data 1 = 4 ranks", text)
        self.assertFalse((self.folder / "planned").exists())
        output = self.train("planned", *words, *UNJUDGED, "training.steps=2",
                            "schedule.warmup_steps=1", ranks=ranks)
        report = (self.folder / "planned/report.json").read_text()
        self.assertIn("context communication", report)
        self.assertIn(re.search(r"total .* over all ranks: .*", text)[0], output)
        output = espalier(2, "bench", self.keys("bench")[0], "bench.steps=1",
                          "bench.warmup_steps=1", *grid(context=2)[0])
        self.assertIn("context", output)

    def test_ranks_without_a_target(self):
        # The separator's rank has none in any step.
        options = [f"data.train={self.folder / 'pairs'}", "data.order=sequential", *MASK,
                   "training.sequence_length=2", "training.micro_batch_size=2", *UNJUDGED,
                   "training.steps=4", "schedule.warmup_steps=1"]
        self.train("pairs-1", *options)
        words, ranks = grid(context=2)
        self.train("pairs-2", *options, *words, ranks=ranks)
        self.compare("pairs-2", "pairs-1")
        self.assertGreater(float(self.rows("pairs-2")[0]["loss"]), 0.0)

    def test_what_does_not_fit_says_what_would(self):
        def refused(*overrides, ranks):
            return self.train("refused", *overrides, ranks=ranks, status=78)

        output = refused("parallel.context=3", ranks=3)
        for word in ("training.sequence_length = 32", "parallel.context = 3", "30 or 33"):
            self.assertIn(word, output)
        output = refused("parallel.context=4", ranks=2)
        for word in ("parallel.context = 4", "2 ranks", "parallel.context = 1 or 2"):
            self.assertIn(word, output)
        output = refused("parallel.context=16", "parallel.tensor=4", "--dry-run",
                         "parallel.data=1", ranks=1)
        for word in ("1 x 32 / parallel.context = 16", "multiple of 64"):
            self.assertIn(word, output)
        self.assertFalse((self.folder / "refused").exists())


if __name__ == "__main__":
    unittest.main()
