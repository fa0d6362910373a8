#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>
#include <vector>

#include "config/parameters.hpp"

namespace espalier::config {

std::optional<double> parse_duration(std::string_view text) {
  const auto number = [](std::string_view digits, auto& value) {
    const char* end = digits.data() + digits.size();
    const auto [last, error] = std::from_chars(digits.data(), end, value);
    return error == std::errc{} && last == end && value >= 0 && digits.front() != '-';
  };
  if (text.find_first_of(":-") == std::string_view::npos) {
    double seconds = 0.0;
    if (text.empty() || !number(text, seconds) || !std::isfinite(seconds)) return std::nullopt;
    return seconds;
  }

  std::int64_t days = 0;
  const std::size_t dash = text.find('-');
  if (dash != std::string_view::npos) {
    if (dash == 0 || !number(text.substr(0, dash), days) || days > 100000) return std::nullopt;
    text.remove_prefix(dash + 1);
  }
  std::vector<std::int64_t> parts;  // [hours,] minutes, seconds
  while (true) {
    const std::size_t colon = text.find(':');
    const std::string_view part = text.substr(0, colon);
    std::int64_t value = 0;
    if (part.empty() || !number(part, value) || value > 1'000'000) return std::nullopt;
    parts.push_back(value);
    if (colon == std::string_view::npos) break;
    text.remove_prefix(colon + 1);
  }
  const bool whole_clock = parts.size() == 3;
  if (!whole_clock && (parts.size() != 2 || dash != std::string_view::npos)) return std::nullopt;
  if (parts.back() > 59 || (whole_clock && parts[1] > 59)) return std::nullopt;
  double seconds = 24.0 * static_cast<double>(days);
  if (whole_clock) seconds += static_cast<double>(parts[0]);
  seconds = 60.0 * seconds + static_cast<double>(parts[parts.size() - 2]);
  return 60.0 * seconds + static_cast<double>(parts.back());
}

}  // namespace espalier::config
