"""espalier plan memory, and memory.recompute = "budget", which chooses by that plan."""
import csv
import io
import json
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import ROOT, RunCase, TINY, espalier  # noqa: E402

# Four blocks and long sequences: what blocks keep is most of the activations.
BLOCKS = ["model.num_hidden_layers=4", "training.sequence_length=64",
          "training.global_batch_size=4", "training.steps=6", "checkpoint.interval=3"]
MODES = ("none", "selective", "mlp", "full")


def plan(*arguments, status=0):
    return espalier(1, "plan", "memory", *arguments, status=status)


def rows(*arguments):
    return json.loads(plan(*arguments, "--format", "json"))


def named(table, kind):
    return {row["name"]: row["largest_rank_bytes"] for row in table if row["kind"] == kind}


def needed(*arguments):
    return named(rows(*arguments), "total")["needed"]


class PlanMemory(unittest.TestCase):
    def test_purposes_add_up_to_what_is_needed(self):
        for grid in ([], ["parallel.tensor=2"], ["parallel.tensor=2", "parallel.data=3",
                                                  "training.global_batch_size=6"]):
            for backend in ("host", "cuda"):
                table = rows(TINY, *grid, f"device.backend={backend}")
                for rank in ("largest_rank_bytes", "smallest_rank_bytes"):
                    parts = sum(row[rank] for row in table if row["kind"] in ("planned", "guess"))
                    total, = (row[rank] for row in table if row["kind"] == "total")
                    self.assertEqual(parts, total)

    def test_a_plan_is_what_the_run_says_of_its_arenas(self):
        for mode in MODES:
            table = rows(TINY, f"memory.recompute={mode}")
            arenas = sum(named(table, "planned").values())
            text = espalier(1, "train", TINY, f"memory.recompute={mode}", "--dry-run")
            said = re.search(r"^  total +([0-9.]+) (KiB|MiB)", text, re.M)
            unit = {"KiB": 2**10, "MiB": 2**20}[said[2]]
            self.assertEqual(f"{arenas / unit:.2f}", said[1])

    def test_plan_ranks_are_the_ranks_of_the_job(self):
        eight = needed(TINY, "plan.ranks=8", "parallel.tensor=2")
        self.assertEqual(eight, needed(TINY, "parallel.data=4", "parallel.tensor=2"))
        text = plan(TINY, "plan.ranks=8", "parallel.tensor=2")
        self.assertIn("8 ranks: tensor 2, data 4", text)
        text = plan(TINY, "plan.ranks=8", "parallel.tensor=2", "parallel.context=2")
        self.assertIn("8 ranks: tensor 2, context 2, data 2", text)
        self.assertIn("keys and values of whole sequences", text)

    def test_what_does_not_fit_is_told_with_what_would_help_and_how_much(self):
        keys = [TINY, *BLOCKS, "checkpoint.interval=0"]
        whole = needed(*keys)
        memory = f"device.memory_gib={(whole - 1) / 2**30!r}"
        table = rows(*keys, memory)
        self.assertEqual(named(table, "room"), {"does not fit": whole - 1})
        remedies = named(table, "remedy")
        for mode in MODES[1:]:
            self.assertEqual(remedies[f'memory.recompute = "{mode}"'],
                             needed(*keys, f"memory.recompute={mode}"))
        text = plan(*keys, memory)
        for words in ("does not fit: rank 0", "too much", "what would help", "saves", "fits",
                      'memory.recompute = "budget" ('):
            self.assertIn(words, text)
        self.assertIn("fits: device.memory_gib", plan(*keys, f"device.memory_gib={whole / 2**30!r}"))
        self.assertIn("| what would help |", plan(*keys, memory, "--format", "markdown"))

    def test_lines_fit_a_page_of_100_columns(self):
        for arguments in ([], ["parallel.tensor=2", "parallel.data=3",
                               "training.global_batch_size=6"], ["device.memory_gib=0.01"]):
            for line in plan(TINY, *arguments).splitlines():
                self.assertLessEqual(len(line), 100, line)

    def test_several_devices_have_a_line_each_and_the_first_remedy_that_fits(self):
        """A 1.7B model is too much for one A100 of 40 GB, and not for a B200."""
        keys = [f"model.file={ROOT / 'inputs/models/qwen3-1.7b.toml'}", "training.dtype=bfloat16",
                "training.sequence_length=4096", "training.micro_batch_size=2",
                "training.global_batch_size=2"]
        text = plan(*keys, 'plan.device=["a100-40", "b200"]')
        self.assertRegex(text, r"A100.* no ")
        self.assertRegex(text, r"B200.* yes")
        table = rows(*keys, 'plan.device=["a100-40", "b200"]')
        fits = {row["device"]: row["name"] for row in table if row["kind"] == "room"}
        self.assertEqual(sorted(fits.values()), ["does not fit", "fits"])
        self.assertIn('memory.recompute = "budget"', text)

    def test_csv_says_what_json_says(self):
        arguments = [TINY, "device.memory_gib=0.01"]
        from_csv = list(csv.DictReader(io.StringIO(plan(*arguments, "--format", "csv"))))
        from_json = rows(*arguments)
        self.assertEqual([row["name"] for row in from_csv], [row["name"] for row in from_json])
        self.assertEqual([int(row["largest_rank_bytes"]) for row in from_csv],
                         [row["largest_rank_bytes"] for row in from_json])

    def test_a_job_of_several_ranks_prints_its_plan_once(self):
        text = espalier(2, "plan", "memory", TINY)
        self.assertEqual(text.count("micro-batches of"), 1)

    def test_mistakes_say_what_to_change(self):
        for arguments, words in (
                (["training.micro_batch_size=3"],
                 ["training.global_batch_size = 8", "training.micro_batch_size", "6 or 9"]),
                (["parallel.tensor=3"], ["parallel.tensor = 3", "sizes that fit"]),
                (["plan.ranks=8", "parallel.data=3"], ["parallel.data = 3", "8"]),
                (["plan.ranks=99999999"], ["plan.ranks = 99999999"]),
                (["plan.ranks=-1"], ["plan.ranks"]),
                (["memory.recompute=budget"], ['memory.recompute = "budget"', "device.memory_gib"]),
                (["memory.recompute=budget", "device.backend=auto"],
                 ['memory.recompute = "budget"', "device.memory_gib"]),
                (["memory.recompute=budget", "device.memory_gib=-1"], ["device.memory_gib"]),
                (["memory.recompute=some"], ["memory.recompute", "budget"]),
                (["memory.recompute=budget", "memory.recompute_blocks=[1,0,0,0]"],
                 ["memory.recompute_blocks", "model.num_hidden_layers = 2"]),
                (["plan.format=yaml"], ["plan.format", "json"]),
                (["--device", "h1000"], ["h1000", "h100", "[hardware]"]),
                (['plan.device=["h100", "b200"]', "--plot", "two.svg"], ["plan.plot", "name one"])):
            text = plan(TINY, *arguments, status=78)
            for word in words:
                self.assertIn(word, text, arguments)
        # What this plan does not heed is a mistake of the command line.
        for arguments, word in ((["plan.write=somewhere"], "plan.write"),
                                (["--dry-run"], "--dry-run"), (["bench.write=a.toml"], "bench.write")):
            self.assertIn(word, plan(TINY, *arguments, status=64), arguments)
        self.assertIn("cannot be read", plan("no-such.toml", status=78))
        self.assertIn("no model is given", plan("training.steps=1", status=78))
        self.assertIn("fits", plan(TINY, "device.memory_gib=1e300"))


