"""Runs of the real program for tests: build/espalier under mpirun, in a folder of the test's own.

ESPALIER_BINARY names the program (ctest sets it); every function raises AssertionError with the
program's output when something is not as expected."""
import csv
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("ESPALIER_BINARY", str(ROOT / "build" / "espalier"))
TINY = str(ROOT / "inputs/tests/tiny.toml")
KILLED_AT_CHANGE = os.environ.get("ESPALIER_KILLED_AT_CHANGE",
                                  str(ROOT / "build" / "tests" / "libkilled_at_change.so"))
# Environment of a run on a file system without locks (tests/support/no_locks.cpp).
NO_LOCKS = {"LD_PRELOAD": os.environ.get("ESPALIER_NO_LOCKS",
                                         str(ROOT / "build" / "tests" / "libno_locks.so")),
            "ASAN_OPTIONS": "verify_asan_link_order=0"}
BYTES = str(ROOT / "inputs/tests/bytes.tiktoken")
BOOK = ROOT / "tests/fixtures/text/alice.txt"

# A run that is not over after so many seconds is taken to hang. Nothing is expected to be done in
# this time: a slow machine with other load may need ten times as long as an idle one.
HANG_S = 1200


def environment():
    """More ranks than cores on one machine; OpenMPI wants to be asked twice when run as root."""
    result = dict(os.environ)
    if os.geteuid() == 0:
        result.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    result.setdefault("OMP_NUM_THREADS", "1")
    result.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
    result.setdefault("OMPI_MCA_btl_vader_single_copy_mechanism", "none")
    return result


def mpirun(ranks):
    return ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)]


def command(ranks, *arguments):
    """With ESPALIER_TEST_SIMD in the environment, all that computes does at that SIMD level."""
    words = [BINARY, *map(str, arguments)]
    level = os.environ.get("ESPALIER_TEST_SIMD")
    if level and words[1] in ("train", "eval", "generate") and "device.simd" not in str(words):
        words.append(f"device.simd={level}")
    return words if ranks == 1 else [*mpirun(ranks), *words]


def espalier(ranks, *arguments, status=0, stdin=None, cwd=None, environ=None):
    """Runs to the end and checks the exit status; returns stdout and stderr together. `environ`:
    variables besides those of this process."""
    # A small byte-level model may write bytes that are not UTF-8.
    done = subprocess.run(command(ranks, *arguments), env=environment() | (environ or {}),
                          input=stdin, text=True, errors="replace", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=HANG_S, cwd=cwd)
    assert done.returncode == status, (
        f"status {done.returncode}, expected {status}: {' '.join(map(str, arguments))}\n"
        + done.stdout)
    return done.stdout


def signalled_at_change(number, under, with_signal=signal.SIGKILL):
    """Environment in which the program gets a signal at its `number`-th change of a file whose path
    begins with `under` (tests/support/killed_at_change.cpp)."""
    return {"LD_PRELOAD": KILLED_AT_CHANGE, "ESPALIER_KILL_AT": str(number),
            "ESPALIER_KILL_UNDER": os.path.realpath(under),
            "ESPALIER_KILL_WITH": str(int(with_signal)), "ASAN_OPTIONS": "verify_asan_link_order=0"}


def killed_at_change(number, under, *arguments):
    """Runs on one rank until its `number`-th change of a file whose path begins with `under`, which
    kills it. Whether it was killed; with fewer changes it must end well."""
    done = subprocess.run(command(1, *arguments), text=True, timeout=HANG_S,
                          env=environment() | signalled_at_change(number, under),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode in (0, -signal.SIGKILL), done.stdout
    return done.returncode != 0


def history(directory):
    """Rows of history.csv as lists of text, without the speed."""
    with open(pathlib.Path(directory) / "history.csv", newline="") as file:
        return [(r["step"], r["tokens"], r["loss"], r["grad_norm"], r["learning_rate"])
                for r in csv.DictReader(file)]


class RunCase(unittest.TestCase):
    """Tests with a scratch folder, a text of 166 documents (`book.txt`) and its token shards. The
    folder is shared by the tests of a class, so no two of them may give a run the same name."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="espalier-test-"))
        cls.made_by = {}
        text = cls.folder / "book.txt"
        paragraphs = BOOK.read_text().split("\n\n")
        text.write_text("\f".join("\n\n".join(paragraphs[i:i + 5])
                                  for i in range(0, len(paragraphs), 5)))
        cls.data = cls.folder / "data"
        espalier(1, "tokenize", f"data.tokenizer={BYTES}", f'tokenize.input=["{text}"]',
                 f"tokenize.output={cls.data}", 'tokenize.document_separator="\\f"',
                 "tokenize.validation_fraction=0.1")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder, ignore_errors=True)

    def keys(self, name, *overrides):
        """Arguments of a tiny run in the scratch folder."""
        return [TINY, f"data.train={self.data}", f"data.validation={self.data}",
                f"data.tokenizer={BYTES}", f"output.directory={self.folder / name}", *overrides]

    def train(self, name, *overrides, ranks=1, status=0, **how):
        test = getattr(self, "_testMethodName", None)  # None: called by setUpClass, for all tests
        if (self.folder / name).exists():
            by = self.made_by.get(name)
            assert by in (None, test), f'{by} has made the run "{name}"; take another name'
        else:
            self.made_by[name] = test
        return espalier(ranks, "train", *self.keys(name, *overrides), status=status, **how)

    def start(self, ranks, *words):
        """The program in the background; it is ended after the test, should it still be there."""
        process = subprocess.Popen(command(ranks, *words), env=environment(), text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT)

        def end():
            if process.poll() is not None:
                return
            process.terminate()
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

        self.addCleanup(end)
        return process

    def history(self, name):
        return history(self.folder / name)
