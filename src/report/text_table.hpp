#pragma once
#include <string>
#include <vector>

#include "report/table.hpp"

namespace espalier::report {

/// Columns of a line of text.
constexpr std::size_t kLineWidth = 100;

/// Rows, the first of which is headings, as text in lines of at most kLineWidth columns (Table says
/// how). `marked`: the row, from 0 and counting the headings, with "> " before it; beyond the last:
/// none, and no room for it.
std::string text_table(const std::vector<std::vector<Cell>>& rows, std::size_t marked);

/// `printable`, and filled with spaces to `width` columns.
std::string padded(const std::string& text, std::size_t width, bool to_the_right);

}  // namespace espalier::report
