"""The checker finds what it is there to find: each case plants one mistake in a small tree."""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

CHECKER = pathlib.Path(__file__).with_name("check_style.py")

CONTRIBUTING = """
| room | what lives there | may include |
|---|---|---|
| `src/base` | checks | |
| `parallel/layout` | arithmetic | base |
| `parallel` | ranks | base, layout |
| `io` | files | base, layout |

| header | rooms | files |
|---|---|---|
| `mpi.h` | parallel | |
| `toml++/` | io | one file |
"""

FILES = {
    "CONTRIBUTING.md": CONTRIBUTING,
    "src/base/CMakeLists.txt": "espalier_room(base SOURCES error.cpp)\n",
    "src/base/error.hpp": "#pragma once\n#include <fmt/core.h>\n#include <string>\n",
    "parallel/CMakeLists.txt":
        "espalier_room(parallel\n  SOURCES grid.cpp\n  DOORS base layout)\n",
    "parallel/grid.hpp": '#pragma once\n#include "parallel/layout/map.hpp"\n',
    "parallel/grid.cpp": '#include "parallel/grid.hpp"\n\n#include <mpi.h>\n',
    "parallel/layout/CMakeLists.txt": "espalier_room(layout SOURCES map.cpp DOORS base)\n",
    "parallel/layout/map.hpp": '#pragma once\n#include "base/error.hpp"\n',
    "io/CMakeLists.txt": "espalier_room(io\n  SOURCES reader.cpp\n  DOORS base layout)\n",
    "io/reader.cpp": '#include <toml++/toml.h>\n\n#include "parallel/layout/map.hpp"\n',
    "tests/unit/test_grid.cpp": '#include <mpi.h>\n\n#include "parallel/grid.hpp"\n',
}


class Checker(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def check(self, what):
        result = subprocess.run([sys.executable, "-B", CHECKER, what, self.root],
                                capture_output=True, text=True, check=False)
        return result.returncode, result.stdout + result.stderr

    def expect(self, what, *words):
        status, output = self.check(what)
        self.assertEqual(status, 1, output)
        for word in words:
            self.assertIn(word, output)

    def test_a_clean_tree_has_no_findings(self):
        for what in ("rooms", "text"):
            status, output = self.check(what)
            self.assertEqual(status, 0, output)

    def test_an_arrow_that_is_not_in_the_table(self):
        self.write("src/base/error.cpp", '#include "parallel/grid.hpp"\n')
        self.expect("rooms", "src/base/error.cpp:1", "base may not include", "parallel/grid.hpp")

    def test_a_room_in_another_ones_folder_has_doors_of_its_own(self):
        self.write("io/reader.cpp", '#include "parallel/grid.hpp"\n')
        self.expect("rooms", "io/reader.cpp:1", "io may not include")
        self.write("io/reader.cpp", "\n")
        self.write("parallel/layout/map.cpp", '#include "parallel/grid.hpp"\n#include <mpi.h>\n')
        self.expect("rooms", "parallel/layout/map.cpp:1", "layout may not include",
                    "parallel/layout/map.cpp:2", "<mpi.h> may not be included in layout")

    def test_a_link_line_without_its_row_and_a_row_without_its_link_line(self):
        self.write("src/base/CMakeLists.txt", "espalier_room(base SOURCES x.cpp DOORS io)\n")
        self.expect("rooms", "src/base/CMakeLists.txt:1", "door io is not in the row of base")
        self.write("src/base/CMakeLists.txt", FILES["src/base/CMakeLists.txt"])
        self.write("io/CMakeLists.txt", "espalier_room(io SOURCES reader.cpp DOORS base)\n")
        self.expect("rooms", "door layout", "is missing in io")

    def test_a_circle(self):
        self.write("CONTRIBUTING.md", CONTRIBUTING.replace("| checks | |", "| checks | io |"))
        self.expect("rooms", "the row of base names io")

    def test_a_foreign_header_in_the_wrong_room(self):
        self.write("io/other.cpp", "#include <mpi.h>\n")
        self.expect("rooms", "io/other.cpp:1", "<mpi.h> may not be included in io")

    def test_a_heavy_header_in_a_second_file(self):
        self.write("io/other.cpp", "#include <toml++/toml.h>\n")
        self.expect("rooms", "io/other.cpp", "io/reader.cpp", "one file only")

    def test_a_header_nobody_has_heard_of(self):
        self.write("io/other.cpp", "#include <boost/any.hpp>\n")
        self.expect("rooms", "<boost/any.hpp> is in no table")

    def test_a_folder_that_is_no_room(self):
        self.write("src/misc/helper.cpp", "\n")
        self.expect("rooms", "src/misc/helper.cpp", "no room")

    def test_an_include_without_a_room(self):
        self.write("parallel/grid.cpp", '#include "grid.hpp"\n')
        self.expect("rooms", "does not begin with a room")

    def test_text(self):
        self.write("parallel/wide.cpp", "// " + "x" * 98 + "\n")
        self.write("parallel/exact.cpp", "// " + "\u00e9" * 97 + "\n")
        self.write("parallel/long.cpp", "\n" * 801)
        self.write("parallel/open.hpp", "int x;\n")
        self.write("parallel/later.cpp", "// TO" "DO: finish\n")
        self.write("parallel/mine.cpp", 'auto path = "/ho' 'me/me/data";\n')
        self.write("parallel/blank.cpp", "int x; \n")
        self.write("parallel/tab.cpp", "\tint x;\n")
        self.write("parallel/cut.cpp", "int x;")
        self.write("parallel/run.sh", "#!/bin/sh\n")
        self.write("docs/links.md", "[here](links.md#top), [web](https://a.b), [gone](gone.md)\n")
        self.expect("text", "wide.cpp:1: 101 columns", "long.cpp:801", "open.hpp:1: #pragma once",
                    "later.cpp:1: unfinished", "mine.cpp:1: a path of one machine",
                    "blank.cpp:1", "tab.cpp:1", "cut.cpp:1", "run.sh:1: begins with #!",
                    "links.md:1: a link to gone.md", "10 findings")

    def test_a_kernel_that_names_what_is_cudas_own(self):
        self.write("parallel/one.cu", "int i = threadIdx.x;  // block_index() is fine\n")
        self.write("parallel/two.cu", "f<<<1, 32>>>(x);\n")
        self.write("parallel/three.cu", "// __syncthreads only in words\n__syncwarp();\n")
        self.write("parallel/four.hpp", '#pragma once\nasm("nop;");\n')
        self.expect("text", "one.cu:1: threadIdx", "two.cu:1: <<<", "three.cu:2: __syncwarp",
                    "four.hpp:2: assembler", "4 findings")

    def test_format(self):
        self.write(".clang-format", "BasedOnStyle: Google\n")
        self.write("parallel/ugly.cpp", "int  x ;\n")
        status, output = self.check("format")
        if status == 77:
            self.skipTest("clang-format 14 is not installed")
        self.assertEqual(status, 1)
        self.assertIn("parallel/ugly.cpp:1", output)


if __name__ == "__main__":
    unittest.main()
