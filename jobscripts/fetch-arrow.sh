#!/usr/bin/env bash
# Fetches the libraries of Apache Arrow that read Parquet, for tokenize. For Linux on x86_64 and
# aarch64 (glibc 2.28 or newer).
#
# Usage:  jobscripts/fetch-arrow.sh
# Writes  build/_arrow/{pyarrow/{include,libarrow.so.*,libparquet.so.*},licenses}, where CMake looks
#         for them at the next `cmake --preset release`; nothing when they are there. They come out
#         of the wheel of pyarrow, 40 MB of download and 70 MB unpacked; no Python is installed, and
#         none is needed afterwards. Status 1 when they cannot be had.
# On a cluster without a network run it where there is one and copy build/_arrow.
set -euo pipefail
cd "$(dirname "$0")/.."

version=26.0.1
number=2600  # of the libraries
x86_64=39cb0f2418282c24bea6ceda77b03e5a8f0a5766b63a8bf194d4e2a2c423548c  # of the wheels
aarch64=22a96a225de107eb9acd1ad9a818198ca832df2a4c0952412f754a7ed2105a98
folder=build/_arrow
[[ -e $folder/pyarrow/libparquet.so.$number ]] && exit 0

machine=$(uname -m)
if [[ $machine != x86_64 && $machine != aarch64 ]]; then
  echo "fetch-arrow.sh: there is no wheel for $machine: install Apache Arrow, and CMake finds it" >&2
  exit 1
fi
mkdir -p build
temporary=$(mktemp -d build/_arrow.XXXXXX)
trap 'rm -rf "$temporary"' EXIT
echo "Fetching Apache Arrow $version from PyPI"
python3 jobscripts/fetch_wheel.py "pyarrow==$version" "${!machine}" "manylinux_2_28_$machine" \
  "pyarrow/include,pyarrow/libarrow.so.$number,pyarrow/libparquet.so.$number" \
  "$temporary/unpacked"
rm -rf "$folder"
mv "$temporary/unpacked" "$folder"
