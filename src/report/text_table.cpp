#include "report/text_table.hpp"

#include <algorithm>

#include "report/unicode.hpp"

namespace espalier::report {
namespace {

using Rows = std::vector<std::vector<Cell>>;
using Lines = std::vector<std::string>;

constexpr std::size_t kGap = 2;  ///< between columns

Lines lines_of(const std::string& text, std::size_t width) {
  Lines lines(1);
  // A text that fits keeps the spaces that it has.
  if (columns_of(text) <= width) return {text};
  for (const char c : wrapped(text, width)) {
    if (c == '\n')
      lines.emplace_back();
    else
      lines.back() += c;
  }
  return lines;
}

std::size_t widest(const Lines& lines) {
  std::size_t width = 0;
  for (const std::string& line : lines) width = std::max(width, columns_of(line));
  return width;
}

struct TextColumn {
  bool is_number = false;
  std::size_t width = 0;
  std::size_t body = 0;          ///< of its widest cell below the heading
  std::size_t heading_word = 0;  ///< of the longest word of the heading
  std::size_t word = 0;          ///< of the longest word of all: no narrower
};

TextColumn column_of(const Rows& rows, std::size_t i) {
  TextColumn column{.is_number = rows.size() > 1};
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const Cell& cell = rows[r][i];
    const std::size_t width = columns_of(cell.text);
    // Numbers are not divided.
    const std::size_t word = cell.is_number ? width : widest(lines_of(cell.text, 1));
    column.width = std::max(column.width, width);
    column.word = std::max(column.word, word);
    if (r == 0)
      column.heading_word = word;
    else
      column.body = std::max(column.body, width);
    if (r > 0 && !cell.is_number && !cell.text.empty()) column.is_number = false;
  }
  return column;
}

std::size_t total_width(const std::vector<TextColumn>& columns) {
  std::size_t total = kGap * (columns.size() - 1);
  for (const TextColumn& column : columns) total += column.width;
  return total;
}

/// Takes from the widest column that has more than its least width until all fit or none is left.
template <class Least>
void shrink(std::vector<TextColumn>& columns, std::size_t width, const Least& least) {
  while (total_width(columns) > width) {
    TextColumn* widest_column = nullptr;
    for (TextColumn& column : columns)
      if (column.width > least(column) &&
          (widest_column == nullptr || column.width > widest_column->width))
        widest_column = &column;
    if (widest_column == nullptr) return;
    --widest_column->width;
  }
}

/// Numbers of the columns of each block: as many as fit, every block with the first column.
std::vector<std::vector<std::size_t>> blocks_of(const std::vector<TextColumn>& columns,
                                                std::size_t width) {
  std::vector<std::vector<std::size_t>> blocks;
  std::size_t taken = 0;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (blocks.empty() || (blocks.back().size() > 1 && taken + kGap + columns[i].width > width)) {
      blocks.emplace_back();
      taken = 0;
      if (i > 0) {
        blocks.back().push_back(0);
        taken = columns[0].width;
      }
    }
    taken += (blocks.back().empty() ? 0 : kGap) + columns[i].width;
    blocks.back().push_back(i);
  }
  return blocks;
}

}  // namespace

std::string padded(const std::string& text, std::size_t width, bool to_the_right) {
  const std::string clean = printable(text);
  const std::string space(width - std::min(width, columns_of(clean)), ' ');
  return to_the_right ? space + clean : clean + space;
}

std::string text_table(const Rows& given, std::size_t marked) {
  Rows rows = given;
  for (std::vector<Cell>& row : rows)
    for (Cell& cell : row) cell.text = printable(cell.text);
  if (rows.front().empty()) return {};
  std::vector<TextColumn> columns;
  for (std::size_t i = 0; i < rows.front().size(); ++i) columns.push_back(column_of(rows, i));
  const bool has_mark = marked < rows.size();
  const std::size_t width = kLineWidth - (has_mark ? 2 : 0);
  // First the headings, then the cells; what cannot be narrower is put below.
  std::vector<TextColumn> narrow = columns;
  shrink(narrow, width, [](const TextColumn& c) { return std::max(c.body, c.heading_word); });
  shrink(narrow, width, [](const TextColumn& c) { return c.word; });
  std::string text;
  for (const std::vector<std::size_t>& block : blocks_of(narrow, width)) {
    // A block has room again that all columns together had not.
    std::vector<TextColumn> own;
    for (const std::size_t i : block) own.push_back(columns[i]);
    shrink(own, width, [](const TextColumn& c) { return std::max(c.body, c.heading_word); });
    shrink(own, width, [](const TextColumn& c) { return c.word; });
    if (!text.empty()) text += '\n';
    for (std::size_t r = 0; r < rows.size(); ++r) {
      std::vector<Lines> cells;
      std::size_t height = 1;
      for (std::size_t k = 0; k < block.size(); ++k) {
        cells.push_back(lines_of(rows[r][block[k]].text, own[k].width));
        height = std::max(height, cells.back().size());
      }
      for (std::size_t l = 0; l < height; ++l) {
        std::string line = !has_mark ? "" : r == marked && l == 0 ? "> " : "  ";
        for (std::size_t k = 0; k < block.size(); ++k) {
          // Headings of several lines end on the same one, right above the cells.
          const std::size_t above = r == 0 ? height - cells[k].size() : 0;
          const std::string cell =
              l >= above && l - above < cells[k].size() ? cells[k][l - above] : std::string();
          line +=
              (k > 0 ? std::string(kGap, ' ') : "") + padded(cell, own[k].width, own[k].is_number);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        text += line + "\n";
      }
    }
  }
  return text;
}

}  // namespace espalier::report
