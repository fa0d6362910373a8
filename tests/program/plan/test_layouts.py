"""espalier plan grid and plan time: tables in every format, inputs that they write, bad input."""
import csv
import io
import json
import pathlib
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from paper_gpu import write_device  # noqa: E402
from runs import ROOT, espalier  # noqa: E402

RUN = ["training.sequence_length=4096", "training.global_batch_size=64",
       "training.tokens=1_000_000_000"]
MODEL = f"model.file={ROOT / 'inputs/models/qwen3-8b.toml'}"
LONG = ["training.sequence_length=131072", "model.max_position_embeddings=131072",
        "training.global_batch_size=16", "training.tokens=1_000_000_000"]
PARTS = ["products", "attention", "memory_bound", "tensor_exposed", "context_exposed",
         "expert_exposed", "data_exposed", "bubble", "other", "input", "checkpoint"]


class PlanCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="espalier-test-"))
        for name, gib in (("large", 178.0), ("small", 24.0)):
            write_device(cls.folder, name, gib, title="Paper GPU")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder, ignore_errors=True)

    def plan(self, command, *words, device="large", model=MODEL, run=RUN, **how):
        return espalier(1, "plan", command, model, *run, f"plan.device={self.folder / device}.toml",
                        *words, **how)

    def grid(self, *words, **how):
        return self.plan("grid", "plan.ranks=8", *words, **how)

    def expect(self, text, *words):
        for word in words:
            self.assertIn(word, text)


