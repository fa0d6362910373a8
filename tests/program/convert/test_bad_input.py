"""Folders that cannot be converted get an error that names the key or tensor, and leave nothing."""
import fcntl
import json
import pathlib
import re
import shutil
import struct
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support import hf_folder  # noqa: E402
from support.runs import BYTES, RunCase, espalier  # noqa: E402

USAGE, DATA, CONFIGURATION = 64, 65, 78


class BadInput(RunCase):
    count = 0

    def source(self, config=None, tensors=None, blob=None):
        BadInput.count += 1
        config = config or hf_folder.tiny_config()
        sized = hf_folder.tiny_config("qwen3" if config.get("model_type") == "qwen3" else "llama")
        tensors = tensors or hf_folder.random_tensors(sized)
        path = hf_folder.write_folder(self.folder / f"source{self.count}", config, tensors)
        if blob is not None:
            (path / "model.safetensors").write_bytes(blob)
        return path

    def refused(self, source, *words, status=DATA, overrides=(), ranks=1):
        target = self.folder / f"target{self.count}"
        output = espalier(ranks, "convert", source, target, *overrides, status=status)
        for word in words:
            self.assertIn(word, output)
        self.assertNotIn("terminate called", output)
        self.assertNotIn("internal error", output)
        self.assertFalse(target.exists())
        self.assertFalse(target.with_name(target.name + ".partial").exists())
        return output

    def test_a_target_that_another_job_writes(self):
        source = self.source()
        target = self.folder / "shared"
        partial = target.with_name("shared.partial")
        partial.mkdir()
        (partial / "config.json").write_text("of the other job")
        with open(target.with_name("shared.partial.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for ranks in (1, 2):
                output = espalier(ranks, "convert", source, target, status=74)
                self.assertIn("being written by another job", output)
                self.assertIn(str(target), output)
            self.assertEqual((partial / "config.json").read_text(), "of the other job")
        espalier(1, "convert", source, target)  # what a killed job left is in nobody's way
        self.assertFalse(list(self.folder.glob("shared.*")))

    def test_configs(self):
        llama3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
        cases = [
            ({"model_type": "mistral"}, ["model_type", "mistral", "qwen3"]),
            ({"model_type": "absent"}, ["model_type"]),
            ({"architectures": ["Qwen3ForSequenceClassification"]}, ["architectures"]),
            ({"use_sliding_window": True}, ["use_sliding_window", "true"]),
            ({"layer_types": ["full_attention", "sliding_attention"]}, ["sliding_attention"]),
            ({"attention_bias": True}, ["attention_bias"]),
            ({"hidden_act": "gelu"}, ["hidden_act", "gelu"]),
            ({"rope_scaling": {"rope_type": "longrope", "factor": 4.0}}, ["rope_type", "longrope"]),
            ({"rope_scaling": {"type": "linear"}}, ["linear", "factor"]),
            ({"rope_scaling": llama3}, ["llama3", "factor"]),
            ({"rope_parameters": {"rope_theta": 5.0}}, ["rope_theta", "5", "1000000"]),
            ({"num_experts": 8}, ["num_experts", "8"]),
            ({"quantization_config": {"bits": 4}}, ["quantization_config"]),
            ({"add_cross_attention": True}, ["add_cross_attention"]),
            ({"hidden_size": "wide"}, ["hidden_size", "wide"]),
            ({"hidden_size": -64}, ["hidden_size", "-64"]),
            ({"hidden_size": 1 << 70}, ["hidden_size"]),
            ({"num_key_value_heads": 3}, ["num_key_value_heads", "3"]),
            ({"head_dim": 23}, ["head_dim", "23"]),
            ({"rms_norm_eps": 0.0}, ["eps"]),
            ({"tie_word_embeddings": 1}, ["tie_word_embeddings"]),
        ]
        for changes, words in cases:
            with self.subTest(changes):
                config = hf_folder.tiny_config()
                config.update(changes)
                self.refused(self.source({k: v for k, v in config.items() if v != "absent"}),
                             "config.json", *words)
        config = hf_folder.tiny_config("llama", mlp_bias=True, pretraining_tp=2)
        self.refused(self.source(config), "mlp_bias", "pretraining_tp = 2")  # both in one message
        gpt2 = {"model_type": "gpt2", "scale_attn_by_inverse_layer_idx": True,
                "activation_function": "relu"}
        self.refused(self.source(gpt2), "scale_attn_by_inverse_layer_idx", "relu")

    def test_config_text(self):
        for text in ("", "{", "[]", '{"model_type": "qwen3", "model_type": "llama"}', "\xff"):
            source = self.source()
            (source / "config.json").write_text(text, encoding="latin-1")
            self.refused(source, "config.json")

    def test_tensors(self):
        good = hf_folder.random_tensors(hf_folder.tiny_config())
        bad = dict(good)
        bad.pop("model.norm.weight")
        bad["model.layers.0.mlp.up_proj.weight"] = ([64, 96], b"\0" * 4 * 64 * 96)
        bad["model.layers.0.self_attn.q_proj.bias"] = ([96], b"\0" * 4 * 96)
        self.refused(self.source(tensors=bad), "model.norm.weight is missing", "(64, 96)",
                     "(96, 64)", "self_attn.q_proj.bias", ranks=2)
        untied = hf_folder.tiny_config(tie_word_embeddings=False)
        self.refused(self.source(untied, good), "lm_head.weight is missing")
        wide = {name: (shape, values * 2) for name, (shape, values) in good.items()}
        self.refused(self.source(blob=hf_folder.safetensors(wide, "F64")), "F64", "F32, BF16")

    def header_case(self, change):
        good = hf_folder.random_tensors(hf_folder.tiny_config())
        return self.source(blob=hf_folder.safetensors(good, header=change))

    def test_headers(self):
        first, second = "model.embed_tokens.weight", "model.layers.0.input_layernorm.weight"

        def overlap(entries):
            entries[second]["data_offsets"] = [0, 256]

        def hole(entries):
            del entries[second]

        def wrong_dtype(entries):
            entries[first]["dtype"] = "BF16"

        def unknown_dtype(entries):
            entries[first]["dtype"] = "Q4"

        def huge_shape(entries):
            entries[first]["shape"] = [1 << 40, 1 << 40]

        def negative(entries):
            entries[first]["shape"] = [-257, -64]

        def no_offsets(entries):
            del entries[first]["data_offsets"]

        def backwards(entries):
            entries[first]["data_offsets"].reverse()

        def metadata(entries):
            entries["__metadata__"] = {"format": 1}

        for change, word in ((overlap, "overlap"), (hole, "hole"), (wrong_dtype, "needs"),
                             (unknown_dtype, "Q4"), (huge_shape, "shape"), (negative, "shape"),
                             (no_offsets, "data_offsets"), (backwards, "data_offsets"),
                             (metadata, "__metadata__")):
            with self.subTest(change.__name__):
                self.refused(self.header_case(change), "model.safetensors", word)
        good = hf_folder.safetensors(hf_folder.random_tensors(hf_folder.tiny_config()))
        size = struct.unpack("<Q", good[:8])[0]
        twice = b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},' * 2
        for blob, word in ((good[:-1], "truncated"), (good + b"\0", "follow"),
                           (struct.pack("<Q", 1 << 62) + good[8:], "limit"),
                           (struct.pack("<Q", len(good)) + good[8:], "truncated"),
                           (good[:8] + b" " + good[9:], "{"),
                           (struct.pack("<Q", 2 * 53) + twice, "not JSON")):
            self.refused(self.source(blob=blob), "model.safetensors", word)
        for length in (0, 4, 8, 9, 8 + size // 2, 8 + size - 1, 8 + size, 8 + size + 1000):
            with self.subTest(length=length):
                self.refused(self.source(blob=good[:length]), "model.safetensors")

    def test_index(self):
        config = hf_folder.tiny_config()
        tensors = hf_folder.random_tensors(config)

        def sharded(change):
            BadInput.count += 1
            source = hf_folder.write_folder(self.folder / f"source{self.count}", config, tensors,
                                            files=2)
            path = source / "model.safetensors.index.json"
            index = json.loads(path.read_text())
            change(index["weight_map"])
            path.write_text(json.dumps(index))
            return source

        name = "model.norm.weight"
        outside = {"../model.safetensors": "folder", "/etc/passwd": "folder", "..": "folder",
                   "gone.safetensors": "gone.safetensors"}
        for file, word in outside.items():
            self.refused(sharded(lambda m, f=file: m.update({name: f})), "index.json", word)
        self.refused(sharded(lambda m: m.update({name: 3})), "weight_map")
        self.refused(sharded(lambda m: m.pop(name)), name, "not named")
        # A tensor that is in no file matters when the model needs it.
        more = sharded(lambda m: m.update(more=m[name]))
        espalier(1, "convert", more, self.folder / f"target{self.count}")
        source = sharded(lambda m: None)
        for path in source.glob("*.safetensors"):
            held = {n: tensors[n] for n in hf_folder.read_file(path) if n != name}
            path.write_bytes(hf_folder.safetensors(held))
        self.refused(source, f"{name} is missing", "index.json", ".safetensors")
        self.refused(sharded(lambda m: m.update(
            {name: "model-00002-of-00002.safetensors"
             if "00001" in m[name] else "model-00001-of-00002.safetensors"})), name)
        self.refused(sharded(lambda m: m.clear()), "weight_map")

    def test_command_line(self):
        source = self.source()
        self.refused(self.folder / "nothing", "neither")
        self.assertIn("source and a target", espalier(1, "convert", source, status=USAGE))
        espalier(1, "convert", status=USAGE)
        for key in ("rope_theta=5.0", "rms_norm_eps=0.1", "rope_type=llama3"):
            self.refused(source, key.split("=")[0], " there, ", "checkpoint.allow_changes",
                         status=CONFIGURATION, overrides=[f"model.{key}"])
        split = ["model.num_attention_heads=8", "model.num_key_value_heads=4", "model.head_dim=12"]
        llama = hf_folder.write_folder(self.folder / "llama", hf_folder.tiny_config("llama"),
                                       hf_folder.random_tensors(hf_folder.tiny_config("llama")))
        self.refused(llama, "num_attention_heads: 4 there, 8 here", status=CONFIGURATION,
                     overrides=split)
        allowed = espalier(1, "convert", llama, self.folder / "split", *split,
                           'checkpoint.allow_changes=["model.num_attention_heads", '
                           '"model.num_key_value_heads", "model.head_dim"]')
        self.assertIn("num_attention_heads: 4 there, 8 here", allowed)
        self.refused(source, "convert.dtype", status=CONFIGURATION, overrides=["convert.dtype=f8"])
        self.refused(source, "q_proj", "(96, 64)", "(64, 64)", status=DATA, overrides=["model.head_dim=16"])
        occupied = self.folder / "occupied"
        occupied.mkdir()
        espalier(1, "convert", source, occupied)  # an empty folder may be filled
        before = (occupied / "master.h5").read_bytes()
        output = espalier(1, "convert", source, occupied, status=CONFIGURATION)
        self.assertIn("occupied", output)
        self.assertEqual(before, (occupied / "master.h5").read_bytes())
        espalier(1, "convert", source, source / "config.json", status=CONFIGURATION)
        self.refused(occupied, "training.seed", status=CONFIGURATION,
                     overrides=["training.seed=2"])
        no_weights = self.source()
        (no_weights / "model.safetensors").unlink()
        self.refused(no_weights, "safetensors")

    def test_float16_range(self):
        config = hf_folder.tiny_config()
        tensors = hf_folder.random_tensors(config)
        shape, values = tensors["model.norm.weight"]
        for value, status in ((65504.0, 0), (65520.0, DATA), (float("inf"), 0)):
            tensors["model.norm.weight"] = (shape, struct.pack("<f", value) + values[4:])
            source = self.source(config, tensors)
            checkpoint = self.folder / f"half{self.count}"
            espalier(1, "convert", source, checkpoint)
            output = espalier(2, "convert", checkpoint, self.folder / f"target{self.count}",
                              "convert.dtype=float16", status=status)
            if status != 0:
                self.assertIn("model.norm.weight", output)
                self.assertFalse((self.folder / f"target{self.count}").exists())

    def test_tokenizers(self):
        source, checkpoint = self.source(), self.folder / "tokenizers"
        espalier(1, "convert", source, checkpoint, f"data.tokenizer={BYTES}")
        output = espalier(1, "inspect", checkpoint)
        self.assertIn("tokenizer", output)
        other = self.folder / "other.tiktoken"
        lines = pathlib.Path(BYTES).read_text().splitlines()
        a, b = lines[0].split(), lines[1].split()
        lines[0], lines[1] = f"{b[0]} {a[1]}", f"{a[0]} {b[1]}"
        other.write_text("\n".join(lines) + "\n")
        self.refused(checkpoint, "other.tiktoken", "trained with",
                     overrides=[f"data.tokenizer={other}"])
        self.refused(checkpoint, "gone.json", overrides=["data.tokenizer=gone.json"])
        # Whatever form it has, what is written is a tokenizer.json with the same identity.
        fixtures = pathlib.Path(BYTES).parents[2] / "tests/fixtures/tokenizer"
        forms = [BYTES, *sorted(fixtures.glob("*.json")), *sorted(fixtures.glob("*.tiktoken"))]
        pair = self.folder / "pair/vocab.json"  # GPT-2's published form
        model = json.loads((fixtures / "gpt2.json").read_text())["model"]
        pair.parent.mkdir()
        pair.write_text(json.dumps({"<|endoftext|>": len(model["vocab"]), **model["vocab"]}))
        merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
        pair.with_name("merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
        for i, form in enumerate([*forms, pair]):
            espalier(1, "convert", source, self.folder / f"form{i}", f"data.tokenizer={form}")
            espalier(1, "convert", self.folder / f"form{i}", self.folder / f"form{i}-out")
            identities = [re.search(r"identity +(\w+)", espalier(1, "inspect", path))[1]
                          for path in (form, self.folder / f"form{i}-out/tokenizer.json")]
            self.assertEqual(identities[0], identities[1], form)
        gone = self.folder / "gone.tiktoken"
        gone.write_text(pathlib.Path(BYTES).read_text())
        espalier(1, "convert", source, self.folder / "lost", f"data.tokenizer={gone}")
        gone.unlink()
        # A checkpoint has a copy of its own.
        espalier(1, "convert", self.folder / "lost", self.folder / "kept-out")
        self.assertTrue((self.folder / "kept-out/tokenizer.json").exists())
        shutil.rmtree(self.folder / "lost/tokenizer")
        output = espalier(1, "convert", self.folder / "lost", self.folder / "lost-out")
        self.assertIn("warning", output)
        self.assertIn("tokenizer.json", output)
        self.assertFalse((self.folder / "lost-out/tokenizer.json").exists())


if __name__ == "__main__":
    unittest.main()
