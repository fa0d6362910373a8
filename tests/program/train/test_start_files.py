"""What a start asks of the file system does not grow with the ranks: rank 0 reads the input, the
tokenizer and a checkpoint's master.h5 for all; another rank opens the token shards, and of a
checkpoint the files whose rectangles it needs."""
import collections
import os
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import BYTES, ROOT, RunCase, espalier  # noqa: E402

NOTED = os.environ.get("ESPALIER_FILES_NOTED", str(ROOT / "build/tests/libfiles_noted.so"))


class StartFiles(RunCase):
    def calls(self, name, ranks, *arguments):
        """Of every rank, how often it opened or looked at what; numbers in names are left out."""
        notes = self.folder / f"notes-{name}"
        notes.mkdir()
        watched = f"{self.folder}:{pathlib.Path(BYTES).parent}"
        espalier(ranks, *arguments,
                 environ={"LD_PRELOAD": NOTED, "ESPALIER_NOTE_UNDER": watched,
                          "ESPALIER_NOTE_IN": str(notes),
                          "ASAN_OPTIONS": "verify_asan_link_order=0"})
        lines = [(notes / str(rank)).read_text().splitlines() for rank in range(ranks)]
        return [collections.Counter(re.sub(r"(?<=-)\d+", "N", line.replace(str(self.folder), ""))
                                    for line in of_rank) for of_rank in lines]

    def start(self, name, run, ranks, steps, *overrides):
        """A job that makes no step to speak of, and saves nothing."""
        return self.calls(name, ranks, "train", *self.keys(
            run, "training.global_batch_size=32", f"training.steps={steps}",
            "schedule.warmup_steps=0", "checkpoint.at_end=false", "validation.at_end=false",
            *overrides))

    def opened(self, calls, word):
        return sum(count for what, count in calls.items() if word in what)

    def test_a_start_and_a_restart_of_more_ranks_open_no_more_files_each(self):
        starts, restarts = {}, {}
        for ranks in (2, 8, 32):
            starts[ranks] = self.start(f"start-{ranks}", f"new-{ranks}", ranks, 1)
            self.train(f"run-{ranks}", "training.steps=1", "schedule.warmup_steps=0",
                       "training.global_batch_size=32",
                       ranks=ranks)
            restarts[ranks] = self.start(f"restart-{ranks}", f"run-{ranks}", ranks, 2)
        for calls in (starts, restarts):
            for ranks in calls:
                self.assertGreater(self.opened(calls[ranks][0], "tiktoken"), 0)
                for rank in range(1, ranks):
                    self.assertEqual(calls[ranks][rank], calls[2][1], f"rank {rank} of {ranks}")
                    for name in ("tiktoken", "tiny.toml", "master.h5", "COMPLETE", "csv", "log"):
                        self.assertEqual(self.opened(calls[ranks][rank], name), 0, name)
        for name in ("tiny.toml", "master.h5", "COMPLETE", "csv", "log"):
            self.assertGreater(self.opened(restarts[2][0], name), 0, name)
        own = {what: count for what, count in restarts[2][1].items() if "rank-N.h5" in what}
        self.assertEqual(sum(count for what, count in own.items() if what.startswith("open")), 2,
                         own)  # what is where in it, and that


if __name__ == "__main__":
    unittest.main()
