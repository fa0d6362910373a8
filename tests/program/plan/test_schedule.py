"""espalier plan schedule: pipeline schedules compared, shown rank by rank and drawn."""
import csv
import io
import json
import pathlib
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import TINY, espalier  # noqa: E402

NAMES = ["gpipe", "1f1b", "interleaved", "zb-h1", "zb1p", "zb-v", "dualpipe-v"]
SVG = "{http://www.w3.org/2000/svg}"
EIGHT = ["plan.pipeline=8", "plan.micro_batches=32"]


def plan(*arguments, status=0):
    return espalier(1, "plan", "schedule", *arguments, status=status)


def rows(*arguments):
    return json.loads(plan(*arguments, "--format", "json"))


class PlanSchedule(unittest.TestCase):
    def test_bubbles_and_memory_are_the_published_ones(self):
        table = {row["schedule"]: row for row in rows(*EIGHT)}
        self.assertEqual(list(table), NAMES)
        for name, bubble, live in (("gpipe", 17.95, 32), ("1f1b", 17.95, 8),
                                   ("interleaved", 9.86, 11.5), ("zb-h1", 6.80, 8),
                                   ("zb1p", 3.52, 8), ("zb-v", 3.52, 8),
                                   ("dualpipe-v", 3.52, 8.5)):
            self.assertAlmostEqual(100 * table[name]["bubble"], bubble, delta=0.005)
            self.assertEqual(table[name]["live_most"], live, name)
            self.assertEqual(table[name]["ideal"], 96)
        four = {row["schedule"]: row for row in rows(*EIGHT, "plan.chunks=4")}
        self.assertAlmostEqual(100 * four["interleaved"]["bubble"], 5.19, delta=0.005)
        self.assertEqual({name: row["chunks"] for name, row in four.items()},
                         dict(zip(NAMES, (1, 1, 4, 1, 4, 2, 2))))

    def test_a_schedule_is_shown_rank_by_rank_and_drawn(self):
        arguments = ["plan.pipeline=4", "plan.micro_batches=6", "plan.schedule=1f1b"]
        text = plan(*arguments)
        self.assertIn("rank 2 | . .F0F1 . .B0W0F2B1W1F3B2W2F4B3W3F5B4W4 .B5W5 . . . .|", text)
        self.assertIn("bubble 33.33 %", text)
        ranks = rows(*arguments)
        self.assertEqual([row["live"] for row in ranks], [4, 3, 2, 1])
        self.assertEqual([row["messages"] for row in ranks], [6, 12, 12, 6])
        self.assertTrue(all(row["busy"] == 18 and row["makespan"] == 27 for row in ranks))
        self.assertEqual(ranks[3]["actions"], "3F0 3BW0 3F1 3BW1 3F2 3BW2 3F3 3BW3 3F4 3BW4 3F5 3BW5")
        markdown = plan(*arguments, "--format", "markdown")
        self.assertIn("```\ntime 0\nrank 0 |F0", markdown)

    def test_csv_says_what_json_says(self):
        for arguments in (["plan.pipeline=4", "plan.micro_batches=6"],
                          [*EIGHT, "plan.schedule=zb-v"]):
            from_csv = list(csv.DictReader(io.StringIO(plan(*arguments, "--format", "csv"))))
            from_json = rows(*arguments)
            self.assertEqual([list(row) for row in from_csv], [list(row) for row in from_json])
            for a, b in zip(from_csv, from_json):
                for key, value in b.items():
                    if isinstance(value, str) or value is None:
                        self.assertEqual(a[key], value or "")
                    else:
                        self.assertEqual(float(a[key]), value)

    def test_what_does_not_fit_is_told_and_the_others_are_shown(self):
        text = plan("plan.pipeline=4", "plan.micro_batches=6")
        for words in ("does not fit: interleaved", "4 or 8 would fit", "does not fit: dualpipe-v",
                      "at least 8"):
            self.assertIn(words, text)
        self.assertRegex(text, r"zb-v +2 ")
        table = {row["schedule"]: row for row in rows("plan.pipeline=4", "plan.micro_batches=6")}
        self.assertIsNone(table["interleaved"]["makespan"])
        self.assertIn("4 or 8", table["interleaved"]["misfit"])
        self.assertEqual(table["zb-v"]["misfit"], "")

    def test_times_change_the_makespan(self):
        arguments = ["plan.pipeline=8", "plan.micro_batches=16", "plan.schedule=zb-v"]
        whole = rows(*arguments, "plan.schedule_times=[1,2,1]")
        self.assertEqual(whole[0]["makespan"], 16 * 4 + 7)
        slow = rows(*arguments, "plan.schedule_times=[1,1,1,1]")
        self.assertGreater(slow[0]["makespan"], rows(*arguments)[0]["makespan"])

    def test_the_batch_of_an_input_is_taken(self):
        # global_batch_size 8, micro_batch_size 1
        self.assertIn("4 ranks, 8 micro-batches", plan(TINY))
        self.assertIn("4 ranks, 2 micro-batches",
                      plan(TINY, "training.micro_batch_size=2", "parallel.data=2"))

    def test_pictures_are_svg_and_overwrite_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            one, all_ = f"{folder}/one.svg", f"{folder}/all.svg"
            arguments = ["plan.pipeline=4", "plan.micro_batches=8", "plan.schedule=zb-v"]
            plan(*arguments, "--plot", one)
            root = ElementTree.parse(one).getroot()
            tips = [e.text for e in root.iter(SVG + "title")]
            self.assertEqual(sum(tip.startswith("F of stage") for tip in tips), 4 * 8 * 2)
            self.assertEqual(sum(tip.startswith("W of stage") for tip in tips), 4 * 8 * 2)
            self.assertIn("F of stage 0, micro-batch 0: 0 to 0.5", tips)
            plan("plan.micro_batches=8", "--plot", all_)
            texts = "".join(ElementTree.parse(all_).getroot().itertext())
            for name in NAMES:
                self.assertIn(name, texts)
            self.assertIn("one.svg exists", plan(*arguments, "--plot", one, status=78))

    def test_lines_fit_a_page_of_100_columns(self):
        for arguments in (["plan.pipeline=4", "plan.micro_batches=6"],
                          [*EIGHT, "plan.schedule=zb-v"],
                          [*EIGHT, "plan.schedule=zb1p", "plan.chunks=4",
                           "plan.schedule_times=[10,12,8,3]"]):
            for line in plan(*arguments).splitlines():
                self.assertLessEqual(len(line), 100, line)

    def test_a_job_of_several_ranks_prints_its_plan_once(self):
        self.assertEqual(espalier(2, "plan", "schedule", *EIGHT).count("dualpipe-v"), 1)
        text = espalier(2, "plan", "schedule", "plan.schedule=zb-v", "plan.chunks=3", status=78)
        self.assertEqual(text.count("zb-v has 2 chunks"), 1)

    def test_mistakes_say_what_to_change(self):
        for arguments, words in (
                (["plan.schedule=interleaved", "plan.micro_batches=6"],
                 ["plan.micro_batches = 6", "4 or 8"]),
                (["plan.schedule=1f1b", "plan.chunks=2"], ["plan.chunks = 2", "1 chunk"]),
                (["plan.schedule=zbv"], ["plan.schedule", "zb-v"]),
                (["plan.pipeline=0"], ["plan.pipeline"]),
                (["plan.schedule_times=[1,2]"], ["plan.schedule_times = [1, 2]", "three numbers"]),
                (["plan.schedule_times=[0,1,1]"], ["plan.schedule_times = [0, 1, 1]"]),
                (["plan.pipeline=4096", "plan.micro_batches=1048576"],
                 ["4096 ranks", "1,000,000", "plan.micro_batches"]),
                (["plan.pipeline=64", "plan.micro_batches=512", "plan.schedule=1f1b", "--plot",
                  "never.svg"], ["plan.plot", "20,000"]),
                ([TINY, "training.global_batch_size=9", "training.micro_batch_size=2"],
                 ["training.global_batch_size = 9", "plan.micro_batches"])):
            text = plan(*arguments, status=78)
            for word in words:
                self.assertIn(word, text, arguments)
        for arguments, word in ((["plan.ranks=8"], "plan.ranks"), (["--dry-run"], "--dry-run"),
                                ([], "name an input file"), (["--device", "b200"], "--device")):
            self.assertIn(word, plan(*arguments, status=64), arguments)
        self.assertIn("plan.schedule", espalier(1, "plan", "time", TINY, "plan.schedule=zb-v",
                                                status=64))
        self.assertIn("train takes the same schedule",
                      espalier(1, "help", "plan", "schedule"))


if __name__ == "__main__":
    unittest.main()
