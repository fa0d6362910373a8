#!/usr/bin/env python3
"""Compares the ids of Espalier's tokenizer with Hugging Face `tokenizers`; see README.md.

    pip install tokenizers==0.23.3
    compare.py <tokenizer_ids program> <corpus> <tokenizer.json>...

<corpus>: entries (a document per dictionary entry), chunks (documents of about 1 MB),
code-points (every code point by itself and between letters), adversarial (seeded mixes).
"""
import argparse
import gzip
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata

import numpy
from tokenizers import Tokenizer

DICTIONARIES = ["gcide", "wn"]
FOLDER = pathlib.Path("/usr/share/dictd")


def dictionary(name):
    return gzip.open(FOLDER / f"{name}.dict.dz").read()


def index_number(text):
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    value = 0
    for digit in text:
        value = value * 64 + digits.index(digit)
    return value


def entries():
    for name in DICTIONARIES:
        text = dictionary(name)
        places = set()
        for line in open(FOLDER / f"{name}.index", encoding="utf-8"):
            _, begin, size = line.rstrip("\n").rsplit("\t", 2)
            places.add((index_number(begin), index_number(size)))
        for begin, size in sorted(places):
            yield text[begin:begin + size]


def chunks():
    for name in DICTIONARIES:
        text = dictionary(name)
        begin = 0
        while begin < len(text):
            end = min(len(text), begin + 1_000_000)
            end = text.find(b"\n", end) + 1 or len(text)
            yield text[begin:end]
            begin = end


def code_points():
    block = []
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000:
            continue
        yield chr(c).encode()
        block.append(f"a{chr(c)}b {chr(c)}1{chr(c)}\n{chr(c)}'{chr(c)}s")
        if len(block) == 256:
            yield " ".join(block).encode()
            block = []


def adversarial():
    rng = random.Random(20240229)
    marks = "\u0301\u0300\u0327\u0323\u0308\u0345\u093C\u3099\u309A\u0334\u20D0\u1DFA\u0898\u1ABF\U00011930\U00011935"
    pools = [
        "abcXYZ'sStTmMdDlLrReEvV\u017F", " \t\n\r\x0b\x0c\x85\xa0\u1680\u2003\u2028\u2029\u3000",
        "0123456789\u0663\u09EA\u2167\xBD\u3007", "!?.,;:'\"()<>[]{}|/\\@#$%^&*-_=+~`",
        marks, "e\u0301o\u0308\u00e9\u212B\u2126\uFB01\u01C4\u1E9B\u0344\u0958\u2ADC",
        "\u1100\u1161\u11A8\uAC00\uAC01\u3131\u3165", "\U0001F469\u200D\U0001F4BB\uFE0F\U0001F1E9",
        "\u4E2D\u6587\u65E5\u672C\u3042\u30A2\u0E01\u0E33\u05D0\u0627\u0431", "\x00\x01\x7f\ufeff\ufffd\u200b",
        "\u09C7\u09BE\u0BC6\u0BBE\u1025\u102E\U00011099\U000110BA\U0001D157\U0001D165\U0001D16E"]
    added = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|end_of_text|>", "<think>",
             "<|endoftext", "<tool_call>", "<|im", "<\u00e9>", "<e\u0301>"]
    moving = [chr(c) for c in range(0x110000) if unicodedata.combining(chr(c))
              or (unicodedata.decomposition(chr(c)) and "<" not in unicodedata.decomposition(chr(c)))]
    moving += list("aeioucsAE\u1100\u1161\u11A8\uAC00\u09C7\u0B47\u1B05\U00011935")
    for _ in range(40_000):
        parts = []
        for _ in range(rng.randint(1, 40)):
            kind = rng.random()
            if kind < 0.05:
                parts.append(rng.choice(added))
            elif kind < 0.10:
                parts.append(chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])))
            elif kind < 0.15:
                parts.append(rng.choice(["it's", "I'LL", "we'VE", "don't", " 's", "'S ", "\r\n", "   "]))
            else:
                parts.append("".join(rng.choices(rng.choice(pools), k=rng.randint(1, 5))))
        yield "".join(parts).encode()
    for _ in range(20_000):  # every mark and every part of a composition that Python knows
        yield "".join(rng.choices(moving, k=rng.randint(2, 12))).encode()
    for _ in range(20_000):  # bytes, most of them ill-formed
        yield bytes(rng.choices(range(256), k=rng.randint(1, 60)))
    leads = b"\xC0\xC1\xC2\xDF\xE0\xED\xEF\xF0\xF4\xF5\xFF\x80\x90\x9F\xA0\xBF\x41"
    for _ in range(20_000):
        yield bytes(rng.choices(leads, k=rng.randint(1, 12)))
    letters = "abcdefghijklmnopqrstuvwxyz"
    yield "".join(rng.choices(letters, k=1_000_000)).encode()
    yield b"a" * 1_000_000
    yield b"ab" * 500_000
    yield b"7" * 100_000
    yield b" " * 100_000
    yield b"\r\n" * 50_000 + b"x"
    yield ("\u0301" * 100_000).encode()
    yield ("\U0001F469\u200D" * 50_000).encode()
    yield b"!" * 100_000
    yield b""
    yield b"\x00" * 1000


CORPORA = {"entries": entries, "chunks": chunks, "code-points": code_points,
           "adversarial": adversarial}


def read_ids(path):
    words = numpy.fromfile(path, dtype="<u4")
    at = 0
    while at < len(words):
        count = int(words[at])
        yield words[at + 1:at + 1 + count]
        at += 1 + count


def compare(program, documents, tokenizer_file, folder):
    source, result = folder / "documents", folder / "ids"
    with open(source, "wb") as file:
        for document in documents:
            file.write(struct.pack("<I", len(document)) + document)
    output = subprocess.run([program, tokenizer_file, source, result], check=True,
                            capture_output=True, text=True).stdout
    print("  " + output.strip().replace("\n", "; "))
    tokenizer = Tokenizer.from_file(tokenizer_file)
    ours = read_ids(result)
    num_ids = num_differing = num_documents = 0
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
            if not numpy.array_equal(found, expected):
                num_documents += 1
                common = min(len(found), len(expected))
                num_differing += int((found[:common] != expected[:common]).sum())
                num_differing += max(len(found), len(expected)) - common
                if num_documents <= 20:
                    d = next((k for k in range(common) if found[k] != expected[k]), common)
                    print(f"  document {first + i}: id {d}: ours {found[d:d + 6].tolist()} "
                          f"theirs {expected[d:d + 6].tolist()} text {text[:60]!r}")
    num_bytes = sum(map(len, documents))
    print(f"  Hugging Face: {num_bytes / 1e6:.1f} MB in {seconds:.2f} s, "
          f"{num_bytes / 1e6 / seconds:.1f} MB/s")
    print(f"  {num_ids:,} ids in {len(documents):,} documents compared, {num_differing:,} differ "
          f"(in {num_documents:,} documents)")
    return num_documents


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("corpus", choices=sorted(CORPORA))
    parser.add_argument("tokenizers", nargs="+")
    arguments = parser.parse_args()
    documents = list(CORPORA[arguments.corpus]())
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for tokenizer in arguments.tokenizers:
            print(f"{arguments.corpus}: {tokenizer}")
            failed += compare(arguments.program, documents, tokenizer, pathlib.Path(folder))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
