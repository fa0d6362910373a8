#!/usr/bin/env python3
"""Runs over the stages of a pipeline and runs without one: which bits differ?

Usage    python3 validation/pipeline_bits/compare.py [--only TEXT] [--ranks N] [KEY=VALUE...]
Needs    mpirun; ESPALIER_BINARY names the program, build/espalier without it
Prints   a line per run and a summary; ends with status 1 when a loss, a norm, a loss of validation
         or a value of the final checkpoint differs. --only: runs whose name has TEXT in it.
         --ranks: those of at most N ranks. KEY=VALUE: for all of them.
"""
import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests"))
from support import runs  # noqa: E402

# Schedule and chunks on a rank.
SCHEDULES = [("gpipe", 1), ("1f1b", 1), ("zb-h1", 1), ("interleaved", 2), ("interleaved", 3),
             ("zb1p", 1), ("zb1p", 2), ("zb-v", 2), ("dualpipe-v", 2)]
LAYERS = 8
# Few micro-batches, stages without blocks, and what else is at the edge.
EDGES = [
    ("fewer micro-batches than stages", 4, ["parallel.schedule=1f1b",
                                            "training.global_batch_size=2"]),
    ("one micro-batch", 4, ["parallel.schedule=zb-v", "training.global_batch_size=1"]),
    ("stages without blocks", 4, ["parallel.schedule=zb-h1", "parallel.stage_layers=[0,8,0,0]"]),
    ("a head alone", 2, ["parallel.schedule=1f1b", "parallel.stage_layers=[8,0]"]),
    ("document masks", 2, ["parallel.schedule=zb-v", "data.document_mask=true"]),
    ("recompute", 2, ["parallel.schedule=zb-h1", "memory.recompute=full"]),
]
# These change the result, so the run without a pipeline has them, too.
OF_BOTH = ("training.", "data.", "model.", "memory.")


def cases(most_ranks):
    """Name, ranks, overrides, and those of the run to compare with."""
    for tied in ("true", "false"):
        for dtype in ("float32", "bfloat16"):
            model = [f"model.tie_word_embeddings={tied}", f"training.dtype={dtype}"]
            for tensor, data in ((1, 1), (2, 1), (1, 2), (2, 2)):
                grid = [f"parallel.tensor={tensor}", f"parallel.data={data}"]
                for pipeline in (2, 4):
                    for schedule, chunks in SCHEDULES:
                        ranks = tensor * data * pipeline
                        micro_batches = 8 // data
                        if ranks > most_ranks or pipeline * chunks > LAYERS + 2:
                            continue
                        if schedule == "dualpipe-v" and micro_batches < 2 * pipeline:
                            continue
                        name = (f"{schedule} v{chunks}, p{pipeline}, {tensor}x{data}, {dtype}, "
                                f"{'tied' if tied == 'true' else 'untied'}")
                        yield name, ranks, [*model, *grid, f"parallel.pipeline={pipeline}",
                                            f"parallel.schedule={schedule}",
                                            f"parallel.chunks={chunks}"], [*model, *grid]
    for name, pipeline, overrides in EDGES:
        if pipeline <= most_ranks:
            yield (name, pipeline, [*overrides, f"parallel.pipeline={pipeline}"],
                   [word for word in overrides if word.startswith(OF_BOTH)])


class Runs(runs.RunCase):
    """The scratch folder and the token shards of the tests."""

    def result(self, name, ranks, overrides):
        """Losses and norms, losses of validation, hashes of all weights and moments."""
        self.train(name, *overrides, ranks=ranks)
        hashes = runs.espalier(1, "inspect", "--hashes", self.folder / name)
        return (self.history(name), (self.folder / name / "validation.csv").read_text(),
                sorted(hashes.splitlines()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    everywhere = [f"model.num_hidden_layers={LAYERS}", "training.steps=20",
                  "checkpoint.interval=20", "validation.interval=10",
                  "validation.sequences=48", *options.overrides]
    Runs.setUpClass()
    try:
        table = Runs()
        references, differ, same = {}, 0, 0
        for name, ranks, overrides, plain in cases(options.ranks):
            if options.only not in name:
                continue
            key = " ".join(plain)
            if key not in references:
                words = dict(word.split("=") for word in plain if word.startswith("parallel."))
                plain_ranks = (int(words.get("parallel.tensor", 1))
                               * int(words.get("parallel.data", 1)))
                references[key] = table.result(f"plain-{len(references)}", plain_ranks,
                                               [*everywhere, *plain])
            found = table.result(f"run-{same + differ}", ranks, [*everywhere, *overrides])
            parts = [part for part, mine, wanted in zip(
                ("history", "validation", "checkpoint"), found, references[key]) if mine != wanted]
            same, differ = same + (not parts), differ + bool(parts)
            print(f"{name}: {'differs in ' + ', '.join(parts) if parts else 'the same bits'}",
                  flush=True)
    finally:
        Runs.tearDownClass()
    print(f"{same} runs have the bits of no pipeline, {differ} differ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
