#!/usr/bin/env python3
"""JSON lines to token ids on the disk: `espalier tokenize` on two ranks beside Hugging Face
`tokenizers`, fed by Python's json in two processes, and `datatrove` with two tasks
(pip install tokenizers datatrove orjson).

    peers.py PROGRAM TOKENIZER FOLDER TEXT...      [ROUNDS=3]

FOLDER is empty. Each program reads the same two files, one a process, and writes ids as 4 bytes
(datatrove: as it does). Whole processes are timed, with their start and the vocabulary's."""
import importlib.util
import json
import multiprocessing
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

import corpus

ROUNDS = int(os.environ.get("ROUNDS", "3"))
os.environ["TOKENIZERS_PARALLELISM"] = "false"


def hugging_face(tokenizer, path, output):
    import numpy
    import tokenizers
    encoder = tokenizers.Tokenizer.from_file(tokenizer)
    separator = encoder.token_to_id("<|endoftext|>")
    with open(path, "rb") as lines, open(output, "wb") as ids:
        batch = []
        for line in lines:
            batch.append(json.loads(line)["text"])
            if len(batch) == 500:
                write_batch(encoder, batch, separator, ids, numpy)
                batch = []
        write_batch(encoder, batch, separator, ids, numpy)


def write_batch(encoder, batch, separator, ids, numpy):
    for encoded in encoder.encode_batch_fast(batch):
        ids.write(numpy.asarray([*encoded.ids, separator], dtype=numpy.uint32).tobytes())


def run_hugging_face(tokenizer, inputs, output):
    output.mkdir()
    jobs = [multiprocessing.Process(target=hugging_face,
                                    args=(tokenizer, path, output / f"{i}.bin"))
            for i, path in enumerate(inputs)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
        assert job.exitcode == 0


def run_datatrove(tokenizer, inputs, output):
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    LocalPipelineExecutor(
        pipeline=[JsonlReader(str(inputs[0].parent)),
                  DocumentTokenizer(str(output), tokenizer_name_or_path=tokenizer,
                                    eos_token="<|endoftext|>", batch_size=500)],
        tasks=2, workers=2, logging_dir=str(output) + "-logs").run()


def main():
    program, tokenizer, folder, *texts = sys.argv[1:]
    folder = pathlib.Path(folder).absolute()
    (folder / "in").mkdir(parents=True)
    documents = corpus.documents_of(texts)
    half = len(documents) // 2
    inputs = [folder / "in/a.jsonl", folder / "in/b.jsonl"]
    inputs[0].write_bytes(corpus.as_json_lines(documents[:half]))
    inputs[1].write_bytes(corpus.as_json_lines(documents[half:]))
    megabytes = sum(len(document.encode()) for document in documents) / 1e6

    def run_espalier(tokenizer, inputs, output):
        subprocess.run(corpus.command(program, 2, *corpus.arguments(tokenizer, inputs, output)),
                       env=corpus.environment(), check=True, stdout=subprocess.DEVNULL)

    programs = {"espalier": run_espalier, "tokenizers, Python's json": run_hugging_face}
    if importlib.util.find_spec("datatrove"):
        programs["datatrove"] = run_datatrove
    seconds = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, run in programs.items():
            start = time.monotonic()
            run(tokenizer, inputs, folder / "out")
            seconds[name].append(time.monotonic() - start)
            for path in folder.glob("out*"):
                shutil.rmtree(path)
    print(f"{megabytes:.1f} MB of text, {len(documents):,} documents, two processes\n")
    print("| program | seconds, median | MB/s | espalier's rate over its |\n|---|---|---|---|")
    for name, found in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(found, seconds["espalier"]))
        print(f"| {name} | {statistics.median(found):.1f} | "
              f"{megabytes / statistics.median(found):.1f} | {ratio:.1f} |")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
