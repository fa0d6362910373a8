#!/usr/bin/env python3
"""Times tokenizers on the same text and cores, in one run; see README.md.

    pip install tokenizers==0.23.3 tiktoken==0.14.0 gigatoken==0.10.0
    compare.py <espalier program> <folder of make_tokenizers.py>/qwen3 <text file> [--rounds 5]
               [--ids-program build/tokenizer_ids] [--programs espalier gigatoken]
"""
import argparse
import base64
import os
import pathlib
import platform
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time

QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
        r"\s*[\r\n]+|\s+(?!\S)|\s+")


def documents_of(path):
    """As espalier bench tokenizer cuts them: about 1 MB, at line ends."""
    data = pathlib.Path(path).read_bytes()
    at = 0
    while at < len(data):
        end = data.find(b"\n", at + 1_000_000) + 1 or len(data)
        yield data[at:end].decode("utf-8", errors="replace")
        at = end


# A worker per program: `worker <program> <folder> <text> <threads>` prints "cold s" and "warm s".

def worker(program, folder, text, threads):
    documents = list(documents_of(text))
    if program == "tokenizers":
        from tokenizers import Tokenizer
        tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        encode = lambda: tokenizer.encode_batch_fast(documents, add_special_tokens=False)
    elif program == "tiktoken":
        import tiktoken
        lines = pathlib.Path(folder, "qwen.tiktoken").read_text().splitlines()
        ranks = {base64.b64decode(t): int(r) for t, r in (line.split() for line in lines if line)}
        encoding = tiktoken.Encoding("qwen", pat_str=QWEN, mergeable_ranks=ranks, special_tokens={})
        encode = lambda: encoding.encode_ordinary_batch(documents, num_threads=threads)
    else:
        import gigatoken
        tokenizer = gigatoken.Tokenizer(f"{folder}/tokenizer.json")
        data = [d.encode() for d in documents]
        encode = lambda: tokenizer.encode_batch(data, parallel=threads > 1)
    for name in ["cold", "warm"]:
        start = time.perf_counter()
        result = encode()
        print(f"{name} {time.perf_counter() - start}", flush=True)
    print(f"ids {sum(len(e.ids if program == 'tokenizers' else e) for e in result)}")


def timed_worker(program, folder, text, threads, cores):
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM":
                   "true" if threads > 1 else "false"}
    out = subprocess.run([sys.executable, __file__, "worker", program, folder, text, str(threads)],
                         check=True, capture_output=True, text=True, env=environment,
                         preexec_fn=lambda: os.sched_setaffinity(0, cores)).stdout
    found = dict(line.split() for line in out.splitlines())
    return float(found["cold"]), float(found["warm"]), int(found["ids"])


def timed_espalier(program, folder, text, threads, cores, megabytes):
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_PROC_BIND": "false"}
    out = subprocess.run([program, "bench", "tokenizer", f"data.tokenizer={folder}/tokenizer.json",
                          f'tokenize.input=["{text}"]'], check=True, capture_output=True,
                         text=True, env=environment,
                         preexec_fn=lambda: os.sched_setaffinity(0, cores))
    for line in (out.stdout + out.stderr).splitlines():
        match = re.search(r"threads +(\d+) +cold +([\d.]+) MB/s.*warm +([\d.]+) MB/s .*?([\d,]+) ids",
                          line)
        if match and int(match[1]) == threads:
            return (megabytes / float(match[2]), megabytes / float(match[3]),
                    int(match[4].replace(",", "")))
    sys.exit(f"no result of {threads} threads in:\n{out.stdout}{out.stderr}")


def timed_first_use(program, folder, text, cores):
    """Espalier as the others are timed: a new process, the first text that it ever sees."""
    with tempfile.TemporaryDirectory() as scratch:
        source = pathlib.Path(scratch, "documents")
        with open(source, "wb") as file:
            for document in documents_of(text):
                data = document.encode()
                file.write(struct.pack("<I", len(data)) + data)
        out = subprocess.run([program, f"{folder}/tokenizer.json", source, f"{scratch}/ids"],
                             check=True, capture_output=True, text=True,
                             preexec_fn=lambda: os.sched_setaffinity(0, cores)).stdout
    seconds = [float(re.search(rf"{name}: .* MB in ([\d.]+) s", out)[1]) for name in ["cold", "warm"]]
    return *seconds, int(re.search(r"(\d+) ids", out)[1])


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "worker":
        return worker(*sys.argv[2:5], int(sys.argv[5]))
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("folder")
    parser.add_argument("text")
    parser.add_argument("--rounds", type=int, default=5)
    programs = ["espalier", "gigatoken", "tiktoken", "tokenizers"]
    parser.add_argument("--ids-program", help="also time Espalier's tokenizer_ids, on one thread")
    parser.add_argument("--programs", nargs="+", choices=programs, default=programs,
                        help="espalier is always timed; without the slow ones, more rounds")
    arguments = parser.parse_args()
    programs = [p for p in programs if p == "espalier" or p in arguments.programs]
    if arguments.ids_program is not None:
        programs.insert(1, "tokenizer_ids")
    megabytes = sum(len(d.encode()) for d in documents_of(arguments.text)) / 1e6
    cores = sorted(os.sched_getaffinity(0))
    print(f"{megabytes:.1f} MB, {platform.platform()}, cores {cores}; MB/s, median of "
          f"{arguments.rounds} interleaved rounds (best)\n")
    print("| threads | program | cold | warm | ids | cold, relative to Espalier |")
    print("|---|---|---|---|---|---|", flush=True)
    for threads in [1, 2]:
        if threads > len(cores):
            break
        # The last cores: the first one also serves the machine's interrupts.
        pinned = set(cores[-threads:])
        if threads > 1 and "tokenizer_ids" in programs:
            programs.remove("tokenizer_ids")
        times = {program: [] for program in programs}
        for number in range(arguments.rounds):
            for program in programs:
                load = os.getloadavg()[0]
                if program == "espalier":
                    result = timed_espalier(arguments.program, arguments.folder, arguments.text,
                                            threads, pinned, megabytes)
                elif program == "tokenizer_ids":
                    result = timed_first_use(arguments.ids_program, arguments.folder,
                                             arguments.text, pinned)
                else:
                    result = timed_worker(program, arguments.folder, arguments.text, threads, pinned)
                times[program].append(result)
                print(f"round {number + 1}, {threads} threads, {program}: {result[0]:.3f} s, "
                      f"{result[1]:.3f} s; load before {load:.1f}", file=sys.stderr, flush=True)
        base = statistics.median(t[0] for t in times["espalier"])
        for program in programs:
            cells = []
            for k in (0, 1):
                seconds = [t[k] for t in times[program]]
                cells.append(f"{megabytes / statistics.median(seconds):.1f} "
                             f"({megabytes / min(seconds):.1f})")
            cold = statistics.median(t[0] for t in times[program])
            print(f"| {threads} | {program} | {cells[0]} | {cells[1]} | {times[program][0][2]:,} "
                  f"| {base / cold:.3f} |", flush=True)


if __name__ == "__main__":
    main()
