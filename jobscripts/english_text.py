#!/usr/bin/env python3
"""Makes plain English text from the dictionaries that Debian ships (packages dict-gcide, dict-wn).

Purpose  About 62 MB of real English for the first run: the Collaborative International Dictionary
         of English (Webster 1913 and later work) and WordNet 3.0. Both are free to use; their
         licences are in /usr/share/doc/dict-gcide and /usr/share/doc/dict-wn.
Usage    english_text.py OUTPUT_DIRECTORY
Writes   gcide.txt, wn.txt: one document per dictionary entry, divided by a line `%%`;
         validation.txt: the entries of one headword in a hundred, left out of the other two. Both
         dictionaries' entries of a headword are on the same side, as they say similar things.

A dictd dictionary is one text (.dict.dz, readable by gzip) and an index of (headword, offset,
length); several headwords may share an entry. Left out: the entries 00-* about the database itself,
the licence preface that no index line points to, and entries that repeat another one's definition
under another headword (WordNet prints a definition once per synonym; repeated text would put the
validation set's sentences into the training set and flatter model and compressors alike).
"""
import gzip
import pathlib
import sys
import zlib

DICTIONARIES = pathlib.Path("/usr/share/dictd")
SEPARATOR = "\n%%\n"
DIGITS = {digit: value for value, digit in enumerate(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}


def number(text):
    """dictd writes offsets in base 64, the most significant digit first."""
    value = 0
    for digit in text:
        value = 64 * value + DIGITS[digit]
    return value


def entries(name):
    """The distinct entries of a dictionary in the order of its text."""
    text = gzip.open(DICTIONARIES / f"{name}.dict.dz").read()
    places = set()
    with open(DICTIONARIES / f"{name}.index", encoding="utf-8", errors="replace") as index:
        for line in index:
            headword, offset, length = line.rstrip("\n").split("\t")[:3]
            if not headword.startswith("00-"):
                places.add((number(offset), number(length)))
    for offset, length in sorted(places):
        try:
            yield text[offset:offset + length].decode("utf-8")
        except UnicodeDecodeError:  # three entries of GCIDE
            continue


def is_validation(entry):
    """By the headword: the first line, in GCIDE up to the pronunciation between backslashes."""
    headword = entry.partition("\n")[0].partition("\\")[0].strip().lower()
    return zlib.crc32(headword.encode()) % 100 == 0


def write(path, documents):
    """Under a temporary name first, so that an interrupted run leaves no half file behind."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(SEPARATOR.join(documents) + "\n", encoding="utf-8")
    size = partial.stat().st_size
    partial.rename(path)
    print(f"{path}: {len(documents)} documents, {size / 1e6:.1f} MB")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: english_text.py OUTPUT_DIRECTORY")
    output = pathlib.Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    seen = set()
    validation = []
    for name in ("gcide", "wn"):
        documents = []
        for entry in entries(name):
            entry = entry.strip("\n")
            definition = entry.partition("\n")[2]
            if not definition or definition in seen or SEPARATOR in entry:
                continue
            seen.add(definition)
            (validation if is_validation(entry) else documents).append(entry)
        write(output / f"{name}.txt", documents)
    write(output / "validation.txt", validation)


if __name__ == "__main__":
    main()
