#!/usr/bin/env python3
"""espalier plan search: the published tables digit for digit, what it prints and writes, and what
it says of an input that cannot be searched."""
import csv
import io
import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "validation/published_searches"))
import published  # noqa: E402
from support.runs import BINARY, espalier  # noqa: E402

PLANS = ROOT / "inputs/plans"
QWEN3, LLAMA3 = PLANS / "qwen3-1.36e21.toml", PLANS / "llama3-1.36e21.toml"


def search(document, *overrides, **how):
    return espalier(1, "plan", "search", document, *overrides, **how)


class Published(unittest.TestCase):
    def test_every_row_and_statistic_digit_for_digit(self):
        for name in published.SEARCHES:
            found = published.Search(BINARY, PLANS / f"{name}.toml")
            self.assertEqual(published.differences(name, found), [])
            self.assertEqual(found.marked, ["1"])

    def test_at_exactly_two_per_cent_one_candidate_fewer(self):
        found = published.Search(BINARY, LLAMA3, "search.tolerance=0.02")
        self.assertEqual(found.statistics["passed"], 50)
        found = published.Search(BINARY, QWEN3, "search.tolerance=0.0203")
        self.assertEqual(found.statistics["passed"], 7)

    def test_the_optimum_of_the_exact_count(self):
        # What the documents and validation/published_searches say of it.
        for name, row in (("qwen3-1.36e21-exact", EXACT_QWEN3), ("llama3-1.36e21-exact",
                                                                 EXACT_LLAMA3)):
            found = published.Search(BINARY, PLANS / f"{name}.toml")
            self.assertEqual(found.printed()[0], row.split(), name)

    def test_model_flops_of_speedruns_digit_for_digit(self):
        for name, (*_, parameters, _, flops) in published.SPEEDRUNS.items():
            row = published.speedrun(BINARY, LLAMA3, name, "marin")
            self.assertEqual(f"{row['flops']:.4e}", flops, name)
            self.assertEqual(row["parameters"], parameters, name)


class Output(unittest.TestCase):
    def test_lines_have_100_columns(self):
        for line in search(LLAMA3, "plan.rows=0").splitlines():
            self.assertLessEqual(len(line), 100, line)

    def test_rows_for_people_are_limited_and_programs_get_all(self):
        self.assertIn("41 more rows", search(LLAMA3))
        self.assertNotIn("more rows", search(LLAMA3, "plan.rows=0"))
        rows = list(csv.DictReader(io.StringIO(search(LLAMA3, "--format", "csv"))))
        self.assertEqual(len(rows), 51)
        self.assertEqual([r["row"] for r in rows], [str(i + 1) for i in range(51)])
        first = json.loads(search(LLAMA3, "--format", "json"))["candidates"][0]
        for key, value in first.items():
            if key != "marked":
                self.assertEqual(float(rows[0][key]), value, key)
        self.assertEqual(first["parameters"], 1544628224)
        self.assertEqual(first["num_key_value_heads"], 8)
        self.assertEqual(first["intermediate_size"], 7168)

    def test_the_selected_row_is_shown_and_marked_wherever_it_is(self):
        found = published.Search(BINARY, LLAMA3, "plan.rows=2", "plan.write_row=30")
        self.assertEqual([row["row"] for row in found.rows], ["1", "2", "30"])
        self.assertEqual(found.marked, ["30"])
        self.assertTrue(found.json["candidates"][29]["marked"])

    def test_markdown_is_a_table_and_its_statistics(self):
        lines = search(QWEN3, "--format", "markdown").strip().splitlines()
        self.assertTrue(lines[0].startswith("| row | loss | N/1e9 |"))
        self.assertTrue(lines[2].startswith("| **1** | **2.339658** |"))
        self.assertTrue(all(line.startswith("|") or not line for line in lines))

    def test_two_ranks_print_it_once(self):
        self.assertEqual(espalier(2, "plan", "search", QWEN3), search(QWEN3))

    def test_a_dry_run_says_the_space(self):
        text = search(QWEN3, "--dry-run")
        self.assertIn("dry run", text)
        self.assertNotIn("2.339658", text)