class Grid(PlanCase):
    def test_text_markdown_csv_and_json_say_the_same(self):
        of_json = json.loads(self.grid("--format", "json"))
        of_csv = list(csv.DictReader(io.StringIO(self.grid("--format", "csv"))))
        text = self.grid().splitlines()
        markdown = self.grid("--format", "markdown").splitlines()
        self.assertEqual(len(of_json), 10)
        self.assertEqual(len(of_csv), 10)
        for i, row in enumerate(of_json):
            self.assertEqual(int(of_csv[i]["memory_bytes"]), row["memory_bytes"])
            self.assertEqual(float(of_csv[i]["step_seconds"]), row["step_seconds"])
            grid = f"{row['tensor']:.0f} x {row['data']:.0f}"
            speed = f"{row['tokens_per_second']:,.0f}"
            for lines in (text, markdown):
                self.assertTrue(any(grid in line and speed in line and row["recompute"] in line
                                    for line in lines), f"{grid} {speed} in {lines}")

    def test_lines_have_a_hundred_columns_and_the_fastest_stands_first(self):
        for ranks in (1, 8, 1024):
            text = self.plan("grid", f"plan.ranks={ranks}", "training.global_batch_size=4096",
                             "plan.hours=10")
            self.assertLessEqual(max(map(len, text.splitlines())), 100, text)
            self.expect(text, "where the time of a step goes", "matrix products", "plan.hours",
                        "because of" if ranks > 1 else "layouts fit")
        steps = [row["step_seconds"] for row in json.loads(self.grid("--format", "json"))]
        self.assertEqual(steps, sorted(steps))

    def test_ranks_share_sequences_that_are_long_and_only_those(self):
        self.assertNotIn("context", self.grid())
        of_short = json.loads(self.grid("plan.rows=0", "--format", "json"))
        self.assertEqual({row["context"] for row in of_short}, {1})
        rows = json.loads(self.grid("plan.rows=0", "--format", "json", run=LONG))
        self.assertEqual({row["context"] for row in rows}, {1, 2, 4, 8})
        for row in rows:
            if row["fits"] == "yes":
                self.assertEqual(row["context_exposed"] > 0, row["context"] > 1)
                self.assertAlmostEqual(sum(row[part] for part in PARTS) / row["step_seconds"], 1, 9)
        first = rows[0]
        self.assertGreater(first["context"], 1)
        text = self.grid(run=LONG)
        self.assertLessEqual(max(map(len, text.splitlines())), 100, text)
        self.expect(text, f"{first['tensor']:.0f} x {first['data']:.0f}, c {first['context']:.0f}",
                    "c: context ranks", "context communication", "not measured",
                    f"x context {first['context']:.0f} x data")
        # A run of it: the same figures, and what its dry run says.
        folder = self.folder / "long"
        self.grid("--write", folder, run=LONG)
        (written,) = folder.iterdir()
        device = f"plan.device={self.folder / 'large.toml'}"
        again = json.loads(espalier(1, "plan", "time", written, "--format", "json", device))[0]
        for key in ("memory_bytes", "step_seconds", "context_exposed", "tokens_per_second"):
            self.assertEqual(again[key], first[key], key)
        grid = " x ".join(f"{axis} {first[axis]:.0f}" for axis in ("tensor", "context", "data"))
        report = espalier(1, "train", written, "--dry-run", "device.backend=cuda",
                          "device.memory_gib=178", "device.compute_capability=100",
                          f"output.directory={self.folder / 'long-run'}")
        self.expect(report, grid, "fits: device.memory_gib")

    def test_all_rows_are_those_that_do_not_fit_too_and_are_counted(self):
        rows = json.loads(self.grid("plan.rows=0", "--format", "json"))
        fitting = [row for row in rows if row["fits"] == "yes"]
        misses = [row for row in rows if row["fits"] == "no"]
        self.assertTrue(fitting and misses)
        self.assertEqual(rows[:len(fitting)], fitting)
        self.assertTrue(all(row["step_seconds"] is None for row in misses))
        text = self.grid("plan.rows=1")
        self.expect(text, f"{len(fitting)} layouts fit", f"{len(misses)} layouts do not fit",
                    f"{misses[0]['memory_bytes'] / 2**30:.1f} GiB")

    def test_parts_add_up_to_the_step(self):
        for row in json.loads(self.grid("--format", "json")):
            self.assertAlmostEqual(sum(row[part] for part in PARTS) / row["step_seconds"], 1, 9)

    def test_several_ranks_of_a_job_print_one_plan(self):
        words = ["plan", "grid", MODEL, *RUN, f"plan.device={self.folder / 'large.toml'}",
                 "plan.ranks=8", "--format", "json"]
        self.assertEqual(espalier(2, *words), espalier(1, *words))

    def test_the_grid_of_the_input_says_how_many_devices_there_are(self):
        words = [MODEL, *RUN, f"plan.device={self.folder / 'large.toml'}", "--format", "json"]
        named = espalier(1, "plan", "grid", *words, "parallel.tensor=2", "parallel.data=4")
        self.assertEqual(named, espalier(1, "plan", "grid", *words, "plan.ranks=8"))

    def test_the_chosen_row_is_written_as_an_input_that_trains_on_its_grid(self):
        folder = self.folder / "written"
        row = json.loads(self.grid("--format", "json"))[2]
        self.grid("--write", folder, "plan.write_row=3")
        (written,) = folder.iterdir()
        self.assertEqual(written.name, "qwen3-8-paper-gpu.toml")
        report = espalier(1, "train", written, "--dry-run",
                          f"output.directory={self.folder / 'run'}")
        self.expect(report, f"tensor {row['tensor']:.0f} x data {row['data']:.0f} = 8 ranks")
        again = json.loads(espalier(1, "plan", "time", written, "--format", "json",
                                    f"plan.device={self.folder / 'large.toml'}"))[0]
        for key in ("memory_bytes", "step_seconds", "tokens_per_second", "hours"):
            self.assertEqual(again[key], row[key], key)
        before = written.read_text()
        text = self.grid("--write", folder, "plan.write_row=3", status=78)
        self.expect(text, written.name, "plan.write")
        self.assertEqual(written.read_text(), before)

    def schedules(self, *words):
        rows = json.loads(self.grid("plan.rows=0", "--format", "json", *words))
        return {(row["schedule"], row["chunks"]) for row in rows if row["pipeline"] > 1}

    def test_a_schedule_is_chosen_where_the_input_names_none(self):
        self.assertGreater(len(self.schedules()), 2)
        self.assertEqual(self.schedules("parallel.schedule=1f1b"), {("1f1b", 1)})
        self.assertEqual(self.schedules("plan.schedule=1f1b"), {("1f1b", 1)})
        self.assertLessEqual(self.schedules("parallel.schedule=interleaved", "parallel.chunks=3"),
                             {("interleaved", 3), ("1f1b", 1)})
        self.assertEqual(self.schedules("parallel.schedule=zb-h1", "plan.schedule=all"),
                         self.schedules())
        text = self.grid()
        if "x pipeline" in text:
            self.expect(text, "the fastest that fits")

    def test_chunks_that_do_not_fit_a_schedule_are_refused(self):
        self.expect(self.grid("plan.schedule=zb-v", "plan.chunks=3", status=78),
                    "plan.chunks = 3", "zb-v has 2 chunks")
        self.expect(self.grid("plan.schedule=zb-w", status=78), "plan.schedule", "zb-v")

    def test_a_row_that_is_not_there_is_not_written(self):
        folder = self.folder / "nothing"
        text = self.grid("--write", folder, "plan.write_row=100000", status=78)
        self.expect(text, "plan.write_row = 100000", "layouts fit")
        self.assertFalse(folder.exists())

    def test_a_plot_that_is_there_is_told_before_an_input_is_written(self):
        plot, folder = self.folder / "there.svg", self.folder / "unwritten"
        plot.write_text("mine")
        self.expect(self.grid("--plot", plot, "--write", folder, status=78), "there.svg")
        self.assertEqual(plot.read_text(), "mine")
        self.assertFalse(folder.exists())

    def test_ranks_without_a_layout_name_others(self):
        text = self.plan("grid", "plan.ranks=67", status=78)
        self.expect(text, "67 ranks", "66 or 68 ranks", "training.global_batch_size = 64")

    def test_what_fits_nowhere_says_what_is_nearest_and_what_would_help(self):
        text = self.grid("plan.ranks=1", device="small", status=78)
        self.expect(text, "1 x Paper GPU", "24.0 GiB", "optimizer state", "recompute full",
                    "plan.ranks = 8", "training.sequence_length")

    def test_bad_input_is_refused_with_its_remedy(self):
        self.expect(self.grid("training.tokens=0", status=78), "training.steps", "training.tokens")
        self.expect(espalier(1, "plan", "grid", *RUN, "plan.ranks=8",
                             f"plan.device={self.folder / 'large.toml'}", status=78), "model.file")
        self.expect(self.grid("plan.format=html", status=78), "plan.format", "markdown")
        self.expect(self.grid("model.num_key_value_heads=5", status=78),
                    "model.num_key_value_heads = 5", "32")
        unknown = self.plan("grid", "plan.ranks=8", device="nowhere", status=78)
        self.expect(unknown, "nowhere.toml")
        self.expect(espalier(1, "plan", "grid", MODEL, *RUN, "plan.ranks=8", "plan.device=b2000",
                             status=78), "b2000", "b200")
        self.expect(espalier(1, "plan", "grid", MODEL, *RUN, "plan.ranks=8", status=78),
                    "plan.device")


