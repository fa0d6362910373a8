#pragma once
#include <cstdint>
#include <source_location>
#include <string>
#include <string_view>
#include <tuple>

namespace espalier::emulation {

/// A place in a kernel source.
struct Site {
  std::string_view file;
  std::uint32_t line = 0;

  Site() = default;
  Site(const std::source_location& where)  // NOLINT: implicit, as a default argument
      : file(where.file_name()), line(where.line()) {}
  bool operator==(const Site&) const = default;
  bool operator<(const Site& other) const {
    return std::tie(file, line) < std::tie(other.file, other.line);
  }
  /// "rmsnorm.cu:41"
  std::string describe() const {
    return std::string(file.substr(file.rfind('/') + 1)) + ":" + std::to_string(line);
  }
};

}  // namespace espalier::emulation
