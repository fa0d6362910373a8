#!/usr/bin/env python3
"""espalier plan fit: runs and tables to a law, what it prints and writes, and what it says of runs
and files that give none."""
import csv
import io
import json
import pathlib
import shutil
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))
from support.runs import RunCase, espalier  # noqa: E402

LAW = {"e": 1.7, "a": 300.0, "alpha": 0.4, "b": 500.0, "beta": 0.45}
SIZES, TOKENS = (1e6, 4e6, 2e7, 1e8), (1e7, 1e8, 2e9)


def loss(parameters, tokens):
    return LAW["e"] + LAW["a"] / parameters**LAW["alpha"] + LAW["b"] / tokens**LAW["beta"]


def write_points(path, header="name,parameters,tokens,loss"):
    rows = [header] + [f"run-{i}-{k},{n},{d},{loss(n, d)}"
                       for i, n in enumerate(SIZES) for k, d in enumerate(TOKENS)]
    path.write_text("\n".join(rows) + "\n")
    return path


def fit(*arguments, **how):
    return espalier(1, "plan", "fit", *arguments, **how)


def as_json(*arguments):
    return json.loads(fit(*arguments, "--format", "json"))


class Tables(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="espalier-test-"))
        self.points = write_points(self.folder / "points.csv")

    def tearDown(self):
        shutil.rmtree(self.folder)

    def assert_law(self, constants):
        for constant in constants:
            # Along exchanges of a for alpha, and of b for beta, the minimum is flat.
            self.assertAlmostEqual(constant["value"] / LAW[constant["name"]], 1.0, delta=0.02)

    def test_points_of_a_law_give_the_law_and_predict_what_was_held_back(self):
        result = as_json(self.points, 'fit.hold_back=["run-3-2"]', "fit.resamples=20")
        self.assert_law(result["constants"])
        self.assertEqual(len(result["fitted"]), 11)
        held = result["held_back"][0]
        self.assertEqual(held["name"], "run-3-2")
        self.assertAlmostEqual(held["value"], held["measured"], delta=1e-4)

    def test_the_same_fit_on_two_ranks(self):
        words = ("plan", "fit", self.points, "fit.resamples=5")
        self.assertEqual(espalier(1, *words), espalier(2, *words))

    def test_other_names_of_columns_and_flops(self):
        lines = ["Model Size,Training FLOP,loss"]
        lines += [f"{n},{6.0 * n * d},{loss(n, d)}" for n in SIZES for d in TOKENS]
        other = self.folder / "other.csv"
        other.write_text("\n".join(lines))
        result = as_json(other, "fit.resamples=0",
                         'fit.columns=["parameters=Model Size", "flops=Training FLOP"]')
        self.assert_law(result["constants"])
        self.assertIn("fit.columns", fit(other, status=65))

    def test_csv_and_text(self):
        arguments = (self.points, "fit.resamples=10", "fit.predict_parameters=1e9",
                     "fit.predict_tokens=2e10")
        rows = list(csv.DictReader(io.StringIO(fit(*arguments, "--format", "csv"))))
        self.assertEqual([r["kind"] for r in rows].count("fitted"), 12)
        self.assertEqual(rows[-1]["kind"], "predicted")
        self.assertAlmostEqual(float(rows[-1]["value"]), loss(1e9, 2e10), delta=1e-3)
        text = fit(*arguments)
        self.assertIn("12 points", text)
        for line in text.splitlines():
            self.assertLessEqual(len(line), 100, line)

    def test_the_law_is_written_for_other_inputs_and_nothing_is_overwritten(self):
        plans = self.folder / "plans"
        fit(self.points, "fit.resamples=5", "--write", plans, "--plot", self.folder / "fit.svg")
        law = plans / "loss_law.toml"
        self.assertIn("[loss_law]", law.read_text())
        self.assertIn("<svg", (self.folder / "fit.svg").read_text())
        before = law.read_text()
        self.assertIn("is there already", fit(self.points, "--write", plans, status=78))
        self.assertIn("is there already",
                      fit(self.points, "--plot", self.folder / "fit.svg", status=78))
        self.assertIn("is a file", fit(self.points, "--write", self.points, status=78))
        self.assertEqual(law.read_text(), before)
        fit(self.points, "--dry-run", f"loss_law.file={law}")
        self.assertIn("loss_law.file",
                      fit(self.points, "--dry-run", "loss_law.file=none.toml", status=78))

    def test_dry_run_fits_and_writes_nothing(self):
        text = fit(self.points, "--write", self.folder / "plans", "--dry-run")
        self.assertIn("12 points to fit", text)
        self.assertFalse((self.folder / "plans").exists())

    def test_bad_tables_and_questions(self):
        def refused(text, *words, status=65, arguments=()):
            path = self.folder / "bad.csv"
            path.write_text(text)
            told = fit(path, *arguments, status=status)
            for word in words:
                self.assertIn(word, told)

        good = self.points.read_text()
        lines = good.splitlines(keepends=True)
        refused("", "is empty")
        refused(lines[0], "no row")
        refused("".join(lines[:4]), "3 points", "five constants")
        refused(lines[0] + "".join(line for line in lines if line.startswith("run-2")) * 2,
                "one number of parameters", "other sizes")
        refused(lines[0] + "".join(line for line in lines if "-1," in line[:8]) * 2,
                "one number of tokens", "other lengths")
        refused(good.replace("loss", "lost"), "bad.csv:1", "lost", "fit.columns")
        refused(good + "x,1e6,1e7,nan\n", "bad.csv:14", "nan")
        refused(good + "x,1e6,many,3\n", "bad.csv:14", "tokens", "many")
        refused(good + "x,1e6,1e7\n", "bad.csv:14", "3 values")
        refused(good, "run-0-7", "did you mean run-0-", status=78,
                arguments=['fit.hold_back=["run-0-7"]'])
        refused(good, "fit.predict_tokens", status=78, arguments=["fit.predict_parameters=1e9"])
        refused(good, "fit.huber_delta", status=78, arguments=["fit.huber_delta=0"])
        refused(good, "fit.confidence", status=78, arguments=["fit.confidence=95"])
        self.assertIn("not there", fit(self.folder / "none.csv", status=65))
        self.assertIn("twice", fit(self.points, self.points, status=64))
        self.assertIn("name a file or folder", espalier(1, "plan", "fit", status=64))


