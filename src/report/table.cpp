#include "report/table.hpp"

#include <fmt/core.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "report/text_table.hpp"
#include "report/unicode.hpp"

namespace espalier::report {
namespace {

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string csv_cell(const Cell& cell) {
  if (!cell.is_number) return csv_cell(cell.text);
  return std::isfinite(cell.value) ? fmt::format("{}", cell.value + 0.0) : std::string();  // no -0
}

nlohmann::ordered_json json_cell(const Cell& cell) {
  if (!cell.is_number) return cell.text;
  if (!std::isfinite(cell.value)) return nullptr;
  // A whole number is one in JSON, too.
  if (cell.value == std::floor(cell.value) && std::abs(cell.value) < 9007199254740992.0)
    return static_cast<std::int64_t>(cell.value);
  return cell.value;
}

using Rows = std::vector<std::vector<Cell>>;

/// A cell of a Markdown table: on one line, and a bar within it does not end it.
std::string markdown_cell(const std::string& text) {
  std::string cell;
  for (const char c : printable(text)) cell += c == '|' ? std::string("\\|") : std::string(1, c);
  return cell;
}

/// `bold(row, column)`, counting headings: which cells are in bold.
template <class Bold>
std::string markdown_table(const Rows& rows, const Bold& bold) {
  std::string text;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    text += "|";
    for (std::size_t i = 0; i < rows[r].size(); ++i) {
      const std::string cell = markdown_cell(rows[r][i].text);
      text += bold(r, i) && cell.find_first_not_of(' ') != std::string::npos
                  ? fmt::format(" **{}** |", cell)
                  : fmt::format(" {} |", cell);
    }
    text += "\n";
    if (r > 0) continue;
    text += "|";
    for (std::size_t i = 0; i < rows[r].size(); ++i) {
      // Numbers stand right here, too.
      bool is_number = rows.size() > 1;
      for (std::size_t below = 1; below < rows.size(); ++below)
        is_number = is_number && (rows[below][i].is_number || rows[below][i].text.empty());
      text += is_number ? "---:|" : "---|";
    }
    text += "\n";
  }
  return text;
}

}  // namespace

Format format_from_name(std::string_view name) {
  if (name == "text") return Format::text;
  if (name == "csv") return Format::csv;
  if (name == "markdown") return Format::markdown;
  require(name == "json", ExitStatus::bad_configuration,
          "plan.format = \"{}\": text, csv, markdown or json", name);
  return Format::json;
}

Cell::Cell(double number, std::string shown)
    : text(std::move(shown)), value(number), is_number(true) {
  if (!std::isfinite(number)) text.clear();
}

void Table::add(std::vector<Cell> row) {
  require(row.size() == columns_.size(), ExitStatus::internal,
          "a row of {} cells in a table of {} columns", row.size(), columns_.size());
  rows_.push_back(std::move(row));
}

std::string Table::print(Format format) const {
  if (format == Format::json) {
    auto list = nlohmann::ordered_json::array();
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      nlohmann::ordered_json object;
      for (std::size_t i = 0; i < columns_.size(); ++i)
        object[columns_[i].key] = json_cell(rows_[r][i]);
      if (r == marked_) object["marked"] = true;
      list.push_back(std::move(object));
    }
    // What is no UTF-8 becomes U+FFFD, for JSON has no other.
    return list.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }
  if (format == Format::csv) {
    std::string text;
    for (std::size_t i = 0; i < columns_.size(); ++i)
      text += (i > 0 ? "," : "") + csv_cell(columns_[i].key);
    text += "\n";
    for (const std::vector<Cell>& row : rows_) {
      for (std::size_t i = 0; i < row.size(); ++i) text += (i > 0 ? "," : "") + csv_cell(row[i]);
      text += "\n";
    }
    return text;
  }
  Rows rows(1);
  for (const Column& column : columns_) rows.front().push_back(column.heading);
  rows.insert(rows.end(), rows_.begin(), rows_.end());
  // Headings are row 0 here.
  const std::size_t marked = marked_ < rows_.size() ? marked_ + 1 : rows.size();
  if (format == Format::text) return text_table(rows, marked);
  return markdown_table(rows, [&](std::size_t r, std::size_t) { return r == marked; });
}

std::string Table::print_transposed(Format format) const {
  if (format == Format::json || format == Format::csv) return print(format);
  Rows rows;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    rows.emplace_back().push_back(columns_[i].heading);
    for (const std::vector<Cell>& row : rows_) rows.back().push_back(row[i]);
  }
  if (rows.empty()) return {};
  if (format == Format::text) {
    if (marked_ < rows_.size()) rows[0][marked_ + 1].text = "> " + rows[0][marked_ + 1].text;
    return text_table(rows, rows.size());
  }
  return markdown_table(
      rows, [&](std::size_t, std::size_t i) { return marked_ < rows_.size() && i == marked_ + 1; });
}

}  // namespace espalier::report
