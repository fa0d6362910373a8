#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "report/table.hpp"

using namespace espalier;
using namespace espalier::report;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

Table small() {
  Table table({{"name", "name"}, {"loss", "loss"}, {"tokens", "tokens"}});
  table.add({"first, \"best\"", Cell(2.339658, "2.3397"), Cell(81.727e9, "81.73B")});
  table.add({"zwölf", Cell(2.5, "2.5000"), Cell(kNan, "never")});
  return table;
}

}  // namespace

TEST_CASE("formats have names, and a wrong one is told which there are") {
  CHECK(format_from_name("text") == Format::text);
  CHECK(format_from_name("csv") == Format::csv);
  CHECK(format_from_name("markdown") == Format::markdown);
  CHECK(format_from_name("json") == Format::json);
  CHECK_THROWS_WITH(format_from_name("xml"), Catch::Contains("xml") && Catch::Contains("markdown"));
}

TEST_CASE("in text numbers stand right, words left, and no line ends with spaces") {
  CHECK(small().print(Format::text) ==
        "name             loss  tokens\n"
        "first, \"best\"  2.3397  81.73B\n"
        "zwölf          2.5000\n");
}

TEST_CASE("CSV quotes what needs it and has all digits of numbers, JSON their types") {
  CHECK(small().print(Format::csv) ==
        "name,loss,tokens\n"
        "\"first, \"\"best\"\"\",2.339658,81727000000\n"
        "zwölf,2.5,\n");
  Table lines({{"a,b", "a"}, {"b", "b"}});
  lines.add({"one\ntwo", "carriage\rreturn"});
  lines.add({Cell(-0.0, "0"), Cell(1.36e21, "1.36e21")});
  lines.add({Cell(0.1, "0.1"), Cell(1e-300, "0")});
  CHECK(lines.print(Format::csv) ==
        "\"a,b\",b\n\"one\ntwo\",\"carriage\rreturn\"\n0,1.36e+21\n0.1,1e-300\n");

  Table table = small();
  table.mark(1);
  const auto json = nlohmann::json::parse(table.print(Format::json));
  REQUIRE(json.size() == 2);
  CHECK(json[0]["name"] == "first, \"best\"");
  CHECK(json[0]["loss"].is_number_float());
  CHECK(json[0]["loss"] == 2.339658);
  CHECK(json[0]["tokens"].is_number_integer());
  CHECK(json[0]["tokens"] == 81727000000);
  CHECK_FALSE(json[0].contains("marked"));
  CHECK(json[1]["tokens"].is_null());
  CHECK(json[1]["marked"] == true);
  CHECK(nlohmann::json::parse(lines.print(Format::json))[1]["b"] == 1.36e21);
}

TEST_CASE("text that is no UTF-8 harms no format") {
  Table table(std::vector<Column>{{"path", "path"}});
  table.add({"r\xE9sum\xE9"});
  CHECK(nlohmann::json::parse(table.print(Format::json))[0]["path"] ==
        "r\xEF\xBF\xBDsum\xEF\xBF\xBD");
  CHECK(table.print(Format::text) == "path\nr\xEF\xBF\xBDsum\xEF\xBF\xBD\n");
}

TEST_CASE("Markdown has its numbers right, and bars and line ends in a cell do not break it") {
  CHECK(small().print(Format::markdown) ==
        "| name | loss | tokens |\n"
        "|---|---:|---:|\n"
        "| first, \"best\" | 2.3397 | 81.73B |\n"
        "| zwölf | 2.5000 |  |\n");
  Table table(std::vector<Column>{{"a", "a|b"}});
  table.add({"c|d\ne"});
  CHECK(table.print(Format::markdown) == "| a\\|b |\n|---|\n| c\\|d e |\n");
}

TEST_CASE("the marked row is told from the others in text, Markdown and transposed") {
  Table table = small();
  table.mark(0);
  CHECK(table.print(Format::text) ==
        "  name             loss  tokens\n"
        "> first, \"best\"  2.3397  81.73B\n"
        "  zwölf          2.5000\n");
  CHECK(table.print(Format::markdown)
            .find("| **first, \"best\"** | **2.3397** | **81.73B** |\n| zwölf |") !=
        std::string::npos);
  CHECK(table.print(Format::csv) == small().print(Format::csv));
  CHECK(table.print_transposed(Format::text).starts_with("name    > first, \"best\"  "));
  CHECK(table.print_transposed(Format::markdown).find("| tokens | **81.73B** |  |") !=
        std::string::npos);
  table.mark(7);  // no such row
  CHECK(table.print(Format::text) == small().print(Format::text));
  CHECK(table.print_transposed(Format::text) == small().print_transposed(Format::text));
}

TEST_CASE("transposed, columns are rows; CSV and JSON stay as they are") {
  CHECK(small().print_transposed(Format::text) ==
        "name    first, \"best\"   zwölf\n"
        "loss           2.3397  2.5000\n"
        "tokens         81.73B\n");
  CHECK(small().print_transposed(Format::csv) == small().print(Format::csv));
  CHECK(small().print_transposed(Format::json) == small().print(Format::json));
}

TEST_CASE("a table without rows has its headings, and a row must fit them") {
  Table table({{"a", "alpha"}, {"b", "beta"}});
  CHECK(table.print(Format::text) == "alpha  beta\n");
  CHECK(table.print(Format::csv) == "a,b\n");
  CHECK(table.print(Format::json) == "[]\n");
  CHECK(table.print(Format::markdown) == "| alpha | beta |\n|---|---|\n");
  CHECK(table.print_transposed(Format::text) == "alpha\nbeta\n");
  CHECK_THROWS_WITH(table.add({"one"}), Catch::Contains("1 cells") && Catch::Contains("2 columns"));
}

TEST_CASE("a bar is as wide as asked, has a letter per part, and shares that add up") {
  const std::vector<Part> parts = {{"attention", 1.0, "1.0 s"},
                                   {"nothing", 0.0, "0 s"},
                                   {"MLP ×2", 2.0, "2.0 s"},
                                   {"unknown", kNan, "?"},
                                   {"rest", 0.001, "0.001 s"}};
  CHECK(bar(parts, 30) ==
        "[AAAAAAAAAABBBBBBBBBBBBBBBBBBBB]\n"
        "  A  attention    1.0 s   33.3 %\n"
        "  B  MLP ×2       2.0 s   66.6 %\n"
        "  C  rest       0.001 s    0.0 %\n");
  for (int width = 1; width < 120; ++width) {
    std::vector<Part> many;
    for (int i = 1; i < 30; ++i) many.push_back({"p", 1.0 / i, ""});
    CHECK(bar(many, width).find('\n') == static_cast<std::size_t>(width) + 2);
  }
  CHECK(bar({}).empty());
  CHECK(bar({{"a", 0.0, ""}, {"b", -1.0, ""}, {"c", kNan, ""}}).empty());
}
