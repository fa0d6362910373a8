#include "config/fault.hpp"

#include <array>
#include <charconv>
#include <system_error>
#include <utility>

namespace espalier::config {
namespace {

constexpr std::array kKinds = {
    std::pair{std::string_view("nan-gradient"), Fault::Kind::nan_gradient},
    std::pair{std::string_view("loss-spike"), Fault::Kind::loss_spike},
    std::pair{std::string_view("flip-weight"), Fault::Kind::flip_weight},
    std::pair{std::string_view("stop-rank"), Fault::Kind::stop_rank},
    std::pair{std::string_view("kill-rank"), Fault::Kind::kill_rank},
};

bool read_count(std::string_view digits, std::int64_t least, std::int64_t& value) {
  const char* end = digits.data() + digits.size();
  const auto [last, error] = std::from_chars(digits.data(), end, value);
  return error == std::errc{} && last == end && value >= least;
}

}  // namespace

std::optional<Fault> parse_fault(std::string_view text) {
  const std::size_t at = text.find('@');
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view place = text.substr(at + 1);
  const std::size_t colon = place.find(':');
  Fault fault;
  if (!read_count(place.substr(0, colon), 1, fault.step)) return std::nullopt;
  if (colon != std::string_view::npos && !read_count(place.substr(colon + 1), 0, fault.rank))
    return std::nullopt;
  for (const auto& [name, kind] : kKinds) {
    if (name != text.substr(0, at)) continue;
    fault.kind = kind;
    return fault;
  }
  return std::nullopt;
}

std::string_view fault_kinds() {
  return "nan-gradient, loss-spike, flip-weight, stop-rank or kill-rank";
}

}  // namespace espalier::config
