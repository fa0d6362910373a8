#!/usr/bin/env python3
"""What a fixed order of additions to dQ costs attention's gradients in five products, beside seven
products without any: blocks on multiprocessors, event by event.

Usage: order.py [--quick]

Needs nothing but Python. The model, its calibration and their sources stand in README.md beside
this file, "Backward in five products". --quick leaves out the longest sequence.
"""
import argparse
import heapq

KEYS = 128  # of a block
QUERIES = 64  # of a turn
GROUP = 4
HEAD_DIM = 128

# Cycles of a turn of 64 queries and 128 keys by the tightest resource: instructions.py.
FIVE = 3216
SEVEN_KEYS = 2048
SEVEN_QUERIES = 3072  # 128 queries, 128 keys

# Of FlashAttention-3 on H100: head_dim 128, causal, 8192 tokens, 16 heads, batch 2.
PUBLISHED = {"any order": 2.391, "keys first to last, queries first to last": 3.804,
             "keys first to last, queries last to first": 2.962,
             "keys last to first (SPT)": 2.900}
MULTIPROCESSORS = 132
CLOCK = 1.75e9  # assumed, under load
EDGE = 3000  # cycles before the first turn of a block and after its last one, assumed
TURN = 4080  # fitted: any order
CHAIN = 4600  # fitted: from one block's right to add to a tile to the next one's
HELD = 1900  # a place of a tile that is added in any order: 32 KiB at 30 GB/s of a multiprocessor


def simulate(blocks, slots, turn, chain, held=None, places=1):
    """Cycles until all blocks are done. A block is a list of (tile, rank): a turn's part of a tile
    is added when `rank` parts have been. Blocks begin in their order, wherever one has ended.
    held: how long a part takes its place where any order will do; None: the order counts, and the
    place is free when the next may add."""
    ordered = held is None
    held = chain if ordered else held
    added, released, waiting = {}, {}, {}
    turn_of, free, computed = [0] * len(blocks), [None] * len(blocks), [0.0] * len(blocks)
    events, begun, end = [], 0, 0.0

    def begin(time):
        nonlocal begun
        if begun < len(blocks):
            free[begun] = [0.0] * places
            heapq.heappush(events, (time + EDGE / 2 + turn, begun))
            begun += 1

    def add(time, block):
        nonlocal end
        t = turn_of[block]
        if ordered:
            tile, rank = blocks[block][t]
            added[tile] = rank + 1
            next_one = waiting.pop((tile, rank + 1), None)
            if next_one is None:
                released[tile, rank + 1] = time + chain
            else:
                heapq.heappush(events, (time + chain, ~next_one))
        turn_of[block] += 1
        free[block][t % places] = time + held
        if turn_of[block] == len(blocks[block]):
            done = time + held + EDGE / 2
            end = max(end, done)
            begin(done)
        else:
            heapq.heappush(events, (max(computed[block] + turn, free[block][(t + 1) % places]),
                                    block))

    for _ in range(slots):
        begin(0.0)
    while events:
        time, block = heapq.heappop(events)
        if block < 0:  # it may add
            add(time, ~block)
            continue
        computed[block] = time
        tile, rank = blocks[block][turn_of[block]]
        if ordered and rank > 0:
            if added.get(tile, 0) < rank:
                waiting[tile, rank] = block
                continue
            may_add = released.pop((tile, rank))
            if may_add > time:
                heapq.heappush(events, (may_add, ~block))
                continue
        add(time, block)
    assert not waiting, "blocks wait for each other"
    return end


def sections(heads, at_once):
    return [range(first, min(heads, first + at_once)) for first in range(0, heads, at_once)]


