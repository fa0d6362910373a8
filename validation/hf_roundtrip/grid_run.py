#!/usr/bin/env python3
"""Hugging Face -> a training run on tensor 2 x data 2 -> Hugging Face: not a bit may change.

The run makes one step at learning rate 0 from model.initial_weights, with a checkpoint at its end,
which four ranks have written. Models: those of ../hf_parity, in fp32 and bf16.

Usage    (with torch, transformers, safetensors and h5py, as ../hf_parity)
         python3 validation/hf_roundtrip/grid_run.py [--program build/espalier]
"""
import argparse
import pathlib
import sys
import tempfile

import torch
from safetensors import safe_open

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "hf_parity"))
import models  # noqa: E402
import parity  # noqa: E402

GRID = (2, 2, True)


def tensors_of(folder):
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors.update({name: file.get_tensor(name) for name in file.keys()})
    return tensors


def bits(tensor):
    return tensor.contiguous().view(torch.int32 if tensor.dtype == torch.float32 else torch.int16)


def compare(name, dtype):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        espalier = parity.Espalier(parity.PROGRAM, folder)
        model = models.make(name).to(dtype)
        model.save_pretrained(folder / "hf")
        parity.write_model_file(folder / "model.toml", model.config)
        parity.write_shard(folder / "train-00000.h5",
                           models.token_stream(models.BATCH * models.S + 1, seed=7))
        run = espalier.train("run", folder / "hf", GRID, "training.steps=1",
                             "schedule.warmup_steps=1", "optimizer.learning_rate=0",
                             "schedule.min_learning_rate=0", "checkpoint.at_end=true",
                             f"training.dtype={str(dtype).removeprefix('torch.')}")
        espalier.run(2, "convert", run, folder / "back")
        before, after = tensors_of(folder / "hf"), tensors_of(folder / "back")
        assert set(before) == set(after), set(before) ^ set(after)
        return sum(not torch.equal(bits(before[n]), bits(after[n])) for n in before), len(before)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=str(parity.ROOT / "build/espalier"))
    parity.PROGRAM = parser.parse_args().program
    models.transformers.utils.logging.disable_progress_bar()
    models.transformers.utils.logging.set_verbosity_error()
    different = 0
    print("| model | dtype | tensors | different |\n|---|---|---|---|")
    for name in models.CASES:
        for dtype in (torch.float32, torch.bfloat16):
            changed, total = compare(name, dtype)
            different += changed
            print(f"| {name} | {str(dtype).removeprefix('torch.')} | {total} | {changed} |")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