class Files(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="espalier-test-")
        self.addCleanup(self.scratch.cleanup)
        self.folder = pathlib.Path(self.scratch.name)

    def test_a_written_row_is_a_model_file_and_an_input_that_train_accepts(self):
        folder = self.folder / "plans"
        name = "llama-2.22b-l30-h2048-a16"  # row 8
        text = search(LLAMA3, "--write", folder, "plan.write_row=8")
        self.assertIn(f"row 8: {folder}/{name}.toml", text)
        self.assertEqual(sorted(p.name for p in folder.iterdir()),
                         [f"{name}-run.toml", f"{name}.toml"])
        dry = espalier(1, "train", folder / f"{name}-run.toml", "--dry-run",
                       "training.sequence_length=512", cwd=self.folder)
        self.assertIn("2,224,154,624", dry)
        self.assertIn("tokens = 61545454545", dry)
        # The model file alone is one, too.
        espalier(1, "train", f"model.file={folder / name}.toml", "training.steps=1", "--dry-run",
                 "training.sequence_length=512", cwd=self.folder)

    def test_nothing_is_overwritten(self):
        search(QWEN3, "--write", self.folder)
        before = {path: path.read_bytes() for path in self.folder.iterdir()}
        self.assertEqual(len(before), 2)
        text = search(QWEN3, "--write", self.folder, status=78)
        self.assertIn("plan.write", text)
        self.assertIn("nothing is overwritten", text)
        self.assertEqual({path: path.read_bytes() for path in self.folder.iterdir()}, before)

    def test_a_row_that_is_not_there(self):
        text = search(QWEN3, "--write", self.folder, "plan.write_row=8", status=78)
        self.assertIn("plan.write_row = 8", text)
        self.assertIn("1 to 7", text)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_run_that_train_would_refuse_is_not_written(self):
        text = search(QWEN3, "--write", self.folder, "schedule.warmup_steps=100000000", status=78)
        self.assertIn("schedule.warmup_steps", text)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_the_picture_is_an_svg_with_curve_and_candidates(self):
        picture = self.folder / "search.svg"
        self.assertIn(str(picture), search(LLAMA3, "--plot", picture))
        svg = picture.read_text()
        self.assertIn("<svg", svg)
        for words in ("cheapest shape of N", "6 N D", "candidates", "L 18, H 2048, A 16"):
            self.assertIn(words, svg)
        text = search(LLAMA3, "--plot", picture, status=78)
        self.assertIn("plan.plot", text)
        self.assertEqual(picture.read_text(), svg)


    def test_places_that_cannot_be_written(self):
        file = self.folder / "file"
        file.write_text("mine")
        self.assertIn("plan.write", search(QWEN3, "--write", file, status=78))
        self.assertIn("file", search(QWEN3, "--write", file / "below", status=74))
        self.assertIn("plan.plot", search(QWEN3, "--plot", self.folder / "no/a.svg", status=78))
        self.assertEqual(file.read_text(), "mine")


class Devices(unittest.TestCase):
    """Memory and hours come from the plans of layouts, which have tests of their own."""
    # Three shapes, and a batch that few layouts divide.
    KEYS = ["plan.device=b200", "plan.ranks=8", "training.global_batch_size=8",
            "search.layers=[24]", "search.hidden_max=1536"]
    ROWS = [row for row in published.published_rows("qwen3-1.36e21")
            if row[3] == "24" and int(row[4]) <= 1536]

    def test_candidates_have_memory_and_hours_and_their_best_layout(self):
        found = published.Search(BINARY, QWEN3, *self.KEYS, "plan.hours=10000")
        self.assertEqual(found.printed(), self.ROWS)
        for row, of_json in zip(found.rows, found.json["candidates"]):
            name = next(k for k in of_json if k.endswith("_hours")).removesuffix("_hours")
            self.assertEqual(row["hours"], f"{of_json[name + '_hours']:.1f}")
            self.assertEqual(row["GiB"], f"{of_json[name + '_memory_bytes'] / 2**30:.1f}")
            self.assertIn("tensor", of_json[name + "_layout"])
        self.assertIn("row 1 on 8 x", found.text)
        for line in found.text.splitlines():
            self.assertLessEqual(len(line), 100)

    def test_what_takes_too_long_is_dropped_and_counted(self):
        rows = json.loads(search(QWEN3, *self.KEYS, "--format", "json"))["candidates"]
        hours = sorted(next(v for k, v in row.items() if k.endswith("_hours")) for row in rows)
        self.assertEqual(len(hours), 3)
        limit = (hours[1] + hours[2]) / 2
        found = published.Search(BINARY, QWEN3, *self.KEYS, f"plan.hours={limit}")
        self.assertEqual(found.statistics["passed"], 3)
        self.assertEqual(found.statistics["candidates"], 2)
        self.assertIn("1 longer than plan.hours", found.text)
        text = search(QWEN3, *self.KEYS, f"plan.hours={hours[0] / 2}", status=78)
        for words in ("none of the 3 candidates", "3 longer than plan.hours", "plan.ranks"):
            self.assertIn(words, text)

    def test_a_number_of_ranks_without_a_layout(self):
        text = search(QWEN3, *self.KEYS, "plan.ranks=67", status=78)
        self.assertIn("no candidate can be laid out on 67 ranks", text)

    def test_a_written_run_has_the_grid_of_its_layout(self):
        with tempfile.TemporaryDirectory(prefix="espalier-test-") as name:
            folder = pathlib.Path(name)
            search(QWEN3, *self.KEYS, "--write", folder)
            run = next(folder.glob("*-run.toml"))
            self.assertIn("# Estimate:  8 x", run.read_text())
            self.assertIn("= 8 ranks", espalier(1, "train", run, "--dry-run", cwd=folder))


