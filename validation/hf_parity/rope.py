#!/usr/bin/env python3
"""Scaled RoPE (linear, dynamic, yarn, llama3) beside transformers, below and above the original length.

Usage    python3 -m venv parity-venv
         parity-venv/bin/pip install torch transformers h5py numpy
         parity-venv/bin/python validation/hf_parity/rope.py [--program build/espalier]
Prints   a table with a row per scaling and length; the status is nonzero when a bound is missed.
         README.md: what is compared.
"""
import argparse
import copy
import json
import pathlib
import sys
import tempfile

import h5py
import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

import models
import parity

ORIGINAL = 64  # positions before the stretching
LENGTHS = [ORIGINAL // 2, ORIGINAL, ORIGINAL + 1, 3 * ORIGINAL, 4 * ORIGINAL]
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=ORIGINAL)
# rope_parameters, and max_position_embeddings: for `dynamic` that is the original length.
SCALINGS = {
    "linear": (dict(rope_type="linear", factor=4.0), 4 * ORIGINAL),
    "linear 2.5": (dict(rope_type="linear", factor=2.5), 4 * ORIGINAL),
    "dynamic": (dict(rope_type="dynamic", factor=4.0), ORIGINAL),
    "dynamic 5.3": (dict(rope_type="dynamic", factor=5.3), ORIGINAL),
    "yarn": (YARN, 4 * ORIGINAL),
    "yarn, mscale": (dict(YARN, mscale=1.3, mscale_all_dim=0.7), 4 * ORIGINAL),
    "yarn, attention_factor": (dict(YARN, attention_factor=0.83), 4 * ORIGINAL),
    "yarn, betas": (dict(YARN, beta_fast=9.0, beta_slow=2.5), 4 * ORIGINAL),
    "yarn, not truncated": (dict(YARN, truncate=False, beta_fast=8.0), 4 * ORIGINAL),
    "yarn, factor null": (dict(YARN, factor=None), 4 * ORIGINAL),
    "yarn, no original": ({k: YARN[k] for k in ("rope_type", "factor")}, 4 * ORIGINAL),
    "llama3": (dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                    original_max_position_embeddings=ORIGINAL), 4 * ORIGINAL),
}
NEW_TOKENS = 120


def config_of(family, rope, limit):
    shared = {**models.DECODER, "max_position_embeddings": limit, "tie_word_embeddings": False,
              "num_key_value_heads": 2}
    if family == "qwen3":
        return Qwen3Config(**shared, rms_norm_eps=1e-6,
                           rope_parameters=dict(rope, rope_theta=1e6))
    return LlamaConfig(**shared, rms_norm_eps=1e-5, mlp_bias=False, hidden_act="swish",
                       rope_parameters=dict(rope, rope_theta=1e4))


def rewrite(folder, rope, limit, places):
    """config.json with the scaling where older versions of transformers have it."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    theta = config.pop("rope_parameters")["rope_theta"]
    config["rope_theta"] = theta
    config["rope_scaling"] = {places.get(k, k): v for k, v in rope.items()}
    config["max_position_embeddings"] = limit
    path.write_text(json.dumps(config))


def fresh(model):
    """A model whose RoPE has seen no sequence yet: `dynamic` keeps the longest one's frequencies."""
    clean = type(model)(copy.deepcopy(model.config)).to(torch.float32).eval()
    clean.load_state_dict(model.state_dict())
    return clean


def logits_of(model, samples):
    with torch.no_grad():
        return fresh(model)(input_ids=torch.from_numpy(samples[:, :-1].astype(np.int64))).logits


