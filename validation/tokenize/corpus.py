"""Files of real text in several formats, made of plain texts, and how the program is started on
them. Shared by the scripts beside it."""
import bz2
import gzip
import hashlib
import json
import lzma
import os
import pathlib
import subprocess

SEPARATOR = "\n\n\n"


def documents_of(texts, words=700):
    """The texts in documents of about so many words, cut at line ends: as long as web pages."""
    documents, lines, count = [], [], 0
    for path in texts:
        for line in pathlib.Path(path).read_text(errors="replace").split("\n"):
            if not line and (not lines or not lines[-1]):
                continue  # no two blank lines in a row: they are the separator
            lines.append(line)
            count += len(line.split())
            if count >= words:
                documents.append("\n".join(lines).rstrip("\n"))
                lines, count = [], 0
    if lines:
        documents.append("\n".join(lines).rstrip("\n"))
    return documents


def as_text(documents):
    return SEPARATOR.join(documents).encode()


def as_json_lines(documents):
    """With a little beside the text, as SlimPajama has it."""
    return "".join(
        json.dumps({"text": document, "meta": {"redpajama_set_name": f"Set{i % 3}"}}) + "\n"
        for i, document in enumerate(documents)).encode()


def zstd(data):
    return subprocess.run(["zstd", "-3", "-q", "-c"], input=data, capture_output=True,
                          check=True).stdout


PACKERS = {"": bytes, ".gz": lambda data: gzip.compress(data, 6), ".bz2": bz2.compress,
           ".xz": lambda data: lzma.compress(data, preset=1), ".zst": zstd}


def command(program, ranks, *arguments):
    """A start of the program on so many ranks, each on a core of its own where there are enough."""
    if ranks == 1:
        return [program, *arguments]
    place = ["--bind-to", "core"] if ranks <= (os.cpu_count() or 1) else ["--oversubscribe"]
    return ["mpirun", "-n", str(ranks), *place, program, *arguments]


def environment(threads=1):
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}


def arguments(tokenizer, files, output, *more):
    return ["tokenize", f"data.tokenizer={tokenizer}",
            f"tokenize.input={json.dumps([str(file) for file in files])}",
            f"tokenize.output={output}",
            f"tokenize.document_separator={json.dumps(SEPARATOR)}", *more]


def hashes(folder):
    """Name -> sha256 of every shard."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(pathlib.Path(folder).rglob("*.h5"))}
