"""The documents of compare.py, as bytes; see README.md."""
import bz2
import gettext
import gzip
import itertools
import pathlib
import random
import unicodedata

DICTIONARIES = ["gcide", "wn"]
FOLDER = pathlib.Path("/usr/share/dictd")


def dictionary(name):
    return gzip.open(FOLDER / f"{name}.dict.dz").read()


def index_number(text):
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    value = 0
    for digit in text:
        value = value * 64 + digits.index(digit)
    return value


def entries():
    for name in DICTIONARIES:
        text = dictionary(name)
        places = set()
        for line in open(FOLDER / f"{name}.index", encoding="utf-8"):
            _, begin, size = line.rstrip("\n").rsplit("\t", 2)
            places.add((index_number(begin), index_number(size)))
        for begin, size in sorted(places):
            yield text[begin:begin + size]


def chunks():
    for name in DICTIONARIES:
        text = dictionary(name)
        begin = 0
        while begin < len(text):
            end = min(len(text), begin + 1_000_000)
            end = text.find(b"\n", end) + 1 or len(text)
            yield text[begin:end]
            begin = end


# --- text of the machine ------------------------------------------------------------------------

def some_files(files, num_bytes):
    """Files spread evenly over the sorted list, of `num_bytes` altogether."""
    files = sorted(f for f in files if f.is_file() and 500 < f.stat().st_size < 1_000_000)
    total = sum(f.stat().st_size for f in files)
    step = max(1, total // num_bytes)
    for file in files[::step]:
        data = file.read_bytes()
        yield gzip.decompress(data) if file.suffix == ".gz" else data


def code():
    yield from some_files(pathlib.Path("/usr/include").rglob("*.h*"), 8_000_000)
    yield from some_files(pathlib.Path("/usr/lib/python3").rglob("*.py"), 8_000_000)


def messages(file):
    try:
        with open(file, "rb") as opened:
            catalogue = gettext.GNUTranslations(opened)._catalog
    except (OSError, UnicodeDecodeError, IndexError):  # some have no plural forms
        return
    for message in catalogue.values():
        if isinstance(message, str) and message:
            yield message


def of_language(language, num_bytes):
    """A document per message catalogue."""
    for file in sorted(pathlib.Path("/usr/share/locale", language).rglob("*.mo")):
        text = "\n".join(messages(file)).encode()
        if num_bytes <= 0:
            return
        num_bytes -= len(text)
        yield text


def cjk(packages):
    for language in ["ja", "ko", "zh_CN", "zh_TW"]:
        yield from of_language(language, 3_000_000)
    if packages is None:
        return
    dictionary_file = packages / "usr/share/edict/edict"
    for encoding in ["utf-8", "euc_jp"]:
        try:
            text = dictionary_file.read_bytes().decode(encoding)
        except UnicodeDecodeError:
            continue
        yield from (text[i:i + 100_000].encode() for i in range(0, 4_000_000, 100_000))
        break
    for language in ["ja", "zh_CN", "zh_TW"]:
        yield from some_files((packages / "usr/share/man" / language).rglob("*.gz"), 1_500_000)


def mixed(packages):
    for language in sorted(pathlib.Path("/usr/share/locale").iterdir()):
        yield from of_language(language.name, 100_000)
    if packages is not None:
        folder = packages / "usr/share/unicode"
        yield (folder / "NamesList.txt").read_bytes()
        yield (folder / "emoji/emoji-test.txt").read_bytes()
        yield bz2.open(folder / "Unihan_Readings.txt.bz2").read()
        yield bz2.open(folder / "NormalizationTest.txt.bz2").read()


# --- text made to be difficult ------------------------------------------------------------------

def code_points():
    block = []
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000:
            continue
        x = chr(c)
        yield x.encode()
        block.append(f"a{x}b {x}1{x} {x}{x} 1{x}2 !{x}? {x} \n{x}\n'{x} {x}'s{x}")
        if len(block) == 256:
            yield " ".join(block).encode()
            block = []


def blanks():
    spaces = "\t\n\x0b\x0c\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B)))
    spaces += "\u2028\u2029\u202f\u205f\u3000" + "\x1c\x1f\u180e\u200b\ufeff"
    for x in spaces:
        for n in range(1, 41):
            w = x * n
            yield f"a{w}b{w}\n{w}1{w}\r\n{w}!{w}{chr(0x4e2d)}\n{w}'s{w}".encode()
            yield f"{w}\r".encode()
            for y in " \n\t\r":
                yield f"{y}{w}{y}x{y}{y}{w}.{w}{y}{y}".encode()
    for parts in itertools.product(["\r", "\n", "\r\n", " ", "\t", "a", "!"], repeat=4):
        yield "".join(parts).encode()


def contractions():
    letters = "sStTrReEvVlLmMdD\u017f\u212a"
    ends = ["".join(p) for n in (1, 2) for p in itertools.product(letters, repeat=n)]
    for end in ends:
        for before, after in itertools.product(["", "a", " ", "1", "'", "\u4e2d"], ["", "x", " ", "'", "1"]):
            yield f"{before}'{end}{after} {before}\u2019{end}{after}".encode()


def canonical():
    """All canonical decompositions, their parts in other orders, all of Hangul, emoji."""
    marks = [chr(c) for c in range(0x110000) if unicodedata.combining(chr(c))]
    rng = random.Random(11)
    for c in range(0x110000):
        x = chr(c)
        decomposed = unicodedata.normalize("NFD", x)
        if decomposed == x or 0xAC00 <= c < 0xD7A4:
            continue
        mark = rng.choice(marks)
        forms = [x, decomposed, x + mark, decomposed + mark, decomposed[0] + mark + decomposed[1:],
                 x + x, mark + x]
        if len(decomposed) <= 4:
            forms += ["".join(p) for p in itertools.permutations(decomposed)]
        yield "a".join(forms).encode()
        yield " ".join(forms).encode()
    for low, high in itertools.product(marks, rng.sample(marks, 24)):
        yield f"a{low}{high}b\u0345{high}{low}".encode()
    for lead in range(0x1100, 0x1113):
        for vowel in range(0x1161, 0x1176):
            both = chr(lead) + chr(vowel)
            whole = unicodedata.normalize("NFC", both)
            yield "".join(f"{both}{chr(t)} {whole}{chr(t)}{chr(t)}" for t in range(0x11A7, 0x11C4)).encode()
    yield "".join(map(chr, range(0xAC00, 0xD7A4))).encode()
    yield unicodedata.normalize("NFD", "".join(map(chr, range(0xAC00, 0xD7A4)))).encode()
    people, joiner = "\U0001F468\U0001F469\U0001F467\U0001F3FD\u2764\ufe0f", "\u200d"
    for parts in itertools.product(people, repeat=4):
        yield joiner.join(parts).encode()


def hard(num_bytes=1_000_000):
    """(name, text) without an end: what could take quadratic time."""
    rng = random.Random(3)
    letters = "abcdefghijklmnopqrstuvwxyz"
    han = [chr(c) for c in range(0x4E00, 0x9FA6)]
    yield "letters", "".join(rng.choices(letters, k=num_bytes)).encode()
    yield "one letter", b"a" * num_bytes
    yield "two letters", b"ab" * (num_bytes // 2)
    yield "digits", "".join(rng.choices("0123456789", k=num_bytes)).encode()
    yield "spaces", b" " * num_bytes
    yield "line ends", b"\r\n" * (num_bytes // 2)
    yield "spaces and line ends", b" \n" * (num_bytes // 2)
    yield "punctuation", "".join(rng.choices("!?.,;:()[]{}<>/\\-=+*&%$#@", k=num_bytes)).encode()
    yield "one sign", b"=" * num_bytes
    yield "Han", "".join(rng.choices(han, k=num_bytes // 3)).encode()
    yield "marks", ("a" + "\u0301\u0323" * (num_bytes // 4)).encode()
    yield "Hangul parts", "\u1100\u1161\u11a8".encode() * (num_bytes // 9)
    yield "emoji", "\U0001F469\u200D".encode() * (num_bytes // 7)
    yield "NUL", b"\0" * num_bytes
    yield "ill-formed", b"\xff" * num_bytes
    yield "cut sequences", b"\xf0\x9f" * (num_bytes // 2)
    yield "apostrophes", b"'" * num_bytes
    yield "begun tokens", b"<|endoftext" * (num_bytes // 11)
    yield "signs of tokens", b"<" * num_bytes
    yield "tokens", b"<|endoftext|>" * (num_bytes // 13)
    yield "random bytes", rng.randbytes(num_bytes)


def hard_texts():
    for _, text in hard(1_000_000):
        yield text


def adversarial():
    rng = random.Random(20240229)
    marks = "\u0301\u0300\u0327\u0323\u0308\u0345\u093C\u3099\u309A\u0334\u20D0\u1DFA\u0898\u1ABF\U00011930\U00011935"
    pools = [
        "abcXYZ'sStTmMdDlLrReEvV\u017F", " \t\n\r\x0b\x0c\x85\xa0\u1680\u2003\u2028\u2029\u3000",
        "0123456789\u0663\u09EA\u2167\xBD\u3007", "!?.,;:'\"()<>[]{}|/\\@#$%^&*-_=+~`",
        marks, "e\u0301o\u0308\u00e9\u212B\u2126\uFB01\u01C4\u1E9B\u0344\u0958\u2ADC",
        "\u1100\u1161\u11A8\uAC00\uAC01\u3131\u3165", "\U0001F469\u200D\U0001F4BB\uFE0F\U0001F1E9",
        "\u4E2D\u6587\u65E5\u672C\u3042\u30A2\u0E01\u0E33\u05D0\u0627\u0431", "\x00\x01\x7f\ufeff\ufffd\u200b",
        "\u09C7\u09BE\u0BC6\u0BBE\u1025\u102E\U00011099\U000110BA\U0001D157\U0001D165\U0001D16E"]
    added = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|end_of_text|>", "<think>",
             "<|endoftext", "<tool_call>", "<|im", "<\u00e9>", "<e\u0301>"]
    moving = [chr(c) for c in range(0x110000) if unicodedata.combining(chr(c))
              or (unicodedata.decomposition(chr(c)) and "<" not in unicodedata.decomposition(chr(c)))]
    moving += list("aeioucsAE\u1100\u1161\u11A8\uAC00\u09C7\u0B47\u1B05\U00011935")
    for _ in range(40_000):
        parts = []
        for _ in range(rng.randint(1, 40)):
            kind = rng.random()
            if kind < 0.05:
                parts.append(rng.choice(added))
            elif kind < 0.10:
                parts.append(chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])))
            elif kind < 0.15:
                parts.append(rng.choice(["it's", "I'LL", "we'VE", "don't", " 's", "'S ", "\r\n", "   "]))
            else:
                parts.append("".join(rng.choices(rng.choice(pools), k=rng.randint(1, 5))))
        yield "".join(parts).encode()
    for _ in range(20_000):  # every mark and every part of a composition that Python knows
        yield "".join(rng.choices(moving, k=rng.randint(2, 12))).encode()
    for _ in range(20_000):  # bytes, most of them ill-formed
        yield bytes(rng.choices(range(256), k=rng.randint(1, 60)))
    leads = b"\xC0\xC1\xC2\xDF\xE0\xED\xEF\xF0\xF4\xF5\xFF\x80\x90\x9F\xA0\xBF\x41"
    for _ in range(20_000):
        yield bytes(rng.choices(leads, k=rng.randint(1, 12)))
    letters = "abcdefghijklmnopqrstuvwxyz"
    yield "".join(rng.choices(letters, k=1_000_000)).encode()
    yield b"a" * 1_000_000
    yield b"ab" * 500_000
    yield b"7" * 100_000
    yield b" " * 100_000
    yield b"\r\n" * 50_000 + b"x"
    yield ("\u0301" * 100_000).encode()
    yield ("\U0001F469\u200D" * 50_000).encode()
    yield b"!" * 100_000
    yield b""
    yield b"\x00" * 1000


def added():
    """Added tokens of many families in text: beside white space, letters and each other."""
    rng = random.Random(16)
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "<bos>", "<|user|>",
             "<|end|>", "<|assistant|>", "<left>", "<right>", "<both>", "word", "wo", "mask", " blank",
             "caf\u00e9", "cafe\u0301", "|||EMAIL_ADDRESS|||", "<\uff5cUser\uff5c>", "\u00f8",
             "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<0x41>", "<0xE4>", "\u2581", "\u2581\u2581",
             "\n\n", "\n\n\n", "  ", "   ", " " * 9, " " * 30, "\t\t", "\t" * 12]
    between = ["", "", " ", "  ", "\n", "\r\n", "\t", "\u3000", "\u00a0", "a", "B", "_", "7", "-", ".", "'s",
               "\u0301", "\u200d", "\u24b6", "\u4e2d", "\u00bd", "\u2167", "hello", " the", "iPhone", "HTTPServer",
               "\U0001F469\u200D\U0001F4BB", "12345", "x\u2581y"]
    for _ in range(40_000):
        parts = []
        for _ in range(rng.randint(1, 12)):
            parts.append(rng.choice(names if rng.random() < 0.4 else between))
        yield "".join(parts).encode()
    for c in range(0x110000):  # what is of a word, and what is white space
        if not 0xD800 <= c < 0xE000:
            x = chr(c)
            yield f"word{x} {x}word {x}<both>{x} .{x}<left>{x}<right>{x}wo{x}".encode()


CORPORA = {"entries": entries, "chunks": chunks, "code": code, "cjk": cjk, "mixed": mixed,
           "code-points": code_points, "blanks": blanks, "contractions": contractions,
           "canonical": canonical, "adversarial": adversarial, "hard": hard_texts, "added": added}


def documents(name, packages=None):
    make = CORPORA[name]
    return list(make(packages) if make in (cjk, mixed) else make())
