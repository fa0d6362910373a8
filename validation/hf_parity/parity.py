#!/usr/bin/env python3
"""Espalier beside Hugging Face transformers, number by number, on tiny random models.

Usage    python3 -m venv parity-venv
         parity-venv/bin/pip install torch transformers h5py numpy
         parity-venv/bin/python validation/hf_parity/parity.py [--program build/espalier]
Prints   a table with a row per model and grid, and the bounds; the status is nonzero when one is
         missed. Needs mpirun and four ranks (they may share cores). README.md: what is compared.
"""
import argparse
import copy
import csv
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import torch

import models

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "inputs/tests/bytes.tiktoken"
# (tensor, data, sequence parallelism), and context ranks where there are some
GRIDS = [(1, 1, False), (2, 1, False), (2, 1, True), (1, 2, False), (2, 2, True), (4, 1, True)]
BOUNDS = {"kl": 1e-12, "gradient": 1e-5, "curve": 1e-5}
PROMPTS = ["The quick brown fox", "int main() {", "42", "once upon a time there was",
           "a longer prompt, with commas, that fills more than one line of a book or so"]
NEW_TOKENS = 200


class Espalier:
    def __init__(self, program, folder, simd="auto"):
        self.program, self.folder, self.simd = program, folder, simd
        self.environment = dict(os.environ, OMP_NUM_THREADS="1", OMPI_MCA_mpi_yield_when_idle="1",
                                OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                                OMPI_MCA_btl_vader_single_copy_mechanism="none")

    def run(self, ranks, *words):
        command = [str(w) for w in (self.program, *words)]
        if words[0] != "convert":
            command.append(f"device.simd={self.simd}")
        if ranks > 1:
            command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *command]
        done = subprocess.run(command, env=self.environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\nended with status {done.returncode}\n{done.stdout}")
        return done.stdout

    @staticmethod
    def grid_keys(grid):
        tensor, data, sequence_parallel, *context = grid
        return (f"parallel.tensor={tensor}",
                f"parallel.sequence_parallel={str(sequence_parallel).lower()}",
                *(f"parallel.context={ranks}" for ranks in context))

    def convert(self, source, target):
        self.run(1, "convert", source, target, f"data.tokenizer={TOKENIZER}")
        return target

    def logits(self, checkpoint, tokens, grid, dtype="float32"):
        out = self.folder / "logits.h5"
        out.unlink(missing_ok=True)  # the program overwrites nothing
        text = self.run(grid[0] * grid[1], "eval", checkpoint, "--tokens", tokens, "--logits", out,
                        f"training.dtype={dtype}", *self.grid_keys(grid))
        with h5py.File(out) as file:
            return file["logits"][()], float(text.split("loss ")[1].split(",")[0])

    def train(self, name, model_folder, grid, *keys):
        """A run of NUM_STEPS from the weights of a Hugging Face folder; returns its folder."""
        run = self.folder / name
        tensor, data, _, *context = grid
        optimizer = [f"optimizer.{key}={value}" for key, value in models.OPTIMIZER.items()]
        self.run(math.prod([tensor, data, *context]), "train", self.folder / "model.toml",
                 f"model.initial_weights={model_folder}", f"output.directory={run}",
                 f"data.train={self.folder / 'train-00000.h5'}", f"data.tokenizer={TOKENIZER}",
                 "data.order=sequential", "data.verify_checksum=false", "training.dtype=float32",
                 f"training.sequence_length={models.S}",
                 f"training.global_batch_size={models.BATCH}", "training.micro_batch_size=2",
                 f"training.steps={models.NUM_STEPS}", f"schedule.warmup_steps={models.WARMUP}",
                 f"schedule.min_learning_rate={models.MIN_LEARNING_RATE}", *optimizer,
                 f"optimizer.max_grad_norm={models.MAX_GRAD_NORM}", "checkpoint.at_end=false",
                 "debug.dump_gradients=true", *self.grid_keys(grid), *keys)
        return run

    def generate(self, checkpoint, grid):
        prompts = self.folder / "prompts.txt"
        prompts.write_text("\n".join(PROMPTS) + "\n")
        text = self.run(grid[0] * grid[1], "generate", checkpoint, "--prompts", prompts,
                        f"data.tokenizer={TOKENIZER}", "generate.temperature=0",
                        "generate.prefix=", "generate.ignore_end_of_text=true",
                        f"generate.max_new_tokens={NEW_TOKENS}",
                        *self.grid_keys(grid))
        return [json.loads(line)["tokens"] for line in text.splitlines() if line.startswith("{")]


def kl(reference, other):
    """Mean over tokens of KL(reference || other) in nats."""
    p = torch.log_softmax(torch.from_numpy(reference).double(), dim=-1)
    q = torch.log_softmax(torch.from_numpy(other).double(), dim=-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


def relative(value, reference):
    return float(np.linalg.norm(np.asarray(value, np.float64) - reference) /
                 np.linalg.norm(np.asarray(reference, np.float64)))


def read_gradients(run):
    with h5py.File(run / "gradients.h5") as file:
        return {name: file[name][()] for name in file}


def history(run):
    with open(run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(np.array([float(r[key]) for r in rows]) for key in ("loss", "grad_norm"))


def write_shard(path, stream, documents=(0,)):
    """A token shard as README's table of its attributes asks for."""
    identity = subprocess.run([PROGRAM, "inspect", TOKENIZER], capture_output=True, text=True,
                              check=True).stdout.split("identity")[1].split()[0]
    with h5py.File(path, "w", alignment_threshold=1, alignment_interval=64) as file:
        file["tokens"] = stream.astype("<u4")
        file["documents"] = np.array(documents, "<u8")
        texts = dict(format="espalier token shard", tokenizer=identity,
                     tokenizer_file=str(TOKENIZER), source="parity", split="train",
                     checksum="0" * 16)
        numbers = dict(format_version=1, vocabulary=models.V, end_of_text=256,
                       num_bytes=len(stream), num_tokens=len(stream),
                       num_documents=len(documents))
        for key, value in texts.items():
            file.attrs.create(key, np.bytes_(value.encode()))
        for key, value in numbers.items():
            file.attrs.create(key, np.uint64(value))


def write_model_file(path, config):
    """[model] from config.json by hand: what convert makes of it is not used here."""
    rope = getattr(config, "rope_parameters", None) or {}
    gpt2 = config.model_type == "gpt2"
    keys = dict(model_type=config.model_type, vocab_size=config.vocab_size,
                hidden_size=config.hidden_size,
                intermediate_size=config.n_inner if gpt2 else config.intermediate_size,
                num_hidden_layers=config.num_hidden_layers,
                num_attention_heads=config.num_attention_heads,
                num_key_value_heads=0 if gpt2 else config.num_key_value_heads,
                head_dim=0 if gpt2 else config.head_dim,
                tie_word_embeddings=config.tie_word_embeddings,
                rms_norm_eps=config.layer_norm_epsilon if gpt2 else config.rms_norm_eps,
                max_position_embeddings=config.max_position_embeddings)
    if not gpt2:
        keys["rope_theta"] = rope["rope_theta"]
    if rope.get("rope_type") == "llama3":
        keys.update(rope_type="llama3", rope_factor=rope["factor"],
                    rope_low_freq_factor=rope["low_freq_factor"],
                    rope_high_freq_factor=rope["high_freq_factor"],
                    rope_original_max_position_embeddings=rope["original_max_position_embeddings"])
    if config.model_type == "qwen3_moe":
        keys.update(num_experts=config.num_experts, num_experts_per_tok=config.num_experts_per_tok,
                    moe_intermediate_size=config.moe_intermediate_size,
                    norm_topk_prob=config.norm_topk_prob,
                    decoder_sparse_step=config.decoder_sparse_step,
                    mlp_only_layers=config.mlp_only_layers)
    path.write_text("[model]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items()))


def run_case(name, folder):
    """Rows of the table: (model, grid, KL, loss, gradient, curve, norms)."""
    espalier = Espalier(PROGRAM, folder, SIMD)
    model = models.make(name)
    source = folder / "hf"
    model.save_pretrained(source)
    write_model_file(folder / "model.toml", model.config)
    stream = models.token_stream(models.NUM_STEPS * models.BATCH * models.S + 1, seed=7)
    write_shard(folder / "train-00000.h5", stream)
    tokens = folder / "tokens.h5"
    test = models.samples_of(models.token_stream(models.NUM_SEQUENCES * models.S + 1, seed=11), 0,
                             models.NUM_SEQUENCES)
    with h5py.File(tokens, "w") as file:
        file["tokens"] = test
    checkpoint = espalier.convert(source, folder / "checkpoint")

    with torch.no_grad():
        logits, loss = (x.numpy() for x in models.forward(model, test))
        exact = models.forward(copy.deepcopy(model).double(), test)[0].numpy()
    first = models.samples_of(stream, 0, models.BATCH)
    expected = models.gradients(model, first)
    prompts = [list(p.encode()) for p in PROMPTS]
    answers = [models.greedy(model, ids, NEW_TOKENS) for ids in prompts]
    losses, norms = models.train_curve(model, stream)

    rows = []
    for grid in GRIDS:
        ours, our_loss = espalier.logits(checkpoint, tokens, grid)
        run = espalier.train(f"run-{grid[0]}x{grid[1]}-{grid[2]}", source, grid)
        found = read_gradients(run)
        missing = set(expected) ^ set(found)
        assert not missing, missing
        our_losses, our_norms = history(run)
        rows.append(dict(
            model=name, grid=grid_name(grid),
            kl=kl(logits, ours), exact=kl(exact, ours), theirs=kl(exact, logits),
            loss=abs(our_loss - loss) / loss,
            gradient=max(relative(found[n], expected[n]) for n in expected),
            curve=float(np.max(np.abs(our_losses - losses) / losses)),
            norms=float(np.max(np.abs(our_norms - norms) / norms)),
            greedy=sum(a == b for a, b in zip(espalier.generate(checkpoint, (grid[0], 1, False)),
                                              answers)) if grid[1] == 1 else None))
        print_row(rows[-1])
    return rows, [len(a) for a in answers]


def run_bf16(name, seeds=(20, 21, 22), sequences=16):
    """Distances from the fp32 of transformers, root mean square over the seeds, per grid: ours, and
    transformers' own bf16. One batch is too small a sample: the ratio of the two scatters by 10 %.
    """
    grids = [GRIDS[0], GRIDS[4], GRIDS[5]]
    ours, theirs = {grid: [] for grid in grids}, []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            espalier = Espalier(PROGRAM, folder, SIMD)
            model = models.make(name, seed)
            rounded = models.in_bfloat16(model)
            model.save_pretrained(folder / "hf")
            write_model_file(folder / "model.toml", model.config)
            stream = models.token_stream(sequences * models.S + 1, seed)
            write_shard(folder / "train-00000.h5", stream)
            samples = models.samples_of(stream, 0, sequences)
            with h5py.File(folder / "tokens.h5", "w") as file:
                file["tokens"] = samples
            checkpoint = espalier.convert(folder / "hf", folder / "checkpoint")
            with torch.no_grad():
                logits = models.forward(model, samples)[0].numpy()
                rounded_logits = models.forward(rounded, samples)[0].numpy()
            expected = models.gradients(model, samples)

            def distance(gradients):
                return relative(*(np.concatenate([g[n].ravel() for n in expected])
                                  for g in (gradients, expected)))

            theirs.append((kl(logits, rounded_logits),
                           distance(models.gradients(rounded, samples))))
            for grid in grids:
                found, _ = espalier.logits(checkpoint, folder / "tokens.h5", grid, "bfloat16")
                run = espalier.train(f"run-{grid[0]}x{grid[1]}", folder / "hf", grid,
                                     "training.dtype=bfloat16", "training.steps=1",
                                     "schedule.warmup_steps=1",
                                     f"training.global_batch_size={sequences}")
                ours[grid].append((kl(logits, found), distance(read_gradients(run))))
    mean = lambda values: np.sqrt(np.mean(np.square(values), axis=0))  # noqa: E731
    return [dict(model=name, grid=grid_name(grid), kl=mean(ours[grid])[0], hf_kl=mean(theirs)[0],
                 gradient=mean(ours[grid])[1], hf_gradient=mean(theirs)[1]) for grid in grids]


def grid_name(grid):
    return f"{grid[0]} x {grid[1]}{' sp' if grid[2] else ''}"


def print_row(r):
    greedy = "" if r["greedy"] is None else f"{r['greedy']} of {len(PROMPTS)}"
    print(f"| {r['model']} | {r['grid']} | {r['kl']:.1e} | {r['exact']:.1e} | "
          f"{r['theirs']:.1e} | {r['loss']:.1e} | {r['gradient']:.1e} | "
          f"{r['curve']:.1e} | {r['norms']:.1e} | {greedy} |", flush=True)


def missed(rows, bf16):
    found = []
    for r in rows:
        found += [f"{r['model']}, {r['grid']}: {key} {r[key]:.2e} > {bound:g}"
                  for key, bound in BOUNDS.items() if not r[key] <= bound]
        if r["greedy"] not in (None, len(PROMPTS)):
            found.append(f"{r['model']}, {r['grid']}: greedy tokens differ")
    for r in bf16:
        found += [f"{r['model']}, {r['grid']}: bf16 {key} {r[key]:.2e} > transformers' "
                  f"{r['hf_' + key]:.2e}" for key in ("kl", "gradient")
                  if not r[key] <= r["hf_" + key]]
    return found


def main():
    global PROGRAM, SIMD
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=str(ROOT / "build/espalier"))
    parser.add_argument("--simd", default="auto", help="SIMD level of the host operators")
    parser.add_argument("--case", choices=list(models.CASES), action="append")
    arguments = parser.parse_args()
    PROGRAM = str(pathlib.Path(arguments.program).resolve())
    SIMD = arguments.simd
    models.transformers.utils.logging.disable_progress_bar()
    models.transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{models.versions()}; V {models.V}, S {models.S}\n")
    print("| model | tensor x data | KL of logits | ours to fp64 | theirs to fp64 | loss | "
          "gradients | 12 losses | 12 norms | greedy |\n"
          "|---|---|---|---|---|---|---|---|---|---|")
    rows, bf16, lengths = [], [], {}
    for name in arguments.case or models.CASES:
        with tempfile.TemporaryDirectory() as folder:
            more, lengths[name] = run_case(name, pathlib.Path(folder))
        rows += more
    for name in arguments.case or models.CASES:
        bf16 += run_bf16(name)
    print("\nbf16 against the fp32 of transformers (theirs: transformers' own bf16)\n\n"
          "| model | tensor x data | KL | theirs | gradients | theirs |\n|---|---|---|---|---|---|")
    for r in bf16:
        print(f"| {r['model']} | {r['grid']} | {r['kl']:.2e} | {r['hf_kl']:.2e} | "
              f"{r['gradient']:.2e} | {r['hf_gradient']:.2e} |")
    print("\ngreedy tokens per prompt:", lengths)
    problems = missed(rows, bf16)
    print("\nall bounds hold" if not problems else "\nmissed:\n  " + "\n  ".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
