# Sourced by scripts that measure Espalier beside PyTorch: what both programs run with.
# Reads    THREADS (2), VENV (build/venv), ESPALIER (build/espalier); $1: the name of the claim;
#          the rest: Python packages that the other program imports
# Sets     root, threads, venv, espalier, cores and out (a new folder of logs), and goes to root
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cd "$root"
threads="${THREADS:-2}"
venv="${VENV:-build/venv}"
espalier="${ESPALIER:-build/espalier}"
out="build/$1/$(date +%Y%m%d-%H%M%S)"
mkdir -p "$out"

if [[ ! -x "$espalier" ]]; then
  echo "$1: $espalier is missing; build first: cmake --preset release && cmake --build build" >&2
  exit 64
fi
if ! "$venv/bin/python" -c "$(printf 'import %s\n' "${@:2}")" 2>/dev/null; then
  echo "Setting up $venv with ${*:2} from PyPI (several GB)"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet numpy "${@:2}"
fi

# The same cores for both, and one thread per core.
cores="0-$((threads - 1))"
export OMP_NUM_THREADS="$threads" OMP_PROC_BIND=close OMP_PLACES=cores
export TORCHINDUCTOR_CACHE_DIR="$root/build/$1/inductor"
