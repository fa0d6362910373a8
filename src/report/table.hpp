#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::report {

enum class Format : std::uint8_t { text, csv, markdown, json };
/// Whether people read it, and not programs.
inline bool is_for_people(Format format) {
  return format == Format::text || format == Format::markdown;
}
/// Of plan.format.
Format format_from_name(std::string_view name);

/// A cell as people read it and as programs do. A number without a value is "" for people, empty in
/// CSV and null in JSON.
struct Cell {
  Cell() = default;
  Cell(std::string words) : text(std::move(words)) {}
  Cell(const char* words) : text(words) {}
  /// `shown`: as it stands in text and Markdown; CSV and JSON have all digits of `number`.
  Cell(double number, std::string shown);
  std::string text;
  double value = 0.0;
  bool is_number = false;
};

struct Column {
  std::string key;      ///< in CSV and JSON: "step_seconds"
  std::string heading;  ///< for people: "step, s"
};

/// Rows under named columns, printed in one of four formats. In text, columns are as wide as their
/// widest cell, numbers stand right, words left, and lines have at most 100 columns. A table that
/// would be wider has, in this order and as far as needed, headings of several lines, cells of
/// several lines (words, the widest column first), and what then remains in blocks of columns, one
/// below another, each of which begins with the first column. A single word is never divided: one
/// that is longer than the line is all that may stand out.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<Cell> row);  ///< as many cells as columns
  /// Marks row `row` (from 0): "> " before it in text, bold in Markdown, "marked": true in JSON;
  /// not in CSV. Transposed, "> " is before the name of its column.
  void mark(std::size_t row) { marked_ = row; }
  std::size_t num_rows() const { return rows_.size(); }
  /// The table, with a newline at its end. JSON: a list of objects.
  std::string print(Format format) const;
  /// Columns become rows and rows columns: for few things with many properties. Text and Markdown
  /// alone; CSV and JSON stay as they are.
  std::string print_transposed(Format format) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
  std::size_t marked_ = static_cast<std::size_t>(-2);  ///< none; one more is no row either
};

/// A part of a whole, for `bar`.
struct Part {
  std::string name;
  double amount;
  std::string shown;  ///< "1.234 s"
};
/// The parts as one bar of `width` characters, each with its own letter, and a legend of a line per
/// part: letter, name, what is shown, per cent. Parts that are not above zero are left out; without
/// any it is empty.
std::string bar(const std::vector<Part>& parts, int width = 72);

}  // namespace espalier::report
