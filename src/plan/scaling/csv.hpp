#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::plan {

struct CsvRow {
  std::int64_t line;  ///< in the file, from 1
  std::vector<std::string> fields;
  bool is_cut = false;  ///< the file ends within the line
};
/// Rows of comma-separated values (RFC 4180, without line breaks in quotes): fields without the
/// space around them, empty lines and comments ("# ...")
/// left out.
std::vector<CsvRow> csv_rows(std::string_view text);

/// The whole field as a number, infinite and NaN among them; nothing when it is none.
std::optional<double> csv_number(std::string_view field);

}  // namespace espalier::plan
