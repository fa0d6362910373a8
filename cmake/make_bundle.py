#!/usr/bin/env python3
"""Gathers programs and everything they load into one folder that runs on a machine with nothing but
a driver, the CUDA libraries, Python and a C++ runtime: no MPI, HDF5 or compiler installed.

    make_bundle.py <output folder> <source folder> <mpirun> <program>...

`cmake --build build --target bundle` calls it. The other machine's processor may be an older one.
"""
import lzma
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

MOST_BYTES = 60 << 20
# Part of every system (another version of these beside its own does harm), or of the driver and of
# CUDA, whose libraries the program loads by name when it needs them.
OF_THE_SYSTEM = re.compile(
    r"ld-linux|lib(c|m|dl|rt|pthread|util|resolv|stdc\+\+|gcc_s|z|cuda|cudart|cublas\w*|nccl|cudnn\w*"
    r"|nvidia-\w+)\.so")
FOLDERS = ["inputs", "tests/fixtures", "tests/gpu", "tests/support", "validation/gpu_speed",
           "validation/support"]
# Plug-ins of Open MPI for networks: one machine has shared memory and TCP.
NOT_NEEDED = re.compile(r"ofi|psm|ucx|openib|usnic|portals|slurm|tm\b|sge|lsf|alps|cuda|gpfs|lustre|pvfs")


def libraries_of(file):
    """Paths of the shared libraries that `file` loads, itself and through others."""
    out = subprocess.run(["ldd", file], capture_output=True, text=True).stdout
    missing = re.findall(r"(\S+) => not found", out)
    if missing:
        sys.exit(f"make_bundle: {file} needs {', '.join(missing)}, not found on this machine")
    return [pathlib.Path(p) for p in re.findall(r"=> (/\S+)", out)]


def install(file, folder, strip=True):
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    shutil.copy(file.resolve(), target)
    target.chmod(0o755)
    if strip:
        subprocess.run(["strip", "--strip-unneeded", target], check=True)
    return target


def main():
    output, source, mpirun, *programs = [pathlib.Path(a) for a in sys.argv[1:]]
    shutil.rmtree(output, ignore_errors=True)
    loaders = [install(p, output / "bin") for p in programs]
    loaders += [install(mpirun.parent / name, output / "bin") for name in ["mpirun", "orted"]]

    mpi_library = next(p for p in libraries_of(programs[0]) if p.name.startswith("libmpi.so"))
    lib = mpi_library.resolve().parent
    while not (lib / "openmpi").is_dir():
        lib = lib.parent
    for plugin in sorted((lib / "openmpi/lib/openmpi3").glob("*.so")):
        if not NOT_NEEDED.search(plugin.name):
            loaders.append(install(plugin, output / "lib/openmpi/lib/openmpi3"))
    pmix = next((p for p in [lib / "pmix2", pathlib.Path("/usr/lib/x86_64-linux-gnu/pmix2")]
                 if p.is_dir()), None)
    if pmix is not None:
        for plugin in sorted((pmix / "lib/pmix").glob("*.so")):
            if not NOT_NEEDED.search(plugin.name):
                loaders.append(install(plugin, output / "lib/pmix2/lib/pmix"))
        if (pmix / "share").is_dir():
            shutil.copytree(pmix / "share", output / "lib/pmix2/share")
    share = pathlib.Path("/usr/share/openmpi")
    if share.is_dir():
        shutil.copytree(share, output / "share/openmpi")

    for library in sorted({p for file in loaders for p in libraries_of(file)}):
        if not OF_THE_SYSTEM.match(library.name):
            install(library, output / "lib")
    for folder in FOLDERS:
        shutil.copytree(source / folder, output / folder,
                        ignore=shutil.ignore_patterns("__pycache__", "CMakeLists.txt"))
    install(source / "cmake/run_bundle.sh", output, strip=False).rename(output / "run.sh")

    packed = ["bin", "lib"]
    # The programs have the kernels and much else in common, which only a dictionary that is larger
    # than one of them finds.
    how = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 1 << 27}]
    with lzma.open(output / "programs.tar.xz", "wb", filters=how) as archive:
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for folder in packed:
                tar.add(output / folder, folder)
    for folder in packed:
        shutil.rmtree(output / folder)
    size = sum(p.stat().st_size for p in output.rglob("*") if p.is_file())
    print(f"{output}: {size / (1 << 20):.1f} MiB of at most {MOST_BYTES >> 20}")
    if size > MOST_BYTES:
        sys.exit("make_bundle: too large")


main()
