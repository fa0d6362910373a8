#!/usr/bin/env python3
"""Times the texts without an end of corpora.hard at one and four megabytes: four times the text must
take about four times as long; see README.md.

    growth.py <tokenizer_ids program> <tokenizer.json>... [--rounds 3] [--cases spaces digits]
"""
import argparse
import pathlib
import re
import struct
import subprocess
import tempfile

import corpora

SIZES = [1_000_000, 4_000_000]


def seconds_of(program, tokenizer_file, text, folder):
    """Processor seconds of the first pass, the cache of words empty."""
    source = folder / "document"
    source.write_bytes(struct.pack("<I", len(text)) + text)
    out = subprocess.run([program, tokenizer_file, source, folder / "ids"], check=True,
                         capture_output=True, text=True).stdout
    return float(re.search(r"cold: .* processor ([\d.]+) s", out)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("tokenizers", nargs="+")
    parser.add_argument("--rounds", type=int, default=3, help="the best of these counts")
    parser.add_argument("--cases", nargs="+", help="names in corpora.hard; all unless given")
    arguments = parser.parse_args()
    texts = [dict(corpora.hard(size)) for size in SIZES]
    names = ["/".join(pathlib.Path(file).parts[-2:-1]) for file in arguments.tokenizers]
    print("| text | " + " | ".join(f"{n}: ms/MB at 1 MB, 4 MB, ratio" for n in names) + " |")
    print("|---" * (1 + len(names)) + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for case in arguments.cases or texts[0]:
            cells = []
            for file in arguments.tokenizers:
                best = [min(seconds_of(arguments.program, file, text[case], pathlib.Path(folder))
                            for _ in range(arguments.rounds)) for text in texts]
                per_mb = [1e9 * s / len(t[case]) for s, t in zip(best, texts)]
                cells.append(f"{per_mb[0]:.0f}, {per_mb[1]:.0f}, {best[1] / best[0]:.1f}")
            print(f"| {case} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
