#!/usr/bin/env bash
# Builds Espalier for Arm (aarch64) on Debian 12 and tests the host backend under qemu-user.
#
# Usage   tests/arm/run.sh [STEP ...]     in this order, all of them unless told otherwise
#           sysroot   download the arm64 libraries into build-arm/sysroot; no root, nothing installed
#           build     the program and the test programs of the host backend
#           test      these test programs (seconds to minutes each)
#           train     whole runs in fp32 and bf16 on one and two ranks, as mpi_train.levels makes them
#           code      counts of instructions in the hottest loops (tests/arm/inner_loops.py)
#         ESPALIER_ARM_CPU=neoverse-n1   what qemu imitates: NEON alone; `max` has SVE, too, which
#                                        oneDNN then uses
#         JOBS=2                         compilers and tests at one time
# Needs   the packages of `jobscripts/install-dependencies.sh arm`, which it installs if it may.
# Writes  build-arm/ (1 GB) and, if Kokkos is not there yet, build/_kokkos.
# Takes   about an hour of processor time, nearly all of it compiling: it is no part of CI.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$PWD/build-arm
sysroot=$build/sysroot
processor=${ESPALIER_ARM_CPU:-neoverse-n1}
jobs=${JOBS:-2}

# Debian's own apt, with lists, status and archives of its own: a system of another architecture on
# which nothing is installed yet, so that all that the libraries depend on is named.
fetch_sysroot() {
  local apt=$build/apt packages suite package link
  read -r -a packages < <(bash jobscripts/install-dependencies.sh --list libraries)
  [[ ${packages[*]} == "$(cat "$sysroot.packages" 2>/dev/null)" ]] && return
  mkdir -p "$apt"/{lists,archives,parts,preferences.d}
  : >"$apt/status"
  for suite in debian:bookworm debian-security:bookworm-security; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
      "http://deb.debian.org/${suite%:*} ${suite#*:} main"
  done >"$apt/sources.list"
  cat >"$apt/apt.conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Dir::Etc "$apt";
Dir::Etc::parts "$apt/parts";
Dir::Etc::sourceparts "$apt/parts";
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
CONF
  APT_CONFIG=$apt/apt.conf apt-get update -qq
  APT_CONFIG=$apt/apt.conf apt-get install -y -qq --no-install-recommends --download-only \
    "${packages[@]}" >/dev/null

  rm -rf "$sysroot" "$sysroot.part"
  mkdir -p "$sysroot.part"
  for package in "$apt"/archives/*.deb; do
    dpkg-deb --extract "$package" "$sysroot.part"
  done
  # Links that are absolute in the sysroot would leave it.
  find "$sysroot.part" -type l -lname '/*' | while read -r link; do
    ln -srfn "$sysroot.part$(readlink "$link")" "$link"
  done
  mv "$sysroot.part" "$sysroot"
  echo "${packages[*]}" >"$sysroot.packages"
}

# The test programs of the host backend.
programs() {
  ninja -C "$build" -t targets all |
    sed -nE 's/^(unit_(base|device|kernels|rank_sum)[a-z_]*): CXX_EXEC.*/\1/p' | grep -v _cud
}

build_programs() {
  local names
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DESPALIER_CUDA=OFF \
    -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/toolchains/aarch64-linux-gnu.cmake" \
    -DESPALIER_SYSROOT="$sysroot" -DESPALIER_ARM_CPU="$processor" -DESPALIER_TEST_TIMEOUT=20000
  mapfile -t names < <(programs)
  cmake --build "$build" --parallel "$jobs" --target espalier "${names[@]}"
}

run_tests() {
  ctest --test-dir "$build" --output-on-failure --parallel "$jobs" \
    -R "^($(programs | paste -sd '|'))(\.portable)?\$"
}

run_trainings() {
  cat >"$build/espalier-under-qemu" <<SCRIPT
#!/bin/sh
exec qemu-aarch64-static -cpu "$processor" -L "$sysroot" "$build/espalier" "\$@"
SCRIPT
  chmod +x "$build/espalier-under-qemu"
  ESPALIER_BINARY=$build/espalier-under-qemu python3 -B tests/program/train/test_levels.py -v
}

bash jobscripts/install-dependencies.sh arm
for step in ${@:-sysroot build test train code}; do
  case $step in
    sysroot) fetch_sysroot ;;
    build) build_programs ;;
    test) run_tests ;;
    train) run_trainings ;;
    code) python3 -B tests/arm/inner_loops.py "$build" ;;
    *)
      echo "run.sh: no step '$step' (sysroot, build, test, train, code)" >&2
      exit 64
      ;;
  esac
done
