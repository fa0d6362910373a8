#!/usr/bin/env python3
"""Two builds of espalier train the same small models on the same grids: which bits differ?

Usage    python3 validation/redesign_bits/compare.py BEFORE AFTER [--only TEXT] [KEY=VALUE...]
         BEFORE and AFTER are programs, e.g. build/espalier of two revisions.
Needs    mpirun and h5diff (hdf5-tools)
Prints   a line per run and a summary; ends with status 1 when a loss or a value of the final
         checkpoint differs. --only: runs whose name has TEXT in it. KEY=VALUE: for all of them.
"""
import argparse
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests"))
from support import runs  # noqa: E402

FAMILIES = {
    "qwen3": [],
    "qwen3 K=1": ["model.num_key_value_heads=1", "model.tie_word_embeddings=false"],
    "llama": ["model.model_type=llama", "model.rope_type=llama3"],
    # GPT-2 has A x D = H and as many key and value heads as heads.
    "gpt2": ["model.model_type=gpt2", "model.num_key_value_heads=4", "model.hidden_size=96"],
}
GRIDS = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)]  # tensor, data
FIELDS = ("master", "exp_avg", "exp_avg_sq")


def cases():
    """Name, ranks and overrides of every run."""
    for family, model in FAMILIES.items():
        for dtype in ("float32", "bfloat16"):
            for tensor, data in GRIDS:
                for sequence_parallel in ("true", "false") if tensor > 1 else ("false",):
                    for zero_stage in (0, 1) if data > 1 else (1,):
                        name = (f"{family}, {dtype}, {tensor}x{data}, "
                                f"SP {sequence_parallel}, ZeRO {zero_stage}")
                        overrides = [
                            *model, f"training.dtype={dtype}", f"parallel.tensor={tensor}",
                            f"parallel.data={data}", f"parallel.zero_stage={zero_stage}",
                            f"parallel.sequence_parallel={sequence_parallel}"]
                        yield name, tensor * data, overrides
                        if (tensor, data, sequence_parallel, zero_stage) == (2, 1, "true", 1):
                            for recompute in ("selective", "mlp", "full"):
                                yield (f"{name}, recompute {recompute}", tensor * data,
                                       [*overrides, f"memory.recompute={recompute}"])


class Runs(runs.RunCase):
    """The scratch folder and the token shards of the tests."""

    def result(self, program, name, ranks, overrides):
        """The history's rows with those of validation, and the last checkpoint of one run."""
        runs.BINARY = program
        self.train(name, *overrides, ranks=ranks)
        last = sorted((self.folder / name / "checkpoints").glob("step-*"))[-1]
        validation = (self.folder / name / "validation.csv").read_text().splitlines()
        return (self.history(name), validation), last / "master.h5"


def fields_that_differ(before, after):
    """Of two checkpoints; tensors and their moments are compared bit for bit."""
    differ = []
    for field in FIELDS:
        done = subprocess.run(["h5diff", before, after, f"/{field}", f"/{field}"],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0 or done.stdout:
            differ.append(field)
    return differ


def compare(before, after):
    """What differs, as words, and the largest relative difference of the gradient norm."""
    ((rows, validation), weights), ((other_rows, other_validation), other_weights) = before, after
    words, worst = [], 0.0
    if len(validation) < 2 or validation != other_validation:
        words.append("validation")
    if len(rows) != len(other_rows):
        words.append(f"{len(rows)} and {len(other_rows)} rows of history")
    columns = ("step", "tokens", "loss", "grad_norm", "learning_rate")
    for i, column in enumerate(columns):
        pairs = [(a[i], b[i]) for a, b in zip(rows, other_rows)]
        if column == "grad_norm":
            worst = max((abs(float(a) - float(b)) / float(a) for a, b in pairs), default=0.0)
        elif any(a != b for a, b in pairs):
            first = next(a[0] for a, b in zip(rows, other_rows) if a[i] != b[i])
            words.append(f"{column} from step {first} on")
    words += fields_that_differ(weights, other_weights)
    return words, worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--only", default="")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    programs = [str(pathlib.Path(p).resolve()) for p in (arguments.before, arguments.after)]
    runs.BINARY = programs[0]
    Runs.setUpClass()
    different, total, worst = 0, 0, 0.0
    try:
        for number, (name, ranks, overrides) in enumerate(cases()):
            if arguments.only not in name:
                continue
            overrides = [*overrides, *arguments.overrides]
            results = [Runs("result").result(program, f"{number}-{which}", ranks, overrides)
                       for which, program in enumerate(programs)]
            words, norm = compare(*results)
            total += 1
            different += bool(words)
            worst = max(worst, norm)
            print(f"{name}: {'differ in ' + ', '.join(words) if words else 'same bits'}"
                  f"; gradient norm to {norm:.1e}", flush=True)
    finally:
        Runs.tearDownClass()
    print(f"{total} runs, {total - different} with the same bits; "
          f"largest relative difference of a gradient norm {worst:.1e}")
    sys.exit(1 if different or total == 0 else 0)


if __name__ == "__main__":
    main()
