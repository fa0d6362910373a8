#!/bin/sh
# Starts a program of this bundle, or another one in its environment:
#   run.sh [-n RANKS] PROGRAM [ARGUMENT]...
root=$(cd "$(dirname "$0")" && pwd)
# Programs and libraries travel compressed (oneDNN alone is 40 MB) and are unpacked by the first
# start.
if [ -f "$root/programs.tar.xz" ]; then
  # Python, because not every tar knows this compression.
  python3 -m tarfile -e "$root/programs.tar.xz" "$root" && rm -f "$root/programs.tar.xz" || exit 74
fi
# cuBLAS, NCCL and cuDNN may be there as Python packages only (nvidia-cublas and others, PyTorch's),
# and so may NVRTC, which cuDNN compiles with: the packages of CUDA 12 have a folder each, those of
# CUDA 13 one for all. They come last: what the system knows goes first.
if [ -z "${ESPALIER_CUDA_LIBRARIES+set}" ]; then
  ESPALIER_CUDA_LIBRARIES=$(python3 -c '
import glob, os, sys
found = []
for path in sys.path:
    for pattern in ("nvidia/*/lib", "torch/lib"):
        for folder in sorted(glob.glob(os.path.join(path, pattern))):
            if any(glob.glob(os.path.join(folder, name + ".so*"))
                   for name in ("libcublasLt", "libnccl", "libcudnn", "libnvrtc")):
                found.append(folder)
print(":".join(dict.fromkeys(found)))' 2>/dev/null)
  export ESPALIER_CUDA_LIBRARIES
fi
libraries="$root/lib"
for more in "${LD_LIBRARY_PATH:-}" "$ESPALIER_CUDA_LIBRARIES"; do
  libraries="$libraries${more:+:$more}"
done
export LD_LIBRARY_PATH="$libraries"
export PATH="$root/bin:$PATH"
export OPAL_PREFIX="$root" PMIX_INSTALL_PREFIX="$root/lib/pmix2" OMPI_MCA_plm=isolated
export OMPI_MCA_mca_base_component_path="$root/lib/openmpi/lib/openmpi3"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export PMIX_MCA_pcompress_base_silence_warning=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1
export ESPALIER_BINARY="$root/bin/espalier" ESPALIER_FIXTURES="$root/tests/fixtures"
ranks=1
if [ "${1:-}" = "-n" ]; then
  ranks=$2
  shift 2
fi
if [ $# = 0 ]; then
  echo "usage: run.sh [-n RANKS] PROGRAM [ARGUMENT]..." >&2
  exit 64
fi
program=$1
shift
if [ -x "$root/bin/$program" ]; then program="$root/bin/$program"; fi
if [ "$ranks" = 1 ]; then exec "$program" "$@"; fi
exec "$root/bin/mpirun" --oversubscribe --bind-to none -n "$ranks" "$program" "$@"
