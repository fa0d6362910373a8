"""espalier check: what a job would meet is said beforehand, with the job's own status, and nothing
that was written stays."""
import json
import os
import pathlib
import re
import shutil
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import NO_LOCKS, RunCase, espalier  # noqa: E402


class Check(RunCase):
    def check(self, name, *overrides, ranks=1, status=0, **how):
        return espalier(ranks, "check", *self.keys(name, *overrides), status=status, **how)

    def findings(self, name, *overrides, **how):
        """{(group, thing): row}"""
        text = self.check(name, *overrides, "--format", "json", **how)
        rows = json.loads(text[text.index("["):text.rindex("]") + 1])
        return {(row["group"], row["thing"]): row for row in rows}

    def problems(self, findings):
        return {key for key, row in findings.items() if row["verdict"] == "problem"}

    def test_a_good_job_has_no_problem_and_leaves_nothing(self):
        before = sorted(os.listdir(self.folder))
        text = self.check("new/run", "parallel.tensor=2", ranks=2)
        self.assertRegex(text, r"\n\d+ ok, \d+ warnings?, 0 problems\n")
        for words in ("tensor 2 x data 1 = 2 ranks", "2 ranks on 1 host", "a sum of 64 KiB",
                      "can be made in", "is free", "flock works", "epochs", "a new run",
                      "seen by another rank"):
            self.assertIn(words, text)
        # The trainer sums some gradients over both ranks.
        self.assertRegex(text, r"tensor: 2 ranks, a sum")
        self.assertEqual(sorted(os.listdir(self.folder)), before)

    def test_all_is_tried_and_the_first_problem_gives_the_status(self):
        # The grid does not fit, which is 78; the missing data, 65, are named as well.
        found = self.findings("a", "parallel.tensor=3", "data.train=nowhere", status=78)
        self.assertIn(("input", "parameters"), self.problems(found))
        self.assertIn("parallel.tensor", found["input", "parameters"]["text"])
        self.assertIn("nowhere", found["input", "files"]["text"])
        self.assertEqual(found["output", "directory"]["verdict"], "ok")
        found = self.findings("a", "data.train=nowhere", status=65)
        self.assertIn("nowhere", found["data", "training shards"]["text"])

    def test_a_directory_that_cannot_be_made_is_named(self):
        (self.folder / "file").write_text("in the way")
        found = self.findings("file/run", status=74)
        self.assertEqual(found["output", "directory"]["status"], 74)
        self.assertIn("file/run", found["output", "directory"]["text"])
        self.assertEqual(found["data", "training shards"]["verdict"], "ok")

    def test_memory_that_is_not_there_is_a_problem_with_what_would_help(self):
        found = self.findings("a", status=78, environ={"SLURM_MEM_PER_NODE": "1"})
        row = found["memory", "node"]
        self.assertEqual(row["verdict"], "problem")
        self.assertIn("SLURM_MEM_PER_NODE", row["text"])
        self.assertIn("what would help", row["remedy"])

    def test_a_run_that_would_be_continued_is_named_with_changed_keys(self):
        self.train("run", "training.steps=2", "schedule.warmup_steps=1", "checkpoint.interval=1")
        before = sorted(path for path in (self.folder / "run").rglob("*"))
        found = self.findings("run", "training.steps=4", "schedule.warmup_steps=1",
                              "checkpoint.interval=1")
        self.assertIn("step 2", found["checkpoint", "checkpoint"]["text"])
        row = found["checkpoint", "changed keys"]
        self.assertEqual(row["verdict"], "warning")
        self.assertIn("training.steps = 4 (was 2)", row["text"])
        self.assertEqual(sorted(path for path in (self.folder / "run").rglob("*")), before)
        # Another function of the weights is refused, as the job would.
        found = self.findings("run", "model.rope_theta=5.0", status=78)
        self.assertIn("rope_theta", found["checkpoint", "checkpoint"]["text"])

    def test_a_job_that_holds_the_directory_is_named(self):
        process = self.start(1, "train", *self.keys("held", "training.steps=1000000"))
        for _ in process.stdout:  # it has the lock before it says anything of its log
            if (self.folder / "held" / "run.log").exists():
                break
        found = self.findings("held", "training.steps=1000000", status=74)
        row = found["output", "run lock"]
        self.assertEqual(row["verdict"], "problem")
        self.assertIn(f"process {process.pid}", row["text"])
        self.assertIn("kill", row["remedy"])
        self.assertTrue((self.folder / "held" / ".lock").exists())

    def test_a_file_system_without_locks_is_a_warning(self):
        found = self.findings("a", environ=NO_LOCKS)
        self.assertEqual(found["output", "locks"]["verdict"], "warning")

    def test_the_end_of_the_job_and_the_number_of_jobs(self):
        found = self.findings("a", "run.time_limit=90")
        self.assertIn("1 min 30 s", found["time", "limit"]["text"])
        found = self.findings("a", environ={"SLURM_JOB_ID": "7"})
        self.assertEqual(found["time", "limit"]["verdict"], "warning")
        self.assertIn("SLURM_JOB_END_TIME", found["time", "limit"]["text"])
        found = self.findings("a", "run.time_limit=115", "training.steps=20000000",
                              "plan.device=host-2core-avx512-bf16")
        self.assertRegex(found["time", "length"]["text"], r"\d+ jobs of this length")
        device = self.folder / "device.toml"
        device.write_text('[hardware]\nname = "slow"\nkind = "host"\n')
        found = self.findings("a", f"plan.device={device}", status=78)
        self.assertIn("hardware", found["input", "plan.device"]["text"])

    def test_an_input_that_cannot_be_read_ends_at_once(self):
        text = self.check("a", "training.stepps=4", status=78)
        self.assertIn("did you mean training.steps", text)


class DryRun(RunCase):
    def dry_run(self, *overrides, ranks=1, status=0):
        return self.train("dry", *overrides, "--dry-run", ranks=ranks, status=status)

    def test_it_reads_the_first_batch_and_counts_the_step(self):
        # Eight sequences of 32 in a step; a process stands for a grid of four.
        text = self.dry_run("parallel.data=4")
        self.assertIn("step 1 was read: 2 sequences of rank 0, with 256 targets", text)
        self.assertRegex(text, r"operators are all there: [\d.]+ GFLOP")
        self.assertIn("4 sequences on each rank", self.dry_run("parallel.data=2", ranks=2))
        self.assertFalse((self.folder / "dry").exists())

    def test_a_batch_that_the_model_cannot_take_is_refused(self):
        damaged = self.folder / "damaged"
        shutil.copytree(self.data, damaged)
        for shard in damaged.glob("train-*.h5"):
            data = shard.read_bytes()
            text = (self.folder / "book.txt").read_bytes()[:64]
            begin = data.index(b"".join(bytes((byte, 0, 0, 0)) for byte in text))
            end = begin + 4 * int(self.tokens(shard))
            e = data[begin:end].replace(b"e\0\0\0", b"\xff\xff\0\0")
            shard.write_bytes(data[:begin] + e + data[end:])
        text = self.dry_run(f"data.train={damaged}", "data.verify_checksum=false", status=65)
        self.assertIn("the id 65535", text)
        self.assertIn("model.vocab_size is 257", text)

    def tokens(self, shard):
        text = espalier(1, "inspect", shard)
        return re.search(r"\ntokens +(\d+)", text).group(1)


if __name__ == "__main__":
    unittest.main()
