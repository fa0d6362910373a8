"""espalier bench scaling: more and more ranks of one job, as a table, CSV and a chart."""
import csv
import io
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import HANG_S, TINY, command, environment, espalier  # noqa: E402

SHORT = ["bench.warmup_steps=0", "bench.steps=2"]


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


class Scaling(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="espalier-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def test_a_job_of_four_ranks_measures_one_two_and_four(self):
        plot = self.folder / "strong.svg"
        done = subprocess.run(
            command(4, "bench", "scaling", TINY, *SHORT, "--format", "csv", "--plot", plot),
            env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=HANG_S)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        table = rows(done.stdout)  # all of standard output
        self.assertEqual([row["ranks"] for row in table], ["1", "2", "4"])
        self.assertEqual([row["nodes"] for row in table], ["1", "1", "1"])
        self.assertEqual([row["global_batch_size"] for row in table], ["8", "8", "8"])
        self.assertEqual(float(table[0]["efficiency"]), 1.0)
        for row in table:
            n, step = int(row["ranks"]), float(row["step_seconds"])
            self.assertLessEqual(float(row["step_seconds_min"]), step)
            self.assertGreaterEqual(float(row["step_seconds_max"]), step)
            self.assertAlmostEqual(float(row["tokens_per_second"]) * step, 8 * 32, places=6)
            self.assertAlmostEqual(float(row["tokens_per_second_per_rank"]) * n,
                                   float(row["tokens_per_second"]), places=6)
            self.assertLess(float(row["communication_share"]), 1.0)
        self.assertGreater(float(table[2]["communication_share"]), 0.0)
        self.assertIn("4 ranks, step", done.stderr)
        self.assertTrue(xml.etree.ElementTree.parse(plot).getroot().tag.endswith("svg"))

    def test_each_count_trains_what_a_job_of_its_own_does(self):
        text = espalier(4, "bench", "scaling", TINY, *SHORT, "bench.scaling=weak",
                        "parallel.tensor=2", "bench.ranks=[1,4,2]")
        self.assertRegex(text, r"1 rank: left out: .*parallel\.tensor")
        for ranks, batch in ((2, 8), (4, 16)):
            alone = espalier(ranks, "bench", TINY, *SHORT, "parallel.tensor=2",
                             f"training.global_batch_size={batch}")
            losses = [line.split()[3] for line in alone.splitlines() if line.startswith("step ")]
            self.assertEqual(len(losses), 2)
            self.assertEqual(losses, [line.split("loss ")[1].split()[0]
                                      for line in text.splitlines()
                                      if line.startswith(f"{ranks} ranks, step")])

    def test_a_chart_that_is_there_is_refused_before_anything_is_measured(self):
        plot = self.folder / "there.svg"
        plot.write_text("mine")
        said = espalier(2, "bench", "scaling", TINY, *SHORT, f"bench.plot={plot}", status=78)
        self.assertIn(str(plot), said)
        self.assertNotIn("step ", said)
        self.assertEqual(plot.read_text(), "mine")

    def test_inputs_that_cannot_be_measured_are_refused_by_all_ranks(self):
        for keys, words in ((["bench.ranks=[1,4]"], ("bench.ranks", "4", "2 ranks")),
                            (["bench.ranks=[1]", "device.memory_gib=0.0001"],
                             ("1 rank: left out", "device.memory_gib")),
                            (["training.global_batch_size=7", "bench.ranks=[2]"],
                             ("training.global_batch_size = 7", "2 ranks"))):
            said = espalier(2, "bench", "scaling", TINY, *SHORT, *keys, status=78)
            for word in words:
                self.assertIn(word, said)
        said = espalier(1, "bench", "scaling", TINY, "bench.scaling=both", status=78)
        self.assertIn("strong", said)

    def test_what_does_not_fit_the_memory_of_few_ranks_is_left_out(self):
        # Embeddings of 4,194,304 weights: one rank needs 247 MiB, two, which divide the optimizer's
        # state, 214 each.
        text = espalier(2, "bench", "scaling", TINY, "bench.warmup_steps=0", "bench.steps=1",
                        "--format", "json", "model.vocab_size=65536", "device.memory_gib=0.225")
        table = json.loads(text[text.index("[\n"):])
        self.assertIn("1 rank: left out", text)
        self.assertEqual([row["ranks"] for row in table], [2])

    def test_a_dry_run_on_one_process_plans_any_number_of_ranks(self):
        ranks = "bench.ranks=[8,32,128]"
        text = espalier(1, "bench", "scaling", TINY, ranks, "bench.scaling=weak", "--dry-run",
                        "plan.device=h100", "device.backend=cuda", "--format", "csv",
                        "training.dtype=bfloat16")
        table = rows(text[text.index("ranks,nodes"):])
        self.assertEqual([row["ranks"] for row in table], ["8", "32", "128"])
        self.assertEqual([row["global_batch_size"] for row in table], ["8", "32", "128"])
        for row in table:
            self.assertEqual(row["step_seconds"], "")
            self.assertGreater(float(row["planned_step_seconds"]), 0.0)


if __name__ == "__main__":
    unittest.main()
