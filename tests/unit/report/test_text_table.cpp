#include <catch2/catch.hpp>
#include <sstream>

#include "report/table.hpp"
#include "report/unicode.hpp"

using namespace espalier::report;

namespace {

std::size_t widest_line(const std::string& text) {
  std::size_t width = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    width = std::max(width, columns_of(line));
    CHECK((line.empty() || line.back() != ' '));
  }
  return width;
}

}  // namespace

TEST_CASE("headings of several lines make a table narrower before anything else does") {
  std::vector<Column> columns = {{"shape", "shape"}};
  std::vector<Cell> row = {"24 layers of 2048"};
  for (int i = 0; i < 7; ++i) {
    columns.push_back({"k" + std::to_string(i), "tokens per parameter"});
    row.push_back(Cell(2.2, "2.2345"));
  }
  Table table(columns);
  table.add(row);
  const std::string text = table.print(Format::text);
  CHECK(widest_line(text) <= 100);
  CHECK(text.find("24 layers of 2048  ") != std::string::npos);
  CHECK(text.find("shape  ") > text.find('\n'));  // right above the cells
}

TEST_CASE("words of the widest column go on below when headings do not suffice") {
  Table table({{"name", "name"}, {"loss", "loss"}, {"note", "note"}});
  table.add({"first", Cell(2.25, "2.25"),
             "the published count leaves the LM head out and counts attention A/2 times too often, "
             "which makes small models look cheaper than they are"});
  table.add({"second", Cell(2.5, "2.50"), "short"});
  table.mark(0);
  const std::string text = table.print(Format::text);
  CHECK(text ==
        "  name    loss  note\n"
        "> first   2.25  the published count leaves the LM head out and counts attention A/2 times "
        "too often,\n"
        "                which makes small models look cheaper than they are\n"
        "  second  2.50  short\n");
  CHECK(widest_line(text) <= 100);
}

TEST_CASE("what cannot be narrower stands in blocks, each with the first column and the mark") {
  std::vector<Column> columns = {{"gpus", "GPUs"}};
  for (int i = 0; i < 15; ++i)
    columns.push_back({"k" + std::to_string(i), "h" + std::to_string(i)});
  Table table(columns);
  for (const int gpus : {8, 16}) {
    std::vector<Cell> row = {Cell(gpus, std::to_string(gpus))};
    for (int i = 0; i < 15; ++i) row.push_back(Cell(i, "123,456,789"));
    table.add(row);
  }
  table.mark(1);
  const std::string text = table.print(Format::text);
  CHECK(widest_line(text) <= 100);
  std::size_t blocks = 0, marks = 0;
  for (std::size_t at = text.find("GPUs"); at != std::string::npos; at = text.find("GPUs", at + 1))
    ++blocks;
  for (std::size_t at = text.find("\n>   16"); at != std::string::npos;
       at = text.find("\n>   16", at + 1))
    ++marks;
  CHECK(blocks == 3);
  CHECK(marks == 3);
  for (int i = 0; i < 15; ++i) CHECK(text.find(" h" + std::to_string(i)) != std::string::npos);
  // Transposed the same holds for rows that have become columns.
  CHECK(widest_line(table.print_transposed(Format::text)) <= 100);
}

TEST_CASE("only a word that is longer than a line stands out of it") {
  Table table({{"name", "name"}, {"file", "file"}});
  table.add({"a", std::string(150, 'x')});
  table.add({"b", "short words"});
  const std::string text = table.print(Format::text);
  CHECK(text.find(std::string(150, 'x')) != std::string::npos);
  CHECK(text.find("b     short words") != std::string::npos);
}

TEST_CASE("any table is at most 100 columns wide when its words are") {
  for (std::size_t columns = 1; columns < 30; ++columns)
    for (const std::size_t word : {1, 7, 30}) {
      std::vector<Column> named;
      std::vector<Cell> row;
      for (std::size_t i = 0; i < columns; ++i) {
        named.push_back({"k" + std::to_string(i), "a heading × " + std::to_string(i)});
        std::string text;
        for (std::size_t k = 0; k < i % 5 + 1; ++k) text += std::string(word, 'w') + " ";
        row.push_back(i % 3 == 0 ? Cell(1.0, std::string(word, '1')) : Cell(text));
      }
      Table table(named);
      table.add(row);
      table.add(row);
      if (columns % 2 == 0) table.mark(0);
      CAPTURE(columns, word);
      CHECK(widest_line(table.print(Format::text)) <= 100);
      CHECK(widest_line(table.print_transposed(Format::text)) <= 100);
    }
}

TEST_CASE("tabs, line ends and wide characters keep columns in line") {
  Table table({{"name", "name"}, {"loss", "loss"}});
  table.add({"中文", Cell(1, "1")});
  table.add({"a\tb\nc", Cell(10, "10")});
  CHECK(table.print(Format::text) ==
        "name   loss\n"
        "中文      1\n"
        "a b c    10\n");
}
