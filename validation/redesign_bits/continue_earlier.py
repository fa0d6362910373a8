#!/usr/bin/env python3
"""A run that one build of espalier began is continued by another: the same bits as by the first?

Usage    python3 validation/redesign_bits/continue_earlier.py BEFORE AFTER
Prints   a line per grid; ends with status 1 when a loss or a value of the last checkpoint differs
"""
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests"))
from support import runs  # noqa: E402
from support.grids import GRIDS  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import compare  # noqa: E402


def main():
    before, after = (str(pathlib.Path(p).resolve()) for p in sys.argv[1:3])
    runs.BINARY = before
    compare.Runs.setUpClass()
    case = compare.Runs("result")
    different = 0
    try:
        for began in (grid for grid in GRIDS if grid.zero_stage == 1):
            for ended in (began, next(grid for grid in GRIDS if grid.ranks != began.ranks)):
                name = f"{began.name} to {ended.name}"
                runs.BINARY = before
                case.train("begun", *began.overrides(), "run.stop_after=10", ranks=began.ranks,
                           status=75)
                results = []
                for program in (before, after):
                    runs.BINARY = program
                    shutil.copytree(case.folder / "begun", case.folder / "continued")
                    case.train("continued", *ended.overrides(), ranks=ended.ranks)
                    kept = case.folder / f"of-{len(results)}"
                    history = case.history("continued")
                    shutil.move(case.folder / "continued", kept)
                    validation = (kept / "validation.csv").read_text().splitlines()
                    results.append(((history, validation),
                                    kept / "checkpoints/step-00000020/master.h5"))
                words, norm = compare.compare(*results)
                different += bool(words)
                print(f"{name}: {'differ in ' + ', '.join(words) if words else 'same bits'}; "
                      f"gradient norm to {norm:.1e}", flush=True)
                for folder in ("begun", "of-0", "of-1"):
                    shutil.rmtree(case.folder / folder)
    finally:
        compare.Runs.tearDownClass()
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
