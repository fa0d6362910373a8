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
        # A letter and its separator each: predicted inside documents, every other token has no target.
        cls.shards("pairs", [random.choice("abcdefgh") for _ in range(600)], 0.0)
        # A separator each: not one token has a target.
        cls.shards("empty", [""] * 400 + ["ab"] * 200, 0.0)

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


if __name__ == "__main__":
    unittest.main()
