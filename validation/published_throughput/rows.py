"""Measured throughputs that others have published, and how the runs were laid out.

tokens/s per GPU. `assumed`: what the source does not say and this table had to guess.
"""
from dataclasses import dataclass, field


@dataclass
class Model:
    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    head_dim: int = 128
    qk_norm: bool = False


LLAMA3_8B = Model(4096, 14336, 32, 32, 8, 128256)
LLAMA3_70B = Model(8192, 28672, 80, 64, 8, 128256)
LLAMA3_405B = Model(16384, 53248, 126, 128, 8, 128256)
QWEN3_8B = Model(4096, 12288, 36, 32, 8, 151936, qk_norm=True)
QWEN3_32B = Model(5120, 25600, 64, 64, 8, 151936, qk_norm=True)
# Two matrices of F in the MLP, where ours has three: two thirds of F are the same FLOPs.
NEMOTRON_15B = Model(6144, 24576 * 2 // 3, 32, 48, 8, 256000)
GPT3_175B = Model(12288, 49152 * 2 // 3, 96, 96, 96, 50304)


@dataclass
class Row:
    program: str
    name: str
    device: str
    model: Model
    length: int
    gpus: int
    measured: float
    tensor: int = 1
    context: int = 1
    pipeline: int = 1
    virtual: int = 1
    micro: int = 1
    micro_batches: int = 1  # of a step and data rank
    fsdp: bool = False      # ZeRO-3 in place of ZeRO-1
    recompute: str = "none"  # "half": every second product, as torchtitan's selective mode
    overlap_tensor: bool = False
    fp8: bool = False
    assumed: list = field(default_factory=list)


MB, TT, MT, NV = "Megatron", "torchtitan", "MaxText", "NVIDIA"
ROWS = [
    Row(MB, "Llama-3.1-8B, 8 GPUs", "h100", LLAMA3_8B, 8192, 8, 10682, context=2,
        micro_batches=32, assumed=["32 micro-batches"]),
    Row(MB, "Llama-3.1-8B, 128 GPUs", "h100", LLAMA3_8B, 8192, 128, 10630, context=2,
        micro_batches=32, assumed=["32 micro-batches"]),
    Row(MB, "Llama-3.1-70B, 64 GPUs", "h100", LLAMA3_70B, 8192, 64, 1118, tensor=4, pipeline=4,
        context=2, virtual=5, micro_batches=64, assumed=["64 micro-batches"]),
    Row(MB, "Llama-3.1-405B, 512 GPUs", "h100", LLAMA3_405B, 8192, 512, 207, tensor=8, pipeline=8,
        context=2, virtual=8, micro_batches=64, assumed=["64 micro-batches", "8 virtual stages"]),
    Row(MB, "Nemotron-4-15B, 16 GPUs", "h100", NEMOTRON_15B, 4096, 16, 6159, tensor=2, micro=2,
        micro_batches=4, assumed=["4 micro-batches"]),
    Row(MB, "GPT-3 175B", "h100", GPT3_175B, 2048, 128, 493, tensor=4, pipeline=8, virtual=6,
        micro_batches=64, assumed=["128 GPUs", "64 micro-batches of one sequence"]),
    Row(MT, "Llama-3-70B, FSDP 256", "h100", LLAMA3_70B, 8192, 256, 1061, fsdp=True,
        recompute="full", assumed=["full recompute", "S 8192"]),
    Row(TT, "Llama-3.1-8B, FSDP 8", "h100-500w", LLAMA3_8B, 8192, 8, 6667, fsdp=True, micro=2,
        recompute="half", assumed=["2 sequences"]),
    Row(TT, "Llama-3.1-8B, FSDP 128", "h100-500w", LLAMA3_8B, 8192, 128, 6514, fsdp=True, micro=2,
        recompute="half", assumed=["2 sequences"]),
    Row(TT, "Llama-3.1-8B, FSDP 8 x TP 8", "h100-500w", LLAMA3_8B, 8192, 64, 4378, fsdp=True,
        tensor=8, micro=16, recompute="half", assumed=["16 sequences"]),
    Row(TT, "the same, asynchronous TP", "h100-500w", LLAMA3_8B, 8192, 64, 4809, fsdp=True,
        tensor=8, micro=16, recompute="half", overlap_tensor=True, assumed=["16 sequences"]),
    Row(TT, "Llama-3.1-70B, FSDP 32 x TP 8", "h100-500w", LLAMA3_70B, 8192, 256, 597, fsdp=True,
        tensor=8, micro=16, recompute="full", assumed=["16 sequences"]),
    Row(TT, "the same, asynchronous TP", "h100-500w", LLAMA3_70B, 8192, 256, 652, fsdp=True,
        tensor=8, micro=16, recompute="full", overlap_tensor=True, assumed=["16 sequences"]),
    Row(TT, "Qwen3-32B, FSDP 8", "h100-500w", QWEN3_32B, 4096, 8, 1874, fsdp=True, micro=2,
        recompute="full", assumed=["2 sequences"]),
    Row(TT, "Qwen3-32B, FSDP 8 x TP 8", "h100-500w", QWEN3_32B, 4096, 64, 873, fsdp=True,
        tensor=8, micro=2, recompute="full", assumed=["2 sequences"]),
    Row(TT, "Qwen3-32B, FSDP 8 x TP 4", "h100-500w", QWEN3_32B, 4096, 32, 1139, fsdp=True,
        tensor=4, micro=2, recompute="full", assumed=["2 sequences"]),
    Row(MB, "Llama-3.1-8B FP8, 8 GPUs", "h100", LLAMA3_8B, 8192, 8, 14048, context=2, fp8=True,
        micro_batches=32, assumed=["32 micro-batches", "context 2 as in bf16"]),
    Row(MB, "Llama-3.1-8B FP8, FSDP 8", "h100", LLAMA3_8B, 8192, 8, 14451, fsdp=True, fp8=True,
        micro_batches=16, assumed=["16 micro-batches"]),
    Row(MT, "Llama-3-70B FP8, FSDP 128", "h100", LLAMA3_70B, 8192, 128, 1806, fsdp=True, fp8=True,
        recompute="full", assumed=["full recompute", "S 8192"]),
    Row(TT, "Llama-3.1-8B float8, FSDP 8", "h100-500w", LLAMA3_8B, 8192, 8, 8532, fsdp=True,
        micro=2, recompute="half", fp8=True, assumed=["2 sequences"]),
    Row(MB, "Qwen3-8B, 16 GPUs", "h200", QWEN3_8B, 4096, 16, 10100, micro_batches=64,
        assumed=["as on the H100"]),
    Row(MB, "Qwen3-8B, 16 GPUs", "b300", QWEN3_8B, 4096, 16, 19900, micro_batches=64,
        assumed=["as on the H100"]),
    Row(MB, "Llama-3-8B FP8, DP 8", "b200", LLAMA3_8B, 8192, 8, 30624, micro=2, micro_batches=8,
        fp8=True, assumed=["8 micro-batches"]),
    Row(MB, "Llama-3-8B MXFP8, DP 8", "b200", LLAMA3_8B, 8192, 8, 29521, micro=2, micro_batches=8,
        fp8=True, assumed=["8 micro-batches"]),
    # 1,304 TFLOP/s of the full-square convention.
    Row(NV, "Nemotron-4-15B", "gb200", NEMOTRON_15B, 4096, 16, 1304e12 / 97.85e9, micro=2,
        micro_batches=4, assumed=["16 GPUs, data-parallel", "4 micro-batches"]),
    Row(NV, "Llama-3.1-405B, 128 GPUs", "gb200", LLAMA3_405B, 8192, 128, 438, tensor=4, pipeline=8,
        context=2, virtual=8, micro_batches=64, assumed=["TP 4 PP 8 CP 2 VP 8, 64 micro-batches"]),
    Row(NV, "Llama-3.1-405B FP8", "b200", LLAMA3_405B, 8192, 128, 661, tensor=4, pipeline=8,
        context=2, virtual=8, micro_batches=64, fp8=True,
        assumed=["128 GPUs", "8 virtual stages", "64 micro-batches"]),
    Row(TT, "Llama-3-8B, FSDP 64", "a100-80", LLAMA3_8B, 8192, 64, 2973, fsdp=True, recompute="half",
        assumed=["1 sequence"]),
]
# It set the one constant of the model that is not from a data sheet or a benchmark of a kernel
# (kSustainedShare of src/plan/time/gpu_step_time.cpp), and is not compared.
CALIBRATION = Row(MB, "Qwen3-8B, 16 GPUs", "h100", QWEN3_8B, 4096, 16, 10456, micro_batches=64)
# Rows of the same sources that this model has no term for.
NOT_MODELLED = ["Qwen3-30B-A3B (experts)"]
