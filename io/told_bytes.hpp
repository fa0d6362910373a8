#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.hpp"

// What one rank of a job tells the others, as bytes: numbers as they lie in memory, since both ends
// are the same program, and texts behind their length.

namespace espalier::io {

class ToldBytesWriter {
 public:
  template <class Number>
  requires std::is_arithmetic_v<Number>
  void put(Number value) { bytes_.append(reinterpret_cast<const char*>(&value), sizeof value); }
  void put(const std::string& text) {
    put(std::uint64_t{text.size()});
    bytes_ += text;
  }
  void put(const std::vector<float>& values) {
    put(std::uint64_t{values.size()});
    for (const float value : values) put(value);
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// In the order of the puts.
class ToldBytesReader {
 public:
  explicit ToldBytesReader(std::string_view bytes) : rest_(bytes) {}
  template <class Number>
  requires std::is_arithmetic_v<Number>
  void get(Number& value) { std::memcpy(&value, next(sizeof value).data(), sizeof value); }
  void get(std::string& text) {
    std::uint64_t size = 0;
    get(size);
    text = next(size);
  }
  void get(std::vector<float>& values) {
    values.resize(get<std::uint64_t>());
    for (float& value : values) get(value);
  }
  template <class Value>
  Value get() {
    Value value{};
    get(value);
    return value;
  }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view next(std::uint64_t size) {
    ESPALIER_ASSERT(size <= rest_.size(), "{} bytes of {} left", size, rest_.size());
    const std::string_view found = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return found;
  }
  std::string_view rest_;
};

}  // namespace espalier::io
