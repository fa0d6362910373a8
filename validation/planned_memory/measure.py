#!/usr/bin/env python3
"""Planned memory beside that of runs on this host: arenas to the byte, processes within 5 %.

    measure.py PROGRAM

For every combination below: what `espalier plan memory` says, and what `espalier bench` holds after two whole
steps. Then whole trainings, which also read text, write checkpoints and validate. Prints a row for each and, last,
the largest errors. Status 1 when arenas differ or a process misses its plan by more than 5 %."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIB = 2**20
MODELS = {
    "qwen3 55M": dict(model_type="qwen3", vocab_size=32768, hidden_size=512, intermediate_size=2048,
                      num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=4, head_dim=64,
                      tie_word_embeddings=True),
    "qwen3 48M": dict(model_type="qwen3", vocab_size=40009, hidden_size=384, intermediate_size=1152,
                      num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=2, head_dim=64,
                      tie_word_embeddings=False),
    "llama 43M": dict(model_type="llama", vocab_size=16000, hidden_size=512, intermediate_size=1792,
                      num_hidden_layers=7, num_attention_heads=8, num_key_value_heads=8, head_dim=64,
                      tie_word_embeddings=False),
    "gpt2 45M": dict(model_type="gpt2", vocab_size=20257, hidden_size=576, intermediate_size=2304,
                     num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=8, head_dim=72,
                     tie_word_embeddings=True),
}


def case(model, dtype, mode, ranks=1, tensor=1, sequence=512, micro=2, zero=1, sp=True, documents=False,
         blocks=None, chunk=0):
    return dict(model=model, dtype=dtype, mode=mode, ranks=ranks, tensor=tensor, sequence=sequence,
                micro=micro, zero=zero, sp=sp, documents=documents, blocks=blocks, chunk=chunk)


Q, U, L, G = MODELS
CASES = [
    case(Q, "bfloat16", "none"), case(Q, "bfloat16", "selective"), case(Q, "bfloat16", "mlp"),
    case(Q, "bfloat16", "full"), case(Q, "bfloat16", "budget", blocks=[2, 2, 2, 2]),
    case(Q, "float32", "none", micro=1), case(Q, "float32", "full", micro=4, chunk=512),
    case(U, "bfloat16", "none", sequence=1024), case(U, "float32", "mlp", documents=True),
    case(U, "float32", "budget", blocks=[4, 0, 0, 4]),
    case(L, "bfloat16", "none", micro=4), case(L, "float32", "selective", sequence=256),
    case(L, "bfloat16", "budget", blocks=[0, 3, 4, 0], documents=True),
    case(G, "bfloat16", "none"), case(G, "float32", "full"), case(G, "bfloat16", "mlp", micro=3),
    # two ranks
    case(Q, "bfloat16", "none", 2), case(Q, "bfloat16", "mlp", 2, zero=0), case(Q, "float32", "full", 2),
    case(Q, "bfloat16", "none", 2, 2), case(Q, "float32", "none", 2, 2, sp=False),
    case(Q, "bfloat16", "budget", 2, 2, blocks=[1, 0, 7, 0], micro=4),
    case(U, "bfloat16", "selective", 2, 2, documents=True), case(U, "float32", "none", 2),
    case(L, "bfloat16", "full", 2, 2, micro=8), case(L, "float32", "mlp", 2, zero=0),
    case(G, "float32", "none", 2, 2), case(G, "bfloat16", "budget", 2, blocks=[0, 8, 0, 0]),
    # four ranks
    case(Q, "bfloat16", "none", 4, 2), case(Q, "float32", "selective", 4, 4),
    case(U, "float32", "full", 4), case(U, "bfloat16", "none", 4, 2, sp=False, zero=0, micro=4),
    case(L, "float32", "none", 4, 2, micro=4), case(L, "float32", "budget", 4, 4, blocks=[2, 1, 2, 2],
                                                   micro=8),
    case(G, "float32", "mlp", 4, 2), case(G, "float32", "none", 4, zero=0),
]


def environment():
    result = dict(os.environ, OMP_NUM_THREADS="1", OMPI_MCA_mpi_yield_when_idle="1",
                  OMPI_MCA_btl_vader_single_copy_mechanism="none")
    if os.geteuid() == 0:
        result.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    return result


def run(*words):
    done = subprocess.run(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, env=environment())
    if done.returncode != 0:
        sys.exit(f"status {done.returncode}: {' '.join(map(str, words))}\n{done.stdout}")
    return done.stdout


def keys_of(c):
    model = dict(MODELS[c["model"]], max_position_embeddings=2048)
    values = {f"model.{key}": value for key, value in model.items()}
    values |= {"training.dtype": c["dtype"], "training.sequence_length": c["sequence"],
               "training.micro_batch_size": c["micro"],
               "training.global_batch_size": c["micro"] * c["ranks"] // c["tensor"],
               "training.loss_chunk_tokens": c["chunk"], "parallel.tensor": c["tensor"],
               "parallel.data": c["ranks"] // c["tensor"], "parallel.sequence_parallel": c["sp"],
               "parallel.zero_stage": c["zero"], "data.document_mask": c["documents"],
               "memory.recompute": c["mode"], "device.backend": "host",
               "bench.warmup_steps": 1, "bench.steps": 1}
    if c["blocks"]:
        values["memory.recompute_blocks"] = c["blocks"]
    return [f"{key}={str(value).lower() if isinstance(value, bool) else value}"
            for key, value in values.items()]


def plan_of(program, *keys):
    """Bytes of the arenas, and of all that is known beforehand."""
    rows = json.loads(run(program, "plan", "memory", *keys, "--format", "json"))
    arenas = sum(row["largest_rank_bytes"] for row in rows if row["kind"] == "planned")
    total, = (row["largest_rank_bytes"] for row in rows if row["kind"] == "total")
    return arenas, total


def print_row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def bench_rows(program):
    worst, differing = 0.0, 0
    print_row("model", "ranks", "S, micro-batch", "dtype", "recompute", "other", "arenas planned",
              "arenas held", "process planned, MiB", "process held, MiB", "plan over process")
    print_row(*["---"] * 11)
    for c in CASES:
        keys = keys_of(c)
        arenas, total = plan_of(program, *keys)
        ranks = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", c["ranks"]] * (c["ranks"] > 1)
        said = run(*ranks, program, "bench", *keys)
        held = int(re.search(r"bench: arena_bytes (\d+)", said)[1])
        resident = int(re.search(r"bench: resident_bytes (\d+)", said)[1])
        error = total / resident - 1.0
        worst, differing = max(worst, abs(error)), differing + (held != arenas)
        others = [*(["ZeRO-0"] if c["zero"] == 0 and c["ranks"] > c["tensor"] else []),
                  *(["sequence parallel"] if c["sp"] and c["tensor"] > 1 else []),
                  *(["documents"] if c["documents"] else [])]
        grid = f"{c['tensor']} x {c['ranks'] // c['tensor']}"
        print_row(c["model"], grid, f"{c['sequence']}, {c['micro']}", c["dtype"],
                  c["mode"] if not c["blocks"] else "blocks " + "/".join(map(str, c["blocks"])),
                  ", ".join(others), f"{arenas:,}", f"{held:,}", f"{total / MIB:.1f}",
                  f"{resident / MIB:.1f}", f"{100 * error:+.1f} %")
    return worst, differing


def resident_of(*words):
    """Largest resident size of a process of one rank."""
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(list(map(str, words)), stdout=said, stderr=said, env=environment())
        _, status, usage = os.wait4(child.pid, 0)
        if status != 0:
            said.seek(0)
            sys.exit(f"status {status}: {' '.join(map(str, words))}\n{said.read()}")
    return 1024 * usage.ru_maxrss


def training_rows(program, folder):
    tokenizer = ROOT / "inputs/tokenizers/english-8k/tokenizer.json"
    text = folder / "text.txt"
    text.write_text("\f".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))) * 8)
    run(program, "tokenize", f"data.tokenizer={tokenizer}", f'tokenize.input=["{text}"]',
        f"tokenize.output={folder / 'data'}", 'tokenize.document_separator="\\f"',
        "tokenize.validation_fraction=0.1")
    worst = 0.0
    print()
    print_row("whole training, one rank", "process planned, MiB", "process held, MiB",
              "plan over process")
    print_row(*["---"] * 4)
    for number, (model, dtype, mode, more) in enumerate((
            (Q, "bfloat16", "none", []), (U, "float32", "mlp", []),
            (Q, "bfloat16", "full", ["checkpoint.interval=2"]),
            (L, "float32", "none", ["checkpoint.interval=2", "checkpoint.staging=wait"]),
            (G, "bfloat16", "selective", ["validation.interval=2"]))):
        c = case(model, dtype, mode)
        keys = [*keys_of(c), *more, f"data.train={folder / 'data'}", "training.steps=4",
                f"data.validation={folder / 'data'}", f"data.tokenizer={tokenizer}",
                f"output.directory={folder / f'run{number}'}"]
        _, total = plan_of(program, *keys)
        resident = resident_of(program, "train", *keys)
        error = total / resident - 1.0
        copies = "checkpoint.interval=2" in more and "checkpoint.staging=wait" not in more
        if not copies:  # a save copies at most what is planned
            worst = max(worst, abs(error))
        print_row(f"{model}, {dtype}, {mode}{''.join(', ' + key for key in more)}", f"{total / MIB:.1f}",
                  f"{resident / MIB:.1f}", f"{100 * error:+.1f} %")
    return worst


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    worst, differing = bench_rows(program)
    with tempfile.TemporaryDirectory() as folder:
        worst_training = training_rows(program, pathlib.Path(folder))
    print(f"\n{len(CASES)} combinations: {differing} whose arenas differ from the plan; processes miss theirs "
          f"by at most {100 * worst:.1f} %, trainings by {100 * worst_training:.1f} %")
    sys.exit(1 if differing or max(worst, worst_training) > 0.05 else 0)


if __name__ == "__main__":
    main()