class Runs(RunCase):
    """Three sizes of the tiny model are trained for two steps. What a law would give is then
    written into copies of their folders, as if they were long runs."""

    HIDDEN = (32, 64, 128)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.sizes = {}
        for hidden in cls.HIDDEN:
            folder = cls.folder / f"h{hidden}"
            told = espalier(1, "train", *cls.keys(cls, f"h{hidden}", f"model.hidden_size={hidden}",
                                                  "training.steps=2", "checkpoint.interval=2",
                                                  "schedule.warmup_steps=1",
                                                  "validation.interval=2"))
            line = next(line for line in told.splitlines() if "parameters    " in line)
            cls.sizes[hidden] = int(line.split()[2].replace(",", ""))
            assert (folder / "validation.csv").exists(), told

    def copies(self):
        """Run folders of three sizes by three lengths with the losses of LAW."""
        parent = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        for hidden, parameters in self.sizes.items():
            for k, tokens in enumerate(TOKENS):
                run = parent / f"h{hidden}-{k}"
                shutil.copytree(self.folder / f"h{hidden}", run)
                value = loss(parameters, tokens)
                (run / "history.csv").write_text(
                    "step,tokens,loss,grad_norm,learning_rate,tokens_per_second\n"
                    f"1,{tokens / 2},9.5,1,1,1\n2,{tokens},{value + 0.25},1,1,1\n")
                (run / "validation.csv").write_text(
                    f"step,loss,bits_per_byte\n1,9.5,9.5\n2,{value},{value}\n")
        return parent, sorted(parent.iterdir())

    def test_a_run_is_a_point(self):
        # As one row of a CSV beside others, a run has its parameters, tokens and last validation.
        points = write_points(self.folder / "points.csv")
        result = as_json(points, self.folder / "h64", "fit.resamples=0", 'fit.hold_back=["h64"]')
        held = result["held_back"][0]
        self.assertEqual(held["parameters"], self.sizes[64])
        self.assertEqual(held["tokens"], 2 * 8 * 32)
        with open(self.folder / "h64/validation.csv", newline="") as file:
            self.assertEqual(held["measured"], float(list(csv.DictReader(file))[-1]["loss"]))
        result = as_json(points, self.folder / "h64/history.csv", "fit.resamples=0",
                         'fit.hold_back=["h64"]', "fit.loss=training",
                         "fit.counts=without_embedding")
        held = result["held_back"][0]
        self.assertEqual(held["parameters"], self.sizes[64] - 257 * 64)
        self.assertEqual(held["measured"], float(self.history("h64")[-1][2]))

    def test_runs_give_the_law_that_their_losses_follow(self):
        _, runs = self.copies()
        result = as_json(*runs, "fit.resamples=0")
        for constant in result["constants"]:
            self.assertAlmostEqual(constant["value"] / LAW[constant["name"]], 1.0, delta=0.05)

    def test_runs_that_are_cut_empty_or_not_finished_are_told_all_at_once(self):
        parent, runs = self.copies()
        (runs[0] / "history.csv").write_text("")
        history = (runs[1] / "history.csv").read_text()
        (runs[1] / "history.csv").write_text(history[:-4])
        shutil.rmtree(runs[2] / "checkpoints")
        (runs[3] / "validation.csv").unlink()
        for name in ("history.csv", "validation.csv"):  # up to step 1
            (runs[4] / name).write_text("".join((runs[4] / name).read_text().splitlines(True)[:2]))
        told = fit(*runs, status=65)
        for run, word in zip(runs, ["is empty", "cut off", "no complete checkpoint",
                                    "fit.loss=training", "at step 1 of 2"]):
            line = [line for line in told.splitlines() if str(run) in line]
            self.assertEqual(len(line), 1, told)
            self.assertIn(word, line[0])
        # What can be fitted when it is asked for.
        result = as_json(*runs[4:], points := write_points(self.folder / "more.csv"),
                         "fit.unfinished=true", "fit.resamples=0", f'fit.hold_back=["{runs[4].name}"]')
        self.assertEqual(result["held_back"][0]["measured"], 9.5)
        self.assertTrue(points.exists())
        # A folder of runs is not a run.
        self.assertIn(f"{parent}/*", fit(parent, status=65))

    def test_a_run_that_diverged_is_refused(self):
        _, runs = self.copies()
        (runs[0] / "validation.csv").write_text("step,loss,bits_per_byte\n2,nan,nan\n")
        self.assertIn("diverged", fit(*runs, status=65))


if __name__ == "__main__":
    unittest.main()