class Budget(RunCase):
    """Runs whose blocks have modes of their own have the bits of a run that recomputes nothing."""

    def memory_between(self, share, *keys):
        """device.memory_gib with which a share of what recomputation can free is there."""
        most, least = (needed(*self.keys("plan"), *keys, f"memory.recompute={mode}")
                       for mode in ("none", "full"))
        return f"device.memory_gib={(least + share * (most - least)) / 2**30!r}"

    def test_budgets_keep_the_bits_on_one_rank_and_on_two(self):
        for name, ranks, keys in (("one", 1, []), ("tensor", 2, ["parallel.tensor=2"]),
                                  ("data", 2, ["parallel.data=2", "training.dtype=bfloat16"])):
            keys = [*BLOCKS, *keys]
            self.train(f"{name}-none", *keys, ranks=ranks)
            expected = self.history(f"{name}-none")
            mixes = set()
            shares = (0.9, 0.6, 0.3, 0.0) if ranks == 1 else (0.6,)
            for share in shares:
                run = f"{name}-{share}"
                memory = self.memory_between(share, *keys)
                log = self.train(run, *keys, "memory.recompute=budget", memory, ranks=ranks)
                self.assertEqual(self.history(run), expected, run)
                said = re.search(r"recompute: (.*): fits, \S+ MiB of \S+ MiB", log)
                self.assertIsNotNone(said, log)
                mixes.add(said[1])
            self.assertEqual(len(mixes), len(shares), mixes)
            self.assertNotIn("4 blocks none", mixes)

    def test_a_run_goes_on_with_another_budget(self):
        keys = [*BLOCKS, "memory.recompute=budget"]
        self.train("whole", *BLOCKS)
        self.train("parts", *keys, self.memory_between(0.8, *BLOCKS), "run.stop_after=3",
                   status=75)
        log = self.train("parts", *keys, self.memory_between(0.1, *BLOCKS))
        self.assertIn("step 3", log)
        self.assertEqual(self.history("parts"), self.history("whole"))

    def test_a_budget_that_even_full_recomputation_exceeds_stops_all_ranks_at_once(self):
        keys = [*BLOCKS, "memory.recompute=budget", "parallel.tensor=2", "device.memory_gib=0.01"]
        text = self.train("too-small", *keys, ranks=2, status=78)
        for words in ("needs", "device.memory_gib = 0.01", "what would help",
                      'checkpoint.staging = "wait"', "parallel.tensor = 4"):
            self.assertIn(words, text)
        self.assertEqual(text.count("what would help"), 1)
        self.assertFalse((self.folder / "too-small" / "checkpoints").exists())

    def test_a_dry_run_says_the_mix(self):
        text = self.train("dry", *BLOCKS, "memory.recompute=budget",
                          self.memory_between(0.5, *BLOCKS), "--dry-run")
        self.assertRegex(text, r"recompute: .*block.*: fits, \S+ MiB of \S+ MiB")
        self.assertRegex(text, r"\nfits: device.memory_gib = ")

    def test_a_budget_on_the_host_needs_a_size(self):
        text = self.train("no-size", "memory.recompute=budget", "device.backend=auto", ranks=2,
                          status=78)
        self.assertIn("device.memory_gib", text)


if __name__ == "__main__":
    unittest.main()
