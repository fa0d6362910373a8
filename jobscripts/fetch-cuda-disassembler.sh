#!/usr/bin/env bash
# Fetches NVIDIA's cuobjdump and nvdisasm, with which a test reads the kernels' machine code, where
# the CUDA toolkit at hand does not have them. For x86_64.
#
# Usage:  jobscripts/fetch-cuda-disassembler.sh
# Writes  build/_cuda_disassembler/{nvidia/cu13/bin,licenses}, where CMake looks for them; nothing
#         when they are there. Status 1 when they cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."

version=13.5.37
cuobjdump=38780fee50863252a0b8926357faa91615ca1c8346490563f33a06100cd73f58  # of the wheels
nvdisasm=d3fdbdd49fa53e2e4aacd3db8259d052bd2b049ececdcb69e92e083c6728e7ca
folder=build/_cuda_disassembler
[[ -e $folder/nvidia/cu13/bin/nvdisasm ]] && exit 0

mkdir -p build
temporary=$(mktemp -d build/_cuda_disassembler.XXXXXX)
trap 'rm -rf "$temporary"' EXIT
echo "Fetching cuobjdump and nvdisasm $version from PyPI"
for program in cuobjdump nvdisasm; do
  python3 jobscripts/fetch_wheel.py "nvidia-cuda-$program==$version" "${!program}" \
    manylinux_2_17_x86_64 nvidia/cu13/bin "$temporary/unpacked"
done
chmod +x "$temporary"/unpacked/nvidia/cu13/bin/*
rm -rf "$folder"
mv "$temporary/unpacked" "$folder"