class Time(PlanCase):
    def time(self, *words, **how):
        return self.plan("time", "parallel.tensor=2", "parallel.data=4", *words, **how)

    def test_parts_add_up_to_the_step_and_devices_stand_side_by_side(self):
        both = json.dumps([str(self.folder / f"{name}.toml") for name in ("large", "small")])
        rows = json.loads(self.time(f"plan.device={both}", "--format", "json"))
        self.assertEqual([row["fits"] for row in rows], ["yes", "no"])
        for row in rows:
            self.assertEqual(row["ranks"], 8)
            self.assertAlmostEqual(sum(row[part] for part in PARTS) / row["step_seconds"], 1, 9)
            self.assertAlmostEqual(row["tokens_per_second"] * row["hours"] * 3600 / 1e9, 1, 3)
        text = self.time(f"plan.device={both}", "plan.hours=0.01")
        self.assertLessEqual(max(map(len, text.splitlines())), 100, text)
        self.expect(text, "does not fit", "plan memory", "matrix products", "floor, ms",
                    "attention_backward", "plan.hours = 0.01")
        table = csv.DictReader(io.StringIO(self.time(f"plan.device={both}", "--format", "csv")))
        self.assertEqual([float(row["step_seconds"]) for row in table],
                         [row["step_seconds"] for row in rows])
        self.expect(self.time("--format", "markdown"), "| matrix products |", "| operator |")

    def test_it_is_the_layout_that_the_grid_has(self):
        key = ("tensor", "data", "micro_batch_size", "recompute", "zero_stage")
        rows = json.loads(self.grid("plan.rows=0", "--format", "json"))
        row = next(r for r in rows if [r[k] for k in key] == [2, 4, 1, "selective", 1])
        own = json.loads(self.time("memory.recompute=selective", "--format", "json"))[0]
        for name in ("memory_bytes", "step_seconds", "mfu_full", "device_hours"):
            self.assertEqual(own[name], row[name])

    def test_a_budget_of_memory_is_chosen_for_the_device(self):
        all_kept = json.loads(self.time("--format", "json"))[0]
        write_device(self.folder, "medium", 0.98 * all_kept["memory_bytes"] / 2**30)
        self.expect(self.time(device="medium"), "does not fit")
        chosen = json.loads(self.time("memory.recompute=budget", "--format", "json",
                                      device="medium"))[0]
        self.assertEqual(chosen["fits"], "yes")
        self.assertLess(chosen["memory_bytes"], all_kept["memory_bytes"])
        self.assertGreater(chosen["step_seconds"], all_kept["step_seconds"])

    def test_a_grid_that_is_not_legal_says_why(self):
        self.expect(self.time("parallel.tensor=5", "plan.ranks=20", status=78),
                    "parallel.tensor = 5", "model.num_attention_heads = 32")
        self.expect(self.time("plan.ranks=9", status=78), "parallel.tensor = 2", "9")
        self.expect(self.time("training.micro_batch_size=3", status=78),
                    "training.global_batch_size")


if __name__ == "__main__":
    unittest.main()
