#!/usr/bin/env python3
"""Training on grids whose ranks share the tokens of each sequence, beside transformers.

Usage    python3 -m venv parity-venv
         parity-venv/bin/pip install torch transformers h5py numpy
         parity-venv/bin/python validation/hf_parity/context.py [--program build/espalier]
Prints   a table with a row per model, length and grid; the status is nonzero when a bound is missed.
         Needs mpirun and four ranks (they may share cores). README.md: what is compared.
"""
import argparse
import pathlib
import sys
import tempfile

import numpy as np
import torch

import models
import parity

CASES = ["qwen3, K=1", "qwen3, tied", "llama-3.2, tied", "llama-3, K=1"]
# (tensor, data, sequence parallelism, context)
GRIDS = [(1, 1, False, 1), (1, 1, False, 2), (1, 1, False, 4), (2, 1, False, 2), (2, 1, True, 2),
         (1, 2, False, 2)]
LENGTHS = [48, 512]  # blocks of 2 or 4 tokens, and of 128


def document_starts(length, mean, seed):
    """First tokens of documents of lognormal lengths, some of a token alone."""
    random = np.random.default_rng(seed)
    starts = [0]
    while starts[-1] < length:
        alone = random.random() < 0.2
        drawn = random.lognormal(np.log(mean) - 0.5, 1.0)
        starts.append(starts[-1] + (1 if alone else max(1, int(drawn))))
    return np.array(starts[:-1])


def places_of(starts, first, length):
    """A token's place in its document, counted in the sample, of `length` tokens from `first` on."""
    tokens = np.arange(first, first + length)
    return tokens - np.maximum(starts[np.searchsorted(starts, tokens, side="right") - 1], first)


class Masked(torch.nn.Module):
    """A model whose documents do not see one another; models.forward knows nothing of it."""

    def __init__(self, model, places):
        super().__init__()
        self.model, self.places = model, places

    def loss(self, samples, first):
        places = torch.from_numpy(np.stack([self.places(first + b) for b in range(len(samples))]))
        positions, length = places[:, :-1], samples.shape[1] - 1
        rows = torch.arange(length)
        begins = (rows - positions)[:, :, None]  # the first key of each query
        sees = (rows[None, None, :] <= rows[None, :, None]) & (rows[None, None, :] >= begins)
        mask = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)
        tokens = torch.from_numpy(samples.astype(np.int64))
        logits = self.model(input_ids=tokens[:, :-1], attention_mask=mask[:, None],
                            position_ids=positions).logits
        targets = tokens[:, 1:].masked_fill(places[:, 1:] == 0, -100)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def run_case(name, length, masked, folder, program):
    espalier = parity.Espalier(program, folder)
    models.S = length
    model = models.make(name)
    source = folder / "hf"
    model.save_pretrained(source)
    parity.write_model_file(folder / "model.toml", model.config)
    total = models.NUM_STEPS * models.BATCH * length + 1
    stream = models.token_stream(total, seed=7)
    starts = document_starts(total, length / 4, seed=3) if masked else np.zeros(1, np.int64)
    parity.write_shard(folder / "train-00000.h5", stream, starts)
    keys = ["data.document_mask=true", "data.predict_across_documents=false"] if masked else []
    expected, losses, norms = reference(model, stream, starts if masked else None)
    rows = []
    for grid in GRIDS:
        run = espalier.train("run-" + "x".join(map(str, grid)), source, grid, *keys)
        found = parity.read_gradients(run)
        missing = set(expected) ^ set(found)
        assert not missing, missing
        ours, our_norms = parity.history(run)
        rows.append(dict(
            model=name, length=f"{length}{', documents' if masked else ''}", grid=name_of(grid),
            gradient=max(parity.relative(found[n], expected[n]) for n in expected),
            curve=float(np.max(np.abs(ours - losses) / losses)),
            norms=float(np.max(np.abs(our_norms - norms) / norms))))
        r = rows[-1]
        print(f"| {r['model']} | {r['length']} | {r['grid']} | {r['gradient']:.1e} | "
              f"{r['curve']:.1e} | {r['norms']:.1e} |", flush=True)
    return rows


def reference(model, stream, starts):
    """Gradients of the first step, then losses and norms of all, of transformers."""
    if starts is None:
        first = models.samples_of(stream, 0, models.BATCH)
        return models.gradients(model, first), *models.train_curve(model, stream)
    masked = Masked(model, lambda sample: places_of(starts, sample * models.S, models.S + 1))
    taken = iter([0, *range(models.NUM_STEPS)])

    def forward(_, samples):
        return None, masked.loss(samples, next(taken) * models.BATCH)

    plain, models.forward = models.forward, forward
    try:
        first = models.samples_of(stream, 0, models.BATCH)
        return models.gradients(model, first), *models.train_curve(model, stream)
    finally:
        models.forward = plain


def name_of(grid):
    tensor, data, sequence_parallel, context = grid
    return f"{tensor} x {context} x {data}{' sp' if sequence_parallel else ''}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=str(parity.ROOT / "build/espalier"))
    parser.add_argument("--case", choices=CASES, action="append")
    arguments = parser.parse_args()
    program = parity.PROGRAM = str(pathlib.Path(arguments.program).resolve())
    models.transformers.utils.logging.disable_progress_bar()
    models.transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{models.versions()}; V {models.V}\n")
    print("| model | S | tensor x context x data | gradients | 12 losses | 12 norms |\n"
          "|---|---|---|---|---|---|")
    rows = []
    for name in arguments.case or CASES:
        for length in LENGTHS:
            for masked in (False, True):
                with tempfile.TemporaryDirectory() as folder:
                    rows += run_case(name, length, masked, pathlib.Path(folder), program)
    for key in ("gradient", "curve", "norms"):
        print(f"worst {key}: {max(row[key] for row in rows):.1e}")
    problems = [f"{r['model']}, {r['length']}, {r['grid']}: {key} {r[key]:.2e} > "
                f"{parity.BOUNDS[key]:g}" for r in rows for key in ("gradient", "curve")
                if not r[key] <= parity.BOUNDS[key]]
    print("\nall bounds hold" if not problems else "\nmissed:\n  " + "\n  ".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
