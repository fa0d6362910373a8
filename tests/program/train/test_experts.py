"""Whole runs of a model with experts: on every grid as on one rank, continued, evaluated."""
import csv
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import RunCase, espalier  # noqa: E402

MOE = ["model.model_type=qwen3_moe", "model.num_experts=8", "model.num_experts_per_tok=2",
       "model.moe_intermediate_size=32", "model.norm_topk_prob=true", "model.num_hidden_layers=3",
       "model.mlp_only_layers=[1]", "schedule.warmup_steps=2"]
COLUMNS = ("balance_loss", "z_loss", "expert_load", "experts_not_chosen", "further_rounds")
# (tensor, data, expert); a choice that hangs on rounding would show, and none does here.
GRIDS = [(1, 2, 1), (1, 2, 2), (2, 1, 2), (2, 2, 1), (2, 2, 2), (2, 2, 4), (1, 4, 4)]


class Experts(RunCase):
    def rows(self, name):
        with open(self.folder / name / "history.csv", newline="") as file:
            return list(csv.DictReader(file))

    def compare(self, name, reference, tolerance=3e-6):
        rows, expected = self.rows(name), self.rows(reference)
        self.assertEqual(len(rows), len(expected))
        for row, other in zip(rows, expected):
            for column in ("loss", "grad_norm", "balance_loss", "expert_load"):
                value, wanted = float(row[column]), float(other[column])
                self.assertLessEqual(abs(value - wanted), tolerance * abs(wanted),
                                     f"{name}: {column} {row} != {other}")
            self.assertEqual(row["experts_not_chosen"], other["experts_not_chosen"])

    def test_grids(self):
        options = [*MOE, "training.steps=4", "model.router_aux_loss_coef=0.01",
                   "run.audit_interval=2"]
        self.train("one", *options)
        for row in self.rows("one"):
            self.assertGreater(float(row["balance_loss"]), 0.0199)  # 0.01 for each of two blocks
            self.assertEqual(float(row["further_rounds"]), 0.0)
        for tensor, data, expert in GRIDS:
            name = f"{tensor}x{data}-{expert}"
            self.train(name, *options, f"parallel.tensor={tensor}", f"parallel.data={data}",
                       f"parallel.expert={expert}", ranks=tensor * data)
            self.compare(name, "one")

    def test_rounds(self):
        options = [*MOE, "training.steps=4", "parallel.expert=2"]
        self.train("roomy", *options, "experts.capacity_factor=100", ranks=2)
        output = self.train("narrow", *options, "experts.capacity_factor=0.4", ranks=2)
        self.assertIn("further rounds", output)
        self.compare("narrow", "roomy")
        self.assertGreater(float(self.rows("narrow")[0]["further_rounds"]), 0.0)
        # What routing and the rows on their way took is told apart from what else ranks exchange.
        report = json.loads((self.folder / "narrow/report.json").read_text())
        phases = {phase["name"]: phase["communication"] for phase in report["phases"]}
        self.assertEqual(phases["router"], False)
        self.assertEqual(phases["expert communication"], True)
        self.assertEqual(phases["gradient communication"], True)
        self.assertNotIn("tensor communication", phases)

    def test_bias_is_continued_exactly(self):
        options = [*MOE, "experts.balance=bias", "experts.bias_update_rate=0.01",
                   "schedule.name=constant", "checkpoint.interval=4", "validation.interval=2"]
        self.train("whole", *options, "training.steps=8")
        self.train("parts", *options, "training.steps=4")
        self.train("parts", *options, "training.steps=8")
        self.assertEqual(self.history("parts"), self.history("whole"))
        self.train("unwatched", *options, "training.steps=8", "validation.interval=0")
        self.assertEqual(self.history("unwatched"), self.history("whole"))  # it does not count
        for update in ("deepseek", "torchtitan"):
            self.train(f"one-{update}", *options, f"experts.bias_update={update}",
                       "training.steps=4")
            self.train(f"two-{update}", *options, f"experts.bias_update={update}",
                       "training.steps=4", "parallel.expert=2", ranks=2)
            self.compare(f"two-{update}", f"one-{update}")
        espalier(1, "verify-resume", self.folder / "whole")
        checkpoint = self.folder / "whole/checkpoints/step-00000008"
        logs = [espalier(ranks, "eval", checkpoint, f"data.validation={self.data}", *grid)
                for ranks, grid in ((1, []), (2, ["parallel.expert=2"]))]
        self.assertIn("no place for that bias",
                      espalier(1, "convert", checkpoint, self.folder / "exported"))
        losses = [log.split("loss ")[1].split()[0] for log in logs]
        self.assertAlmostEqual(float(losses[0].rstrip(",")), float(losses[1].rstrip(",")), 4)
        texts = [espalier(ranks, "generate", checkpoint, "--prompt", "namespace",
                          "generate.max_new_tokens=12", "generate.temperature=0", *grid)
                 for ranks, grid in ((1, []), (2, ["parallel.tensor=2", "parallel.expert=2"]))]
        self.assertEqual(texts[0], texts[1])

    def test_pipelines_change_no_bit(self):
        options = [*MOE, "model.num_hidden_layers=4", "training.steps=4",
                   "experts.capacity_factor=0.6"]
        self.train("one-stage", *options)
        for schedule in ("1f1b", "zb-h1"):
            self.train(schedule, *options, "parallel.pipeline=2",
                       f"parallel.schedule={schedule}", ranks=2)
            for row, other in zip(self.rows(schedule), self.rows("one-stage")):
                del row["tokens_per_second"], other["tokens_per_second"]
                self.assertEqual(row, other)

    def test_balance_losses(self):
        for balance in ("none", "sequence", "batch", "global", "huggingface"):
            output = self.train(balance, *MOE, f"experts.balance={balance}", "training.steps=3",
                                "model.router_aux_loss_coef=0.1", "training.micro_batch_size=2",
                                "experts.z_loss_coefficient=0.001")
            self.assertIn("busiest expert", output)
            row = self.rows(balance)[-1]
            self.assertEqual(tuple(row)[-5:], COLUMNS)
            self.assertGreater(float(row["z_loss"]), 0.0)
            self.assertEqual(float(row["balance_loss"]) > 0.0, balance != "none")
        # Means of what each rank's sequences say, and of all ranks' at once.
        for balance in ("batch", "global"):
            self.train(f"{balance}-2", *MOE, f"experts.balance={balance}", "training.steps=3",
                       "model.router_aux_loss_coef=0.1", "training.micro_batch_size=4")
            self.train(f"{balance}-2x2", *MOE, f"experts.balance={balance}", "training.steps=3",
                       "model.router_aux_loss_coef=0.1", "training.micro_batch_size=4",
                       "parallel.tensor=2", ranks=2)
            self.compare(f"{balance}-2x2", f"{balance}-2")


if __name__ == "__main__":
    unittest.main()
