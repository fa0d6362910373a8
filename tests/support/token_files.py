"""Token files as other programs write them, from the layouts that they document: Megatron-LM's
indexed dataset (megatron/core/datasets/indexed_dataset.py) and llm.c's dev/data/data_common.py.
validation/token_files compares with the programs' own writers."""
import pathlib
import struct

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
