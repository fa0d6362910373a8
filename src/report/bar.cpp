#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "report/table.hpp"
#include "report/text_table.hpp"
#include "report/unicode.hpp"

namespace espalier::report {

std::string bar(const std::vector<Part>& parts, int width) {
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  std::vector<Part> drawn;
  double total = 0.0;
  for (const Part& part : parts)
    if (std::isfinite(part.amount) && part.amount > 0.0) {
      drawn.push_back(part);
      total += part.amount;
    }
  if (drawn.empty() || !std::isfinite(total)) return {};
  std::size_t name_width = 0, shown_width = 0;
  for (const Part& part : drawn) {
    name_width = std::max(name_width, columns_of(printable(part.name)));
    shown_width = std::max(shown_width, columns_of(printable(part.shown)));
  }
  // Ends are rounded, not widths, so that the widths add up.
  const auto column = [&](double amount) {
    return static_cast<std::size_t>(std::lround(amount / total * width));
  };
  std::string line = "[", legend;
  double begun = 0.0;
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    const Part& part = drawn[i];
    const char letter = kLetters[i % kLetters.size()];
    const double end = i + 1 == drawn.size() ? total : begun + part.amount;
    line += std::string(column(end) - column(begun), letter);
    begun = end;
    legend +=
        fmt::format("  {}  {}  {}  {:>5.1f} %\n", letter, padded(part.name, name_width, false),
                    padded(part.shown, shown_width, true), 100.0 * part.amount / total);
  }
  return line + "]\n" + legend;
}

}  // namespace espalier::report