def run_case(name, family, folder, program):
    espalier = parity.Espalier(program, folder)
    rope, limit = SCALINGS[name]
    models.CASES[name] = lambda: config_of(family, copy.deepcopy(rope), limit)
    model = models.make(name)
    source = folder / "hf"
    model.save_pretrained(source)
    if family == "llama":  # transformers 4 writes it so; "type" is the older name yet
        rewrite(source, rope, limit, {"rope_type": "type"})
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32,
                                                     attn_implementation="eager").eval()
    checkpoint = espalier.convert(source, folder / "checkpoint")
    # There and back: transformers reads what is exported, and computes the same.
    espalier.run(1, "convert", checkpoint, folder / "back")
    back = AutoModelForCausalLM.from_pretrained(folder / "back", dtype=torch.float32,
                                                attn_implementation="eager").eval()
    rows = []
    for length in LENGTHS:
        stream = models.token_stream(2 * length + 1, seed=length)
        samples = np.stack([stream[i * length:(i + 1) * length + 1] for i in range(2)])
        with h5py.File(folder / "tokens.h5", "w") as file:
            file["tokens"] = samples
        expected = logits_of(model, samples).numpy()
        ours, _ = espalier.logits(checkpoint, folder / "tokens.h5", (1, 1, False))
        exported = logits_of(back, samples).numpy()
        # The gradient of one step of training at this length.
        parity.write_shard(folder / "train-00000.h5", stream)
        run = folder / f"run-{length}"
        espalier.run(1, "train", *model_keys(model, rope, limit, family),
                     f"model.initial_weights={source}", f"output.directory={run}",
                     f"data.train={folder / 'train-00000.h5'}",
                     f"data.tokenizer={parity.TOKENIZER}", "data.order=sequential",
                     "data.verify_checksum=false", "training.dtype=float32",
                     f"training.sequence_length={length}", "training.global_batch_size=2",
                     "training.micro_batch_size=2", "training.steps=1", "schedule.warmup_steps=1",
                     "schedule.min_learning_rate=0", "checkpoint.at_end=false",
                     "debug.dump_gradients=true")
        found = parity.read_gradients(run)
        wanted = models.gradients(fresh(model), samples)
        rows.append(dict(
            model=f"{family}, {name}", length=length, kl=parity.kl(expected, ours),
            back=float(np.abs(expected - exported).max()),
            gradient=max(parity.relative(found[n], wanted[n]) for n in wanted)))
    # Greedy decoding with a cache from below the original length to far above it, and from above.
    prompts = [list(p.encode()) for p in PROMPTS]
    answers = [models.greedy(fresh(model), ids, NEW_TOKENS) for ids in prompts]
    same = sum(a == b for a, b in zip(generate(espalier, checkpoint), answers))
    for row in rows:
        row["greedy"] = same
        print(f"| {row['model']} | {row['length']} | {row['kl']:.1e} | {row['gradient']:.1e} | "
              f"{row['back']:.0e} | {same} of {len(PROMPTS)} |", flush=True)
    return rows


PROMPTS = ["once upon a time", "the original length is passed by this prompt itself, which is "
           "longer than that by a dozen letters", "int main() {"]


def generate(espalier, checkpoint):
    prompts = espalier.folder / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS) + "\n")
    text = espalier.run(1, "generate", checkpoint, "--prompts", prompts,
                        f"data.tokenizer={parity.TOKENIZER}", "generate.temperature=0",
                        "generate.prefix=", "generate.ignore_end_of_text=true",
                        f"generate.max_new_tokens={NEW_TOKENS}")
    return [json.loads(line)["tokens"] for line in text.splitlines() if line.startswith("{")]


def model_keys(model, rope, limit, family):
    """[model] by hand, as overrides: what convert makes of config.json is not used here."""
    config = model.config
    keys = {key: getattr(config, key) for key in
            ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
             "num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps")}
    keys |= dict(model_type=family, max_position_embeddings=limit,
                 rope_theta=1e6 if family == "qwen3" else 1e4, rope_type=rope["rope_type"])
    given = {**rope}
    if rope["rope_type"] == "yarn":  # what transformers derives
        given.setdefault("original_max_position_embeddings", limit)
        given["factor"] = given["factor"] or limit / given["original_max_position_embeddings"]
    keys |= {f"rope_{key}": value for key, value in given.items() if key != "rope_type"}
    return [f"model.{key}={json.dumps(value)}" for key, value in keys.items()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=str(parity.ROOT / "build/espalier"))
    parser.add_argument("--case", choices=list(SCALINGS), action="append")
    arguments = parser.parse_args()
    program = parity.PROGRAM = str(pathlib.Path(arguments.program).resolve())
    models.transformers.utils.logging.disable_progress_bar()
    models.transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    print(f"{models.versions()}; V {models.V}, original length {ORIGINAL}\n")
    print("| model | length | KL of logits | gradients | exported, logits | greedy |\n"
          "|---|---|---|---|---|---|")
    rows = []
    for name in arguments.case or SCALINGS:
        for family in ("qwen3", "llama"):
            with tempfile.TemporaryDirectory() as folder:
                rows += run_case(name, family, pathlib.Path(folder), program)
    problems = [f"{r['model']}, {r['length']}: {key} {r[key]:.2e} > {bound:g}" for r in rows
                for key, bound in (("kl", parity.BOUNDS["kl"]),
                                   ("gradient", parity.BOUNDS["gradient"]), ("back", 0.0))
                if not r[key] <= bound]
    problems += [f"{r['model']}: greedy tokens differ" for r in rows if r["greedy"] < len(PROMPTS)]
    print("\nall bounds hold" if not problems else "\nmissed:\n  " + "\n  ".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
