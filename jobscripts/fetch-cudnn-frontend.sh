#!/usr/bin/env bash
# Fetches the headers of NVIDIA's cudnn-frontend, from which attention by cuDNN is compiled.
#
# Usage:  jobscripts/fetch-cudnn-frontend.sh
# Writes  build/_cudnn_frontend/{include,licenses}, where CMake looks for them; nothing when they
#         are there. The Python package carries them, whatever the platform: none of its programs
#         is unpacked. Status 1 when they cannot be had.
# cudnn.h itself comes with cuDNN.
set -euo pipefail
cd "$(dirname "$0")/.."

version=1.22.0
sha256=bb50bd2758c6d47c6210451c5c1932ed16e7563d7629228f4cc97edc0e01d0c5  # of the wheel named here
folder=build/_cudnn_frontend
[[ -e $folder/include/cudnn_frontend.h ]] && exit 0

mkdir -p build
temporary=$(mktemp -d build/_cudnn_frontend.XXXXXX)
trap 'rm -rf "$temporary"' EXIT
echo "Fetching the headers of cudnn-frontend $version from PyPI"
python3 jobscripts/fetch_wheel.py "nvidia-cudnn-frontend==$version" "$sha256" \
  manylinux_2_28_x86_64 include "$temporary/unpacked"
rm -rf "$folder"
mv "$temporary/unpacked" "$folder"
