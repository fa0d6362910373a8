"""espalier plan campaign: tables in every format, the inputs that it writes, bad input."""
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

HOURS_60 = ROOT / "inputs/plans/b200-60h.toml"


class Campaign(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="espalier-test-"))
        cls.device = write_device(cls.folder)
        # Found beside the campaign, wherever the program is started.
        (cls.folder / "small.toml").write_text(f"""
[model]
file = "{ROOT / "inputs/models/qwen3-42m.toml"}"
[training]
sequence_length = 512
global_batch_size = 64
tokens = 1e9
""")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder, ignore_errors=True)

    def campaign(self, phases, *words, **how):
        path = self.folder / "campaign.toml"
        path.write_text(f'[plan]\ndevice = ["{self.device}"]\nranks = 4\nhours = 1.0\n' + "".join(
            f'[[campaign.phases]]\nname = "{name}"\ninput = "small.toml"\n{rest}\n'
            for name, rest in phases))
        return espalier(1, "plan", "campaign", path, *words, **how)

    def expect(self, text, *words):
        for word in words:
            self.assertIn(word, text)

    def test_the_60_hours_have_a_run_for_each_choice_and_do_none_twice(self):
        rows = json.loads(espalier(1, "plan", "campaign", HOURS_60, f"plan.device={self.device}",
                                   "--format", "json"))
        runs = {row["run"]: row for row in rows}
        for name in ("baseline", "scale-up", "theta-1e5", "theta-5e5", "theta-2e6", "ffn-2752",
                     "ffn-3584", "gqa-4", "gqa-16", "context-8192", "context-32768"):
            self.assertEqual(runs[name]["fits_in_memory"], "yes", name)
            self.assertGreater(runs[name]["hours"], 0, name)
        for name in ("ffn-3072", "gqa-8", "context-2048"):
            self.assertEqual(runs[name]["same_as"], "theta-1e6")
            self.assertIsNone(runs[name]["hours"])
        hours = [row["hours"] for row in rows if row["hours"] is not None]
        self.assertAlmostEqual(sum(hours), max(row["ends"] for row in rows if row["ends"]), 4)
        for row in rows:
            if row["hours"] is not None:
                self.assertAlmostEqual(
                    row["tokens"] / row["tokens_per_second"] / 3600 / row["hours"], 1, 3)

    def test_text_csv_and_json_say_the_same_within_a_hundred_columns(self):
        phases = [("first", "tokens = 2e9"), ("second", "share = 0.25")]
        rows = json.loads(self.campaign(phases, "--format", "json"))
        table = list(csv.DictReader(io.StringIO(self.campaign(phases, "--format", "csv"))))
        text = self.campaign(phases)
        self.assertLessEqual(max(map(len, text.splitlines())), 100, text)
        for row, line in zip(rows, table):
            self.assertEqual(float(line["hours"]), row["hours"])
            self.expect(text, row["run"], f"{row['ends']:.2f}", f"{row['tokens'] / 1e9:.2f}")
        self.expect(self.campaign(phases, "--format", "markdown"), "| run |", "| first |")

    def test_an_overrun_is_told_with_what_to_cut(self):
        text = self.campaign([("first", "tokens = 1e9"), ("second", "tokens = 1e12")])
        self.expect(text, "h over", "more than there are; it would fit", '"second" with',
                    "in place of 1000e9", 'without "second"', "plan.hours = ")

    def test_written_inputs_train_on_their_grid_and_are_never_overwritten(self):
        folder = self.folder / "written"
        phases = [("seed", 'changes = ["training.seed=1 | 2"]\ntokens = 1e8')]
        text = self.campaign(phases, "--write", folder)
        files = sorted(folder.iterdir())
        self.assertEqual([f.name for f in files], ["seed-1-4-paper.toml", "seed-2-4-paper.toml"])
        self.expect(text, *map(str, files))
        report = espalier(1, "train", files[1], "--dry-run",
                          f"output.directory={self.folder / 'run'}")
        self.expect(report, "= 4 ranks", "seed = 2", 'name = "seed-2"')
        files[0].unlink()
        before = files[1].read_text()
        refused = self.campaign(phases, "--write", folder, status=78)
        self.expect(refused, files[1].name, "plan.write")
        self.assertEqual(files[1].read_text(), before)
        self.assertFalse(files[0].exists())

    def test_bad_input_is_refused_with_its_remedy(self):
        def refused(*phases, words=(), status=78):
            return self.campaign(phases, *words, status=status)

        self.expect(espalier(1, "plan", "campaign", status=64), "name a file")
        self.expect(espalier(1, "plan", "campaign", HOURS_60, HOURS_60, status=64), "two campaigns")
        self.expect(espalier(1, "plan", "campaign", "none.toml", status=78), "none.toml")
        self.expect(refused(), "no phases", "[[campaign.phases]]")
        self.expect(refused(("a", "share = 0.6"), ("b", "share = 0.6")), "shares", "1.2")
        self.expect(refused(("a", "share = 1.5")), "share = 1.5")
        self.expect(refused(("a", "share = 0.5\ntokens = 1e9")), '"a"', "share = 0.5", "keep one")
        self.expect(refused(("a", 'changes = ["model.rope_tetha=1e5"]')), '"a"', "model.rope_theta")
        self.expect(refused(("a", "tokns = 1e9")), "tokns", "tokens")
        self.expect(refused(("a", 'changes = ["training.seed=1|2", "model.rope_theta=1|2|3"]')),
                    "training.seed has 2", "model.rope_theta has 3")
        self.expect(refused(("a", ""), words=["plan.device=b2000"]), "b2000", "b200")
        self.expect(refused(("a", ""), words=["plan.hours=0"]), "plan.hours")
        self.expect(refused(("a", ""), words=["plan.ranks=0"]), "plan.ranks")
        self.expect(refused(("a", ""), words=["plan.ranks=67"]), '"a"', "67 ranks")
        self.expect(refused(("a", 'changes = ["model.file=none.toml"]')), '"a"', "none.toml")


if __name__ == "__main__":
    unittest.main()
