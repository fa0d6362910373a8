#!/usr/bin/env python3
"""All that is worth doing with a few minutes of a GPU, in the order of its worth, by one command.

    bundle/tests/gpu/session.py OUTPUT [--minutes 8] [--only REGEX] [--skip REGEX]
    tests/gpu/session.py OUTPUT --programs build            # a build in place of a bundle
    tests/gpu/session.py OUTPUT --programs build --backend emulated     # warm-up without a GPU

A step that fails, or takes too long, ends alone; the next one goes on. What is not there (a
compute-sanitizer, PyTorch) is a step that is skipped, with the reason. OUTPUT is written after every
step: summary.md (the table that is also printed), summary.json, log.txt (everything that was said)
and cache/ (the algorithms that cuBLASLt was measured to be fastest with). Status 1 when a step
failed.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ("0.6b", "1.7b")
MOST_OUTPUT = 400_000  # characters of one command that are kept: the beginning and the end
LEAST_S = 8            # with less time than this no step is begun


@dataclasses.dataclass
class Step:
    name: str
    commands: list             # one after the other; a failure does not stop the others
    limit_s: float             # for all commands
    each_s: float = 1e9        # for one of them
    why_not: str = ""          # not empty: skipped
    figures: str = ""          # regular expression with a name and a value
    rows: list = dataclasses.field(default_factory=list)


def gist(text):
    """The line of an output that says best what went wrong."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if re.search(r"\w", line)]
    for telling in (r"^test cases:", r"ERROR SUMMARY", r"[Ee]rror", r"^FAILED|FAILED \("):
        found = [line for line in lines if re.search(telling, line)]
        if found:
            return found[-1][:200]
    return lines[-1][:200] if lines else "says nothing"


