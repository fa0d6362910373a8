"""What was published of three searches at 1.36e21 FLOPs, and the command that finds it again."""
import json
import re
import subprocess

# A row as it was printed: loss, N/1e9, D/1e9, L, H, A, tokens per parameter over 20.
SEARCHES = {
    "qwen3-1.36e21": {
        "statistics": {"tried": 42, "passed": 7, "candidates": 7},
        "first_off_percent": "1.63",
        "rows": """
            2.339658 1.830 81.727 24 2048 16 2.2
            2.350317 0.638 313.818 24 1024 8 24.6
            2.350322 0.747 233.091 32 1024 8 15.6
            2.379684 1.127 91.818 24 1536 24 4.1
            2.388235 0.613 202.818 24 1024 16 16.5
            2.390547 0.714 152.364 32 1024 16 10.7
            2.392400 1.780 51.455 24 2048 32 1.4""",
    },
    "llama3-1.36e21": {
        "statistics": {"tried": 504, "passed": 51, "candidates": 51},
        "rows": """
            2.335120 1.545 101.909 18 2048 16 3.3
            2.337930 1.658 91.818 20 2048 16 2.8
            2.342901 1.771 81.727 22 2048 16 2.3
            2.344803 1.998 71.636 26 2048 16 1.8
            2.350339 1.084 132.182 54 1024 8 6.1
            2.350728 1.023 142.273 50 1024 8 7.0
            2.350778 0.932 162.455 44 1024 8 8.7
            2.351059 2.224 61.545 30 2048 16 1.4
            2.351107 1.145 122.091 58 1024 8 5.3
            2.351597 2.776 51.455 16 3072 24 0.9""",
    },
    "llama3-1.36e21-chinchilla": {
        "statistics": {"tried": 504, "filtered": 11805, "passed": 7, "candidates": 7},
        "rows": """
            2.351059 2.224 61.545 30 2048 16 1.4
            2.351597 2.776 51.455 16 3072 24 0.9
            2.358454 2.564 51.455 36 2048 16 1.0
            2.363909 3.273 41.364 20 3072 24 0.6
            2.370558 3.017 41.364 44 2048 16 0.7
            2.406585 2.009 41.364 52 1536 24 1.0
            2.418881 2.597 31.273 38 2048 32 0.6""",
    },
}
# Speedruns of Llama shapes (V 128256, S 4096): H, F, L, A, K, parameters, tokens and model FLOPs as
# they were published. A step has 128 sequences, and a run whole steps. The last is an estimate for a
# Qwen3 of 0.6B over 6,000 steps, which calls itself 1.36e19.
SPEEDRUNS = {
    "130m": (512, 1792, 6, 8, 8, 154147328, 2.600e9, "1.7773e+18"),
    "300m": (768, 2688, 12, 12, 12, 299649792, 6.000e9, "9.9904e+18"),
    "520m": (1024, 3584, 24, 16, 8, 602457088, 10.40e9, "4.2104e+19"),
    "1.2b": (2048, 7168, 16, 16, 8, 1431373824, 24.0e9, "2.0716e+20"),
    "0.6b": (1024, 3072, 28, 16, 8, 615048192, 128 * 4096 * 6000, "1.3614e+19"),
}
PRINTED = ("loss", "N/1e9", "D/1e9", "L", "H", "A", "D/N/20")


def published_rows(name):
    return [line.split() for line in SEARCHES[name]["rows"].strip().splitlines()]


def run(command):
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: status {done.returncode}\n"
                             f"{done.stdout}{done.stderr}")
    return done.stdout


class Search:
    """One run of `espalier plan search`, read from what a person is shown."""

    def __init__(self, program, document, *overrides):
        command = [program, "plan", "search", document, *overrides]
        self.text = run(command)
        blocks = self.text.split("\n\n")
        table = next(b for b in blocks if re.match(r"\s+row\s", b.splitlines()[0]))
        head, *rows = table.splitlines()
        # Cells of people: one word each; "off, %" is two.
        columns = head.replace("off, %", "off,%").split()
        self.marked = [row.split()[1] for row in rows if row.startswith(">")]
        self.rows = [dict(zip(columns, row.replace(">", " ", 1).split())) for row in rows]
        self.statistics = {}
        block = next(b for b in blocks if b.startswith("statistic"))
        for line in block.splitlines()[1:]:
            word = re.match(r"(\w+)\s+([\d,]+)\s", line)
            self.statistics[word[1]] = int(word[2].replace(",", ""))
        self.json = json.loads(run([*command, "--format", "json"]))

    def printed(self):
        """Rows in the columns of the published tables."""
        return [[row[column] for column in PRINTED] for row in self.rows]


def speedrun(program, document, name, flops):
    """A speedrun as a search of one pair of shape and tokens: its row, with that count of FLOPs."""
    hidden, intermediate, layers, heads, kv_heads, _, tokens, published = SPEEDRUNS[name]
    tokens = tokens // (128 * 4096) * (128 * 4096)
    return json.loads(run([
        program, "plan", "search", document, f"search.flops={flops}", "search.tolerance=0.5",
        f"search.budget={published}", "training.sequence_length=4096", "model.vocab_size=128256",
        f"model.num_key_value_heads={kv_heads}", f"search.head_dims=[{hidden // heads}]",
        "search.layers_min=0", "search.layers_max=0", f"search.layers=[{layers}]",
        "search.hidden_min=0", "search.hidden_max=0", f"search.hidden_sizes=[{hidden}]",
        f"search.intermediate_ratio={intermediate / hidden}", "search.tokens_count=1",
        f"search.tokens_min={tokens}", f"search.tokens_max={tokens}",
        "--format", "json"]))["candidates"][0]


def differences(name, search):
    """Sentences on what is not as it was published."""
    found = []
    published = SEARCHES[name]
    for i, row in enumerate(published_rows(name)):
        own = search.printed()[i] if i < len(search.rows) else None
        if own != row:
            found.append(f"{name}, row {i + 1}: published {row}, found {own}")
    for word, count in published["statistics"].items():
        own = search.statistics.get(word)
        if own != count:
            found.append(f"{name}: published {count} {word}, found {own}")
    if len(search.json["candidates"]) != published["statistics"]["candidates"]:
        found.append(f"{name}: {len(search.json['candidates'])} candidates in JSON")
    if "first_off_percent" in published:
        own = search.rows[0]["off,%"].lstrip("+-")
        if own != published["first_off_percent"]:
            found.append(f"{name}: published {published['first_off_percent']} % off, found {own}")
    return found
