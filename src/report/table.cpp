#include "report/table.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace espalier::report {
namespace {

/// Characters of UTF-8 text, each of which takes a column.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string padded(const std::string& text, std::size_t width, bool to_the_right) {
  const std::string space(width - std::min(width, width_of(text)), ' ');
  return to_the_right ? space + text : text + space;
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string csv_cell(const Cell& cell) {
  if (!cell.is_number) return csv_cell(cell.text);
  return std::isfinite(cell.value) ? fmt::format("{}", cell.value) : std::string();
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

std::string print_text(const Rows& rows, std::size_t marked) {
  std::vector<std::size_t> widths(rows.front().size(), 0);
  std::vector<bool> is_number(widths.size(), rows.size() > 1);
  for (const std::vector<Cell>& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], width_of(row[i].text));
      if (&row != &rows.front() && !row[i].is_number && !row[i].text.empty()) is_number[i] = false;
    }
  const bool has_mark = marked + 1 < rows.size();
  std::string text;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::string line = has_mark ? (r == marked + 1 ? "> " : "  ") : "";
    for (std::size_t i = 0; i < rows[r].size(); ++i)
      line += (i > 0 ? "  " : "") + padded(rows[r][i].text, widths[i], is_number[i]);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string print_markdown(const Rows& rows, std::size_t marked) {
  std::string text;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    text += "|";
    for (const Cell& cell : rows[r])
      text += r == marked + 1 && !cell.text.empty() ? fmt::format(" **{}** |", cell.text)
                                                    : fmt::format(" {} |", cell.text);
    text += "\n";
    if (r > 0) continue;
    text += "|";
    for (std::size_t i = 0; i < rows[r].size(); ++i) text += "---|";
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
    return list.dump(2) + "\n";
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
  return format == Format::text ? print_text(rows, marked_) : print_markdown(rows, marked_);
}

std::string Table::print_transposed(Format format) const {
  if (format == Format::json || format == Format::csv) return print(format);
  Rows rows;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    rows.emplace_back().push_back(columns_[i].heading);
    for (const std::vector<Cell>& row : rows_) rows.back().push_back(row[i].text);
  }
  constexpr std::size_t kNone = static_cast<std::size_t>(-2);
  return format == Format::text ? print_text(rows, kNone) : print_markdown(rows, kNone);
}

std::string bar(const std::vector<Part>& parts, int width) {
  double total = 0.0;
  for (const Part& part : parts) total += part.amount;
  if (total <= 0.0) return {};
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  std::string line = "[", legend;
  double begun = 0.0;
  std::size_t name_width = 0, shown_width = 0, number = 0;
  for (const Part& part : parts) {
    name_width = std::max(name_width, width_of(part.name));
    shown_width = std::max(shown_width, width_of(part.shown));
  }
  const auto column = [&](double amount) {
    return static_cast<std::size_t>(std::lround(amount / total * width));
  };
  for (const Part& part : parts) {
    if (part.amount <= 0.0) continue;
    const char letter = kLetters[number++ % kLetters.size()];
    line += std::string(column(begun + part.amount) - column(begun), letter);
    begun += part.amount;
    legend +=
        fmt::format("  {}  {}  {}  {:>5.1f} %\n", letter, padded(part.name, name_width, false),
                    padded(part.shown, shown_width, true), 100.0 * part.amount / total);
  }
  return line + "]\n" + legend;
}

}  // namespace espalier::report