class Session:
    def __init__(self, options):
        self.options = options
        self.output = options.output
        self.output.mkdir(parents=True, exist_ok=True)
        self.end = time.monotonic() + 60 * options.minutes
        self.log = open(self.output / "log.txt", "w", errors="replace")
        self.results = []
        self.emulated = options.backend == "emulated"
        self.environment = dict(os.environ, ESPALIER_TEST_BACKEND=options.backend,
                                XDG_CACHE_HOME=str((self.output / "cache").resolve()))

    # Programs

    def program(self, name, *arguments, ranks=1):
        """The command that starts a program of the bundle, or of the build."""
        words = [name, *map(str, arguments)]
        if self.options.programs is None:
            return [str(ROOT / "run.sh"), *(["-n", str(ranks)] if ranks > 1 else []), *words]
        words[0] = str(self.options.programs / name)
        if ranks > 1:
            words = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *words]
        return words

    def kernels(self):
        return "unit_kernels_cuda" if self.emulated else "gpu_kernels_cuda"

    def kernel_cases(self):
        """The names of the operators' test cases, each of which gets a process of its own: a kernel
        that fails takes the process's GPU with it."""
        try:
            said = subprocess.run(self.program(self.kernels(), "[operators]",
                                               "--list-test-names-only"),
                                  env=self.environment, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            return [], str(error)
        names = [line.strip() for line in said.stdout.splitlines() if line.startswith("CUDA ")]
        return names, "" if names else f"no cases: {gist(said.stdout + said.stderr)}"

    def run(self, command, limit_s):
        """(exit status or "timed out", output)"""
        self.log.write(f"\n$ {' '.join(command)}\n")
        start = time.monotonic()
        try:
            child = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                                     errors="replace", start_new_session=True)
        except OSError as error:
            self.log.write(f"{error}\n")
            return "cannot be started", str(error)
        try:
            text, _ = child.communicate(timeout=limit_s)
            status = child.returncode
        except subprocess.TimeoutExpired:
            status = "timed out"
            os.killpg(child.pid, signal.SIGTERM)  # mpirun takes its ranks along
            try:
                text, _ = child.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                text, _ = child.communicate()
        if len(text) > MOST_OUTPUT:
            half = MOST_OUTPUT // 2
            text = f"{text[:half]}\n[...]\n{text[-half:]}"
        self.log.write(f"{text}\n[{status}, {time.monotonic() - start:.1f} s]\n")
        self.log.flush()
        return status, text

    # Steps

    def steps(self):
        cuda = not self.emulated
        backend = f"device.backend={self.options.backend}"
        cases, no_cases = self.kernel_cases()
        kernel = [self.program(self.kernels(), name) for name in cases]
        tiny = ROOT / "inputs/tests/tiny.toml"
        short = ("bench.warmup_steps=2", "bench.steps=2")

        def bench(model):
            if not cuda:
                return self.program("espalier", "bench", tiny, backend, *short)
            return self.program("espalier", "bench", ROOT / f"inputs/bench/gpu-qwen3-{model}.toml",
                                backend)

        yield Step("machine", [
            ["nvidia-smi"], [*self.program("espalier", "--version")],
            [sys.executable, "-c", "import torch; print('torch', torch.__version__)"]], 40, 20)
        yield Step("first light: a tiny model", [
            self.program("espalier", "bench", tiny, backend, *short)], 60,
            figures=r"bench: (tokens_per_second) ([\d.]+)")
        yield Step("operators beside the host's", kernel, 120, 45, no_cases)
        yield Step("model on 1 rank", [self.program(
            "mpi_model", *(["~losses*"] if self.emulated else []))], 90)
        yield Step("bench 0.6b", [bench("0.6b")], 75,
                   figures=r"bench: (tokens_per_second|gemm_share|gemm_peak_gflops) ([\d.]+)")
        yield Step("operators of 0.6b", [self.program(
            "espalier", "bench", "operators",
            tiny if self.emulated else ROOT / "inputs/bench/gpu-qwen3-0.6b.toml", backend)], 60)
        yield Step("attention of 0.6b by provider", [self.program(
            "espalier", "bench", "attention",
            tiny if self.emulated else ROOT / "inputs/bench/gpu-qwen3-0.6b.toml", backend)], 45,
            figures=r"bench: attention ([^:]+): ([\d.]+) ms")
        test = ROOT / "tests/gpu/test_training.py"
        start = [] if self.options.programs else [str(ROOT / "run.sh")]
        yield Step("whole runs", [
            [*start, sys.executable, "-B", str(test), f"Training.{case}"]
            for case in re.findall(r"def (test_\w+)", test.read_text())], 150, 60)
        yield self.sanitizer("memcheck", kernel, 60)
        yield Step("bench 1.7b", [bench("1.7b")], 75,
                   figures=r"bench: (tokens_per_second|gemm_share|gemm_peak_gflops) ([\d.]+)")
        no_torch = self.why_no_torch()
        for model, mode in (("0.6b", "autocast"), ("0.6b", "bf16"), ("1.7b", "autocast"),
                            ("1.7b", "bf16")):
            if model == "1.7b" and mode == "autocast":
                yield Step("model on 2 and 4 ranks", [
                    self.program("mpi_model", "logits*", ranks=2),
                    self.program("mpi_model", "logits*", ranks=4)], 90, 60)
                yield self.sanitizer("racecheck", kernel, 60)
                yield self.sanitizer("synccheck", kernel, 40)
            yield Step(f"PyTorch {model} {mode}", [
                [sys.executable, str(ROOT / "validation/gpu_speed/pytorch_train.py"), model, mode,
                 "--warmup", "5", "--steps", "10"]], 120, why_not=no_torch,
                figures=r"pytorch: (tokens_per_second|gemm_share|gemm_peak_tflops|batch) ([\d.]+)")

    def sanitizer(self, tool, kernel, limit_s):
        places = ["/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer"]
        found = shutil.which("compute-sanitizer", path=os.pathsep.join(
            [os.environ.get("PATH", ""), *places]))
        why_not = "" if found else "no compute-sanitizer on this machine"
        commands = []
        for command in kernel if found else []:
            # In front of the program itself, inside the bundle's environment.
            at = 1 if self.options.programs is None else 0
            commands.append([*command[:at], found, "--tool", tool, "--error-exitcode", "99",
                             "--print-limit", "10", str((ROOT / "bin" if at else pathlib.Path())
                                                        / command[at]), *command[at + 1:]])
        return Step(f"compute-sanitizer {tool}", commands, limit_s, 30,
                    why_not or ("" if kernel else "no cases"))

    def why_no_torch(self):
        code = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)"
        try:
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
        except subprocess.TimeoutExpired:
            return "importing torch takes more than a minute"
        return "" if done.returncode == 0 else "no PyTorch that sees a GPU"

    # Results

    def do(self, step):
        start = time.monotonic()
        left = self.end - start
        slow = 4 if self.emulated else 1
        result = {"step": step.name, "seconds": 0.0, "figures": {}, "result": "", "note": ""}
        if step.why_not:
            result.update(result="skipped", note=step.why_not)
        elif left < LEAST_S:
            result.update(result="skipped", note="no time left")
        else:
            self.log.write(f"\n===== {step.name} =====\n")
            self.attempt(step, start + min(slow * step.limit_s, left), slow * step.each_s,
                         result)
        result["seconds"] = round(time.monotonic() - start, 1)
        self.results.append(result)
        self.write()
        print(f"{result['result']:>10}  {result['seconds']:6.1f} s  {step.name}  {self.notes(result)}",
              flush=True)

    def attempt(self, step, end, each_s, result):
        num_good, wrong = 0, []
        for command in step.commands:
            limit = min(each_s, end - time.monotonic())
            if limit < 1:
                result["note"] = f"{len(step.commands) - num_good - len(wrong)} not reached; "
                break
            status, text = self.run(command, limit)
            if status == 0:
                num_good += 1
            else:
                wrong.append(f"{command[-1]}: {status}, \"{gist(text)}\"")
            for name, value in re.findall(step.figures, text) if step.figures else []:
                result["figures"][name] = float(value)
        if len(step.commands) > 1:
            result["note"] += f"{num_good} of {len(step.commands)} good"
        if wrong:
            result["note"] += ("; " if result["note"] else "") + "; ".join(wrong)
        complete = num_good == len(step.commands)
        result["result"] = "passed" if complete else "FAILED" if wrong else "incomplete"
        if step.name == "machine" and wrong:
            result["result"] = "incomplete"

    @staticmethod
    def notes(result):
        figures = ", ".join(f"{name} {value:,g}" for name, value in result["figures"].items())
        return "; ".join(text for text in (figures, result["note"]) if text)

    def comparisons(self):
        figures = {r["step"]: r["figures"].get("tokens_per_second") for r in self.results}
        for model in MODELS:
            ours = figures.get(f"bench {model}")
            theirs = max((figures.get(f"PyTorch {model} {mode}") or 0.0
                          for mode in ("autocast", "bf16")), default=0.0)
            if ours and theirs and not self.emulated:
                yield f"Qwen3-{model}: {ours / theirs:.3f} times PyTorch, one round of each"
        attention = {name: ms for r in self.results if r["step"].startswith("attention of")
                     for name, ms in r["figures"].items()}
        for name, ms in attention.items():
            provider, _, which = name.partition(" ")
            bound = next((b for n, b in attention.items() if n.split(" ")[0] == "cudnn"
                          and ("backward" in n) == ("backward" in which)), None)
            if bound and provider != "cudnn":
                yield (f"attention {which or 'forward'}: {provider} takes {ms / bound:.3f} times "
                       "cuDNN's time, one round")

    def write(self):
        lines = ["| step | result | seconds | |", "|---|---|---|---|"]
        for r in self.results:
            note = self.notes(r).replace("|", "/")
            lines.append(f"| {r['step']} | {r['result']} | {r['seconds']:.1f} | {note} |")
        lines += ["", *self.comparisons()]
        (self.output / "summary.md").write_text("\n".join(lines) + "\n")
        (self.output / "summary.json").write_text(json.dumps(self.results, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--only", default="", help="steps whose name this matches")
    parser.add_argument("--skip", default="^$", help="but not those")
    parser.add_argument("--programs", type=pathlib.Path, help="a build folder; else the bundle's")
    parser.add_argument("--backend", choices=("cuda", "emulated"), default="cuda")
    options = parser.parse_args()
    if options.programs is not None:
        options.programs = options.programs.resolve()
        os.environ.update(ESPALIER_BINARY=str(options.programs / "espalier"),
                          ESPALIER_FIXTURES=str(ROOT / "tests/fixtures"),
                          OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    session = Session(options)
    for step in session.steps():
        if re.search(options.only, step.name) and not re.search(options.skip, step.name):
            session.do(step)
    print("\n" + (session.output / "summary.md").read_text()
          if session.results else "no step has such a name")
    sys.exit(1 if any(r["result"] == "FAILED" for r in session.results) else 0)


if __name__ == "__main__":
    main()
