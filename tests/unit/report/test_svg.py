"""Charts as an XML parser reads them: well formed, alone, and with everything in its place."""
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

PROGRAM = sys.argv.pop(1)
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<b> & \"quotes\" 'n' ]]>   \N{REPLACEMENT CHARACTER} \u4e2d \u00d7"
NAMES = ["loss", "known", "runs", "memory", "timeline", "no-time", "empty"]


def text_of(element):
    """What is shown, without the tooltip inside."""
    return (element.text or "") + "".join(child.tail or "" for child in element)


def numbers(path):
    return [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", path)]


class Charts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        subprocess.run([PROGRAM, cls.folder.name], check=True)
        cls.bytes = {name: (pathlib.Path(cls.folder.name) / f"{name}.svg").read_bytes()
                     for name in NAMES}
        cls.roots = {name: ElementTree.fromstring(data) for name, data in cls.bytes.items()}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def texts(self, name):
        return [text_of(e) for e in self.roots[name].iter(SVG + "text")]

    def test_nothing_outside_is_needed_and_several_fit_on_a_page(self):
        for name, root in self.roots.items():
            with self.subTest(name):
                self.assertEqual(root.tag, SVG + "svg")
                self.assertNotRegex(self.bytes[name].decode().replace(
                    'xmlns="http://www.w3.org/2000/svg"', ""), r"https?:|url\(|@import|@font-face")
                for element in root.iter():
                    self.assertFalse({"id", "href", "src", "onload"} & set(element.attrib))
                    self.assertNotIn(element.tag, (SVG + "script", SVG + "image", SVG + "use"))
                for style in root.iter(SVG + "style"):
                    for selector in re.findall(r"^([^@}\n][^{\n]*)\{", style.text, re.M):
                        for part in selector.split(","):
                            self.assertTrue(part.startswith(".espalier-chart"), part)

    def test_light_and_dark_are_there_and_paper_is_light(self):
        style = self.roots["loss"].find(SVG + "style").text
        self.assertIn("@media screen and (prefers-color-scheme:dark)", style)

    def test_the_second_writing_has_the_same_bytes_and_overwrites_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([PROGRAM, folder], check=True)
            for name in NAMES:
                self.assertEqual((pathlib.Path(folder) / f"{name}.svg").read_bytes(),
                                 self.bytes[name])
            again = subprocess.run([PROGRAM, folder], capture_output=True, text=True)
            self.assertEqual(again.returncode, 70)
            self.assertIn("loss.svg exists", again.stderr)

    def test_texts_are_what_was_given_whatever_they_contain(self):
        self.assertIn("loss " + re.sub(" +", " ", HOSTILE), self.texts("loss"))
        self.assertIn("candidates " + HOSTILE, self.texts("loss"))
        self.assertEqual(text_of(self.roots["loss"].find(SVG + "title")), "loss " + HOSTILE)
        self.assertIn("no data to draw", self.texts("empty"))
        self.assertIn("no data to draw", self.texts("no-time"))

    def test_everything_is_a_finite_number_and_lies_on_the_picture(self):
        for name, root in self.roots.items():
            _, _, width, height = (float(n) for n in root.get("viewBox").split())
            inner = root.find(SVG + "svg")
            inside = set() if inner is None else set(inner.iter())  # cut off by the viewer
            for element in root.iter():
                for key, value in element.attrib.items():
                    if key in ("x", "y", "cx", "cy", "width", "height", "d"):
                        self.assertNotRegex(value, "nan|inf|e")
                if element in inside:
                    continue
                for key, most in (("x", width), ("cx", width), ("y", height), ("cy", height)):
                    if key in element.attrib:
                        self.assertTrue(0 <= float(element.get(key)) <= most,
                                        ElementTree.tostring(element))

    def test_known_points_stand_at_known_places(self):
        """The ticks of both axes, which stand on their values, say where points belong."""
        root = self.roots["known"]
        texts = {(e.get("text-anchor"), text_of(e)): e for e in root.iter(SVG + "text")}
        x0, x20 = (float(texts["middle", t].get("x")) for t in ("0", "20"))
        y1, y10k = (float(texts["end", t].get("y")) - 4 for t in ("1", "10K"))
        points = [(float(e.get("cx")), float(e.get("cy"))) for e in root.iter(SVG + "circle")]
        self.assertEqual(len(points), 4)
        for (x, y), at in zip([(0, 1), (5, 10), (10, 100), (20, 10000)], points):
            self.assertAlmostEqual(at[0], x0 + (x20 - x0) * x / 20, delta=0.02)
            self.assertAlmostEqual(at[1], y1 + (y10k - y1) * math.log10(y) / 4, delta=0.02)

    def test_contours_and_budget_are_where_their_formulas_are(self):
        root = self.roots["loss"]
        texts = {(e.get("text-anchor"), text_of(e)): e for e in root.iter(SVG + "text")}
        x500m, x5b = (float(texts["middle", t].get("x")) for t in ("500M", "5B"))
        y20b, y200b = (float(texts["end", t].get("y")) - 4 for t in ("20B", "200B"))

        def values(path):
            list_ = numbers(path.get("d"))
            for x, y in zip(list_[0::2], list_[1::2]):
                yield (5e8 * 10 ** ((x - x500m) / (x5b - x500m)),
                       2e10 * 10 ** ((y - y20b) / (y200b - y20b)))

        inner = root.find(SVG + "svg")
        levels = set()
        for path in inner.iter(SVG + "path"):
            if path.get("class") == "contour":
                losses = [1.69 + 406.4 / n ** 0.34 + 410.7 / d ** 0.28 for n, d in values(path)]
                # The grid has cells of 0.18 and 0.11 in ln(N) and ln(D); the law is nearly straight
                # within one.
                self.assertLess(max(losses) - min(losses), 3e-3)
                levels.add(round(sum(losses) / len(losses), 3))
            else:
                for n, d in values(path):
                    self.assertAlmostEqual(6 * n * d / 1.36e21, 1, delta=1e-3)
        self.assertGreaterEqual(len(levels), 8)
        # The value is written on each of them.
        written = {float(t) for t in self.texts("loss") if re.fullmatch(r"\d\.\d+", t)}
        self.assertEqual(len(written), len(levels))
        for level in levels:
            self.assertTrue(any(abs(level - w) < 2e-3 for w in written), level)

    def test_labels_of_points_do_not_lie_on_each_other(self):
        boxes = []
        for element in self.roots["loss"].iter(SVG + "text"):
            if text_of(element).startswith("candidate "):
                x, y = float(element.get("x")), float(element.get("y"))
                boxes.append((x, y - 9, x + 90, y + 2))
        self.assertEqual(len(boxes), 7)
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                self.assertTrue(a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1])

    def test_lines_differ_in_more_than_colour(self):
        shapes = [re.sub(r"-?\d+(\.\d+)?", "", e.get("d", "circle"))
                  for e in self.roots["runs"].iter()
                  if "rim" in e.get("class", "")]
        self.assertEqual(len(set(shapes)), 3)

    def test_parts_of_bars_add_up(self):
        root = self.roots["memory"]
        by_row = {}
        for rect in root.iter(SVG + "rect"):
            if rect.get("class") == "part" and rect.find(SVG + "title") is not None:
                by_row.setdefault(rect.get("y"), []).append(rect)
        self.assertEqual(len(by_row), 4)
        scale = None
        for r, (_, row) in enumerate(sorted(by_row.items(), key=lambda item: float(item[0]))):
            amounts = [(i + r) % 5 * 0.5 for i in range(30)]
            amounts[3] = amounts[4] = 0
            amounts = [a for a in amounts if a > 0]
            self.assertEqual(len(row), len(amounts))
            scale = scale or float(row[0].get("width")) / amounts[0]
            at = float(row[0].get("x"))
            for rect, amount in zip(row, amounts):
                self.assertAlmostEqual(float(rect.get("x")), at, delta=0.05)
                self.assertAlmostEqual(float(rect.get("width")) / amount, scale, delta=0.05)
                at += float(rect.get("width"))

    def test_stretches_of_a_timeline_stand_at_their_times(self):
        root = self.roots["timeline"]
        ticks = {text_of(e): float(e.get("x")) for e in root.iter(SVG + "text")
                 if e.get("text-anchor") == "middle" and text_of(e) in ("0", "10", "20")}
        per_unit = (ticks["20"] - ticks["0"]) / 20
        rows = {}
        for rect in root.iter(SVG + "rect"):
            if rect.get("class") == "part" and rect.get("height") == "22":
                rows.setdefault(float(rect.get("y")), []).append(
                    ((float(rect.get("x")) - ticks["0"]) / per_unit,
                     float(rect.get("width")) / per_unit))
        drawn = [stretches for _, stretches in sorted(rows.items())]
        self.assertEqual([len(stretches) for stretches in drawn], [3, 1])
        for got, expected in zip(drawn[0] + drawn[1], [(0, 4), (4, 2), (19.99, 0.01), (5, 5)]):
            for a, b in zip(got, expected):
                self.assertAlmostEqual(a, b, delta=0.001)
        texts = self.texts("timeline")
        for words in ("W0", "M0", "M1", "rank 1", "rank 2", "more"):
            self.assertIn(words, texts)
        self.assertNotIn("no room", texts)
        tips = [e.text for e in root.iter(SVG + "title")]
        self.assertIn("tip " + HOSTILE, tips)


if __name__ == "__main__":
    unittest.main()
