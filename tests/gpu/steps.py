"""The steps of a session on a GPU, in the order of their worth (session.py)."""
import dataclasses
import math
import os
import pathlib
import re
import shutil
import sys

from processes import Command, said_by

ROOT = pathlib.Path(__file__).resolve().parents[2]
RIGHT, FAST, BESIDE, WHOLE = 1, 2, 3, 4  # parts of a session in several calls
SPEED = r"bench: (tokens_per_second|gemm_share|gemm_peak_gflops) ([\d.]+)"
PYTORCH_SPEED = r"pytorch: (tokens_per_second|gemm_share|gemm_peak_tflops|batch) ([\d.]+)"
SYSTEM = """uname -a; ldd --version | head -1; nproc --all; free -g; df -h /tmp /dev/shm
ls /sys/class/net; cat /sys/class/net/lo/flags; printenv LD_LIBRARY_PATH
for tool in nvcc ncu nsys compute-sanitizer cuda-gdb mpirun; do command -v $tool; done; true"""
GPU = ("name,driver_version,memory.total,memory.used,clocks.sm,clocks.max.sm,clocks.mem,"
       "power.limit,temperature.gpu,mig.mode.current,ecc.mode.current,compute_mode")
PYTHON = """import sys, torch
print(sys.version)
print('torch', torch.__version__, 'CUDA', torch.version.cuda, 'cuDNN',
      torch.backends.cudnn.version(), 'NCCL', torch.cuda.nccl.version())
import transformers
print('transformers', transformers.__version__)"""


@dataclasses.dataclass
class Step:
    name: str
    commands: list              # of Command; a failure does not stop the others
    limit_s: float              # for all commands
    parts: tuple = (RIGHT,)
    each_s: float = 1e9         # for one of them
    silence_s: float = 1e9      # a command that says nothing for so long hangs
    at_once: int = 1            # commands at one time: where no speed is measured
    why_not: str = ""           # not empty: skipped
    figures: object = None      # regular expression with a name and a value
    rows: bool = False          # what is said has a table of operators
    judge: object = None        # texts of the commands -> a note, "wrong: ..." when they disagree
    optional: bool = False      # a failure is none of the program's


def losses_of(text):
    """{step: loss} of `espalier bench`, as text."""
    return dict(re.findall(r"step +(\d+)  loss ([\d.a-z]+)", text))


def same_losses(texts):
    """The first two runs have the same bits, as far as they are printed, and the others, by other
    kernels, the same losses up to the rounding of bf16."""
    losses = [losses_of(text) for text in texts]
    if not all(losses) or len({len(each) for each in losses}) > 1:
        return f"wrong: no losses to compare: {losses}"
    if not all(math.isfinite(float(loss)) for each in losses for loss in each.values()):
        return f"wrong: losses are no numbers: {losses}"
    if losses[0] != losses[1]:
        return f"wrong: two runs differ: {losses[0]} and {losses[1]}"
    worst = max((abs(float(a) - float(b)) / float(b) for other in losses[2:]
                 for a, b in zip(other.values(), losses[0].values())), default=0.0)
    if not worst <= 2e-3:
        return f"wrong: losses of other kernels are off by {worst:.2g}: {losses}"
    return f"the same bits twice, other kernels' losses within {worst:.1e}"