def published_order(length, heads, at_once, last_keys_first=False, last_queries_first=False):
    """FlashAttention-3's: a block takes one head."""
    num_keys, num_queries, of_keys = length // KEYS, length // QUERIES, KEYS // QUERIES
    blocks = []
    for section in sections(heads, at_once):
        for i in range(num_keys):
            n = num_keys - 1 - i if last_keys_first else i
            for head in section:
                queries = range(n * of_keys, num_queries)
                if last_queries_first:
                    queries = reversed(queries)
                blocks.append([((head, m), m // of_keys - n if last_keys_first else n)
                               for m in queries])
    return blocks


def group_order(length, kv_heads, at_once):
    """A block takes a group: the last queries first, for each the heads of the group."""
    num_keys, num_queries, of_keys = length // KEYS, length // QUERIES, KEYS // QUERIES
    return [[((head, g, m), n) for m in range(num_queries - 1, n * of_keys - 1, -1)
             for g in range(GROUP)]
            for section in sections(kv_heads, at_once) for n in range(num_keys)
            for head in section]


def head_by_head(length, kv_heads, at_once):
    """The same, but one head of the group after the other."""
    num_keys, num_queries, of_keys = length // KEYS, length // QUERIES, KEYS // QUERIES
    return [[((head, g, m), n) for g in range(GROUP)
             for m in range(num_queries - 1, n * of_keys - 1, -1)]
            for section in sections(kv_heads, at_once) for n in range(num_keys)
            for head in section]


def independent(turns_of_blocks, turn):
    slots = [0.0] * MULTIPROCESSORS
    for turns in turns_of_blocks:
        heapq.heapreplace(slots, slots[0] + EDGE + turns * turn)
    return max(slots)


def seven(length, kv_heads, fraction):
    """Cycles of both kernels in seven products, at this fraction of their bounds."""
    num_keys, num_queries = length // KEYS, length // QUERIES
    head_bytes = 2 * 2 * length * HEAD_DIM
    fitting = (32 << 20) // head_bytes
    heads = kv_heads * GROUP
    keys = [GROUP * (num_queries - 2 * n)
            for section in sections(kv_heads, max(1, fitting // GROUP))
            for n in range(num_keys) for _ in section]
    queries = [n + 1 for section in sections(heads, min(heads, GROUP * max(1, fitting)))
               for n in reversed(range(num_keys)) for _ in section]
    return (independent(keys, SEVEN_KEYS / fraction) +
            independent(queries, SEVEN_QUERIES / fraction))


def calibrate():
    orders = {"keys first to last, queries first to last": {},
              "keys first to last, queries last to first": {"last_queries_first": True},
              "keys last to first (SPT)": {"last_keys_first": True}}
    length, heads, at_once = 8192, 32, 4
    print("| order of FlashAttention-3 | published ms | simulated ms |\n|---|---|---|")
    for name, published in PUBLISHED.items():
        cycles = (simulate(published_order(length, heads, at_once), MULTIPROCESSORS, TURN, 0, HELD)
                  if name not in orders else
                  simulate(published_order(length, heads, at_once, **orders[name]),
                           MULTIPROCESSORS, TURN, CHAIN))
        print(f"| {name} | {published:.3f} | {1e3 * cycles / CLOCK:.3f} |")


def compare(lengths):
    print("\n| kv heads | tokens | seven: ms | TFLOP/s | five, any order | one place | two places "
          "| TFLOP/s | head by head | seven / five |\n|---|---|---|---|---|---|---|---|---|---|")
    for kv_heads, length in lengths:
        flop = 5 * length**2 * HEAD_DIM * kv_heads * GROUP
        at_once = 8
        blocks = group_order(length, kv_heads, at_once)
        ms = {name: 1e3 / CLOCK * cycles for name, cycles in {
            "slow": seven(length, kv_heads, 0.73), "fast": seven(length, kv_heads, FIVE / TURN),
            "any": simulate(blocks, MULTIPROCESSORS, TURN, 0, HELD),
            "one": simulate(blocks, MULTIPROCESSORS, TURN, CHAIN),
            "two": simulate(blocks, MULTIPROCESSORS, TURN, CHAIN, places=2),
            "heads": simulate(head_by_head(length, kv_heads, at_once), MULTIPROCESSORS, TURN,
                              CHAIN, places=2)}.items()}
        rate = {name: flop / value / 1e9 for name, value in ms.items()}
        print(f"| {kv_heads} | {length} | {ms['fast']:.2f} to {ms['slow']:.2f} | "
              f"{rate['slow']:.0f} to {rate['fast']:.0f} | {ms['any']:.2f} | {ms['one']:.2f} | "
              f"{ms['two']:.2f} | {rate['two']:.0f} | {ms['heads']:.2f} | "
              f"{ms['fast'] / ms['two']:.2f} to {ms['slow'] / ms['two']:.2f} |", flush=True)


def sensitivity():
    """How much slower additions, and turns, may be."""
    length, kv_heads = 4096, 8
    blocks = group_order(length, kv_heads, 8)
    fast = seven(length, kv_heads, FIVE / TURN)
    print("\nSeven / five, 8 kv heads, 4096 tokens, two places, seven at its faster:\n\n"
          "| turn \\ chain | 2300 | 4600 | 6900 | 9200 |\n|---|---|---|---|---|")
    for turn in (TURN, 4300, 4500):
        row = [fast / simulate(blocks, MULTIPROCESSORS, turn, chain, places=2)
               for chain in (2300, 4600, 6900, 9200)]
        print(f"| {turn} | " + " | ".join(f"{x:.2f}" for x in row) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    calibrate()
    lengths = [(8, 4096), (32, 4096), (8, 8192)]
    compare(lengths if arguments.quick else lengths + [(8, 16384), (8, 32768)])
    sensitivity()


if __name__ == "__main__":
    main()
