#!/usr/bin/env python3
"""How long SlimPajama-627B takes, from rates that were measured; see README.md.

    slimpajama.py [--nodes 16] [--cores 112] [--threads 8] [--encode 100] [--unpack 550]
        [--parse 370] [--together 0.9] [--read-gbs 20] [--write-gbs 10] [--look-ms 4]

MB/s of text, per thread: --encode (bench tokenizer, cold), --unpack (zstd -d, one thread), --parse
(JSON lines to text). --together: what a core reaches when all of a node work, of what it does
alone. --read-gbs, --write-gbs: of the file system, to all nodes together. --look-ms: to open a file
and see its first bytes, twice, which one process does before the work."""
import argparse

# https://huggingface.co/datasets/cerebras/SlimPajama-627B: files and packed bytes. Text: 4 bytes
# per token as in DKYoon/SlimPajama-6B, a hundredth of it (23.9 GB, 5,489,000 documents).
FILES, PACKED_BYTES, TOKENS = 59_166, 895e9, 627e9
TEXT_BYTES = 4.0 * TOKENS
TOKEN_BYTES = 4            # of an id in a shard
SHARD_TOKENS = 100e6       # tokenize.shard_tokens of inputs/data/slimpajama.toml


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("nodes", 16), ("cores", 112), ("threads", 8)):
        parser.add_argument("--" + name, type=int, default=value)
    for name, value in (("encode", 100), ("unpack", 550), ("parse", 370), ("together", 0.9),
                        ("read-gbs", 20), ("write-gbs", 10), ("look-ms", 4)):
        parser.add_argument("--" + name, type=float, default=value)
    how = parser.parse_args()

    ranks = how.nodes * (how.cores // how.threads)
    # A rank: one thread at a time reads, all that do not read encode (src/tokenization/
    # pipeline.hpp): seconds of one thread per MB, and MB/s.
    reading = 1 / how.unpack + 1 / how.parse
    everything = reading + 1 / how.encode
    by_reader, by_threads = how.together / reading, how.together * how.threads / everything
    of_rank = min(by_reader, by_threads)
    work = TEXT_BYTES / (of_rank * 1e6 * ranks)
    last_unit = SHARD_TOKENS * TEXT_BYTES / TOKENS / (of_rank * 1e6)
    read = PACKED_BYTES / (how.read_gbs * 1e9)
    write = TOKENS * TOKEN_BYTES / (how.write_gbs * 1e9)
    look = FILES * how.look_ms / 1e3

    print(f"{how.nodes} nodes of {how.cores} cores: {ranks} ranks of {how.threads} threads; "
          f"{TEXT_BYTES / 1e12:.2f} TB of text, {TOKENS * TOKEN_BYTES / 1e12:.2f} TB of ids\n")
    print("| what | MB/s of text of a rank | all ranks, GB/s | minutes |")
    print("|---|---|---|---|")
    for name, rate in (("one thread unpacks and parses", by_reader), ("all threads, all work",
                                                                     by_threads)):
        print(f"| {name} | {rate:.0f} | {rate * ranks / 1e3:.1f} | "
              f"{TEXT_BYTES / (rate * 1e6 * ranks) / 60:.1f} |")
    print(f"| file system reads {how.read_gbs:g} GB/s | | "
          f"{how.read_gbs * TEXT_BYTES / PACKED_BYTES:.1f} | {read / 60:.1f} |")
    print(f"| file system writes {how.write_gbs:g} GB/s | | "
          f"{how.write_gbs * TEXT_BYTES / TOKENS / TOKEN_BYTES:.1f} | {write / 60:.1f} |")
    print(f"| rank 0 looks at {FILES:,} files | | | {look / 60:.1f} |")
    print(f"| the last unit, which others wait for, at most | | | {last_unit / 60:.1f} |")
    slowest = max(work, read, write)
    name = {work: "the processors", read: "reading", write: "writing"}[slowest]
    print(f"\n{(look + slowest + last_unit) / 3600:.2f} hours together; limited by {name}. The "
          f"processors alone take {work / 3600:.2f} hours and want "
          f"{PACKED_BYTES / work / 1e9:.1f} GB/s read and {TOKENS * TOKEN_BYTES / work / 1e9:.1f} GB/s written, "
          f"{PACKED_BYTES / work / how.nodes / 1e9:.2f} and "
          f"{TOKENS * TOKEN_BYTES / work / how.nodes / 1e9:.2f} GB/s of a node.")


if __name__ == "__main__":
    main()
