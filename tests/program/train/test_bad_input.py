"""Bad input gets a clear error and a nonzero status, and nothing is lost."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import (BYTES, ROOT, TINY, RunCase, command, environment, espalier,  # noqa: E402
                          history)

CONFIGURATION, DATA, IO, USAGE = 78, 65, 74, 64


class BadInput(RunCase):
    def refused(self, status, words, *overrides, ranks=1, name="bad", dry_run=True):
        """Refused by the run and, where it can be found without training, by --dry-run."""
        output = self.train(name, *overrides, ranks=ranks, status=status)
        for word in words:
            self.assertIn(word, output)
        self.assertNotIn("terminate called", output)
        if dry_run:
            output = espalier(1, "train", *self.keys(name, *overrides), "--dry-run", status=status)
            for word in words:
                self.assertIn(word, output)
        return output

    def copy_of_data(self, name):
        folder = self.folder / name
        shutil.copytree(self.data, folder, dirs_exist_ok=True)
        return folder, sorted(folder.glob("train-*.h5"))[0]

    def test_keys(self):
        path = self.folder / "misspelt.toml"
        text = pathlib.Path(TINY).read_text()
        path.write_text(text.replace("global_batch_size", "global_batchsize"))
        output = espalier(1, "train", path, status=CONFIGURATION)
        line = 1 + text[:text.index("global_batch_size")].count("\n")
        self.assertIn(f"misspelt.toml:{line}", output)
        self.assertIn("training.global_batch_size", output)
        self.refused(CONFIGURATION, ["optimizer.learning_rate"], "optimizer.learningrate=1.0")
        self.refused(CONFIGURATION, ["training.steps"], 'training.steps="many"')
        self.refused(CONFIGURATION, ["optimizer.beta1"], "optimizer.beta1=1.5")
        self.refused(CONFIGURATION, ["cosine"], "schedule.name=cosinus")

    def test_grid(self):
        self.refused(CONFIGURATION, ["parallel.tensor"], "parallel.tensor=3", ranks=2,
                     dry_run=False)
        self.refused(CONFIGURATION, ["num_attention_heads"], "parallel.tensor=8",
                     "model.num_attention_heads=4", ranks=8)
        self.refused(CONFIGURATION, ["global_batch_size"], "training.micro_batch_size=3")

    def test_shards(self):
        self.refused(DATA, ["nowhere"], "data.train=nowhere")
        folder, shard = self.copy_of_data("truncated")
        os.truncate(shard, shard.stat().st_size // 2)
        self.refused(DATA, [shard.name], f"data.train={folder}")
        folder, shard = self.copy_of_data("flipped")
        with open(shard, "r+b") as file:
            file.seek(shard.stat().st_size // 2)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
        self.refused(DATA, [shard.name, "checksum"], f"data.train={folder}")
        missing = folder / "train-00007.h5"
        self.refused(DATA, [missing.name], f"data.train={missing}")
        self.refused(DATA, ["vocab_size"], "model.vocab_size=200")

    def test_all_mistakes_are_told_at_once(self):
        """Of the file, the model file, the overrides, and of what they say together."""
        path = self.folder / "mistakes.toml"
        text = pathlib.Path(TINY).read_text()
        path.write_text(text.replace("global_batch_size", "global_batchsize")
                        .replace("steps = 20", "steps = 4"))
        for dry in ([], ["--dry-run"]):
            output = espalier(1, "train", path, "optimizer.beta1=2", "data.trian=x",
                              "schedule.name=cosinus", "checkpoint.keep_every=7", *dry,
                              status=CONFIGURATION)
            for words in ("mistakes.toml:", "training.global_batch_size", "optimizer.beta1 = 2",
                          "did you mean data.train?", "cosine", "schedule.warmup_steps = 5",
                          "checkpoint.keep_every = 7"):
                self.assertIn(words, output)
            # A misspelt key is not also missing.
            self.assertEqual(len(output.strip().splitlines()), 6, output)
        # Also what is not there, whether the keys are wrong by themselves or together.
        for wrong, words in (("training.stepz=1", "did you mean training.steps?"),
                             ("schedule.warmup_steps=50", "schedule.warmup_steps = 50")):
            output = self.refused(CONFIGURATION, [words, 'data.train = "no-data" is not there',
                                                  'data.tokenizer = "no-tokenizer" is not there'],
                                  wrong, "data.train=no-data", "data.tokenizer=no-tokenizer",
                                  ranks=2)
            self.assertEqual(output.count("is not there"), 2)
        output = self.refused(DATA, ['data.train = "no-data"', 'data.validation = "no-validation"',
                                     'data.tokenizer = "no-tokenizer"'], "data.train=no-data",
                              "data.validation=no-validation", "data.tokenizer=no-tokenizer",
                              name="missing", ranks=2)
        self.assertEqual(output.count("is not there"), 3)
        self.assertFalse((self.folder / "missing").exists())

    def test_a_path_may_begin_with_the_home_directory(self):
        home = {"HOME": str(self.folder)}
        self.train("unused", "output.directory=~/home-run", "data.train=~/data",
                   "training.steps=5", environ=home, cwd=self.folder)
        self.assertTrue((self.folder / "home-run/history.csv").exists())
        self.assertFalse((self.folder / "~").exists())
        # The same where no key says that it is a path.
        espalier(1, "inspect", "~/home-run/checkpoints/step-00000005", environ=home)
        output = espalier(1, "convert", "~/home-run", "~/converted", environ=home,
                          cwd=self.folder)
        self.assertTrue((self.folder / "converted/config.json").exists(), output)
        # A key that is wrong is met by every rank of an evaluation.
        for ranks in (1, 2):
            output = espalier(ranks, "eval", "~/home-run", f"data.validation={self.data}",
                              "data.begin_of_document=two words", environ=home, status=78)
            self.assertIn("data.begin_of_document", output)
        self.refused(CONFIGURATION, ["output.directory", "~nobody-here"],
                     "output.directory=~nobody-here/run")
        self.refused(DATA, [f'{self.folder}/nowhere'], f"data.train={self.folder}/nowhere")

    def test_forms_of_an_input(self):
        """What editors and other systems make of a text file is read, or named."""
        text = pathlib.Path(TINY).read_text()
        keys = self.keys("forms", "--dry-run")[1:]
        path = self.folder / "form.toml"
        for data in (text.encode("utf-8-sig"), text.replace("\n", "\r\n").encode()):
            path.write_bytes(data)
            espalier(1, "train", path, *keys)
        for data, words in ((text.encode("utf-16"), ["not TOML", "UTF-16"]),
                            (text.encode("utf-16-be"), ["not TOML"]),
                            (text.encode() + b"# caf\xe9\n", ["not TOML", "utf-8"]),
                            (text.replace("steps = 20", "steps = 20\nsteps = 30").encode(),
                             ["not TOML", "steps"]),
                            (text.encode() + b"[run]\n", ["not TOML", "run"]),
                            (text.replace("steps = 20", "steps: 20").encode(), ["not TOML"]),
                            (text.replace('"float32"', "float32").encode(), ["not TOML"]),
                            (b'{"training": {"steps": 3}}', ["not TOML"]),
                            (b"", ["no model"])):
            path.write_bytes(data)
            output = espalier(1, "train", path, *keys, status=CONFIGURATION)
            for word in words:
                self.assertIn(word, output)
            self.assertLess(len(output), 2000)

    def test_sequence_longer_than_any_shard(self):
        small = self.folder / "small.txt"
        small.write_text("a short text")
        out = self.folder / "small"
        espalier(1, "tokenize", f"data.tokenizer={BYTES}", f'tokenize.input=["{small}"]',
                 f"tokenize.output={out}")
        self.refused(DATA, ["sequence_length"], f"data.train={out}")

    def test_another_tokenizer(self):
        other = self.folder / "other.tiktoken"
        lines = pathlib.Path(BYTES).read_text().splitlines()
        a, b = lines[10].split(), lines[11].split()
        lines[10], lines[11] = f"{b[0]} {a[1]}", f"{a[0]} {b[1]}"
        other.write_text("\n".join(lines) + "\n")
        self.refused(DATA, ["tokenizer"], f"data.tokenizer={other}")

    def test_checkpoints(self):
        self.train("base")
        checkpoints = self.folder / "base/checkpoints"
        newest = sorted(checkpoints.glob("step-*"))[-1]
        wide = ["model.intermediate_size=128", "model.rope_theta=5.0"]
        self.refused(CONFIGURATION, ["model.intermediate_size = 128 (was ",
                                     "model.rope_theta = 5.0 (was ", "output.directory",
                                     "fit the new model.intermediate_size"], *wide, name="base")
        self.refused(CONFIGURATION, ['"model.intermediate_size"', "shapes"], *wide,
                     'checkpoint.allow_changes=["model.rope_theta", "model.intermediate_size"]',
                     name="base")
        # With another one the run would go on from that (test_bad_numbers.py).
        for other in sorted(checkpoints.glob("step-*"))[:-1]:
            shutil.rmtree(other)
        rank_file = newest / "rank-00000.h5"
        whole = rank_file.read_bytes()
        rank_file.write_bytes(whole[:len(whole) // 2])
        self.refused(DATA, ["rank-00000.h5"], "training.steps=30", name="base")
        rank_file.unlink()
        self.refused(DATA, ["rank-00000.h5"], "training.steps=30", name="base")
        rank_file.write_bytes(whole)
        master = newest / "master.h5"
        whole = master.read_bytes()
        for damage in (b"", whole[:len(whole) // 2], b"\0" * len(whole), b"text"):
            master.write_bytes(damage)
            self.refused(DATA, ["master.h5", "the one before"], "training.steps=30", name="base")
        master.write_bytes(whole)
        self.train("base", "training.steps=30")

    def test_a_restart_into_another_function_is_refused(self):
        """The tensors' shapes are the same, what they compute is not."""
        llama = ["model.model_type=llama", "training.steps=4", "checkpoint.interval=2",
                 "schedule.warmup_steps=2"]
        self.train("function", *llama)
        heads = ["model.num_attention_heads=2", "model.head_dim=48", "model.num_key_value_heads=1"]
        theta = "model.rope_theta=5e5"
        scaled = ["model.rope_type=llama3", "model.rope_factor=4"]
        for changes, words in (
                (heads, ["model.num_attention_heads = 2 (was 4)", "model.head_dim = 48 (was 24)"]),
                ([theta], ["model.rope_theta = 500000.0 (was 1000000.0)", "allow_changes",
                           "output.directory"]),
                (scaled, ['model.rope_type = "llama3" (was "default")', "model.rope_factor"]),
                (["model.rms_norm_eps=1e-5"], ["model.rms_norm_eps = 1e-05 (was 1e-06)"]),
                ([theta, "model.rms_norm_eps=1e-5"],
                 ["model.rope_theta = 500000.0 (was 1000000.0)",
                  "model.rms_norm_eps = 1e-05 (was 1e-06)",
                  'checkpoint.allow_changes = ["model.rope_theta", "model.rms_norm_eps"]']),
                (["training.dtype=bfloat16"], ['training.dtype = "bfloat16" (was "float32")']),
                # Tensors of other shapes, which only the values together can tell.
                (["model.head_dim=32", 'checkpoint.allow_changes=["model.head_dim"]'],
                 ["model.head_dim = 32 (was 24)", "q_proj", "cannot allow"]),
                ([theta, 'checkpoint.allow_changes=["model.rms_norm_eps"]'], ["model.rope_theta"])):
            self.refused(CONFIGURATION, words, *llama, "training.steps=6", *changes,
                         name="function")
        self.assertEqual(len(self.history("function")), 4)
        self.refused(CONFIGURATION, ["model.rope_theta"], *llama, "training.steps=6", theta,
                     name="function", ranks=2, dry_run=False)
        allowed = [*llama, "training.steps=6", theta, 'checkpoint.allow_changes=["model.rope_theta"]']
        output = self.train("function", *allowed)
        self.assertIn("another function", output)
        self.assertIn("model.rope_theta = 500000.0 (was 1000000.0)", output)
        log = (self.folder / "function/run.log").read_text()
        self.assertIn("model.rope_theta = 500000.0 (was 1000000.0)", log)
        self.assertEqual(len(self.history("function")), 6)
        self.assertNotIn("another function", self.train("function", *allowed, "training.steps=8"))
        told = "after step 4: model.rope_theta = 500000.0 (was 1000000.0)"
        newest = self.folder / "function/checkpoints/step-00000008"
        self.assertIn(told, espalier(1, "inspect", newest))
        # An evaluation is of the checkpoint's model, whatever the input has become.
        for command in (["eval"],
                        ["generate", "--prompt", "a", "generate.max_new_tokens=2"]):
            keys = [command[0], *self.keys("function"), *command[1:]]
            self.assertNotIn("warning", espalier(1, *keys, *llama, theta))
            path = self.folder / "other-model.toml"
            text = pathlib.Path(TINY).read_text()
            path.write_text(text.replace("[model]", "[model]\nrope_theta = 77.0"))
            keys[1] = path
            output = espalier(2, *keys)
            self.assertIn("model.rope_theta = 500000.0 in the checkpoint, 77.0 in the input", output)
            self.assertEqual(output.count("[model] of the input"), 1)
        # Limits and what only initial weights need are no part of the function.
        self.train("function", *allowed, "training.steps=9", "model.max_position_embeddings=128",
                   "model.initializer_range=0.1")

    def test_a_restart_says_what_it_changes(self):
        folder, shard = self.copy_of_data("grows")
        keys = [f"data.train={folder}", "training.steps=10"]
        self.train("course", *keys)
        again = [*keys, "training.steps=12"]
        changed = ["optimizer.beta2=0.99", "training.log_interval=2", "model.initializer_range=0.5"]
        planned = espalier(1, "train", *self.keys("course", *again, *changed), "--dry-run")
        output = self.train("course", *again, *changed)
        said = output[output.index("has changed since"):output.index("continuing")]
        self.assertIn(said.strip(), planned)
        for words in ("training.steps = 12 (was 10)", "optimizer.beta2 = 0.99 (was 0.95)",
                      "model.initializer_range = 0.5 (was 0.02): without effect",
                      "learning rate of step 11: ", "step 10 had 1.000e-04"):
            self.assertIn(words, output)
        self.assertNotIn("log_interval", output)
        shutil.copy(shard, folder / "train-00001.h5")
        again = [*again, "training.steps=14", "optimizer.beta2=0.99"]
        output = self.train("course", *again, "data.order=sequential", ranks=2)
        self.assertRegex(output, r"the training data are 2 shards of .* \(were 1 shard of ")
        self.assertIn('data.order = "sequential" (was "shuffled")', output)
        self.assertEqual(output.count("has changed since"), 1)
        output = self.train("course", *again, "data.order=sequential")
        self.assertNotIn("has changed since", output)
        other = [*again, "training.steps=15", "data.order=sequential", f"data.train={self.data}"]
        output = self.train("course", *other)
        self.assertIn(f'data.train = "{self.data}" (was "{folder}")', output)
        self.assertEqual(len(self.history("course")), 15)

    def test_not_finite_stops_before_the_weights(self):
        self.train("finite", "training.steps=20")
        output = self.train("finite", "training.steps=40", "optimizer.learning_rate=100",
                            "optimizer.max_grad_norm=0", "optimizer.weight_decay=100",
                            "schedule.name=constant", "schedule.warmup_steps=0",
                            "schedule.min_learning_rate=0", status=79, ranks=2)
        self.assertIn("not finite", output)
        self.assertIn("on rank 0", output)
        self.assertIn("step 2", output)
        self.assertTrue((self.folder / "finite/checkpoints/step-00000020/COMPLETE").exists())

    def test_weights_that_are_not_finite(self):
        """eval says so with a status of its own, in the middle of which sequence, on any grid."""
        self.train("nan", "training.steps=5")
        folder = self.folder / "nan-weights"
        espalier(1, "convert", self.folder / "nan", folder)
        file = folder / "model.safetensors"
        data = bytearray(file.read_bytes())
        data[-4:] = b"\x00\x00\xc0\x7f"  # a NaN
        file.write_bytes(data)
        broken = self.folder / "nan-checkpoint"
        espalier(1, "convert", folder, broken)
        text = self.folder / "book.txt"
        for ranks in (1, 2):
            output = espalier(ranks, "eval", broken, "--text", text, status=79)
            for words in ("nan", "loss", "sequence 0", str(broken), "float32"):
                self.assertIn(words, output)
        output = espalier(1, "eval", broken, f"data.validation={self.data}", status=79)
        self.assertIn("loss", output)
        # The logits are what one looks into then: they are kept.
        tokens, logits = self.folder / "tokens.h5", self.folder / "nan-logits.h5"
        (self.folder / "ids.txt").write_text("1 2 3")
        subprocess.run(["h5import", self.folder / "ids.txt", "-dims", "1,3", "-path", "tokens",
                        "-type", "TEXTIN", "-size", "32", "-outfile", tokens], check=True,
                       capture_output=True)
        for ranks, options in ((1, []), (2, ["--logits", logits])):
            output = espalier(ranks, "eval", broken, "--tokens", tokens, *options, status=79)
            for words in ("nan", "loss", str(broken), str(tokens), "float32"):
                self.assertIn(words, output)
            self.assertEqual(output.count("error:"), 1, output)
        self.assertTrue(logits.exists())
        output = espalier(1, "generate", broken, "--prompt", "a",
                          "generate.max_new_tokens=4", status=79)
        for words in ("not finite", str(broken)):
            self.assertIn(words, output)
        # Training meets it in its first step or in the validation.
        self.train("from-nan", f"model.initial_weights={folder}", status=79)

    def test_output_that_cannot_be_written(self):
        blocked = self.folder / "file"
        blocked.write_text("not a folder")
        output = espalier(1, "train", *self.keys("x"), f"output.directory={blocked}/run", status=IO)
        self.assertIn("file", output)
        espalier(1, "train", *self.keys("x"), f"output.directory={blocked}/run", "--dry-run",
                 status=IO)

    def test_what_ended_a_job_is_in_its_directory(self):
        # A checkpoint of 80 MB is larger than a file may be; what MPI shares is not.
        train = command(1, "train", *self.keys("limited"), "checkpoint.interval=1",
                        "training.steps=2", "schedule.warmup_steps=1", "model.hidden_size=512",
                        "model.intermediate_size=2048")
        done = subprocess.run(["prlimit", "--fsize=40000000", *train], env=environment(), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, IO, done.stdout)
        run = self.folder / "limited"
        events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
        error = [event for event in events if event["event"] == "error"]
        self.assertEqual([(e["status"], e["rank"]) for e in error], [(IO, 0)])
        self.assertIn("limit of the file size", error[0]["message"])
        self.assertIn(error[0]["message"].split("\n")[0], (run / "run.log").read_text())
        status = espalier(1, "status", run)
        self.assertIn("1 fault, the last: error", status)
        self.assertIn("failed", status)

    @unittest.skipUnless(os.geteuid() == 0, "mounting a small disk needs root")
    def test_full_disk_keeps_the_last_checkpoint(self):
        disk = self.folder / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk]).returncode != 0:
            self.skipTest("this container may not mount a small disk")
        try:
            keys = [*self.keys("x"), f"output.directory={disk}/run", "checkpoint.keep=100"]
            output = espalier(2, "train", *keys, "training.steps=200", status=IO)
            self.assertIn("No space left", output)
            complete = sorted((disk / "run/checkpoints").glob("step-*/COMPLETE"))
            self.assertTrue(complete)
            subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
            output = espalier(2, "train", *keys, "training.steps=40")
            self.assertIn("continuing", output)
            self.assertEqual(len(history(disk / "run")), 40)
        finally:
            subprocess.run(["umount", disk], check=True)


if __name__ == "__main__":
    unittest.main()
