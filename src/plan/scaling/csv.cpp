#include "plan/scaling/csv.hpp"

#include <charconv>
#include <utility>

namespace espalier::plan {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::vector<std::string> fields_of(std::string_view line) {
  std::vector<std::string> fields;
  std::string field;
  bool is_quoted = false, was_quoted = false;
  const auto end_field = [&] {
    fields.push_back(was_quoted ? field : std::string(trimmed(field)));
    field.clear();
    was_quoted = false;
  };
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (is_quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"') {
      field += line[++i];
    } else if (c == '"' && (is_quoted || trimmed(field).empty())) {
      if (!is_quoted) field.clear();
      is_quoted = !is_quoted;
      was_quoted = true;
    } else if (c == ',' && !is_quoted) {
      end_field();
    } else if (is_quoted || !was_quoted) {
      field += c;
    }
  }
  end_field();
  return fields;
}

}  // namespace

std::vector<CsvRow> csv_rows(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<CsvRow> rows;
  for (std::int64_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    const std::string_view line = trimmed(text.substr(0, end));
    const bool is_cut = end == std::string_view::npos;
    text.remove_prefix(is_cut ? text.size() : end + 1);
    if (!line.empty() && line != "#" && !line.starts_with("# "))
      rows.push_back({.line = number, .fields = fields_of(line), .is_cut = is_cut});
  }
  return rows;
}

std::optional<double> csv_number(std::string_view field) {
  if (field.starts_with('+')) field.remove_prefix(1);
  double value = 0.0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (error != std::errc{} || field.empty() || end != field.data() + field.size())
    return std::nullopt;
  return value;
}

}  // namespace espalier::plan