class Steps:
    def __init__(self, options):
        self.programs = options.programs.resolve() if options.programs else None
        self.emulated = options.backend == "emulated"
        self.backend = f"device.backend={options.backend}"
        self.kernels = "unit_kernels_cuda" if self.emulated else "gpu_kernels_cuda"
        if self.programs:
            os.environ.update(ESPALIER_BINARY=str(self.programs / "espalier"),
                              ESPALIER_FIXTURES=str(ROOT / "tests/fixtures"),
                              OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")

    def program(self, name, *arguments, ranks=1):
        """The words that start a program of the bundle, or of the build."""
        words = [name, *map(str, arguments)]
        if self.programs is None:
            return [str(ROOT / "run.sh"), *(["-n", str(ranks)] if ranks > 1 else []), *words]
        words[0] = str(self.programs / name)
        if ranks > 1:
            words = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *words]
        return words

    def inside(self, *words):
        """A foreign program with the bundle's libraries."""
        return [*([] if self.programs else [str(ROOT / "run.sh")]), *words]

    def cases(self, program, which, begins=""):
        """Test cases of a program, by name, and why there are none. Each gets a process of its own:
        a kernel that fails takes the process's GPU with it."""
        try:
            status, said = said_by(self.program(program, which, "--list-test-names-only"), 60)
        except OSError as error:
            return [], str(error)
        if status is None:
            return [], "listing the cases takes more than a minute"
        names = [line.strip() for line in said.splitlines() if line.strip()]
        names = [name for name in names if name.startswith(begins)]
        # Catch takes commas and brackets of a name for its own.
        words = [re.sub(r"([,\[])", r"\\\1", name) for name in names]
        told = said.strip().splitlines()
        return words, "" if names else f"no cases: {told[-1] if told else 'nothing is said'}"

    def bench(self, model, *more):
        """Whole steps, or operators."""
        words, keys = list(more), []
        while words and "=" not in words[0]:
            keys.append(words.pop(0))
        return Command(self.program("espalier", "bench", *keys, *self.input(model), self.backend,
                                    *words), label=" ".join(["bench", *keys, model, *words]))

    def input(self, model):
        if not self.emulated:
            return [ROOT / f"inputs/bench/gpu-qwen3-{model}.toml"]
        experts = ("model.model_type=qwen3_moe", "model.num_experts=4",
                   "model.num_experts_per_tok=2", "model.moe_intermediate_size=32")
        return [ROOT / "inputs/tests/tiny.toml", "bench.warmup_steps=1", "bench.steps=1",
                "training.dtype=bfloat16", "model.head_dim=64", "training.sequence_length=8",
                "training.loss_chunk_tokens=8", "training.global_batch_size=1",
                *(experts if model == "moe" else ())]

    def all(self):
        operators, no_operators = self.cases(self.kernels, "[operators]", "CUDA ")
        large, no_large = self.cases(self.kernels, "[large]", "CUDA ")
        kernel = [Command(self.program(self.kernels, name), label=name, has_cases=True)
                  for name in operators]
        model, no_model = self.cases("mpi_model", "*", "logits" if self.emulated else "")
        if self.emulated:
            no_large = "takes hours on the emulated GPU"

        yield Step("machine", [
            Command(["nvidia-smi"]), Command(["nvidia-smi", f"--query-gpu={GPU}", "--format=csv"]),
            Command(self.program("espalier", "--version")),
            Command(self.inside("sh", "-c", SYSTEM), label="system"),
            Command([sys.executable, "-c", PYTHON], label="Python")], 60,
            (RIGHT, FAST, BESIDE, WHOLE), each_s=30, at_once=5, optional=True)
        yield Step("first light: a tiny model", [Command(self.program(
            "espalier", "bench", ROOT / "inputs/tests/tiny.toml", self.backend,
            "bench.warmup_steps=2", "bench.steps=2"), label="bench tiny")], 60, silence_s=30,
            figures=r"bench: (tokens_per_second) ([\d.]+)")
        yield Step("operators beside the host's", kernel, 120, each_s=60, silence_s=15, at_once=4,
                   why_not=no_operators)
        yield Step("attention of 0.6b by provider", [self.bench("0.6b", "attention")], 45,
                   (RIGHT, FAST, BESIDE), silence_s=30,
                   figures=r"bench: attention ([^:]+): ([\d.]+) ms")
        yield Step("large operators beside the host's", [
            Command(self.program(self.kernels, name), label=name, has_cases=True)
            for name in large], 90, each_s=60, silence_s=40, at_once=2, why_not=no_large)
        yield Step("model on 1 rank", [Command(self.program("mpi_model", name), label=name)
                                       for name in model], 120, each_s=40, at_once=4,
                   why_not=no_model)
        yield self.sanitizer("memcheck", kernel, 90, (RIGHT,))

        yield Step("bench 0.6b", [self.bench("0.6b")], 75, (FAST, BESIDE), silence_s=40,
                   figures=SPEED)
        yield Step("operators of 0.6b", [self.bench("0.6b", "operators")], 60, (FAST,),
                   silence_s=60, rows=True)
        yield Step("bench moe", [self.bench("moe")], 90, (FAST, BESIDE), silence_s=60,
                   figures=SPEED)
        yield Step("operators of moe", [self.bench("moe", "operators")], 75, (FAST,), silence_s=75,
                   rows=True)
        few = ("bench.warmup_steps=1", "bench.steps=2")
        yield Step("losses of 0.6b twice, and by other kernels", [
            self.bench("0.6b", *few), self.bench("0.6b", *few),
            self.bench("0.6b", *few, "device.attention=mma"),
            self.bench("0.6b", *few, "device.attention=reference"),
        ], 120, (FAST,), each_s=45, judge=same_losses)
        yield Step("bench 1.7b", [self.bench("1.7b")], 75, (FAST, BESIDE), silence_s=40,
                   figures=SPEED)

        yield from self.pytorch()

        test = ROOT / "tests/gpu/test_training.py"
        yield Step("whole runs", [
            Command(self.inside(sys.executable, "-B", str(test), f"Training.{case}"), label=case)
            for case in re.findall(r"def (test_\w+)", test.read_text())], 200, (WHOLE,), each_s=150,
            at_once=1 if self.emulated else 4)
        yield Step("model on 2 and 4 ranks", [
            Command(self.program("mpi_model", "logits*,experts: logits*" if not self.emulated
                                 else "logits*", ranks=ranks), label=f"{ranks} ranks")
            for ranks in (2, 4)], 120, (WHOLE,), each_s=60, silence_s=50)
        yield self.sanitizer("racecheck", kernel, 90, (WHOLE,))
        yield self.sanitizer("synccheck", kernel, 60, (WHOLE,))
        yield self.counters()

    def pytorch(self):
        speed = ROOT / "validation/gpu_speed"
        no_torch = self.why_no_torch()
        yield Step("attention in PyTorch", [Command(
            [sys.executable, "-B", str(speed / "pytorch_attention.py")], label="attention")], 60,
            (BESIDE,), why_not=no_torch, figures=r"pytorch: attention ([^:]+): ([\d.]+) ms")
        for model, mode in (("0.6b", "autocast"), ("moe", "autocast"), ("0.6b", "bf16"),
                            ("1.7b", "autocast"), ("1.7b", "bf16")):
            script = "pytorch_experts.py" if model == "moe" else "pytorch_train.py"
            words = [mode] if model == "moe" else [model, mode]
            words = [sys.executable, "-B", str(speed / script), *words, "--warmup", "5",
                     "--steps", "10"]
            yield Step(f"PyTorch {model} {mode}", [Command(words, label=f"{model} {mode}")], 150,
                       (BESIDE,), why_not=no_torch, figures=PYTORCH_SPEED)

    def tool(self, name):
        return shutil.which(name, path=os.pathsep.join(
            [os.environ.get("PATH", ""), "/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer",
             "/opt/nvidia/nsight-compute"]))

    def under(self, words, *tool):
        """A program under a tool, which stands in front of it, inside the bundle's environment."""
        at = 1 if self.programs is None else 0
        program = ROOT / "bin" / words[at] if at else words[at]
        return [*words[:at], *tool, str(program), *words[at + 1:]]

    def sanitizer(self, tool, kernel, limit_s, parts):
        found = self.tool("compute-sanitizer")
        commands = [Command(self.under(c.words, found, "--tool", tool, "--error-exitcode", "99",
                                       "--print-limit", "10"), label=c.label, has_cases=True)
                    for c in kernel] if found else []
        return Step(f"compute-sanitizer {tool}", commands, limit_s, parts, each_s=60, at_once=4,
                    why_not="no compute-sanitizer on this machine" if not found else
                    "" if kernel else "no cases")

    def counters(self):
        """Nsight Compute on the kernels of most worth, one launch of each."""
        found = self.tool("ncu")
        options = ["--clock-control", "none", "--kernel-name-base", "demangled"]
        for section in ("SpeedOfLight", "LaunchStats", "Occupancy", "WarpStateStats",
                        "MemoryWorkloadAnalysis", "SchedulerStats", "InstructionStats"):
            options += ["--section", section]
        commands = []
        for kernels, count, what, model in (
                ("wgmma_forward", 1, "attention", "0.6b"),
                ("wgmma_ordered", 1, "attention", "0.6b"),
                (r"wgmma_grouped.*\(.*GroupedKind\)0", 1, "operators", "moe"),
                (r"wgmma_grouped.*\(.*GroupedKind\)2", 1, "operators", "moe"),
                ("rmsnorm|cross_entropy|qk_norm_rope|adamw|swiglu", 10, "operators", "0.6b")):
            command = self.bench(model, what)
            commands.append(Command(self.under(command.words, found or "", *options, "-k",
                                               f"regex:{kernels}", "-c", str(count)),
                                    label=kernels))
        return Step("Nsight Compute", commands, 120, (WHOLE,), each_s=60, optional=True,
                    why_not="" if found and not self.emulated else "no ncu on this machine")

    @staticmethod
    def why_no_torch():
        code = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)"
        status, _ = said_by([sys.executable, "-c", code], 60)
        if status is None:
            return "importing torch takes more than a minute"
        return "" if status == 0 else "no PyTorch that sees a GPU"
