#!/usr/bin/env python3
"""Compares the ids of Espalier's tokenizer with Hugging Face `tokenizers`; see README.md.

    pip install tokenizers==0.23.3 numpy
    compare.py <tokenizer_ids program> <tokenizer.json>... [--corpora entries code ...]
               [--packages <folder>] [--reference <tokenizer.json>]
"""
import argparse
import pathlib
import platform
import struct
import subprocess
import sys
import tempfile
import time

import numpy
import tokenizers
from tokenizers import Tokenizer

import corpora


def read_blocks(path):
    """Per document a u32 number of u32 words and the words."""
    words = numpy.fromfile(path, dtype="<u4")
    at = 0
    while at < len(words):
        count = int(words[at])
        yield words[at + 1:at + 1 + count]
        at += 1 + count


def read_texts(path):
    """Per document a u32 number of bytes and the bytes."""
    data = pathlib.Path(path).read_bytes()
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        yield data[at + 4:at + 4 + size]
        at += 4 + size


def is_round_trip(tokenizer, text, decoded, has_added):
    """decode(encode(text)) is the text, or its NFC. Between added tokens each part is normalised by
    itself, so that a mark after one does not compose with it: there the normal forms are compared."""
    if tokenizer.normalizer is None:
        return decoded == text
    normal = tokenizer.normalizer.normalize_str(text)
    return decoded == normal or has_added and tokenizer.normalizer.normalize_str(decoded) == normal


class Texts:
    """What ids stand for, when the text itself cannot come back: a normaliser changed it, or an added
    token took white space."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.added = {i: t.content for i, t in tokenizer.get_added_tokens_decoder().items()}
        self.is_of_bytes = "ByteLevel" in type(tokenizer.decoder).__name__
        printable = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b]
        others = [b for b in range(256) if b not in printable]
        self.byte_of = {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}

    def decode(self, ids):
        ids = [int(i) for i in ids]
        if not self.is_of_bytes:
            return self.tokenizer.decode(ids, skip_special_tokens=False)
        # Hugging Face's decoder takes the letters of an added token for bytes, too.
        parts = (self.added[i].encode() if i in self.added else
                 bytes(self.byte_of[c] for c in self.tokenizer.id_to_token(i)) for i in ids)
        return b"".join(parts).decode("utf-8", errors="replace")


def compare(program, documents, tokenizer_file, reference_file, folder):
    source, result, decoded = folder / "documents", folder / "ids", folder / "decoded"
    with open(source, "wb") as file:
        for document in documents:
            file.write(struct.pack("<I", len(document)) + document)
    run = subprocess.run([program, tokenizer_file, source, result, decoded], check=True,
                         capture_output=True, text=True)
    speeds = dict(line.split(": ", 1) for line in run.stdout.splitlines() if ": " in line)
    tokenizer = Tokenizer.from_file(reference_file)
    texts_of_ids = Texts(tokenizer)
    added_ids = numpy.array(sorted(tokenizer.get_added_tokens_decoder()), dtype="<u4")
    ours, ours_decoded = read_blocks(result), read_texts(decoded)
    num_ids = num_differing = num_documents = num_unlike = 0
    seconds = 0.0
    for first in range(0, len(documents), 2000):
        texts = [d.decode("utf-8", errors="replace") for d in documents[first:first + 2000]]
        start = time.perf_counter()
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        seconds += time.perf_counter() - start
        for i, (text, theirs) in enumerate(zip(texts, encodings)):
            expected = numpy.array(theirs.ids, dtype="<u4")
            found = next(ours)
            num_ids += len(expected)
            has_added = bool(numpy.isin(found, added_ids).any())
            back = next(ours_decoded).decode("utf-8", errors="replace")
            if not (is_round_trip(tokenizer, text, back, has_added) or
                    back == texts_of_ids.decode(expected)):
                num_unlike += 1
                if num_unlike <= 5:
                    print(f"  document {first + i} decodes to another text: {text[:60]!r}")
            if numpy.array_equal(found, expected):
                continue
            num_documents += 1
            common = min(len(found), len(expected))
            num_differing += int((found[:common] != expected[:common]).sum())
            num_differing += max(len(found), len(expected)) - common
            if num_documents <= 5:
                d = next((k for k in range(common) if found[k] != expected[k]), common)
                print(f"  document {first + i}: id {d}: ours {found[d:d + 6].tolist()} "
                      f"theirs {expected[d:d + 6].tolist()} text {text[:60]!r}")
    megabytes = sum(map(len, documents)) / 1e6
    return {"MB": megabytes, "ids": num_ids, "differing": num_differing, "unlike": num_unlike,
            "speeds": [speeds[p].split(", ")[1] for p in ("cold", "warm")],
            "theirs": megabytes / seconds}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("tokenizers", nargs="+")
    parser.add_argument("--corpora", nargs="+", choices=list(corpora.CORPORA),
                        default=list(corpora.CORPORA))
    parser.add_argument("--packages", type=pathlib.Path,
                        help="folder of unpacked Debian packages: edict, manpages-*, unicode-data")
    parser.add_argument("--reference", help="the tokenizer.json that Hugging Face reads, when it "
                        "cannot read the file itself (a .tiktoken file)")
    arguments = parser.parse_args()
    print(f"tokenizers {tokenizers.__version__}, Python {platform.python_version()}, "
          f"{platform.platform()}\n")
    print("| corpus | tokenizer | MB | ids compared | differing | texts not given back "
          "| MB/s, one thread, cold / warm | Hugging Face, all threads, MB/s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    failed = total = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.corpora:
            documents = corpora.documents(name, arguments.packages)
            for file in arguments.tokenizers:
                r = compare(arguments.program, documents, file, arguments.reference or file,
                            pathlib.Path(folder))
                label = "/".join(pathlib.Path(file).parts[-2:])
                print(f"| {name} | {label} | {r['MB']:.1f} | {r['ids']:,} | {r['differing']:,} "
                      f"| {r['unlike']:,} | {' / '.join(s.split()[0] for s in r['speeds'])} "
                      f"| {r['theirs']:.1f} |", flush=True)
                failed += r["differing"] + r["unlike"]
                total += r["ids"]
    print(f"\n{total:,} ids compared, {'none differs' if not failed else 'SOME DIFFER'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
