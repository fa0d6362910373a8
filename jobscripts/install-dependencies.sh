#!/usr/bin/env bash
# Installs the Debian packages that Espalier needs, and only those that are missing.
#
# Usage:  jobscripts/install-dependencies.sh [GROUP ...]
#   build   compilers and libraries, to build and run the program (the default)
#   tests   also what the tests use: a local Slurm, clang-format; where nvcc is, the headers that
#           attention by cuDNN is compiled from (fetch-cudnn-frontend.sh) and a disassembler
#           (fetch-cuda-disassembler.sh)
#   text    also the English text that jobscripts/quickstart.sh trains on
#   arm     also a cross-compiler and an emulator for Arm (tests/arm/run.sh)
#         jobscripts/install-dependencies.sh --list libraries
# names the libraries among them and installs nothing.
# Works as root or through sudo; otherwise it prints the one line to run and ends with status 77.
# When everything is there it does nothing and needs no network. On other systems than Debian it
# prints the names and leaves the installing to the person.
# (ocl-icd-opencl-dev: Debian's oneDNN asks for OpenCL when CMake looks for it.)
set -euo pipefail

libraries="libopenmpi-dev libhdf5-openmpi-dev
  libdnnl-dev ocl-icd-opencl-dev libtomlplusplus-dev nlohmann-json3-dev libcli11-dev libfmt-dev catch2
  libsimdjson-dev libutf8proc-dev libpcre2-dev liblbfgs-dev libxxhash-dev zlib1g-dev libbz2-dev liblzma-dev libzstd-dev"
declare -A packages=(
  [build]="git ca-certificates g++ cmake ninja-build ccache pkg-config
    python3 python3-pip python3-setuptools python3-wheel openmpi-bin hdf5-tools $libraries"
  [tests]="slurmctld slurmd slurm-client munge clang-format"
  [text]="dict-gcide dict-wn gzip xz-utils"
  [arm]="g++-aarch64-linux-gnu qemu-user-static"
)
if [[ "$*" == "--list libraries" ]]; then
  echo $libraries
  exit
fi

wanted=()
for group in build "$@"; do
  if [[ -z "${packages[$group]:-}" ]]; then
    echo "install-dependencies.sh: no group '$group' (build, tests, text, arm)" >&2
    exit 64
  fi
  read -r -d '' -a names <<<"${packages[$group]}" || true
  wanted+=("${names[@]}")
done

if ! command -v dpkg-query >/dev/null; then
  # A cluster has its own modules; CMake says what it does not find.
  echo "install-dependencies.sh: not a Debian system, nothing installed. Needed: ${wanted[*]}" >&2
  exit 0
fi

missing=()
for name in "${wanted[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null || true)
  [[ "$status" == installed ]] || missing+=("$name")
done

install_missing() {
  # Two groups may name a package twice.
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

  if [[ $(id -u) -eq 0 ]]; then
    as_root=()
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo)
  elif command -v sudo >/dev/null && [[ -t 0 ]]; then
    as_root=(sudo)  # asks for the password
  else
    echo "Packages are missing. As root, run this line and start again:" >&2
    echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 77
  fi

  echo "Installing: ${missing[*]}"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
if [[ ${#missing[@]} -gt 0 ]]; then
  install_missing
fi

# Without the headers the program lacks one provider of attention, without the disassembler the
# tests lack one, and CMake says so: no reason to stop.
if [[ " $* " == *" tests "* ]] && { command -v nvcc || [[ -x /usr/local/cuda/bin/nvcc ]]; } >/dev/null
then
  "$(dirname "$0")"/fetch-cudnn-frontend.sh ||
    echo "install-dependencies.sh: attention by cuDNN will not be compiled" >&2
  command -v cuobjdump >/dev/null || [[ -x /usr/local/cuda/bin/cuobjdump ]] ||
    "$(dirname "$0")"/fetch-cuda-disassembler.sh ||
    echo "install-dependencies.sh: the kernels' machine code will not be checked" >&2
fi
