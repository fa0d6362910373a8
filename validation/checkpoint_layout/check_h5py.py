#!/usr/bin/env python3
"""Reads a checkpoint with h5py alone and compares it with the files of its ranks.

Usage: check_h5py.py CHECKPOINT [--moved FOLDER] [--equal OTHER]

1. Every tensor of master.h5 is a plain float32 dataset of its global shape under /master, /exp_avg
   and /exp_avg_sq.
2. Put together by hand from the rank files and the index, each is the same bit for bit.
3. With the XXH3 package installed, the checksum of every piece fits.
4. With --moved, the folder is copied there and 1 and 2 are repeated from another working directory.
5. A checkpoint of one shared file (tensors.h5) has plain contiguous datasets; the checksum of every
   rectangle fits. --equal: each tensor is that of OTHER, of any layout and grid, bit for bit.
Exit status 0 when all holds.
"""
import argparse
import os
import shutil
import sys

import h5py
import numpy as np

try:
    import xxhash
except ImportError:
    xxhash = None

FIELDS = ("master", "exp_avg", "exp_avg_sq")


def check(folder):
    num_values = 0
    num_checksums = 0
    with h5py.File(os.path.join(folder, "master.h5"), "r") as master:
        assert master.attrs["format"] == b"espalier checkpoint", master.attrs["format"]
        names = [name.decode() for name in master["index/tensors"][:]]
        shapes = master["index/shapes"][:]
        rectangles = master["index/rectangles"][:]
        sizes = master["index/rank_file_bytes"][:]
        num_ranks = int(master.attrs["num_ranks"])
        assert len(sizes) == num_ranks
        ranks = []
        for rank in range(num_ranks):
            path = os.path.join(folder, f"rank-{rank:05d}.h5")
            assert os.path.getsize(path) == sizes[rank], path
            ranks.append(h5py.File(path, "r"))
        for field_number, field in enumerate(FIELDS):
            assert sorted(master[field].keys()) == sorted(names)
            by_hand = {}
            for name, (rows, cols, _) in zip(names, shapes):
                by_hand[name] = np.full((rows, cols), np.nan, np.float32)
            ordinal = [0] * num_ranks
            for tensor, rank, r0, r1, c0, c1 in rectangles:
                piece = ranks[rank][f"{field}/{names[tensor]}"]
                assert piece.chunks is None and piece.dtype == np.float32
                values = piece[...].reshape(r1 - r0, c1 - c0)
                by_hand[names[tensor]][r0:r1, c0:c1] = values
                if xxhash is not None:
                    stored = int(ranks[rank]["checksums"][ordinal[rank], field_number])
                    assert xxhash.xxh3_64_intdigest(values.tobytes()) == stored, piece.name
                    num_checksums += 1
                ordinal[rank] += 1
            for name, (rows, cols, is_vector) in zip(names, shapes):
                dataset = master[f"{field}/{name}"]
                assert dataset.is_virtual
                assert dataset.dtype == np.float32
                assert dataset.shape == ((rows,) if is_vector else (rows, cols)), name
                wanted = by_hand[name].reshape(dataset.shape)
                # Bits, not values: NaN equals itself here.
                assert np.array_equal(dataset[...].view(np.uint32), wanted.view(np.uint32)), name
                num_values += dataset.size
        step = int(master.attrs["step"])
        grid = master.attrs["grid"].decode()
        for file in ranks:
            file.close()
    print(f"step {step}, {grid}: {len(names)} tensors, {num_values} values, "
          f"{num_checksums} checksums: equal")


def check_shared(folder):
    num_values = num_checksums = 0
    with h5py.File(os.path.join(folder, "tensors.h5"), "r") as file:
        assert file.attrs["layout"] == b"shared", file.attrs["layout"]
        names = [name.decode() for name in file["index/tensors"][:]]
        shapes = file["index/shapes"][:]
        for field_number, field in enumerate(FIELDS):
            assert sorted(file[field].keys()) == sorted(names)
            for name, (rows, cols, is_vector) in zip(names, shapes):
                dataset = file[f"{field}/{name}"]
                assert not dataset.is_virtual and dataset.chunks is None
                assert dataset.shape == ((rows,) if is_vector else (rows, cols)), name
                num_values += dataset.size
            for row, (tensor, _, r0, r1, c0, c1) in enumerate(file["index/rectangles"][:]):
                if xxhash is None:
                    continue
                rows, cols, _ = shapes[tensor]
                values = file[f"{field}/{names[tensor]}"][...].reshape(rows, cols)[r0:r1, c0:c1]
                stored = int(file["checksums"][row, field_number])
                assert xxhash.xxh3_64_intdigest(values.tobytes()) == stored, names[tensor]
                num_checksums += 1
        print(f"step {int(file.attrs['step'])}, {file.attrs['grid'].decode()}, one file: "
              f"{len(names)} tensors, {num_values} values, {num_checksums} checksums: equal")


def tensors_of(folder):
    shared = os.path.join(folder, "tensors.h5")
    return h5py.File(shared if os.path.exists(shared) else os.path.join(folder, "master.h5"), "r")


def check_equal(folder, other):
    num_values = 0
    with tensors_of(folder) as a, tensors_of(other) as b:
        for field in FIELDS:
            assert sorted(a[field].keys()) == sorted(b[field].keys())
            for name in a[field]:
                left, right = a[field][name][...], b[field][name][...]
                assert np.array_equal(left.view(np.uint32), right.view(np.uint32)), name
                num_values += left.size
    print(f"{num_values} values equal those of {other}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("--moved")
    parser.add_argument("--equal")
    options = parser.parse_args()
    if options.equal:
        check_equal(options.checkpoint, options.equal)
    if os.path.exists(os.path.join(options.checkpoint, "tensors.h5")):
        check_shared(options.checkpoint)
        return 0
    check(options.checkpoint)
    if options.moved:
        target = os.path.abspath(options.moved)
        shutil.copytree(options.checkpoint, target)
        os.chdir("/")
        check(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
