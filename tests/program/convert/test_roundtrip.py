"""Weights survive Hugging Face -> checkpoint -> Hugging Face bit by bit, on any number of ranks."""
import json
import pathlib
import shutil
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support import hf_folder  # noqa: E402
from support.runs import BYTES, RunCase, espalier, killed_at_change  # noqa: E402

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "fixtures/tokenizer"
SCALED = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}


class Roundtrip(RunCase):
    def make(self, name, config, dtype="F32", files=1):
        tensors = hf_folder.random_tensors(config, dtype, seed=len(name))
        return hf_folder.write_folder(self.folder / name, config, tensors, dtype, files)

    def there_and_back(self, name, source, ranks=(1, 1), *overrides):
        checkpoint, target = self.folder / f"{name}-ckpt", self.folder / f"{name}-out"
        espalier(ranks[0], "convert", source, checkpoint)
        espalier(ranks[1], "convert", checkpoint, target, *overrides)
        for path in (checkpoint, target):
            self.assertFalse(path.with_name(path.name + ".partial").exists())
        return target

    def same(self, source, target):
        there, here = hf_folder.read_tensors(source), hf_folder.read_tensors(target)
        self.assertEqual(sorted(there), sorted(here))
        for name, value in there.items():
            self.assertEqual(value, here[name], name)

    def test_bits(self):
        cases = {
            "qwen3-f32-tied": ("qwen3", {}, "F32", 1, (1, 1), []),
            "qwen3-bf16-untied": ("qwen3", {"tie_word_embeddings": False}, "BF16", 3, (2, 1),
                                  ["convert.shard_bytes=40000"]),
            "llama-bf16-tied": ("llama", {"rope_scaling": SCALED}, "BF16", 2, (1, 2), []),
            "llama-f16-untied": ("llama", {"tie_word_embeddings": False}, "F16", 1, (2, 2),
                                 ["convert.dtype=float16"]),
        }
        for name, (family, changes, dtype, files, ranks, overrides) in cases.items():
            with self.subTest(name):
                config = hf_folder.tiny_config(family, **changes)
                source = self.make(name, config, dtype, files)
                target = self.there_and_back(name, source, ranks, *overrides)
                self.same(source, target)
                written = json.loads((target / "config.json").read_text())
                for key in ("vocab_size", "hidden_size", "head_dim", "rms_norm_eps", "rope_theta",
                            "tie_word_embeddings", "num_key_value_heads", "architectures"):
                    self.assertEqual(written[key], config[key], key)
                if "rope_scaling" in config:
                    self.assertEqual(written["rope_scaling"], SCALED)
                    self.assertEqual(written["rope_parameters"]["factor"], 8.0)
                self.assertEqual(written["rope_parameters"]["rope_theta"], config["rope_theta"])
                if overrides and overrides[0].startswith("convert.shard_bytes"):
                    index = json.loads((target / "model.safetensors.index.json").read_text())
                    self.assertEqual(sorted(index["weight_map"]),
                                     sorted(hf_folder.read_tensors(target)))
                    self.assertEqual(index["metadata"]["total_size"],
                                     sum(len(v[2]) for v in hf_folder.read_tensors(target).values()))

    def test_gpt2(self):
        """Matrices stand the other way round and q, k and v are one, on any number of ranks."""
        keys = [f"data.validation={self.data}", f"data.tokenizer={BYTES}", "validation.sequences=2",
                "training.sequence_length=32", "training.dtype=float32"]
        for name, dtype, files, ranks, config in (
                ("gpt2-f32", "F32", 1, (1, 2), hf_folder.tiny_gpt2_config()),
                ("gpt2-bf16", "BF16", 2, (3, 1), hf_folder.tiny_gpt2_config(n_inner=96))):
            with self.subTest(name):
                source = self.make(name, config, dtype, files)
                target = self.there_and_back(name, source, ranks)
                self.same(source, target)
                written = json.loads((target / "config.json").read_text())
                for key in ("architectures", "model_type", "vocab_size", "n_embd", "n_layer",
                            "n_head", "n_positions", "layer_norm_epsilon", "activation_function"):
                    self.assertEqual(written[key], config[key], key)
                self.assertEqual(written["n_inner"], config.get("n_inner", 256))
                # What came back is read again, and is the same model as what it came from.
                self.there_and_back(f"{name}-again", target)
                self.same(source, self.folder / f"{name}-again-out")
                losses = [espalier(n, "eval", self.folder / f"{c}-ckpt", *keys,
                                   f"parallel.tensor={n}").split("loss ")[1].split(",")[0]
                          for n in (1, 2) for c in (name, f"{name}-again")]
                self.assertEqual(losses[0], losses[1])
                self.assertEqual(losses[2], losses[3])
                # Only the order of the sums differs; losses are printed to 1e-6.
                self.assertAlmostEqual(float(losses[0]), float(losses[2]), delta=1e-5)

    def test_experts(self):
        """Each expert has tensors of its own in what is written; read are also those of
        transformers 5, which can keep the experts of a block together."""
        of_5 = {"num_experts": "absent", "num_local_experts": 4, "rope_theta": "absent",
                "rope_parameters": {"rope_type": "default", "rope_theta": 3e5}}
        for name, dtype, ranks, changes, joined in (
                ("moe-f32", "F32", (1, 2), {}, False),
                ("moe-bf16-joined", "BF16", (3, 1), of_5, True),
                ("moe-all", "BF16", (2, 1), {"mlp_only_layers": [], "decoder_sparse_step": 2,
                                             "norm_topk_prob": False}, False)):
            with self.subTest(name):
                config = hf_folder.tiny_moe_config(**changes)
                tensors = hf_folder.random_tensors(config, dtype, seed=len(name))
                apart = hf_folder.write_folder(self.folder / f"{name}-apart", config, tensors, dtype)
                source = apart
                if joined:
                    source = hf_folder.write_folder(
                        self.folder / name, config, hf_folder.joined_experts(config, tensors), dtype,
                        files=2)
                target = self.there_and_back(name, source, ranks)
                self.same(apart, target)
                written = json.loads((target / "config.json").read_text())
                for key in ("num_experts", "num_local_experts"):  # transformers 4, 5
                    self.assertEqual(written[key], 4)
                theta = config.get("rope_theta", 3e5)
                self.assertEqual(written["rope_theta"], theta)
                self.assertEqual(written["rope_parameters"]["rope_theta"], theta)
                for key in ("architectures", "model_type", "num_experts_per_tok", "norm_topk_prob",
                            "moe_intermediate_size", "decoder_sparse_step", "mlp_only_layers",
                            "router_aux_loss_coef"):
                    self.assertEqual(written[key], config[key], key)
                # A checkpoint has a tensor for all experts of a block.
                inspected = espalier(1, "inspect", self.folder / f"{name}-ckpt")
                self.assertRegex(inspected, r"model\.layers\.1\.mlp\.experts\.gate_up_proj ")
                self.assertIn("checksums fit", inspected)

    def test_every_rank_count_writes_the_same_bytes(self):
        source = self.make("bytes", hf_folder.tiny_config("llama"), "BF16")
        results = [self.there_and_back(f"bytes-{n}", source, (n, n)) for n in (1, 2, 3)]
        for result in results[1:]:
            for name in ("config.json", "model.safetensors"):
                self.assertEqual((results[0] / name).read_bytes(), (result / name).read_bytes())

    def test_base_model_without_prefix(self):
        config = hf_folder.tiny_config("qwen3", architectures=["Qwen3Model"])
        tensors = {name.removeprefix("model."): value
                   for name, value in hf_folder.random_tensors(config).items()}
        source = hf_folder.write_folder(self.folder / "base", config, tensors)
        target = self.there_and_back("base", source)
        there, here = hf_folder.read_tensors(source), hf_folder.read_tensors(target)
        self.assertEqual({f"model.{name}": value for name, value in there.items()}, here)

    def test_buffers_that_transformers_ignores(self):
        config = hf_folder.tiny_config("llama")
        tensors = hf_folder.random_tensors(config)
        extra = dict(tensors)
        extra["model.layers.0.self_attn.rotary_emb.inv_freq"] = ([12], b"\0" * 48)
        extra["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        source = hf_folder.write_folder(self.folder / "buffers", config, extra)
        target = self.there_and_back("buffers", source)
        self.assertEqual(sorted(tensors), sorted(hf_folder.read_tensors(target)))

    def test_trained_on_a_grid(self):
        """A checkpoint of tensor 2 x data 2 and one of a single rank export alike."""
        self.train("grid", "training.steps=6", "parallel.tensor=2", ranks=4)
        target = self.folder / "grid-out"
        espalier(2, "convert", self.folder / "grid", target)
        back, again = self.folder / "grid-back", self.folder / "grid-again"
        espalier(1, "convert", target, back, "training.sequence_length=32")
        espalier(1, "convert", back, again)
        self.same(target, again)
        self.assertTrue((target / "tokenizer.json").exists())
        self.assertEqual((target / "tokenizer.json").read_bytes(),
                         (again / "tokenizer.json").read_bytes())
        # The weights do what those of the run do.
        keys = [f"data.validation={self.data}", "validation.sequences=4"]
        of_run = espalier(1, "eval", *self.keys("grid", *keys))
        of_weights = espalier(1, "eval", *self.keys("grid", *keys, f"evaluation.checkpoint={back}",
                                                    f"data.tokenizer={BYTES}"))
        loss = [line.split("loss")[1] for text in (of_run, of_weights)
                for line in text.splitlines() if "perplexity" in line]
        self.assertEqual(len(loss), 2)
        self.assertEqual(loss[0], loss[1])
        inspected = espalier(1, "inspect", back)
        self.assertIn("weights alone", inspected)
        self.assertRegex(inspected, r"model\.norm\.weight .* - +-\n")  # there are no moments
        self.assertIn("all checksums fit", inspected)

    def test_experts_trained_on_a_grid(self):
        """Checkpoints of ranks with different experts, in both layouts, export like that of one."""
        options = ["training.steps=2", "checkpoint.interval=2", "model.model_type=qwen3_moe",
                   "model.num_experts=4", "model.num_experts_per_tok=2",
                   "model.moe_intermediate_size=24", "model.mlp_only_layers=[0]",
                   # Nothing is learned: the weights of every grid are those that were initialised.
                   "optimizer.learning_rate=0", "schedule.min_learning_rate=0",
                   "schedule.warmup_steps=0"]
        self.train("moe-1", *options)
        self.train("moe-4", *options, "parallel.tensor=2", "parallel.expert=4", ranks=4)
        self.train("moe-2", *options, "parallel.expert=2", "checkpoint.layout=shared", ranks=2)
        for name in ("moe-1", "moe-4", "moe-2"):
            espalier(2, "convert", self.folder / name, self.folder / f"{name}-out")
        one = hf_folder.read_tensors(self.folder / "moe-1-out")
        self.assertEqual(one["model.layers.1.mlp.experts.3.down_proj.weight"][1], [64, 24])
        for name in ("moe-4", "moe-2"):
            self.same(self.folder / "moe-1-out", self.folder / f"{name}-out")
        # A new run on another grid begins with the weights of the folder.
        self.train("moe-again", *options, "parallel.tensor=2", "parallel.expert=2",
                   f"model.initial_weights={self.folder / 'moe-4-out'}", ranks=2)
        espalier(1, "convert", self.folder / "moe-again", self.folder / "moe-again-out")
        self.same(self.folder / "moe-1-out", self.folder / "moe-again-out")

    def test_dry_run_writes_nothing(self):
        source = self.make("dry", hf_folder.tiny_config())
        output = espalier(2, "convert", source, self.folder / "dry-ckpt", "--dry-run")
        self.assertIn("90,592", output)
        self.assertEqual([p.name for p in self.folder.glob("dry*")], ["dry"])

    def test_killed(self):
        """A conversion that is killed, at whatever change of a file, leaves nothing under the
        target's name, and the next one succeeds."""
        source = self.make("killed", hf_folder.tiny_config(vocab_size=1100))
        shutil.copy(FIXTURES / "gpt2.json", source / "tokenizer.json")
        checkpoint, target = self.folder / "killed-ckpt", self.folder / "killed-out"
        for start, end, least in ((source, checkpoint, 8), (checkpoint, target, 4)):
            change = 1
            while killed_at_change(change, end, "convert", start, end) and not end.exists():
                change += 1
            # The last change is that of the lock, when the target is complete.
            self.assertGreater(change, least)  # else it was not met when it was writing
            self.assertFalse(end.with_name(end.name + ".partial").exists())
        self.assertIn("checksums fit", espalier(1, "inspect", checkpoint))
        self.same(source, target)


if __name__ == "__main__":
    unittest.main()
