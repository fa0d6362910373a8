#!/usr/bin/env python3
"""Lists of actions of pipeline schedules against those of PyTorch.

Usage: compare.py <espalier> <torch/distributed/pipelining/schedules.py>

The second is the file of a PyTorch package; nothing else of PyTorch is needed or imported, so that
it may be taken out of a wheel for any machine. Prints a line per schedule and ends with status 1
when a list differs."""
import importlib.abc
import importlib.util
import json
import subprocess
import sys
import types
from unittest import mock

MOST_RANKS, MOST_MICRO_BATCHES = 8, 16
# Ours, the class of PyTorch, and chunks per rank.
CLASSES = {"interleaved": ("ScheduleInterleaved1F1B", (2, 3, 4)),
           "zb-h1": ("ScheduleInterleavedZeroBubble", (1,)),
           "zb1p": ("ScheduleInterleavedZeroBubble", (1, 2, 3, 4)),
           "zb-v": ("ScheduleZBVZeroBubble", (2,)),
           "dualpipe-v": ("ScheduleDualPipeV", (2,))}


class Placeholder:
    def __init__(self, *arguments, **keywords):
        pass


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Whatever the file imports of PyTorch: makers of lists compute with whole numbers alone."""

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name.startswith("torch") else None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__path__ = []
        module.__getattr__ = lambda name: (type(name, (Placeholder,), {})
                                           if name.lstrip("_")[:1].isupper() else mock.MagicMock())
        return module

    def exec_module(self, module):
        pass


def load(path):
    sys.meta_path.insert(0, Absent())
    module = types.ModuleType("torch.distributed.pipelining.schedules")
    module.__package__ = "torch.distributed.pipelining"
    sys.modules[module.__name__] = module
    with open(path, encoding="utf-8") as file:
        exec(compile(file.read(), path, "exec"), module.__dict__)
    module.generate_rank_to_stage_mapping = \
        lambda ranks, stages, style: {r: [r, stages - 1 - r] for r in range(ranks)}
    return module


def flat(module, actions):
    letters = {module._ComputationType.FORWARD: "F", module._ComputationType.FULL_BACKWARD: "BW",
               module._ComputationType.BACKWARD_INPUT: "B",
               module._ComputationType.BACKWARD_WEIGHT: "W"}
    for action in actions:
        if action is None:
            continue
        if action.sub_actions:
            yield from flat(module, action.sub_actions)
        else:
            yield (f"{action.stage_index}{letters[action.computation_type]}"
                   f"{action.microbatch_index}")


def theirs(module, name, p, m, v, rank):
    """None: PyTorch has no such list."""
    schedule = object.__new__(getattr(module, CLASSES[name][0]))
    schedule.pp_group_size, schedule.n_local_stages, schedule._n_microbatches = p, v, m
    schedule.num_stages = schedule._num_stages = p * v
    schedule.rank = rank
    schedule.number_of_rounds = max(1, m // p)
    schedule.microbatches_per_round = m // schedule.number_of_rounds
    if name in ("interleaved", "zb-h1", "zb1p") and m % schedule.number_of_rounds != 0:
        return None
    return " ".join(flat(module, schedule._calculate_single_rank_operations(rank)))


def ours(program, name, p, m, v):
    """Lists by rank; none: the shape does not fit."""
    done = subprocess.run([program, "plan", "schedule", f"plan.schedule={name}",
                           f"plan.pipeline={p}", f"plan.micro_batches={m}", f"plan.chunks={v}",
                           "--format", "json"], capture_output=True, text=True)
    if done.returncode == 78:
        return []
    done.check_returncode()
    return [row["actions"] for row in json.loads(done.stdout)]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    program, module = sys.argv[1], load(sys.argv[2])
    failed = False
    for name in CLASSES:
        same = different = alone = 0
        for p in range(1, MOST_RANKS + 1):
            for m in range(1, MOST_MICRO_BATCHES + 1):
                for v in CLASSES[name][1]:
                    for rank, actions in enumerate(ours(program, name, p, m, v)):
                        expected = theirs(module, name, p, m, v, rank)
                        if expected is None:
                            alone += 1
                        elif expected == actions:
                            same += 1
                        else:
                            different += 1
                            print(f"{name} p {p} m {m} v {v} rank {rank}:\n  {expected}\n  {actions}")
        print(f"{name}: {same} lists are the same, {different} differ, {alone} that it refuses")
        failed = failed or different > 0 or same == 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
