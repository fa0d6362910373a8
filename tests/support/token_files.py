"""Token files as other programs write them, from the layouts that they document: Megatron-LM's
indexed dataset (megatron/core/datasets/indexed_dataset.py) and llm.c's dev/data/data_common.py.
And token shards, read without Espalier."""
import array
import pathlib
import re
import struct
import subprocess
import tempfile

CODES = {"uint8": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5, "uint16": 8}
LETTERS = {"uint8": "B", "int8": "b", "int16": "h", "int32": "i", "int64": "q", "uint16": "H",
           "uint32": "I"}
LLMC = {"gpt-2": (20240520, 1, "uint16"), "llama-3": (20240801, 7, "uint32")}


def packed(ids, dtype):
    return struct.pack(f"<{len(ids)}{LETTERS[dtype]}", *ids)


def write_megatron(prefix, documents, dtype="int32"):
    """`documents`: each a list of sequences, which are lists of ids. Returns the .idx."""
    sequences = [sequence for document in documents for sequence in document]
    width = struct.calcsize(LETTERS[dtype])
    pointers, ends, at, count = [], [0], 0, 0
    for sequence in sequences:
        pointers.append(at)
        at += width * len(sequence)
    for document in documents:
        count += len(document)
        ends.append(count)
    pathlib.Path(f"{prefix}.bin").write_bytes(b"".join(packed(s, dtype) for s in sequences))
    index = pathlib.Path(f"{prefix}.idx")
    index.write_bytes(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, CODES[dtype], len(sequences),
                                                   len(ends))
                      + packed([len(s) for s in sequences], "int32") + packed(pointers, "int64")
                      + packed(ends, "int64"))
    return index


def write_llmc(path, ids, model="gpt-2"):
    """`ids`: the stream, with what stands between documents."""
    magic, version, dtype = LLMC[model]
    path = pathlib.Path(path)
    path.write_bytes(struct.pack("<256i", magic, version, len(ids), *[0] * 253)
                     + packed(ids, dtype))
    return path


def h5dump(*words):
    return subprocess.run(["h5dump", *map(str, words)], check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def read_shard(path):
    """Documents, as lists of ids, and what the shard says of itself."""
    numbers = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, letter in (("tokens", "I"), ("documents", "Q")):
            h5dump("-d", name, "-b", "LE", "-o", f"{folder}/{name}", path)
            numbers[name] = array.array(letter, pathlib.Path(folder, name).read_bytes()).tolist()
    ends = [*numbers["documents"], len(numbers["tokens"])]
    documents = [numbers["tokens"][a:b] for a, b in zip(ends, ends[1:])]
    about = {}
    for name in ("tokenizer", "vocabulary", "end_of_text", "num_bytes", "num_tokens",
                 "num_documents", "split"):
        about[name] = re.search(r"\(0\): (.*)", h5dump("-a", name, path))[1]
    return documents, about


def read_shards(folder):
    """Of every shard in a folder, by name."""
    return {path.name: read_shard(path) for path in sorted(pathlib.Path(folder).glob("*.h5"))}