class BadInput(unittest.TestCase):
    """Each with status 78, the key, and what to change."""

    def expect(self, overrides, *words, document=QWEN3):
        text = search(document, *overrides, status=78)
        for word in words:
            self.assertIn(word, text)

    def test_budgets(self):
        self.expect(["search.budget=0"], "search.budget is not set")
        self.expect(["search.budget=-1"], "search.budget", "at least 0")
        self.expect(["search.budget=nan"], "search.budget", "nan")
        self.expect(["search.budget=1e40"], "search.tokens_max", "larger shapes")
        self.expect(["search.budget=1e10"], "search.tokens_min", "smaller shapes")

    def test_a_tolerance_that_nothing_meets_names_the_nearest_miss(self):
        self.expect(["search.tolerance=0"], "search.tolerance = 0")
        self.expect(["search.tolerance=1e-5"], "The nearest spends", "search.tolerance = ",
                    "search.tokens_count = ")

    def test_spaces_without_a_shape(self):
        self.expect(["search.head_dims=[96]", "search.hidden_min=1024", "search.hidden_max=1024"],
                    "no shape", "model.num_key_value_heads = 8", "hidden size of 768")
        self.expect(["search.layers=[]"], "search.layers", "name a list, or a range")
        self.expect(["search.hidden_max=512"], "search.hidden_min = 1024",
                    "search.hidden_max = 512")

    def test_filters_and_tokens(self):
        self.expect(["search.chinchilla_min=2", "search.chinchilla_max=1"],
                    "search.chinchilla_min = 2", "search.chinchilla_max = 1")
        self.expect(["search.chinchilla_min=5000"], "the pairs of the space have")
        self.expect(["search.parameters_min=1e13"], "the shapes of the space have")
        self.expect(["search.tokens_min=1e13"], "search.tokens_min", "search.tokens_max")

    def test_ties(self):
        self.expect(['search.ties=["los"]'], "\"los\"", "nearest is \"loss\"")

    def test_a_model_with_sizes(self):
        self.expect([f"model.file={ROOT / 'inputs/models/qwen3-0.6b.toml'}"],
                    "model.num_hidden_layers = 28", "remove it", "model.file")

    def test_a_run_input_is_no_search(self):
        self.expect([], "search.budget is not set", "model.hidden_size = 64",
                    document=ROOT / "inputs/tests/tiny.toml")

    def test_hours_without_a_device(self):
        self.expect(["plan.hours=60"], "plan.hours = 60", "plan.device")

    def test_formats(self):
        self.expect(["--format", "xml"], "plan.format")

    def test_the_command_line(self):
        self.assertIn("name an input file", espalier(1, "plan", "search", status=64))
        self.assertIn("cannot be read", espalier(1, "plan", "search", "nowhere.toml", status=78))


EXACT_QWEN3 = "2.289056 1.830 140.051 24 2048 16 3.8"
EXACT_LLAMA3 = "2.287665 2.009 128.463 16 2560 40 3.2"

if __name__ == "__main__":
    unittest.main()
