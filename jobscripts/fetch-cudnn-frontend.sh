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

fail() {
  echo "fetch-cudnn-frontend.sh: $*" >&2
  exit 1
}

mkdir -p build
temporary=$(mktemp -d build/_cudnn_frontend.XXXXXX)
trap 'rm -rf "$temporary"' EXIT
echo "Fetching the headers of cudnn-frontend $version from PyPI"
timeout 120 python3 -m pip download --quiet --disable-pip-version-check --no-deps \
  --timeout 20 --retries 1 --only-binary :all: --python-version 3.11 \
  --platform manylinux_2_28_x86_64 --dest "$temporary" "nvidia-cudnn-frontend==$version" ||
  fail "PyPI does not give nvidia-cudnn-frontend $version"

wheels=("$temporary"/*.whl)
sha256sum --quiet --check - <<<"$sha256  ${wheels[0]}" >&2 || fail "not the file that is expected"
python3 - "${wheels[0]}" "$temporary/unpacked" <<'PYTHON' || fail "the package cannot be unpacked"
import pathlib
import sys
import zipfile

folder = pathlib.Path(sys.argv[2])
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in wheel.namelist():
        first, _, rest = name.partition("/")
        path = folder / (rest if first.endswith(".dist-info") else name)
        if name.endswith("/") or path.relative_to(folder).parts[0] not in ("include", "licenses"):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wheel.read(name))
PYTHON
rm -rf "$folder"
mv "$temporary/unpacked" "$folder"
